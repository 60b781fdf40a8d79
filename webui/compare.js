// compare.js - the same question to two models about the same photo, side by side.
//
// Before is the base, after what was trained; either can be any model that the server has loaded.

import {$, askJson, post, fail, hideError, make, drawPicture, percent} from './shared.js';
import {readPixels} from './paint.js';
import {strokeTwice} from './cutout.js';

const SIDE = 640;
const sides = [...document.querySelectorAll('#train-pair figure')].map((figure) => ({
  model: figure.querySelector('select'), canvas: figure.querySelector('canvas'), says: figure.querySelector('.says'),
}));

let picture = null;
let running = null; // AbortController

const kind = () => document.querySelector('[name=train-ask]:checked').value;

export function comparePicture(next) {
  picture = next;
  running?.abort();
  begin();
}

// The models that can be asked; `after` is the one to compare, if it is there.
export async function listModels(base, after) {
  const names = (await askJson('v1/models')).data.map((m) => m.id).filter((id) => id !== 'lammd');
  for (const {model} of sides) {
    const was = model.value;
    model.replaceChildren(...names.map((n) => make('option', {value: n, textContent: n})));
    model.value = names.includes(was) ? was : base;
  }
  if (after && names.includes(after)) sides[1].model.value = after;
}

function begin() {
  for (const {canvas, says} of sides) {
    if (picture?.bitmap) drawPicture(canvas, picture.bitmap, SIDE);
    says.textContent = picture?.bitmap ? 'not asked yet' : 'no photo yet';
  }
  refresh();
}

function refresh() {
  $('train-compare-go').disabled = !picture?.bitmap || Boolean(running);
  $('train-phrase').disabled = kind() === 'reconstruct';
  $('train-phrase').required = kind() !== 'reconstruct';
  $('train-phrase').placeholder = kind() === 'vqa' ? 'what is it?' : 'the broken tile';
}

async function run() {
  const mine = (running = new AbortController()), phrase = $('train-phrase').value.trim(), what = kind();
  hideError();
  refresh();
  await Promise.all(sides.map(async (side) => {
    side.says.textContent = 'asked';
    try {
      await ASKED[what](side, phrase, mine.signal);
    } catch (e) {
      side.says.textContent = 'no answer';
      if (!mine.signal.aborted) fail(e);
    }
  }));
  if (running === mine) running = null;
  refresh();
}

function form(side, fields) {
  const data = new FormData();
  data.set('image', picture.blob, 'picture');
  for (const [name, value] of Object.entries({model: side.model.value, ...fields})) data.set(name, value);
  return data;
}

const json = async (path, body, signal) => (await post(path, body, {signal, headers: {Accept: 'application/json'}})).json();

// ---- what each question shows ----

const ASKED = {
  async refer(side, sentence, signal) {
    const answer = await json('v1/refer', form(side, {sentence}), signal);
    const ctx = drawPicture(side.canvas, picture.bitmap, SIDE);
    drawBox(ctx, answer.percent);
    side.says.textContent = `a box, ${percent(answer.probability)} sure`;
  },
  async segment(side, sentence, signal) {
    const [mask] = (await json('v1/segment', form(side, {sentence, soft: 'true', png: 'true', size: 'grid'}), signal)).masks;
    const [h, w] = mask.mask.size, grey = await readPixels(mask.png, w, h);
    const ctx = drawPicture(side.canvas, picture.bitmap, SIDE);
    const covered = dimOutside(ctx, w, h, (i) => grey[4 * i] >= 128);
    drawBox(ctx, mask.percent);
    side.says.textContent = `covers ${percent(covered)}`;
  },
  async vqa(side, question, signal) {
    const {answer, probability} = await json('v1/vqa', form(side, {question}), signal);
    side.says.textContent = answer ? `“${answer}”, ${percent(probability)} sure` : 'no words came back';
  },
  async reconstruct(side, phrase, signal) {
    const reply = await post('v1/reconstruct', form(side, {}), {signal, headers: {Accept: 'image/png'}});
    const bitmap = await createImageBitmap(await reply.blob());
    const ctx = drawPicture(side.canvas, picture.bitmap, SIDE);
    ctx.imageSmoothingEnabled = false;
    ctx.drawImage(bitmap, 0, 0, side.canvas.width, side.canvas.height);
    side.says.textContent = 'what it sees';
  },
};

function drawBox(ctx, [x1, y1, x2, y2]) {
  const {width, height} = ctx.canvas, path = new Path2D();
  path.rect((x1 / 100) * width, (y1 / 100) * height, ((x2 - x1) / 100) * width, ((y2 - y1) / 100) * height);
  strokeTwice(ctx, path, '#ffffff');
}

// The part that is inside.
function dimOutside(ctx, w, h, isInside) {
  const image = new ImageData(w, h), small = document.createElement('canvas');
  let n = 0;
  for (let i = 0; i < w * h; i++) {
    if (isInside(i)) n++;
    else image.data.set([8, 12, 18, 185], 4 * i);
  }
  small.width = w;
  small.height = h;
  small.getContext('2d').putImageData(image, 0, 0);
  ctx.imageSmoothingEnabled = false;
  ctx.drawImage(small, 0, 0, ctx.canvas.width, ctx.canvas.height);
  return n / (w * h);
}

// ---- the buttons ----

$('train-compare').addEventListener('submit', (e) => {
  e.preventDefault();
  if (!$('train-compare-go').disabled) run();
});
$('train-photo').addEventListener('click', () => $('choose').click());
for (const radio of document.querySelectorAll('[name=train-ask]')) radio.addEventListener('change', refresh);
for (const {model} of sides) model.addEventListener('change', begin);
refresh();
