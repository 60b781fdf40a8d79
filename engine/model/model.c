/* model.c - opens a model, owns its memory, gives it back.
 *
 * Two moments of allocation: model_open (weights) and model_plan (buffers, one block per kind, sizes
 * computed and checked first); model_head_new is a third, outside of passes. In between,
 * model_see and model_run touch only what is there: a test counts. Every device allocation is noted
 * in `blocks` or `mats`, whose sizes follow from the number of layers, so that closing is one loop
 * whatever had been reached when opening failed.
 *
 * Host copies: lm_head stays (heads are cut from it), all other weights live on the device alone and
 * the file is closed when model_open returns.
 */
#include "engine/model/model.h"

#include <stdio.h>
#include <string.h>

#include "engine/model/digest.h"
#include "engine/model/parts.h"
#include "engine/model/source.h"
#include "kernels/base/mem.h"
#include "kernels/base/num.h"

/* ---- device memory -------------------------------------------------------------------------------- */

int model_alloc(struct model *m, size_t bytes, struct kern_ptr *out, struct err *e) {
    struct kern_ptr p;
    must(m->n_blocks < m->blocks_max);
    int rc = m->ops->alloc(m->k, bytes ? bytes : 1, &p, e);
    if (rc) return rc;
    m->blocks[m->n_blocks++] = p;
    *out = p;
    return 0;
}

/* Buffers inside of one block: sizes are added up first, then the block is there and cut. */
struct carve {
    struct kern_ptr base; /* addr NULL: adding up */
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
    int tokens = 1 + m->c.n_patches;
    carve(c, &w->rgb, v->image_size, v->image_size, 3);
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
    carve(c, &w->index, 1, 1, m->staging_bytes);
}

static int plan_work(struct model *m, struct err *e) {
    struct carve c = {0};
    struct kern_ptr base;
    carve_work(&c, m, &m->work);
    if (c.overflows) return err_set(e, E_TOO_BIG, "buffers of a pass: size overflows");
    int rc = model_alloc(m, c.bytes, &base, e);
    if (rc) return rc;
    c = (struct carve){.base = base};
    carve_work(&c, m, &m->work);
    return 0;
}

/* Logits and probabilities for the widest head; grows by whole new blocks. */
static int plan_logits(struct model *m, int head_max, struct err *e) {
    size_t bytes;
    struct kern_ptr logits, probs;
    if (!mem_mul((size_t)m->plan.picks_max, (size_t)head_max, &bytes) ||
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
    return 2 * kern_dtype_bytes(pool) * (size_t)c->text.layers * (size_t)c->text.hidden_size;
}

/* Fills in the defaults that model.h states. */
static int plan_complete(struct model_plan *p, struct err *e) {
    enum { ROWS_MAX = 1 << 20, SLOTS_MAX = 1 << 30 };
    if (p->rows_max < 1 || p->picks_max < 0 || p->kv_slots < 1 || p->feats_max < 1 ||
        p->spans_max < 0 || p->tails_max < 0 || p->sets_max < 0 || p->cols_max < 0)
        return err_set(e, E_INVALID, "a size below its least");
    if (p->rows_max > ROWS_MAX || p->picks_max > ROWS_MAX || p->feats_max > ROWS_MAX ||
        p->kv_slots > SLOTS_MAX || p->sets_max > SLOTS_MAX)
        return err_set(e, E_TOO_BIG, "an absurd size");
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
    struct llama_index layout;
    if (!mem_mul(model_slot_bytes(c, m->pool_dtype), (size_t)p->kv_slots, &out->pool) ||
        !mem_mul(sizeof(float) * (size_t)c->text.hidden_size,
                 (size_t)p->feats_max * (size_t)c->n_image_tokens, &out->feats) ||
        (int64_t)p->feats_max * c->n_image_tokens > INT32_MAX || !llama_index_layout(p, &layout))
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
        !mem_add(n.pool, logits, &all))
        return UINT64_MAX;
    return all;
}

/* Sizes are checked before the first byte is asked for. */
static int plan_all(struct model *m, struct err *e) {
    struct plan_bytes n;
    if (!count_plan(m, &m->plan, &n)) return err_set(e, E_TOO_BIG, "size overflows");
    m->staging_bytes = n.staging;
    m->staging = mem_try(n.staging);
    if (!m->staging) return err_set(e, E_NOMEM, "no memory for %zu bytes", n.staging);
    int rc = plan_work(m, e);
    if (!rc) rc = model_alloc(m, n.pool, &m->pool, e);
    if (!rc) rc = model_alloc(m, n.feats, &m->feats, e);
    if (!rc) rc = plan_logits(m, m->head_max, e);
    return rc;
}

int model_plan(struct model *m, const struct model_plan *plan, struct err *e) {
    must(!m->is_planned && !m->staging);
    m->plan = *plan;
    int rc = plan_complete(&m->plan, e);
    if (!rc) rc = plan_all(m, e);
    if (rc) err_in(e, "plan");
    m->is_planned = !rc;
    return rc;
}

/* ---- open and close ------------------------------------------------------------------------------- */

/* Room for the notes of every allocation to come. */
static int make_tables(struct model *m, struct err *e) {
    int vit = m->c.vision.layers, text = m->c.text.layers;
    m->blocks_max = 16 + 9 * vit + 2 * text; /* vectors of a block; positions, plan and the like */
    m->mats_max = 4 + 4 * vit + 4 * text;
    m->blocks = mem_try((size_t)m->blocks_max * sizeof *m->blocks);
    m->mats = mem_try((size_t)m->mats_max * sizeof(struct kern_mat *));
    m->vit.blocks = mem_try((size_t)vit * sizeof *m->vit.blocks);
    m->llama.layers = mem_try((size_t)text * sizeof *m->llama.layers);
    if (!m->blocks || !m->mats || !m->vit.blocks || !m->llama.layers)
        return err_set(e, E_NOMEM, "no memory for the tables of %d layers", vit + text);
    return 0;
}

/* Are there surely more bytes of weights than room for them? Said before minutes are spent on reading. */
static int check_room(const struct model *m, const struct source *source, struct err *e) {
    struct kern_stats s;
    m->ops->stats(m->k, &s);
    uint64_t need = source_bytes(source, &m->c, m->as_fp8);
    if (!s.most_bytes || need <= s.most_bytes) return 0;
    return err_set(e, E_NOMEM, "the weights take %.1f MiB, the device has %.1f MiB for all",
                   in_mib(need), in_mib(s.most_bytes));
}

/* The weights of `source` on the device; `named` are the bytes whose digest names the model. */
static int load(const struct model_config *c, struct source *source, int as_fp8, const void *named,
                size_t named_len, const struct kern_ops *ops, struct kern *k, struct model **out,
                struct err *e) {
    *out = NULL;
    struct model *m = mem_try(sizeof *m);
    if (!m) return err_set(e, E_NOMEM, "no memory for a model");
    m->c = *c;
    m->ops = ops;
    m->k = k;
    m->pool_dtype = ops->pool_dtype(k);
    m->as_fp8 = as_fp8;
    struct digest d;
    digest_start(&d, named, named_len);
    int rc = make_tables(m, e);
    if (!rc) rc = check_room(m, source, e);
    if (!rc) {
        rc = bind_weights(m, source, e);
        double need = in_mib(source_bytes(source, &m->c, as_fp8));
        if (rc == E_NOMEM) (void)err_in(e, "%.1f MiB of weights or more", need);
    }
    if (!rc) rc = ops->sync(k, e);
    rc = digest_end(&d, rc, m->digest, e);
    if (!rc && as_fp8) rc = digest_add(m->digest, "fp8", e); /* other answers: another name */
    if (rc) {
        model_close(m);
        return rc;
    }
    *out = m;
    return 0;
}

static int load_file(const struct model_config *c, const struct st *st, int as_fp8,
                     const struct kern_ops *ops, struct kern *k, struct model **out,
                     struct err *e) {
    size_t len;
    const void *bytes = st_bytes(st, &len);
    return load(c, &(struct source){.st = st}, as_fp8, bytes, len, ops, k, out, e);
}

int model_open_tensors(const struct model_config *c, const struct st *st,
                       const struct kern_ops *ops, struct kern *k, struct model **out,
                       struct err *e) {
    return load_file(c, st, 0, ops, k, out, e);
}

static int open_seeded(const struct model_config *c, const struct model_how *how,
                       const struct kern_ops *ops, struct kern *k, struct model **out,
                       struct err *e) {
    struct {
        struct model_config c;
        uint64_t seed;
    } named = {.c = *c, .seed = how->seed};
    struct source source = {.seed = how->seed, .any = 1 + c->n_patches};
    int rc = load(c, &source, how->as_fp8, &named, sizeof named, ops, k, out, e);
    source_clear(&source);
    return rc;
}

int model_open_how(const char *dir, const struct model_how *how, const struct kern_ops *ops,
                   struct kern *k, struct model **out, struct err *e) {
    *out = NULL;
    struct model_config c;
    int rc = model_read_config(dir, &c, e);
    if (rc) return rc;
    if (how->is_seeded) return open_seeded(&c, how, ops, k, out, e);
    char path[4096];
    if (snprintf(path, sizeof path, "%s/model.safetensors", dir) >= (int)sizeof path)
        return err_set(e, E_INVALID, "the model folder's name is too long");
    struct st *st;
    rc = st_open(path, &st, e);
    if (rc) return rc;
    rc = load_file(&c, st, how->as_fp8, ops, k, out, e);
    st_close(st);
    if (rc) err_in(e, "%s", path);
    return rc;
}

int model_open(const char *dir, const struct kern_ops *ops, struct kern *k, struct model **out,
               struct err *e) {
    return model_open_how(dir, &(struct model_how){0}, ops, k, out, e);
}

void model_close(struct model *m) {
    if (!m) return;
    if (m->logits.addr) m->ops->free(m->k, m->logits);
    if (m->probs.addr) m->ops->free(m->k, m->probs);
    for (int i = 0; i < m->n_mats; i++)
        m->ops->mat_free(m->k, m->mats[i]);
    for (int i = 0; i < m->n_blocks; i++)
        m->ops->free(m->k, m->blocks[i]);
    mem_free(m->staging);
    mem_free(m->llama.head);
    mem_free(m->llama.layers);
    mem_free(m->vit.blocks);
    mem_free(m->mats);
    mem_free(m->blocks);
    mem_free(m);
}

const struct model_config *model_config(const struct model *m) { return &m->c; }
const char *model_digest(const struct model *m) { return m->digest; }
uint64_t model_parameters(const struct model *m) { return m->parameters; }

/* ---- heads ---------------------------------------------------------------------------------------- */

/* Runs of consecutive ids become one part each: a whole vocabulary is a single one. */
static int head_parts(const struct model *m, const int32_t *ids, int n,
                      struct kern_mat_part *parts) {
    size_t row = (size_t)m->c.text.hidden_size * kern_dtype_bytes(m->llama.head_dtype);
    int count = 0;
    for (int i = 0; i < n; i++) {
        if (i && ids[i] == ids[i - 1] + 1) {
            parts[count - 1].n++;
            continue;
        }
        parts[count++] =
            (struct kern_mat_part){.data = (const char *)m->llama.head + (size_t)ids[i] * row,
                                   .n = 1,
                                   .dtype = m->llama.head_dtype};
    }
    return count;
}

int model_head_new(struct model *m, const int32_t *ids, int n, struct model_head **out,
                   struct err *e) {
    *out = NULL;
    if (n < 1) return err_set(e, E_INVALID, "a head without tokens");
    for (int i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= m->c.text.vocab_size)
            return err_set(e, E_INVALID, "token %d is outside the vocabulary", ids[i]);
    struct model_head *h = mem_try(sizeof *h);
    struct kern_mat_part *parts = mem_try((size_t)n * sizeof *parts);
    int rc = h && parts ? 0 : err_set(e, E_NOMEM, "no memory for a head of %d tokens", n);
    if (!rc) {
        struct kern_mat_src src = {
            .parts = parts, .n_parts = head_parts(m, ids, n, parts), .k = m->c.text.hidden_size};
        rc = m->ops->mat_new(m->k, &src, &h->mat, e);
    }
    if (!rc && n > m->head_max) {
        if (m->is_planned) rc = plan_logits(m, n, e);
        if (!rc) m->head_max = n;
    }
    mem_free(parts);
    if (rc) {
        model_head_free(m, h);
        return rc;
    }
    h->n = n;
    *out = h;
    return 0;
}

void model_head_free(struct model *m, struct model_head *h) {
    if (!h) return;
    m->ops->mat_free(m->k, h->mat);
    mem_free(h);
}

/* ---- running -------------------------------------------------------------------------------------- */

void model_see(struct model *m, const uint8_t *rgb, int feat) {
    must(m->is_planned && feat >= 0 && feat < m->plan.feats_max);
    size_t side = (size_t)m->c.vision.image_size;
    size_t bytes = sizeof(float) * (size_t)m->c.n_image_tokens * (size_t)m->c.text.hidden_size;
    m->ops->put(m->k, m->work.rgb, rgb, side * side * 3);
    vit_run(m, kern_at(m->feats, (size_t)feat * bytes));
}

int model_run(struct model *m, const struct model_pass *p, struct err *e) {
    return llama_run(m, p, e);
}

void model_set_tap(struct model *m, model_tap_fn *fn, void *ud) {
    m->tap = fn;
    m->tap_ud = ud;
}

void model_show(struct model *m, const char *name, struct kern_ptr p, int rows, int cols, int ld) {
    if (!m->tap || rows < 1) return;
    size_t n = (size_t)rows * (size_t)ld;
    float *host = mem_must(n * sizeof *host);
    must(!m->ops->get(m->k, host, p, n * sizeof *host, NULL));
    for (int i = 1; i < rows; i++)
        memmove(host + (size_t)i * (size_t)cols, host + (size_t)i * (size_t)ld,
                (size_t)cols * sizeof *host);
    m->tap(m->tap_ud, name, host, rows, cols);
    mem_free(host);
}
