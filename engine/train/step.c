/* step.c - samples become a gradient, and gradients a step.
 *
 * The samples of a step are lanes, four of them where their number allows it, else two or one, and
 * a rank has its share. The samples of a lane add their gradients to one buffer, one after the
 * other; lanes are added as a binary tree. It is built while samples come: sums lie on a stack, and
 * the two on top are added when the second ends the part that the first begins. The halves are
 * those of two ranks, the quarters those of four: so every bit is the same with 1, 2 or 4 ranks.
 *
 *     n = 8, alone:  ((0, 1) + (2, 3)) + ((4, 5) + (6, 7))      behind sample 7 two sums are made
 *     rank 1 of 2:                       ((4, 5) + (6, 7))
 *
 * So a rank of four has one buffer, and one that is alone three at most. Losses are a tree over
 * samples, in double. A sample that was skipped adds nothing; a lane of such has no buffer.
 */
#include <math.h>
#include <string.h>

#include "engine/picture/resize.h"
#include "engine/train/internal.h"
#include "engine/train/losses/dense.h"
#include "engine/train/losses/teach.h"
#include "kernels/base/mem.h"

enum { SKIPPED_MOST = 10, SAMPLE_BYTES_MAX = 1 << 30 };

/* ---- the tree ---- */

/* How many sums end with lane i of n, a power of two. */
static int sums_behind(int i, int n) {
    int count = 0;
    for (; n > 1 && i % 2; n /= 2, i /= 2)
        count++;
    return count;
}

static int free_buffer(const struct train *t) {
    for (int i = 0; i < t->params.levels; i++) {
        int is_used = 0;
        for (int k = 0; k < t->tree.depth; k++)
            is_used |= t->tree.stack[k] == i;
        if (!is_used) return i;
    }
    err_must_failed("a buffer is free", __FILE__, __LINE__);
}

/* Where the next sample adds its gradient: the buffer of its lane, which is 0 if it is new. */
static int lane_buffer(struct train *t) {
    const struct train_tree *tree = &t->tree;
    int is_first = tree->added % (tree->samples / tree->lanes) == 0;
    if (!is_first && tree->stack[tree->depth - 1] >= 0) return tree->stack[tree->depth - 1];
    int buffer = free_buffer(t);
    t->back->zero(t->k, t->params.grad[buffer], t->params.floats * sizeof(float));
    return buffer;
}

/* The next sample has added its gradient to a buffer (-1: it was skipped). */
static void push(struct train *t, int buffer, const struct train_loss *loss) {
    struct train_tree *tree = &t->tree;
    int of_lane = tree->samples / tree->lanes;
    if (tree->added % of_lane == 0) tree->stack[tree->depth++] = -1;
    if (buffer >= 0) tree->stack[tree->depth - 1] = buffer;
    tree->losses[tree->added++] = *loss;
    if (tree->added % of_lane) return;
    for (int sums = sums_behind(tree->added / of_lane - 1, tree->lanes); sums > 0; sums--) {
        int top = tree->stack[--tree->depth], *below = &tree->stack[tree->depth - 1];
        if (top >= 0 && *below >= 0)
            t->back->axpy(t->k, &(struct kern_axpy){.n = t->params.floats,
                                                    .by = 1,
                                                    .x = t->params.grad[top],
                                                    .y = t->params.grad[*below]});
        else if (top >= 0)
            *below = top;
    }
}

/* Losses as numbers that can be added up, over ranks too. */
enum { LOSS_NUMBERS = 2 * SAMPLE_TASKS + 6 + TRAIN_DENSE };

static void loss_numbers(const struct train_loss *l, double *out) {
    memcpy(out, l->sum, sizeof l->sum);
    memcpy(out + SAMPLE_TASKS, l->weight, sizeof l->weight);
    out += 2 * SAMPLE_TASKS;
    out[0] = l->box;
    out[1] = l->hold;
    out[2] = (double)l->talks;
    out[3] = (double)l->tokens;
    out[4] = (double)l->rows;
    out[5] = (double)l->rows_plain;
    memcpy(out + 6, l->dense, sizeof l->dense);
}

static void loss_of_numbers(const double *in, struct train_loss *l) {
    memcpy(l->sum, in, sizeof l->sum);
    memcpy(l->weight, in + SAMPLE_TASKS, sizeof l->weight);
    in += 2 * SAMPLE_TASKS;
    l->box = in[0];
    l->hold = in[1];
    l->talks = (uint64_t)in[2];
    l->tokens = (uint64_t)in[3];
    l->rows = (uint64_t)in[4];
    l->rows_plain = (uint64_t)in[5];
    memcpy(l->dense, in + 6, sizeof l->dense);
}

/* The tree over n losses; some 14 deep at most. */
static void add_losses(const struct train_loss *l, int n, double *out) {
    double rest[LOSS_NUMBERS];
    if (n == 1) {
        loss_numbers(l, out);
        return;
    }
    add_losses(l, n / 2, out);
    add_losses(l + n / 2, n - n / 2, rest);
    for (int i = 0; i < LOSS_NUMBERS; i++)
        out[i] += rest[i];
}

/* ---- samples ---- */

int step_pictures(struct train *t, const struct sample *s, int n, struct err *e) {
    int side = t->form.image_size, rc = 0;
    size_t bytes = (size_t)side * (size_t)side * 3;
    for (int i = 0; i < n && !rc; i++) {
        const struct sample_picture *p = &s->pictures[i];
        rc = resize_picture(p->rgb, p->w, p->h, t->square, side, side, e);
        if (!rc) t->ops->put(t->k, kern_at(t->b.rgb, (size_t)i * bytes), t->square, bytes);
    }
    return rc;
}

/* Everything that can be wrong with a sample is found here. */
static int ready(struct train *t, struct mix *x, struct arena *mem, const struct sample *s,
                 struct err *e) {
    if (!mem) return err_set(e, E_NOMEM, "no memory for a sample");
    int rc = mix_build(x, mem, t, s, e);
    if (!rc) rc = step_pictures(t, s, x->pictures, e);
    if (!rc) rc = mix_put(x, t, e);
    if (!rc) rc = teach_answer(t, x, mem, s, e);
    return rc ? rc : dense_put(t, x, mem, s, e);
}

static void forward(struct train *t, const struct mix *x, int is_back) {
    if (x->pictures) tower_forward(t, x->pictures);
    dense_forward(t);
    decoder_forward(t, x);
    loss_issue(t, x, is_back);
}

static void back(struct train *t, const struct mix *x) {
    decoder_back(t, x);
    dense_back(t);
    if (x->pictures && (t->o.tower || t->o.connector)) tower_back(t, x->pictures);
}

static int add_sample(struct train *t, const struct mix *x, struct train_loss *loss,
                      struct err *e) {
    int buffer = lane_buffer(t);
    t->grad = t->params.grad[buffer];
    t->sample = (uint64_t)(t->o.comm ? t->o.comm->rank : 0) * (uint64_t)t->tree.samples +
                (uint64_t)t->tree.added;
    forward(t, x, 1);
    back(t, x);
    int rc = loss_get(t, x, loss, e);
    if (!rc) push(t, buffer, loss);
    return rc;
}

int train_add(struct train *t, const struct sample *s, struct train_loss *loss, struct err *e) {
    struct mix x;
    *loss = (struct train_loss){0};
    if (t->is_average)
        return err_set(e, E_INVALID, "the average is in use: weights that learn are the newest");
    if (t->tree.added == t->tree.samples)
        return err_set(e, E_INVALID, "a step has %d samples, and has them", t->tree.samples);
    if (!s) {
        push(t, -1, loss);
        return 0;
    }
    struct arena *mem = arena_new(SAMPLE_BYTES_MAX);
    int rc = ready(t, &x, mem, s, e);
    if (!rc) rc = add_sample(t, &x, loss, e);
    arena_free(mem);
    return rc;
}

int train_judge(struct train *t, const struct sample *s, struct train_loss *loss, struct err *e) {
    struct mix x;
    *loss = (struct train_loss){0};
    struct arena *mem = arena_new(SAMPLE_BYTES_MAX);
    t->is_judging = 1;
    int rc = ready(t, &x, mem, s, e);
    if (!rc) {
        forward(t, &x, 0);
        rc = loss_get(t, &x, loss, e);
    }
    t->is_judging = 0;
    arena_free(mem);
    return rc;
}

/* ---- the step ---- */

static double rate_of(const struct train_rate *r, uint64_t step) {
    const double pi = 3.14159265358979323846;
    if (step < r->warmup) return r->start + (r->peak - r->start) * (double)step / (double)r->warmup;
    double at = step < r->steps ? (double)step / (double)r->steps : 1;
    return r->end + (r->peak - r->end) * (1 + cos(pi * at)) / 2;
}

/* A gradient becomes that of all ranks, piece by piece: so the host needs no room for all of it. */
static int sum_gradient(struct train *t, struct kern_ptr grad, struct err *e) {
    const struct train_comm *comm = t->o.comm;
    size_t left = t->params.floats;
    int rc = 0;
    while (left && !rc) {
        size_t n = left < TRAIN_PIECE ? left : TRAIN_PIECE, bytes = n * sizeof *t->host;
        rc = t->ops->get(t->k, t->host, grad, bytes, e);
        if (!rc) rc = comm->sum_f32(comm->state, t->host, n, e);
        if (!rc) t->ops->put(t->k, grad, t->host, bytes);
        grad = kern_at(grad, bytes);
        left -= n;
    }
    return rc;
}

/* The sum over all samples of all ranks, in a buffer; -1: there is none. Every rank comes here. */
static int sum_ranks(struct train *t, double *numbers, int *buffer, struct err *e) {
    const struct train_comm *comm = t->o.comm;
    *buffer = t->tree.stack[0];
    add_losses(t->tree.losses, t->tree.samples, numbers);
    if (!comm || comm->size == 1) return 0;
    int rc = comm->sum_f64(comm->state, numbers, LOSS_NUMBERS, e);
    if (*buffer < 0) {
        *buffer = 0;
        t->back->zero(t->k, t->params.grad[0], t->params.floats * sizeof(float));
    }
    return rc ? rc : sum_gradient(t, t->params.grad[*buffer], e);
}

/* Of n floats of the gradient from `at` on. */
static int norm_of(struct train *t, struct kern_ptr grad, size_t at, size_t n, double *norm,
                   struct err *e) {
    double sum;
    grad = kern_at(grad, at * sizeof(float));
    t->back->zero(t->k, t->b.sum, sizeof sum);
    t->back->sumsq(t->k, &(struct kern_sumsq){.n = n, .x = grad, .out = t->b.sum});
    int rc = t->ops->get(t->k, &sum, t->b.sum, sizeof sum, e);
    if (!rc) *norm = sqrt(sum);
    return rc;
}

/* The norm that is told and clipped is the model's. Heads of dense questions, which lie behind it,
 * learn as fast as it does, but don't decide how fast: their gradients are far larger. */
static int norms_of(struct train *t, struct kern_ptr grad, double *norm, double *heads,
                    struct err *e) {
    const struct params *p = &t->params;
    size_t n = p->floats;
    for (int i = 0; i < p->n_groups; i++)
        if (p->groups[i].is_dense) n -= p->groups[i].n;
    int rc = norm_of(t, grad, 0, n, norm, e);
    *heads = 0;
    return rc || n == p->floats ? rc : norm_of(t, grad, n, p->floats - n, heads, e);
}

static double group_rate(const struct train_options *o, const struct param_group *g) {
    return g->is_tower ? o->tower_rate : g->is_dense ? o->dense_rate : 1;
}

static void update(struct train *t, struct kern_ptr grad, double rate, double scale) {
    struct params *p = &t->params;
    const struct train_options *o = &t->o;
    double step = (double)++t->updates;
    for (int i = 0; i < p->n_groups; i++) {
        const struct param_group *g = &p->groups[i];
        size_t at = g->at * sizeof(float);
        float beta1 = (float)o->beta1, beta2 = (float)o->beta2;
        t->back->adamw(t->k, &(struct kern_adamw){.n = g->n,
                                                  .p = kern_at(p->value, at),
                                                  .m = kern_at(p->m, at),
                                                  .v = kern_at(p->v, at),
                                                  .g = kern_at(grad, at),
                                                  .lr = (float)(rate * group_rate(o, g)),
                                                  .beta1 = beta1,
                                                  .beta2 = beta2,
                                                  .eps = (float)o->eps,
                                                  .decay = g->decays ? (float)o->decay : 0,
                                                  .scale = (float)scale,
                                                  .fix1 = 1 - pow((double)beta1, step),
                                                  .fix2 = 1 - pow((double)beta2, step)});
    }
    if (p->average.addr)
        t->back->lerp(t->k, &(struct kern_lerp){.n = p->floats,
                                                .by = (float)(1 - o->average),
                                                .x = p->value,
                                                .y = p->average});
    params_settle(t);
}

/* Clips and updates, or skips. */
static int take_step(struct train *t, int buffer, struct train_result *out, struct err *e) {
    double loss = out->loss.box + out->loss.hold, weight = 0;
    for (int i = 0; i < TRAIN_DENSE; i++)
        loss += out->loss.dense[i];
    for (int i = 0; i < SAMPLE_TASKS; i++) {
        loss += out->loss.sum[i];
        weight += out->loss.weight[i];
    }
    out->is_skipped = 1;
    if (buffer < 0 || !(weight > 0)) return 0; /* all samples were skipped */
    double heads;
    int rc = norms_of(t, t->params.grad[buffer], &out->norm, &heads, e);
    if (rc) return rc;
    out->norm /= weight;
    if (!isfinite(loss) || !isfinite(out->norm) || !isfinite(heads)) {
        t->skipped_in_row++;
        return 0;
    }
    double clip = t->o.clip > 0 && out->norm > t->o.clip ? t->o.clip / out->norm : 1;
    update(t, t->params.grad[buffer], out->rate, clip / weight);
    t->skipped_in_row = out->is_skipped = 0;
    return 0;
}

int train_step(struct train *t, struct train_result *out, struct err *e) {
    double numbers[LOSS_NUMBERS];
    int buffer;
    *out = (struct train_result){.rate = rate_of(&t->o.rate, t->steps)};
    if (t->tree.added != t->tree.samples)
        return err_set(e, E_INVALID, "a step has %d samples, not %d", t->tree.samples,
                       t->tree.added);
    int rc = sum_ranks(t, numbers, &buffer, e);
    if (rc) return rc;
    loss_of_numbers(numbers, &out->loss);
    rc = take_step(t, buffer, out, e);
    if (rc) return rc;
    t->tree.added = t->tree.depth = 0;
    t->steps++;
    if (t->skipped_in_row < SKIPPED_MOST) return 0;
    return err_set(e, E_FORMAT, "diverged: %d steps in a row had no finite loss (step %llu)",
                   t->skipped_in_row, (unsigned long long)t->steps);
}

uint64_t train_steps(const struct train *t) { return t->steps; }

int train_use_average(struct train *t, int is_average, struct err *e) {
    if (!t->params.average.addr || t->is_average == !!is_average) return 0;
    if (t->tree.added)
        return err_set(e, E_INVALID, "weights are changed between steps, not inside of one");
    t->is_average = !!is_average;
    params_settle(t);
    return t->ops->sync(t->k, e);
}
