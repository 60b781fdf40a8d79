/* tree.h - passes over a pool of keys and values, for tests of attention over the prompt tree.
 *
 * The truth about a row is its list of keys. `struct pass` is built from groups and rows in any
 * shape; the lists of slots are kept beside it.
 */
#ifndef TESTS_UNIT_KERNELS_TREE_H
#define TESTS_UNIT_KERNELS_TREE_H

#include "tests/unit/kernels/rig.h"

enum { SLOTS = 600, ROWS = 300, GROUPS = 64, SPANS = 256, TAILS = 4096, KEYS = 600 };

struct pool {
    int heads, size, width;
    enum kern_dtype type;
    float *k, *v; /* (SLOTS, width) */
};

struct pass {
    int rows, n_groups, n_spans, n_tails;
    struct kern_attn_group groups[GROUPS];
    struct kern_attn_span spans[SPANS];
    int32_t tail_off[ROWS + 1], tail[TAILS];
    int n_keys[ROWS], keys[ROWS][KEYS]; /* each row's list, spelled out */
    const float *q[ROWS];
};

void pool_make(struct rig *r, struct pool *p, enum kern_dtype type, int heads, int size);

/* ---- building a pass, which begins as zeros ---- */
struct kern_attn_group *group_begin(struct pass *s, int own_slot);
void group_span(struct pass *s, int slot, int len); /* of the newest group, before its rows */
/* A row of the newest group; `tail` of n slots when the group has no own rows. */
void group_row(struct pass *s, const float *q, const int *tail, int n);
/* seen[i]: slot i stands in the list of a row. */
void pass_seen(const struct pass *s, char seen[SLOTS]);

/* All on the device, and y for the answer; the pool has NaN in each slot that no row may see. */
struct kern_attn_tree pass_args(struct rig *r, const struct pool *p, const struct pass *s,
                                const struct tensor *y);

#endif
