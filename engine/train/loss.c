/* loss.c - from the last layer's rows to losses, and their gradient back to these rows.
 *
 * The logits of a whole vocabulary are large, so there are those of LOSS_CHUNK rows at once: head,
 * cross-entropy and the way back through the head, chunk by chunk. Boxes go through the head once
 * more, four rows each, since their loss wants a gradient of its own beside logits that are whole.
 */
#include "engine/train/internal.h"
#include "engine/train/legal.h"
#include "engine/train/losses/dense.h"
#include "kernels/base/mem.h"
#include "kernels/base/num.h"

static struct kern_ptr loss_at(struct kern_ptr p, int row, int width) {
    return kern_at(p, (size_t)row * (size_t)width * sizeof(float));
}

/* y (rows, V) of x (rows, D) */
static void head_forward(struct train *t, int rows, struct kern_ptr x, struct kern_ptr y) {
    const struct model_text *c = &model_config(t->m)->text;
    t->ops->gemm(t->k, &(struct kern_gemm){.m = rows,
                                           .x = x,
                                           .ldx = c->hidden_size,
                                           .w = model_llama(t->m)->head_mat,
                                           .y = y,
                                           .ldy = c->vocab_size});
}

static void head_back(struct train *t, int rows, struct kern_ptr dy, struct kern_ptr x,
                      struct kern_ptr dx) {
    const struct model_text *c = &model_config(t->m)->text;
    params_grad_stack(t, &t->params.map.head, 1, rows, dy, c->vocab_size, x, c->hidden_size);
    t->back->gemm_dx(t->k, &(struct kern_gemm_dx){.m = rows,
                                                  .dy = dy,
                                                  .lddy = c->vocab_size,
                                                  .w = model_llama(t->m)->head_mat,
                                                  .dx = dx,
                                                  .lddx = c->hidden_size});
}

/* ---- tokens ---- */

void loss_logits(struct train *t, int at, int rows) {
    const struct buffers *b = &t->b;
    head_forward(t, rows, loss_at(b->xn, at, model_config(t->m)->text.hidden_size), b->logits);
}

static void tokens_issue(struct train *t, const struct mix *x, int at, int rows, int is_back) {
    const struct model_text *c = &model_config(t->m)->text;
    const struct buffers *b = &t->b;
    struct kern_ptr xn = loss_at(b->xn, at, c->hidden_size);
    loss_logits(t, at, rows);
    legal_issue(t, x, at, rows, b->logits);
    train_show(t, "logits", b->logits, rows, c->vocab_size, c->vocab_size);
    t->back->xent(t->k, &(struct kern_xent){.rows = rows,
                                            .n = c->vocab_size,
                                            .logits = b->logits,
                                            .ld = c->vocab_size,
                                            .off = loss_at(x->at.target_off, at, 1),
                                            .target = x->at.target,
                                            .share = x->at.share,
                                            .weight = loss_at(x->at.weight, at, 1),
                                            .dlogits = b->logits,
                                            .lddlogits = c->vocab_size,
                                            .loss = loss_at(b->loss, at, 1)});
    if (is_back) head_back(t, rows, b->logits, xn, loss_at(b->dh, at, c->hidden_size));
}

/* ---- boxes ---- */

/* How many boxes from `at` on go in one chunk: none of their rows may stand there twice. */
static int box_chunk(const struct mix *x, int at) {
    int n = 1;
    for (; at + n < x->boxes && 4 * (n + 1) <= LOSS_CHUNK; n++)
        for (int i = 4 * (at + n); i < 4 * (at + n + 1); i++)
            for (int k = 4 * at; k < 4 * (at + n); k++)
                if (x->box_pick[i] == x->box_pick[k]) return n;
    return n;
}

static void boxes_issue(struct train *t, const struct mix *x, int at, int n, int is_back) {
    const struct model_text *c = &model_config(t->m)->text;
    const struct buffers *b = &t->b;
    int rows = 4 * n, d = c->hidden_size;
    struct kern_ptr pick = loss_at(x->at.box_pick, 4 * at, 1);
    t->ops->gather(t->k, &(struct kern_gather){
                             .rows = rows, .width = d, .index = pick, .x = b->xn, .y = b->box_x});
    head_forward(t, rows, b->box_x, b->logits);
    t->back->zero(t->k, b->box_logits, (size_t)rows * (size_t)c->vocab_size * sizeof(float));
    t->back->expect(t->k, &(struct kern_expect){.boxes = n,
                                                .n = TRAIN_BOX_MOST + 1,
                                                .row = x->at.slot, /* 0, 1, 2, ... */
                                                .cols = x->at.box_cols,
                                                .cols_end = x->at.box_cols_end,
                                                .target = loss_at(x->at.box_target, 4 * at, 1),
                                                .weight = loss_at(x->at.box_weight, at, 1),
                                                .l1 = t->o.box_l1,
                                                .giou = t->o.box_giou,
                                                .beta = TRAIN_BOX_BETA,
                                                .logits = b->logits,
                                                .ld = c->vocab_size,
                                                .dlogits = b->box_logits,
                                                .lddlogits = c->vocab_size,
                                                .loss = loss_at(b->box_loss, at, 1)});
    if (!is_back) return;
    head_back(t, rows, b->box_logits, b->box_x, b->dy);
    t->back->gather_back(t->k,
                         &(struct kern_gather_back){
                             .rows = rows, .width = d, .index = pick, .dy = b->dy, .dx = b->dh});
}

/* ---- all of it ---- */

void loss_norm(struct train *t, const struct mix *x) {
    const struct model_text *c = &model_config(t->m)->text;
    int d = c->hidden_size;
    t->ops->rmsnorm(t->k, &(struct kern_norm){.rows = x->picks,
                                              .width = d,
                                              .x = t->b.text_x,
                                              .ldx = d,
                                              .weight = model_llama(t->m)->norm,
                                              .eps = c->rms_eps,
                                              .y = t->b.xn,
                                              .ldy = d});
}

void loss_issue(struct train *t, const struct mix *x, int is_back) {
    const struct model_text *c = &model_config(t->m)->text;
    const struct buffers *b = &t->b;
    int d = c->hidden_size;
    loss_norm(t, x);
    for (int at = 0; at < x->picks; at += LOSS_CHUNK)
        tokens_issue(t, x, at, at_most(x->picks - at, LOSS_CHUNK), is_back);
    for (int at = 0, n; at < x->boxes; at += n) {
        n = box_chunk(x, at);
        boxes_issue(t, x, at, n, is_back);
    }
    if (!is_back) return;
    t->back->rmsnorm_back(t->k, &(struct kern_norm_back){.rows = x->picks,
                                                         .width = d,
                                                         .x = b->text_x,
                                                         .ldx = d,
                                                         .weight = model_llama(t->m)->norm,
                                                         .eps = c->rms_eps,
                                                         .dy = b->dh,
                                                         .lddy = d,
                                                         .dx = b->dx,
                                                         .lddx = d,
                                                         .dw = params_grad(t, t->params.map.norm)});
}

/* The sum of n floats on the device. */
static int add_up(struct train *t, struct kern_ptr p, int n, float *room, double *sum,
                  struct err *e) {
    int rc = n ? t->ops->get(t->k, room, p, (size_t)n * sizeof *room, e) : 0;
    for (int i = 0; i < n && !rc; i++)
        *sum += (double)room[i];
    return rc;
}

int loss_get(struct train *t, const struct mix *x, struct train_loss *out, struct err *e) {
    float *room = mem_try((size_t)x->rows * sizeof *room);
    if (!room) return err_set(e, E_NOMEM, "no memory for the losses of a sample");
    int rc = add_up(t, t->b.box_loss, x->boxes, room, &out->box, e);
    if (!rc) rc = add_up(t, t->b.hold_loss, x->n_holds, room, &out->hold, e);
    if (!rc) rc = dense_get(t, out, e);
    if (!rc) rc = t->ops->get(t->k, room, t->b.loss, (size_t)x->picks * sizeof *room, e);
    for (int i = 0; i < x->n_wants && !rc; i++) {
        const struct mix_want *w = &x->wants[i];
        out->sum[w->task] += (double)room[w->pick] * (double)w->weight / x->pick_sum[w->pick];
        out->weight[w->task] += (double)w->weight;
    }
    out->talks += x->talks;
    out->tokens += x->tokens;
    out->rows += (uint64_t)x->rows;
    out->rows_plain += x->rows_plain;
    mem_free(room);
    return rc;
}
