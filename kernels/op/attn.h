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
    /* Training alone: (images*tokens, H) f32, log sum_j exp(s_j) of each row and head, for the way
     * back. addr NULL: not wanted. */
    struct kern_ptr lse;
    enum kern_dtype y_dtype;
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
    struct kern_ptr lse;  /* (rows, H), as in attn_full; addr NULL: not wanted */
    enum kern_dtype y_dtype;
};

/* ---- training: with p_j = exp(s_j - lse) the weights that y was made with,
 *     dv_j += p_j dy,  ds_j = p_j (dy . v_j - dy . y),  dq = scale sum_j ds_j k_j,
 *     dk_j += scale ds_j q
 * Every sum has a fixed order. The sums of a key and head go over the rows that see it in ascending
 * order, those of a row over its keys in their order. */

/* dqkv (images*tokens, 3*H*K), q, k, v as in qkv, is overwritten. */
struct kern_attn_full_back {
    struct kern_attn_full fwd; /* as it ran, with its lse; y in f32 */
    struct kern_ptr dy;        /* (images*tokens, H*K) */
    int lddy;
    struct kern_ptr dqkv;
    int lddqkv;
};

/* A loss beside: the attention of row `row` in each head of the set `heads` shall fall on `n` of
 * the slots that it sees, hold_slots[at .. at+n), ascending, n >= 1. With
 * held = log sum_{j in these} exp(s_j), so that nothing is lost where all p_j are small:
 *     loss = weight sum_heads (lse - held),  ds_j += weight (p_j - [j in these] exp(s_j - held)) */
struct kern_attn_hold {
    int32_t row;
    uint32_t heads; /* bit h: head h; the first 32 can be held */
    int32_t at, n;
    float weight;
};

/* The pools hold f32. dq (rows, lddq) is overwritten; dk and dv (slots, H*K) f32 are added to: they
 * are the gradients of the pools' slots. Slots that no row sees are not touched. No slot stands
 * twice in the list of a row. */
struct kern_attn_tree_back {
    struct kern_attn_tree fwd; /* as it ran, with its lse; y in f32 */
    struct kern_ptr dy;        /* (rows, H*K) */
    int lddy;
    struct kern_ptr dq;
    int lddq;
    struct kern_ptr dk, dv;
    /* The tails the other way round: slot user_slot[i] stands in the tails of the rows
     * user[user_off[i] .. user_off[i+1]), ascending. On the device, but user_off, which is on the
     * host as well. */
    int n_users; /* slots that stand in any tail */
    const int32_t *host_user_off;
    struct kern_ptr user_slot, user_off, user; /* i32 */
    const struct kern_attn_hold *holds;        /* host, by ascending row, at most one a row */
    int n_holds;
    struct kern_ptr dev_holds, hold_slots; /* the same; i32 */
    struct kern_ptr hold_loss;             /* (n_holds) f32, overwritten */
};

#endif
