// paint.js - answers become pixels.
//
// A Painting holds what the model has said so far and draws it on four canvases: what it sees, the
// original, the error, the uncertainty. Answers arrive coarse to fine; until its own answer is
// there, a place shows the nearest coarser one above and to the left of it, so the whole picture
// stands early and sharpens. When all answers are in, every pixel is the model's own.

const ERROR_FULL = 32; // levels at the bright end of the error map

const HOT = ramp([[11, 13, 23], [72, 31, 112], [196, 56, 78], [247, 146, 58], [253, 231, 160]]);
const COOL = ramp([[11, 16, 32], [26, 66, 117], [31, 130, 142], [108, 192, 148], [236, 247, 216]]);

// Colour stops -> 256 colours.
function ramp(stops) {
  const out = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (stops.length - 1), k = Math.min(Math.floor(at), stops.length - 2);
    for (let c = 0; c < 3; c++) out[3 * i + c] = Math.round(stops[k][c] + (stops[k + 1][c] - stops[k][c]) * (at - k));
  }
  return out;
}

const BIN = 16, BITS = 24; // of the histogram of entropies: bins a bit, bits at most

export class Painting {
  // `start` is the stream's first event, `truth` the original's pixels (RGBA), `canvases` has seen,
  // original, error, entropy.
  constructor(start, truth, canvases) {
    const {width, height} = start, n = width * height;
    Object.assign(this, {width, height, start, truth, canvases});
    this.stride = start.fields.length;
    this.field = Object.fromEntries(start.fields.map((name, i) => [name, i]));
    this.level = new Uint8Array(n).fill(255);     // 0: own answer; else its block's
    this.raw = new Float32Array(n * this.stride); // the answers, by place
    this.shown = new Int32Array(n).fill(-1);      // whose answer a place shows
    this.bins = new Uint32Array(BIN * BITS + 1);  // answers by entropy
    this.done = 0;
    this.errorSum = 0;
    this.images = {};
    this.pixels = {}; // of the images, as 32 bits each
    for (const [name, canvas] of Object.entries(canvases)) {
      canvas.width = width;
      canvas.height = height;
      this.images[name] = new ImageData(width, height);
      this.pixels[name] = new Uint32Array(this.images[name].data.buffer);
    }
    this.images.original.data.set(truth);
    canvases.original.getContext('2d').putImageData(this.images.original, 0, 0);
  }

  // A flat run of numbers, `fields` of them to a pixel.
  add(values) {
    for (let i = 0; i < values.length; i += this.stride) this.addOne(values, i);
  }

  addOne(values, from) {
    const x = values[from], y = values[from + 1], at = y * this.width + x;
    for (let f = 0; f < this.stride; f++) this.raw[at * this.stride + f] = values[from + f];
    const error = this.errorAt(at), entropy = this.value(at, 'entropy');
    if (entropy !== undefined) this.bins[Math.round(BIN * Math.min(BITS, entropy))]++;
    this.errorSum += error;
    this.done++;
    let size = this.start.coarsest;
    while (size > 1 && (x % size || y % size)) size /= 2;
    const colour = pack(values[from + 2], values[from + 3], values[from + 4]), off = shade(HOT, error / ERROR_FULL);
    for (let j = y; j < Math.min(y + size, this.height); j++) {
      for (let i = x; i < Math.min(x + size, this.width); i++) {
        const own = i === x && j === y, k = j * this.width + i;
        if (!own && this.level[k] <= size) continue;
        this.level[k] = own ? 0 : size;
        this.shown[k] = at;
        this.pixels.seen[k] = colour;
        this.pixels.error[k] = off;
      }
    }
  }

  value(at, name) {
    const f = this.field[name];
    return f === undefined ? undefined : this.raw[at * this.stride + f];
  }

  rgbAt(at) {
    return ['r', 'g', 'b'].map((name) => this.value(at, name));
  }

  errorAt(at) {
    let sum = 0;
    for (let c = 0; c < 3; c++) sum += Math.abs(this.raw[at * this.stride + this.field.r + c] - this.truth[4 * at + c]);
    return sum / 3;
  }

  // The bits between which nearly all answers lie: the ends of the uncertainty map's colours. A
  // fixed scale would show a picture's whole story in two shades.
  entropyRange() {
    const part = (p) => {
      let left = p * (this.done - 1);
      return this.bins.findIndex((n) => (left -= n) < 0) / BIN;
    };
    const lo = part(0.02), hi = part(0.98), spare = Math.max(0, 1 - (hi - lo)) / 2;
    return [Math.max(0, lo - spare), hi + spare];
  }

  drawEntropy() {
    const [lo, hi] = this.entropyRange(), f = this.field.entropy;
    for (let k = 0; k < this.shown.length; k++) {
      const at = this.shown[k];
      if (at >= 0) this.pixels.entropy[k] = shade(COOL, (this.raw[at * this.stride + f] - lo) / (hi - lo));
    }
  }

  // Put what has changed on the screen; once a frame is enough.
  draw() {
    if (this.done && this.field.entropy !== undefined) this.drawEntropy();
    for (const name of ['seen', 'error', 'entropy'])
      this.canvases[name].getContext('2d').putImageData(this.images[name], 0, 0);
  }

  meanError() {
    return this.done ? this.errorSum / this.done : NaN;
  }

  // What is known of one pixel; undefined until the model has named it.
  at(x, y) {
    const at = y * this.width + x, truth = [...this.truth.slice(4 * at, 4 * at + 3)];
    if (this.level[at] !== 0) return {x, y, truth};
    return {
      x, y, truth, rgb: this.rgbAt(at), error: this.errorAt(at), entropy: this.value(at, 'entropy'),
      expected: this.value(at, 'expected_error'),
      prob: ['prob_r', 'prob_g', 'prob_b'].map((name) => this.value(at, name)),
    };
  }
}

// A pixel of ImageData, as the 32 bits that it is in memory.
const IS_LITTLE = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

function pack(r, g, b) {
  return (IS_LITTLE ? (255 << 24) | (b << 16) | (g << 8) | r : (r << 24) | (g << 16) | (b << 8) | 255) >>> 0;
}

function shade(colours, part) {
  const i = 3 * Math.round(255 * Math.min(1, Math.max(0, part)));
  return pack(colours[i], colours[i + 1], colours[i + 2]);
}

// PNG data URL -> RGBA of every pixel.
export async function readPixels(url, width, height) {
  const img = new Image();
  img.src = url;
  await img.decode();
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const ctx = canvas.getContext('2d', {willReadFrequently: true});
  ctx.drawImage(img, 0, 0);
  return ctx.getImageData(0, 0, width, height).data;
}

// A landscape made of nothing but code, so that a newcomer has something to look at.
export function drawSample() {
  const canvas = document.createElement('canvas'), w = (canvas.width = 480), h = (canvas.height = 480);
  const ctx = canvas.getContext('2d');
  const vertical = (top, bottom, stops) => {
    const g = ctx.createLinearGradient(0, top, 0, bottom);
    stops.forEach((c, i) => g.addColorStop(i / (stops.length - 1), c));
    return g;
  };
  ctx.fillStyle = vertical(0, 300, ['#27476e', '#5f8fb4', '#e8c39e', '#f3a05f']);
  ctx.fillRect(0, 0, w, 300);
  const glow = ctx.createRadialGradient(330, 215, 10, 330, 215, 130);
  glow.addColorStop(0, 'rgba(255,236,170,1)');
  glow.addColorStop(0.25, 'rgba(255,214,130,0.7)');
  glow.addColorStop(1, 'rgba(255,190,110,0)');
  ctx.fillStyle = glow;
  ctx.fillRect(0, 0, w, 300);
  ridge(ctx, w, 215, 60, 0.9, '#6d6f8f');
  ridge(ctx, w, 255, 42, 2.3, '#44506a');
  ctx.fillStyle = vertical(300, h, ['#d59a6d', '#5d7f95', '#25435c']);
  ctx.fillRect(0, 300, w, h - 300);
  for (let i = 0; i < 60; i++) {
    const y = 304 + i * 2.9, half = 10 + i * 0.9;
    ctx.fillStyle = `rgba(255,226,160,${0.5 - i * 0.008})`;
    ctx.fillRect(330 - half + 8 * Math.sin(i * 1.7), y, 2 * half * (0.5 + 0.5 * Math.abs(Math.sin(i * 2.1))), 1.6);
  }
  ctx.fillStyle = '#1d3325';
  ctx.beginPath();
  ctx.moveTo(0, 372);
  ctx.bezierCurveTo(90, 330, 190, 392, 250, h);
  ctx.lineTo(0, h);
  ctx.fill();
  for (const [x, y, s] of [[46, 366, 1.25], [96, 372, 0.95], [142, 396, 0.75]]) tree(ctx, x, y, s);
  return new Promise((done) => canvas.toBlob(done, 'image/png'));
}

function ridge(ctx, w, base, height, phase, colour) {
  ctx.fillStyle = colour;
  ctx.beginPath();
  ctx.moveTo(0, 302);
  for (let x = 0; x <= w; x += 4) {
    const y = Math.sin(x * 0.013 + phase) + 0.5 * Math.sin(x * 0.031 + 2 * phase) + 0.22 * Math.sin(x * 0.083 + phase);
    ctx.lineTo(x, base - height * y * 0.5);
  }
  ctx.lineTo(w, 302);
  ctx.fill();
}

function tree(ctx, x, y, s) {
  ctx.fillStyle = '#3c2c22';
  ctx.fillRect(x - 4 * s, y - 20 * s, 8 * s, 44 * s);
  ctx.fillStyle = '#142a1e';
  for (let i = 0; i < 4; i++) {
    const top = y - (118 - i * 24) * s, half = (17 + i * 9) * s;
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x - half, top + 46 * s);
    ctx.lineTo(x + half, top + 46 * s);
    ctx.fill();
  }
}
