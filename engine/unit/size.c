/* size.c - how many rows, lanes and KV slots a unit gets; chosen once, when it is opened.
 *
 * What nobody chose follows from the model: what a lane holds, what a stem takes. It is cut down to what the
 * device has room for behind the weights: first the cached stems, then, by halves, the rows of a pass and
 * the lanes with them. A host's own memory has no known end; there KV_BYTES stands for it.
 * What somebody chose is taken or refused, never changed.
 */
#include "engine/unit/unit.h"
#include "kernels/base/num.h"

enum {
    ROWS = 512, /* rows of a pass: as fast as more, and the first answers come sooner */
    CACHED_IMAGES = 32,
    QUEUE_PICTURES = 16, /* whole pictures of questions that may wait */
    FEATS = 16,          /* pictures whose features are kept, at least */
    FEATS_MAX = 256,     /* and at most: the four frames of 64 games */
    SPARE_STEMS = 4      /* beside the cached ones */
};
static const uint64_t FEATS_BYTES = (uint64_t)256 << 20; /* of those beyond the least */
static const uint64_t KV_BYTES = (uint64_t)1 << 30;      /* of a pool whose size nobody chose */

int32_t unit_keys(const struct unit *u) {
    return u->size.tail_max + u->size.answer_max + u->pixels->form.explore_max;
}

struct model_plan unit_plan(const struct unit *u) {
    const struct sizes *z = &u->size;
    const struct forms *f = u->forms;
    return (struct model_plan){.rows_max = z->rows,
                               .picks_max = z->rows,
                               .kv_slots = z->runs + z->singles,
                               .feats_max = z->feats,
                               .spans_max = batch_spans_max(z->rows, SCHED_RUNNING),
                               .tails_max = batch_tails_max(z->rows, unit_keys(u)),
                               .sets_max = f->text_set + 1,
                               .cols_max = f->col_off[f->text_set + 1]};
}

/* ---- the pool ---- */

/* What branches of the prompt tree and texts that are being spoken take beside the lanes. */
static int64_t branch_slots(const struct unit *u) {
    const struct pixels *p = u->pixels;
    return 4 * p->run_tokens + p->text_max + p->form.explore_max + 4 * ENG_TOKENS_MAX;
}

static int64_t lane_slots(const struct unit *u) {
    return u->pixels->tail_max + u->pixels->form.answer_max;
}

/* Slots when nobody chose: lanes and branches for z->lanes questions, stems of the cached pictures and
 * some more, within `most`, but never less than two stems, a lane and the branches. */
static void default_slots(struct unit *u, int64_t most) {
    struct sizes *z = &u->size;
    const struct model_config *c = model_config(u->model);
    int64_t stem = u->pixels->form.stem_tokens, lane = lane_slots(u), branches = branch_slots(u);
    int64_t runs = (z->cached + SPARE_STEMS) * stem + 2 * c->text.max_positions;
    int64_t singles = z->lanes * lane + branches, least = lane + branches;
    if (runs > most / 2) runs = most / 2;
    if (runs > most - least) runs = most - least;
    if (runs < 2 * stem) runs = 2 * stem;
    if (singles > most - runs) singles = most - runs;
    if (singles < least) singles = least;
    z->runs = (int32_t)runs;
    z->singles = (int32_t)singles;
}

static int chosen_slots(struct unit *u, int32_t all, struct err *err) {
    struct sizes *z = &u->size;
    const struct job_form *f = &u->pixels->form;
    int32_t least = f->stem_tokens + u->pixels->text_max + f->answer_max;
    if (all < least)
        return err_set(err, E_INVALID, "kv_tokens %d: one question needs %d", all, least);
    z->runs = at_most((z->cached + SPARE_STEMS) * f->stem_tokens, all / 2);
    z->runs = at_least(z->runs, f->stem_tokens);
    z->singles = all - z->runs;
    return 0;
}

/* ---- the device's room ---- */

/* Features are kept within FEATS_BYTES and a small part of a device whose end is known. */
static int32_t feats_within(const struct unit *u) {
    const struct model_config *c = model_config(u->model);
    uint64_t one = sizeof(float) * (uint64_t)c->text.hidden_size * (uint64_t)c->n_image_tokens;
    uint64_t bytes = FEATS_BYTES;
    struct kern_stats s;
    u->ops->stats(u->kern, &s);
    if (s.most_bytes) {
        uint64_t part = s.most_bytes > s.live_bytes ? (s.most_bytes - s.live_bytes) / 16 : 0;
        if (part < bytes) bytes = part;
    }
    return at_least(bytes / one < FEATS_MAX ? (int32_t)(bytes / one) : FEATS_MAX, FEATS);
}

/* Bytes that are left behind the weights, and those of all buffers but the pool, with today's sizes. */
struct room {
    uint64_t left, rest;
    int is_known;
};

static struct room room_of(const struct unit *u) {
    struct kern_stats s;
    u->ops->stats(u->kern, &s);
    struct model_plan plan = unit_plan(u);
    plan.kv_slots = 0;
    struct room r = {.rest = model_plan_bytes(u->model, &plan), .is_known = s.most_bytes != 0};
    if (s.most_bytes > s.live_bytes) r.left = s.most_bytes - s.live_bytes;
    return r;
}

static int no_room(const struct unit *u, uint64_t need, uint64_t left, struct err *err) {
    struct kern_stats s;
    u->ops->stats(u->kern, &s);
    return err_set(
        err, E_NOMEM,
        "%d rows, %d lanes and %d KV slots need %.1f MiB beside the model's %.1f MiB; the "
        "device has %.1f MiB left: %.1f MiB are needed in all",
        u->size.rows, u->size.lanes, u->size.runs + u->size.singles, in_mib(need),
        in_mib(s.live_bytes), in_mib(left), in_mib(need + s.live_bytes));
}

/* Pool for z->rows and z->lanes. 0, or E_NOMEM: they don't fit. */
static int size_pool(struct unit *u, const struct eng_options *o, struct err *err) {
    struct sizes *z = &u->size;
    z->runs = z->singles = 0;
    struct room r = room_of(u);
    uint64_t slot = model_slot_bytes(model_config(u->model), u->ops->pool_dtype(u->kern));
    uint64_t most = r.is_known ? (r.left > r.rest ? r.left - r.rest : 0) : KV_BYTES;
    int rc = 0;
    if (o->kv_tokens > 0)
        rc = chosen_slots(u, o->kv_tokens, err);
    else
        default_slots(u,
                      (int64_t)(most / slot < ENG_KV_TOKENS_MAX ? most / slot : ENG_KV_TOKENS_MAX));
    if (rc) return rc;
    uint64_t need = r.rest + slot * (uint64_t)(z->runs + z->singles);
    return r.is_known && need > r.left ? no_room(u, need, r.left, err) : 0;
}

int unit_choose_sizes(struct unit *u, const struct eng_options *o, struct err *err) {
    struct sizes *z = &u->size;
    const struct pixels *p = u->pixels;
    const struct job_form *f = &p->form;
    int32_t rows_least = at_least(STEM_CHUNK, z->tail_max + z->answer_max);
    rows_least = at_least(rows_least, f->explore_max);
    z->rows = o->rows_max > 0 ? o->rows_max : at_least(ROWS, o->width);
    z->rows = at_least(z->rows, rows_least);
    z->cached = o->cached_images < 0 ? 0 : o->cached_images > 0 ? o->cached_images : CACHED_IMAGES;
    z->feats = feats_within(u);
    int may_shrink = o->rows_max <= 0 && o->width <= 0 && o->kv_tokens <= 0;
    for (;;) {
        struct err why = {0};
        z->lanes = at_most(o->width > 0 ? o->width : z->rows, z->rows);
        int rc = size_pool(u, o, &why);
        if (!rc) break;
        if (rc != E_NOMEM || !may_shrink || z->rows == rows_least)
            return err_set(err, rc, "%s", why.text);
        z->rows = at_least(z->rows / 2, rows_least);
    }
    z->lanes = at_most(z->lanes, z->singles);
    uint64_t answers = (uint64_t)(f->grid * f->grid) * (uint64_t)f->answer_max;
    u->queue_tokens_max =
        o->queue_tokens ? o->queue_tokens : QUEUE_PICTURES * (p->tree_tokens + answers);
    return 0;
}
