/* digest.h - the SHA-256 that names a model, and that of its tower, taken while its weights go to
 * the device.
 *
 * Hashing 15 GB takes as long as loading them, so a thread of its own does it. It runs ahead over
 * the mapped file and so reads it from the disk, too. Room-private.
 *
 *     digest_start(&d, &(struct digest_of){.st = st}, weights);
 *     rc = ...;                        // load; the bytes must stay
 *     rc = digest_end(&d, rc, &ids, e); // waits, or stops it at once when rc is an error already
 */
#ifndef ENGINE_MODEL_DIGEST_H
#define ENGINE_MODEL_DIGEST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "engine/model/weights.h"
#include "kernels/base/err.h"

/* Lower-case hex. */
struct model_ids {
    char file[65];   /* of the file as it is */
    char all[65];    /* the same, or of that and how the weights are used */
    char vision[65]; /* of what makes features: the tensors of tower and connector, by name */
};

/* What is hashed: a file of weights, or some bytes. */
struct digest_of {
    const struct st *st; /* NULL: the bytes */
    const void *bytes;
    size_t len;
};

struct digest {
    struct digest_of what;
    const struct weights *weights;
    pthread_t thread;
    int has_thread;
    atomic_int stop;
    int is_good; /* the sums are in ids */
    struct model_ids ids;
};

/* Borrows what it hashes, and the weights, too. Where they are of a seed, or NULL, the vision's
 * name is made of the model's. */
void digest_start(struct digest *d, const struct digest_of *what, const struct weights *weights);
/* Ends the thread. Returns rc if that is an error, else 0 and `ids`, or E_INTERNAL. */
int digest_end(struct digest *d, int rc, struct model_ids *ids, struct err *e);
/* The digest of a digest and a word: a name for the same weights used in another way. 0 or
 * E_INTERNAL. */
int digest_add(char hex[65], const char *word, struct err *e);

#endif
