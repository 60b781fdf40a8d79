/* tower.c - the vision tower and the connector, there and back.
 *
 * There it is vit.c's list of operations, with the pictures of a sample one behind the other, and
 * with GELU as an operation of its own, since the way back needs what goes into it. Back it is the
 * same list from below, each operation's gradient at its place. Gradients of weights are added to
 * those of the sample.
 *
 * The way back of a residual: what comes in is both the gradient of x1 + g(x1) and, still in place,
 * that of x1. So it stays in dx, and each branch adds its own.
 */
#include <math.h>
#include <stdio.h>

#include "engine/train/internal.h"

static size_t tower_floats(size_t n) { return n * sizeof(float); }

/* Sizes that everybody here needs. */
struct tower {
    struct train *t;
    const struct model_config *c;
    const struct vit *w;
    int pictures, tokens, rows; /* 1 + P; rows of all pictures */
    int width, ffn, heads;
};

static struct tower tower_of(struct train *t, int pictures) {
    const struct model_config *c = model_config(t->m);
    return (struct tower){.t = t,
                          .c = c,
                          .w = model_vit(t->m),
                          .pictures = pictures,
                          .tokens = 1 + c->n_patches,
                          .rows = pictures * (1 + c->n_patches),
                          .width = c->vision.hidden_size,
                          .ffn = c->vision.intermediate_size,
                          .heads = c->vision.heads};
}

/* Row `row` of picture i in something of the tower's width. */
static struct kern_ptr row_at(const struct tower *s, struct kern_ptr p, int i, int row) {
    return kern_at(p, tower_floats((size_t)(i * s->tokens + row) * (size_t)s->width));
}

/* ---- there ---- */

static void tower_norm(const struct tower *s, struct kern_ptr x, struct kern_ptr w,
                       struct kern_ptr b, float eps, struct kern_ptr y) {
    s->t->ops->layernorm(s->t->k, &(struct kern_norm){.rows = s->rows,
                                                      .width = s->width,
                                                      .x = x,
                                                      .ldx = s->width,
                                                      .weight = w,
                                                      .bias = b,
                                                      .eps = eps,
                                                      .y = y,
                                                      .ldy = s->width});
}

static void tower_gemm(const struct tower *s, struct kern_ptr x, int nx, const struct kern_mat *w,
                       struct kern_ptr bias, struct kern_ptr y, int ny, int accumulate) {
    s->t->ops->gemm(s->t->k, &(struct kern_gemm){.m = s->rows,
                                                 .x = x,
                                                 .ldx = nx,
                                                 .w = w,
                                                 .bias = bias,
                                                 .y = y,
                                                 .ldy = ny,
                                                 .accumulate = accumulate});
}

/* The residual goes on elsewhere, unless it goes on in place. */
static void keep_on(const struct tower *s, struct kern_ptr from, struct kern_ptr to) {
    if (from.addr != to.addr)
        s->t->ops->copy(s->t->k, to, from, tower_floats((size_t)s->rows * (size_t)s->width));
}

static void patches_forward(const struct tower *s, int i, struct kern_ptr x) {
    const struct model_vision *v = &s->c->vision;
    const struct buffers *b = &s->t->b;
    int k = 3 * v->patch_size * v->patch_size;
    size_t picture = (size_t)v->image_size * (size_t)v->image_size * 3;
    struct kern_ptr patches =
        kern_at(b->patches, tower_floats((size_t)i * (size_t)s->c->n_patches * (size_t)k));
    struct kern_patchify cut = {.side = v->image_size,
                                .patch = v->patch_size,
                                .rgb = kern_at(b->rgb, (size_t)i * picture),
                                .y = patches};
    for (int c = 0; c < 3; c++) {
        cut.mean[c] = v->mean[c];
        cut.std[c] = v->std[c];
    }
    s->t->ops->patchify(s->t->k, &cut);
    s->t->ops->gemm(s->t->k, &(struct kern_gemm){.m = s->c->n_patches,
                                                 .x = patches,
                                                 .ldx = k,
                                                 .w = s->w->patch,
                                                 .bias = s->w->patch_b,
                                                 .y = row_at(s, x, i, 1),
                                                 .ldy = s->width});
    s->t->ops->add_pos(s->t->k, &(struct kern_add_pos){.rows = s->tokens,
                                                       .width = s->width,
                                                       .cls = s->w->cls,
                                                       .pos = s->w->pos,
                                                       .x = row_at(s, x, i, 0)});
}

static struct kern_attn_full attention_of(const struct tower *s, const struct tower_keep *k) {
    int head = s->width / s->heads;
    return (struct kern_attn_full){.images = s->pictures,
                                   .tokens = s->tokens,
                                   .heads = s->heads,
                                   .head_size = head,
                                   .scale = (float)(1.0 / sqrt(head)),
                                   .qkv = k->qkv,
                                   .ld = 3 * s->width,
                                   .y = k->a,
                                   .ldy = s->width,
                                   .lse = s->t->o.tower ? k->lse : (struct kern_ptr){0}};
}

static int tower_recompute(const struct tower *s) {
    return kept_recompute(&s->t->o, s->t->b.kept.tower);
}

static void gelu_forward(const struct tower *s, const struct tower_keep *k) {
    s->t->back->gelu(
        s->t->k,
        &(struct kern_gelu){
            .rows = s->rows, .width = s->ffn, .x = k->f, .ldx = s->ffn, .y = k->g, .ldy = s->ffn});
}

/* As far as the second residual, which is added to by the caller. */
static void block_forward(const struct tower *s, const struct vit_block *w,
                          const struct tower_keep *k) {
    float eps = s->c->vision.layer_norm_eps;
    int n = s->width;
    kept_put(s->t, s->rows, n, k->x, n, k->kept.x);
    tower_norm(s, k->x, w->norm1_w, w->norm1_b, eps, k->h1);
    tower_gemm(s, k->h1, n, w->qkv, w->qkv_b, k->qkv, 3 * n, 0);
    kept_put(s->t, s->rows, 3 * n, k->qkv, 3 * n, k->kept.qkv);
    kept_get(s->t, s->rows, 3 * n, k->kept.qkv, k->qkv, 3 * n);
    struct kern_attn_full a = attention_of(s, k);
    s->t->ops->attn_full(s->t->k, &a);
    kept_put(s->t, s->rows, n, k->a, n, k->kept.a);
    keep_on(s, k->x, k->x1);
    tower_gemm(s, k->a, n, w->proj, w->proj_b, k->x1, n, 1);
    kept_put(s->t, s->rows, n, k->x1, n, k->kept.x1);
    tower_norm(s, k->x1, w->norm2_w, w->norm2_b, eps, k->h2);
    tower_gemm(s, k->h2, n, w->fc1, w->fc1_b, k->f, s->ffn, 0);
    kept_put(s->t, s->rows, s->ffn, k->f, s->ffn, k->kept.f);
    gelu_forward(s, k);
}

static void connector_forward(const struct tower *s) {
    const struct buffers *b = &s->t->b;
    int d = s->c->text.hidden_size, tokens = s->c->n_image_tokens;
    for (int i = 0; i < s->pictures; i++)
        s->t->ops->gemm(s->t->k,
                        &(struct kern_gemm){
                            .m = tokens,
                            .x = row_at(s, b->tower_h, i, 1),
                            .ldx = s->c->concat * s->width,
                            .w = s->w->proj,
                            .bias = s->w->proj_b,
                            .y = kern_at(b->feats, tower_floats((size_t)(i * tokens) * (size_t)d)),
                            .ldy = d});
}

void tower_forward(struct train *t, int n) {
    struct tower s = tower_of(t, n);
    const struct buffers *b = &t->b;
    int layers = s.c->vision.layers;
    for (int i = 0; i < n; i++)
        patches_forward(&s, i, b->tower[0].x);
    train_show(t, "vit.embed", b->tower[0].x, s.rows, s.width, s.width);
    for (int i = 0; i < layers; i++) {
        char name[32];
        const struct tower_keep *k = &b->tower[i];
        struct kern_ptr out = i + 1 < layers ? b->tower[i + 1].x : b->tower_x;
        block_forward(&s, &s.w->blocks[i], k);
        keep_on(&s, k->x1, out);
        tower_gemm(&s, k->g, s.ffn, s.w->blocks[i].fc2, s.w->blocks[i].fc2_b, out, s.width, 1);
        snprintf(name, sizeof name, "vit.%d", i);
        train_show(t, name, out, s.rows, s.width, s.width);
    }
    tower_norm(&s, b->tower_x, s.w->ln_w, s.w->ln_b, s.c->ln_vision_eps, b->tower_h);
    train_show(t, "ln_vision", b->tower_h, s.rows, s.width, s.width);
    connector_forward(&s);
    train_show(t, "proj", b->feats, n * s.c->n_image_tokens, s.c->text.hidden_size,
               s.c->text.hidden_size);
}

/* ---- back ---- */

static void tower_dx(const struct tower *s, struct kern_ptr dy, int ny, const struct kern_mat *w,
                     struct kern_ptr dx, int nx) {
    s->t->back->gemm_dx(
        s->t->k,
        &(struct kern_gemm_dx){.m = s->rows, .dy = dy, .lddy = ny, .w = w, .dx = dx, .lddx = nx});
}

/* dy in buffers.dh -> dx, overwritten or added to. */
static void tower_norm_back(const struct tower *s, struct kern_ptr x, struct kern_ptr weight,
                            float eps, int dw, int db, int accumulate) {
    s->t->back->layernorm_back(s->t->k, &(struct kern_norm_back){.rows = s->rows,
                                                                 .width = s->width,
                                                                 .x = x,
                                                                 .ldx = s->width,
                                                                 .weight = weight,
                                                                 .eps = eps,
                                                                 .dy = s->t->b.dh,
                                                                 .lddy = s->width,
                                                                 .dx = s->t->b.dx,
                                                                 .lddx = s->width,
                                                                 .accumulate = accumulate,
                                                                 .dw = params_grad(s->t, dw),
                                                                 .db = params_grad(s->t, db)});
}

static void tower_ffn_back(const struct tower *s, const struct vit_block *w,
                           const struct tower_keep *k, const struct params_vit_block *p) {
    struct train *t = s->t;
    const struct buffers *b = &t->b;
    float eps = s->c->vision.layer_norm_eps;
    int n = s->width;
    if (tower_recompute(s) == 1) gelu_forward(s, k);
    params_grad_stack(t, &p->fc2, 1, s->rows, b->dx, n, k->g, s->ffn);
    params_grad_bias(t, p->fc2_b, s->rows, b->dx, n);
    tower_dx(s, b->dx, n, w->fc2, b->dact, s->ffn);
    t->back->gelu_back(t->k, &(struct kern_gelu){.rows = s->rows,
                                                 .width = s->ffn,
                                                 .x = k->f,
                                                 .ldx = s->ffn,
                                                 .dy = b->dact,
                                                 .lddy = s->ffn,
                                                 .y = b->dact,
                                                 .ldy = s->ffn});
    if (tower_recompute(s) == 1) tower_norm(s, k->x1, w->norm2_w, w->norm2_b, eps, k->h2);
    params_grad_stack(t, &p->fc1, 1, s->rows, b->dact, s->ffn, k->h2, n);
    params_grad_bias(t, p->fc1_b, s->rows, b->dact, s->ffn);
    tower_dx(s, b->dact, s->ffn, w->fc1, b->dh, n);
    tower_norm_back(s, k->x1, w->norm2_w, eps, p->norm2_w, p->norm2_b, 1);
}

static void tower_attention_back(const struct tower *s, const struct vit_block *w,
                                 const struct tower_keep *k, const struct params_vit_block *p) {
    struct train *t = s->t;
    const struct buffers *b = &t->b;
    float eps = s->c->vision.layer_norm_eps;
    int n = s->width;
    params_grad_stack(t, &p->proj, 1, s->rows, b->dx, n, k->a, n);
    params_grad_bias(t, p->proj_b, s->rows, b->dx, n);
    tower_dx(s, b->dx, n, w->proj, b->dh, n);
    t->back->attn_full_back(
        t->k,
        &(struct kern_attn_full_back){
            .fwd = attention_of(s, k), .dy = b->dh, .lddy = n, .dqkv = b->dwide, .lddqkv = 3 * n});
    if (tower_recompute(s) >= 1) tower_norm(s, k->x, w->norm1_w, w->norm1_b, eps, k->h1);
    params_grad_stack(t, &p->qkv, 1, s->rows, b->dwide, 3 * n, k->h1, n);
    params_grad_bias(t, p->q_b, s->rows, b->dwide, 3 * n);
    params_grad_bias(t, p->v_b, s->rows, kern_at(b->dwide, tower_floats(2 * (size_t)n)), 3 * n);
    tower_dx(s, b->dwide, 3 * n, w->qkv, b->dh, n);
    tower_norm_back(s, k->x, w->norm1_w, eps, p->norm1_w, p->norm1_b, 1);
}

/* From the gradient of the features to that of what the last block left, in dx. */
static void connector_back(const struct tower *s) {
    struct train *t = s->t;
    const struct buffers *b = &t->b;
    const struct params_map *p = &t->params.map;
    int d = s->c->text.hidden_size, tokens = s->c->n_image_tokens, wide = s->c->concat * s->width;
    params_grad_bias(t, p->proj_b, s->pictures * tokens, b->dfeats, d);
    for (int i = 0; i < s->pictures; i++) {
        struct kern_ptr dy = kern_at(b->dfeats, tower_floats((size_t)(i * tokens) * (size_t)d));
        params_grad_stack(t, &p->proj, 1, tokens, dy, d, row_at(s, b->tower_h, i, 1), wide);
    }
    if (!t->o.tower) return;
    t->back->zero(t->k, b->dh, tower_floats((size_t)s->rows * (size_t)s->width)); /* cls: nothing */
    for (int i = 0; i < s->pictures; i++)
        t->back->gemm_dx(
            t->k, &(struct kern_gemm_dx){
                      .m = tokens,
                      .dy = kern_at(b->dfeats, tower_floats((size_t)(i * tokens) * (size_t)d)),
                      .lddy = d,
                      .w = s->w->proj,
                      .dx = row_at(s, b->dh, i, 1),
                      .lddx = wide});
    tower_norm_back(s, b->tower_x, s->w->ln_w, s->c->ln_vision_eps, p->ln_w, p->ln_b, 0);
}

/* From dx, the gradient of the first block's rows. */
static void patches_back(const struct tower *s) {
    struct train *t = s->t;
    const struct params_map *p = &t->params.map;
    int patch = s->c->vision.patch_size, k = 3 * patch * patch;
    size_t one = (size_t)s->width, all = (size_t)s->tokens * one;
    for (int i = 0; i < s->pictures; i++) {
        struct kern_ptr dx = row_at(s, t->b.dx, i, 0), dy = row_at(s, t->b.dx, i, 1);
        size_t from = (size_t)i * (size_t)s->c->n_patches * (size_t)k;
        t->back->axpy(t->k,
                      &(struct kern_axpy){.n = all, .by = 1, .x = dx, .y = params_grad(t, p->pos)});
        t->back->axpy(t->k,
                      &(struct kern_axpy){.n = one, .by = 1, .x = dx, .y = params_grad(t, p->cls)});
        params_grad_stack(t, &p->patch, 1, s->c->n_patches, dy, s->width,
                          kern_at(t->b.patches, tower_floats(from)), k);
        params_grad_bias(t, p->patch_b, s->c->n_patches, dy, s->width);
    }
}

/* What the way back through a block needs, from what is kept of it. */
static void block_again(const struct tower *s, const struct vit_block *w,
                        const struct tower_keep *k) {
    struct train *t = s->t;
    int n = s->width;
    kept_get(t, s->rows, n, k->kept.x, k->x, n);
    if (t->o.recompute >= 2) {
        block_forward(s, w, k);
        return;
    }
    kept_get(t, s->rows, n, k->kept.x1, k->x1, n);
    kept_get(t, s->rows, 3 * n, k->kept.qkv, k->qkv, 3 * n);
    kept_get(t, s->rows, n, k->kept.a, k->a, n);
    kept_get(t, s->rows, s->ffn, k->kept.f, k->f, s->ffn);
}

void tower_back(struct train *t, int n) {
    struct tower s = tower_of(t, n);
    connector_back(&s);
    if (!t->o.tower) return;
    for (int i = s.c->vision.layers - 1; i >= 0; i--) {
        const struct tower_keep *k = &t->b.tower[i];
        const struct vit_block *w = &s.w->blocks[i];
        block_again(&s, w, k);
        tower_ffn_back(&s, w, k, &t->params.map.blocks[i]);
        tower_attention_back(&s, w, k, &t->params.map.blocks[i]);
    }
    patches_back(&s);
}
