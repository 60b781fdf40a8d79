/* things.c - the things of a sample become questions to its picture tokens: see dense.h.
 *
 * Things of one text are one query, whose region is that of all of them. A place is inside a mask
 * by the mask's nearest place, and inside a box by its middle; a box so small that it holds no
 * middle has the place in which its own middle lies.
 *
 * A token shows the thing that has most of its places, an eighth at least; of two that have as many
 * the smaller one, which lies in front as a rule.
 */
#include <math.h>
#include <string.h>

#include "engine/train/internal.h"
#include "engine/train/losses/dense.h"

static int things_no_memory(struct err *e) { return err_set(e, E_NOMEM, "no memory for a sample"); }

struct region {
    uint8_t *inside; /* (P) */
    float box[4];    /* shares of the sides */
    int is_there;
    int query; /* -1: it isn't asked for */
};

static int places_wide(const struct dense_shape *s) { return s->tokens_w * s->cell_w; }
static int places_high(const struct dense_shape *s) { return s->tokens_h * s->cell_h; }

/* The place at column x and row y of all. */
static size_t place_at(const struct dense_shape *s, int x, int y) {
    int token = y / s->cell_h * s->tokens_w + x / s->cell_w;
    return (size_t)(token * s->cells + y % s->cell_h * s->cell_w + x % s->cell_w);
}

/* ---- regions ---- */

static void region_of_mask(struct region *r, const struct dense_shape *s, const uint8_t *mask,
                           int grid) {
    int wide = places_wide(s), high = places_high(s), x1 = grid, x2 = 0, y1 = grid, y2 = 0;
    for (int y = 0; y < high; y++)
        for (int x = 0; x < wide; x++) {
            int gx = (2 * x + 1) * grid / (2 * wide), gy = (2 * y + 1) * grid / (2 * high);
            r->inside[place_at(s, x, y)] = mask[gy * grid + gx] != 0;
        }
    for (int y = 0; y < grid; y++)
        for (int x = 0; x < grid; x++) {
            if (!mask[y * grid + x]) continue;
            x1 = x < x1 ? x : x1;
            x2 = x + 1 > x2 ? x + 1 : x2;
            y1 = y < y1 ? y : y1;
            y2 = y + 1;
        }
    r->is_there = x2 > x1;
    const int ends[4] = {x1, y1, x2, y2};
    for (int i = 0; i < 4; i++)
        r->box[i] = (float)ends[i] / (float)grid;
}

/* The places whose middles lie in from .. to, shares of n places; at least one. */
static void stretch_of(float from, float to, int n, int *first, int *end) {
    *first = (int)ceilf(from * (float)n - 0.5f);
    *end = (int)ceilf(to * (float)n - 0.5f);
    if (*first >= *end) {
        *first = (int)((from + to) / 2 * (float)n);
        *end = *first + 1;
    }
    *first = *first < 0 ? 0 : *first < n ? *first : n - 1;
    *end = *end > n ? n : *end > *first ? *end : *first + 1;
}

static void region_of_box(struct region *r, const struct dense_shape *s, const float box[4]) {
    int x1, x2, y1, y2;
    for (int i = 0; i < 4; i++)
        r->box[i] = box[i] < 0 ? 0 : box[i] > 1 ? 1 : box[i];
    r->is_there = 1;
    stretch_of(r->box[0], r->box[2], places_wide(s), &x1, &x2);
    stretch_of(r->box[1], r->box[3], places_high(s), &y1, &y2);
    for (int y = y1; y < y2; y++)
        for (int x = x1; x < x2; x++)
            r->inside[place_at(s, x, y)] = 1;
}

static int check_thing(const struct sample_thing *t, uint32_t i, struct err *e) {
    int is_good = t->text && *t->text;
    for (int k = 0; k < 4 && !t->mask; k++)
        is_good &= isfinite(t->box[k]);
    if (!t->mask) is_good &= t->box[0] <= t->box[2] && t->box[1] <= t->box[3];
    return is_good ? 0 : err_set(e, E_INVALID, "thing %u has no name, or a box that is none", i);
}

static int read_regions(struct region *r, const struct dense_ask *a, struct arena *mem,
                        const struct train *t, const struct sample *s, struct err *e) {
    int grid = t->form.grid;
    if (s->n_things > SAMPLE_THINGS_MAX)
        return err_set(e, E_INVALID, "a sample has %u things, at most %d are legal", s->n_things,
                       SAMPLE_THINGS_MAX);
    for (uint32_t i = 0; i < s->n_things; i++) {
        const struct sample_thing *thing = &s->things[i];
        int rc = check_thing(thing, i, e);
        if (rc) return rc;
        r[i] = (struct region){.query = -1};
        r[i].inside = arena_take(mem, (size_t)a->shape.places);
        if (!r[i].inside) return things_no_memory(e);
        if (thing->mask)
            region_of_mask(&r[i], &a->shape, thing->mask, grid);
        else
            region_of_box(&r[i], &a->shape, thing->box);
    }
    return 0;
}

/* ---- queries ---- */

static int things_name(struct dense_ask *a, struct arena *mem, const struct train *t,
                       const char *text, struct err *e) {
    size_t len = strlen(text), n, cap = 4 * len + 8;
    int32_t *ids = arena_take(mem, cap * sizeof *ids);
    if (!ids) return things_no_memory(e);
    int rc = sptok_encode(t->tok, text, len, SPTOK_PREFIX, ids, cap, &n, e);
    if (rc) return rc;
    n = n < DENSE_WORDS ? n : DENSE_WORDS;
    memcpy(a->ids + a->n_ids, ids, n * sizeof *ids);
    a->n_ids += (int)n;
    a->name_off[++a->n_queries] = a->n_ids;
    return 0;
}

/* The query of thing i: that of an earlier one of its text, a new one, or none, behind enough. */
static int find_query(struct region *r, struct dense_ask *a, struct arena *mem,
                      const struct train *t, const struct sample *s, uint32_t i, struct err *e) {
    for (uint32_t k = 0; k < i && r[i].query < 0; k++)
        if (!strcmp(s->things[k].text, s->things[i].text)) r[i].query = r[k].query;
    if (r[i].query >= 0 || a->n_queries == DENSE_QUERIES) return 0;
    r[i].query = a->n_queries;
    return things_name(a, mem, t, s->things[i].text, e);
}

static int read_queries(struct region *r, struct dense_ask *a, struct arena *mem,
                        const struct train *t, const struct sample *s, struct err *e) {
    size_t places = (size_t)a->shape.places;
    int rc = 0;
    a->ids = arena_take(mem, DENSE_QUERIES * DENSE_WORDS * sizeof *a->ids);
    a->name_off = arena_take(mem, (DENSE_QUERIES + 1) * sizeof *a->name_off);
    a->inside = arena_take(mem, DENSE_QUERIES * places);
    if (!a->ids || !a->name_off || !a->inside) return things_no_memory(e);
    for (uint32_t i = 0; i < s->n_things && !rc; i++) {
        rc = find_query(r, a, mem, t, s, i, e);
        for (size_t p = 0; p < places && !rc && r[i].query >= 0; p++)
            a->inside[(size_t)r[i].query * places + p] |= r[i].inside[p];
    }
    return rc;
}

/* ---- boxes ---- */

/* The thing that a token shows; -1: none. */
static int shown_by(const struct region *r, uint32_t n, const struct dense_shape *s, int token) {
    int best = -1, most = 0;
    double least = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *inside = r[i].inside + (size_t)token * (size_t)s->cells;
        double area = (double)(r[i].box[2] - r[i].box[0]) * (double)(r[i].box[3] - r[i].box[1]);
        int count = 0;
        for (int c = 0; c < s->cells; c++)
            count += inside[c];
        if (!count || 8 * count < s->cells) continue;
        if (count < most || (count == most && area >= least)) continue;
        best = (int)i;
        most = count;
        least = area;
    }
    return best;
}

static int things_boxes(const struct region *r, uint32_t n, struct dense_ask *a, struct arena *mem,
                        struct err *e) {
    size_t tokens = (size_t)a->shape.tokens;
    a->box_token = arena_take(mem, tokens * sizeof *a->box_token);
    a->box = arena_take(mem, 4 * tokens * sizeof *a->box);
    if (!a->box_token || !a->box) return things_no_memory(e);
    for (int token = 0; token < a->shape.tokens; token++) {
        int i = shown_by(r, n, &a->shape, token);
        if (i < 0 || !r[i].is_there) continue;
        memcpy(a->box + 4 * (size_t)a->n_boxes, r[i].box, sizeof r[i].box);
        a->box_token[a->n_boxes++] = token;
    }
    return 0;
}

int dense_read(struct dense_ask *a, const struct dense_shape *shape, struct arena *mem,
               const struct train *t, const struct sample *s, struct err *e) {
    *a = (struct dense_ask){.shape = *shape};
    if (!s->n_things) return 0;
    struct region *r = arena_take(mem, s->n_things * sizeof *r);
    if (!r) return things_no_memory(e);
    int rc = read_regions(r, a, mem, t, s, e);
    if (!rc) rc = read_queries(r, a, mem, t, s, e);
    return rc ? rc : things_boxes(r, s->n_things, a, mem, e);
}
