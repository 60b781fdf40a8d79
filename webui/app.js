// app.js - the page: takes a photo, asks /v1/reconstruct for an event stream, shows what comes.
//
// State is one photo (a Blob), at most one running request, and the Painting it fills. Everything the
// page knows comes from the API that is documented in /openapi.yaml; nothing is loaded from elsewhere.

import {Painting, readPixels, drawSample} from './paint.js';

const $ = (id) => document.getElementById(id);
const frames = ['seen', 'original', 'error-map', 'entropy-map'].map((id) => $(id).querySelector('.frame'));
const canvas = (id) => $(id).querySelector('canvas');
const canvases = {seen: canvas('seen'), original: canvas('original'), error: canvas('error-map'), entropy: canvas('entropy-map')};

const BODY_MAX = 12 * 1024 * 1024; // of a picture, as the API takes it

let photo = null;     // {blob, name}
let running = null;   // AbortController of the request
let painting = null;
let pointed = null;   // [x, y] of the pixel in the readout
let frameAsked = false;

// ---- the photo ----

async function take(blob, name) {
  if (!blob) return;
  try {
    photo = {blob: await prepare(blob), name};
  } catch {
    return showError('This is not a picture', 'the browser can’t read it; a PNG or JPEG photo works best');
  }
  run();
}

// PNG and JPEG go as they are. What else the browser can read, and what is too large, is sent as PNG.
async function prepare(blob) {
  const isPlain = blob.type === 'image/png' || blob.type === 'image/jpeg';
  if (isPlain && blob.size <= BODY_MAX) return blob;
  if (!isPlain && !blob.type.startsWith('image/')) return blob; // the API says clearly what it is not
  const bitmap = await createImageBitmap(blob);
  const scale = Math.min(1, 1600 / Math.max(bitmap.width, bitmap.height));
  const c = document.createElement('canvas');
  c.width = Math.max(1, Math.round(bitmap.width * scale));
  c.height = Math.max(1, Math.round(bitmap.height * scale));
  c.getContext('2d').drawImage(bitmap, 0, 0, c.width, c.height);
  return new Promise((done) => c.toBlob(done, 'image/png'));
}

// ---- one request ----

function parameters() {
  const q = new URLSearchParams();
  for (const id of ['width', 'height']) if ($(id).value !== '') q.set(id, $(id).value);
  q.set('estimate', document.querySelector('[name=estimate]:checked').value);
  return q;
}

async function run() {
  running?.abort();
  const mine = (running = new AbortController());
  const query = parameters();
  query.set('uncertainty', 'true');
  query.set('compare', 'true');
  hideError();
  setBusy(true);
  setStatus('sending the photo');
  $('progress').value = 0;
  const began = performance.now();
  try {
    const reply = await fetch(`/v1/reconstruct?${query}`, {
      method: 'POST',
      body: photo.blob,
      headers: {'Content-Type': photo.blob.type || 'application/octet-stream', Accept: 'text/event-stream'},
      signal: mine.signal,
    });
    if (!reply.ok) throw await problemOf(reply);
    let ended = false;
    for await (const event of events(reply.body)) {
      if (mine !== running) return;
      if (event.name === 'start') await begin(event.data);
      if (event.name === 'pixels') progress(event.data, began);
      if (event.name === 'error') throw new Problem(event.data);
      if (event.name === 'done') {
        finish(event.data);
        ended = true;
      }
    }
    if (!ended) throw new Problem({title: 'The picture is not complete', detail: 'the connection ended too early'});
  } catch (e) {
    if (mine !== running) return;
    if (mine.signal.aborted) setStatus('cancelled');
    else fail(e);
  } finally {
    if (mine === running) {
      running = null;
      setBusy(false);
    }
  }
}

class Problem extends Error {
  constructor({title, detail}) {
    super(detail || '');
    this.title = title;
  }
}

async function problemOf(reply) {
  const body = await reply.json().catch(() => ({title: `The server answered ${reply.status}`}));
  return new Problem(body);
}

// The events of a stream; comments and unknown lines are passed over.
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    text += value;
    let end;
    while ((end = text.indexOf('\n\n')) >= 0) {
      const lines = text.slice(0, end).split('\n');
      text = text.slice(end + 2);
      const part = (key) => lines.find((l) => l.startsWith(key + ': '))?.slice(key.length + 2);
      if (part('data')) yield {name: part('event'), data: JSON.parse(part('data'))};
    }
  }
}

async function begin(start) {
  const truth = await readPixels(start.original, start.width, start.height);
  painting = new Painting(start, truth, canvases);
  show();
  $('empty').hidden = true;
  $('size').textContent = `${start.width} × ${start.height}`;
  for (const f of frames) {
    f.style.setProperty('--across', start.width);
    f.style.setProperty('--down', start.height);
    f.style.aspectRatio = `${start.width} / ${start.height}`;
  }
  point(null);
  for (const id of ['mae', 'time', 'speed', 'first']) $(id).textContent = '–';
  setStatus('looking at the photo');
}

function progress({done, of, values}, began) {
  if (painting.done === 0) $('first').textContent = format(performance.now() - began, 0);
  painting.add(values);
  $('progress').value = done / of;
  setStatus(`${whole(done)} of ${whole(of)} pixels named`);
  $('mae').textContent = format(painting.meanError(), 1);
  const seconds = (performance.now() - began) / 1000;
  $('time').textContent = format(seconds, 1);
  $('speed').textContent = whole(done / seconds);
  askFrame();
}

function finish({timing, compare, usage}) {
  show();
  $('progress').value = 1;
  $('mae').textContent = format(compare.mae_levels, 1);
  $('time').textContent = format(timing.total_ms / 1000, 2);
  $('first').textContent = format(timing.first_pixel_ms, 0);
  $('speed').textContent = whole(usage.pixels / (timing.total_ms / 1000));
  setStatus(`all ${whole(usage.pixels)} pixels named`);
  $('save').disabled = false;
  document.body.dataset.state = 'done';
}

function fail(e) {
  setStatus('stopped');
  if (e instanceof Problem) showError(e.title, e.message);
  else showError('lammd can’t be reached', 'is it still running? try again in a moment');
}

// ---- what is shown ----

function askFrame() {
  if (frameAsked) return;
  frameAsked = true;
  requestAnimationFrame(() => {
    frameAsked = false;
    show();
  });
}

function show() {
  painting.draw();
  if (pointed) readOut();
  if (!painting.done) return;
  const [low, high] = painting.entropyRange();
  $('entropy-low').textContent = format(low, 1);
  $('entropy-high').textContent = format(high, 1);
}

function format(v, digits) {
  return Number.isFinite(v) ? v.toFixed(digits) : '–';
}

function whole(v) {
  return Math.round(v).toLocaleString('en');
}

function setStatus(text) {
  $('status').textContent = text;
}

function setBusy(is) {
  document.body.dataset.state = is ? 'painting' : document.body.dataset.state === 'done' ? 'done' : 'idle';
  $('cancel').disabled = !is;
  $('again').disabled = is || !photo;
  if (is) $('save').disabled = true;
}

function showError(title, detail) {
  const [strong, span] = $('error').children;
  strong.textContent = title;
  span.textContent = detail;
  $('error').hidden = false;
}

function hideError() {
  $('error').hidden = true;
}

function showCurl() {
  const q = parameters().toString().replace(/&?estimate=mode/, '');
  const url = `${location.origin}/v1/reconstruct${q ? '?' + q : ''}`;
  $('curl').textContent = `curl -F image=@photo.jpg ${q ? `'${url}'` : url} -o seen.png`;
}

// ---- one pixel ----

function point(xy) {
  pointed = painting && xy ? [clamp(xy[0], painting.width), clamp(xy[1], painting.height)] : null;
  for (const f of frames) {
    const cursor = f.querySelector('.cursor');
    cursor.hidden = !pointed;
    if (pointed) {
      cursor.style.setProperty('--x', pointed[0]);
      cursor.style.setProperty('--y', pointed[1]);
    }
  }
  readOut();
}

function clamp(v, n) {
  return Math.min(n - 1, Math.max(0, v));
}

function readOut() {
  const where = document.querySelector('#readout .where');
  const p = pointed && painting.at(...pointed);
  const text = (id, v) => ($(id).textContent = v);
  where.textContent = p ? `Column ${p.x}, row ${p.y}` : 'Point at a pixel';
  swatch('truth-swatch', p?.truth);
  swatch('said-swatch', p?.rgb);
  text('truth', p ? p.truth.join(' ') : '–');
  text('said', p?.rgb ? p.rgb.join(' ') : '–');
  text('off', p?.rgb ? `${p.error.toFixed(1)} levels` : '–');
  text('expected', p?.expected !== undefined ? `${p.expected.toFixed(1)} levels` : '–');
  text('prob', p?.prob?.[0] !== undefined ? p.prob.map(percent).join(' ') : '–');
  text('bits', p?.entropy !== undefined ? `${p.entropy.toFixed(1)} of 24 bits` : '–');
}

function percent(v) {
  return v >= 0.1 ? `${Math.round(100 * v)} %` : `${(100 * v).toFixed(1)} %`;
}

function swatch(id, rgb) {
  $(id).style.background = rgb ? `rgb(${rgb.join(',')})` : '';
}

for (const f of frames) {
  const follow = (e) => {
    const box = f.querySelector('canvas').getBoundingClientRect();
    if (painting) point([Math.floor(((e.clientX - box.left) / box.width) * painting.width),
                         Math.floor(((e.clientY - box.top) / box.height) * painting.height)]);
  };
  f.addEventListener('pointermove', follow);
  f.addEventListener('pointerdown', follow);
  // A finger that leaves wants to read; a mouse that leaves has gone elsewhere.
  f.addEventListener('pointerleave', (e) => e.pointerType === 'mouse' && document.activeElement !== frames[0] && point(null));
}
frames[0].addEventListener('keydown', (e) => {
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[e.key];
  if (!step || !painting) return;
  e.preventDefault();
  const far = e.shiftKey ? 8 : 1;
  point(pointed ? [pointed[0] + far * step[0], pointed[1] + far * step[1]] : [0, 0]);
});
frames[0].addEventListener('focus', () => painting && !pointed && point([0, 0]));
frames[0].addEventListener('blur', () => point(null));

// ---- the ways in ----

$('choose').addEventListener('click', () => $('file').click());
$('file').addEventListener('change', () => {
  take($('file').files[0], $('file').files[0]?.name);
  $('file').value = '';
});
$('sample').addEventListener('click', async () => take(await drawSample(), 'sample.png'));
$('controls').addEventListener('submit', (e) => {
  e.preventDefault();
  if (photo) run();
});
$('controls').addEventListener('input', showCurl);
$('cancel').addEventListener('click', () => running?.abort());
$('save').addEventListener('click', () => {
  canvases.seen.toBlob((blob) => {
    const a = document.createElement('a');
    a.href = URL.createObjectURL(blob);
    a.download = 'seen.png';
    a.click();
    setTimeout(() => URL.revokeObjectURL(a.href), 1000);
  });
});

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
  take(e.dataTransfer.files[0], e.dataTransfer.files[0]?.name);
});
addEventListener('paste', (e) => take(e.clipboardData.files[0], 'pasted'));

// ---- start ----

async function greet() {
  const reply = await fetch('/v1/models');
  const [model] = (await reply.json()).data;
  const millions = (model.parameters / 1e6).toFixed(model.parameters < 1e7 ? 1 : 0);
  $('model').textContent = `${model.id} · ${millions} M parameters · ${model.backend}`;
  for (const id of ['width', 'height']) {
    $(id).max = model.grid;
    $(id).placeholder = model.grid;
  }
}

showCurl();
greet().catch(() => ($('model').textContent = ''));
