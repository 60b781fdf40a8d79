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

#endif
