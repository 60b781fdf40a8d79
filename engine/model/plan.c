/* plan.c - the sizes of all buffers of a model: computed and checked first, then allocated, a block
 * per kind.
 *
 * Between model_plan and model_close only model_head_new allocates, outside of passes. A test
 * counts.
 */
#include "engine/model/berth.h"
#include "engine/model/internal.h"
#include "kernels/base/mem.h"

/* Buffers inside of one block. The sizes are added up first, then the block is allocated and
 * cut. */
struct carve {
    struct kern_ptr base; /* addr NULL: only adding up */
    size_t bytes;
    int overflows;
};

/* The next `rows` x `cols` items of `item` bytes, aligned to 64. */
static void carve(struct carve *c, struct kern_ptr *out, int rows, int cols, size_t item) {
    size_t n;
    if (!mem_mul((size_t)rows, (size_t)cols, &n) || !mem_mul(n, item, &n) || !mem_add(n, 63, &n))
        c->overflows = 1;
    if (c->overflows) return;
    if (c->base.addr) *out = kern_at(c->base, c->bytes);
    if (!mem_add(c->bytes, n & ~(size_t)63, &c->bytes)) c->overflows = 1;
}

static int larger(int a, int b) { return a > b ? a : b; }

static void carve_work(struct carve *c, const struct model *m, struct work *w) {
    const struct model_vision *v = &m->c.vision;
    const struct model_text *t = &m->c.text;
    const struct model_plan *p = &m->plan;
    size_t f = sizeof(float);
    int tokens = p->pictures_max * (1 + m->c.n_patches);
    carve(c, &w->rgb, p->pictures_max * v->image_size, v->image_size, 3);
    carve(c, &w->patches, m->c.n_patches, 3 * v->patch_size * v->patch_size, f);
    carve(c, &w->vit_x, tokens, v->hidden_size, f);
    carve(c, &w->vit_h, tokens, v->hidden_size, f);
    carve(c, &w->vit_wide, tokens, larger(3 * v->hidden_size, v->intermediate_size), f);
    /* The last layer's ffn runs on picks, of which there may be more than rows. */
    int rows = larger(p->rows_max, p->picks_max);
    carve(c, &w->x, p->rows_max, t->hidden_size, f);
    carve(c, &w->h, p->rows_max, t->hidden_size, f);
    carve(c, &w->wide, rows, larger(3 * t->hidden_size, 2 * t->intermediate_size), f);
    carve(c, &w->act, rows, t->intermediate_size, f);
    carve(c, &w->pick_x, p->picks_max, t->hidden_size, f);
    carve(c, &w->pick_h, p->picks_max, t->hidden_size, f);
    carve(c, &w->best, p->picks_max, 1, sizeof(int32_t));
    if (p->berths) carve(c, &w->inside, rows, 3 * p->berth_rank, f);
    carve(c, &w->index, 1, 1, m->staging_bytes);
}

static int plan_work(struct model *m, struct err *e) {
    struct carve c = {0};
    struct kern_ptr base;
    carve_work(&c, m, &m->work);
    if (c.overflows) return err_set(e, E_TOO_BIG, "buffers of a pass: size overflows");
    int rc = memory_alloc(m, c.bytes, &base, e);
    if (rc) return rc;
    c = (struct carve){.base = base};
    carve_work(&c, m, &m->work);
    return 0;
}

int plan_logits(struct model *m, int n, struct err *e) {
    size_t bytes;
    struct kern_ptr logits, probs;
    if (!mem_mul((size_t)m->plan.picks_max, (size_t)n, &bytes) ||
        !mem_mul(bytes, sizeof(float), &bytes))
        return err_set(e, E_TOO_BIG, "logits: size overflows");
    int rc = m->ops->alloc(m->k, bytes ? bytes : 1, &logits, e);
    if (rc) return rc;
    rc = m->ops->alloc(m->k, bytes ? bytes : 1, &probs, e);
    if (rc) {
        m->ops->free(m->k, logits);
        return rc;
    }
    if (m->logits.addr) m->ops->free(m->k, m->logits);
    if (m->probs.addr) m->ops->free(m->k, m->probs);
    m->logits = logits;
    m->probs = probs;
    return 0;
}

size_t model_slot_bytes(const struct model_config *c, enum kern_dtype pool) {
    const struct model_text *t = &c->text;
    return 2 * (size_t)t->layers * (size_t)t->heads *
           kern_head_bytes(pool, t->hidden_size / t->heads);
}

/* Fills in the defaults that model.h states. */
static int plan_complete(struct model_plan *p, struct err *e) {
    enum { ROWS_MAX = 1 << 20, SLOTS_MAX = 1 << 30 };
    if (p->berths < 0 || p->berths > MODEL_BERTHS_MAX || p->berth_overlays < 0 ||
        p->berth_overlays > p->berths ||
        (p->berths && (p->berth_rank < 1 || p->berth_rank > PEFT_RANK_MAX)))
        return err_set(e, E_INVALID, "no such number or rank of berths");
    if (p->rows_max < 1 || p->picks_max < 0 || p->kv_slots < 1 || p->feats_max < 1 ||
        p->spans_max < 0 || p->tails_max < 0 || p->sets_max < 0 || p->cols_max < 0)
        return err_set(e, E_INVALID, "a size below its least");
    if (p->rows_max > ROWS_MAX || p->picks_max > ROWS_MAX || p->feats_max > ROWS_MAX ||
        p->kv_slots > SLOTS_MAX || p->sets_max > SLOTS_MAX)
        return err_set(e, E_TOO_BIG, "an absurd size");
    if (p->pictures_max < 0 || p->pictures_max > KERN_PICTURES_MOST)
        return err_set(e, E_INVALID, "%d pictures at once", p->pictures_max);
    if (!p->pictures_max) p->pictures_max = 1;
    if (!p->spans_max) p->spans_max = 4 * p->rows_max;
    if (!p->tails_max) p->tails_max = 64 * p->rows_max;
    if (!p->sets_max) p->sets_max = 4096;
    if (!p->cols_max) p->cols_max = 65536;
    return 0;
}

/* Bytes of the three big blocks of a plan. 0 when a size overflows. */
struct plan_bytes {
    size_t pool, feats, staging;
};
static int count_plan(const struct model *m, const struct model_plan *p, struct plan_bytes *out) {
    const struct model_config *c = &m->c;
    struct pass_index layout;
    if (!mem_mul(model_slot_bytes(c, m->pool_dtype), (size_t)p->kv_slots, &out->pool) ||
        !mem_mul(sizeof(float) * (size_t)c->text.hidden_size,
                 (size_t)p->feats_max * (size_t)c->n_image_tokens, &out->feats) ||
        (int64_t)p->feats_max * c->n_image_tokens > INT32_MAX || !pass_layout(p, &layout))
        return 0;
    out->staging = layout.bytes;
    return 1;
}

uint64_t model_plan_bytes(const struct model *m, const struct model_plan *plan) {
    struct model probe = {.c = m->c, .plan = *plan};
    struct plan_bytes n;
    struct carve c = {0};
    size_t all;
    int slots = plan->kv_slots;
    if (!slots) probe.plan.kv_slots = 1;
    if (plan_complete(&probe.plan, NULL)) return UINT64_MAX;
    probe.plan.kv_slots = slots;
    if (!count_plan(m, &probe.plan, &n)) return UINT64_MAX;
    probe.staging_bytes = n.staging;
    carve_work(&c, &probe, &probe.work);
    size_t logits = 2 * sizeof(float) * (size_t)probe.plan.picks_max * (size_t)m->head_max;
    if (c.overflows || !mem_add(n.pool, n.feats, &n.pool) || !mem_add(n.pool, c.bytes, &n.pool) ||
        !mem_add(n.pool, logits, &all) || !mem_add(all, model_berth_bytes(m, plan), &all))
        return UINT64_MAX;
    return all;
}

uint64_t model_plan_bytes_before(const struct model_config *c, const struct kern_ops *ops,
                                 struct kern *k, int head_max, const struct model_plan *plan) {
    struct model m = {.c = *c, .ops = ops, .k = k, .head_max = head_max};
    struct model_plan but_kv = *plan;
    but_kv.kv_slots = 0;
    return model_plan_bytes(&m, &but_kv);
}

/* Sizes are checked before the first byte is asked for. */
static int plan_all(struct model *m, struct err *e) {
    struct plan_bytes n;
    if (!count_plan(m, &m->plan, &n)) return err_set(e, E_TOO_BIG, "size overflows");
    m->staging_bytes = n.staging;
    m->staging = mem_try(n.staging);
    if (!m->staging) return err_set(e, E_NOMEM, "no memory for %zu bytes", n.staging);
    int rc = plan_work(m, e);
    if (!rc) rc = memory_alloc(m, n.pool, &m->pool, e);
    if (!rc) rc = memory_alloc(m, n.feats, &m->feats, e);
    if (!rc) rc = plan_logits(m, m->head_max, e);
    if (!rc) rc = berth_plan(m, e);
    return rc;
}

int model_plan(struct model *m, const struct model_plan *plan, struct err *e) {
    must(!m->is_planned && !m->staging);
    m->plan = *plan;
    int rc = plan_complete(&m->plan, e);
    if (!rc && plan->berths && !m->ops->train)
        rc = err_set(e, E_UNSUPPORTED, "%s can't load adapters", m->ops->name);
    if (!rc) rc = plan_all(m, e);
    if (rc) err_in(e, "plan");
    m->is_planned = !rc;
    return rc;
}
