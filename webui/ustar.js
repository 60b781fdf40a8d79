// ustar.js - a folder becomes a tar, in the browser: what /v1/files takes of pictures and lines.
//
// POSIX.1-1988's form, which `tar --format=ustar` writes: a head of 512 bytes for each file, its
// bytes, zeros up to a multiple of 512; two heads of zeros at the end. The tar is a Blob of parts,
// so the browser reads a file only when it is sent.

const BLOCK = 512, NAME = 100, PREFIX = 155, FILES_MAX = 200_000;
const TAKEN = /\.(jsonl|png|jpe?g|webp)$/i;

// `files` are [{path, file}], paths with slashes, below the folder. {blob, count, left: how many
// were left out, since they are no lines and no pictures}. Throws an Error that is for people.
export function makeTar(files) {
  const all = files.filter(({path}) => TAKEN.test(path) && !path.split('/').some((part) => part.startsWith('.')));
  if (!all.some(({path}) => /\.jsonl$/i.test(path))) throw new Error('there is no .jsonl file in it: one JSON object a line says what is to be learnt');
  if (all.length > FILES_MAX) throw new Error(`it has ${all.length} files; ${FILES_MAX} are allowed`);
  all.sort((a, b) => (a.path < b.path ? -1 : 1));
  const parts = all.flatMap(({path, file}) => [head(path, file.size), file, new Uint8Array(-file.size & (BLOCK - 1))]);
  parts.push(new Uint8Array(2 * BLOCK));
  return {blob: new Blob(parts, {type: 'application/x-tar'}), count: all.length, left: files.length - all.length};
}

function head(path, size) {
  const block = new Uint8Array(BLOCK), encoder = new TextEncoder();
  const put = (at, text) => block.set(encoder.encode(text), at);
  const octal = (at, digits, value) => put(at, value.toString(8).padStart(digits, '0'));
  const [prefix, name] = cut(path, encoder);
  put(0, name);
  octal(100, 7, 0o644); // mode, then owner and group
  octal(108, 7, 0);
  octal(116, 7, 0);
  octal(124, 11, size);
  octal(136, 11, 0); // no time: the same folder is the same bytes
  put(148, ' '.repeat(8)); // the sum is taken over blanks in its own place
  put(156, '0');
  put(257, 'ustar\0' + '00');
  put(345, prefix);
  octal(148, 6, block.reduce((sum, byte) => sum + byte, 0));
  block[154] = 0;
  return block;
}

// [prefix, name]: a long path is cut at a slash.
function cut(path, encoder) {
  const bytes = (text) => encoder.encode(text).length;
  if (bytes(path) <= NAME) return ['', path];
  for (let at = path.indexOf('/'); at > 0; at = path.indexOf('/', at + 1)) {
    const [prefix, name] = [path.slice(0, at), path.slice(at + 1)];
    if (bytes(prefix) <= PREFIX && bytes(name) <= NAME) return [prefix, name];
  }
  throw new Error(`the name ${path} is too long for a tar`);
}

// ---- folders ----

// Of a folder that was dropped: [{path, file}], paths below it.
export async function filesOf(entry, path = '') {
  if (entry.isFile) return [{path, file: await new Promise((done, failed) => entry.file(done, failed))}];
  const reader = entry.createReader(), all = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return all;
    for (const one of some) all.push(...(await filesOf(one, path ? `${path}/${one.name}` : one.name)));
  }
}

// Of a folder that was chosen: its own name stands first in each path.
export function filesChosen(list) {
  return [...list].map((file) => ({path: file.webkitRelativePath.split('/').slice(1).join('/'), file}));
}
