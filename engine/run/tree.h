/* tree.h - the prompt tree of a job behind its stem.
 *
 * Each text is a sequence of tokens and becomes a leaf. What at least two texts share is a *branch*
 * and is stored once. What belongs to one leaf alone is its *tail*. A tail is never empty, since
 * the first answer token is picked at its last row.
 *
 *     (stem)-+-"12,"-+-"34] rgb: ..."      branch: "12,"   tails: "34] rgb: ...", "35] rgb: ..."
 *            |       +-"35] rgb: ..."
 *            +-"13,34] rgb: ..."           a leaf right behind the stem
 *
 * Immutable once built. Memory is the job's arena.
 */
#ifndef ENGINE_RUN_TREE_H
#define ENGINE_RUN_TREE_H

#include <stdint.h>

#include "kernels/base/mem.h"

struct tree_text {
    const int32_t *ids; /* borrowed for the tree's life */
    int32_t n;          /* at least one */
};

struct tree_branch {
    const int32_t *ids; /* its own tokens */
    int32_t n;
    int32_t up;       /* the branch it hangs under; -1: the stem */
    int32_t depth;    /* tokens between the stem and its first token */
    int32_t children; /* branches and leaves that hang under it */
    int32_t slot0;    /* index of its first token in an array of the tokens of all branches */
};
struct tree_leaf {
    const int32_t *ids; /* the tail */
    int32_t n;
    int32_t up;    /* the branch it hangs under; -1: the stem */
    int32_t depth; /* tokens between the stem and its tail */
};

struct tree {
    struct tree_branch *branches;
    int32_t n_branches;
    struct tree_leaf *leaves; /* in the order of the texts */
    int32_t n_leaves;
    int32_t branch_tokens; /* of all branches together */
    int32_t tail_tokens;   /* of all tails together */
    int32_t tail_max;      /* of the longest tail */
};

/* texts[order[0]], texts[order[1]], ... must ascend strictly: by token ids, a shorter text before
 * its continuations. is_flat: nothing is shared, every text is a tail. 0 or E_NOMEM. */
int tree_build(struct tree *t, struct arena *mem, const struct tree_text *texts, int32_t n,
               const int32_t *order, int is_flat);

/* Sort order[0 .. n), indices of `texts`, as tree_build wants them. Equal texts end up side by
 * side. */
void tree_sort(const struct tree_text *texts, int32_t *order, int32_t n);

/* < 0, 0, > 0 as a stands before, with or behind b. */
int tree_compare(const struct tree_text *a, const struct tree_text *b);

#endif
