/* attn.c - attention: for a row and head with keys k_1..k_n and values v_1..v_n in list order,
 *
 *     s_j = scale * (q . k_j),  m = max_j s_j,  y = sum_j exp(s_j - m) v_j / sum_j exp(s_j - m)
 *
 * computed as written, each score twice rather than kept: there is no bound on a list's length and
 * nothing here allocates. attn_full's list is all tokens of the picture; attn_tree's is the spans
 * of the row's group, then either the group's own rows up to itself or the row's tail. For the way
 * back (attn_back.c) lse = m + log sum_j exp(s_j - m) is left behind.
 */
#include <math.h>

#include "kernels/ref/ref.h"

/* The running state of one row and head. The first walk over the keys finds `max`, the second
 * adds up. */
struct head {
    const float *q;
    int size;
    double scale, max, weight;
    double sum[REF_HEAD_MAX];
    uint64_t keys;
};

static double score(const struct head *h, const float *key) {
    double dot = 0;
    for (int c = 0; c < h->size; c++)
        dot += (double)h->q[c] * (double)key[c];
    return dot * h->scale;
}

static void head_begin(struct head *h, const float *q, int size, float scale) {
    must(size <= REF_HEAD_MAX);
    h->q = q;
    h->size = size;
    h->scale = (double)scale;
    h->max = -INFINITY;
    h->weight = 0;
    h->keys = 0;
    for (int c = 0; c < size; c++)
        h->sum[c] = 0;
}

/* One key; `value` is NULL on the first walk. */
static void head_see(struct head *h, const float *key, const float *value) {
    double s = score(h, key);
    if (!value) {
        if (s > h->max) h->max = s;
        return;
    }
    double p = exp(s - h->max);
    h->weight += p;
    for (int c = 0; c < h->size; c++)
        h->sum[c] += p * (double)value[c];
    h->keys++;
}

/* Into y from element `to` on. `lse` is the operation's, and the head's place in it; addr NULL: not
 * wanted. */
static void head_end(const struct head *h, struct kern_ptr y, enum kern_dtype type, size_t to,
                     struct kern_ptr lse, size_t at) {
    for (int c = 0; c < h->size; c++)
        ref_set(y, type, to + (size_t)c, (float)(h->sum[c] / h->weight));
    if (lse.addr) ref_f32(lse)[at] = (float)(h->max + log(h->weight));
}

void ref_attn_full(struct kern *k, const struct kern_attn_full *a) {
    size_t width = (size_t)a->heads * (size_t)a->head_size, ld = (size_t)a->ld;
    uint64_t keys = 0;
    for (int i = 0; i < a->images * a->tokens; i++) {
        const float *first =
            ref_f32(a->qkv) + (size_t)(i - i % a->tokens) * ld; /* of the picture */
        for (size_t at = 0; at < width; at += (size_t)a->head_size) {
            struct head h;
            head_begin(&h, ref_f32(a->qkv) + (size_t)i * ld + at, a->head_size, a->scale);
            for (int walk = 0; walk < 2; walk++) {
                for (size_t j = 0; j < (size_t)a->tokens; j++) {
                    const float *kv = first + j * ld + width + at;
                    head_see(&h, kv, walk ? kv + width : NULL);
                }
            }
            head_end(&h, a->y, a->y_dtype, (size_t)i * (size_t)a->ldy + at, a->lse,
                     ((size_t)i * width + at) / (size_t)a->head_size);
            keys += h.keys;
        }
    }
    ref_count(k, 2 * keys * (uint64_t)a->head_size);
}

/* The key in slot `slot` of the pools, columns from `at` on. */
static void see_slot(struct head *h, const struct kern_attn_tree *a, size_t slot, size_t at,
                     int walk) {
    float room_k[REF_HEAD_MAX], room_v[REF_HEAD_MAX];
    size_t head = slot * (size_t)a->heads + at / (size_t)a->head_size;
    head_see(h, ref_head(a->pool_k, a->pool_dtype, head, a->head_size, room_k),
             walk ? ref_head(a->pool_v, a->pool_dtype, head, a->head_size, room_v) : NULL);
}

/* The keys of row `row` of group `g`, head at `at`, in their order. */
static void see_tree(struct head *h, const struct kern_attn_tree *a,
                     const struct kern_attn_group *g, int row, size_t at, int walk) {
    for (int s = g->span0; s < g->span0 + g->spans; s++) {
        size_t slot = (size_t)a->spans[s].slot;
        for (size_t end = slot + (size_t)a->spans[s].len; slot < end; slot++)
            see_slot(h, a, slot, at, walk);
    }
    if (g->own_slot >= 0) {
        size_t slot = (size_t)g->own_slot, end = slot + (size_t)(row - g->row0) + 1;
        for (; slot < end; slot++)
            see_slot(h, a, slot, at, walk);
        return;
    }
    const int32_t *off = ref_i32(a->tail_off), *tail = ref_i32(a->tail);
    for (int t = off[row]; t < off[row + 1]; t++)
        see_slot(h, a, (size_t)tail[t], at, walk);
}

void ref_attn_tree(struct kern *k, const struct kern_attn_tree *a) {
    size_t width = (size_t)a->heads * (size_t)a->head_size;
    uint64_t keys = 0;
    for (int gi = 0; gi < a->n_groups; gi++) {
        const struct kern_attn_group *g = &a->groups[gi];
        for (int row = g->row0; row < g->row0 + g->rows; row++) {
            for (size_t at = 0; at < width; at += (size_t)a->head_size) {
                struct head h;
                head_begin(&h, ref_f32(a->q) + (size_t)row * (size_t)a->ldq + at, a->head_size,
                           a->scale);
                see_tree(&h, a, g, row, at, 0);
                see_tree(&h, a, g, row, at, 1);
                must(h.keys > 0);
                head_end(&h, a->y, a->y_dtype, (size_t)row * (size_t)a->ldy + at, a->lse,
                         ((size_t)row * width + at) / (size_t)a->head_size);
                keys += h.keys;
            }
        }
    }
    ref_count(k, 2 * keys * (uint64_t)a->head_size);
}
