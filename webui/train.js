// train.js - the tab that teaches: data goes up, a run learns from it, its adapter is judged and
// made the default, or taken back.
//
// The parts know their own: trainfile.js the data, trainhow.js the form, trainjob.js the runs,
// adapters.js the gate and the default, compare.js two answers side by side. Here they hear of each
// other. Nothing is asked before the tab is shown; while it isn't, no stream is open.

import {$, Problem, fail} from './shared.js';
import {otherKey} from './key.js';
import {shownTab} from './tabs.js';
import {startFiles, listFiles, dropData, chosen} from './trainfile.js';
import {listRecipes, refreshForm, request} from './trainhow.js';
import {startJobs, listJobs, leaveJobs, shown} from './trainjob.js';
import {startAdapters, listAdapters, showAdapter} from './adapters.js';
import {comparePicture, listModels} from './compare.js';

let base = null;   // the base model's name, once the server has said it
let ready = false; // the key is good for this

export const train = {
  curl(url) {
    if (!chosen) return `curl -F purpose=fine-tune -F file=@pairs.tar ${url}/v1/files`;
    return `curl -H 'Content-Type: application/json' ${url}/v1/fine_tuning/jobs \\\n  -d '${request().replaceAll("'", "'\\''")}'`;
  },
  take: comparePicture,
  drop: dropData,
  shown() {
    if (base) begin();
  },
  left: leaveJobs,
  greet(model) {
    base = model.id;
    if (shownTab() === 'train') begin();
  },
  // The model can't be asked who it is.
  unknown() {
    why('A key with the scopes ask, train and promote is needed here: lammd keys new NAME --scopes ask,train,promote', true);
  },
};

async function begin() {
  try {
    await listRecipes(); // first: it needs the scope train, and files don't
    await listFiles();
    ready = true;
    why('', false);
    await Promise.all([listJobs(), defaults()]);
  } catch (e) {
    if (ready || !explain(e)) fail(e);
  }
}

// One sentence in place of the tab, where it can't be used. Whether it is that.
function explain(e) {
  if (!(e instanceof Problem)) return false;
  if (e.code === 'no_state') why('This server keeps nothing: start it with lammd serve --state DIR --keys FILE to train here.', false);
  else if (e.code === 'scope_missing') why('This key may not train: make one with lammd keys new NAME --scopes ask,train,promote', true);
  else if (e.code === 'unauthorized') why('Training needs keys: start the server with --keys FILE, and make one with lammd keys new NAME --scopes ask,train,promote', true);
  else return false;
  return true;
}

function why(text, wantsKey) {
  $('train-why').hidden = !text;
  $('train-why').firstElementChild.textContent = text;
  $('train-key').hidden = !wantsKey;
  $('train-all').hidden = Boolean(text);
}

// What is loaded and what is the default may have changed.
async function defaults() {
  const made = shown?.status === 'succeeded' ? shown.fine_tuned_model : null;
  await Promise.all([listAdapters(base), listModels(base, made), showAdapter(made)]);
}

startFiles(refreshForm);
startJobs(() => {
  if (ready) defaults().catch(fail);
});
startAdapters(defaults);
refreshForm();
$('train-key').addEventListener('click', async () => {
  if (await otherKey()) begin();
});
