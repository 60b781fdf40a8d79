/* weights.h - where the weights of a model come from: one table of three functions.
 *
 * bind.c asks for tensors by name and knows nothing else. Behind the table stand a safetensors file
 * and a seed. Room-private. Thread: the one that binds.
 *
 * Weights of a seed are for measuring: the true sizes run at the true speed, and the answers are
 * noise. They are made tensor by tensor, so that a model of 15 GB needs no such room on the host.
 * The same seed and name give the same numbers on every machine.
 */
#ifndef ENGINE_MODEL_WEIGHTS_H
#define ENGINE_MODEL_WEIGHTS_H

#include <stdint.h>

#include "engine/files/safetensors.h"

struct weights {
    /* The tensor of that name; E_NOT_FOUND, E_NOMEM. One of a file has its own shape, whatever is
     * wanted. One of a seed is made in the shape `want` (ndim sizes; -1 fits any). It lasts until
     * WEIGHTS_HELD more have been made. */
    int (*find)(struct weights *w, const char *name, const int64_t *want, int ndim,
                const struct st_tensor **out);
    /* Tensor i of those that are there, in a fixed order; NULL behind the last. A seed has none
     * there. */
    const struct st_tensor *(*each)(const struct weights *w, size_t i);
    int only_shapes; /* what is found has no numbers that may be read: so none are made */
};

/* weights_file.c. Borrows the file. */
struct weights_file {
    struct weights w;
    const struct st *st;
};
void weights_of_file(struct weights_file *f, const struct st *st);

/* weights_seed.c. `any`: the size where -1 is wanted. Vectors and positions are f32, everything
 * else is bf16: 256 different numbers, uniform, with a deviation of 1/sqrt(inputs) in matrices, 1
 * in embeddings, 1/10 in vectors; weights of norms are around 1. */
enum { WEIGHTS_HELD = 4 }; /* made tensors that are there at once */
struct weights_seed {
    struct weights w;
    uint64_t seed;
    int64_t any;
    struct weights_made {
        struct st_tensor t;
        char name[ST_NAME_MAX + 1];
        void *data;
        size_t room; /* bytes at data */
    } made[WEIGHTS_HELD];
    int next;
};
void weights_of_seed(struct weights_seed *s, uint64_t seed, int64_t any);
void weights_seed_clear(struct weights_seed *s);

#endif
