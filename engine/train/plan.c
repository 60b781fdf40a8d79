/* plan.c - the sizes of everything, counted before anything is allocated.
 *
 * buffers_lay is called twice: to add sizes up, and to cut the block. train_plan calls it the first
 * way, with a config alone.
 */
#include <stdio.h>
#include <string.h>

#include "engine/train/internal.h"
#include "engine/train/legal.h"
#include "engine/train/losses/dense.h"
#include "engine/train/losses/teach.h"
#include "kernels/base/mem.h"

struct cutter {
    struct kern_ptr base; /* addr NULL: only adding up */
    size_t bytes;
    int overflows;
};

/* The next rows x cols items, aligned to 64 bytes; of none: addr NULL. */
static struct kern_ptr cut(struct cutter *c, size_t rows, size_t cols, size_t item) {
    size_t n;
    struct kern_ptr p = {0};
    if (!mem_mul(rows, cols, &n) || !mem_mul(n, item, &n) || !mem_add(n, 63, &n)) c->overflows = 1;
    if (c->overflows || n < 64) return p;
    if (c->base.addr) p = kern_at(c->base, c->bytes);
    if (!mem_add(c->bytes, n & ~(size_t)63, &c->bytes)) c->overflows = 1;
    return p;
}

static struct kern_ptr cut_floats(struct cutter *c, size_t rows, size_t cols) {
    return cut(c, rows, cols, sizeof(float));
}

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

/* How much is kept of a walk, as walk.h says; what layers share is cut for the first one. */
enum keeps { KEEP_NOTHING, KEEP_X, KEEP_MOST, KEEP_ALL };

static enum keeps keeps_of(int recompute) {
    return recompute == 0 ? KEEP_ALL : recompute == 1 ? KEEP_MOST : KEEP_X;
}

/* Does anything? A teacher (losses/teach.h) has no way back. */
static int learns(const struct train_options *o) {
    return o->tower || o->connector || o->text != TRAIN_TEXT_FROZEN;
}

/* ---- the tower ---- */

static void lay_tower(struct cutter *at, const struct train_options *o,
                      const struct model_config *c, struct buffers *b) {
    enum keeps keep = o->tower ? keeps_of(o->recompute) : KEEP_NOTHING;
    size_t rows = (size_t)o->pictures * (size_t)(1 + c->n_patches);
    size_t e = (size_t)c->vision.hidden_size, f = (size_t)c->vision.intermediate_size;
    struct tower_keep k = {0}, *last = &k;
    for (int i = 0; i < c->vision.layers; i++) {
        int first = i == 0;
        if (first || keep >= KEEP_X) k.x = cut_floats(at, rows, e);
        if (first || keep >= KEEP_MOST) {
            k.x1 = keep == KEEP_NOTHING ? k.x : cut_floats(at, rows, e);
            k.qkv = cut_floats(at, rows, 3 * e);
            k.lse = cut_floats(at, rows, (size_t)c->vision.heads);
            k.a = cut_floats(at, rows, e);
            k.f = cut_floats(at, rows, f);
        }
        if (first || keep >= KEEP_ALL) {
            k.h1 = cut_floats(at, rows, e);
            k.h2 = keep < KEEP_ALL ? k.h1 : cut_floats(at, rows, e);
            k.g = keep == KEEP_NOTHING ? k.f : cut_floats(at, rows, f);
        }
        if (b->tower) b->tower[i] = k;
    }
    b->tower_x = keep == KEEP_NOTHING ? last->x : cut_floats(at, rows, e);
    b->tower_h = cut_floats(at, rows, e);
}

/* ---- the decoder ---- */

static void lay_lora(struct cutter *at, const struct train_options *o, struct text_keep *k,
                     int is_first) {
    for (int i = 0; i < LORA_TARGETS && o->text == TRAIN_TEXT_LORA; i++)
        if (o->lora.targets >> i & 1 && (is_first || o->recompute < 2))
            k->lora[i] = cut_floats(at, (size_t)o->rows, (size_t)o->lora.r);
}

static void lay_text(struct cutter *at, const struct train_options *o, const struct model_config *c,
                     struct buffers *b) {
    enum keeps keep = learns(o) ? keeps_of(o->recompute) : KEEP_NOTHING;
    size_t rows = (size_t)o->rows;
    size_t d = (size_t)c->text.hidden_size, f = (size_t)c->text.intermediate_size;
    struct text_keep k = {0};
    for (int i = 0; i < c->text.layers; i++) {
        int first = i == 0;
        if (first || keep >= KEEP_X) k.x = cut_floats(at, rows, d);
        if (first || keep >= KEEP_MOST) {
            k.x1 = cut_floats(at, rows, d);
            k.qkv = cut_floats(at, rows, 3 * d);
            k.lse = cut_floats(at, rows, (size_t)c->text.heads);
            k.k = cut_floats(at, rows, d);
            k.v = cut_floats(at, rows, d);
            k.a = cut_floats(at, rows, d);
            k.gu = cut_floats(at, rows, 2 * f);
        }
        if (first || keep >= KEEP_ALL) {
            k.h1 = cut_floats(at, rows, d);
            k.h2 = keep < KEEP_ALL ? k.h1 : cut_floats(at, rows, d);
            k.act = cut_floats(at, rows, f);
        }
        lay_lora(at, o, &k, first);
        if (b->text) b->text[i] = k;
    }
    b->text_x = cut_floats(at, rows, d);
    b->pick_a = cut_floats(at, rows, d);
    b->xn = cut_floats(at, rows, d);
    size_t v = (size_t)c->text.vocab_size;
    int has_boxes = o->box_l1 > 0 || o->box_giou > 0;
    b->logits = cut_floats(at, LOSS_CHUNK, v);
    b->box_logits = cut_floats(at, has_boxes || o->is_legal ? LOSS_CHUNK : 0, v);
    b->legal = cut_floats(at, 1, legal_floats(o, c->text.vocab_size));
    b->box_x = cut_floats(at, has_boxes ? LOSS_CHUNK : 0, d);
}

/* ---- the way back ---- */

static void lay_back(struct cutter *at, const struct train_options *o, const struct model_config *c,
                     struct buffers *b) {
    size_t rows = (size_t)o->rows, pictures = (size_t)o->pictures;
    size_t tower = o->tower ? pictures * (size_t)(1 + c->n_patches) : 0;
    size_t d = (size_t)c->text.hidden_size, f = (size_t)c->text.intermediate_size;
    size_t e = (size_t)c->vision.hidden_size, g = (size_t)c->vision.intermediate_size;
    b->dx = cut_floats(at, 1, most(rows * d, tower * e));
    b->dh = cut_floats(at, 1, most(rows * d, tower * e));
    b->dy = cut_floats(at, rows, d);
    b->dwide = cut_floats(at, 1, most(rows * most(3 * d, 2 * f), tower * 3 * e));
    b->dact = cut_floats(at, 1, most(rows * f, tower * g));
    b->dk = cut_floats(at, rows, d);
    b->dv = cut_floats(at, rows, d);
    int has_feats = o->tower || o->connector;
    b->dfeats = cut_floats(at, has_feats ? pictures * (size_t)c->n_image_tokens : 0, d);
    if (o->text != TRAIN_TEXT_LORA) return;
    size_t r = (size_t)o->lora.r;
    b->lora_h = cut_floats(at, rows, r);
    b->lora_dh = cut_floats(at, rows, r);
    b->lora_x = cut_floats(at, o->lora.dropout > 0 ? rows : 0, most(d, f));
    b->scaled = cut_floats(at, r, most(d, f));
}

size_t buffers_lay(const struct train_options *o, const struct model_config *c,
                   struct kern_ptr base, struct buffers *out) {
    enum { INDEX_BYTES = 1536 }; /* lists of a row, on average */
    struct cutter at = {.base = base};
    size_t rows = (size_t)o->rows, pictures = (size_t)o->pictures;
    size_t side = (size_t)c->vision.image_size, patch = (size_t)c->vision.patch_size;
    out->rgb = cut(&at, pictures, side * side, 3);
    out->patches = cut_floats(&at, pictures * (size_t)c->n_patches, 3 * patch * patch);
    lay_tower(&at, o, c, out);
    out->feats = cut_floats(&at, pictures * (size_t)c->n_image_tokens, (size_t)c->text.hidden_size);
    lay_text(&at, o, c, out);
    if (learns(o)) lay_back(&at, o, c, out);
    out->index_bytes = 65536 + rows * (INDEX_BYTES + teach_index_bytes(o));
    out->index = cut(&at, 1, out->index_bytes, 1);
    out->loss = cut_floats(&at, 1, rows);
    out->box_loss = cut_floats(&at, 1, rows);
    out->hold_loss = cut_floats(&at, 1, rows);
    out->sum = cut(&at, 1, 1, sizeof(double));
    return at.overflows ? SIZE_MAX : at.bytes;
}

/* ---- bytes ---- */

struct counted {
    uint64_t mats, vectors; /* weights */
};

static struct counted count_weights(const struct model_config *c, uint64_t *table) {
    const struct model_vision *v = &c->vision;
    const struct model_text *t = &c->text;
    uint64_t e = (uint64_t)v->hidden_size, f = (uint64_t)v->intermediate_size;
    uint64_t d = (uint64_t)t->hidden_size, g = (uint64_t)t->intermediate_size;
    uint64_t blocks = (uint64_t)v->layers, layers = (uint64_t)t->layers;
    uint64_t patch = 3 * (uint64_t)v->patch_size * (uint64_t)v->patch_size;
    *table = (uint64_t)t->vocab_size * d;
    return (struct counted){
        .mats = blocks * (4 * e * e + 2 * e * f) + e * patch + (uint64_t)c->concat * e * d +
                layers * (4 * d * d + 3 * d * g) + *table,
        .vectors =
            blocks * (8 * e + f) + (4 + (uint64_t)c->n_patches) * e + e + d + layers * 2 * d + d,
    };
}

/* Bytes of a weight in a matrix that can be multiplied both ways. */
static uint64_t weight_bytes(const char *backend) {
    if (!strcmp(backend, "cuda")) return 2;     /* in 16 bits, one matrix for both */
    return !strcmp(backend, "cpu") ? 2 * 4 : 4; /* panels of f32, one pack for each way */
}

/* All of it, for options that are complete and a list of what learns. */
int plan_count(const struct train_options *o, const struct model_config *c, const struct params *p,
               int samples, const char *backend, struct train_memory *out, struct err *e) {
    struct buffers b = {0};
    uint64_t table, f = sizeof(float), floats = p->floats;
    size_t bytes = buffers_lay(o, c, (struct kern_ptr){0}, &b);
    if (bytes == SIZE_MAX) return err_set(e, E_TOO_BIG, "buffers of a sample: size overflows");
    struct counted n = count_weights(c, &table);
    uint64_t lora = 0;
    for (int i = 0; i < p->n; i++)
        lora += p->at[i].is_lora || p->at[i].is_dense ? p->at[i].n : 0;
    *out = (struct train_memory){
        .weights = (n.mats + lora) * weight_bytes(backend) + n.vectors * f +
                   table * (o->text == TRAIN_TEXT_FULL ? f : 2),
        .masters = floats * f,
        .gradients = floats * f * (uint64_t)params_levels(samples),
        .optimiser = floats * f * (o->average > 0 ? 3 : 2),
        .activations = bytes + dense_bytes(o, c),
        .parameters = n.mats + n.vectors + lora + (c->text.is_tied ? 0 : table),
        .learning = floats,
    };
    out->total = out->weights + out->masters + out->gradients + out->optimiser + out->activations;
    return 0;
}
