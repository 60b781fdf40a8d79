/* batch.c - choosing what takes part in a pass, and laying it out.
 *
 * Invariants
 *   1. rows_left + rows chosen == rows_most while choosing. Building writes exactly the rows
 *      chosen.
 *   2. Rows of the base come first, then those of each adapter. Of each of them chunks come first,
 *      a group each. Then each bucket is one group.
 *   3. The spans of a group are the parts of a chain from the front, one span each (stem.c, 4). A
 *      chunk attends to what is in front of it: the chain above its part, and its part's own
 *      earlier rows.
 *   4. Inside their bucket items keep the order in which they were chosen.
 */
#include "engine/run/batch.h"

#include <string.h>

#include "engine/run/branch.h"
#include "kernels/base/err.h"
#include "kernels/base/mem.h"

void batch_init(struct batch *b, int32_t rows_max, int32_t keys_max, int32_t stems_max,
                const struct kinds *kinds, const struct model_head *numbers,
                const struct model_head *text) {
    size_t rows = (size_t)rows_max;
    *b = (struct batch){.rows_most = rows_max, .buckets_max = stems_max};
    b->items = mem_must(rows * sizeof b->items[0]);
    b->chunks = mem_must(rows * sizeof b->chunks[0]);
    b->buckets = mem_must((size_t)stems_max * sizeof b->buckets[0]);
    b->order = mem_must(rows * sizeof b->order[0]);
    rows_init(&b->rows, rows_max, keys_max, stems_max, kinds, numbers, text);
}

void batch_clear(struct batch *b) {
    mem_free(b->items);
    mem_free(b->chunks);
    mem_free(b->buckets);
    mem_free(b->order);
    rows_clear(&b->rows);
    *b = (struct batch){0};
}

/* ---- choosing ---- */

void batch_begin(struct batch *b) {
    must(b->rows_most > 0 && b->rows_most <= b->rows.max);
    b->rows_left = b->rows_most;
    b->text_left = b->rows.text.max;
    b->n_items = b->n_chunks = b->n_buckets = 0;
    b->berths = 0;
    rows_begin(&b->rows);
}

/* The berth of a job that takes part. */
static int join(struct batch *b, const struct eng_job *j) {
    int berth = job_berth(j);
    if (berth != MODEL_BASE) b->berths |= 1u << berth;
    return berth;
}

void batch_chunk(struct batch *b, const struct eng_job *job, struct stem_part *part) {
    int32_t rows = stem_chunk(part);
    must(rows > 0 && rows <= b->rows_left);
    b->chunks[b->n_chunks++] = (struct batch_chunk){part, part->planned, rows, join(b, job)};
    part->planned += rows;
    b->rows_left -= rows;
}

static void add_item(struct batch *b, struct batch_item item, int32_t rows) {
    struct stem_part *stem = item.job->stem;
    must(rows > 0 && rows <= b->rows_left);
    if (stem->bucket < 0) {
        must(b->n_buckets < b->buckets_max);
        stem->bucket = b->n_buckets++;
        b->buckets[stem->bucket] = (struct batch_bucket){.stem = stem, .berth = join(b, item.job)};
    }
    item.bucket = stem->bucket;
    b->buckets[item.bucket].items++;
    b->items[b->n_items++] = item;
    b->rows_left -= rows;
}

void batch_branch(struct batch *b, struct eng_job *job, int32_t branch) {
    add_item(b, (struct batch_item){.job = job, .branch = branch}, job->tree.branches[branch].n);
}

void batch_lane(struct batch *b, struct lane *lane) {
    add_item(b, (struct batch_item){.job = lane->job, .lane = lane}, lane_rows(lane));
    if (kind_is_text(lane->job->questions->kind)) {
        b->text_left -= lane_text_picks(lane);
        must(b->text_left >= 0);
        b->rows.text.has_probs = 1;
    } else {
        b->rows.numbers.has_probs |= lane->job->distribution;
    }
}

/* ---- laying out ---- */

/* A group of rows that attend to the chain down to `last`. */
static void open_group(struct batch *b, struct stem_part *last, int32_t own_slot) {
    struct stem_part *parts[STEM_PARTS];
    int32_t n = stem_chain(last, parts);
    rows_open_group(&b->rows, own_slot);
    for (int32_t i = 0; i < n; i++)
        rows_span(&b->rows, parts[i]->slot, parts[i]->len);
}

static void put_chunk(struct batch *b, const struct batch_chunk *c) {
    const struct stem_part *p = c->part;
    open_group(b, p->up, p->slot + c->from);
    if (c->from > 0) rows_span(&b->rows, p->slot, c->from);
    for (int32_t i = c->from; i < c->from + c->rows; i++)
        rows_add(&b->rows, stem_src(p, i), p->start + i, p->slot + i);
    rows_close_group(&b->rows);
}

/* A stable counting sort of the items by bucket. A bucket's `at` is behind its items then. */
static void sort_items(struct batch *b) {
    int32_t at = 0;
    for (int32_t i = 0; i < b->n_buckets; i++) {
        b->buckets[i].at = at;
        at += b->buckets[i].items;
    }
    for (int32_t i = 0; i < b->n_items; i++)
        b->order[b->buckets[b->items[i].bucket].at++] = i;
}

static void put_bucket(struct batch *b, struct lanes *lanes, const struct batch_bucket *at) {
    open_group(b, at->stem, -1);
    for (int32_t k = at->at - at->items; k < at->at; k++) {
        const struct batch_item *item = &b->items[b->order[k]];
        if (item->lane)
            lane_put(lanes, item->lane, &b->rows);
        else
            branch_put(item->job, item->branch, &b->rows);
    }
    rows_close_group(&b->rows);
}

/* All rows that run with one berth. */
static void put_section(struct batch *b, struct lanes *lanes, int berth) {
    rows_open_section(&b->rows, berth);
    for (int32_t i = 0; i < b->n_chunks; i++)
        if (b->chunks[i].berth == berth) put_chunk(b, &b->chunks[i]);
    for (int32_t i = 0; i < b->n_buckets; i++)
        if (b->buckets[i].berth == berth) put_bucket(b, lanes, &b->buckets[i]);
    rows_close_section(&b->rows);
}

void batch_build(struct batch *b, struct lanes *lanes) {
    sort_items(b);
    put_section(b, lanes, MODEL_BASE);
    for (int berth = 0; b->berths >> berth; berth++)
        if (b->berths >> berth & 1) put_section(b, lanes, berth);
    must(b->rows.pass.rows == batch_rows(b));
    rows_end(&b->rows);
}

void batch_end(struct batch *b) {
    for (int32_t i = 0; i < b->n_chunks; i++)
        stem_settle(b->chunks[i].part);
    for (int32_t i = 0; i < b->n_buckets; i++)
        b->buckets[i].stem->bucket = -1;
}
