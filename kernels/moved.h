/* moved.h - the bytes that a forward operation has to move at the least: each operand once, read or
 * written, as if caches were endless. What an operation moves in a second is held against what
 * memory gives. Of kern_profile alone.
 */
#ifndef KERNELS_MOVED_H
#define KERNELS_MOVED_H

#include "kernels/kern.h"

/* w: bytes of the whole matrix (n, k). */
uint64_t moved_gemm(const struct kern_gemm *a, int n, int k, uint64_t w);
uint64_t moved_layernorm(const struct kern_norm *a);
uint64_t moved_rmsnorm(const struct kern_norm *a);
uint64_t moved_swiglu(const struct kern_swiglu *a);
uint64_t moved_patchify(const struct kern_patchify *a);
uint64_t moved_add_pos(const struct kern_add_pos *a);
uint64_t moved_embed(const struct kern_embed *a);
uint64_t moved_gather(const struct kern_gather *a);
uint64_t moved_rope(const struct kern_rope *a);
uint64_t moved_attn_full(const struct kern_attn_full *a);
/* Spans once for each group, and what rows store themselves. Tails are left out: the host need not
 * have them. */
uint64_t moved_attn_tree(const struct kern_attn_tree *a);
/* The logits that are chosen among are no more than a row of `probs`. */
uint64_t moved_pick(const struct kern_pick *a);

#endif
