/* heads.c - heads on the picture tokens, their losses, and the way back: see dense.h.
 *
 * Everything is done with the operations that the walks have. Inside or outside is cross-entropy
 * between two columns: the rows of the matrix that keys are multiplied by are, in turns, zeros and
 * a query, so each place has the logits 0 and key . query beside each other. The sum over a name's
 * words is the way back of looking them up.
 *
 * Losses and what goes back from them are made together, before the decoder's pass; gradients go
 * back behind it, since buffers.dfeats begins with the decoder's.
 */
#include "engine/train/losses/heads.h"

/* ---- there ---- */

static size_t dense_floats(size_t n) { return n * sizeof(float); }

static void dense_norm(struct train *t, int rows, struct kern_ptr x, struct kern_ptr y) {
    int width = t->dense->shape.width;
    t->ops->rmsnorm(t->k, &(struct kern_norm){.rows = rows,
                                              .width = width,
                                              .x = x,
                                              .ldx = width,
                                              .weight = t->dense->at[ONES],
                                              .eps = model_config(t->m)->text.rms_eps,
                                              .y = y,
                                              .ldy = width});
}

/* y (I, n) of the tokens. */
static void heads_there(struct train *t, const struct kern_mat *w, struct kern_ptr bias,
                        enum room y, int n) {
    struct dense *d = t->dense;
    t->ops->gemm(t->k, &(struct kern_gemm){.m = d->shape.tokens,
                                           .x = d->at[H],
                                           .ldx = d->shape.width,
                                           .w = w,
                                           .bias = bias,
                                           .y = d->at[y],
                                           .ldy = n});
}

/* Names -> rows 1, 3, 5, ... of the matrix that keys are multiplied by. */
static void queries_there(struct train *t) {
    struct dense *d = t->dense;
    const struct llama *w = model_llama(t->m);
    int width = d->shape.width, n = d->ask.n_queries;
    t->ops->embed(t->k, &(struct kern_embed){.rows = d->ask.n_ids,
                                             .width = width,
                                             .src = d->at[IDS],
                                             .table = w->embed,
                                             .dtype = w->embed_dtype,
                                             .feats = t->b.feats,
                                             .y = d->at[WORDS]});
    t->back->zero(t->k, d->at[QSUM], dense_floats((size_t)n * (size_t)width));
    t->back->embed_back(t->k, &(struct kern_embed_back){.sources = n,
                                                        .width = width,
                                                        .key = d->at[IOTA],
                                                        .off = d->at[NAME_OFF],
                                                        .from = d->at[IOTA],
                                                        .dy = d->at[WORDS],
                                                        .dtable = d->at[QSUM]});
    dense_norm(t, n, d->at[QSUM], d->at[QUERY]);
    t->back->zero(t->k, d->at[ASKED], dense_floats(2 * DENSE_QUERIES * DENSE_KEY));
    t->ops->gemm(t->k, &(struct kern_gemm){.m = n,
                                           .x = d->at[QUERY],
                                           .ldx = width,
                                           .w = d->query,
                                           .y = kern_at(d->at[ASKED], dense_floats(DENSE_KEY)),
                                           .ldy = 2 * DENSE_KEY});
    t->back->mat_set(
        t->k, &(struct kern_mat_set){
                  .w = d->asked, .rows = 2 * DENSE_QUERIES, .src = d->at[ASKED], .ld = DENSE_KEY});
}

static void inside_there(struct train *t) {
    struct dense *d = t->dense;
    int rows = d->shape.places * DENSE_QUERIES;
    queries_there(t);
    heads_there(t, d->key, d->key_b, KEYS, d->shape.cells * DENSE_KEY);
    t->ops->gemm(t->k, &(struct kern_gemm){.m = d->shape.places,
                                           .x = d->at[KEYS],
                                           .ldx = DENSE_KEY,
                                           .w = d->asked,
                                           .y = d->at[LOGITS],
                                           .ldy = 2 * DENSE_QUERIES});
    t->back->xent(t->k, &(struct kern_xent){.rows = rows,
                                            .n = 2,
                                            .logits = d->at[LOGITS],
                                            .ld = 2,
                                            .off = d->at[OFF],
                                            .target = d->at[TARGET],
                                            .share = d->at[SHARE],
                                            .weight = d->at[WEIGHT],
                                            .dlogits = d->at[LOGITS],
                                            .lddlogits = 2,
                                            .loss = d->at[LOSS]});
    t->back->colsum(t->k, &(struct kern_colsum){
                              .m = rows, .n = 1, .dy = d->at[LOSS], .lddy = 1, .db = d->at[SUM]});
}

static void boxes_there(struct train *t) {
    struct dense *d = t->dense;
    heads_there(t, d->box, d->box_b, BOXES, 4 * DENSE_STEPS);
    t->back->zero(t->k, d->at[DBOXES], dense_floats((size_t)d->shape.tokens * 4 * DENSE_STEPS));
    t->back->expect(t->k, &(struct kern_expect){.boxes = d->ask.n_boxes,
                                                .n = DENSE_STEPS,
                                                .row = d->at[BOX_ROW],
                                                .cols = d->at[BOX_COLS],
                                                .target = d->at[BOX_TARGET],
                                                .weight = d->at[BOX_WEIGHT],
                                                .l1 = 1,
                                                .giou = 1,
                                                .beta = TRAIN_BOX_BETA,
                                                .logits = d->at[BOXES],
                                                .ld = DENSE_STEPS,
                                                .dlogits = d->at[DBOXES],
                                                .lddlogits = DENSE_STEPS,
                                                .loss = d->at[BOX_LOSS]});
}

static void squares_there(struct train *t, const struct dense_squares *q) {
    struct dense *d = t->dense;
    size_t n = (size_t)d->shape.tokens * (size_t)q->n;
    if (!q->is_known) return;
    heads_there(t, q->w, q->b, q->y, q->n);
    t->back->axpy(t->k,
                  &(struct kern_axpy){.n = n, .by = -1, .x = d->at[q->truth], .y = d->at[q->y]});
    t->back->zero(t->k, d->at[q->sum], sizeof(double));
    t->back->sumsq(t->k, &(struct kern_sumsq){.n = n, .x = d->at[q->y], .out = d->at[q->sum]});
    t->back->zero(t->k, d->at[q->dy], dense_floats(n));
    t->back->axpy(
        t->k, &(struct kern_axpy){.n = n, .by = 2 * q->by, .x = d->at[q->y], .y = d->at[q->dy]});
}

static int has_inside(const struct dense *d) { return d->key && d->ask.n_queries; }
static int has_boxes(const struct dense *d) { return d->box && d->ask.n_boxes; }

void dense_forward(struct train *t) {
    struct dense *d = t->dense;
    if (!d || !d->has_picture) return;
    dense_norm(t, d->shape.tokens, t->b.feats, d->at[H]);
    if (has_inside(d)) inside_there(t);
    if (has_boxes(d)) boxes_there(t);
    squares_there(t, &d->colour);
    squares_there(t, &d->feature);
}

/* ---- back ---- */

/* Do the heads get to know the model before they teach it? */
static int heads_are_alone(const struct train *t) { return t->steps < t->o.dense_alone; }

/* Gradients of a head, and dh += its own. dy (I, n). */
static void heads_back(struct train *t, const struct kern_mat *w, int weight, int bias,
                       enum room dy, int n) {
    struct dense *d = t->dense;
    int width = d->shape.width, tokens = d->shape.tokens;
    params_grad_stack(t, &weight, 1, tokens, d->at[dy], n, d->at[H], width);
    params_grad_bias(t, bias, tokens, d->at[dy], n);
    t->back->gemm_dx(t->k, &(struct kern_gemm_dx){.m = tokens,
                                                  .dy = d->at[dy],
                                                  .lddy = n,
                                                  .w = w,
                                                  .dx = d->at[DH],
                                                  .lddx = width,
                                                  .accumulate = 1});
}

/* dx (rows, D) = or += through the norm, from dy. */
static void dense_norm_back(struct train *t, int rows, struct kern_ptr x, struct kern_ptr dy,
                            struct kern_ptr dx, int accumulate) {
    int width = t->dense->shape.width;
    t->back->rmsnorm_back(t->k, &(struct kern_norm_back){.rows = rows,
                                                         .width = width,
                                                         .x = x,
                                                         .ldx = width,
                                                         .weight = t->dense->at[ONES],
                                                         .eps = model_config(t->m)->text.rms_eps,
                                                         .dy = dy,
                                                         .lddy = width,
                                                         .dx = dx,
                                                         .lddx = width,
                                                         .accumulate = accumulate});
}

/* From the gradient of the queries to that of the table's rows. */
static void words_back(struct train *t, struct kern_ptr dy) {
    struct dense *d = t->dense;
    int width = d->shape.width, n = d->ask.n_queries;
    t->back->gemm_dx(t->k, &(struct kern_gemm_dx){.m = n,
                                                  .dy = dy,
                                                  .lddy = 2 * DENSE_KEY,
                                                  .w = d->query,
                                                  .dx = d->at[DQUERY],
                                                  .lddx = width});
    dense_norm_back(t, n, d->at[QSUM], d->at[DQUERY], d->at[DQUERY], 0);
    t->back->embed_back(t->k,
                        &(struct kern_embed_back){.sources = d->n_words,
                                                  .width = width,
                                                  .key = d->at[WORD_KEY],
                                                  .off = d->at[WORD_OFF],
                                                  .from = d->at[WORD_FROM],
                                                  .dy = d->at[DQUERY],
                                                  .dtable = params_grad(t, t->params.map.embed)});
}

static void inside_back(struct train *t) {
    struct dense *d = t->dense;
    const struct params_dense *p = &t->params.map.dense;
    struct kern_ptr dy = kern_at(d->at[DASKED], dense_floats(DENSE_KEY)); /* of the queries */
    t->back->gemm_dw(t->k, &(struct kern_gemm_dw){.m = d->shape.places,
                                                  .n = 2 * DENSE_QUERIES,
                                                  .k = DENSE_KEY,
                                                  .dy = d->at[LOGITS],
                                                  .lddy = 2 * DENSE_QUERIES,
                                                  .x = d->at[KEYS],
                                                  .ldx = DENSE_KEY,
                                                  .dw = d->at[DASKED],
                                                  .lddw = DENSE_KEY});
    params_grad_stack(t, &p->query, 1, d->ask.n_queries, dy, 2 * DENSE_KEY, d->at[QUERY],
                      d->shape.width);
    if (d->n_words && !heads_are_alone(t)) words_back(t, dy);
    t->back->gemm_dx(t->k, &(struct kern_gemm_dx){.m = d->shape.places,
                                                  .dy = d->at[LOGITS],
                                                  .lddy = 2 * DENSE_QUERIES,
                                                  .w = d->asked,
                                                  .dx = d->at[DKEYS],
                                                  .lddx = DENSE_KEY});
    heads_back(t, d->key, p->key, p->key_b, DKEYS, d->shape.cells * DENSE_KEY);
}

static void squares_back(struct train *t, const struct dense_squares *q, int weight, int bias) {
    if (q->is_known) heads_back(t, q->w, weight, bias, q->dy, q->n);
}

void dense_back(struct train *t) {
    struct dense *d = t->dense;
    const struct params_dense *p = &t->params.map.dense;
    if (!d || !d->has_picture) return;
    size_t n = (size_t)d->shape.tokens * (size_t)d->shape.width;
    t->back->zero(t->k, d->at[DH], dense_floats(n));
    if (has_inside(d)) inside_back(t);
    if (has_boxes(d)) heads_back(t, d->box, p->box, p->box_b, DBOXES, 4 * DENSE_STEPS);
    squares_back(t, &d->colour, p->colour, p->colour_b);
    squares_back(t, &d->feature, p->feature, p->feature_b);
    if (!heads_are_alone(t))
        dense_norm_back(t, d->shape.tokens, t->b.feats, d->at[DH], t->b.dfeats, 1);
}

/* ---- what came of it ---- */

static int squares_get(struct train *t, const struct dense_squares *q, double *sum, struct err *e) {
    double squares;
    if (!q->is_known) return 0;
    int rc = t->ops->get(t->k, &squares, t->dense->at[q->sum], sizeof squares, e);
    if (!rc) *sum += squares * (double)q->by;
    return rc;
}

int dense_get(struct train *t, struct train_loss *out, struct err *e) {
    struct dense *d = t->dense;
    float sum = 0, *each;
    int rc = 0;
    if (!d || !d->has_picture) return 0;
    if (has_inside(d)) rc = t->ops->get(t->k, &sum, d->at[SUM], sizeof sum, e);
    if (!rc) rc = squares_get(t, &d->colour, &out->dense[TRAIN_DENSE_COLOUR], e);
    if (!rc) rc = squares_get(t, &d->feature, &out->dense[TRAIN_DENSE_FEATURE], e);
    each = d->staging;
    if (!rc && has_boxes(d))
        rc = t->ops->get(t->k, each, d->at[BOX_LOSS], (size_t)d->ask.n_boxes * sizeof *each, e);
    if (rc) return rc;
    for (int i = 0; i < d->ask.n_boxes && d->box; i++)
        out->dense[TRAIN_DENSE_BOX] += (double)each[i];
    out->dense[TRAIN_DENSE_INSIDE] += (double)sum;
    return 0;
}
