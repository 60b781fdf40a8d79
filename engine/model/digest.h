/* digest.h - the SHA-256 that names a model, taken while its weights go to the device.
 *
 * Hashing 15 GB takes as long as loading them, so a thread of its own does it. It runs ahead over
 * the mapped file and so reads it from the disk, too. Room-private.
 *
 *     digest_start(&d, bytes, len);
 *     rc = ...;                        // load; the bytes must stay
 *     rc = digest_end(&d, rc, hex, e); // waits, or stops it at once when rc is an error already
 */
#ifndef ENGINE_MODEL_DIGEST_H
#define ENGINE_MODEL_DIGEST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "kernels/base/err.h"

struct digest {
    const void *bytes;
    size_t len;
    pthread_t thread;
    int has_thread;
    atomic_int stop;
    int is_good; /* the sum is in hex */
    char hex[65];
};

void digest_start(struct digest *d, const void *bytes, size_t len);
/* Ends the thread. Returns rc if that is an error, else 0 and `hex`, or E_INTERNAL. */
int digest_end(struct digest *d, int rc, char hex[65], struct err *e);
/* The digest of a digest and a word: a name for the same weights used in another way. 0 or
 * E_INTERNAL. */
int digest_add(char hex[65], const char *word, struct err *e);

#endif
