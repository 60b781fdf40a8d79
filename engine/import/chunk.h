/* chunk.h - the bytes of the tensors that no original has as they will be, piece by piece.
 * Room-private.
 *
 * Strides are undone. A LoRA is added in f32 and rounded once, to the type that the matrix has.
 * Thread: its owner's.
 */
#ifndef ENGINE_IMPORT_CHUNK_H
#define ENGINE_IMPORT_CHUNK_H

#include "engine/import/internal.h"

enum { CHUNK_BYTES = 1 << 20 /* of a piece, at most */ };

struct chunks {
    const struct import *i;
    const struct entry *held; /* whose LoRA is below */
    float *a, *b, *panel;     /* (r, K) (N, r), and merge_add's own */
    float *room;              /* (CHUNK_BYTES / 2) */
};

/* E_NOMEM. chunks_clear in any case. */
int chunks_init(struct chunks *c, const struct import *i, struct err *e);
void chunks_clear(struct chunks *c);
/* Does its original have it as it will be, in one piece? */
int chunk_is_plain(const struct import *i, const struct entry *t);
/* The tensor as it will be, without its data. */
struct st_tensor chunk_tensor(const struct entry *t);
/* to: bytes at .. at+n-1 of it. E_NOMEM. */
int chunk_get(struct chunks *c, const struct entry *t, size_t at, size_t n, void *to,
              struct err *e);

#endif
