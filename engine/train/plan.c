/* plan.c - the buffers of a sample, cut out of one block.
 *
 * buffers_lay is called twice: to add sizes up, and to cut the block. train_plan calls it the first
 * way, with a config alone (count.c).
 *
 * With recompute 2 all that is kept of a layer are its rows x, and its inside lives from when it
 * runs again to the end of its way back. So most buffers of the way back, and those behind the last
 * layer, lie where something of the inside has served its time:
 *
 *     text_x in a       the layers are done, and the first to run again has not begun
 *     xn in h1          likewise: it is gone when the logits are
 *     pick_a in h1      between the products with qkv and with the gates, unless o learns
 *     dact in act       unless down learns: nobody else wants act on the way back
 *     dwide in gu       swiglu_back writes over what it has read; dq comes later
 *     dk, dv in act     when dwide is there
 *     dy in x1          when norm2 has been gone back through; boxes use it before
 *
 * Where 16 bits are kept (walk.h), every layer takes place in one room, whatever is kept of it. The
 * attention is through before the gates begin, and comes back from what is kept when they have gone
 * back; so the two lie in the same place:
 *
 *     the room          qkv (3D) | k | v | dk | dv | a       or  gu (2F) | act (F)
 *     q in qkv's v      when v is in its pool; then dq has the columns of q
 *     dwide in gu, dact in act, xn and pick_a in h1, dy in x1, as above
 *     text_x in x       the last layer's is kept
 */
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

static struct kern_ptr cut_kept(struct cutter *c, size_t rows, size_t cols) {
    return cut(c, rows, cols, kern_dtype_bytes(KERN_BF16));
}

static struct kern_ptr cut_floats(struct cutter *c, size_t rows, size_t cols) {
    return cut(c, rows, cols, sizeof(float));
}

/* So many floats further on, where there is memory. */
static struct kern_ptr cut_at(struct kern_ptr p, size_t floats) {
    return p.addr ? kern_at(p, floats * sizeof(float)) : p;
}

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

/* How much is kept of a walk, as walk.h says; what layers share is cut for the first one. */
enum keeps { KEEP_NOTHING, KEEP_X, KEEP_MOST, KEEP_ALL };

static enum keeps keeps_of(int recompute) {
    return recompute == 0 ? KEEP_ALL : recompute == 1 ? KEEP_MOST : KEEP_X;
}

int plan_goes_back(const struct train_options *o) {
    return o->tower || o->connector || o->text != TRAIN_TEXT_FROZEN;
}

/* ---- the tower ---- */

/* In 16 bits, of layer i. With recompute 2 qkv has room once, for its rounding alone. */
static void lay_tower_kept(struct cutter *at, const struct train_options *o,
                           const struct model_config *c, int i, struct tower_keep *k) {
    size_t rows = (size_t)o->pictures * (size_t)(1 + c->n_patches);
    size_t e = (size_t)c->vision.hidden_size, f = (size_t)c->vision.intermediate_size;
    int is_all = o->recompute < 2;
    k->kept.x = cut_kept(at, rows, e);
    if (i == 0 || is_all) k->kept.qkv = cut_kept(at, rows, 3 * e);
    if (!is_all) return;
    if (i > 0) k->lse = cut_floats(at, rows, (size_t)c->vision.heads);
    k->kept.x1 = cut_kept(at, rows, e);
    k->kept.a = cut_kept(at, rows, e);
    k->kept.f = cut_kept(at, rows, f);
}

static void lay_tower(struct cutter *at, const struct train_options *o,
                      const struct model_config *c, struct buffers *b) {
    int is_kept = b->kept.tower != KERN_F32; /* in 16 bits, beside what all share */
    enum keeps keep = o->tower ? keeps_of(o->recompute) : KEEP_NOTHING;
    size_t rows = (size_t)o->pictures * (size_t)(1 + c->n_patches);
    size_t e = (size_t)c->vision.hidden_size, f = (size_t)c->vision.intermediate_size;
    struct tower_keep k = {0}, *last = &k;
    if (is_kept) keep = KEEP_X;
    for (int i = 0; i < c->vision.layers; i++) {
        int first = i == 0;
        if (first || (keep >= KEEP_X && !is_kept)) k.x = cut_floats(at, rows, e);
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
        if (is_kept) lay_tower_kept(at, o, c, i, &k);
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

/* Does a matrix of the decoder learn, itself or by a LoRA? Then its input is kept. */
static int learns(const struct train_options *o, unsigned target) {
    return o->text == TRAIN_TEXT_FULL || (o->text == TRAIN_TEXT_LORA && o->lora.targets & target);
}

/* Of the tower, when gradients go back through it. */
static size_t back_rows(const struct train_options *o, const struct model_config *c) {
    return o->tower ? (size_t)o->pictures * (size_t)(1 + c->n_patches) : 0;
}
static size_t wide_floats(const struct train_options *o, const struct model_config *c) {
    size_t d = (size_t)c->text.hidden_size, f = (size_t)c->text.intermediate_size;
    return most((size_t)o->rows * most(3 * d, 2 * f),
                back_rows(o, c) * 3 * (size_t)c->vision.hidden_size);
}
static size_t act_floats(const struct train_options *o, const struct model_config *c) {
    return most((size_t)o->rows * (size_t)c->text.intermediate_size,
                back_rows(o, c) * (size_t)c->vision.intermediate_size);
}

/* Floats of the room in which a layer takes place where 16 bits are kept. */
static size_t room_floats(const struct train_options *o, const struct model_config *c) {
    return most(wide_floats(o, c) + act_floats(o, c),
                (size_t)o->rows * 8 * (size_t)c->text.hidden_size);
}

/* In 16 bits, of layer i: with recompute 2 q, k and v have room once. */
static void lay_text_kept(struct cutter *at, const struct train_options *o,
                          const struct model_config *c, int i, struct text_keep *k) {
    size_t rows = (size_t)o->rows, d = (size_t)c->text.hidden_size;
    int is_all = o->recompute < 2;
    k->kept.x = cut_kept(at, rows, d);
    if (i == 0 || is_all) {
        k->lse = cut_floats(at, rows, (size_t)c->text.heads);
        k->kept.q = cut_kept(at, rows, d);
        k->kept.k = cut_kept(at, rows, d);
        k->kept.v = cut_kept(at, rows, d);
        k->kept.a = cut_kept(at, rows, d);
    }
    if (!is_all) return;
    k->kept.x1 = cut_kept(at, rows, d);
    k->kept.gu = cut_kept(at, rows, 2 * (size_t)c->text.intermediate_size);
}

/* Layers of which 16 bits are kept; returns the last one. */
static struct text_keep lay_kept_layers(struct cutter *at, const struct train_options *o,
                                        const struct model_config *c, struct buffers *b) {
    size_t rows = (size_t)o->rows, d = (size_t)c->text.hidden_size;
    struct text_keep k = {.x = cut_floats(at, rows, d), .x1 = cut_floats(at, rows, d)};
    k.h1 = k.h2 = cut_floats(at, rows, d);
    k.qkv = k.gu = cut_floats(at, 1, room_floats(o, c));
    k.q = cut_at(k.qkv, 2 * d);
    k.k = cut_at(k.qkv, rows * 3 * d);
    k.v = cut_at(k.qkv, rows * 4 * d);
    k.a = cut_at(k.qkv, rows * 7 * d);
    k.act = cut_at(k.gu, wide_floats(o, c));
    for (int i = 0; i < c->text.layers; i++) {
        lay_text_kept(at, o, c, i, &k);
        lay_lora(at, o, &k, i == 0);
        if (b->text) b->text[i] = k;
    }
    return k;
}

/* What is kept of the layers; returns the last one's. */
static struct text_keep lay_layers(struct cutter *at, const struct train_options *o,
                                   const struct model_config *c, struct buffers *b) {
    enum keeps keep = plan_goes_back(o) ? keeps_of(o->recompute) : KEEP_NOTHING;
    size_t rows = (size_t)o->rows;
    size_t d = (size_t)c->text.hidden_size, f = (size_t)c->text.intermediate_size;
    int is_tight = keep == KEEP_X; /* gu and act have room for what lies in them on the way back */
    struct text_keep k = {0};
    for (int i = 0; i < c->text.layers; i++) {
        int first = i == 0;
        if (first || keep >= KEEP_X) k.x = cut_floats(at, rows, d);
        if (first || keep >= KEEP_MOST) {
            k.x1 = cut_floats(at, rows, d);
            k.q = k.qkv = cut_floats(at, rows, 3 * d);
            k.lse = cut_floats(at, rows, (size_t)c->text.heads);
            k.k = cut_floats(at, rows, d);
            k.v = cut_floats(at, rows, d);
            k.a = cut_floats(at, rows, d);
            k.gu = cut_floats(at, 1, is_tight ? wide_floats(o, c) : rows * 2 * f);
        }
        if (first || keep >= KEEP_ALL) {
            k.h1 = cut_floats(at, rows, d);
            k.h2 = keep < KEEP_ALL ? k.h1 : cut_floats(at, rows, d);
            k.act = cut_floats(at, 1, is_tight ? most(act_floats(o, c), rows * 2 * d) : rows * f);
        }
        lay_lora(at, o, &k, first);
        if (b->text) b->text[i] = k;
    }
    return k;
}

static void lay_text(struct cutter *at, const struct train_options *o, const struct model_config *c,
                     struct text_keep *last, struct buffers *b) {
    size_t rows = (size_t)o->rows;
    size_t d = (size_t)c->text.hidden_size, v = (size_t)c->text.vocab_size;
    int has_boxes = o->box_l1 > 0 || o->box_giou > 0, is_kept = b->kept.text != KERN_F32;
    int is_tight = is_kept || o->recompute == 2;
    int has_h1 = is_kept || (is_tight && !learns(o, TRAIN_LORA_O));
    *last = is_kept ? lay_kept_layers(at, o, c, b) : lay_layers(at, o, c, b);
    b->text_x = is_kept ? last->x : is_tight ? last->a : cut_floats(at, rows, d);
    b->pick_a = has_h1 ? last->h1 : cut_floats(at, rows, d);
    b->xn = is_tight ? last->h1 : cut_floats(at, rows, d);
    b->logits = cut_floats(at, LOSS_CHUNK, v);
    b->box_logits = cut_floats(at, has_boxes || o->is_legal ? LOSS_CHUNK : 0, v);
    b->legal = cut_floats(at, 1, legal_floats(o, c->text.vocab_size));
    b->box_x = cut_floats(at, has_boxes ? LOSS_CHUNK : 0, d);
}

/* ---- the way back ---- */

static void lay_back(struct cutter *at, const struct train_options *o, const struct model_config *c,
                     const struct text_keep *last, struct buffers *b) {
    size_t rows = (size_t)o->rows, pictures = (size_t)o->pictures;
    size_t d = (size_t)c->text.hidden_size, f = (size_t)c->text.intermediate_size;
    size_t residual = most(rows * d, back_rows(o, c) * (size_t)c->vision.hidden_size);
    int is_kept = b->kept.text != KERN_F32, is_tight = is_kept || o->recompute == 2;
    int has_act = is_tight && !learns(o, TRAIN_LORA_DOWN);
    struct kern_ptr pools = is_kept ? cut_at(last->qkv, rows * 5 * d) : last->act;
    b->dx = cut_floats(at, 1, residual);
    b->dh = cut_floats(at, 1, residual);
    b->dy = is_tight ? last->x1 : cut_floats(at, rows, d);
    b->dwide = is_tight ? last->gu : cut_floats(at, 1, wide_floats(o, c));
    b->dact = has_act ? last->act : cut_floats(at, 1, act_floats(o, c));
    b->dk = is_tight ? pools : cut_floats(at, rows, d);
    b->dv = is_tight ? cut_at(pools, rows * d) : cut_floats(at, rows, d);
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
                   struct kept_types kept, struct kern_ptr base, struct buffers *out) {
    enum { INDEX_BYTES = 1536 }; /* lists of a row, on average */
    struct cutter at = {.base = base};
    size_t rows = (size_t)o->rows, pictures = (size_t)o->pictures;
    size_t side = (size_t)c->vision.image_size, patch = (size_t)c->vision.patch_size;
    out->kept = kept;
    out->rgb = cut(&at, pictures, side * side, 3);
    out->patches = cut_floats(&at, pictures * (size_t)c->n_patches, 3 * patch * patch);
    lay_tower(&at, o, c, out);
    out->feats = cut_floats(&at, pictures * (size_t)c->n_image_tokens, (size_t)c->text.hidden_size);
    out->idle_bytes = at.bytes;
    struct text_keep last;
    lay_text(&at, o, c, &last, out);
    if (plan_goes_back(o)) lay_back(&at, o, c, &last, out);
    out->index_bytes = 65536 + rows * (INDEX_BYTES + teach_index_bytes(o));
    out->index = cut(&at, 1, out->index_bytes, 1);
    out->loss = cut_floats(&at, 1, rows);
    out->box_loss = cut_floats(&at, 1, rows);
    out->hold_loss = cut_floats(&at, 1, rows);
    out->sum = cut(&at, 1, 1, sizeof(double));
    return at.overflows ? SIZE_MAX : at.bytes;
}
