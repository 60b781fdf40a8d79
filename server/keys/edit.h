/* edit.h - changing the file of keys: `lammd keys`.
 *
 * The file is changed as text, so comments and order stay. It appears whole or not at all, and only
 * its owner may read it. Two edits at once take turns: the folder is locked. Thread: main's.
 */
#ifndef SERVER_KEYS_EDIT_H
#define SERVER_KEYS_EDIT_H

#include "server/keys/keyfile.h"

enum { KEY_TEXT_BYTES = sizeof(KEY_PREFIX) + KEY_ID_MAX + 1 + KEY_SECRET_CHARS + 1 };

/* Adds a key and writes its text, which is nowhere else. The file may be missing. `expires`: 0 is
 * never. E_INVALID (the name, the scopes), E_FORMAT (the file), E_TOO_BIG, E_IO, E_INTERNAL. */
int edit_new(const char *path, const char *name, unsigned scopes, int64_t expires,
             char text[KEY_TEXT_BYTES], struct err *e);
/* Takes a key out. E_NOT_FOUND: there is none of this id, or no file. Else as above. */
int edit_revoke(const char *path, const char *id, struct err *e);

#endif
