/* rows.c - the arrays of a pass.
 *
 * Invariants
 *   1. Groups come in row order and cover all rows.
 *   2. tail_off[i] .. tail_off[i + 1] are the private keys of row i. Only the latest row grows.
 *   3. Picks of a head stand in row order. In the pass those of numbers come first, then those of
 *      text.
 */
#include "engine/run/rows.h"

#include <string.h>

#include "engine/run/stem.h"
#include "kernels/base/err.h"
#include "kernels/base/mem.h"

/* A group has at least one row, and at most a span for each part of a stem. */
int32_t rows_spans_max(int32_t rows_max, int32_t stems_max) {
    return (rows_max + stems_max) * STEM_PARTS;
}

int32_t rows_tails_max(int32_t rows_max, int32_t keys_max) {
    return rows_max * keys_max + ROWS_TEXT_PICKS * ROWS_TEXT_KEYS;
}

static void *ints(size_t n) { return mem_must(n * sizeof(int32_t)); }

static void picks_init(struct rows_picks *p, int32_t max, int ldp, const struct model_head *head) {
    *p = (struct rows_picks){.max = max, .ldp = ldp, .head = head};
    p->row = ints((size_t)max);
    p->set = ints((size_t)max);
    p->probs = mem_must((size_t)max * (size_t)ldp * sizeof p->probs[0]);
}

static void picks_clear(struct rows_picks *p) {
    mem_free(p->row);
    mem_free(p->set);
    mem_free(p->probs);
}

void rows_init(struct rows *r, int32_t rows_max, int32_t keys_max, int32_t stems_max,
               const struct kinds *kinds, const struct model_head *numbers,
               const struct model_head *text) {
    size_t rows = (size_t)rows_max, groups = rows + (size_t)stems_max;
    *r = (struct rows){.max = rows_max, .kinds = kinds};
    r->keys_max = rows_tails_max(rows_max, keys_max);
    r->src = ints(rows);
    r->pos = ints(rows);
    r->slot = ints(rows);
    r->tail_off = ints(rows + 1);
    r->tail = ints((size_t)r->keys_max);
    r->groups = mem_must(groups * sizeof r->groups[0]);
    r->spans = mem_must((size_t)rows_spans_max(rows_max, stems_max) * sizeof r->spans[0]);
    r->pick_row = ints(rows);
    r->pick_set = ints(rows);
    r->path = ints((size_t)keys_max + ROWS_TEXT_KEYS);
    picks_init(&r->numbers, rows_max, kinds->max_number_set, numbers);
    picks_init(&r->text, ROWS_TEXT_PICKS, kinds->n_text, text);
    r->pass = (struct model_pass){
        .src = r->src,
        .pos = r->pos,
        .slot = r->slot,
        .groups = r->groups,
        .spans = r->spans,
        .sections = r->sections,
        .tail_off = r->tail_off,
        .tail = r->tail,
        .pick_row = r->pick_row,
        .pick_groups = r->pick_groups,
        .pick_set = r->pick_set,
        .col_off = kinds->col_off,
        .cols = kinds->cols,
        .best = ints(rows),
    };
}

void rows_clear(struct rows *r) {
    void *all[] = {r->src,   r->pos,      r->slot,     r->tail_off, r->tail,     r->groups,
                   r->spans, r->pick_row, r->pick_set, r->path,     r->pass.best};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        mem_free(all[i]);
    picks_clear(&r->numbers);
    picks_clear(&r->text);
    *r = (struct rows){0};
}

/* ---- writing ---- */

void rows_begin(struct rows *r) {
    struct model_pass *p = &r->pass;
    p->rows = p->n_groups = p->n_spans = p->picks = p->n_pick_groups = p->n_sections = 0;
    r->numbers.n = r->text.n = 0;
    r->numbers.has_probs = r->text.has_probs = 0;
    r->tail_off[0] = 0;
}

void rows_open_section(struct rows *r, int berth) {
    if (berth == MODEL_BASE) return;
    must(r->pass.n_sections < MODEL_BERTHS_MAX);
    r->sections[r->pass.n_sections++] =
        (struct model_section){.row0 = r->pass.rows, .berth = berth};
}

void rows_close_section(struct rows *r) {
    if (!r->pass.n_sections) return;
    struct model_section *s = &r->sections[r->pass.n_sections - 1];
    s->rows = r->pass.rows - s->row0;
}

void rows_open_group(struct rows *r, int32_t own_slot) {
    r->groups[r->pass.n_groups++] = (struct kern_attn_group){
        .row0 = r->pass.rows, .span0 = r->pass.n_spans, .own_slot = own_slot};
}

void rows_span(struct rows *r, int32_t slot, int32_t len) {
    r->spans[r->pass.n_spans++] = (struct kern_attn_span){slot, len};
    r->groups[r->pass.n_groups - 1].spans++;
}

void rows_close_group(struct rows *r) {
    struct kern_attn_group *g = &r->groups[r->pass.n_groups - 1];
    g->rows = r->pass.rows - g->row0;
}

void rows_add(struct rows *r, int32_t src, int32_t pos, int32_t slot) {
    int32_t i = r->pass.rows++;
    must(i < r->max);
    r->src[i] = src;
    r->pos[i] = pos;
    r->slot[i] = slot;
    r->tail_off[i + 1] = r->tail_off[i];
}

void rows_keys(struct rows *r, const int32_t *slots, int32_t n) {
    int32_t *end = &r->tail_off[r->pass.rows];
    must(*end + n <= r->keys_max);
    memcpy(&r->tail[*end], slots, (size_t)n * sizeof slots[0]);
    *end += n;
}

static int32_t add_pick(const struct rows *r, struct rows_picks *p, int32_t set) {
    must(p->n < p->max);
    p->row[p->n] = r->pass.rows - 1;
    p->set[p->n] = set;
    return p->n++;
}

int32_t rows_pick(struct rows *r, int32_t set) {
    must(set >= 0 && set < r->kinds->n_number_sets);
    return add_pick(r, &r->numbers, set);
}

int32_t rows_pick_text(struct rows *r) { return add_pick(r, &r->text, r->kinds->text_set); }

/* The picks of one head join the pass behind those of the other. */
static void rows_join(struct rows *r, const struct rows_picks *k) {
    struct model_pass *p = &r->pass;
    if (k->n == 0) return;
    memcpy(r->pick_row + p->picks, k->row, (size_t)k->n * sizeof k->row[0]);
    memcpy(r->pick_set + p->picks, k->set, (size_t)k->n * sizeof k->set[0]);
    r->pick_groups[p->n_pick_groups++] =
        (struct model_pick_group){k->head, p->picks, k->n, k->has_probs ? k->probs : NULL, k->ldp};
    p->picks += k->n;
}

void rows_end(struct rows *r) {
    rows_join(r, &r->numbers);
    rows_join(r, &r->text);
    /* The vocabulary's set is the last one: a pass without text need not carry it. */
    r->pass.n_sets = r->text.n > 0 ? r->kinds->text_set + 1 : r->kinds->n_number_sets;
}

struct rows_result rows_result(const struct rows *r, int is_text, int32_t pick) {
    const struct rows_picks *p = is_text ? &r->text : &r->numbers;
    int32_t before = is_text ? r->numbers.n : 0;
    const float *probs = p->has_probs ? p->probs + (size_t)pick * (size_t)p->ldp : NULL;
    return (struct rows_result){r->pass.best + before + pick, probs, p->ldp};
}
