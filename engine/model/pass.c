/* pass.c - a pass on its way to the device and back: checked against the plan, packed, sent;
 * results fetched.
 *
 * One put carries every index array of a pass to the device.
 */
#include <string.h>

#include "engine/model/internal.h"
#include "kernels/base/mem.h"

/* Where n items go behind what is laid out so far. A sum that overflows stays SIZE_MAX. */
static size_t lay(struct pass_index *l, int n, size_t item) {
    size_t at = l->bytes, bytes;
    if (!mem_mul((size_t)n, item, &bytes) || !mem_add(bytes, 63, &bytes) ||
        !mem_add(at, bytes & ~(size_t)63, &l->bytes))
        l->bytes = SIZE_MAX;
    return at;
}

int pass_layout(const struct model_plan *p, struct pass_index *out) {
    struct pass_index l = {0};
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

/* A pass that points outside of what was planned would overwrite other memory. That is a bug of
 * ours, and is found here. */
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
    section_check(m, p);
}

void pass_put(struct model *m, const struct model_pass *p, struct pass_index *at) {
    check_pass(m, p);
    struct model_plan size = size_of_pass(p);
    size_t i32 = sizeof(int32_t), rows = (size_t)p->rows, picks = (size_t)p->picks;
    must(pass_layout(&size, at) && at->bytes <= m->staging_bytes);
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

/* ---- results ---- */

struct kern_ptr pass_probs(const struct model *m, const struct model_pick_group *g) {
    return kern_at(m->probs, sizeof(float) * (size_t)g->pick0 * (size_t)m->head_max);
}

int pass_get(struct model *m, const struct model_pass *p, struct err *e) {
    if (p->picks == 0) return m->ops->sync(m->k, e);
    int rc = m->ops->get(m->k, p->best, m->work.best, (size_t)p->picks * sizeof *p->best, e);
    for (int i = 0; i < p->n_pick_groups && !rc; i++) {
        const struct model_pick_group *g = &p->pick_groups[i];
        size_t bytes = sizeof(float) * (size_t)g->picks * (size_t)g->ldp;
        if (g->probs) rc = m->ops->get(m->k, g->probs, pass_probs(m, g), bytes, e);
    }
    return rc;
}
