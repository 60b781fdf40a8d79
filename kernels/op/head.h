/* head.h - choices among some columns of the logits. */
#ifndef KERNELS_OP_HEAD_H
#define KERNELS_OP_HEAD_H

#include <stdint.h>

#include "kernels/op/types.h"

/* Softmax over some columns of each row, and the most likely one. Row i uses the column list
 * cols[col_off[s] .. col_off[s+1]), s = set[i]. probs[i][j] belongs to the j-th column of the
 * list; best[i] is the index in the list of the largest logit, the lowest on a tie. */
struct kern_pick {
    int rows;
    struct kern_ptr logits; /* (rows, ld) f32 */
    int ld;
    struct kern_ptr set;     /* (rows) i32 */
    struct kern_ptr col_off; /* (sets + 1) i32 */
    struct kern_ptr cols;    /* i32 */
    struct kern_ptr probs;   /* (rows, ldp) f32, ldp >= the longest list */
    int ldp;
    struct kern_ptr best; /* (rows) i32 */
};

/* ---- training ---- */

/* Cross-entropy against a distribution: row i has the targets target[t] with shares share[t],
 * t in [off[i], off[i+1]), which sum to 1: a single one is the usual case, several are soft
 * targets or a teacher's answer. Over all n columns of its logits:
 *     loss[i] = weight[i] sum_t share[t] (log sum_c exp(logits[i][c]) - logits[i][target[t]])
 *     dlogits[i] = weight[i] (softmax(logits[i]) - share)
 * dlogits may be logits. No target stands twice in a row. A row without targets has loss 0 and
 * gradient 0. */
struct kern_xent {
    int rows, n;
    struct kern_ptr logits; /* (rows, ld) */
    int ld;
    struct kern_ptr off;    /* (rows + 1) i32 */
    struct kern_ptr target; /* i32, columns */
    struct kern_ptr share;  /* f32 */
    struct kern_ptr weight; /* (rows) f32 */
    struct kern_ptr dlogits;
    int lddlogits;
    struct kern_ptr loss; /* (rows) f32 */
};

/* The loss of expected boxes. Box b has four rows of logits, row[4b .. 4b+3]: x1, y1, x2, y2. In
 * each the number n_c has column cols[c], c = 0 .. n-1, and the expected number is
 * e = sum_c p_c c / (n - 1), p the softmax over these columns alone.
 *     loss[b] = weight[b] (l1 sum_4 |e - target| + giou (1 - GIoU(e, target)))
 * GIoU as Rezatofighi et al. 2019 (arXiv 1902.09630), algorithm 2: of the expected numbers the
 * smaller is the left or upper one; those of the target are in order. A quotient by 0 is 0. Of an
 * expected number and an equal one of the target the target's counts, which has no gradient. |d|
 * is smooth below `beta`: d^2 / (2 beta), and |d| - beta/2 above; beta may be 0. The gradient is
 * ADDED to dlogits, which must not be logits. n >= 2; no row and no column stands twice. */
struct kern_expect {
    int boxes, n;
    struct kern_ptr row;      /* (4 * boxes) i32 */
    struct kern_ptr cols;     /* (n) i32 */
    struct kern_ptr cols_end; /* (n) of y2, where its tokens are others; addr NULL: cols */
    struct kern_ptr target;   /* (4 * boxes) f32, 0 .. 1 */
    struct kern_ptr weight;   /* (boxes) f32 */
    float l1, giou, beta;
    struct kern_ptr logits;
    int ld;
    struct kern_ptr dlogits;
    int lddlogits;
    struct kern_ptr loss; /* (boxes) f32 */
};

#endif
