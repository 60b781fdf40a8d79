// ask.js - the tab that talks about the picture, through /v1/chat/completions as any OpenAI client.
//
// `turns` is what was said and answered; the picture goes with the first question of every
// request, so the server keeps nothing. A turn counts when its answer ended or was stopped with
// something said; one that failed is taken back and its question returns to the field; one that
// got no words is shown, but not told again. An answer that others together were likelier than is
// marked: a guess. A new picture begins a new talk.

import {$, Problem, post, events, fail, hideError, unreadable, drawPicture} from './shared.js';

const MAX_TOKENS = 200;
const SURE = 0.5, SHORT = 16; // probability, and tokens: a guess is what the API calls `unsure`
const log = $('ask-log');

let picture = null, url = null; // the picture's data URL, once it is needed
let turns = [];                 // {question, answer}
let running = null;             // AbortController

export const ask = {
  // By a pipe: a photo is longer than an argument may be.
  curl(base) {
    return `printf '{"messages": [{"role": "user", "content": [{"type": "text", "text": "What colour is the thing?"},\n` +
      `  {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,%s"}}]}]}' "$(base64 -w0 photo.jpg)" |\n` +
      `curl ${base}/v1/chat/completions -H 'Content-Type: application/json' -d @-`;
  },
  take(next) {
    picture = next;
    url = null;
    $('ask-picture').hidden = !picture.bitmap;
    $('ask-empty').hidden = Boolean(picture.bitmap);
    if (picture.bitmap) drawPicture($('ask-picture'), picture.bitmap, 640);
    begin();
  },
  shown() {
    if (picture && !picture.bitmap) unreadable();
    else if (picture && !matchMedia('(pointer: coarse)').matches) $('ask-question').focus({preventScroll: true});
  },
  left() {},
};

function begin() {
  running?.abort();
  running = null;
  turns = [];
  log.replaceChildren();
  hideError();
  refresh();
}

function refresh() {
  document.body.dataset.ask = running ? 'busy' : 'idle';
  $('ask-go').disabled = Boolean(running) || !picture?.bitmap;
  $('ask-stop').disabled = !running;
  $('ask-new').disabled = !turns.length && !running;
  $('ask-hints').hidden = !picture?.bitmap || Boolean(log.children.length);
  $('ask-begin').hidden = Boolean(picture?.bitmap);
  $('ask-panel').setAttribute('aria-busy', String(Boolean(running)));
}

// ---- one question ----

async function send(question) {
  const mine = (running = new AbortController());
  const mark = [bubble('asked', question), bubble('said', '')], said = mark[1];
  const sure = {sum: 0, tokens: 0};
  let answer = '';
  hideError();
  refresh();
  $('ask-question').value = '';
  fit();
  try {
    url ??= await dataUrl(picture.blob);
    const body = JSON.stringify({model: 'lammd', messages: messages(question), stream: true, logprobs: true, max_tokens: MAX_TOKENS});
    const reply = await post('v1/chat/completions', body, {headers: {'Content-Type': 'application/json'}, signal: mine.signal});
    for await (const piece of pieces(reply.body, sure)) {
      if (mine !== running) return;
      answer += piece;
      said.textContent = answer;
      follow();
    }
    if (mine !== running) return;
    keep(question, answer, said);
    said.classList.toggle('unsure', answer.trim() && sure.sum < (sure.tokens > SHORT ? sure.tokens : 1) * Math.log(SURE));
  } catch (e) {
    if (mine !== running) return;
    if (mine.signal.aborted && answer) {
      keep(question, answer, said);
    } else {
      for (const b of mark) b.remove();
      $('ask-question').value ||= question;
      fit();
      if (!mine.signal.aborted) fail(e);
    }
  } finally {
    said.classList.remove('waiting');
    if (mine === running) {
      running = null;
      refresh();
      $('ask-question').focus({preventScroll: true});
    }
  }
}

function keep(question, answer, said) {
  if (answer.trim()) return turns.push({question, answer});
  said.textContent = 'no words came back';
  said.classList.add('silent');
}

function messages(question) {
  const all = turns.flatMap((t) => [{role: 'user', content: t.question}, {role: 'assistant', content: t.answer}]);
  all.push({role: 'user', content: question});
  all[0] = {role: 'user', content: [{type: 'image_url', image_url: {url}}, {type: 'text', text: all[0].content}]};
  return all;
}

// The texts of a stream; `sure` sums up how probable its tokens were.
async function* pieces(stream, sure) {
  let ended = false;
  for await (const {data} of events(stream)) {
    if (data === '[DONE]') return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Problem(chunk.title ? chunk : {detail: chunk.error.message});
    const choice = chunk.choices[0];
    for (const token of choice?.logprobs?.content ?? []) {
      sure.sum += token.logprob;
      sure.tokens++;
    }
    if (choice?.delta.content) yield choice.delta.content;
    ended ||= Boolean(choice?.finish_reason);
  }
  if (!ended) throw new Problem({title: 'The answer is not complete', detail: 'the connection ended too early'});
}

function dataUrl(blob) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(blob);
  });
}

// ---- what is shown ----

function bubble(kind, text) {
  const b = document.createElement('li');
  b.className = kind + (text ? '' : ' waiting');
  b.textContent = text;
  log.append(b);
  follow();
  return b;
}

function follow() {
  log.scrollTop = log.scrollHeight;
}

function fit() {
  const field = $('ask-question');
  field.style.height = 'auto';
  field.style.height = `${field.scrollHeight + 2}px`;
}

// ---- the buttons ----

$('ask-form').addEventListener('submit', (e) => {
  e.preventDefault();
  const question = $('ask-question').value.trim();
  if (question && !$('ask-go').disabled) send(question);
});
$('ask-question').addEventListener('keydown', (e) => {
  if (e.key !== 'Enter' || e.shiftKey || e.isComposing) return;
  e.preventDefault();
  $('ask-form').requestSubmit();
});
$('ask-question').addEventListener('input', fit);
$('ask-stop').addEventListener('click', () => running?.abort());
$('ask-new').addEventListener('click', begin);
for (const hint of document.querySelectorAll('#ask-hints button')) hint.addEventListener('click', () => !running && send(hint.textContent));
refresh();
