/* out.h - between the long blocks of a train and files: what ckpt.c, adapter.c and export.c share.
 *
 * Room-private. Thread: the trainer's.
 */
#ifndef ENGINE_TRAIN_OUT_H
#define ENGINE_TRAIN_OUT_H

#include "engine/files/safetensors.h"
#include "engine/train/internal.h"

/* The block to judge and export by: the newest weights, or their average. */
struct kern_ptr out_block(const struct train *t);

/* Floats at .. at+n-1 of a parameter, from and to a block. */
int out_get(const struct train *t, struct kern_ptr block, const struct param *p, size_t at,
            float *to, size_t n, struct err *e);
void out_put(const struct train *t, struct kern_ptr block, const struct param *p, size_t at,
             const float *from, size_t n);
/* All of it, from a tensor with as many elements, of any of the types, into several blocks. addr
 * NULL of a block: passed over. E_NOMEM. */
int out_put_tensor(const struct train *t, const struct kern_ptr *blocks, int n_blocks,
                   const struct param *p, const struct st_tensor *from, struct err *e);

/* A parameter as an f32 tensor of a file. `name` is borrowed. */
struct st_tensor out_tensor(const char *name, const struct param *p);
/* Has t the shape of p? */
int out_fits(const struct st_tensor *t, const struct param *p);

/* Rank 0 writes, the others wait: is this rank 0? And what came of it, on all ranks: rc of rank 0,
 * with its text there and another one elsewhere. */
int out_is_mine(const struct train *t);
int out_agree(const struct train *t, int rc, const char *path, struct err *e);

#endif
