// look.js - the tab that paints what the model sees: asks /v1/reconstruct for an event stream and
// shows what comes.
//
// State is the picture, at most one running request, and the Painting it fills. A picture that
// comes while another tab is shown is painted when this one is.

import {Painting, readPixels} from './paint.js';
import {$, Problem, post, events, fail, hideError, format, whole, percent, make, save} from './shared.js';
import {shownTab} from './tabs.js';

const frames = ['seen', 'original', 'error-map', 'entropy-map'].map((id) => $(id).querySelector('.frame'));
const canvas = (id) => $(id).querySelector('canvas');
const canvases = {seen: canvas('seen'), original: canvas('original'), error: canvas('error-map'), entropy: canvas('entropy-map')};

let photo = null;     // the picture
let isDue = false;    // it waits for the tab to be shown
let running = null;   // AbortController of the request
let painting = null;
let pointed = null;   // [x, y] of the pixel in the readout
let frameAsked = false;

export const look = {
  curl(base) {
    const q = parameters().toString().replace(/&?estimate=mode/, '');
    const url = `${base}/v1/reconstruct${q ? '?' + q : ''}`;
    return `curl -F image=@photo.jpg ${q ? `'${url}'` : url} -o seen.png`;
  },
  take(picture) {
    photo = picture;
    isDue = true;
    if (shownTab() === 'look') this.shown();
  },
  shown() {
    if (isDue) run();
  },
  left() {},
  greet(model) {
    for (const id of ['width', 'height']) {
      $(id).max = model.grid;
      $(id).placeholder = model.grid;
    }
    const most = Math.max(1, Math.min(8, Math.floor(1024 / model.grid)));
    const option = (n) => make('option', {value: n}, n === 1 ? 'none' : `${n} × ${n}: ${n * model.grid} pixels`);
    $('tiles').replaceChildren(...Array.from({length: most}, (_, i) => option(i + 1)));
    refresh();
  },
};

// ---- one request ----

const isTiled = () => $('tiles').value > 1;

function parameters() {
  const q = new URLSearchParams();
  for (const id of ['width', 'height']) if (!isTiled() && $(id).value !== '') q.set(id, $(id).value);
  if (isTiled()) q.set('tiles', $('tiles').value);
  q.set('estimate', document.querySelector('[name=estimate]:checked').value);
  return q;
}

async function run() {
  isDue = false;
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
    const reply = await post(`v1/reconstruct?${query}`, photo.blob, {
      headers: {'Content-Type': photo.blob.type || 'application/octet-stream', Accept: 'text/event-stream'},
      signal: mine.signal,
    });
    let ended = false;
    for await (const event of events(reply.body)) {
      if (mine !== running) return;
      if (event.name === 'start') await begin(JSON.parse(event.data));
      if (event.name === 'pixels') progress(JSON.parse(event.data), began);
      if (event.name === 'error') throw new Problem(JSON.parse(event.data));
      if (event.name === 'done') {
        finish(JSON.parse(event.data));
        ended = true;
      }
    }
    if (!ended) throw new Problem({title: 'The picture is not complete', detail: 'the connection ended too early'});
  } catch (e) {
    if (mine !== running) return;
    if (mine.signal.aborted) setStatus('cancelled');
    else {
      setStatus('stopped');
      fail(e);
    }
  } finally {
    if (mine === running) {
      running = null;
      setBusy(false);
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

function setStatus(text) {
  $('status').textContent = text;
}

function setBusy(is) {
  document.body.dataset.state = is ? 'painting' : document.body.dataset.state === 'done' ? 'done' : 'idle';
  $('cancel').disabled = !is;
  $('again').disabled = is || !photo;
  if (is) $('save').disabled = true;
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

// ---- the buttons ----

// Tiles are asked whole.
function refresh() {
  for (const id of ['width', 'height']) $(id).disabled = isTiled();
}
$('tiles').addEventListener('change', refresh);

$('controls').addEventListener('submit', (e) => {
  e.preventDefault();
  if (photo) run();
});
$('cancel').addEventListener('click', () => running?.abort());
$('save').addEventListener('click', () => save(canvases.seen, 'seen.png'));
