// app.js - the page's frame: its five tabs, and the ways a picture comes in.
//
// There is one picture for look, cut out, ask and train. A tab is {curl(), shown(), left(),
// take(picture)}; it learns of a new picture at once and decides itself whether that is work for
// now or for when it is shown. Everything the page knows comes from the API that is documented in
// /openapi.yaml; nothing is loaded from elsewhere.

import {$, know, makePicture, hideError, unreadable} from './shared.js';
import {call, hasKey} from './key.js';
import {startTabs, shownTab, showTab} from './tabs.js';
import {drawSample} from './paint.js';
import {look} from './look.js';
import {cut} from './cutout.js';
import {ask} from './ask.js';
import {play} from './play.js';
import {train} from './train.js';

const tabs = {look, cut, ask, play, train};

async function take(blob, name) {
  if (!blob) return;
  hideError();
  let picture;
  try {
    picture = await makePicture(blob, name);
  } catch {
    return unreadable();
  }
  if (shownTab() === 'play') showTab('look'); // a game needs no photo
  document.body.dataset.picture = '';
  $('note').textContent = picture.note;
  for (const tab of [look, cut, ask, train]) tab.take(picture);
}

function showCurl() {
  const line = tabs[shownTab()].curl(new URL('.', location.href).href.slice(0, -1));
  const withKey = line.replace(/^curl /gm, 'curl -H "Authorization: Bearer $LAMMD_KEY" ');
  $('curl').textContent = hasKey() ? withKey : line;
}

// ---- the ways in ----

$('choose').addEventListener('click', () => $('file').click());
$('file').addEventListener('change', () => {
  take($('file').files[0], $('file').files[0]?.name);
  $('file').value = '';
});
$('sample').addEventListener('click', async () => take(await drawSample(), 'sample.png'));

let depth = 0; // dragenter and dragleave come for children too
addEventListener('dragenter', (e) => {
  e.preventDefault();
  depth++;
  document.body.classList.add('dropping');
});
addEventListener('dragleave', () => {
  if (--depth <= 0) document.body.classList.remove('dropping');
});
addEventListener('dragover', (e) => e.preventDefault());
addEventListener('drop', (e) => {
  e.preventDefault();
  depth = 0;
  document.body.classList.remove('dropping');
  if (shownTab() === 'train' && train.drop(e.dataTransfer)) return;
  take(e.dataTransfer.files[0], e.dataTransfer.files[0]?.name);
});
addEventListener('paste', (e) => take(e.clipboardData.files[0], 'pasted'));

// ---- start ----

async function greet() {
  const reply = await call('v1/models');
  showCurl();
  const [model] = (await reply.json()).data;
  const millions = (model.parameters / 1e6).toFixed(model.parameters < 1e7 ? 1 : 0);
  $('model').textContent = `${model.id} · ${millions} M parameters · ${model.backend}`;
  look.greet(model);
  know(model);
  train.greet(model);
}

startTabs((to, from) => {
  hideError();
  if (from) tabs[from].left();
  tabs[to].shown();
  showCurl();
});
for (const type of ['input', 'pointerup', 'keyup']) document.querySelector('main').addEventListener(type, showCurl);
greet().catch(() => {
  $('model').textContent = '';
  train.unknown();
});
