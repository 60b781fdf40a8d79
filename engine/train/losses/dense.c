/* dense.c - dense questions are made: options, sizes, opening, and what a sample asks. See dense.h;
 * heads.c asks.
 */
#include <math.h>
#include <string.h>

#include "engine/picture/resize.h"
#include "engine/train/losses/heads.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

const char *const train_dense_words[] = {"inside", "box", "colour", "feature", NULL};

/* ---- sizes ---- */

struct dense_shape dense_shape_of(const struct model_config *c) {
    int side = c->vision.image_size / c->vision.patch_size;
    struct dense_shape s = {.tokens_w = side / c->concat,
                            .tokens_h = side,
                            .tokens = c->n_image_tokens,
                            .width = c->text.hidden_size};
    s.cell_w = s.tokens_w ? c->pixel_grid / s.tokens_w : 0;
    s.cell_h = c->pixel_grid / s.tokens_h;
    int *const sides[] = {&s.cell_w, &s.cell_h};
    for (int i = 0; i < 2; i++)
        *sides[i] = *sides[i] < 1 ? 1 : *sides[i] > DENSE_SIDE ? DENSE_SIDE : *sides[i];
    s.cells = s.cell_w * s.cell_h;
    s.places = s.tokens * s.cells;
    return s;
}

/* Items of each piece; 0: what it is for isn't asked. */
static void room_sizes(const struct train_options *o, const struct dense_shape *s,
                       size_t items[ROOMS]) {
    size_t width = (size_t)s->width, tokens = (size_t)s->tokens, places = (size_t)s->places;
    size_t queries = DENSE_QUERIES, words = DENSE_QUERIES * DENSE_WORDS, key = DENSE_KEY;
    size_t inside = o->dense[TRAIN_DENSE_INSIDE] > 0, box = o->dense[TRAIN_DENSE_BOX] > 0;
    size_t colour = o->dense[TRAIN_DENSE_COLOUR] > 0, back = o->text == TRAIN_TEXT_FULL;
    size_t feature = o->dense[TRAIN_DENSE_FEATURE] > 0;
    const size_t n[ROOMS] = {
        [ONES] = width,
        [H] = tokens * width,
        [DH] = tokens * width,
        [KEYS] = inside * places * key,
        [DKEYS] = inside * places * key,
        [ASKED] = inside * 2 * queries * key,
        [DASKED] = inside * 2 * queries * key,
        [LOGITS] = inside * places * 2 * queries,
        [OFF] = inside * (places * queries + 1),
        [SHARE] = inside * places * queries,
        [TARGET] = inside * places * queries,
        [WEIGHT] = inside * places * queries,
        [LOSS] = inside * places * queries,
        [SUM] = inside,
        [IDS] = inside * words,
        [IOTA] = inside * words,
        [NAME_OFF] = inside * (queries + 1),
        [WORDS] = inside * words * width,
        [QSUM] = inside * queries * width,
        [QUERY] = inside * queries * width,
        [DQUERY] = inside * queries * width,
        [WORD_KEY] = inside * back * words,
        [WORD_OFF] = inside * back * (words + 1),
        [WORD_FROM] = inside * back * words,
        [BOXES] = box * tokens * 4 * DENSE_STEPS,
        [DBOXES] = box * tokens * 4 * DENSE_STEPS,
        [BOX_ROW] = box * tokens * 4,
        [BOX_COLS] = box * DENSE_STEPS,
        [BOX_TARGET] = box * tokens * 4,
        [BOX_WEIGHT] = box * tokens,
        [BOX_LOSS] = box * tokens,
        [COLOURS] = colour * places * 3,
        [DCOLOURS] = colour * places * 3,
        [TRUTH] = colour * places * 3,
        [SQUARES] = colour * 2,
        [FEATURES] = feature * tokens * SAMPLE_FEATURES,
        [DFEATURES] = feature * tokens * SAMPLE_FEATURES,
        [FEATURE_TRUTH] = feature * tokens * SAMPLE_FEATURES,
        [FEATURE_SQUARES] = feature * 2,
    };
    memcpy(items, n, sizeof n);
}

static size_t room_bytes(size_t items) { return (4 * items + 63) & ~(size_t)63; }

size_t dense_bytes(const struct train_options *o, const struct model_config *c) {
    struct dense_shape s = dense_shape_of(c);
    size_t items[ROOMS], bytes = 0;
    if (!dense_is_asked(o)) return 0;
    room_sizes(o, &s, items);
    for (int i = 0; i < ROOMS; i++)
        bytes += room_bytes(items[i]);
    return bytes;
}

/* ---- options ---- */

int dense_is_asked(const struct train_options *o) {
    for (int i = 0; i < TRAIN_DENSE; i++)
        if (o->dense[i] > 0) return 1;
    return 0;
}

int dense_check(const struct train_options *o, const struct model_config *c, struct err *e) {
    struct dense_shape s = dense_shape_of(c);
    for (int i = 0; i < TRAIN_DENSE; i++)
        if (!(o->dense[i] >= 0) || !isfinite(o->dense[i]))
            return err_set(e, E_INVALID, "dense_%s: 0 or more", train_dense_words[i]);
    if (!(o->dense_rate > 0 && o->dense_rate < 1e6))
        return err_set(e, E_INVALID, "dense_rate: above 0");
    if (!dense_is_asked(o)) return 0;
    if (!o->tower && !o->connector)
        return err_set(e, E_INVALID,
                       "dense questions teach tower and connector, and both are frozen: give one "
                       "of them yes, or each dense weight 0");
    if (s.tokens_w * s.tokens_h != s.tokens)
        return err_set(e, E_UNSUPPORTED,
                       "dense questions: the model's %d picture tokens are no grid of %d x %d",
                       s.tokens, s.tokens_w, s.tokens_h);
    return 0;
}

/* ---- opening ---- */

/* A head's matrix, as its master, which begins with `most` times uniform numbers. */
static int make_mat(struct train *t, int index, float most, struct kern_mat **out, struct err *e) {
    if (index < 0) return 0;
    struct param *p = &t->params.at[index];
    float *numbers = mem_try(p->n * sizeof *numbers);
    if (!numbers) return err_set(e, E_NOMEM, "no memory for a head");
    for (size_t i = 0; i < p->n; i++)
        numbers[i] = most > 0 ? most * (2 * rng_uniform(t->o.seed, i) - 1) : 0;
    struct kern_mat_part part = {numbers, (int)p->shape[0], KERN_F32};
    struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = (int)p->shape[1], .with_back = 1};
    int rc = t->ops->mat_new(t->k, &src, out, e);
    if (!rc)
        t->ops->put(t->k, kern_at(t->params.value, p->at * sizeof *numbers), numbers,
                    p->n * sizeof *numbers);
    p->mat = *out;
    mem_free(numbers);
    return rc;
}

/* A bias, which begins as 0. */
static int make_vec(struct train *t, int index, struct kern_ptr *out, struct err *e) {
    if (index < 0) return 0;
    struct param *p = &t->params.at[index];
    int rc = t->ops->alloc(t->k, p->n * sizeof(float), out, e);
    p->vec = *out;
    return rc;
}

static int make_heads(struct train *t, struct dense *d, struct err *e) {
    const struct params_dense *m = &t->params.map.dense;
    float zeros[2 * DENSE_QUERIES * DENSE_KEY] = {0};
    struct kern_mat_part part = {zeros, 2 * DENSE_QUERIES, KERN_F32};
    struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = DENSE_KEY, .with_back = 1};
    int rc = make_mat(t, m->key, 0, &d->key, e);
    if (!rc)
        rc = make_mat(t, m->query, 1.0f / sqrtf((float)d->shape.width * DENSE_KEY), &d->query, e);
    if (!rc) rc = make_mat(t, m->box, 0, &d->box, e);
    if (!rc) rc = make_mat(t, m->colour, 0, &d->colour.w, e);
    if (!rc) rc = make_mat(t, m->feature, 0, &d->feature.w, e);
    if (!rc) rc = make_vec(t, m->key_b, &d->key_b, e);
    if (!rc) rc = make_vec(t, m->box_b, &d->box_b, e);
    if (!rc) rc = make_vec(t, m->colour_b, &d->colour.b, e);
    if (!rc) rc = make_vec(t, m->feature_b, &d->feature.b, e);
    if (!rc && d->key) rc = t->ops->mat_new(t->k, &src, &d->asked, e);
    return rc;
}

static void put_room(const struct train *t, enum room i, const void *from, size_t items) {
    if (items) t->ops->put(t->k, t->dense->at[i], from, 4 * items);
}

/* n items in staging: 0, 1, 2, ... or ones. */
static void put_row(const struct train *t, enum room i, size_t n, int is_ones) {
    int32_t *whole = t->dense->staging;
    float *real = t->dense->staging;
    for (size_t k = 0; k < n; k++) {
        if (is_ones)
            real[k] = 1;
        else
            whole[k] = (int32_t)k;
    }
    put_room(t, i, t->dense->staging, n);
}

static int make_rooms(struct train *t, struct dense *d, struct err *e) {
    size_t items[ROOMS], bytes = 0, most = 0;
    room_sizes(&t->o, &d->shape, items);
    int rc = t->ops->alloc(t->k, dense_bytes(&t->o, model_config(t->m)), &d->block, e);
    if (rc) return rc;
    for (int i = 0; i < ROOMS; i++) {
        d->at[i] = kern_at(d->block, bytes);
        bytes += room_bytes(items[i]);
        most = items[i] > most ? items[i] : most;
    }
    d->staging = mem_try(4 * most);
    d->places = mem_try(3 * (size_t)d->shape.places);
    if (!d->staging || !d->places) return err_set(e, E_NOMEM, "no memory for dense questions");
    put_row(t, ONES, items[ONES], 1);
    put_row(t, OFF, items[OFF], 0);
    put_row(t, SHARE, items[SHARE], 1);
    put_row(t, IOTA, items[IOTA], 0);
    put_row(t, BOX_COLS, items[BOX_COLS], 0);
    return 0;
}

int dense_open(struct train *t, struct err *e) {
    if (!dense_is_asked(&t->o)) return 0;
    struct dense *d = mem_try(sizeof *d);
    if (!d) return err_set(e, E_NOMEM, "no memory for dense questions");
    t->dense = d;
    d->shape = dense_shape_of(model_config(t->m));
    d->colour = (struct dense_squares){
        .y = COLOURS, .dy = DCOLOURS, .truth = TRUTH, .sum = SQUARES, .n = 3 * d->shape.cells};
    d->feature = (struct dense_squares){.y = FEATURES,
                                        .dy = DFEATURES,
                                        .truth = FEATURE_TRUTH,
                                        .sum = FEATURE_SQUARES,
                                        .n = SAMPLE_FEATURES};
    int rc = make_heads(t, d, e);
    return rc ? rc : make_rooms(t, d, e);
}

void dense_close(struct train *t) {
    struct dense *d = t->dense;
    if (!d) return;
    struct kern_mat *const mats[] = {d->key, d->query, d->box, d->colour.w, d->feature.w, d->asked};
    const struct kern_ptr blocks[] = {d->key_b, d->box_b, d->colour.b, d->feature.b, d->block};
    for (size_t i = 0; i < ARRAY_LEN(mats); i++)
        t->ops->mat_free(t->k, mats[i]);
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
        if (blocks[i].addr) t->ops->free(t->k, blocks[i]);
    mem_free(d->staging);
    mem_free(d->places);
    mem_free(d);
    t->dense = NULL;
}

/* ---- a sample's questions ---- */

/* Where each word stands, the other way round: for the gradient of the table. */
static int put_words(struct train *t, struct arena *mem, struct err *e) {
    struct dense *d = t->dense;
    const struct dense_ask *a = &d->ask;
    size_t n = (size_t)a->n_ids;
    int32_t *key = arena_take(mem, n * sizeof *key), *from = arena_take(mem, n * sizeof *from);
    int32_t *off = arena_take(mem, (n + 1) * sizeof *off), at = 0;
    if (!key || !from || !off) return err_set(e, E_NOMEM, "no memory for a sample");
    for (int i = 0; i < a->n_ids; i++) {
        int is_new = 1;
        for (int k = 0; k < d->n_words; k++)
            is_new &= key[k] != a->ids[i];
        if (!is_new) continue;
        key[d->n_words] = a->ids[i];
        for (int q = 0; q < a->n_queries; q++)
            for (int k = a->name_off[q]; k < a->name_off[q + 1]; k++)
                if (a->ids[k] == a->ids[i]) from[at++] = q;
        off[++d->n_words] = at;
    }
    put_room(t, WORD_KEY, key, (size_t)d->n_words);
    put_room(t, WORD_OFF, off, (size_t)d->n_words + 1);
    put_room(t, WORD_FROM, from, n);
    return 0;
}

static int put_inside(struct train *t, double weight, struct arena *mem, struct err *e) {
    struct dense *d = t->dense;
    const struct dense_ask *a = &d->ask;
    size_t places = (size_t)d->shape.places, n = places * DENSE_QUERIES;
    float *each = d->staging, by = (float)(weight / ((double)places * a->n_queries));
    for (size_t i = 0; i < n; i++)
        each[i] = i % DENSE_QUERIES < (size_t)a->n_queries ? by : 0;
    put_room(t, WEIGHT, each, n);
    int32_t *column = d->staging;
    for (size_t i = 0; i < n; i++) {
        size_t q = i % DENSE_QUERIES;
        column[i] = q < (size_t)a->n_queries ? a->inside[q * places + i / DENSE_QUERIES] : 0;
    }
    put_room(t, TARGET, column, n);
    put_room(t, IDS, a->ids, (size_t)a->n_ids);
    put_room(t, NAME_OFF, a->name_off, (size_t)a->n_queries + 1);
    return t->o.text == TRAIN_TEXT_FULL ? put_words(t, mem, e) : 0;
}

static void put_boxes(struct train *t, double weight) {
    struct dense *d = t->dense;
    const struct dense_ask *a = &d->ask;
    int32_t *row = d->staging;
    float *each = d->staging;
    for (int i = 0; i < 4 * a->n_boxes; i++)
        row[i] = 4 * a->box_token[i / 4] + i % 4;
    put_room(t, BOX_ROW, row, 4 * (size_t)a->n_boxes);
    for (int i = 0; i < a->n_boxes; i++)
        each[i] = (float)(weight / a->n_boxes);
    put_room(t, BOX_WEIGHT, each, (size_t)a->n_boxes);
    put_room(t, BOX_TARGET, a->box, 4 * (size_t)a->n_boxes);
}

/* The picture on the places, token by token, around 0. */
static int put_colours(struct train *t, const struct sample_picture *p, double weight,
                       struct err *e) {
    struct dense *d = t->dense;
    const struct dense_shape *s = &d->shape;
    int wide = s->tokens_w * s->cell_w, high = s->tokens_h * s->cell_h;
    float *truth = d->staging;
    int rc = resize_picture(p->rgb, p->w, p->h, d->places, wide, high, e);
    if (rc) return rc;
    for (int i = 0; i < s->places; i++) {
        int token = i / s->cells, cell = i % s->cells;
        int x = token % s->tokens_w * s->cell_w + cell % s->cell_w;
        int y = token / s->tokens_w * s->cell_h + cell / s->cell_w;
        for (int c = 0; c < 3; c++)
            truth[3 * i + c] = (float)d->places[3 * (y * wide + x) + c] / 255 - 0.5f;
    }
    put_room(t, TRUTH, truth, 3 * (size_t)s->places);
    d->colour.by = (float)(weight / (3.0 * s->places));
    d->colour.is_known = 1;
    return 0;
}

static void put_features(struct train *t, const float *features, double weight) {
    struct dense *d = t->dense;
    size_t n = (size_t)d->shape.tokens * SAMPLE_FEATURES;
    put_room(t, FEATURE_TRUTH, features, n);
    d->feature.by = (float)(weight / (double)n);
    d->feature.is_known = 1;
}

int dense_put(struct train *t, const struct mix *x, struct arena *mem, const struct sample *s,
              struct err *e) {
    struct dense *d = t->dense;
    double weight = 0;
    int rc = 0;
    if (!d) return 0;
    d->has_picture = x->pictures > 0;
    d->n_words = d->colour.is_known = d->feature.is_known = 0;
    d->ask = (struct dense_ask){0};
    if (!d->has_picture) return 0;
    for (int i = 0; i < x->picks; i++)
        weight += x->pick_sum[i];
    if (d->key || d->box) rc = dense_read(&d->ask, &d->shape, mem, t, s, e);
    if (!rc && d->key && d->ask.n_queries)
        rc = put_inside(t, weight * (double)t->o.dense[TRAIN_DENSE_INSIDE], mem, e);
    if (!rc && d->box && d->ask.n_boxes) put_boxes(t, weight * (double)t->o.dense[TRAIN_DENSE_BOX]);
    if (!rc && d->colour.w)
        rc = put_colours(t, &s->pictures[0], weight * (double)t->o.dense[TRAIN_DENSE_COLOUR], e);
    if (!rc && d->feature.w && s->features)
        put_features(t, s->features, weight * (double)t->o.dense[TRAIN_DENSE_FEATURE]);
    return rc;
}
