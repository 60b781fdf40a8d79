// curve.js - lines over steps, drawn as SVG: losses of a run while it learns.
//
// Lines differ by dash and mark, and each has its name at its end, so no colour is needed. One step
// can be pointed at, or walked to with the arrow keys; its values stand in the figure's caption.

import {format} from './shared.js';

const LINES = [{dash: '', mark: 'circle'}, {dash: '7 4', mark: 'square'}, {dash: '2 3', mark: 'triangle'}, {dash: '10 3 2 3', mark: 'diamond'}, {dash: '14 5', mark: 'cross'}];
const TOP = 12, BOTTOM = 24, LEFT = 44, LABEL = 15, HEIGHT = 220;

export class Curve {
  // `figure` has an svg and a span for what is pointed at.
  constructor(figure) {
    this.svg = figure.querySelector('svg');
    this.readout = figure.querySelector('figcaption span');
    this.clear();
    this.svg.addEventListener('pointermove', (e) => this.pointAt(e.offsetX));
    this.svg.addEventListener('pointerleave', () => this.point(null));
    this.svg.addEventListener('keydown', (e) => this.walk(e));
    new ResizeObserver(() => this.ask()).observe(this.svg);
  }

  // `names` of lines that come later: a dash belongs to a line's place.
  clear(names = []) {
    this.lines = new Map(names.map((name) => [name, {points: []}])); // [[step, value]], isFaint
    this.last = 0;          // the step at the right end
    this.pointed = null;
    this.ask();
  }

  // Points come in the order of their steps. A run that went back to a checkpoint says steps again.
  add(name, step, value, isFaint = false) {
    if (!Number.isFinite(value)) return;
    const line = this.lines.get(name) ?? {points: [], isFaint};
    this.lines.set(name, line);
    while (line.points.length && line.points.at(-1)[0] >= step) line.points.pop();
    line.points.push([step, value]);
    this.ask();
  }

  until(step) {
    this.last = step;
    this.ask();
  }

  // Drawn once a frame, however much came.
  ask() {
    if (this.isAsked) return;
    this.isAsked = true;
    requestAnimationFrame(() => {
      this.isAsked = false;
      if (this.svg.clientWidth) this.draw();
    });
  }

  draw() {
    const lines = [...this.lines].filter(([, l]) => l.points.length), values = lines.flatMap(([, l]) => l.points.map((p) => p[1]));
    const named = lines.filter(([, l]) => !l.isFaint), all = [...this.lines.values()].filter((l) => !l.isFaint), width = this.svg.clientWidth;
    const right = 14 + 7 * Math.min(12, Math.max(4, ...named.map(([name]) => name.length)));
    const last = Math.max(1, this.last, ...lines.map(([, l]) => l.points.at(-1)[0]));
    const ticks = ticksOf(values.length ? Math.min(...values) : 0, values.length ? Math.max(...values) : 1);
    this.x = (step) => LEFT + (step / last) * (width - LEFT - right);
    this.y = (v) => HEIGHT - BOTTOM - ((v - ticks[0]) / (ticks.at(-1) - ticks[0])) * (HEIGHT - TOP - BOTTOM);
    this.svg.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    const parts = [...ticks.map((v) => this.tick(v, width - right, ticks[1] - ticks[0])), ...this.steps(last)];
    lines.forEach(([, l]) => parts.push(...this.line(l, all.indexOf(l))));
    parts.push(...this.labels(named, width - right + 6));
    if (this.pointed !== null) parts.push(shape('line', {class: 'cursor', x1: this.x(this.pointed), x2: this.x(this.pointed), y1: TOP, y2: HEIGHT - BOTTOM}));
    this.svg.replaceChildren(...parts);
    this.svg.setAttribute('aria-label', named.map(([name, l]) => `${name} ${say(l.points[0][1])} to ${say(l.points.at(-1)[1])}`).join(', ') || 'nothing yet');
    this.tell(named);
  }

  tick(v, right, apart) {
    const y = this.y(v), group = shape('g', {class: 'tick'});
    group.append(shape('line', {x1: LEFT, x2: right, y1: y, y2: y}), text(format(v, apart < 0.1 ? 2 : apart < 1 ? 1 : 0), {x: LEFT - 6, y: y + 4, 'text-anchor': 'end'}));
    return group;
  }

  steps(last) {
    const y = HEIGHT - 7;
    return [text('0', {x: LEFT, y, class: 'step'}), text(`step ${last}`, {x: this.x(last), y, class: 'step', 'text-anchor': 'end'})];
  }

  line({points, isFaint}, at) {
    const d = points.map(([step, v], i) => `${i ? 'L' : 'M'}${this.x(step).toFixed(1)} ${this.y(v).toFixed(1)}`).join('');
    if (isFaint) return [shape('path', {class: 'faint', d})];
    const {dash, mark} = LINES[at % LINES.length], every = Math.ceil(points.length / 12);
    const marks = points.filter((_, i) => (points.length - 1 - i) % every === 0).map(([step, v]) => markAt(mark, this.x(step), this.y(v)));
    return [shape('path', {class: 'line', d, 'stroke-dasharray': dash}), ...marks];
  }

  // Names at the lines' ends, pushed apart.
  labels(named, x) {
    const ends = named.map(([name, l]) => ({name, y: this.y(l.points.at(-1)[1])})).sort((a, b) => a.y - b.y);
    ends.forEach((e, i) => i && (e.y = Math.max(e.y, ends[i - 1].y + LABEL)));
    const over = ends.length ? Math.max(0, ends.at(-1).y - (HEIGHT - BOTTOM)) : 0;
    return ends.map(({name, y}) => text(name, {x, y: y - over + 4, class: 'name'}));
  }

  // ---- one step ----

  pointAt(x) {
    const all = [...this.lines.values()].flatMap((l) => l.points.map((p) => p[0]));
    if (!all.length || !this.x) return;
    this.point(all.reduce((best, step) => (Math.abs(this.x(step) - x) < Math.abs(this.x(best) - x) ? step : best)));
  }

  point(step) {
    this.pointed = step;
    this.ask();
  }

  walk(e) {
    const steps = [...new Set([...this.lines.values()].flatMap((l) => l.points.map((p) => p[0])))].sort((a, b) => a - b);
    const at = this.pointed === null ? steps.length : steps.indexOf(this.pointed), far = e.shiftKey ? 10 : 1;
    const to = {ArrowLeft: at - far, ArrowRight: at + far, Home: 0, End: steps.length - 1}[e.key];
    if (to === undefined || !steps.length) return;
    e.preventDefault();
    this.point(steps[Math.min(steps.length - 1, Math.max(0, to))]);
  }

  tell(named) {
    const step = this.pointed ?? (named.length ? Math.max(...named.map(([, l]) => l.points.at(-1)[0])) : null);
    const near = (l) => l.points.findLast((p) => p[0] <= step)?.[1];
    const words = named.filter(([, l]) => near(l) !== undefined).map(([name, l]) => `${name} ${say(near(l))}`);
    this.readout.textContent = step === null ? 'nothing yet' : `step ${step}: ${words.join(', ')}`;
  }
}

const say = (v) => format(v, v < 1 ? 3 : 2);

// 3 to 6 round values that hold both ends.
function ticksOf(low, high) {
  const span = high - low || Math.abs(high) || 1, raw = span / 4, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((k) => k * power >= raw);
  const first = Math.floor(low / step), end = Math.max(first + 1, Math.ceil(high / step));
  return Array.from({length: end - first + 1}, (_, i) => (first + i) * step);
}

function shape(tag, attributes) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function text(content, attributes) {
  const element = shape('text', attributes);
  element.textContent = content;
  return element;
}

function markAt(kind, x, y) {
  const path = {
    circle: 'M-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0', square: 'M-3 -3h6v6h-6z', triangle: 'M0 -4l4 7h-8z', diamond: 'M0 -4l4 4l-4 4l-4 -4z', cross: 'M-3 -3l6 6M-3 3l6 -6',
  }[kind];
  return shape('path', {class: 'mark', d: path, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`});
}
