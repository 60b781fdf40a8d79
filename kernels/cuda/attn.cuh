/* attn.cuh - what the two attention kernels share: one description of the rows and of each row's
 * list of keys, whether they lie in a picture or behind a prompt tree. */
#ifndef KERNELS_CUDA_ATTN_CUH
#define KERNELS_CUDA_ATTN_CUH

#include "kernels/cuda/rows.cuh"

/* Both operations in one form. A picture is a group without spans whose rows all see its `tokens`;
 * in the tree a group is one of dev_groups. */
struct attn {
    int rows, heads, K;
    int tokens; /* of a picture; 0: the tree */
    int n_groups;
    float scale;
    const float *q; /* (rows, ldq) */
    int ldq;
    enum kern_dtype dtype; /* of keys and values: f32 or bf16 */
    const void *k, *v;     /* slot 0 of head 0 */
    size_t stride;         /* elements from slot to slot */
    void *y;               /* (rows, ldy) of y_dtype */
    int ldy;
    enum kern_dtype y_dtype;
    bool has_pairs; /* rows and heads of y begin at multiples of two numbers */
    float *lse;     /* (rows, heads); NULL: not wanted */
    const struct kern_attn_group *groups;
    const struct kern_attn_span *spans;
    const int32_t *tail_off, *tail;
    bool has_vectors; /* keys and values of a head are whole vectors of 16 bytes */
};

/* A row's list: `shared` keys in spans, then n - shared ones in a row from `own` on or in `tail`.
 * */
struct keys {
    const struct kern_attn_span *spans;
    int n_spans, shared, own, n;
    const int32_t *tail; /* NULL: own */
};

/* The slot of key i of the list. */
static __device__ inline int key_slot(const struct keys *l, int i) {
    if (i >= l->shared) return l->tail ? l->tail[i - l->shared] : l->own + i - l->shared;
    for (int s = 0; s + 1 < l->n_spans; s++) {
        if (i < l->spans[s].len) return l->spans[s].slot + i;
        i -= l->spans[s].len;
    }
    return l->spans[l->n_spans - 1].slot + i;
}

/* Group g of the call. */
static __device__ inline struct kern_attn_group attn_group(const struct attn *a, int g) {
    if (!a->tokens) return a->groups[g];
    struct kern_attn_group picture = {g * a->tokens, a->tokens, 0, 0, g * a->tokens};
    return picture;
}

/* The keys that all rows of the group see. */
static __device__ inline struct keys group_keys(const struct attn *a,
                                                const struct kern_attn_group *g) {
    struct keys l = {a->spans + g->span0, g->spans, 0, g->own_slot, 0, NULL};
    for (int s = 0; s < g->spans; s++)
        l.shared += l.spans[s].len;
    l.n = l.shared;
    return l;
}

/* And those of one of its rows. */
static __device__ inline struct keys row_keys(const struct attn *a, const struct kern_attn_group *g,
                                              struct keys l, int row) {
    if (a->tokens) {
        l.n = a->tokens;
    } else if (g->own_slot >= 0) {
        l.n = l.shared + row - g->row0 + 1;
    } else {
        l.tail = a->tail + a->tail_off[row];
        l.n = l.shared + a->tail_off[row + 1] - a->tail_off[row];
    }
    return l;
}

/* attn.cu: an operation in this form, and what it takes: rows of the largest group, and the keys of
 * all rows together, but for tails, which are on the device. */
struct attn attn_of_full(const struct kern_attn_full *a);
struct attn attn_of_tree(const struct kern_attn_tree *a);
uint64_t attn_count_keys(const struct kern_attn_tree *a, int *rows_most);

/* attn_flat.cu: one warp for each row and head, in f32. */
void attn_run_flat(struct kern *k, const struct attn *a);
/* attn_tile.cu: rows of a group together, on the tensor cores; `rows_most` of the largest group. */
bool attn_has_tile(int K);
void attn_run_tile(struct kern *k, const struct attn *a, int rows_most);

#endif
