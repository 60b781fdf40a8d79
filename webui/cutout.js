// cutout.js - the tab that cuts things out: a phrase goes to /v1/segment, its soft mask comes back.
//
// The answer is one probability for each place of the model's grid inside the box. The slider picks
// the threshold here in the page, so moving it asks nothing. Boxes are [x1, y1, x2, y2] in parts of
// the picture (0 to 1) until they are sent, in pixels. With "look again" the answer is about the
// places of a part of the picture, mask.at, which the model saw by itself. The mask is shown as
// coarse as it is: what the model did not say is not made up.

import {$, post, fail, hideError, unreadable, drawPicture, percent, format, save} from './shared.js';
import {readPixels} from './paint.js';

const SIDE = 1200; // longer side of the canvas
const stage = $('cut-canvas'), piece = $('cut-piece');
const dim = document.createElement('canvas'); // the mask's inside clear, its outside dark

let picture = null;
let running = null; // AbortController
let mask = null;    // {w, h, p: probability of each place, at, isPart, box, sure, ms, sentence}
let own = null;     // the box that a person draws

export const cut = {
  curl(base) {
    const sentence = ($('cut-phrase').value.trim() || 'the red thing').replaceAll("'", "'\\''");
    const where = [...boxFields(), ...refineFields()].map(([name, value]) => ` -F ${name}=${value}`).join('');
    return `curl -F image=@photo.jpg -F 'sentence=${sentence}'${where} ${base}/v1/segment -o mask.png`;
  },
  take(next) {
    running?.abort();
    running = null;
    picture = next;
    mask = own = null;
    setBusy(false);
    $('cut-empty').hidden = Boolean(picture.bitmap);
    stage.hidden = !picture.bitmap;
    setStatus(picture.bitmap ? 'say what to cut out' : 'no photo yet');
    draw();
  },
  shown() {
    if (picture && !picture.bitmap) unreadable();
    else if (picture && !matchMedia('(pointer: coarse)').matches) $('cut-phrase').focus({preventScroll: true});
  },
  left() {},
};

const refineFields = () => ($('cut-refine').checked ? [['refine', 'true']] : []);
const boxKind = () => document.querySelector('[name=cut-box]:checked').value;

// ---- one request ----

async function run() {
  running?.abort();
  const mine = (running = new AbortController());
  const sentence = $('cut-phrase').value.trim();
  hideError();
  setBusy(true);
  setStatus('looking for it');
  const began = performance.now();
  let why = null; // there is no answer
  try {
    const reply = await post('v1/segment', request(sentence), {headers: {Accept: 'application/json'}, signal: mine.signal});
    const next = await readMask((await reply.json()).masks[0], performance.now() - began);
    if (mine === running) mask = next;
  } catch (e) {
    why = mine.signal.aborted ? 'cancelled' : 'stopped';
    if (!mine.signal.aborted) fail(e);
  }
  if (mine !== running) return;
  running = null;
  setBusy(false);
  draw();
  if (why) setStatus(why);
}

function request(sentence) {
  const form = new FormData();
  form.set('image', picture.blob, 'picture');
  form.set('sentence', sentence);
  for (const [name, value] of [['soft', 'true'], ['png', 'true'], ['size', 'grid']]) form.set(name, value);
  for (const [name, value] of [...boxFields(), ...refineFields()]) form.set(name, value);
  return form;
}

// Nothing where the model points itself.
function boxFields() {
  if (boxKind() === 'whole') return [['whole', 'true']];
  if (boxKind() !== 'own' || !own) return [];
  const {width, height} = picture.bitmap;
  return [['box', ordered(own).map((v, i) => Math.round(v * (i % 2 ? height : width))).join()]];
}

async function readMask(answer, ms) {
  const [h, w] = answer.mask.size;
  const grey = await readPixels(answer.png, w, h);
  const p = Float32Array.from({length: w * h}, (_, i) => grey[4 * i] / 255);
  const {width, height} = picture.bitmap, c = answer.crop;
  const at = c ? [c.x1 / width, c.y1 / height, c.x2 / width, c.y2 / height] : [0, 0, 1, 1];
  return {w, h, p, at, isPart: Boolean(c), box: answer.percent.map((v) => v / 100), sure: answer.box_probability, ms, sentence: answer.sentence};
}

function setStatus(text) {
  $('cut-status').textContent = text;
}

function setBusy(is) {
  document.body.dataset.cut = is ? 'busy' : mask ? 'done' : 'idle';
  $('cut-cancel').disabled = !is;
  refresh();
}

function refresh() {
  const needsBox = boxKind() === 'own' && !own;
  $('cut-go').disabled = Boolean(running) || !picture?.bitmap || needsBox;
  $('cut-hint').textContent = needsBox && picture?.bitmap ? 'Draw a box on the picture, or focus the picture and use the arrow keys.' : '';
  stage.classList.toggle('drawing', boxKind() === 'own');
}

// ---- what is shown ----

const threshold = () => $('cut-threshold').value / 100;

function draw() {
  refresh();
  $('cut-level').textContent = `${$('cut-threshold').value} %`;
  tell();
  if (!picture?.bitmap) return;
  const ctx = drawPicture(stage, picture.bitmap, SIDE);
  if (mask) drawMask(ctx);
  const box = mask ? mask.box : boxKind() === 'own' && own && ordered(own);
  if (box) drawBox(ctx, box, !mask);
  if (mask?.isPart) drawBox(ctx, mask.at, true);
}

// Where the mask lies on a picture of that size: its corner, and how large a place is.
function spread(width, height) {
  const [x1, y1, x2, y2] = mask.at;
  return {left: x1 * width, top: y1 * height, a: ((x2 - x1) * width) / mask.w, b: ((y2 - y1) * height) / mask.h};
}

const inside = (x, y) => x >= 0 && y >= 0 && x < mask.w && y < mask.h && mask.p[y * mask.w + x] >= Math.max(threshold(), 1 / 255);

function drawMask(ctx) {
  const {width, height} = ctx.canvas, image = new ImageData(mask.w, mask.h);
  const {left, top, a, b} = spread(width, height), edge = new Path2D();
  for (let y = 0; y < mask.h; y++) {
    for (let x = 0; x < mask.w; x++) {
      if (!inside(x, y)) {
        image.data.set([8, 12, 18, 165], 4 * (y * mask.w + x));
        continue;
      }
      const line = (x1, y1, x2, y2) => (edge.moveTo(left + x1 * a, top + y1 * b), edge.lineTo(left + x2 * a, top + y2 * b));
      if (!inside(x - 1, y)) line(x, y, x, y + 1);
      if (!inside(x + 1, y)) line(x + 1, y, x + 1, y + 1);
      if (!inside(x, y - 1)) line(x, y, x + 1, y);
      if (!inside(x, y + 1)) line(x, y + 1, x + 1, y + 1);
    }
  }
  dim.width = mask.w;
  dim.height = mask.h;
  dim.getContext('2d').putImageData(image, 0, 0);
  ctx.imageSmoothingEnabled = false;
  ctx.drawImage(dim, left, top, a * mask.w, b * mask.h);
  const around = new Path2D();
  around.rect(0, 0, width, height);
  around.rect(left, top, a * mask.w, b * mask.h);
  ctx.fillStyle = 'rgb(8 12 18 / 65%)';
  if (mask.isPart) ctx.fill(around, 'evenodd');
  ctx.lineCap = 'square';
  strokeTwice(ctx, edge, '#ffd84d');
  drawPiece();
}

function drawBox(ctx, [x1, y1, x2, y2], isDashed) {
  const {width, height} = ctx.canvas, path = new Path2D();
  const rim = 1; // most of the line stays on the canvas
  const at = (part, side) => Math.min(side - rim, Math.max(rim, part * side));
  const [left, top] = [at(x1, width), at(y1, height)];
  path.rect(left, top, at(x2, width) - left, at(y2, height) - top);
  strokeTwice(ctx, path, '#ffffff', isDashed ? [14, 10] : []);
}

// A bright line on a dark one is seen on any picture.
export function strokeTwice(ctx, path, colour, dash = []) {
  for (const [width, style] of [[6, 'rgb(0 0 0 / 55%)'], [3, colour]]) {
    ctx.lineWidth = width;
    ctx.strokeStyle = style;
    ctx.setLineDash(style === colour ? dash : []);
    ctx.stroke(path);
  }
}

// What is cut out, by itself, at the picture's own size.
function drawPiece() {
  const {bitmap} = picture, {left, top, a, b} = spread(bitmap.width, bitmap.height);
  let x1 = mask.w, y1 = mask.h, x2 = 0, y2 = 0;
  const path = new Path2D();
  for (let y = 0; y < mask.h; y++) {
    for (let x = 0; x < mask.w; x++) {
      if (!inside(x, y)) continue;
      path.rect(Math.floor(left + x * a), Math.floor(top + y * b), Math.ceil(a), Math.ceil(b));
      x1 = Math.min(x1, x);
      y1 = Math.min(y1, y);
      x2 = Math.max(x2, x + 1);
      y2 = Math.max(y2, y + 1);
    }
  }
  piece.width = Math.max(1, Math.round((x2 - x1) * a));
  piece.height = Math.max(1, Math.round((y2 - y1) * b));
  if (x2 <= x1) return;
  const ctx = piece.getContext('2d');
  ctx.translate(-Math.floor(left + x1 * a), -Math.floor(top + y1 * b));
  ctx.clip(path);
  ctx.drawImage(bitmap, 0, 0);
}

function tell() {
  const text = (id, v) => ($(id).textContent = v);
  let n = 0, sum = 0;
  for (let i = 0; mask && i < mask.p.length; i++) {
    if (!inside(i % mask.w, Math.floor(i / mask.w))) continue;
    n++;
    sum += mask.p[i];
  }
  const share = mask ? (mask.at[2] - mask.at[0]) * (mask.at[3] - mask.at[1]) : 0;
  const best = mask ? mask.p.reduce((a, b) => Math.max(a, b), 0) : 0;
  $('cut-nothing').hidden = !mask || n > 0;
  piece.hidden = !n;
  $('cut-save').disabled = !n;
  text('cut-covers', mask ? percent((share * n) / mask.p.length) : '–');
  text('cut-again', mask?.isPart ? `${percent(share)} of the picture` : '–');
  text('cut-sure', n ? percent(sum / n) : '–');
  text('cut-box-sure', mask?.sure != null ? percent(mask.sure) : '–');
  text('cut-time', mask ? `${format(mask.ms / 1000, 2)} s` : '–');
  if (!mask || running) return;
  if (n) setStatus(`“${mask.sentence}”`);
  else setStatus(`no place reaches ${$('cut-threshold').value} %; the likeliest has ${percent(best)}`);
}

// ---- a box of one's own ----

const ordered = ([x1, y1, x2, y2]) => [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
const within = (v) => Math.min(1, Math.max(0, v));

function place(e) {
  const r = stage.getBoundingClientRect();
  return [within((e.clientX - r.left) / r.width), within((e.clientY - r.top) / r.height)];
}

let from = null; // where a drag began
stage.addEventListener('pointerdown', (e) => {
  if (boxKind() !== 'own') return;
  from = place(e);
  stage.setPointerCapture(e.pointerId);
});
stage.addEventListener('pointermove', (e) => {
  if (!from) return;
  own = [...from, ...place(e)];
  mask = null;
  draw();
});
for (const type of ['pointerup', 'pointercancel']) {
  stage.addEventListener(type, () => {
    from = null;
    // A click is no box.
    if (own && (Math.abs(own[0] - own[2]) < 0.01 || Math.abs(own[1] - own[3]) < 0.01)) own = null;
    draw();
  });
}
stage.addEventListener('keydown', (e) => {
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[e.key];
  if (!step || boxKind() !== 'own') return;
  e.preventDefault();
  own ??= [0.25, 0.25, 0.75, 0.75];
  const [dx, dy] = step.map((v) => v / 50), [x1, y1, x2, y2] = ordered(own);
  if (e.shiftKey) own = [x1, y1, within(Math.max(x2 + dx, x1 + 0.02)), within(Math.max(y2 + dy, y1 + 0.02))];
  else if (x1 + dx >= 0 && x2 + dx <= 1 && y1 + dy >= 0 && y2 + dy <= 1) own = [x1 + dx, y1 + dy, x2 + dx, y2 + dy];
  mask = null;
  draw();
});

// ---- the buttons ----

$('cut-form').addEventListener('submit', (e) => {
  e.preventDefault();
  if (!$('cut-go').disabled) run();
});
$('cut-cancel').addEventListener('click', () => running?.abort());
$('cut-threshold').addEventListener('input', draw);
for (const radio of document.querySelectorAll('[name=cut-box]')) radio.addEventListener('change', draw);
$('cut-save').addEventListener('click', () => save(piece, 'cut-out.png'));
refresh();
