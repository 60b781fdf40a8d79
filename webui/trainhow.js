// trainhow.js - how a run is to learn: the form between the data and Start.
//
// The recipes are those that the server offers, the tasks those that its check found in the chosen
// data. What is left as it is isn't sent: then the recipe decides.

import {$, askJson, make, whole} from './shared.js';
import {chosen} from './trainfile.js';

const QUESTIONS_LEAST = 30; // below that the gate decides nothing

let recipes = [];
let offered = null; // {id, names}: the file whose tasks are shown

export async function listRecipes() {
  recipes = (await askJson('v1/fine_tuning/recipes')).data;
  const before = $('train-recipe').value;
  $('train-recipe').replaceChildren(...recipes.map((r) => make('option', {value: r.id, textContent: r.id})));
  if (recipes.some((r) => r.id === before)) $('train-recipe').value = before;
  refreshForm();
}

function recipe() {
  return recipes.find((r) => r.id === $('train-recipe').value);
}

function boxes() {
  return [...$('train-which').querySelectorAll('input')];
}

// The tasks that are to be learnt; undefined: all that there are.
function picked() {
  const all = boxes(), on = all.filter((b) => b.checked).map((b) => b.value);
  return on.length === all.length ? undefined : on;
}

// A box for each task of the data. A task that the recipe leaves out begins without its mark.
function showTasks() {
  const counts = chosen?.lammd.report?.tasks ?? {}, names = Object.keys(counts).filter((t) => counts[t]);
  const id = `${chosen?.id} ${names} ${recipe()?.lammd.tasks}`;
  if (offered === id) return;
  offered = id;
  const own = recipe()?.lammd.tasks;
  const row = (t) => make('label', {}, make('input', {type: 'checkbox', value: t, checked: !own || own.includes(t)}), make('span', {}, `${t} ${whole(counts[t])}`));
  $('train-which').replaceChildren($('train-which').firstElementChild, ...names.map(row));
  $('train-which').hidden = !names.length;
}

function advice() {
  if (!chosen) return 'Choose the data first.';
  if (chosen.status === 'error') return 'This data has mistakes.';
  if (picked()?.length === 0) return 'Mark at least one task.';
  const share = recipe()?.set_aside ?? 0, lines = chosen.lammd.report?.lines ?? 0, aside = Math.round(lines * share);
  if (!lines || $('train-judge').value || aside >= QUESTIONS_LEAST) return '';
  return `${whole(lines)} lines: about ${Math.max(1, aside)} are set aside to judge by, and below ${QUESTIONS_LEAST} nothing is decided. Under More, choose another file to judge by.`;
}

// `chosen` is the file that would be learnt from.
export function refreshForm() {
  const {lammd, description, set_aside: share} = recipe() ?? {};
  showTasks();
  $('train-recipe-says').textContent = description ?? '';
  $('train-vision').options[0].textContent = lammd ? `as the recipe: ${lammd.vision ? 'yes' : 'no'}` : 'as the recipe';
  $('train-judge').options[0].textContent = share ? `${percent(share)} of the data` : 'what the recipe sets aside';
  $('train-form-says').textContent = advice();
  $('train-go').disabled = !recipe() || !chosen || chosen.status === 'error' || picked()?.length === 0;
}

function percent(share) {
  return `${Number((100 * share).toFixed(1))} %`;
}

// The body of POST /v1/fine_tuning/jobs.
export function request() {
  const number = (id) => ($(id).value === '' ? undefined : Number($(id).value));
  const text = (id) => $(id).value.trim() || undefined;
  const vision = {yes: true, no: false}[$('train-vision').value];
  return JSON.stringify({
    training_file: chosen.id, validation_file: text('train-judge'), suffix: text('train-suffix'), seed: number('train-seed'),
    method: {type: 'supervised', supervised: {hyperparameters: {learning_rate_multiplier: number('train-rate')}}},
    lammd: {recipe: text('train-recipe'), steps: number('train-steps'), tasks: picked(), vision, lora: number('train-rank') && {r: number('train-rank')}},
  });
}

for (const id of ['train-judge', 'train-recipe', 'train-which']) $(id).addEventListener('change', refreshForm);
