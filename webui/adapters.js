// adapters.js - what a run has made: its gate's figures, and which adapter is the default.
//
// To promote is one step where the gate lets it through. Where it doesn't, the server's refusal is
// shown with its reason, and only then there is a second button, which says what it does.

import {$, Problem, askJson, fail, hideError, make, format} from './shared.js';

const ADAPTERS = 'v1/adapters';
const LOADS_S = 60; // seconds, in each of which it is asked whether one is loaded
const DECISIONS = {better: '▲ better', worse: '▼ worse', not_worse: '= not worse', not_decided: '? not decided'};
const METRICS = {
  mae_levels: 'error in levels', ciou: 'mask overlap', p_at_05: 'boxes found', word_f1: 'right words', box_f1: 'boxes found', same_action: 'same action',
};
const EVENTS = {load: 'loaded', unload: 'unloaded', promote: 'made the default', rollback: 'rolled back to'};

let changed = () => {};
let name = null; // of the adapter that is shown
let views = 0;   // it was shown so often: what was asked for an older view is too late
let base = null; // the base model's name

export function startAdapters(onChange) {
  changed = onChange;
}

// Of a job that has succeeded; null hides it.
export async function showAdapter(wanted) {
  const view = ++views;
  name = wanted;
  $('train-result').hidden = true;
  $('train-refused').hidden = true;
  says('');
  if (!wanted) return;
  const it = await askJson(path(wanted));
  if (view !== views) return;
  $('train-result').hidden = false;
  $('train-load').hidden = it.state === 'loaded';
  $('train-promote').disabled = it.state !== 'loaded' || it.default;
  if (it.default) says(`${wanted} is the default: it answers whoever names no model.`);
  else if (it.state !== 'loaded') says(it.why ? `It isn’t loaded: ${it.why}.` : 'It isn’t loaded yet.');
  showGate(it.gate);
  if (it.state !== 'loaded' && !it.why) follow(wanted, view).catch(fail);
}

// A job has succeeded a moment before its adapter is loaded. Then everything is asked once more,
// for the view that is there now, and for no later one.
async function follow(wanted, view) {
  for (let i = 0; i < LOADS_S && view === views; i++) {
    await new Promise((done) => setTimeout(done, 1000));
    if (view === views && (await askJson(path(wanted))).state === 'loaded' && view === views) return changed();
  }
}

export async function listAdapters(model) {
  base = model;
  const [all, history] = await Promise.all([askJson(ADAPTERS), askJson(`${ADAPTERS}/history`)]);
  $('train-now').hidden = false;
  $('train-default').replaceChildren(make('b', {}, all.default), all.default === base ? ', the base model, answers whoever names no model.' : ` answers whoever names no model. ${base} is the base.`);
  const count = (event) => history.data.filter((l) => l.event === event).length;
  $('train-back').disabled = all.default === base && count('promote') <= count('rollback');
  const row = (l) => make('tr', {}, cell(new Date(l.time).toLocaleString('en', {dateStyle: 'medium', timeStyle: 'short'}), 'When'), cell((EVENTS[l.event] ?? l.event) + (l.forced ? ', forced' : ''), 'What'), cell(l.name, 'Which'), cell(l.key || '–', 'By'));
  $('train-history').hidden = !history.data.length;
  $('train-history').tBodies[0].replaceChildren(...history.data.slice(0, 50).map(row));
}

// ---- the gate ----

function showGate(gate) {
  $('train-decision').textContent = gate ? `${DECISIONS[gate.decision] ?? gate.decision}: ${gate.why || `of ${gate.items} questions`}` : '? not compared: it has no figures.';
  $('train-gate').hidden = !gate;
  if (!gate) return;
  const rows = [...gate.tasks.map((r) => gateRow(r, '')), ...(gate.battery ?? []).map((r) => gateRow(r, ' (other things)'))];
  $('train-gate').tBodies[0].replaceChildren(...rows);
}

function gateRow(r, whose) {
  const number = (v) => format(v, 1), signed = (v) => (v > 0 ? '+' : v < 0 ? '−' : '±') + format(Math.abs(v), 1);
  const task = make('th', {scope: 'row'}, `${r.task}${whose}`, make('small', {}, `${METRICS[r.metric] ?? r.metric}, ${r.higher_is_better ? 'more' : 'less'} is better, ${r.n} asked`));
  const difference = cell(`${signed(r.difference)}, ${signed(r.low)} to ${signed(r.high)}`, 'Difference, 95 %');
  return make('tr', {className: r.decision}, task, cell(number(r.before), 'Before'), cell(number(r.after), 'After'), difference, cell(DECISIONS[r.decision] ?? r.decision, 'So it is'));
}

// Narrow screens show `label` beside it.
function cell(text, label) {
  const td = make('td', {}, text);
  td.dataset.label = label;
  return td;
}

// ---- acts ----

const path = (adapter) => `${ADAPTERS}/${encodeURIComponent(adapter)}`;

function says(text) {
  $('train-result-says').textContent = text;
}

async function act(where, body, after) {
  hideError();
  $('train-refused').hidden = true;
  try {
    after(await askJson(where, {method: 'POST', body}));
    await changed();
  } catch (e) {
    if (e instanceof Problem && ['gate_refused', 'gate_not_decided'].includes(e.code)) refused(e);
    else fail(e);
  }
}

function refused(e) {
  const [strong, span] = $('train-refused').querySelectorAll('strong, span');
  strong.textContent = e.title;
  span.textContent = e.message;
  if (e.body.gate) showGate(e.body.gate);
  $('train-force').textContent = e.code === 'gate_refused' ? 'Make it the default although it is worse' : 'Make it the default although nothing is decided';
  $('train-refused').hidden = false;
  $('train-force').focus();
}

const promote = (force) => act(`${path(name)}/promote`, {force}, () => {});
$('train-promote').addEventListener('click', () => promote(false));
$('train-force').addEventListener('click', () => promote(true));
$('train-load').addEventListener('click', () => {
  says('It is being loaded.');
  act(ADAPTERS, {name}, () => says(''));
});
$('train-back').addEventListener('click', () => act(`${ADAPTERS}/rollback`, {}, () => {}));
