// trainjob.js - runs: one is started, and watched by its events while it learns.
//
// The shown job's events come as a stream. When that breaks, the page goes on behind the last event
// it has; `end` is the last one, with the job as it became. Whatever comes, the job itself is asked
// for soon, at most once a second.

import {$, Problem, askJson, events, fail, hideError, make, problemOf, whole, format} from './shared.js';
import {call} from './key.js';
import {Curve} from './curve.js';
import {refreshForm, request} from './trainhow.js';

const JOBS = 'v1/fine_tuning/jobs', AGAIN_MS = 2000, LOOK_MS = 1000, LOG_MAX = 200;
const OVER = ['succeeded', 'failed', 'cancelled'];
const STATES = {
  validating_files: '… waits until its data is checked', queued: '… waits for its turn', running: '▶ learns', paused: '‖ paused', succeeded: '✓ done', failed: '✗ failed', cancelled: '✗ cancelled',
};
const PHASES = {evaluate: '▶ is compared with what was before', export: '▶ writes its adapter'};

let changed = () => {};
let jobs = [];
let watching = null;  // AbortController of the stream
let drawn = null;     // {id, last}: the job that the curves show, and its last event there
let means = [];       // the losses since the last mean
let once = null;      // {body, key}: a request that is sent again is the same one

export let shown = null; // the job
const loss = new Curve($('train-loss')), tasks = new Curve($('train-tasks'));

export function startJobs(onChange) {
  changed = onChange;
}

export async function listJobs() {
  jobs = (await askJson(`${JOBS}?limit=50`)).data;
  showJobs();
  if (shown || jobs.length) show(shown?.id ?? jobs[0].id);
}

export function leaveJobs() {
  watching?.abort();
}

// ---- a new one ----

async function start() {
  const body = request();
  if (once?.body !== body) once = {body, key: [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('')};
  $('train-go').disabled = true;
  hideError();
  try {
    const reply = await call(JOBS, {method: 'POST', body, headers: {'Content-Type': 'application/json', 'Idempotency-Key': once.key}});
    once = null; // it was answered
    if (!reply.ok) throw await problemOf(reply);
    const job = await reply.json();
    jobs.unshift(job);
    showJobs();
    show(job.id);
    $('train-run').scrollIntoView({block: 'nearest', behavior: 'smooth'});
  } catch (e) {
    fail(e);
  } finally {
    refreshForm();
  }
}

// ---- one run ----

function showJobs() {
  const name = (j) => `${j.user_provided_suffix || j.lammd.recipe}, ${new Date(1000 * j.created_at).toLocaleString('en', {dateStyle: 'medium', timeStyle: 'short'})}: ${j.status.replace('_', ' ')}`;
  $('train-jobs').replaceChildren(...jobs.map((j) => make('option', {value: j.id, textContent: name(j)})));
  if (!jobs.length) $('train-jobs').replaceChildren(make('option', {textContent: 'none yet'}));
  $('train-jobs').disabled = !jobs.length;
  $('train-job').hidden = !jobs.length;
  if (shown) $('train-jobs').value = shown.id;
}

// From its first event on, or behind the last one that is drawn.
async function show(id) {
  watching?.abort();
  const mine = (watching = new AbortController());
  if (drawn?.id !== id) clear(id);
  $('train-jobs').value = id;
  try {
    await look(id);
    for (let isOver = false; !isOver; ) {
      isOver = await follow(drawn, mine.signal);
      if (!isOver) await new Promise((done) => setTimeout(done, AGAIN_MS));
      if (mine.signal.aborted) return;
    }
  } catch (e) {
    if (!mine.signal.aborted) fail(e);
  }
}

function clear(id) {
  drawn = {id, last: null};
  loss.clear(['learning', 'set aside']);
  tasks.clear();
  means = [];
  $('train-log').replaceChildren();
}

// One stream to its end; whether the job is over. A connection that breaks is no error: it is
// tried again.
async function follow(of, signal) {
  const {id} = of, headers = {Accept: 'text/event-stream', ...(of.last && {'Last-Event-ID': of.last})};
  const reply = await call(`${JOBS}/${id}/events`, {headers, signal}).catch((e) => (signal.aborted ? Promise.reject(e) : null));
  if (!reply) return false;
  if (!reply.ok) throw await problemOf(reply);
  try {
    for await (const {name, data} of events(reply.body)) {
      const event = JSON.parse(data);
      if (signal.aborted) return true;
      if (name === 'error') throw new Problem(event);
      if (name === 'end') {
        take(event);
        changed();
        return true;
      }
      of.last = event.id;
      if (event.type === 'metrics') measure(event.data);
      else tell(event);
      lookSoon(id);
    }
  } catch (e) {
    if (e instanceof Problem || signal.aborted) throw e;
  }
  await look(id).catch(() => {});
  return false;
}

function measure({step, total_steps: total, train_loss: train, valid_loss: valid, tasks: parts}) {
  loss.until(total);
  tasks.until(total);
  if (train !== undefined) {
    const every = Math.max(1, Math.round(total / 40));
    loss.add('each step', step, train, true);
    means = [...means, train].slice(-every);
    if (step % every === 0 || step < 3) loss.add('learning', step, means.reduce((a, b) => a + b) / means.length);
  }
  if (valid === undefined) return;
  loss.add('set aside', step, valid);
  for (const [task, value] of Object.entries(parts ?? {})) tasks.add(task, step, value);
}

function tell({created_at: at, level, message}) {
  const time = new Date(1000 * at).toLocaleTimeString('en', {hour12: false});
  $('train-log').prepend(make('li', {className: level}, `${time} ${level === 'info' ? '' : `${level}: `}${message}`));
  if ($('train-log').children.length > LOG_MAX) $('train-log').lastChild.remove();
}

let soon = 0; // the timer
function lookSoon(id) {
  soon ||= setTimeout(() => {
    soon = 0;
    look(id).catch(() => {}); // the stream says what is wrong
  }, LOOK_MS);
}

async function look(id) {
  const [job, list] = await Promise.all([askJson(`${JOBS}/${id}`), askJson(`${JOBS}/${id}/checkpoints`)]);
  if ($('train-jobs').value !== id) return;
  take(job);
  const row = (c) => make('li', {}, `step ${c.step_number}${c.metrics.valid_loss === undefined ? '' : `, loss ${format(c.metrics.valid_loss, 3)}`}, ${(c.bytes / 1e6).toFixed(1)} MB`);
  $('train-checkpoints').replaceChildren(...(list.data.length ? list.data.map(row) : [make('li', {}, OVER.includes(job.status) ? 'none any more' : 'none yet')]));
}

function take(job) {
  const isNew = shown?.id !== job.id || shown.status !== job.status;
  shown = job;
  const {step, steps, wanted} = job.lammd, {status} = job;
  $('train-progress').value = steps ? step / steps : 0;
  $('train-state').textContent = [sayState(job), steps ? `step ${whole(step)} of ${whole(steps)}` : '', left(job), job.error?.message ?? ''].filter((t) => t).join(' · ');
  $('train-pause').disabled = !['queued', 'running'].includes(status) || Boolean(wanted);
  $('train-resume').disabled = status !== 'paused';
  $('train-cancel').disabled = OVER.includes(status) || wanted === 'cancel';
  if (!isNew) return;
  jobs = jobs.map((j) => (j.id === job.id ? job : j));
  showJobs();
  changed();
}

function sayState({status, lammd: {phase, wanted}}) {
  if (wanted && status === 'running') return wanted === 'pause' ? '‖ writes a checkpoint, then it pauses' : '✗ is being cancelled';
  return (status === 'running' && PHASES[phase]) || STATES[status] || status;
}

function left({status, estimated_finish: end}) {
  if (status !== 'running' || !end) return '';
  const s = end - Date.now() / 1000;
  return s < 90 ? `about ${Math.max(1, Math.round(s))} s left` : `about ${Math.round(s / 60)} min left`;
}

// ---- the buttons ----

async function act(what) {
  hideError();
  try {
    const {id} = shown;
    take(await askJson(`${JOBS}/${id}/${what}`, {method: 'POST'}));
    if (what === 'resume') show(id);
  } catch (e) {
    fail(e);
  }
}

for (const what of ['pause', 'resume', 'cancel']) $(`train-${what}`).addEventListener('click', () => act(what));
$('train-form').addEventListener('submit', (e) => {
  e.preventDefault();
  if (!$('train-go').disabled) start();
});
$('train-jobs').addEventListener('change', () => {
  hideError();
  show($('train-jobs').value);
});
