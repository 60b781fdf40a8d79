// key.js - the key that a server may ask for: every request of the page goes through call().
//
// A server with keys answers 401. Then the page asks its user for one, and sends the request again.
// The key lives in this variable alone: not in the address, not in storage, gone with the page.

const $ = (id) => document.getElementById(id); // shared.js needs this file first

let key = '';
let asking = null; // the dialog's promise, while it is open: all who wait share it

export const hasKey = () => key !== '';

// As fetch(), but with the key. A 401 that the user gave no key for is returned as it is.
export async function call(path, options = {}) {
  for (;;) {
    const sent = key;
    const headers = sent ? {...options.headers, Authorization: `Bearer ${sent}`} : options.headers;
    const reply = await fetch(path, {...options, headers});
    if (reply.status !== 401) return reply;
    if (sent !== key) continue; // another request has asked meanwhile
    asking ??= askForKey(sent !== '').finally(() => (asking = null));
    if (!(await asking)) return reply;
    options.signal?.throwIfAborted();
  }
}

// The promise of whether there is a new key.
function askForKey(wasWrong) {
  const dialog = $('key-dialog'), field = $('key-field');
  $('key-why').textContent = wasWrong ? 'This key is not known here, or has expired.' : '';
  field.value = '';
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener('close', () => {
      const given = dialog.returnValue === 'given' ? field.value.trim() : '';
      field.value = '';
      if (given) key = given;
      done(given !== '');
    }, {once: true});
  });
}

$('key-form').addEventListener('submit', (e) => {
  e.preventDefault();
  $('key-dialog').close('given');
});
$('key-cancel').addEventListener('click', () => $('key-dialog').close());
