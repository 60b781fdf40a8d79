/* tree.h - the prompt tree of a job behind its stem.
 *
 * Texts are token runs; a leaf is one text. What at least two texts share is a *run*, stored once;
 * what is a leaf's alone is its *tail*, never empty, since the first answer token is picked at its
 * last row.
 *
 *     (stem)-+-"12,"-+-"34] rgb: ..."      runs: "12,"   tails: "34] rgb: ...", "35] rgb: ..."
 *            |       +-"35] rgb: ..."
 *            +-"13,34] rgb: ..."           a leaf right behind the stem
 *
 * Immutable after building; memory is the job's arena.
 */
#ifndef ENGINE_RUN_TREE_H
#define ENGINE_RUN_TREE_H

#include <stdint.h>

#include "kernels/base/mem.h"

struct tree_text {
    const int32_t *ids; /* borrowed for the tree's life */
    int32_t n;          /* at least one */
};

struct tree_run {
    const int32_t *ids; /* its own tokens */
    int32_t n;
    int32_t up;       /* the run it hangs under; -1: the stem */
    int32_t depth;    /* tokens between the stem and its first token */
    int32_t children; /* runs and leaves that hang under it */
    int32_t slot0;    /* where its tokens stand in an array of all tokens of runs */
};
struct tree_leaf {
    const int32_t *ids; /* tail */
    int32_t n;
    int32_t up; /* run or -1 */
    int32_t depth;
};

struct tree {
    struct tree_run *runs;
    int32_t n_runs;
    struct tree_leaf *leaves; /* in the order of the texts */
    int32_t n_leaves;
    int32_t run_tokens;    /* of all runs together */
    int32_t tail_tokens;   /* of all tails together */
    int32_t tail_max;      /* of the longest tail */
    int32_t path_runs_max; /* most runs above a leaf */
};

/* texts[order[0]], texts[order[1]], ... must ascend strictly (by token ids, a shorter text before
 * its continuations). is_flat: nothing is shared, every text is a tail. 0 or E_NOMEM. */
int tree_build(struct tree *t, struct arena *mem, const struct tree_text *texts, int32_t n,
               const int32_t *order, int is_flat);

/* Put order[0 .. n), places of `texts`, into the order that tree_build wants, equal ones side by side. */
void tree_sort(const struct tree_text *texts, int32_t *order, int32_t n);

/* < 0, 0, > 0 as a stands before b. */
int tree_compare(const struct tree_text *a, const struct tree_text *b);

#endif
