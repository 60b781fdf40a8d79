/* cargo.c - an adapter's files become numbers that a step thread only has to pass on. */
#include "engine/model/cargo.h"

#include <stdio.h>

#include "kernels/base/mem.h"

/* ---- what is in which layer ---- */

static void cargo_add(struct cargo_layer *l, struct cargo_piece piece, size_t *floats) {
    must(l->n < CARGO_PIECES);
    piece.at = *floats;
    *floats += (size_t)piece.rows * (size_t)piece.cols;
    l->pieces[l->n++] = piece;
}

/* Room for the layer's numbers. */
static int cargo_room(struct cargo *c, struct cargo_layer *l, size_t floats, struct err *e) {
    l->data = mem_try(floats * sizeof *l->data);
    if (!l->data) return err_set(e, E_NOMEM, "no memory for %zu numbers of an adapter", floats);
    c->parameters += floats;
    c->n++;
    return 0;
}

static int cargo_check_finite(const struct st_tensor *t, struct err *e) {
    if (st_is_finite(t)) return 0;
    return err_set(e, E_FORMAT, "tensor %s has a number that is infinite or not a number",
                   st_show(t->name).text);
}

/* ---- LoRA ---- */

static int fill_pair(const struct peft *p, const struct peft_pair *pair, float *a, float *b,
                     struct err *e) {
    double scale = peft_scale(&p->c);
    int rc = cargo_check_finite(pair->a, e);
    if (!rc) rc = cargo_check_finite(pair->b, e);
    if (rc) return rc;
    st_floats(pair->a, 0, a, pair->a->elements);
    st_floats(pair->b, 0, b, pair->b->elements);
    for (uint64_t i = 0; i < pair->b->elements; i++)
        b[i] = (float)(scale * (double)b[i]);
    return 0;
}

static int load_lora(struct cargo *c, const struct peft *p, int layer, struct err *e) {
    const struct peft_pair *pairs = &p->pairs[layer * PEFT_PLACES];
    struct cargo_layer *l = &c->layers[c->n];
    size_t floats = 0;
    for (int place = 0; place < PEFT_PLACES; place++) {
        int n, k;
        if (!pairs[place].a) continue;
        peft_shape(&p->sizes, (enum peft_place)place, &n, &k);
        cargo_add(l, (struct cargo_piece){CARGO_A, layer, place, p->c.r, k, 0}, &floats);
        cargo_add(l, (struct cargo_piece){CARGO_B, layer, place, n, p->c.r, 0}, &floats);
    }
    if (!l->n) return 0;
    int rc = cargo_room(c, l, floats, e);
    for (int i = 0; i < l->n && !rc; i += 2)
        rc = fill_pair(p, &pairs[l->pieces[i].place], l->data + l->pieces[i].at,
                       l->data + l->pieces[i + 1].at, e);
    return rc;
}

/* ---- overlay ---- */

static int cargo_check_shape(const struct model_config *c, const struct st_tensor *t,
                             const struct overlay_row *r, struct err *e) {
    int64_t want[ST_NDIM_MAX] = {0};
    overlay_shape(c, r, want);
    int fits = t->ndim == r->ndim;
    for (int i = 0; fits && i < r->ndim; i++)
        fits = t->shape[i] == want[i];
    if (fits) return 0;
    return err_set(e, E_FORMAT, "tensor %s: it hasn't the shape of the model's",
                   st_show(t->name).text);
}

/* Each tensor of the overlay has its row and its shape. */
static int check_overlay(const struct model_config *c, const struct st *st, struct err *e) {
    for (size_t i = 0; i < st_count(st); i++) {
        const struct st_tensor *t = st_at(st, i);
        int block, row;
        if (overlay_find(c, t->name, &block, &row))
            return err_set(e, E_FORMAT, "tensor %s: the model has none of that name",
                           st_show(t->name).text);
        int rc = cargo_check_shape(c, t, overlay_row(block, row), e);
        if (!rc) rc = cargo_check_finite(t, e);
        if (rc) return rc;
    }
    return 0;
}

/* The overlay's tensor of a row, or NULL. */
static const struct st_tensor *find_row(const struct st *st, int block,
                                        const struct overlay_row *r) {
    char name[ST_NAME_MAX + 1];
    if (block == OVERLAY_TOWER) return st_find(st, r->name);
    (void)snprintf(name, sizeof name, "visual_encoder.blocks.%d.%s", block, r->name);
    return st_find(st, name);
}

static int load_block(struct cargo *c, const struct model_config *config, const struct st *st,
                      int block, struct err *e) {
    struct cargo_layer *l = &c->layers[c->n];
    const struct overlay_row *r;
    size_t floats = 0;
    for (int row = 0; (r = overlay_row(block, row)) != NULL; row++) {
        struct cargo_piece piece = {.kind = CARGO_TOWER, .layer = block, .place = row};
        overlay_size(config, r, &piece.rows, &piece.cols);
        if (find_row(st, block, r)) cargo_add(l, piece, &floats);
    }
    if (!l->n) return 0;
    int rc = cargo_room(c, l, floats, e);
    for (int i = 0; i < l->n && !rc; i++) {
        const struct st_tensor *t = find_row(st, block, overlay_row(block, l->pieces[i].place));
        st_floats(t, 0, l->data + l->pieces[i].at, t->elements);
    }
    return rc;
}

static int load_overlay(struct cargo *c, const struct model_config *config, const struct st *st,
                        struct err *e) {
    int rc = check_overlay(config, st, e);
    for (int block = OVERLAY_TOWER; block < config->vision.layers && !rc; block++)
        rc = load_block(c, config, st, block, e);
    c->has_overlay = 1;
    return rc;
}

/* ---- life ---- */

int cargo_new(const struct model_config *config, const struct adapter *a, int devices,
              struct cargo **out, struct err *e) {
    size_t most = (size_t)config->text.layers + (size_t)config->vision.layers + 1;
    struct cargo *c = mem_try(sizeof *c);
    *out = NULL;
    must(devices >= 1 && (a->peft || a->overlay));
    if (c) c->layers = mem_try(most * sizeof *c->layers);
    int rc = c && c->layers ? 0 : err_set(e, E_NOMEM, "no memory for an adapter");
    if (!rc && a->peft) c->rank = a->peft->c.r;
    for (int i = 0; a->peft && i < config->text.layers && !rc; i++)
        rc = load_lora(c, a->peft, i, e);
    if (!rc && a->overlay) rc = load_overlay(c, config, a->overlay, e);
    if (rc) {
        cargo_free(c);
        return rc;
    }
    for (int i = 0; i < c->n; i++)
        atomic_init(&c->layers[i].left, devices);
    *out = c;
    return 0;
}

void cargo_free(struct cargo *c) {
    if (!c) return;
    for (int i = 0; c->layers && i < c->n; i++)
        mem_free(c->layers[i].data);
    mem_free(c->layers);
    mem_free(c);
}

int cargo_layers(const struct cargo *c) { return c->n; }

uint64_t cargo_parameters(const struct cargo *c) { return c->parameters; }

void cargo_landed(struct cargo *c, int layer) {
    struct cargo_layer *l = &c->layers[layer];
    if (atomic_fetch_sub(&l->left, 1) > 1) return;
    mem_free(l->data);
    l->data = NULL;
}
