/* keys.h - the keys that a server knows, and the question whether somebody has one of them.
 *
 *     keys_open("/etc/lammd/keys", &keys, &e);
 *     switch (keys_check(keys, header, now, &k)) ...      // for each request
 *     keys_reload(keys, &n, &e);                          // at SIGHUP; a bad file changes nothing
 *
 * A key is found by its id, which is no secret. Its secret is compared as a digest, and that takes
 * the same work whether the id is known or not. Thread: any.
 */
#ifndef SERVER_KEYS_KEYS_H
#define SERVER_KEYS_KEYS_H

#include <stdint.h>

#include "api/api.h"

struct keys;

enum key_verdict {
    KEY_GOOD,
    KEY_NONE,   /* no key was sent */
    KEY_BAD,    /* it is malformed, unknown, or not the secret of its id */
    KEY_EXPIRED /* it was good once */
};

struct key_found {
    char id[API_KEY_BYTES]; /* also of a bad key, if it has the form of one; else "" */
    unsigned scopes;        /* of a good key; else 0 */
};

/* E_NOT_FOUND, E_IO, E_INVALID, E_FORMAT, E_TOO_BIG; the text names the file and the line. */
int keys_open(const char *path, struct keys **out, struct err *e);
void keys_close(struct keys *k); /* NULL is legal */
/* Read the file again. On failure the keys stay; the text names the line, but not the file. *n: how
 * many keys there are now. */
int keys_reload(struct keys *k, int *n, struct err *e);
/* `header`: the value of Authorization; NULL: there is none. `now`: seconds since 1970. */
enum key_verdict keys_check(struct keys *k, const char *header, int64_t now,
                            struct key_found *found);

#endif
