/* source.h - where a model's weights come from: a file's tensors, or a seed.
 *
 * Weights of a seed are for measuring: the true sizes run at the true speed, and what is answered
 * is noise. They are made tensor by tensor, so that a model of 15 GB needs no such room on the
 * host; the same seed and name give the same numbers on every machine. Room-private. Thread: the
 * one that binds.
 */
#ifndef ENGINE_MODEL_SOURCE_H
#define ENGINE_MODEL_SOURCE_H

#include <stdint.h>

#include "engine/files/safetensors.h"

struct model_config;

enum { SOURCE_HELD = 4 }; /* made tensors that are there at once */

struct source {
    const struct st *st; /* NULL: weights are made from the seed */
    uint64_t seed;
    int64_t any; /* a seed's answer to a size that anything fits (-1) */
    struct source_made {
        struct st_tensor t;
        char name[ST_NAME_MAX + 1];
        void *data;
        size_t room; /* bytes at data */
    } made[SOURCE_HELD];
    int next;
};

/* The file's tensor of that name, whatever its shape, or one made in the shape `want` (ndim sizes)
 * that lasts until SOURCE_HELD more have been made. NULL: the file has none, or there is no memory.
 * Made are: vectors and positions in f32, everything else in bf16; 256 different numbers, uniform,
 * with a deviation of 1/sqrt(inputs) in matrices, 1 in embeddings, 1/10 in vectors; weights of
 * norms around 1. */
const struct st_tensor *source_find(struct source *s, const char *name, const int64_t *want,
                                    int ndim);
/* Is there a tensor of that name? A seed has all. */
int source_has(const struct source *s, const char *name);
/* Bytes of the weights as they come, or the decoder's matrices in 8 bits; of a seed's
 * without the small vectors. */
uint64_t source_bytes(const struct source *s, const struct model_config *c, int as_fp8);
void source_clear(struct source *s);

#endif
