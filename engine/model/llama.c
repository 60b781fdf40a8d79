/* llama.c - the decoder: rows of a pass go through the layers, picked rows come out as logits and
 * picks.
 *
 * LLaMA-2 (docs/model.md section 3) over a prompt tree. What a row attends to is in the groups,
 * spans and tails of the pass (kern.h). The pass is a list of operations without a wait.
 *
 * The last layer stores k and v of every row, but its output matters for picked rows alone. So
 * behind its attention the picked rows are gathered and go on alone. The bits of a row do not
 * depend on the other rows of a call, so the answers don't either. With a tap all rows go the whole
 * way, for the tests to see.
 *
 * What a norm, the attention or SwiGLU leaves is read by one product, and has the type that its
 * matrix likes (section_x_dtype). The residual x stays f32.
 */
#include <math.h>
#include <stdio.h>

#include "engine/model/internal.h"

static size_t llama_floats(size_t n) { return n * sizeof(float); }

/* ---- the layers ---- */

static struct kern_ptr index_at(const struct model *m, size_t offset) {
    return kern_at(m->work.index, offset);
}

static void llama_norm(struct model *m, int rows, struct kern_ptr x, struct kern_ptr weight,
                       struct kern_ptr y, enum kern_dtype type) {
    int n = m->c.text.hidden_size;
    m->ops->rmsnorm(m->k, &(struct kern_norm){.rows = rows,
                                              .width = n,
                                              .x = x,
                                              .ldx = n,
                                              .weight = weight,
                                              .eps = m->c.text.rms_eps,
                                              .y = y,
                                              .ldy = n,
                                              .y_dtype = type});
}

/* y (rows, ny) = or += x (rows, nx) W^T */
static void llama_gemm(struct model *m, int rows, struct kern_ptr x, int nx, enum kern_dtype type,
                       const struct kern_mat *w, struct kern_ptr y, int ny, int accumulate) {
    m->ops->gemm(m->k, &(struct kern_gemm){.m = rows,
                                           .x = x,
                                           .ldx = nx,
                                           .x_dtype = type,
                                           .w = w,
                                           .y = y,
                                           .ldy = ny,
                                           .accumulate = accumulate});
}

/* The same, and what adapters add to it. */
static void llama_product(struct model *m, int rows, const struct kern_mat *w, int accumulate,
                          const struct sections *s, int layer, const struct section_product *p) {
    llama_gemm(m, rows, p->x, p->ldx, p->x_dtype, w, p->y, p->ldy, accumulate);
    section_issue(m, s, layer, p);
}

/* k and v of a layer's tokens; q stays in work.wide. */
static void llama_qkv(struct model *m, const struct model_pass *p, const struct pass_index *at,
                      const struct sections *s, int layer, struct kern_ptr pool[2]) {
    const struct model_text *t = &m->c.text;
    const struct llama_layer *l = &m->llama.layers[layer];
    const struct work *w = &m->work;
    int n = t->hidden_size;
    size_t half =
        (size_t)m->plan.kv_slots * (size_t)t->heads * kern_head_bytes(m->pool_dtype, n / t->heads);
    pool[0] = kern_at(m->pool, 2 * (size_t)layer * half);
    pool[1] = kern_at(pool[0], half);
    enum kern_dtype type = section_x_dtype(m, s, layer, 0, l->qkv);
    llama_norm(m, p->rows, w->x, l->norm1, w->h, type);
    llama_product(m, p->rows, l->qkv, 0, s, layer, /* (N, D) -> (N, 3D) */
                  &(struct section_product){0, w->h, n, type, w->wide, 3 * n});
    m->ops->rope(m->k, &(struct kern_rope){.rows = p->rows,
                                           .heads = t->heads,
                                           .head_size = n / t->heads,
                                           .theta = t->rope_theta,
                                           .qkv = w->wide,
                                           .ld = 3 * n,
                                           .pos = index_at(m, at->pos),
                                           .slot = index_at(m, at->slot),
                                           .pool_k = pool[0],
                                           .pool_v = pool[1],
                                           .pool_dtype = m->pool_dtype});
}

/* The attention of every row, into work.h. */
static void llama_attention(struct model *m, const struct model_pass *p,
                            const struct pass_index *at, const struct kern_ptr pool[2],
                            enum kern_dtype type) {
    const struct model_text *t = &m->c.text;
    int n = t->hidden_size, head = n / t->heads;
    m->ops->attn_tree(m->k, &(struct kern_attn_tree){.rows = p->rows,
                                                     .heads = t->heads,
                                                     .head_size = head,
                                                     .scale = (float)(1.0 / sqrt(head)),
                                                     .q = m->work.wide,
                                                     .ldq = 3 * n,
                                                     .pool_k = pool[0],
                                                     .pool_v = pool[1],
                                                     .pool_dtype = m->pool_dtype,
                                                     .y = m->work.h,
                                                     .ldy = n,
                                                     .y_dtype = type,
                                                     .groups = p->groups,
                                                     .n_groups = p->n_groups,
                                                     .spans = p->spans,
                                                     .n_spans = p->n_spans,
                                                     .dev_groups = index_at(m, at->groups),
                                                     .dev_spans = index_at(m, at->spans),
                                                     .tail_off = index_at(m, at->tail_off),
                                                     .tail = index_at(m, at->tail)});
}

/* What follows the attention of a layer, row by row: x (rows, D) += ..., h (rows, D) of `type` is
 * its result. */
static void llama_ffn(struct model *m, int layer, const struct sections *s, int rows,
                      struct kern_ptr x, struct kern_ptr h, enum kern_dtype type) {
    const struct llama_layer *l = &m->llama.layers[layer];
    int n = m->c.text.hidden_size, ffn = m->c.text.intermediate_size;
    const struct work *w = &m->work;
    llama_product(m, rows, l->o, 1, s, layer, &(struct section_product){1, h, n, type, x, n});
    type = section_x_dtype(m, s, layer, 2, l->gate_up);
    llama_norm(m, rows, x, l->norm2, h, type);
    llama_product(m, rows, l->gate_up, 0, s, layer, /* (rows, D) -> (rows, 2F) */
                  &(struct section_product){2, h, n, type, w->wide, 2 * ffn});
    type = section_x_dtype(m, s, layer, 3, l->down);
    m->ops->swiglu(m->k, &(struct kern_swiglu){.rows = rows,
                                               .width = ffn,
                                               .x = w->wide,
                                               .ldx = 2 * ffn,
                                               .y = w->act,
                                               .ldy = ffn,
                                               .y_dtype = type});
    llama_product(m, rows, l->down, 1, s, layer, /* (rows, F) -> (rows, D) */
                  &(struct section_product){3, w->act, ffn, type, x, n});
}

static void gather_picks(struct model *m, const struct model_pass *p, const struct pass_index *at,
                         struct kern_ptr x, struct kern_ptr y, enum kern_dtype type) {
    m->ops->gather(m->k, &(struct kern_gather){.rows = p->picks,
                                               .width = m->c.text.hidden_size,
                                               .index = index_at(m, at->pick_row),
                                               .x = x,
                                               .y = y,
                                               .dtype = type});
}

static void show_layer(struct model *m, int rows, int layer) {
    char name[32];
    snprintf(name, sizeof name, "llama.%d", layer);
    tap_show(m, name, m->work.x, rows, m->c.text.hidden_size, m->c.text.hidden_size);
}

/* Leaves the picked rows' residual in work.pick_x. */
static void llama_layers(struct model *m, const struct model_pass *p, const struct pass_index *at) {
    const struct work *w = &m->work;
    int last = m->c.text.layers - 1;
    struct kern_ptr pool[2];
    struct sections of_rows, of_picks;
    section_of_rows(p, &of_rows);
    section_of_picks(p, &of_picks);
    for (int i = 0; i <= last; i++) {
        model_beat(m);
        llama_qkv(m, p, at, &of_rows, i, pool);
        enum kern_dtype type = section_x_dtype(m, &of_rows, i, 1, m->llama.layers[i].o);
        if (i < last || m->tap) {
            llama_attention(m, p, at, pool, type);
            llama_ffn(m, i, &of_rows, p->rows, w->x, w->h, type);
            show_layer(m, p->rows, i);
        } else if (p->picks) {
            llama_attention(m, p, at, pool, type);
            gather_picks(m, p, at, w->x, w->pick_x, KERN_F32);
            gather_picks(m, p, at, w->h, w->pick_h, type);
            llama_ffn(m, i, &of_picks, p->picks, w->pick_x, w->pick_h, type);
        }
    }
    if (m->tap) gather_picks(m, p, at, w->x, w->pick_x, KERN_F32);
}

/* ---- picks ---- */

/* The type of x that all heads of a pass like, or f32. */
static enum kern_dtype head_x_dtype(const struct model *m, const struct model_pass *p) {
    enum kern_dtype first = m->ops->x_dtype(m->k, p->pick_groups[0].head->mat);
    for (int i = 1; i < p->n_pick_groups; i++)
        if (m->ops->x_dtype(m->k, p->pick_groups[i].head->mat) != first) return KERN_F32;
    return first;
}

static void llama_pick(struct model *m, const struct model_pass *p, const struct pass_index *at) {
    const struct work *w = &m->work;
    int n = m->c.text.hidden_size;
    enum kern_dtype type = head_x_dtype(m, p);
    llama_norm(m, p->picks, w->pick_x, m->llama.norm, w->pick_h, type);
    for (int i = 0; i < p->n_pick_groups; i++) {
        const struct model_pick_group *g = &p->pick_groups[i];
        size_t first = (size_t)g->pick0;
        struct kern_ptr y = kern_at(m->logits, llama_floats(first * (size_t)m->head_max));
        struct kern_ptr x = kern_at(w->pick_h, first * (size_t)n * kern_dtype_bytes(type));
        llama_gemm(m, g->picks, x, n, type, g->head->mat, y, m->head_max, 0);
        tap_show(m, "logits", y, g->picks, g->head->n, m->head_max);
        m->ops->pick(m->k,
                     &(struct kern_pick){.rows = g->picks,
                                         .logits = y,
                                         .ld = m->head_max,
                                         .set = index_at(m, at->set + first * sizeof(int32_t)),
                                         .col_off = index_at(m, at->col_off),
                                         .cols = index_at(m, at->cols),
                                         .probs = pass_probs(m, g),
                                         .ldp = g->probs ? g->ldp : m->head_max,
                                         .best = kern_at(w->best, first * sizeof(int32_t))});
    }
}

void llama_issue(struct model *m, const struct model_pass *p, const struct pass_index *at) {
    const struct model_text *t = &m->c.text;
    m->ops->embed(m->k, &(struct kern_embed){.rows = p->rows,
                                             .width = t->hidden_size,
                                             .src = index_at(m, at->src),
                                             .table = m->llama.embed,
                                             .dtype = m->llama.embed_dtype,
                                             .feats = m->feats,
                                             .y = m->work.x});
    tap_show(m, "llama.embed", m->work.x, p->rows, t->hidden_size, t->hidden_size);
    llama_layers(m, p, at);
    if (p->picks) llama_pick(m, p, at);
}
