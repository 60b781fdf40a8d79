/* lora.c - low-rank matrices beside those of the decoder (Hu et al., arXiv 2106.09685):
 *
 *     y += x' A' (s B)',  x' = dropout(x),  s = alpha / r
 *
 * The matrix that the device holds of B carries s, so the gradient of A comes out right by itself;
 * that of B is the product with s h, h = x' A'. What falls out depends on seed, step, sample,
 * layer, matrix, row and column alone, so the way back makes the same again. While judging nothing
 * does.
 */
#include "engine/train/internal.h"
#include "kernels/base/rng.h"

struct lora {
    const struct train_lora_mats *mats;
    int r, in, out, has_dropout;
};

static size_t lora_floats(int rows, int n) { return (size_t)rows * (size_t)n; }

/* 0: none stands there. */
static int lora_of(const struct train *t, const struct lora_at *at, struct lora *l) {
    if (t->o.text != TRAIN_TEXT_LORA || !(t->o.lora.targets >> at->target & 1)) return 0;
    *l = (struct lora){.mats = &t->lora[at->layer * LORA_TARGETS + at->target],
                       .r = t->o.lora.r,
                       .has_dropout = t->o.lora.dropout > 0 && !t->is_judging};
    params_lora_shape(model_config(t->m), at->target, &l->out, &l->in);
    return 1;
}

static void lora_drop(struct train *t, const struct lora *l, const struct lora_at *at,
                      struct kern_ptr x, int ldx) {
    uint64_t seed = rng_u64(rng_u64(t->o.seed, t->steps), t->sample);
    seed = rng_u64(seed, (uint64_t)(at->layer * LORA_TARGETS + at->target));
    t->back->dropout(t->k, &(struct kern_dropout){.rows = at->rows,
                                                  .width = l->in,
                                                  .rate = t->o.lora.dropout,
                                                  .seed = seed,
                                                  .row_id = at->row_id,
                                                  .x = x,
                                                  .ldx = ldx,
                                                  .y = t->b.lora_x,
                                                  .ldy = l->in});
}

/* The input of A: x, or what dropout leaves of it. */
static struct kern_ptr lora_input(struct train *t, const struct lora *l, const struct lora_at *at,
                                  int *ld) {
    *ld = at->ldx;
    if (!l->has_dropout) return at->x;
    lora_drop(t, l, at, at->x, at->ldx);
    *ld = l->in;
    return t->b.lora_x;
}

void lora_inside(struct train *t, const struct lora_at *at) {
    struct lora l;
    int ld;
    if (!lora_of(t, at, &l)) return;
    struct kern_ptr x = lora_input(t, &l, at, &ld);
    t->ops->gemm(t->k, &(struct kern_gemm){.m = at->rows,
                                           .x = x,
                                           .ldx = ld,
                                           .w = l.mats->a,
                                           .y = t->b.text[at->layer].lora[at->target],
                                           .ldy = l.r});
}

void lora_forward(struct train *t, const struct lora_at *at, struct kern_ptr y, int ldy) {
    struct lora l;
    if (!lora_of(t, at, &l)) return;
    lora_inside(t, at);
    t->ops->gemm(t->k, &(struct kern_gemm){.m = at->rows,
                                           .x = t->b.text[at->layer].lora[at->target],
                                           .ldx = l.r,
                                           .w = l.mats->b,
                                           .y = y,
                                           .ldy = ldy,
                                           .accumulate = 1});
}

/* dx += what comes back through A: through dropout, too, if there is any. */
static void lora_dx(struct train *t, const struct lora *l, const struct lora_at *at,
                    struct kern_ptr dx, int lddx) {
    struct kern_gemm_dx a = {.m = at->rows,
                             .dy = t->b.lora_dh,
                             .lddy = l->r,
                             .w = l->mats->a,
                             .dx = l->has_dropout ? t->b.lora_x : dx,
                             .lddx = l->has_dropout ? l->in : lddx,
                             .accumulate = !l->has_dropout};
    t->back->gemm_dx(t->k, &a);
    if (!l->has_dropout) return;
    must(lddx == l->in);
    lora_drop(t, l, at, t->b.lora_x, l->in);
    t->back->axpy(t->k, &(struct kern_axpy){
                            .n = lora_floats(at->rows, l->in), .by = 1, .x = t->b.lora_x, .y = dx});
}

void lora_back(struct train *t, const struct lora_at *at, struct kern_ptr dy, int lddy,
               struct kern_ptr dx, int lddx) {
    struct lora l;
    int ld;
    if (!lora_of(t, at, &l)) return;
    const struct params_layer *p = &t->params.map.layers[at->layer];
    const struct buffers *b = &t->b;
    size_t n = lora_floats(at->rows, l.r);
    t->back->zero(t->k, b->lora_h, n * sizeof(float));
    t->back->axpy(t->k, &(struct kern_axpy){.n = n,
                                            .by = params_scale(&t->o.lora),
                                            .x = b->text[at->layer].lora[at->target],
                                            .y = b->lora_h});
    params_grad_stack(t, &p->lora_b[at->target], 1, at->rows, dy, lddy, b->lora_h, l.r);
    t->back->gemm_dx(
        t->k,
        &(struct kern_gemm_dx){
            .m = at->rows, .dy = dy, .lddy = lddy, .w = l.mats->b, .dx = b->lora_dh, .lddx = l.r});
    struct kern_ptr x = lora_input(t, &l, at, &ld);
    params_grad_stack(t, &p->lora_a[at->target], 1, at->rows, b->lora_dh, l.r, x, ld);
    if (dx.addr) lora_dx(t, &l, at, dx, lddx);
}
