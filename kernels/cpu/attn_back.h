/* attn_back.h - a block of rows and a block of keys of one head on the way back through attention.
 *
 * All that is wide lies the other way round than on the way there: a line of scores belongs to a
 * key, and has a column for each row. With q, dy the rows, k, v the keys and p = exp(s - lse):
 *
 *     s  (keys, rows) = scale k q^T        dk (keys, K) += scale ds q
 *     dp (keys, rows) = v dy^T             dv (keys, K) += p dy
 *     ds = p (dp - delta)                  dq^T (K, rows) += scale k^T ds
 *
 * So the lines of p and ds are what dk and dv need on the left and dq^T on the right of a product,
 * and nothing has to be turned over but the rows themselves, once.
 */
#ifndef KERNELS_CPU_ATTN_BACK_H
#define KERNELS_CPU_ATTN_BACK_H

#include "kernels/cpu/cpu_kern.h"

enum {
    BACK_ROWS = 96,             /* of a block: whole panels on every instruction set */
    BACK_KEYS = 256,            /* of a block, about */
    BACK_LINE = BACK_ROWS + 16, /* floats from one line to the next, so that their ends don't share
                                   places in the cache */
};

/* Rows as they lie, from the first one of a block on, at one head. */
struct back_src {
    const float *q, *dy, *y, *lse;
    int ldq, lddy, ldy, ld_lse;
};

/* m <= BACK_ROWS rows, packed. They and keys that meet are floats, or both are pairs of bf16
 * (isa.h), which have half of the places below. */
struct back_rows {
    int m, is_pairs;
    float *q_t, *dy_t;  /* panels (K, nr) of the rows; zeros behind m */
    float *q, *dy;      /* panels (m, nr) of the head */
    float *lse, *delta; /* of each row, delta = dy . y; behind m what makes p = 0 */
};
size_t back_rows_floats(const struct cpu_isa *isa, int K);
/* Of floats; who wants pairs sets is_pairs. Packing takes `room` then, back_pairs_floats. */
struct back_rows back_rows_at(const struct cpu_isa *isa, float *room, int m, int K);
void back_rows_pack(const struct cpu_isa *isa, const struct back_rows *to,
                    const struct back_src *from, int K, float *room);
size_t back_pairs_floats(int K);

/* n keys. A block of them is part of what was packed. */
struct back_keys {
    int n, ld_t;
    float *k, *v; /* (n, K) */
    float *k_t;   /* (K, ld_t) */
};
size_t back_keys_floats(int n, int K);
struct back_keys back_keys_at(float *room, int n, int K);
/* k_t from k. */
void back_keys_turn(const struct cpu_isa *isa, const struct back_keys *keys, int K);
/* Keys [from, from + n) of them. */
struct back_keys back_keys_part(const struct back_keys *keys, int from, int n, int K);
/* How many keys of n a block takes: about BACK_KEYS, all blocks alike. */
int back_keys_step(const struct cpu_isa *isa, int n);

/* Where the sums go, and whether they go on from what is there. The scales are for the last of the
 * blocks that a sum is made of. */
struct back_sums {
    float *dk, *dv; /* (n, ld) */
    int ld, go_on_keys;
    float dk_scale;
    float *dq_t; /* (K, ld_q), whole panels of rows */
    int ld_q, go_on_rows;
    float dq_scale;
};

/* Lines (keys, BACK_LINE) of s and dp; these to p and ds; and on to the sums. With pairs p and ds
 * are lines of them, and `turned` has a line for each two keys, in which pairs lie along the keys;
 * else that is ds. */
void back_scores(const struct cpu_isa *isa, int K, float scale, const struct back_keys *keys,
                 const struct back_rows *rows, float *s, float *dp);
void back_slopes(const struct cpu_isa *isa, const struct back_keys *keys,
                 const struct back_rows *rows, float *s, float *dp, float *turned);
void back_add(const struct cpu_isa *isa, int K, const struct back_keys *keys,
              const struct back_rows *rows, const float *p, const float *ds, const float *turned,
              const struct back_sums *to);

#endif
