// key.js - the key that a server may ask for: every request of the page goes through call().
//
// A server with keys answers 401. Then the page asks its user for one, and sends the request again.
// The key lives in this variable alone: not in the address, not in storage, gone with the page.

const $ = (id) => document.getElementById(id); // shared.js needs this file first

let key = '';
let asking = null; // the dialog's promise, while it is open: all who wait share it
let isOpen = false; // the server has answered without a key, so it knows of none

export const hasKey = () => key !== '';

// As fetch(), but with the key. A 401 that the user gave no key for is returned as it is.
export function call(path, options = {}) {
  return withKey(options.signal, (auth) => fetch(path, {...options, headers: {...options.headers, ...auth}}));
}

// POST a form that may be long, as XMLHttpRequest does: it tells how far it is. `progress(part)`
// gets 0 to 1. The promise of a Response, as call's.
export function send(path, form, {signal, progress}) {
  return withKey(signal, (auth) => new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open('POST', path);
    request.responseType = 'blob';
    for (const [name, value] of Object.entries(auth)) request.setRequestHeader(name, value);
    request.upload.onprogress = (e) => progress(e.total ? e.loaded / e.total : 0);
    request.onload = () => done(new Response(request.response, {status: request.status, headers: headersOf(request)}));
    request.onerror = () => failed(new TypeError('no connection'));
    request.onabort = () => failed(signal.reason);
    signal.addEventListener('abort', () => request.abort(), {once: true});
    request.send(form);
  }));
}

function headersOf(request) {
  const lines = request.getAllResponseHeaders().trim().split('\r\n');
  return lines.filter((l) => l).map((l) => [l.slice(0, l.indexOf(':')), l.slice(l.indexOf(':') + 1).trim()]);
}

// A key that the user wants to give in place of the present one: whether there is one now.
export async function otherKey() {
  return (asking ??= askForKey(false).finally(() => (asking = null)));
}

async function withKey(signal, ask) {
  for (;;) {
    const sent = key;
    const reply = await ask(sent ? {Authorization: `Bearer ${sent}`} : {});
    isOpen ||= reply.ok && !sent;
    if (reply.status !== 401 || (isOpen && !sent)) return reply;
    if (sent !== key) continue; // another request has asked meanwhile
    asking ??= askForKey(sent !== '').finally(() => (asking = null));
    if (!(await asking)) return reply;
    signal?.throwIfAborted();
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
