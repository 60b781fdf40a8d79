/* attn.h - attention inside a picture and over the prompt tree. */
#ifndef KERNELS_OP_ATTN_H
#define KERNELS_OP_ATTN_H

#include <stdint.h>

#include "kernels/op/types.h"

/* Attention inside each picture: every token sees every token. qkv (images*tokens, 3*H*K) as above;
 * q is scaled by `scale` before the product; softmax over the tokens; y (images*tokens, H*K). */
struct kern_attn_full {
    int images, tokens, heads, head_size;
    float scale;
    struct kern_ptr qkv;
    int ld;
    struct kern_ptr y;
    int ldy;
};

/* Attention over the prompt tree. The rows of a pass come in groups; the rows of a group share a
 * list of spans, runs of consecutive pool slots that all of them see in full (the stem). Beyond
 * that a row sees either
 *   - own_slot >= 0: the rows of its group up to itself, stored from slot own_slot on (prefill), or
 *   - own_slot <  0: a list of single slots, its own among them (the private tail of a lane).
 * Softmax runs over all of these together: softmax(scale * q.k) v. Keys count in the order spans,
 * then own rows or tail, each in list order; the result of a row depends on that list alone.
 * Every row sees at least one key. The k and v of all rows are in the pools already. */
struct kern_attn_group {
    int32_t row0, rows;   /* rows of the pass: [row0, row0+rows) */
    int32_t span0, spans; /* entries of `span` */
    int32_t own_slot;     /* see above */
};
struct kern_attn_span {
    int32_t slot, len;
};
struct kern_attn_tree {
    int rows, heads, head_size;
    float scale;
    struct kern_ptr q; /* (rows, ldq), as left by rope */
    int ldq;
    struct kern_ptr pool_k, pool_v; /* as in kern_rope */
    enum kern_dtype pool_dtype;
    struct kern_ptr y; /* (rows, ldy) */
    int ldy;
    /* The same index arrays on the host (for planning) and on the device. */
    const struct kern_attn_group *groups; /* host, (n_groups), sorted by row0, covering all rows */
    int n_groups;
    const struct kern_attn_span *spans; /* host */
    int n_spans;
    struct kern_ptr dev_groups, dev_spans;
    struct kern_ptr
        tail_off;         /* (rows + 1) i32: row i's list is tail[tail_off[i] .. tail_off[i+1]) */
    struct kern_ptr tail; /* i32 slots; empty for rows of own_slot >= 0 */
};

#endif
