/* size.c - how many rows, lanes and KV slots a unit gets. Chosen once, when it is opened.
 *
 * A size that the options leave at 0 follows from the model: from what a lane holds and what a stem
 * takes, and the rows of a pass from what the device says is its best (kern_ops.pass_rows). It is
 * cut down to the room that the device has beside the weights: first the cached stems, then, by
 * halves, the rows of a pass and the lanes with them. On a host, of whose memory others take, too,
 * KV_BYTES bounds the pool. A size that the options give is taken or refused, never changed.
 *
 * Before the weights are read, the least of these sizes say what has to find room beside them.
 */
#include <string.h>

#include "engine/unit/unit.h"
#include "kernels/base/num.h"

enum {
    CACHED_IMAGES = 32,
    QUEUE_PICTURES = 16, /* whole pictures whose questions may wait */
    FEATS = 16,          /* pictures whose features are kept, at least */
    FEATS_MAX = 256,     /* and at most: four frames of 64 games */
    SPARE_STEMS = 4,     /* beside the cached ones */
    ADAPTER_RANK = 64    /* of a LoRA, at most */
};
static const uint64_t FEATS_BYTES = (uint64_t)256 << 20; /* of more than FEATS pictures */
static const uint64_t KV_BYTES = (uint64_t)1 << 30;

int32_t unit_keys(const struct unit *u) {
    return u->size.tail_max + u->size.answer_max + u->pixels->questions.explore_max;
}

struct model_plan unit_plan(const struct unit *u) {
    const struct sizes *z = &u->size;
    const struct kinds *k = u->kinds;
    return (struct model_plan){.rows_max = z->rows,
                               .picks_max = z->rows,
                               .kv_slots = z->range_slots + z->single_slots,
                               .feats_max = z->feats,
                               .pictures_max = u->ops->pass_pictures(u->kern),
                               .spans_max = rows_spans_max(z->rows, SCHED_RUNNING),
                               .tails_max = rows_tails_max(z->rows, unit_keys(u)),
                               .berths = z->berths,
                               .berth_rank = z->berth_rank,
                               .berth_overlays = z->berth_overlays,
                               .berth_keep = z->berth_keep,
                               .sets_max = k->text_set + 1,
                               .cols_max = k->col_off[k->text_set + 1]};
}

/* ---- the pool ---- */

/* Slots for branches of the prompt tree and for texts being generated, beside the lanes. */
static int64_t shared_slots(const struct unit *u) {
    const struct pixels *p = u->pixels;
    return 4 * p->branch_tokens + p->text_max + p->questions.explore_max + 4 * ENG_TOKENS_MAX;
}

static int64_t lane_slots(const struct unit *u) {
    return u->pixels->tail_max + u->pixels->questions.answer_max;
}

/* The default: lanes and branches for z->lanes questions, stems of the cached pictures and some
 * more, within `most`, but at least two stems, one lane and the branches. */
static void default_slots(struct unit *u, int64_t most) {
    struct sizes *z = &u->size;
    const struct model_config *c = &u->config;
    int64_t stem = u->pixels->questions.stem_tokens, lane = lane_slots(u),
            branches = shared_slots(u);
    int64_t ranges = (z->cached + SPARE_STEMS) * stem + 2 * c->text.max_positions;
    int64_t singles = z->lanes * lane + branches, least = lane + branches;
    if (ranges > most / 2) ranges = most / 2;
    if (ranges > most - least) ranges = most - least;
    if (ranges < 2 * stem) ranges = 2 * stem;
    if (singles > most - ranges) singles = most - ranges;
    if (singles < least) singles = least;
    z->range_slots = (int32_t)ranges;
    z->single_slots = (int32_t)singles;
}

static int chosen_slots(struct unit *u, int32_t all, struct err *err) {
    struct sizes *z = &u->size;
    const struct questions *q = &u->pixels->questions;
    int32_t least = q->stem_tokens + u->pixels->text_max + q->answer_max;
    if (all < least)
        return err_set(err, E_INVALID, "kv_tokens %d: one question needs %d", all, least);
    z->range_slots = at_most((z->cached + SPARE_STEMS) * q->stem_tokens, all / 2);
    z->range_slots = at_least(z->range_slots, q->stem_tokens);
    z->single_slots = all - z->range_slots;
    return 0;
}

/* ---- the device's room ---- */

/* Bytes of the device's memory, and whether all of them are its own: others take of a host's.
 * UINT64_MAX: nobody knows. */
static uint64_t device_bytes(const struct kern_stats *s, int *is_own) {
    *is_own = s->most_bytes != 0;
    return s->most_bytes ? s->most_bytes : s->found_bytes ? s->found_bytes : UINT64_MAX;
}

static uint64_t device_left(const struct unit *u, int *is_own) {
    struct kern_stats s;
    u->ops->stats(u->kern, &s);
    uint64_t most = device_bytes(&s, is_own);
    return most > s.live_bytes ? most - s.live_bytes : 0;
}

/* Within FEATS_BYTES, and a sixteenth of what is left. */
static int32_t feats_within(const struct unit *u) {
    const struct model_config *c = &u->config;
    uint64_t one = sizeof(float) * (uint64_t)c->text.hidden_size * (uint64_t)c->n_image_tokens;
    int is_own;
    uint64_t bytes = device_left(u, &is_own) / 16;
    if (bytes > FEATS_BYTES) bytes = FEATS_BYTES;
    return at_least(bytes / one < FEATS_MAX ? (int32_t)(bytes / one) : FEATS_MAX, FEATS);
}

/* Bytes left beside the weights, and bytes of all buffers but the pool, with the sizes so far. */
struct room {
    uint64_t left, rest;
    int is_own;
};

static struct room room_of(const struct unit *u) {
    struct model_plan plan = unit_plan(u);
    struct room r;
    plan.kv_slots = 0;
    r.rest = model_plan_bytes(u->model, &plan);
    r.left = device_left(u, &r.is_own);
    return r;
}

static int no_room(const struct unit *u, uint64_t need, uint64_t left, struct err *err) {
    struct kern_stats s;
    u->ops->stats(u->kern, &s);
    return err_set(
        err, E_NOMEM,
        "%d rows, %d lanes and %d KV slots need %.1f MiB beside the model's %.1f MiB; the "
        "device has %.1f MiB left: %.1f MiB are needed in all",
        u->size.rows, u->size.lanes, u->size.range_slots + u->size.single_slots, in_mib(need),
        in_mib(s.live_bytes), in_mib(left), in_mib(need + s.live_bytes));
}

/* The pool for z->rows and z->lanes. E_NOMEM: they don't fit. */
static int size_pool(struct unit *u, const struct eng_options *o, struct err *err) {
    struct sizes *z = &u->size;
    z->range_slots = z->single_slots = 0;
    struct room r = room_of(u);
    uint64_t slot = model_slot_bytes(&u->config, model_pool_dtype(u->model));
    uint64_t most = r.left > r.rest ? r.left - r.rest : 0;
    if (!r.is_own && most > KV_BYTES) most = KV_BYTES;
    int rc = 0;
    if (o->kv_tokens > 0)
        rc = chosen_slots(u, o->kv_tokens, err);
    else
        default_slots(u,
                      (int64_t)(most / slot < ENG_KV_TOKENS_MAX ? most / slot : ENG_KV_TOKENS_MAX));
    if (rc) return rc;
    uint64_t need = r.rest + slot * (uint64_t)(z->range_slots + z->single_slots);
    return need > r.left ? no_room(u, need, r.left, err) : 0;
}

int32_t unit_rows_least(const struct unit *u) {
    int32_t lane =
        at_least(u->size.tail_max + u->size.answer_max, u->pixels->questions.explore_max);
    return at_least(STEM_CHUNK, lane);
}

/* f32 loses nothing of what the files have. */
static int choose_berth_form(struct unit *u, const char *name, struct err *err) {
    struct kern_mat_part part = {.n = 1};
    struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = 1, .keep = KERN_KEEP_BF16};
    u->size.berth_keep = KERN_KEEP_OWN;
    if (!name || !strcmp(name, "auto") || !strcmp(name, "f32")) return 0;
    if (strcmp(name, "bf16"))
        return err_set(err, E_INVALID, "adapters as \"%.32s\": no such form", name);
    if (u->ops->mat_bytes(u->kern, &src) == UINT64_MAX)
        return err_set(err, E_UNSUPPORTED, "%s keeps no adapters as bf16", u->ops->name);
    u->size.berth_keep = KERN_KEEP_BF16;
    return 0;
}

/* Room for adapters is taken or refused like other sizes that were chosen. What wasn't makes
 * way. */
static int choose_berths(struct unit *u, const struct eng_options *o, struct err *err) {
    struct sizes *z = &u->size;
    if (o->adapters < 0 || o->adapter_overlays < 0 || o->adapter_overlays > o->adapters)
        return err_set(err, E_INVALID, "%d adapters, %d of them with an overlay", o->adapters,
                       o->adapter_overlays);
    if (o->adapter_rank < 0) return err_set(err, E_INVALID, "an adapter's rank below 1");
    if (o->adapters && !u->ops->train)
        return err_set(err, E_UNSUPPORTED, "%s can't load adapters", u->ops->name);
    z->berths = o->adapters;
    z->berth_overlays = o->adapter_overlays;
    if (z->berths) z->berth_rank = o->adapter_rank ? o->adapter_rank : ADAPTER_RANK;
    return choose_berth_form(u, o->adapters_as, err);
}

/* Rows, and pictures whose stems stay, as chosen or as the device likes them. */
static int choose_rows(struct unit *u, const struct eng_options *o, struct err *err) {
    struct sizes *z = &u->size;
    int32_t rows_least = unit_rows_least(u), rows = at_least(u->ops->pass_rows(u->kern), o->lanes);
    if (o->rows > 0 && o->rows < rows_least)
        return err_set(err, E_INVALID, "%d rows of a pass are too few: at least %d", o->rows,
                       rows_least);
    z->rows = o->rows > 0 ? o->rows : at_least(at_most(rows, ENG_ROWS_MAX), rows_least);
    z->cached = o->cached_images < 0 ? 0 : o->cached_images > 0 ? o->cached_images : CACHED_IMAGES;
    return 0;
}

static int may_shrink(const struct eng_options *o) { return o->rows <= 0 && o->lanes <= 0; }

static int32_t lanes_of(const struct unit *u, const struct eng_options *o) {
    return at_most(o->lanes > 0 ? o->lanes : u->size.rows, u->size.rows);
}

/* The sizes are the least ones then, and unit_choose_sizes chooses again. */
int unit_beside(struct unit *u, const struct eng_options *o, struct model_beside *out,
                struct err *err) {
    struct sizes *z = &u->size;
    const struct kinds *k = u->kinds;
    const struct questions *q = &u->pixels->questions;
    const struct model_text *t = &u->config.text;
    int rc = choose_berths(u, o, err);
    if (!rc) rc = choose_rows(u, o, err);
    if (rc) return rc;
    if (may_shrink(o)) z->rows = unit_rows_least(u);
    z->lanes = lanes_of(u, o);
    z->feats = FEATS;
    if (o->kv_tokens > 0)
        rc = chosen_slots(u, o->kv_tokens, err);
    else
        default_slots(u, 0);
    if (rc) return rc;
    struct model_plan plan = unit_plan(u);
    struct kern_mat_part part = {.n = k->n_head};
    struct kern_mat_src head = {.parts = &part, .n_parts = 1, .k = t->hidden_size};
    *out = (struct model_beside){
        .buffers = model_plan_bytes_before(&u->config, u->ops, u->kern, t->vocab_size, &plan) +
                   u->ops->mat_bytes(u->kern, &head),
        .rows = z->rows,
        .slots = z->range_slots + z->single_slots,
        .slots_least = q->stem_tokens + u->pixels->text_max + q->answer_max};
    return 0;
}

int unit_choose_sizes(struct unit *u, const struct eng_options *o, struct err *err) {
    struct sizes *z = &u->size;
    const struct pixels *p = u->pixels;
    const struct questions *q = &p->questions;
    int rc = choose_rows(u, o, err);
    if (rc) return rc;
    int32_t rows_least = unit_rows_least(u);
    z->feats = feats_within(u);
    for (;;) {
        struct err why = {0};
        z->lanes = lanes_of(u, o);
        rc = size_pool(u, o, &why);
        if (!rc) break;
        if (rc == E_NOMEM && z->feats > FEATS) {
            z->feats = FEATS;
            continue;
        }
        if (rc != E_NOMEM || !may_shrink(o) || z->rows == rows_least)
            return err_set(err, rc, "%s", why.text);
        z->rows = at_least(z->rows / 2, rows_least);
    }
    z->lanes = at_most(z->lanes, z->single_slots);
    uint64_t answers = (uint64_t)(q->grid * q->grid) * (uint64_t)q->answer_max;
    u->queue_tokens_max =
        o->queue_tokens ? o->queue_tokens : QUEUE_PICTURES * (p->tree_tokens + answers);
    return 0;
}
