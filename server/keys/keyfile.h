/* keyfile.h - the file of keys: who may ask, and what for.
 *
 *     # ID DIGEST SCOPES EXPIRES NAME
 *     k3v9x0a1b2c4 9f86d0...0f00a08 ask,metrics 2027-01-31T00:00:00Z Anna's notebook
 *
 * A key is the text lammd_ID_SECRET. The secret is 256 random bits in hex; the file has only the
 * SHA-256 of that text, so who reads the file can't ask. Fields have blanks between them. EXPIRES
 * is a time in UTC, or `never`. NAME is for people. A line that is empty or begins with # counts
 * for nothing. Errors name the line, and quote nothing of it. Thread: any.
 */
#ifndef SERVER_KEYS_KEYFILE_H
#define SERVER_KEYS_KEYFILE_H

#include <stddef.h>
#include <stdint.h>

#include "api/api.h"
#include "kernels/base/buf.h"

#define KEY_PREFIX "lammd_"
enum {
    KEYFILE_KEYS_MAX = 1024,
    KEYFILE_BYTES_MAX = 1 << 19,
    KEY_ID_MAX = API_KEY_BYTES - 1, /* small letters and digits, 4 or more */
    KEY_NAME_MAX = 64,              /* bytes of UTF-8 */
    KEY_DIGEST_BYTES = 32,
    KEY_SECRET_CHARS = 64
};

struct key {
    char id[KEY_ID_MAX + 1]; /* filled up with NULs */
    uint8_t digest[KEY_DIGEST_BYTES];
    unsigned scopes;
    int64_t expires; /* seconds since 1970; 0: never */
    char name[KEY_NAME_MAX + 1];
    int line; /* of the file, from 1 */
};

/* All keys of a file's text, in its order: *keys is the caller's, mem_free. E_FORMAT, E_TOO_BIG. */
int keyfile_parse(const char *text, size_t len, struct key **keys, int *n, struct err *e);
/* Read a file into `text`, which is born with KEYFILE_BYTES_MAX. E_NOT_FOUND, E_IO, E_TOO_BIG;
 * E_INVALID: not a regular file, or others than its owner may write it. */
int keyfile_load(const char *path, struct buf *text, struct err *e);
/* The line of a key, with its line break. */
void keyfile_line(const struct key *k, struct buf *to);

/* "ask,metrics" <-> a set of scopes; 0: a word is none. */
unsigned keyfile_scopes(const char *words, size_t len);
void keyfile_scope_words(unsigned scopes, char out[64]);
int keyfile_id_is_legal(const char *id, size_t len);
int keyfile_name_is_legal(const char *name);
/* "2027-01-31T00:00:00Z" or "never" <-> seconds since 1970. 0, E_INVALID. */
int keyfile_time(const char *text, size_t len, int64_t *out);
void keyfile_time_text(int64_t t, char out[24]);
/* SHA-256 of a secret's text. 0, E_INTERNAL. */
int keyfile_digest(const char *secret, size_t len, uint8_t out[KEY_DIGEST_BYTES]);

#endif
