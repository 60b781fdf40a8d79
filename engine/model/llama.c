/* llama.c - the decoder: rows of a pass go through the layers, picked rows come out as choices.
 *
 * LLaMA-2 (docs/model.md section 3) over a prompt tree: where a row looks is in the pass's groups,
 * spans and tails (kern.h). One put carries every index array to the device; the pass itself is a
 * list of operations without a wait.
 *
 * The last layer gives its k and v for every row, but what it adds to a row matters only where
 * somebody picks. So behind its attention the picked rows are gathered and go on alone. A row's bits
 * do not depend on who else is in a call, so neither do the answers; with a tap installed all rows go
 * the whole way, for the tests to see.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/model/parts.h"
#include "kernels/base/mem.h"

static size_t floats(size_t n) { return n * sizeof(float); }

/* ---- index arrays: one block on the device, filled by one put ------------------------------------ */

/* Where n items go behind what is laid out so far. A sum that overflows stays SIZE_MAX. */
static size_t lay(struct llama_index *l, int n, size_t item) {
    size_t at = l->bytes, bytes;
    if (!mem_mul((size_t)n, item, &bytes) || !mem_add(bytes, 63, &bytes) ||
        !mem_add(at, bytes & ~(size_t)63, &l->bytes))
        l->bytes = SIZE_MAX;
    return at;
}

int llama_index_layout(const struct model_plan *p, struct llama_index *out) {
    struct llama_index l = {0};
    size_t i32 = sizeof(int32_t);
    l.src = lay(&l, p->rows_max, i32);
    l.pos = lay(&l, p->rows_max, i32);
    l.slot = lay(&l, p->rows_max, i32);
    l.groups = lay(&l, p->rows_max, sizeof(struct kern_attn_group));
    l.spans = lay(&l, p->spans_max, sizeof(struct kern_attn_span));
    l.tail_off = lay(&l, p->rows_max + 1, i32);
    l.tail = lay(&l, p->tails_max, i32);
    l.pick_row = lay(&l, p->picks_max, i32);
    l.set = lay(&l, p->picks_max, i32);
    l.col_off = lay(&l, p->sets_max + 1, i32);
    l.cols = lay(&l, p->cols_max, i32);
    *out = l;
    return l.bytes != SIZE_MAX;
}

/* What a pass needs, in the terms of a plan. */
static struct model_plan size_of_pass(const struct model_pass *p) {
    return (struct model_plan){.rows_max = p->rows,
                               .picks_max = p->picks,
                               .spans_max = p->n_spans,
                               .tails_max = p->tail_off[p->rows],
                               .sets_max = p->picks ? p->n_sets : 0,
                               .cols_max = p->picks && p->n_sets ? p->col_off[p->n_sets] : 0};
}

/* A pass that points outside of what was planned would write over other people's memory: our bug,
 * found here and not there. */
static void check_rows(const struct model *m, const struct model_pass *p) {
    const struct model_config *c = &m->c;
    for (int i = 0; i < p->rows; i++) {
        must(p->src[i] >= 0 ? p->src[i] < c->text.vocab_size
                            : ~p->src[i] < m->plan.feats_max * c->n_image_tokens);
        must(p->pos[i] >= 0 && p->pos[i] < c->text.max_positions);
        must(p->slot[i] >= 0 && p->slot[i] < m->plan.kv_slots);
        must(p->tail_off[i] <= p->tail_off[i + 1]);
    }
    for (int i = 0; i < p->tail_off[p->rows]; i++)
        must(p->tail[i] >= 0 && p->tail[i] < m->plan.kv_slots);
    for (int i = 0; i < p->n_spans; i++)
        must(p->spans[i].slot >= 0 && p->spans[i].len >= 0 &&
             p->spans[i].len <= m->plan.kv_slots - p->spans[i].slot);
    int row = 0;
    for (int i = 0; i < p->n_groups; i++) {
        const struct kern_attn_group *g = &p->groups[i];
        must(g->row0 == row && g->rows >= 1 && g->rows <= p->rows - row);
        must(g->span0 >= 0 && g->spans >= 0 && g->spans <= p->n_spans - g->span0);
        must(g->own_slot <= m->plan.kv_slots - g->rows);
        row += g->rows;
    }
    must(row == p->rows);
}

static void check_picks(const struct model *m, const struct model_pass *p) {
    int pick = 0;
    for (int i = 0; i < p->n_pick_groups; i++) {
        const struct model_pick_group *g = &p->pick_groups[i];
        must(g->pick0 == pick && g->picks >= 1 && g->picks <= p->picks - pick);
        for (; pick < g->pick0 + g->picks; pick++) {
            int set = p->pick_set[pick];
            must(p->pick_row[pick] >= 0 && p->pick_row[pick] < p->rows);
            must(set >= 0 && set < p->n_sets && p->col_off[set] < p->col_off[set + 1]);
            must(!g->probs || p->col_off[set + 1] - p->col_off[set] <= g->ldp);
        }
        must(g->head->n <= m->head_max && (!g->probs || g->ldp <= m->head_max));
    }
    must(pick == p->picks);
    for (int i = 0; p->picks && i < p->col_off[p->n_sets]; i++)
        must(p->cols[i] >= 0 && p->cols[i] < m->head_max);
}

static void check_pass(const struct model *m, const struct model_pass *p) {
    struct model_plan size = size_of_pass(p);
    must(m->is_planned);
    must(p->rows >= 1 && p->rows <= m->plan.rows_max);
    must(p->picks >= 0 && p->picks <= m->plan.picks_max);
    must(size.spans_max >= 0 && size.spans_max <= m->plan.spans_max);
    must(size.tails_max >= 0 && size.tails_max <= m->plan.tails_max);
    must(size.sets_max >= 0 && size.sets_max <= m->plan.sets_max);
    must(size.cols_max >= 0 && size.cols_max <= m->plan.cols_max);
    check_rows(m, p);
    check_picks(m, p);
}

/* Pack the arrays tightly and send them. */
static void put_index(struct model *m, const struct model_pass *p, struct llama_index *at) {
    struct model_plan size = size_of_pass(p);
    size_t i32 = sizeof(int32_t), rows = (size_t)p->rows, picks = (size_t)p->picks;
    must(llama_index_layout(&size, at) && at->bytes <= m->staging_bytes);
    char *to = m->staging;
    memcpy(to + at->src, p->src, rows * i32);
    memcpy(to + at->pos, p->pos, rows * i32);
    memcpy(to + at->slot, p->slot, rows * i32);
    memcpy(to + at->groups, p->groups, (size_t)p->n_groups * sizeof *p->groups);
    if (p->n_spans) memcpy(to + at->spans, p->spans, (size_t)p->n_spans * sizeof *p->spans);
    memcpy(to + at->tail_off, p->tail_off, (rows + 1) * i32);
    if (size.tails_max) memcpy(to + at->tail, p->tail, (size_t)size.tails_max * i32);
    if (picks) {
        memcpy(to + at->pick_row, p->pick_row, picks * i32);
        memcpy(to + at->set, p->pick_set, picks * i32);
        memcpy(to + at->col_off, p->col_off, ((size_t)size.sets_max + 1) * i32);
        memcpy(to + at->cols, p->cols, (size_t)size.cols_max * i32);
    }
    m->ops->put(m->k, m->work.index, to, at->bytes);
}

/* ---- the layers ---------------------------------------------------------------------------------- */

static struct kern_ptr index_at(const struct model *m, size_t offset) {
    return kern_at(m->work.index, offset);
}

static void llama_norm(struct model *m, int rows, struct kern_ptr x, struct kern_ptr weight,
                       struct kern_ptr y) {
    int n = m->c.text.hidden_size;
    m->ops->rmsnorm(m->k, &(struct kern_norm){.rows = rows,
                                              .width = n,
                                              .x = x,
                                              .ldx = n,
                                              .weight = weight,
                                              .eps = m->c.text.rms_eps,
                                              .y = y,
                                              .ldy = n});
}

/* y (rows, ny) = or += x (rows, nx) W^T */
static void llama_gemm(struct model *m, int rows, struct kern_ptr x, int nx,
                       const struct kern_mat *w, struct kern_ptr y, int ny, int accumulate) {
    m->ops->gemm(
        m->k,
        &(struct kern_gemm){
            .m = rows, .x = x, .ldx = nx, .w = w, .y = y, .ldy = ny, .accumulate = accumulate});
}

/* k and v of a layer's tokens; q stays in work.wide. */
static void llama_qkv(struct model *m, const struct model_pass *p, const struct llama_index *at,
                      int layer, struct kern_ptr pool[2]) {
    const struct model_text *t = &m->c.text;
    const struct llama_layer *l = &m->llama.layers[layer];
    const struct work *w = &m->work;
    int n = t->hidden_size;
    size_t half = (size_t)m->plan.kv_slots * (size_t)n * kern_dtype_bytes(m->pool_dtype);
    pool[0] = kern_at(m->pool, 2 * (size_t)layer * half);
    pool[1] = kern_at(pool[0], half);
    llama_norm(m, p->rows, w->x, l->norm1, w->h);
    llama_gemm(m, p->rows, w->h, n, l->qkv, w->wide, 3 * n, 0); /* (N, D) -> (N, 3D) */
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

/* What every row sees, into work.h. */
static void llama_attention(struct model *m, const struct model_pass *p,
                            const struct llama_index *at, const struct kern_ptr pool[2]) {
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
                                                     .groups = p->groups,
                                                     .n_groups = p->n_groups,
                                                     .spans = p->spans,
                                                     .n_spans = p->n_spans,
                                                     .dev_groups = index_at(m, at->groups),
                                                     .dev_spans = index_at(m, at->spans),
                                                     .tail_off = index_at(m, at->tail_off),
                                                     .tail = index_at(m, at->tail)});
}

/* What follows the attention of a layer, row by row: x (rows, D) += ..., h (rows, D) is its result. */
static void llama_ffn(struct model *m, const struct llama_layer *l, int rows, struct kern_ptr x,
                      struct kern_ptr h) {
    int n = m->c.text.hidden_size, ffn = m->c.text.intermediate_size;
    const struct work *w = &m->work;
    llama_gemm(m, rows, h, n, l->o, x, n, 1);
    llama_norm(m, rows, x, l->norm2, h);
    llama_gemm(m, rows, h, n, l->gate_up, w->wide, 2 * ffn, 0); /* (rows, D) -> (rows, 2F) */
    m->ops->swiglu(
        m->k,
        &(struct kern_swiglu){
            .rows = rows, .width = ffn, .x = w->wide, .ldx = 2 * ffn, .y = w->act, .ldy = ffn});
    llama_gemm(m, rows, w->act, ffn, l->down, x, n, 1); /* (rows, F) -> (rows, D) */
}

static void gather_picks(struct model *m, const struct model_pass *p, const struct llama_index *at,
                         struct kern_ptr x, struct kern_ptr y) {
    m->ops->gather(m->k, &(struct kern_gather){.rows = p->picks,
                                               .width = m->c.text.hidden_size,
                                               .index = index_at(m, at->pick_row),
                                               .x = x,
                                               .y = y});
}

static void show_layer(struct model *m, int rows, int layer) {
    char name[32];
    snprintf(name, sizeof name, "llama.%d", layer);
    model_show(m, name, m->work.x, rows, m->c.text.hidden_size, m->c.text.hidden_size);
}

/* Leaves the picked rows' residual in work.pick_x. */
static void llama_layers(struct model *m, const struct model_pass *p,
                         const struct llama_index *at) {
    const struct work *w = &m->work;
    int last = m->c.text.layers - 1;
    struct kern_ptr pool[2];
    for (int i = 0; i <= last; i++) {
        const struct llama_layer *l = &m->llama.layers[i];
        llama_qkv(m, p, at, i, pool);
        if (i < last || m->tap) {
            llama_attention(m, p, at, pool);
            llama_ffn(m, l, p->rows, w->x, w->h);
            show_layer(m, p->rows, i);
        } else if (p->picks) {
            llama_attention(m, p, at, pool);
            gather_picks(m, p, at, w->x, w->pick_x);
            gather_picks(m, p, at, w->h, w->pick_h);
            llama_ffn(m, l, p->picks, w->pick_x, w->pick_h);
        }
    }
    if (m->tap) gather_picks(m, p, at, w->x, w->pick_x);
}

/* ---- choices ------------------------------------------------------------------------------------- */

/* Where a group's probabilities lie on the device. */
static struct kern_ptr group_probs(const struct model *m, const struct model_pick_group *g) {
    return kern_at(m->probs, floats((size_t)g->pick0 * (size_t)m->head_max));
}

static void llama_pick(struct model *m, const struct model_pass *p, const struct llama_index *at) {
    const struct work *w = &m->work;
    int n = m->c.text.hidden_size;
    llama_norm(m, p->picks, w->pick_x, m->llama.norm, w->pick_h);
    for (int i = 0; i < p->n_pick_groups; i++) {
        const struct model_pick_group *g = &p->pick_groups[i];
        size_t first = (size_t)g->pick0;
        struct kern_ptr y = kern_at(m->logits, floats(first * (size_t)m->head_max));
        struct kern_ptr x = kern_at(w->pick_h, floats(first * (size_t)n));
        llama_gemm(m, g->picks, x, n, g->head->mat, y, m->head_max, 0);
        model_show(m, "logits", y, g->picks, g->head->n, m->head_max);
        m->ops->pick(m->k,
                     &(struct kern_pick){.rows = g->picks,
                                         .logits = y,
                                         .ld = m->head_max,
                                         .set = index_at(m, at->set + first * sizeof(int32_t)),
                                         .col_off = index_at(m, at->col_off),
                                         .cols = index_at(m, at->cols),
                                         .probs = group_probs(m, g),
                                         .ldp = g->probs ? g->ldp : m->head_max,
                                         .best = kern_at(w->best, first * sizeof(int32_t))});
    }
}

/* The choices, and the probabilities of the groups that want them. */
static int get_picks(struct model *m, const struct model_pass *p, struct err *e) {
    int rc = m->ops->get(m->k, p->best, m->work.best, (size_t)p->picks * sizeof *p->best, e);
    for (int i = 0; i < p->n_pick_groups && !rc; i++) {
        const struct model_pick_group *g = &p->pick_groups[i];
        size_t bytes = floats((size_t)g->picks * (size_t)g->ldp);
        if (g->probs) rc = m->ops->get(m->k, g->probs, group_probs(m, g), bytes, e);
    }
    return rc;
}

/* How many bits n has: sizes of one magnitude. */
static uint64_t magnitude(int n) {
    uint64_t bits = 0;
    for (; n > 0; n /= 2)
        bits++;
    return bits;
}

/* The same operations in the same order: that is decided by how many heads pick, and by whether
 * anybody does. Rows, groups and tails are arguments and differ from pass to pass; they come in only
 * by their magnitude, since a backend may cut what is large. */
static uint64_t key_of(const struct model_pass *p) {
    return MODEL_KEY_LLAMA | (uint64_t)p->n_pick_groups << 16 | magnitude(p->picks) << 8 |
           magnitude(p->rows);
}

static void issue(struct model *m, const struct model_pass *p, const struct llama_index *at) {
    const struct model_text *t = &m->c.text;
    m->ops->embed(m->k, &(struct kern_embed){.rows = p->rows,
                                             .width = t->hidden_size,
                                             .src = index_at(m, at->src),
                                             .table = m->llama.embed,
                                             .dtype = m->llama.embed_dtype,
                                             .feats = m->feats,
                                             .y = m->work.x});
    model_show(m, "llama.embed", m->work.x, p->rows, t->hidden_size, t->hidden_size);
    llama_layers(m, p, at);
    if (p->picks) llama_pick(m, p, at);
}

int llama_run(struct model *m, const struct model_pass *p, struct err *e) {
    struct llama_index at;
    check_pass(m, p);
    put_index(m, p, &at);
    if (m->tap) {
        issue(m, p, &at); /* it looks in between, so nothing may be put off */
    } else {
        do {
            m->ops->begin(m->k, key_of(p));
            issue(m, p, &at);
        } while (m->ops->end(m->k));
    }
    return p->picks ? get_picks(m, p, e) : m->ops->sync(m->k, e);
}
