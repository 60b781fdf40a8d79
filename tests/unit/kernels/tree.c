/* tree.c - see tree.h. */
#include "tests/unit/kernels/tree.h"

void pool_make(struct rig *r, struct pool *p, enum kern_dtype type, int heads, int size) {
    p->type = type, p->heads = heads, p->size = size, p->width = heads * size;
    size_t cells = SLOTS * (size_t)p->width;
    p->k = host_random(r, cells, 1.5f), p->v = host_random(r, cells, 1);
}

struct kern_attn_group *group_begin(struct pass *s, int own_slot) {
    struct kern_attn_group *g = &s->groups[s->n_groups++];
    *g = (struct kern_attn_group){s->rows, 0, s->n_spans, 0, own_slot};
    return g;
}

void group_span(struct pass *s, int slot, int len) {
    s->groups[s->n_groups - 1].spans++;
    s->spans[s->n_spans++] = (struct kern_attn_span){slot, len};
}

void group_row(struct pass *s, const float *q, const int *tail, int n) {
    struct kern_attn_group *g = &s->groups[s->n_groups - 1];
    int row = s->rows++, *keys = s->keys[row], count = 0;
    for (int i = 0; i < g->spans; i++) {
        for (int j = 0; j < s->spans[g->span0 + i].len; j++)
            keys[count++] = s->spans[g->span0 + i].slot + j;
    }
    for (int i = 0; g->own_slot >= 0 && i <= g->rows; i++)
        keys[count++] = g->own_slot + i;
    s->tail_off[row] = s->n_tails;
    for (int i = 0; i < n; i++)
        keys[count++] = s->tail[s->n_tails++] = tail[i];
    s->tail_off[row + 1] = s->n_tails;
    s->n_keys[row] = count;
    s->q[row] = q;
    g->rows++;
}

void pass_seen(const struct pass *s, char seen[SLOTS]) {
    memset(seen, 0, SLOTS);
    for (int i = 0; i < s->rows; i++) {
        for (int j = 0; j < s->n_keys[i]; j++)
            seen[s->keys[i][j]] = 1;
    }
}

static struct kern_ptr put_pool(struct rig *r, const struct pool *p, const struct pass *s,
                                const float *x) {
    char seen[SLOTS];
    size_t width = (size_t)p->width;
    float *shown = host_f32(SLOTS * width);
    pass_seen(s, seen);
    for (size_t i = 0; i < SLOTS * width; i++)
        shown[i] = seen[i / width] ? x[i] : NAN;
    return rig_put_heads(r, shown, SLOTS * (size_t)p->heads, p->size, p->type);
}

struct kern_attn_tree pass_args(struct rig *r, const struct pool *p, const struct pass *s,
                                const struct tensor *y) {
    size_t width = (size_t)p->width;
    float *q = host_f32((size_t)s->rows * width);
    for (int i = 0; i < s->rows; i++)
        memcpy(q + (size_t)i * width, s->q[i], width * sizeof(float));
    struct tensor tq = tensor_in(r, q, s->rows, p->width, 5);
    return (struct kern_attn_tree){.rows = s->rows,
                                   .heads = p->heads,
                                   .head_size = p->size,
                                   .scale = 1 / sqrtf((float)p->size),
                                   .q = tq.p,
                                   .ldq = tq.ld,
                                   .pool_k = put_pool(r, p, s, p->k),
                                   .pool_v = put_pool(r, p, s, p->v),
                                   .pool_dtype = p->type,
                                   .y = y->p,
                                   .ldy = y->ld,
                                   .groups = s->groups,
                                   .n_groups = s->n_groups,
                                   .spans = s->spans,
                                   .n_spans = s->n_spans,
                                   .dev_groups = rig_put(r, s->groups, sizeof(s->groups)),
                                   .dev_spans = rig_put(r, s->spans, sizeof(s->spans)),
                                   .tail_off = rig_put(r, s->tail_off, sizeof(s->tail_off)),
                                   .tail = rig_put(r, s->tail, sizeof(s->tail))};
}
