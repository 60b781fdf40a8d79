// play.js - the tab with the game: draws frames, sends each to a session, does what comes back.
//
// Two clocks. "waits": the world takes one step for each answer, never faster than real time, so
// the driving is as good as the model. "runs on": the world goes at real time and the last answer
// holds until the next one comes, so latency costs. Arrow keys (or the four buttons) take the wheel
// for as long as one is held; the model is asked all the same, and its latency measured.
//
// A game is one server session from start to stop; a pause keeps the race but not the session.

import {$, post, fail, hideError, format, whole} from './shared.js';
import {call} from './key.js';
import {Race, STEP} from './race.js';
import {drawRace, WIDTH, HEIGHT} from './raceview.js';

const FRAME = 96, KEEP = 100; // the frame's side; answers that the figures look back on
const REST = {steering: 0, gas: 0, brake: 0};
const view = $('play-canvas').getContext('2d'), frame = $('play-frame').getContext('2d');
const half = document.createElement('canvas').getContext('2d'); // between the two in size

let seed = 1 + Math.floor(1e6 * Math.random());
let race = new Race(seed);
let running = null;    // AbortController of the session
let answer = REST;     // the model's last action
let hands = new Map(); // what a person holds down: key -> what it does
let latencies = [];    // ms from frame to action, as the page sees it
let serverMs = NaN;

export const play = {
  curl(base) {
    return `curl ${base}/v1/act/sessions -H 'Content-Type: application/json' -d '{"game": "car_racing"}'\n` +
      `curl ${base}/v1/act/sessions/ID -H 'Content-Type: image/png' --data-binary @frame.png`;
  },
  shown() {
    draw();
  },
  left() {
    stop('paused');
  },
  // For tests: the race itself.
  get race() {
    return race;
  },
  begin,
};

// A race on the road of this seed, standing at its start.
function begin(newSeed) {
  stop();
  seed = newSeed;
  race = new Race(seed);
  answer = REST;
  setStatus('ready');
  draw();
}

// ---- the loop ----

async function start() {
  if (running) return;
  if (race.ended) begin(seed + 1);
  const mine = (running = new AbortController());
  latencies = [];
  serverMs = NaN;
  hideError();
  refresh();
  setStatus('racing');
  $('play-stage').focus({preventScroll: true});
  let session = null;
  try {
    const body = JSON.stringify({game: 'car_racing'});
    const reply = await post('v1/act/sessions', body, {headers: {'Content-Type': 'application/json'}, signal: mine.signal});
    session = `v1/act/sessions/${(await reply.json()).id}`;
    await drive(session, mine.signal);
  } catch (e) {
    if (!mine.signal.aborted) {
      stop('stopped');
      fail(e);
    }
  } finally {
    // The server forgets it by itself later, should this not arrive.
    if (session) call(session, {method: 'DELETE', keepalive: true}).catch(() => {});
  }
}

async function drive(session, signal) {
  let due = performance.now(); // when the world's next step is, where it runs on
  const clock = setInterval(() => {
    if (signal.aborted) return;
    // After a wait, or a long sleep of the page, the world doesn't hurry.
    due = Math.max(due, performance.now() - (waits() ? 0 : 250));
    if (waits()) return;
    for (; due <= performance.now(); due += 1000 * STEP) race.step(control());
    settle();
  }, 1000 * STEP);
  try {
    while (!signal.aborted) {
      const began = performance.now();
      const action = await askModel(session, signal);
      if (signal.aborted) return;
      answer = action;
      if (waits()) {
        race.step(control());
        settle();
      }
      await sleep(began + 1000 * STEP - performance.now());
    }
  } finally {
    clearInterval(clock);
  }
}

async function askModel(session, signal) {
  drawFrame();
  const png = await new Promise((done) => frame.canvas.toBlob(done, 'image/png'));
  const began = performance.now();
  const reply = await post(session, png, {headers: {'Content-Type': 'image/png'}, signal});
  const {action, latency_ms: ms} = await reply.json();
  if (signal.aborted) return null;
  latencies.push(performance.now() - began);
  if (latencies.length > KEEP) latencies.shift();
  serverMs = ms;
  figures();
  return action;
}

function sleep(ms) {
  return new Promise((done) => setTimeout(done, Math.max(0, ms)));
}

// After the world has moved.
function settle() {
  draw();
  if (race.ended) stop(race.ended === 'lap' ? `lap done in ${format(race.steps * STEP, 1)} s` : 'lost: too far from the road');
}

function stop(why) {
  if (!running) return;
  running.abort();
  running = null;
  answer = REST;
  if (why) setStatus(why);
  refresh();
  draw();
}

const waits = () => document.querySelector('[name=play-clock]:checked').value === 'waits';

// ---- who drives ----

const KEYS = {
  ArrowLeft: {steering: -1}, ArrowRight: {steering: 1}, ArrowUp: {gas: 0.8}, ArrowDown: {brake: 0.8},
};

function control() {
  return hands.size ? Object.assign({...REST}, ...hands.values()) : answer;
}

function hold(key, isDown) {
  if (isDown) hands.set(key, KEYS[key]);
  else hands.delete(key);
  $(`play-${key}`).classList.toggle('held', isDown);
  showControl();
}

addEventListener('keydown', (e) => {
  if (!KEYS[e.key] || !running || e.target.closest('[role=tablist], input')) return;
  e.preventDefault();
  hold(e.key, true);
});
addEventListener('keyup', (e) => KEYS[e.key] && hands.has(e.key) && hold(e.key, false));
addEventListener('blur', () => [...hands.keys()].forEach((key) => hold(key, false)));
for (const key of Object.keys(KEYS)) {
  const button = $(`play-${key}`);
  button.addEventListener('pointerdown', (e) => {
    e.preventDefault();
    hold(key, true);
  });
  for (const type of ['pointerup', 'pointerleave', 'pointercancel']) button.addEventListener(type, () => hold(key, false));
  button.addEventListener('contextmenu', (e) => e.preventDefault()); // a long press is a press
}

// ---- what is shown ----

function draw() {
  drawRace(view, race);
  if (!running) drawFrame();
  $('play-score').textContent = whole(race.score);
  $('play-lap').textContent = `${Math.floor((100 * race.nVisited) / race.road.length)} %`;
  showControl();
}

// In two steps of good smoothing, which comes nearest to the game's own averaging over areas.
function drawFrame() {
  half.drawImage(view.canvas, 0, 0, 2 * FRAME, 2 * FRAME);
  frame.drawImage(half.canvas, 0, 0, FRAME, FRAME);
}

function showControl() {
  const now = running ? control() : REST;
  for (const name of ['steering', 'gas', 'brake']) {
    const bar = $(`play-${name}`), v = now[name];
    bar.style.setProperty('--from', `${name === 'steering' ? 50 + 50 * Math.min(0, v) : 0}%`);
    bar.style.setProperty('--long', `${name === 'steering' ? 50 * Math.abs(v) : 100 * v}%`);
    $(`play-${name}-value`).textContent = v.toFixed(1);
  }
  $('play-who').textContent = !running ? 'nobody drives' : hands.size ? 'you drive' : 'the model drives';
  $('play-who').dataset.who = !running ? 'nobody' : hands.size ? 'you' : 'model';
}

function figures() {
  const last = latencies.at(-1), mean = latencies.reduce((a, b) => a + b, 0) / latencies.length;
  $('play-latency').textContent = format(last, last < 100 ? 1 : 0);
  $('play-mean').textContent = format(mean, mean < 100 ? 1 : 0);
  $('play-worst').textContent = format(Math.max(...latencies), 0);
  $('play-server').textContent = format(serverMs, serverMs < 100 ? 1 : 0);
}

function setStatus(text) {
  $('play-status').textContent = text;
}

function refresh() {
  document.body.dataset.play = running ? 'racing' : 'idle';
  $('play-go').disabled = Boolean(running);
  $('play-stop').disabled = !running;
}

// ---- the buttons ----

view.canvas.width = WIDTH;
view.canvas.height = HEIGHT;
half.canvas.width = half.canvas.height = 2 * FRAME;
half.imageSmoothingQuality = frame.imageSmoothingQuality = 'high';
$('play-go').addEventListener('click', start);
$('play-stop').addEventListener('click', () => stop('paused'));
$('play-new').addEventListener('click', () => begin(seed + 1));
// A page that nobody sees is slowed down by the browser, and closing one hides it first.
document.addEventListener('visibilitychange', () => document.hidden && stop('paused'));
refresh();
