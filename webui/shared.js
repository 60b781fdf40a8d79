// shared.js - what all tabs share: the one picture, the API's errors and streams, small words.
//
// A picture is {blob, name, bitmap, note}: the blob goes to the API, the bitmap on the screen, and
// the note is what a person should know of what became of it, or ''. Browser and API turn it alike,
// as EXIF says. The bitmap is null when the browser can't read the picture.

import {call} from './key.js';

export const $ = (id) => document.getElementById(id);

// What the server takes of a picture: its defaults, until `know` has its own numbers.
const limits = {picture_bytes: 12 * 1024 * 1024, pixels: 16e6, pixels_costly: 4e6};
const SIDE_MAX = 1600; // of a picture that is drawn anew: the model's eye is far coarser
const BODY_MAX = 11 * 1024 * 1024; // as base64 in JSON it still fits in a request
const UPRIGHT = {imageOrientation: 'from-image'};

export function know(model) {
  Object.assign(limits, model.limits);
}

export async function makePicture(blob, name) {
  const ready = await prepare(blob);
  const bitmap = await createImageBitmap(ready.blob, UPRIGHT).catch(() => null);
  return {blob: ready.blob, name, bitmap, note: ready.note || ''};
}

// PNG and JPEG go as they are. What else the browser can read, and what is too large, becomes PNG.
async function prepare(blob) {
  const isPlain = blob.type === 'image/png' || blob.type === 'image/jpeg';
  if (!isPlain && !blob.type.startsWith('image/')) return {blob}; // the API says what it is not
  const bitmap = await createImageBitmap(blob, UPRIGHT).catch((e) => isPlain ? null : Promise.reject(e));
  if (!bitmap) return {blob}; // it may read more than the browser
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const pixels = bitmap.width * bitmap.height;
  const most = isCostly(bytes) ? limits.pixels_costly : limits.pixels;
  if (isPlain && blob.size <= bodyMax() && pixels <= most && !turnsLate(bytes)) return {blob};
  const smaller = await redraw(bitmap);
  const {width, height} = smaller;
  const isShrunk = width < bitmap.width || height < bitmap.height;
  const was = pixels >= 1e6 ? `${(pixels / 1e6).toFixed(pixels < 1e7 ? 1 : 0)} megapixels` : `${bitmap.width} × ${bitmap.height} pixels`;
  const note = isShrunk && `This photo has ${was}; the page made it ${width} × ${height} before sending it.`;
  return {blob: smaller.blob, note};
}

const bodyMax = () => Math.min(BODY_MAX, limits.picture_bytes);

// As a PNG, as large as the server takes it.
async function redraw(bitmap) {
  const {width, height} = bitmap;
  let side = Math.min(SIDE_MAX, Math.max(width, height), Math.sqrt(0.99 * limits.pixels / (width * height)) * Math.max(width, height));
  for (;; side /= 1.5) {
    const c = document.createElement('canvas');
    drawPicture(c, bitmap, Math.floor(side));
    const blob = await new Promise((done) => c.toBlob(done, 'image/png'));
    if (blob.size <= bodyMax() || side < 64) return {blob, width: c.width, height: c.height};
  }
}

// Does it come in several passes over the whole picture, or have 16 bits a colour? A JPEG's frame
// marker or a PNG's header says so.
function isCostly(b) {
  if (b[0] === 0x89) return b[28] !== 0 || (b[24] === 16 && (b[25] & 2) !== 0);
  for (let i = 2; i + 4 < b.length && b[i] === 0xff; i += 2 + b[i + 2] * 256 + b[i + 3]) {
    if (b[i + 1] === 0xc2) return true;
    if (b[i + 1] === 0xda) return false;
  }
  return false;
}

// Does a PNG say behind its pixels how it is turned? The API reads that, browsers don't.
function turnsLate(b) {
  if (b[0] !== 0x89) return false;
  const view = new DataView(b.buffer);
  for (let at = 8, isLate = false; at + 12 <= b.length; at += 12 + view.getUint32(at)) {
    const kind = String.fromCharCode(...b.subarray(at + 4, at + 8));
    if (kind === 'eXIf') return isLate;
    isLate ||= kind === 'IDAT';
  }
  return false;
}

// The picture on a canvas, its longer side `side` pixels.
export function drawPicture(canvas, bitmap, side) {
  const scale = side / Math.max(bitmap.width, bitmap.height);
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const ctx = canvas.getContext('2d');
  ctx.imageSmoothingQuality = 'high';
  ctx.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return ctx;
}

// ---- the API ----

// `body` is the server's problem document; {title, detail} where the page itself says it.
export class Problem extends Error {
  constructor(body) {
    super(body.detail || '');
    this.title = body.title || 'That did not work';
    this.code = body.error?.code;
    this.body = body;
  }
}

export async function problemOf(reply) {
  const body = await reply.json().catch(() => ({title: `The server answered ${reply.status}`}));
  const wait = reply.headers.get('Retry-After');
  if (wait) body.detail = `${body.detail || ''} (try again in ${wait} s)`.trim();
  return new Problem(body);
}

export async function post(path, body, {signal, headers} = {}) {
  const reply = await call(path, {method: 'POST', body, headers, signal});
  if (!reply.ok) throw await problemOf(reply);
  return reply;
}

// The JSON of an answer. `body` is sent as JSON.
export async function askJson(path, {method = 'GET', body, headers, signal} = {}) {
  const type = body ? {'Content-Type': 'application/json'} : {};
  const reply = await call(path, {method, signal, headers: {...headers, ...type}, body: body && JSON.stringify(body)});
  if (!reply.ok) throw await problemOf(reply);
  return reply.json();
}

// The events of a stream as {name, data: text}; comments and unknown lines are passed over.
export async function* events(stream) {
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
      if (part('data')) yield {name: part('event'), data: part('data')};
    }
  }
}

// ---- errors ----

export function fail(e) {
  if (e instanceof Problem) showError(e.title, e.message);
  else showError('lammd can’t be reached', 'is it still running? try again in a moment');
}

export function showError(title, detail) {
  const [strong, span] = $('error').children;
  strong.textContent = title;
  span.textContent = detail;
  $('error').hidden = false;
}

export function hideError() {
  $('error').hidden = true;
}

export function unreadable() {
  showError('This is not a picture', 'the browser can’t read it; a PNG or JPEG photo works best');
}

// ---- words ----

export function format(v, digits) {
  return Number.isFinite(v) ? v.toFixed(digits) : '–';
}

export function whole(v) {
  return Math.round(v).toLocaleString('en');
}

export function percent(v) {
  return v >= 0.1 ? `${Math.round(100 * v)} %` : `${(100 * v).toFixed(1)} %`;
}

// An element with its properties and children; a child may be a text.
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function save(canvas, name) {
  canvas.toBlob((blob) => {
    const a = document.createElement('a');
    a.href = URL.createObjectURL(blob);
    a.download = name;
    a.click();
    setTimeout(() => URL.revokeObjectURL(a.href), 1000);
  });
}
