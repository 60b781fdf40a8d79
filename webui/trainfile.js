// trainfile.js - training data on its way: a folder, a tar or lines go to /v1/files, and what the
// server's check found of them is shown, line by line.
//
// The server looks at a file in a process of its own, so the page asks again until that is over.
// `chosen` is the file that a run would learn from; who starts with startFiles() hears of it.

import {$, Problem, askJson, fail, hideError, make, problemOf, showError, whole} from './shared.js';
import {send} from './key.js';
import {makeTar, filesOf, filesChosen} from './ustar.js';

const AGAIN_MS = 700, ERRORS_SHOWN = 100;

let changed = () => {};
let files = [];
let running = null; // AbortController of an upload, or of waiting for its check

export let chosen = null;

export function startFiles(onChange) {
  changed = onChange;
}

export async function listFiles() {
  files = (await askJson('v1/files?purpose=fine-tune&limit=100')).data;
  showList();
  if (!chosen && files.length) await choose(files[0].id);
}

// ---- the ways in ----

// What was let go of over the tab; whether it is for here. A single picture isn't.
export function dropData(transfer) {
  const entry = transfer.items[0]?.webkitGetAsEntry?.();
  const [file] = transfer.files;
  if (!entry?.isDirectory && (!file || file.type.startsWith('image/'))) return false;
  takeAny(async () => (entry?.isDirectory ? {...makeTar(await filesOf(entry)), name: `${entry.name}.tar`} : {blob: file, name: file.name}));
  return true;
}

async function takeAny(open) {
  hideError();
  try {
    const data = await open();
    const left = data.left ? `${data.left} other files of the folder were left out. ` : '';
    await upload(data, left);
  } catch (e) {
    if (running?.signal.aborted) says('stopped');
    else if (e instanceof Problem || e instanceof TypeError) fail(e);
    else showError('This folder can’t be sent', e.message);
  } finally {
    running = null;
    $('train-sending').hidden = true;
  }
}

async function upload({blob, name}, left) {
  running?.abort();
  const mine = (running = new AbortController());
  $('train-report').hidden = true;
  $('train-sending').hidden = false;
  $('train-sent').value = 0;
  const form = new FormData();
  form.set('purpose', 'fine-tune');
  form.set('file', blob, name);
  const progress = (part) => {
    $('train-sent').value = part;
    says(`${left}${part < 1 ? `${Math.floor(100 * part)} % of ${size(blob.size)} sent` : 'sent; the server takes it in'}`);
  };
  progress(0);
  const reply = await send('v1/files', form, {signal: mine.signal, progress});
  if (!reply.ok) throw await problemOf(reply);
  const file = await reply.json();
  files.unshift(file);
  showList();
  await choose(file.id, mine.signal);
}

// ---- one file ----

async function choose(id, signal) {
  for (;;) {
    const file = await askJson(`v1/files/${id}`, {signal});
    chosen = file;
    $('train-files').value = id;
    if (file.status !== 'uploaded') break;
    says(`${file.filename} is being looked at`);
    changed();
    await new Promise((done) => setTimeout(done, AGAIN_MS));
    if (chosen.id !== id) return; // another was chosen meanwhile
    signal?.throwIfAborted();
  }
  showReport(chosen);
  changed();
}

function showList() {
  $('train-old').hidden = !files.length;
  const row = (f) => make('option', {value: f.id, textContent: `${f.filename}, ${size(f.bytes)}, ${new Date(1000 * f.created_at).toLocaleString('en', {dateStyle: 'medium', timeStyle: 'short'})}`});
  $('train-files').replaceChildren(...files.map(row));
  const judge = $('train-judge').value;
  $('train-judge').replaceChildren(make('option', {value: ''}), ...files.map(row));
  $('train-judge').value = judge;
  if (chosen) $('train-files').value = chosen.id;
}

function showReport({filename, status, lammd: {report}}) {
  const isFine = status === 'processed';
  says(isFine ? `✓ ${filename} can be learnt from` : `✗ ${filename} has mistakes; put them right and send it again`);
  $('train-report').hidden = !report;
  if (!report) return;
  const tasks = Object.entries(report.tasks ?? {}).map(([task, n]) => `${task} ${whole(n)}`).join(', ');
  const facts = [['lines', whole(report.lines ?? 0)], ['pictures', whole(report.pictures ?? 0)], ['tasks', tasks || 'none']];
  if (report.bad) facts.push(['lines with mistakes', whole(report.bad)]);
  const [list, table, more] = $('train-report').children;
  list.replaceChildren(...facts.map(([name, value]) => make('div', {}, make('dt', {}, name), make('dd', {}, value))));
  const errors = (report.errors ?? []).slice(0, ERRORS_SHOWN);
  table.hidden = !errors.length;
  table.tBodies[0].replaceChildren(...errors.map((e) => make('tr', {}, make('td', {}, where(e)), make('td', {}, e.field || '–'), make('td', {}, e.reason))));
  const rest = (report.errors_total ?? 0) - errors.length;
  more.textContent = [...(rest > 0 ? [`and ${whole(rest)} mistakes more`] : []), ...(report.warnings ?? [])].join('; ');
}

function where({file, line}) {
  return `${file || 'the file'}${line ? `, line ${line}` : ''}`;
}

function says(text) {
  $('train-file-says').textContent = text;
}

function size(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

// ---- the buttons ----

$('train-folder').addEventListener('click', () => $('train-folder-input').click());
$('train-choose').addEventListener('click', () => $('train-file-input').click());
$('train-folder-input').addEventListener('change', () => {
  const list = filesChosen($('train-folder-input').files), name = $('train-folder-input').files[0]?.webkitRelativePath.split('/')[0];
  $('train-folder-input').value = '';
  if (list.length) takeAny(async () => ({...makeTar(list), name: `${name}.tar`}));
});
$('train-file-input').addEventListener('change', () => {
  const [file] = $('train-file-input').files;
  $('train-file-input').value = '';
  if (file) takeAny(async () => ({blob: file, name: file.name}));
});
$('train-stop').addEventListener('click', () => running?.abort());
$('train-files').addEventListener('change', () => {
  hideError();
  choose($('train-files').value).catch(fail);
});
