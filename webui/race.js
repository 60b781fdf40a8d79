// race.js - a closed road and a car on it: what the play tab's game is, without a pixel of it.
//
// Lengths, masses, forces and the score are those of Gymnasium's CarRacing (its scene in metres, y
// up, a step of 1/50 s), so that a model which has learned that game finds its way here: the car is
// a body on four wheels, each with a turning speed of its own, and every wheel pushes as hard as
// the difference between its rim and the ground asks for, up to what the ground bears. Here the car
// is one rigid body, where the game has five with joints. The road is made in another way: a
// polygon around the middle with rounded corners.
// Thread: none; it moves when step() is called.

export const STEP = 1 / 50;         // seconds
export const ROAD = 40 / 6;         // half the road's width
export const FIELD = 2000 / 6;      // beyond it the race is over
const TILE = 21 / 6;                // length of the road's pieces

const UNIT = 0.02;                  // of the car's drawing
export const WHEELS = [[-55, 80], [55, 80], [-55, -82], [55, -82]].map((at) => at.map((v) => v * UNIT));
const WHEEL_RADIUS = 27 * UNIT;
const MASS = 7.3, INERTIA = 19.2;   // of hull and wheels together
const WHEEL_INERTIA = 4000 * UNIT ** 2, ENGINE = 1e8 * UNIT ** 2;
const GRIP = 1e6 * UNIT ** 2, GRIP_GRASS = 0.6 * GRIP; // the most that a wheel can push
const STIFFNESS = 205000 * UNIT ** 2;
const STEER_MAX = 0.4, STEER_SPEED = 3;

// ---- the road ----

// mulberry32: the same seed makes the same road everywhere.
function dice(seed) {
  let s = seed >>> 0;
  return () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = Math.imul(s ^ (s >>> 15), 1 | s);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// Tiles of the road in driving order: {x, y, angle}; angle 0 looks along y, growing to the left.
export function makeRoad(seed) {
  const random = dice(seed);
  for (;;) {
    const n = 12, corners = [];
    for (let i = 0; i < n; i++) {
      const a = ((i + 0.6 * random()) / n) * 2 * Math.PI, r = 75 + 85 * random();
      corners.push([r * Math.cos(a), r * Math.sin(a)]);
    }
    const path = roundOff(corners, 24, 12);
    if (path) return tiles(path);
  }
}

// The polygon with arcs for corners, as a dense line of points; null when one would be too tight.
function roundOff(corners, radius, radiusMin) {
  const path = [], n = corners.length;
  for (let i = 0; i < n; i++) {
    const [before, at, after] = [corners[(i + n - 1) % n], corners[i], corners[(i + 1) % n]];
    const u = unit(before, at), v = unit(at, after);
    const turn = Math.atan2(u[0] * v[1] - u[1] * v[0], u[0] * v[0] + u[1] * v[1]);
    const room = 0.48 * Math.min(distance(before, at), distance(at, after));
    const half = Math.tan(Math.abs(turn) / 2), r = Math.min(radius, room / Math.max(half, 1e-6));
    if (r < radiusMin) return null;
    const start = [at[0] - u[0] * r * half, at[1] - u[1] * r * half], side = Math.sign(turn);
    const middle = [start[0] - side * r * u[1], start[1] + side * r * u[0]];
    const count = Math.max(2, Math.ceil((Math.abs(turn) * r) / 0.5));
    for (let k = 0; k <= count; k++) {
      const c = Math.cos((turn * k) / count), s = Math.sin((turn * k) / count);
      const d = [start[0] - middle[0], start[1] - middle[1]];
      path.push([middle[0] + c * d[0] - s * d[1], middle[1] + s * d[0] + c * d[1]]);
    }
  }
  return path;
}

const distance = (a, b) => Math.hypot(b[0] - a[0], b[1] - a[1]);

function unit(a, b) {
  const d = distance(a, b);
  return [(b[0] - a[0]) / d, (b[1] - a[1]) / d];
}

// Points at equal steps along the closed line, beginning in the middle of its longest straight.
function tiles(path) {
  const next = (i) => path[(i + 1) % path.length];
  const lengths = path.map((p, i) => distance(p, next(i)));
  const total = lengths.reduce((a, b) => a + b), n = Math.round(total / TILE), step = total / n;
  const longest = lengths.indexOf(Math.max(...lengths)), road = [];
  let i = longest, along = lengths[longest] / 2;
  for (let k = 0; k < n; k++) {
    while (along > lengths[i]) {
      along -= lengths[i];
      i = (i + 1) % path.length;
    }
    const u = unit(path[i], next(i));
    road.push({x: path[i][0] + along * u[0], y: path[i][1] + along * u[1], angle: Math.atan2(-u[0], u[1])});
    along += step;
  }
  return road;
}

// ---- the race ----

export class Race {
  constructor(seed) {
    this.road = makeRoad(seed);
    const {x, y, angle} = this.road[0];
    this.car = {x, y, angle, vx: 0, vy: 0, spin: 0, steer: 0, gas: 0};
    this.wheels = WHEELS.map(([wx, wy]) => ({wx, wy, omega: 0, phase: 0, isOnRoad: true}));
    this.visited = new Uint8Array(this.road.length);
    this.nVisited = 0;
    this.steps = 0;
    this.near = 0;     // the tile that the car is at
    this.ended = null; // 'lap' or 'lost'
  }

  get score() {
    return (1000 * this.nVisited) / this.road.length - 0.1 * this.steps;
  }

  get speed() {
    return Math.hypot(this.car.vx, this.car.vy);
  }

  // One step of the world under {steering -1..1, gas 0..1, brake 0..1}.
  step({steering, gas, brake}) {
    if (this.ended) return;
    const {car} = this;
    const turn = Math.max(-STEER_MAX, Math.min(STEER_MAX, -steering)) - car.steer;
    car.steer += Math.sign(turn) * Math.min(Math.abs(turn), STEER_SPEED * STEP);
    car.gas = Math.min(gas, car.gas + 0.1);
    let fx = 0, fy = 0, torque = 0;
    for (const [i, w] of this.wheels.entries()) {
      const [x, y, px, py] = this.push(w, i < 2 ? car.steer : 0, i < 2 ? 0 : car.gas, brake);
      fx += x;
      fy += y;
      torque += px * y - py * x;
    }
    car.vx += (fx / MASS) * STEP;
    car.vy += (fy / MASS) * STEP;
    car.spin += (torque / INERTIA) * STEP;
    car.x += car.vx * STEP;
    car.y += car.vy * STEP;
    car.angle += car.spin * STEP;
    this.steps++;
    this.look();
  }

  // The force [x, y] of one wheel, and where from the car's middle it takes hold.
  push(w, steer, gas, brake) {
    const {car} = this, c = Math.cos(car.angle), s = Math.sin(car.angle);
    const px = c * w.wx - s * w.wy, py = s * w.wx + c * w.wy;
    const ahead = [-Math.sin(car.angle + steer), Math.cos(car.angle + steer)], side = [ahead[1], -ahead[0]];
    const vx = car.vx - car.spin * py, vy = car.vy + car.spin * px;
    w.omega += (STEP * ENGINE * gas) / WHEEL_INERTIA / (Math.abs(w.omega) + 5);
    if (brake >= 0.9) w.omega = 0;
    else w.omega -= Math.sign(w.omega) * Math.min(15 * brake, Math.abs(w.omega));
    w.phase += w.omega * STEP;
    let f = STIFFNESS * (w.omega * WHEEL_RADIUS - (ahead[0] * vx + ahead[1] * vy));
    let p = STIFFNESS * -(side[0] * vx + side[1] * vy);
    const tile = this.tileAt(car.x + px, car.y + py);
    w.isOnRoad = tile >= 0;
    if (w.isOnRoad) this.visit(tile);
    const force = Math.hypot(f, p), most = w.isOnRoad ? GRIP : GRIP_GRASS;
    if (force > most) {
      f *= most / force;
      p *= most / force;
    }
    w.omega -= (STEP * f * WHEEL_RADIUS) / WHEEL_INERTIA;
    return [p * side[0] + f * ahead[0], p * side[1] + f * ahead[1], px, py];
  }

  // The tile under a point not far from the car, or -1.
  tileAt(x, y) {
    const n = this.road.length;
    let best = Infinity, at = 0;
    for (let k = -12; k <= 12; k++) {
      const i = (this.near + k + n) % n, t = this.road[i], d = (t.x - x) ** 2 + (t.y - y) ** 2;
      if (d < best) [best, at] = [d, i];
    }
    return best <= ROAD ** 2 ? at : -1;
  }

  visit(tile) {
    this.nVisited += 1 - this.visited[tile];
    this.visited[tile] = 1;
  }

  // Where the car is now, and whether the race is over.
  look() {
    const {car, road} = this;
    // Back on the road after a shortcut, the nearest tile may be any.
    let best = Infinity;
    for (const [i, t] of road.entries()) {
      const d = (t.x - car.x) ** 2 + (t.y - car.y) ** 2;
      if (d < best) [best, this.near] = [d, i];
    }
    const isRound = this.near === 0 && this.nVisited > 0.95 * road.length;
    if (this.nVisited === road.length || isRound) this.ended = 'lap';
    if (Math.max(Math.abs(car.x), Math.abs(car.y)) > FIELD) this.ended = 'lost';
  }
}
