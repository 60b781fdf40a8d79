/* batch.c - the arrays of a pass.
 *
 * Invariants
 *   1. rows_left + rows chosen == rows_most while choosing; build writes exactly the rows chosen.
 *   2. Groups come in row order and cover all rows: chunks first, one group each, then the buckets.
 *   3. A group's spans are the parts of a chain from the front, each its own span (stem.c, 4). A chunk
 *      sees what is in front of it: the chain above its part and its part's own earlier rows.
 *   4. Lanes keep the order in which they were chosen inside their bucket.
 */
#include "engine/run/batch.h"

#include <string.h>

#include "engine/run/branch.h"
#include "kernels/base/err.h"
#include "kernels/base/mem.h"

/* A group has a row at least, and at most the spans of a whole chain. */
int32_t batch_spans_max(int32_t rows_max, int32_t stems_max) {
    return (rows_max + stems_max) * STEM_PARTS;
}

int32_t batch_tails_max(int32_t rows_max, int32_t tail_max) {
    return rows_max * tail_max + BATCH_TEXT_PICKS * BATCH_TEXT_KEYS;
}

static void *ints(size_t n) { return mem_must(n * sizeof(int32_t)); }

static void picks_init(struct batch_picks *p, int32_t max, int ldp, const struct model_head *head) {
    *p = (struct batch_picks){.max = max, .ldp = ldp, .head = head};
    p->row = ints((size_t)max);
    p->set = ints((size_t)max);
    p->probs = mem_must((size_t)max * (size_t)ldp * sizeof p->probs[0]);
}

static void picks_clear(struct batch_picks *p) {
    mem_free(p->row);
    mem_free(p->set);
    mem_free(p->probs);
}

void batch_init(struct batch *b, int32_t rows_max, int32_t tail_max, int32_t stems_max,
                const struct forms *f, const struct model_head *numbers,
                const struct model_head *text) {
    size_t rows = (size_t)rows_max, groups = rows + (size_t)stems_max;
    *b = (struct batch){.rows_max = rows_max, .rows_most = rows_max, .buckets_max = stems_max};
    b->tails_max = batch_tails_max(rows_max, tail_max);
    b->units = mem_must(rows * sizeof b->units[0]);
    b->chunks = mem_must(rows * sizeof b->chunks[0]);
    b->buckets = mem_must((size_t)stems_max * sizeof b->buckets[0]);
    b->order = ints(rows);
    b->src = ints(rows);
    b->pos = ints(rows);
    b->slot = ints(rows);
    b->tail_off = ints(rows + 1);
    b->tail = ints((size_t)batch_tails_max(rows_max, tail_max));
    b->groups = mem_must(groups * sizeof b->groups[0]);
    b->spans = mem_must((size_t)batch_spans_max(rows_max, stems_max) * sizeof b->spans[0]);
    b->pick_row = ints(rows);
    b->pick_set = ints(rows);
    b->path = ints((size_t)tail_max + BATCH_TEXT_KEYS);
    b->forms = f;
    picks_init(&b->numbers, rows_max, f->max_number_set, numbers);
    picks_init(&b->text, BATCH_TEXT_PICKS, f->n_text, text);
    b->pass = (struct model_pass){
        .src = b->src,
        .pos = b->pos,
        .slot = b->slot,
        .groups = b->groups,
        .spans = b->spans,
        .tail_off = b->tail_off,
        .tail = b->tail,
        .pick_row = b->pick_row,
        .pick_groups = b->pick_groups,
        .pick_set = b->pick_set,
        .col_off = f->col_off,
        .cols = f->cols,
        .best = ints(rows),
    };
}

void batch_clear(struct batch *b) {
    void *all[] = {b->units, b->chunks,   b->buckets,  b->order, b->src,
                   b->pos,   b->slot,     b->tail_off, b->tail,  b->groups,
                   b->spans, b->pick_row, b->pick_set, b->path,  b->pass.best};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        mem_free(all[i]);
    picks_clear(&b->numbers);
    picks_clear(&b->text);
    *b = (struct batch){0};
}

/* ---- choosing ---- */

void batch_begin(struct batch *b) {
    must(b->rows_most > 0 && b->rows_most <= b->rows_max);
    b->rows_left = b->rows_most;
    b->text_left = b->text.max;
    b->n_units = b->n_chunks = b->n_buckets = 0;
    b->numbers.is_wanted = b->text.is_wanted = 0;
}

void batch_chunk(struct batch *b, struct stem_part *part) {
    int32_t rows = stem_chunk(part);
    must(rows > 0 && rows <= b->rows_left);
    b->chunks[b->n_chunks++] = (struct batch_chunk){part, part->planned, rows};
    part->planned += rows;
    b->rows_left -= rows;
}

static void add_unit(struct batch *b, struct batch_unit unit, int32_t rows) {
    struct stem_part *stem = unit.job->stem;
    must(rows > 0 && rows <= b->rows_left);
    if (stem->bucket < 0) {
        must(b->n_buckets < b->buckets_max);
        stem->bucket = b->n_buckets++;
        b->buckets[stem->bucket] = (struct batch_bucket){.stem = stem};
    }
    unit.bucket = stem->bucket;
    b->buckets[unit.bucket].units++;
    b->units[b->n_units++] = unit;
    b->rows_left -= rows;
}

void batch_run(struct batch *b, struct eng_job *job, int32_t run) {
    add_unit(b, (struct batch_unit){.job = job, .run = run}, job->tree.runs[run].n);
}

void batch_lane(struct batch *b, struct lane *lane) {
    add_unit(b, (struct batch_unit){.job = lane->job, .lane = lane}, lane_rows(lane));
    if (form_is_text(lane->job->form->kind)) {
        b->text_left -= lane_text_picks(lane);
        must(b->text_left >= 0);
        b->text.is_wanted = 1;
    } else {
        b->numbers.is_wanted |= lane->job->distribution;
    }
}

/* ---- rows ---- */

void batch_row(struct batch *b, int32_t src, int32_t pos, int32_t slot) {
    int32_t i = b->pass.rows++;
    must(i < b->rows_max);
    b->src[i] = src;
    b->pos[i] = pos;
    b->slot[i] = slot;
    b->tail_off[i + 1] = b->tail_off[i];
}

void batch_keys(struct batch *b, const int32_t *slots, int32_t n) {
    int32_t *end = &b->tail_off[b->pass.rows];
    must(*end + n <= b->tails_max);
    memcpy(&b->tail[*end], slots, (size_t)n * sizeof slots[0]);
    *end += n;
}

static int32_t add_pick(const struct batch *b, struct batch_picks *p, int32_t set) {
    must(p->n < p->max);
    p->row[p->n] = b->pass.rows - 1;
    p->set[p->n] = set;
    return p->n++;
}

int32_t batch_pick(struct batch *b, int32_t set) {
    must(set >= 0 && set < b->forms->n_number_sets);
    return add_pick(b, &b->numbers, set);
}

int32_t batch_pick_text(struct batch *b) { return add_pick(b, &b->text, b->forms->text_set); }

struct batch_result batch_result(const struct batch *b, int is_text, int32_t pick0) {
    const struct batch_picks *p = is_text ? &b->text : &b->numbers;
    int32_t before = is_text ? b->numbers.n : 0;
    const float *probs = p->is_wanted ? p->probs + (size_t)pick0 * (size_t)p->ldp : NULL;
    return (struct batch_result){b->pass.best + before + pick0, probs, p->ldp};
}

/* ---- laying out ---- */

static void add_span(struct batch *b, struct kern_attn_group *g, int32_t slot, int32_t len) {
    b->spans[b->pass.n_spans++] = (struct kern_attn_span){slot, len};
    g->spans++;
}

/* A group of rows that see the chain down to `last`. */
static struct kern_attn_group *open_group(struct batch *b, struct stem_part *last,
                                          int32_t own_slot) {
    struct stem_part *parts[STEM_PARTS];
    int32_t n = stem_chain(last, parts);
    struct kern_attn_group *g = &b->groups[b->pass.n_groups++];
    *g = (struct kern_attn_group){
        .row0 = b->pass.rows, .span0 = b->pass.n_spans, .own_slot = own_slot};
    for (int32_t i = 0; i < n; i++)
        add_span(b, g, parts[i]->slot, parts[i]->len);
    return g;
}

static void put_chunk(struct batch *b, const struct batch_chunk *c) {
    const struct stem_part *p = c->part;
    struct kern_attn_group *g = open_group(b, p->up, p->slot + c->from);
    if (c->from > 0) add_span(b, g, p->slot, c->from);
    for (int32_t i = c->from; i < c->from + c->rows; i++)
        batch_row(b, stem_src(p, i), p->start + i, p->slot + i);
    g->rows = c->rows;
}

/* A stable counting sort of the units by bucket. */
static void sort_units(struct batch *b) {
    int32_t at = 0;
    for (int32_t i = 0; i < b->n_buckets; i++) {
        b->buckets[i].at = at;
        at += b->buckets[i].units;
    }
    for (int32_t i = 0; i < b->n_units; i++)
        b->order[b->buckets[b->units[i].bucket].at++] = i;
}

/* The picks of one head join the pass behind those of the other. */
static void join(struct batch *b, const struct batch_picks *k) {
    struct model_pass *p = &b->pass;
    if (k->n == 0) return;
    memcpy(b->pick_row + p->picks, k->row, (size_t)k->n * sizeof k->row[0]);
    memcpy(b->pick_set + p->picks, k->set, (size_t)k->n * sizeof k->set[0]);
    b->pick_groups[p->n_pick_groups++] =
        (struct model_pick_group){k->head, p->picks, k->n, k->is_wanted ? k->probs : NULL, k->ldp};
    p->picks += k->n;
}

static void join_picks(struct batch *b) {
    struct model_pass *p = &b->pass;
    p->picks = p->n_pick_groups = 0;
    join(b, &b->numbers);
    join(b, &b->text);
    /* The vocabulary's set is the last one: a pass without text need not carry it. */
    p->n_sets = b->text.n > 0 ? b->forms->text_set + 1 : b->forms->n_number_sets;
}

void batch_build(struct batch *b, struct lanes *lanes) {
    struct model_pass *p = &b->pass;
    p->rows = p->n_groups = p->n_spans = 0;
    b->numbers.n = b->text.n = 0;
    b->tail_off[0] = 0;
    for (int32_t i = 0; i < b->n_chunks; i++)
        put_chunk(b, &b->chunks[i]);
    sort_units(b);
    int32_t k = 0;
    for (int32_t i = 0; i < b->n_buckets; i++) {
        struct kern_attn_group *g = open_group(b, b->buckets[i].stem, -1);
        for (; k < b->n_units && b->units[b->order[k]].bucket == i; k++) {
            const struct batch_unit *u = &b->units[b->order[k]];
            if (u->lane)
                lane_put(lanes, u->lane, b);
            else
                branch_put(u->job, u->run, b);
        }
        g->rows = p->rows - g->row0;
    }
    must(p->rows == b->rows_most - b->rows_left);
    join_picks(b);
}

void batch_end(struct batch *b) {
    for (int32_t i = 0; i < b->n_chunks; i++)
        stem_settle(b->chunks[i].part);
    for (int32_t i = 0; i < b->n_buckets; i++)
        b->buckets[i].stem->bucket = -1;
}
