/* decoder.c - the decoder, there and back, over the rows of a mix.
 *
 * There it is llama.c's list of operations. Row i has slot i in pools of f32, one pair a layer,
 * which the way back needs. As in serving, the last layer goes on behind its attention with the
 * rows that predict something alone. Back it is the same list from below.
 *
 * The gradient of the residual stays in dx and each branch adds its own, as in tower.c.
 */
#include <math.h>
#include <stdio.h>

#include "engine/train/internal.h"

enum { Q, K, V, O, GATE, UP, DOWN }; /* targets of LoRAs */

/* What everybody here needs. In the upper half of a layer, behind the attention, `rows` are those
 * that go on. */
struct decoder {
    struct train *t;
    const struct mix *x;
    const struct model_text *c;
    const struct llama *w;
    int width, ffn, last;
};
struct upper {
    int rows;
    struct kern_ptr a;      /* (rows, D) what the attention gave them */
    struct kern_ptr row_id; /* (rows) */
};

static size_t decoder_floats(size_t n) { return n * sizeof(float); }

static int decoder_recompute(const struct decoder *s) {
    return kept_recompute(&s->t->o, s->t->b.kept.text);
}

static struct decoder decoder_of(struct train *t, const struct mix *x) {
    const struct model_text *c = &model_config(t->m)->text;
    return (struct decoder){.t = t,
                            .x = x,
                            .c = c,
                            .w = model_llama(t->m),
                            .width = c->hidden_size,
                            .ffn = c->intermediate_size,
                            .last = c->layers - 1};
}

static struct upper upper_of(const struct decoder *s, int layer) {
    if (layer < s->last) return (struct upper){s->x->rows, s->t->b.text[layer].a, s->x->at.slot};
    return (struct upper){s->x->picks, s->t->b.pick_a, s->x->at.pick_row};
}

/* `n` columns further on. */
static struct kern_ptr decoder_column(struct kern_ptr p, int n) {
    return kern_at(p, decoder_floats((size_t)n));
}

/* ---- there ---- */

static void decoder_norm(const struct decoder *s, int rows, struct kern_ptr x, struct kern_ptr w,
                         struct kern_ptr y) {
    s->t->ops->rmsnorm(s->t->k, &(struct kern_norm){.rows = rows,
                                                    .width = s->width,
                                                    .x = x,
                                                    .ldx = s->width,
                                                    .weight = w,
                                                    .eps = s->c->rms_eps,
                                                    .y = y,
                                                    .ldy = s->width});
}

static void decoder_gemm(const struct decoder *s, int rows, struct kern_ptr x, int nx,
                         const struct kern_mat *w, struct kern_ptr y, int ny, int accumulate) {
    s->t->ops->gemm(
        s->t->k,
        &(struct kern_gemm){
            .m = rows, .x = x, .ldx = nx, .w = w, .y = y, .ldy = ny, .accumulate = accumulate});
}

static struct lora_at beside_lower(const struct decoder *s, int layer, int target,
                                   struct kern_ptr x, int ldx) {
    return (struct lora_at){.layer = layer,
                            .target = target,
                            .rows = s->x->rows,
                            .row_id = s->x->at.slot,
                            .x = x,
                            .ldx = ldx};
}

static struct lora_at beside_upper(const struct upper *u, int layer, int target, struct kern_ptr x,
                                   int ldx) {
    return (struct lora_at){layer, target, u->rows, u->row_id, x, ldx};
}

static struct kern_attn_tree decoder_attention(const struct decoder *s, const struct text_keep *k) {
    int head = s->width / s->c->heads;
    const struct mix *x = s->x;
    return (struct kern_attn_tree){.rows = x->rows,
                                   .heads = s->c->heads,
                                   .head_size = head,
                                   .scale = (float)(1.0 / sqrt(head)),
                                   .q = k->q,
                                   .ldq = 3 * s->width,
                                   .pool_k = k->k,
                                   .pool_v = k->v,
                                   .pool_dtype = KERN_F32,
                                   .y = k->a,
                                   .ldy = s->width,
                                   .groups = x->groups,
                                   .n_groups = x->n_groups,
                                   .spans = x->spans,
                                   .n_spans = x->n_spans,
                                   .dev_groups = x->at.groups,
                                   .dev_spans = x->at.spans,
                                   .tail_off = x->at.tail_off,
                                   .tail = x->at.tail,
                                   .lse = k->lse};
}

/* q, k and v where the attention reads them, there and back: as they are kept. */
static void widen_qkv(const struct decoder *s, const struct text_keep *k) {
    int n = s->width, rows = s->x->rows;
    kept_get(s->t, rows, n, k->kept.q, k->q, 3 * n);
    kept_get(s->t, rows, n, k->kept.k, k->k, n);
    kept_get(s->t, rows, n, k->kept.v, k->v, n);
}

/* Behind it q, k and v have their positions, and are where the attention reads them. */
static void decoder_rope(const struct decoder *s, const struct text_keep *k) {
    int n = s->width, rows = s->x->rows, is_kept = s->t->b.kept.text != KERN_F32;
    s->t->ops->rope(s->t->k, &(struct kern_rope){.rows = rows,
                                                 .heads = s->c->heads,
                                                 .head_size = n / s->c->heads,
                                                 .theta = s->c->rope_theta,
                                                 .qkv = k->qkv,
                                                 .ld = 3 * n,
                                                 .pos = s->x->at.pos,
                                                 .slot = s->x->at.slot,
                                                 .pool_k = is_kept ? k->kept.k : k->k,
                                                 .pool_v = is_kept ? k->kept.v : k->v,
                                                 .pool_dtype = s->t->b.kept.text});
    kept_put(s->t, rows, n, k->qkv, 3 * n, k->kept.q);
    widen_qkv(s, k);
}

static void attention_forward(const struct decoder *s, int layer) {
    struct train *t = s->t;
    const struct llama_layer *w = &s->w->layers[layer];
    const struct text_keep *k = &t->b.text[layer];
    int n = s->width, rows = s->x->rows;
    kept_put(t, rows, n, k->x, n, k->kept.x);
    decoder_norm(s, rows, k->x, w->norm1, k->h1);
    decoder_gemm(s, rows, k->h1, n, w->qkv, k->qkv, 3 * n, 0);
    for (int i = Q; i <= V; i++) {
        struct lora_at at = beside_lower(s, layer, i, k->h1, n);
        lora_forward(t, &at, decoder_column(k->qkv, i * n), 3 * n);
    }
    decoder_rope(s, k);
    struct kern_attn_tree a = decoder_attention(s, k);
    t->ops->attn_tree(t->k, &a);
    kept_put(t, rows, n, k->a, n, k->kept.a);
}

/* dy of what the attention gave -> q in dwide, dk and dv; and the loss of held attention. */
static void attention_gradient(const struct decoder *s, int layer, struct kern_ptr dy) {
    struct train *t = s->t;
    const struct buffers *b = &t->b;
    const struct mix *x = s->x;
    int n = s->width, is_held = layer == t->o.hold_layer;
    size_t pool = decoder_floats((size_t)x->rows * (size_t)n);
    t->back->zero(t->k, b->dk, pool);
    t->back->zero(t->k, b->dv, pool);
    t->back->attn_tree_back(
        t->k, &(struct kern_attn_tree_back){.fwd = decoder_attention(s, &b->text[layer]),
                                            .dy = dy,
                                            .lddy = n,
                                            .dq = b->dwide,
                                            .lddq = 3 * n,
                                            .dk = b->dk,
                                            .dv = b->dv,
                                            .n_users = x->n_users,
                                            .host_user_off = x->user_off,
                                            .user_slot = x->at.user_slot,
                                            .user_off = x->at.user_off,
                                            .user = x->at.user,
                                            .holds = x->holds,
                                            .n_holds = is_held ? x->n_holds : 0,
                                            .dev_holds = x->at.holds,
                                            .hold_slots = x->at.hold_slots,
                                            .hold_loss = b->hold_loss});
}

/* The loss of held attention is a by-product of the way back. Where nothing goes back it is taken
 * from there too, with no gradient behind it. */
static void judge_holds(const struct decoder *s, int layer) {
    struct train *t = s->t;
    if (!t->is_judging || !s->x->n_holds || layer != t->o.hold_layer) return;
    t->back->zero(t->k, t->b.dy, decoder_floats((size_t)s->x->rows * (size_t)s->width));
    attention_gradient(s, layer, t->b.dy);
}

static void pick_rows(const struct decoder *s, struct kern_ptr x, struct kern_ptr y) {
    s->t->ops->gather(
        s->t->k,
        &(struct kern_gather){
            .rows = s->x->picks, .width = s->width, .index = s->x->at.pick_row, .x = x, .y = y});
}

static void swiglu_forward(const struct decoder *s, const struct upper *u,
                           const struct text_keep *k) {
    s->t->ops->swiglu(s->t->k, &(struct kern_swiglu){.rows = u->rows,
                                                     .width = s->ffn,
                                                     .x = k->gu,
                                                     .ldx = 2 * s->ffn,
                                                     .y = k->act,
                                                     .ldy = s->ffn});
}

/* As far as the second residual, which is added to by the caller. */
static void layer_forward(const struct decoder *s, int layer) {
    struct train *t = s->t;
    const struct llama_layer *w = &s->w->layers[layer];
    const struct text_keep *k = &t->b.text[layer];
    struct upper u = upper_of(s, layer);
    int n = s->width;
    attention_forward(s, layer);
    judge_holds(s, layer);
    if (layer == s->last) {
        pick_rows(s, k->a, u.a);
        pick_rows(s, k->x, k->x1);
    } else {
        t->ops->copy(t->k, k->x1, k->x, decoder_floats((size_t)u.rows * (size_t)n));
    }
    decoder_gemm(s, u.rows, u.a, n, w->o, k->x1, n, 1);
    struct lora_at o = beside_upper(&u, layer, O, u.a, n);
    lora_forward(t, &o, k->x1, n);
    kept_put(t, u.rows, n, k->x1, n, k->kept.x1);
    decoder_norm(s, u.rows, k->x1, w->norm2, k->h2);
    decoder_gemm(s, u.rows, k->h2, n, w->gate_up, k->gu, 2 * s->ffn, 0);
    for (int i = GATE; i <= UP; i++) {
        struct lora_at at = beside_upper(&u, layer, i, k->h2, n);
        lora_forward(t, &at, decoder_column(k->gu, (i - GATE) * s->ffn), 2 * s->ffn);
    }
    kept_put(t, u.rows, 2 * s->ffn, k->gu, 2 * s->ffn, k->kept.gu);
    swiglu_forward(s, &u, k);
}

/* The second residual, into `out`. */
static void layer_end(const struct decoder *s, int layer, struct kern_ptr out) {
    struct train *t = s->t;
    const struct text_keep *k = &t->b.text[layer];
    struct upper u = upper_of(s, layer);
    int n = s->width;
    t->ops->copy(t->k, out, k->x1, decoder_floats((size_t)u.rows * (size_t)n));
    decoder_gemm(s, u.rows, k->act, s->ffn, s->w->layers[layer].down, out, n, 1);
    struct lora_at at = beside_upper(&u, layer, DOWN, k->act, s->ffn);
    lora_forward(t, &at, out, n);
}

void decoder_forward(struct train *t, const struct mix *x) {
    struct decoder s = decoder_of(t, x);
    int n = s.width;
    t->ops->embed(t->k, &(struct kern_embed){.rows = x->rows,
                                             .width = n,
                                             .src = x->at.src,
                                             .table = s.w->embed,
                                             .dtype = s.w->embed_dtype,
                                             .feats = t->b.feats,
                                             .y = t->b.text[0].x});
    train_show(t, "llama.embed", t->b.text[0].x, x->rows, n, n);
    for (int i = 0; i <= s.last; i++) {
        char name[32];
        struct kern_ptr out = i < s.last ? t->b.text[i + 1].x : t->b.text_x;
        layer_forward(&s, i);
        layer_end(&s, i, out);
        snprintf(name, sizeof name, "llama.%d", i);
        train_show(t, name, out, upper_of(&s, i).rows, n, n);
    }
}

/* ---- back ---- */

static void decoder_dx(const struct decoder *s, int rows, struct kern_ptr dy, int ny,
                       const struct kern_mat *w, struct kern_ptr dx, int nx) {
    s->t->back->gemm_dx(
        s->t->k,
        &(struct kern_gemm_dx){.m = rows, .dy = dy, .lddy = ny, .w = w, .dx = dx, .lddx = nx});
}

/* dy in buffers.dh; dx += */
static void decoder_norm_back(const struct decoder *s, int rows, struct kern_ptr x,
                              struct kern_ptr weight, int dw) {
    s->t->back->rmsnorm_back(s->t->k, &(struct kern_norm_back){.rows = rows,
                                                               .width = s->width,
                                                               .x = x,
                                                               .ldx = s->width,
                                                               .weight = weight,
                                                               .eps = s->c->rms_eps,
                                                               .dy = s->t->b.dh,
                                                               .lddy = s->width,
                                                               .dx = s->t->b.dx,
                                                               .lddx = s->width,
                                                               .accumulate = 1,
                                                               .dw = params_grad(s->t, dw)});
}

static void ffn_back(const struct decoder *s, int layer, const struct upper *u) {
    struct train *t = s->t;
    const struct buffers *b = &t->b;
    const struct llama_layer *w = &s->w->layers[layer];
    const struct text_keep *k = &b->text[layer];
    const struct params_layer *p = &t->params.map.layers[layer];
    int n = s->width, f = s->ffn;
    if (decoder_recompute(s) == 1) swiglu_forward(s, u, k);
    params_grad_stack(t, &p->down, 1, u->rows, b->dx, n, k->act, f);
    decoder_dx(s, u->rows, b->dx, n, w->down, b->dact, f);
    struct lora_at down = beside_upper(u, layer, DOWN, k->act, f);
    lora_back(t, &down, b->dx, n, b->dact, f);
    t->back->swiglu_back(t->k, &(struct kern_swiglu_back){.rows = u->rows,
                                                          .width = f,
                                                          .x = k->gu,
                                                          .ldx = 2 * f,
                                                          .dy = b->dact,
                                                          .lddy = f,
                                                          .dx = b->dwide,
                                                          .lddx = 2 * f});
    if (decoder_recompute(s) == 1) decoder_norm(s, u->rows, k->x1, w->norm2, k->h2);
    params_grad_stack(t, (int[]){p->gate, p->up}, 2, u->rows, b->dwide, 2 * f, k->h2, n);
    decoder_dx(s, u->rows, b->dwide, 2 * f, w->gate_up, b->dh, n);
    for (int i = GATE; i <= UP; i++) {
        struct lora_at at = beside_upper(u, layer, i, k->h2, n);
        lora_back(t, &at, decoder_column(b->dwide, (i - GATE) * f), 2 * f, b->dh, n);
    }
    decoder_norm_back(s, u->rows, k->x1, w->norm2, p->norm2);
}

static void spread_picks(const struct decoder *s, struct kern_ptr from, struct kern_ptr to) {
    size_t bytes = decoder_floats((size_t)s->x->rows * (size_t)s->width);
    s->t->back->zero(s->t->k, to, bytes);
    s->t->back->gather_back(s->t->k, &(struct kern_gather_back){.rows = s->x->picks,
                                                                .width = s->width,
                                                                .index = s->x->at.pick_row,
                                                                .dy = from,
                                                                .dx = to});
}

/* Through o: the gradient of the attention of all rows. In the last layer also dx becomes that of
 * all rows. */
static struct kern_ptr o_back(const struct decoder *s, int layer, const struct upper *u) {
    struct train *t = s->t;
    const struct buffers *b = &t->b;
    int n = s->width;
    params_grad_stack(t, &t->params.map.layers[layer].o, 1, u->rows, b->dx, n, u->a, n);
    decoder_dx(s, u->rows, b->dx, n, s->w->layers[layer].o, b->dh, n);
    struct lora_at at = beside_upper(u, layer, O, u->a, n);
    lora_back(t, &at, b->dx, n, b->dh, n);
    if (layer < s->last) return b->dh;
    spread_picks(s, b->dh, b->dy);
    spread_picks(s, b->dx, b->dh);
    t->ops->copy(t->k, b->dx, b->dh, decoder_floats((size_t)s->x->rows * (size_t)n));
    return b->dy;
}

/* From the gradient of what the attention gave to that of q, k, v, in dwide. */
static void attention_back(const struct decoder *s, int layer, struct kern_ptr dy) {
    struct train *t = s->t;
    const struct buffers *b = &t->b;
    const struct mix *x = s->x;
    int n = s->width;
    attention_gradient(s, layer, dy);
    t->back->rope_back(t->k, &(struct kern_rope_back){.rows = x->rows,
                                                      .heads = s->c->heads,
                                                      .head_size = n / s->c->heads,
                                                      .theta = s->c->rope_theta,
                                                      .dqkv = b->dwide,
                                                      .ld = 3 * n,
                                                      .pos = x->at.pos,
                                                      .slot = x->at.slot,
                                                      .dk = b->dk,
                                                      .dv = b->dv});
}

/* From dwide to the layer's input; `is_end`: nobody below wants to know. */
static void qkv_back(const struct decoder *s, int layer, int is_end) {
    struct train *t = s->t;
    const struct buffers *b = &t->b;
    const struct llama_layer *w = &s->w->layers[layer];
    const struct text_keep *k = &b->text[layer];
    const struct params_layer *p = &t->params.map.layers[layer];
    int n = s->width, rows = s->x->rows;
    if (decoder_recompute(s) >= 1) decoder_norm(s, rows, k->x, w->norm1, k->h1);
    params_grad_stack(t, (int[]){p->q, p->k, p->v}, 3, rows, b->dwide, 3 * n, k->h1, n);
    if (!is_end) decoder_dx(s, rows, b->dwide, 3 * n, w->qkv, b->dh, n);
    for (int i = Q; i <= V; i++) {
        struct lora_at at = beside_lower(s, layer, i, k->h1, n);
        lora_back(t, &at, decoder_column(b->dwide, i * n), 3 * n,
                  is_end ? (struct kern_ptr){0} : b->dh, n);
    }
    if (!is_end) decoder_norm_back(s, rows, k->x, w->norm1, p->norm1);
}

static void embed_back(const struct decoder *s) {
    struct train *t = s->t;
    const struct mix *x = s->x;
    const struct model_config *c = model_config(t->m);
    if (t->b.dfeats.addr && x->pictures)
        t->back->zero(t->k, t->b.dfeats,
                      decoder_floats((size_t)(x->pictures * c->n_image_tokens) * (size_t)s->width));
    t->back->embed_back(t->k,
                        &(struct kern_embed_back){.sources = x->n_sources,
                                                  .width = s->width,
                                                  .key = x->at.source_key,
                                                  .off = x->at.source_off,
                                                  .from = x->at.source_from,
                                                  .dy = t->b.dx,
                                                  .dtable = params_grad(t, t->params.map.embed),
                                                  .dfeats = t->b.dfeats});
}

/* What the way back through a layer needs, from what is kept of it: a layer whose inside was not
 * kept runs again. */
static void layer_again(const struct decoder *s, int layer, const struct upper *u) {
    struct train *t = s->t;
    const struct text_keep *k = &t->b.text[layer];
    int n = s->width, f = s->ffn;
    kept_get(t, s->x->rows, n, k->kept.x, k->x, n);
    kept_get(t, u->rows, n, k->kept.x1, k->x1, n);
    kept_get(t, u->rows, 2 * f, k->kept.gu, k->gu, 2 * f);
    if (t->o.recompute < 2) return;
    struct lora_at down = beside_upper(u, layer, DOWN, k->act, f);
    layer_forward(s, layer);
    lora_inside(t, &down);
}

/* The same for its attention, whose place the gates had. */
static void attention_again(const struct decoder *s, int layer, const struct upper *u) {
    const struct text_keep *k = &s->t->b.text[layer];
    if (s->t->b.kept.text == KERN_F32) return;
    widen_qkv(s, k);
    kept_get(s->t, s->x->rows, s->width, k->kept.a, k->a, s->width);
    if (layer == s->last) pick_rows(s, k->a, u->a);
}

void decoder_back(struct train *t, const struct mix *x) {
    struct decoder s = decoder_of(t, x);
    int is_wanted = t->o.tower || t->o.connector || t->o.text == TRAIN_TEXT_FULL;
    for (int i = s.last; i >= 0; i--) {
        struct upper u = upper_of(&s, i);
        layer_again(&s, i, &u);
        ffn_back(&s, i, &u);
        attention_again(&s, i, &u);
        attention_back(&s, i, o_back(&s, i, &u));
        qkv_back(&s, i, i == 0 && !is_wanted);
    }
    if (is_wanted) embed_back(&s);
}
