// raceview.js - draws a race as CarRacing shows it: from above, the car upright near the lower edge
// and the world turning around it, instruments in a black bar beneath.
//
// The scene is 1000 x 800, as the game's own window is before it becomes the 96 x 96 pixels that a
// model gets; colours and measures are the game's, so that what was learned there holds here.

import {ROAD, FIELD, WHEELS} from './race.js';

export const WIDTH = 1000, HEIGHT = 800;
const ZOOM = 16.2, AHEAD = 600; // pixels to a metre; how far down the car is
const SIGHT = 75;               // metres, from the car to beyond each corner
const GRASS = 'rgb(102 204 102)', PATCH = 'rgb(102 230 102)';
const BORDER = 8 / 6;
const HULL = [
  [[-60, 130], [60, 130], [60, 110], [-60, 110]],
  [[-15, 120], [15, 120], [20, 20], [-20, 20]],
  [[25, 20], [50, -10], [50, -40], [20, -90], [-20, -90], [-50, -40], [-50, -10], [-25, 20]],
  [[-50, -120], [50, -120], [50, -90], [-50, -90]],
].map((part) => part.map((p) => p.map((v) => v * 0.02)));

export function drawRace(ctx, race) {
  const {car} = race;
  ctx.setTransform(1, 0, 0, 1, 0, 0);
  ctx.fillStyle = '#000';
  ctx.fillRect(0, 0, WIDTH, HEIGHT);
  ctx.translate(WIDTH / 2, AHEAD);
  ctx.scale(ZOOM, -ZOOM);
  ctx.rotate(-car.angle);
  ctx.translate(-car.x, -car.y);
  drawField(ctx, car);
  drawRoad(ctx, race);
  drawCar(ctx, race);
  ctx.setTransform(1, 0, 0, 1, 0, 0);
  drawInstruments(ctx, race);
}

function drawField(ctx, car) {
  ctx.fillStyle = GRASS;
  ctx.fillRect(-FIELD, -FIELD, 2 * FIELD, 2 * FIELD);
  const side = FIELD / 20;
  ctx.fillStyle = PATCH;
  for (let x = -20; x < 20; x += 2) {
    for (let y = -20; y < 20; y += 2) {
      if (Math.hypot((x + 0.5) * side - car.x, (y + 0.5) * side - car.y) < SIGHT) ctx.fillRect(x * side, y * side, side, side);
    }
  }
}

function drawRoad(ctx, {road, car}) {
  const n = road.length, borders = road.map((_, i) => border(road, i));
  for (const [i, b] of road.entries()) {
    if (Math.hypot(b.x - car.x, b.y - car.y) > SIGHT) continue;
    const a = road[(i + n - 1) % n], grey = 102 + Math.trunc(2.55 * (i % 3));
    quad(ctx, `rgb(${grey} ${grey} ${grey})`, edge(a, -ROAD), edge(a, ROAD), edge(b, ROAD), edge(b, -ROAD));
    let side = 0; // a border reaches a little back from where the bend is
    for (let k = 0; k < 4 && !side; k++) side = borders[(i + k) % n];
    if (!side) continue;
    const near = side * ROAD, far = side * (ROAD + BORDER);
    quad(ctx, i % 2 ? '#f00' : '#fff', edge(a, near), edge(a, far), edge(b, far), edge(b, near));
  }
}

// -1 or 1 where the road has turned sharply to that side for four tiles, else 0.
function border(road, i) {
  let turned = 0;
  for (let k = 0; k < 4; k++) {
    const a = road[(i - k + road.length) % road.length].angle, b = road[(i - k - 1 + road.length) % road.length].angle;
    const turn = Math.atan2(Math.sin(a - b), Math.cos(a - b));
    if (Math.abs(turn) > 0.062) turned += Math.sign(turn);
  }
  return Math.abs(turned) === 4 ? -Math.sign(turned) : 0;
}

// The point `right` metres beside the middle of a tile.
const edge = (t, right) => [t.x + right * Math.cos(t.angle), t.y + right * Math.sin(t.angle)];

function quad(ctx, colour, ...points) {
  ctx.fillStyle = ctx.strokeStyle = colour;
  trace(ctx, points);
  ctx.fill();
  ctx.lineWidth = 1 / ZOOM; // no grass shows through between neighbours
  ctx.stroke();
}

function trace(ctx, points) {
  ctx.beginPath();
  for (const p of points) ctx.lineTo(...p);
  ctx.closePath();
}

function drawCar(ctx, {car, wheels}) {
  ctx.translate(car.x, car.y);
  ctx.rotate(car.angle);
  for (const [i, [x, y]] of WHEELS.entries()) {
    ctx.save();
    ctx.translate(x, y);
    if (i < 2) ctx.rotate(car.steer);
    ctx.fillStyle = '#000';
    ctx.fillRect(-0.28, -0.54, 0.56, 1.08);
    drawTread(ctx, wheels[i].phase);
    ctx.restore();
  }
  ctx.fillStyle = 'rgb(204 0 0)';
  for (const part of HULL) {
    trace(ctx, part);
    ctx.fill();
  }
}

// A light mark on the tyre, so that one sees it roll.
function drawTread(ctx, phase) {
  const s1 = Math.sin(phase), s2 = Math.sin(phase + 1.2);
  let c1 = Math.cos(phase), c2 = Math.cos(phase + 1.2);
  if (s1 > 0 && s2 > 0) return;
  if (s1 > 0) c1 = Math.sign(c1);
  if (s2 > 0) c2 = Math.sign(c2);
  ctx.fillStyle = 'rgb(77 77 77)';
  ctx.fillRect(-0.28, 0.54 * Math.min(c1, c2), 0.56, 0.54 * Math.abs(c1 - c2));
}

// Score, speed, the four wheels' speeds, steering, turning.
function drawInstruments(ctx, {car, wheels, score, speed}) {
  const s = WIDTH / 40, h = HEIGHT / 40;
  const bar = (place, value, colour) => {
    ctx.fillStyle = colour;
    ctx.fillRect(place * s, HEIGHT - h - h * value, s, h * value);
  };
  const level = (place, value, colour) => {
    ctx.fillStyle = colour;
    ctx.fillRect(place * s, HEIGHT - 4 * h, value * s, 2 * h);
  };
  ctx.fillStyle = '#000';
  ctx.fillRect(0, HEIGHT - 5 * h, WIDTH, 5 * h);
  bar(5, 0.02 * speed, '#fff');
  for (const [i, w] of wheels.entries()) bar(7 + i, 0.01 * w.omega, i < 2 ? '#00f' : '#30f');
  level(20, -10 * car.steer, '#0f0');
  level(30, -0.8 * car.spin, '#f00');
  const shown = Math.round(Math.abs(score)).toString().padStart(score < 0 ? 3 : 4, '0');
  ctx.fillStyle = '#fff';
  ctx.font = '42px "DejaVu Sans", sans-serif';
  ctx.textAlign = 'center';
  ctx.textBaseline = 'middle';
  ctx.fillText((score < -0.5 ? '-' : '') + shown, 60, HEIGHT - 2.5 * h, 110);
}
