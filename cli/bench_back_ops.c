/* bench_back_ops.c - the operations that `lammd bench train` measures: see bench_back.h.
 *
 * The tower has the tokens of a picture. The decoder has a picture's stem and 256 questions behind
 * it: 72 branches that questions share, and five tokens of each question's own. The head has the
 * rows whose logits are there at once.
 */
#include <math.h>
#include <stdio.h>

#include "cli/bench_back.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/kern.h"

enum {
    BRANCHES = 72,
    ASKED = 256,
    TOKENS = 5,
    TAILS = BRANCHES + ASKED * TOKENS * (TOKENS + 3) / 2
};
enum { QUESTION_ROWS = BRANCHES + ASKED * TOKENS };

/* The prompt tree of the attention, on the host and on the device. */
struct back_tree {
    struct kern_attn_group groups[2];
    struct kern_attn_span span;
    int32_t *off, tail[TAILS], user_slot[QUESTION_ROWS], user_off[QUESTION_ROWS + 1], user[TAILS];
    struct kern_ptr at_groups, at_span, at_off, at_tail, at_user_slot, at_user_off, at_user;
};

struct back_stage {
    const struct kern_ops *ops;
    struct kern *k;
    struct back_case c;
    struct kern_ptr x, y, dx, dy, pools, sums, w, lse;
    struct kern_mat *mat;
    struct back_tree *tree; /* of a tree's attention; else NULL */
};

/* ---- operands ---- */

static int numbers(struct back_stage *s, size_t n, struct kern_ptr *out, struct err *e) {
    float *host = mem_try(n * sizeof *host);
    if (!host) return err_set(e, E_NOMEM, "no memory for %zu numbers", n);
    for (size_t i = 0; i < n; i++)
        host[i] = 2 * rng_uniform(1, i) - 1;
    int rc = s->ops->alloc(s->k, n * sizeof *host, out, e);
    if (!rc) s->ops->put(s->k, *out, host, n * sizeof *host);
    mem_free(host);
    return rc;
}

static int list(struct back_stage *s, const void *from, size_t bytes, struct kern_ptr *out,
                struct err *e) {
    int rc = s->ops->alloc(s->k, bytes, out, e);
    if (!rc) s->ops->put(s->k, *out, from, bytes);
    return rc;
}

/* The stem's rows see each other. A question has a branch, and its tokens see the stem, the branch
 * and themselves. */
static void grow_tree(struct back_tree *t, int stem) {
    t->groups[0] = (struct kern_attn_group){0, stem, 0, 0, 0};
    t->groups[1] = (struct kern_attn_group){stem, QUESTION_ROWS, 0, 1, -1};
    t->span = (struct kern_attn_span){0, stem};
    int at = 0, row = stem;
    for (int i = 0; i < BRANCHES; i++, t->off[++row] = at)
        t->tail[at++] = row;
    for (int i = 0; i < ASKED; i++)
        for (int token = 0; token < TOKENS; token++, t->off[++row] = at) {
            t->tail[at++] = stem + i % BRANCHES;
            for (int j = 0; j <= token; j++)
                t->tail[at++] = row - token + j;
        }
    must(at == TAILS && row == stem + QUESTION_ROWS);
}

/* Of each slot the rows in whose tails it stands, ascending. */
static void turn_tree(struct back_tree *t, int stem) {
    for (int i = 0; i < TAILS; i++)
        t->user_off[t->tail[i] - stem + 1]++;
    for (int i = 0; i < QUESTION_ROWS; i++) {
        t->user_off[i + 1] += t->user_off[i];
        t->user_slot[i] = stem + i;
    }
    int32_t *next = mem_must(QUESTION_ROWS * sizeof *next);
    for (int i = 0; i < QUESTION_ROWS; i++)
        next[i] = t->user_off[i];
    for (int row = stem; row < stem + QUESTION_ROWS; row++)
        for (int i = t->off[row]; i < t->off[row + 1]; i++)
            t->user[next[t->tail[i] - stem]++] = row;
    mem_free(next);
}

static int plant_tree(struct back_stage *s, struct err *e) {
    int stem = s->c.stem;
    size_t rows = (size_t)(stem + QUESTION_ROWS + 1) * sizeof(int32_t);
    struct back_tree *t = s->tree = mem_must(sizeof *t);
    t->off = mem_must(rows);
    grow_tree(t, stem);
    turn_tree(t, stem);
    int rc = list(s, t->groups, sizeof t->groups, &t->at_groups, e);
    if (!rc) rc = list(s, &t->span, sizeof t->span, &t->at_span, e);
    if (!rc) rc = list(s, t->off, rows, &t->at_off, e);
    if (!rc) rc = list(s, t->tail, sizeof t->tail, &t->at_tail, e);
    if (!rc) rc = list(s, t->user_slot, sizeof t->user_slot, &t->at_user_slot, e);
    if (!rc) rc = list(s, t->user_off, sizeof t->user_off, &t->at_user_off, e);
    return rc ? rc : list(s, t->user, sizeof t->user, &t->at_user, e);
}

/* Any bf16 numbers around 0 will do. */
static int matrix(struct back_stage *s, struct err *e) {
    size_t cells = (size_t)s->c.n * (size_t)s->c.k;
    uint16_t *w = mem_try(cells * sizeof *w);
    if (!w) return err_set(e, E_NOMEM, "no memory for %zu numbers", cells);
    for (size_t i = 0; i < cells; i++)
        w[i] = (uint16_t)(0x3c00 | (rng_u64(2, i) & 0x80ff));
    struct kern_mat_part part = {w, s->c.n, KERN_BF16};
    struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = s->c.k, .with_back = 1};
    int rc = s->ops->mat_new(s->k, &src, &s->mat, e);
    mem_free(w);
    return rc;
}

/* Attention reads q, k and v, swiglu gates and ups: three rows in one are enough for all. */
int back_stage_open(const struct kern_ops *ops, struct kern *k, const struct back_case *c,
                    struct back_stage **out, struct err *e) {
    struct back_stage *s = *out = mem_must(sizeof *s);
    *s = (struct back_stage){.ops = ops, .k = k, .c = *c};
    size_t m = (size_t)c->m, n = (size_t)c->n, deep = (size_t)c->k, cells = n * (deep ? deep : 1);
    size_t wide = deep ? m * (n > deep ? n : deep) : m * 3 * n;
    struct kern_ptr *all[] = {&s->x, &s->y, &s->dx, &s->dy, &s->pools, &s->sums};
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(all) && !rc; i++)
        rc = numbers(s, wide, all[i], e);
    if (!rc) rc = numbers(s, cells, &s->w, e);
    if (!rc) rc = numbers(s, m * (size_t)(c->heads + 1), &s->lse, e);
    if (!rc && c->stem) rc = plant_tree(s, e);
    return rc || !deep ? rc : matrix(s, e);
}

void back_stage_close(struct back_stage *s) {
    if (!s) return;
    struct kern_ptr all[] = {s->x, s->y, s->dx, s->dy, s->pools, s->sums, s->w, s->lse};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i].addr) s->ops->free(s->k, all[i]);
    s->ops->mat_free(s->k, s->mat);
    struct back_tree *t = s->tree;
    if (t) {
        struct kern_ptr lists[] = {t->at_groups,    t->at_span,     t->at_off, t->at_tail,
                                   t->at_user_slot, t->at_user_off, t->at_user};
        for (size_t i = 0; i < ARRAY_LEN(lists); i++)
            if (lists[i].addr) s->ops->free(s->k, lists[i]);
        mem_free(t->off);
    }
    mem_free(t);
    mem_free(s);
}

/* ---- products ---- */

static void run_gemm(const struct back_stage *s) {
    const struct back_case *c = &s->c;
    s->ops->gemm(s->k, &(struct kern_gemm){
                           .m = c->m, .x = s->x, .ldx = c->k, .w = s->mat, .y = s->y, .ldy = c->n});
}
static void run_dx(const struct back_stage *s) {
    const struct back_case *c = &s->c;
    s->ops->train->gemm_dx(
        s->k, &(struct kern_gemm_dx){
                  .m = c->m, .dy = s->dy, .lddy = c->n, .w = s->mat, .dx = s->dx, .lddx = c->k});
}
static void run_dw(const struct back_stage *s) {
    const struct back_case *c = &s->c;
    s->ops->train->gemm_dw(s->k, &(struct kern_gemm_dw){.m = c->m,
                                                        .n = c->n,
                                                        .k = c->k,
                                                        .dy = s->dy,
                                                        .lddy = c->n,
                                                        .x = s->x,
                                                        .ldx = c->k,
                                                        .dw = s->w,
                                                        .lddw = c->k,
                                                        .accumulate = 1});
}

/* ---- attention ---- */

static struct kern_attn_full full_args(const struct back_stage *s) {
    const struct back_case *c = &s->c;
    int size = c->n / c->heads;
    return (struct kern_attn_full){.images = 1,
                                   .tokens = c->m,
                                   .heads = c->heads,
                                   .head_size = size,
                                   .scale = 1 / sqrtf((float)size),
                                   .qkv = s->x,
                                   .ld = 3 * c->n,
                                   .y = s->y,
                                   .ldy = c->n,
                                   .lse = s->lse};
}
static void run_full(const struct back_stage *s) {
    struct kern_attn_full a = full_args(s);
    s->ops->attn_full(s->k, &a);
}
static void run_full_back(const struct back_stage *s) {
    int n = s->c.n;
    s->ops->train->attn_full_back(
        s->k, &(struct kern_attn_full_back){
                  .fwd = full_args(s), .dy = s->dy, .lddy = n, .dqkv = s->dx, .lddqkv = 3 * n});
}

static struct kern_attn_tree tree_args(const struct back_stage *s) {
    const struct back_case *c = &s->c;
    const struct back_tree *t = s->tree;
    int size = c->n / c->heads;
    return (struct kern_attn_tree){.rows = c->m,
                                   .heads = c->heads,
                                   .head_size = size,
                                   .scale = 1 / sqrtf((float)size),
                                   .q = s->x,
                                   .ldq = 3 * c->n,
                                   .pool_k = s->pools,
                                   .pool_v = kern_at(s->pools, (size_t)c->m * (size_t)c->n * 4),
                                   .pool_dtype = KERN_F32,
                                   .y = s->y,
                                   .ldy = c->n,
                                   .groups = t->groups,
                                   .n_groups = 2,
                                   .spans = &t->span,
                                   .n_spans = 1,
                                   .dev_groups = t->at_groups,
                                   .dev_spans = t->at_span,
                                   .tail_off = t->at_off,
                                   .tail = t->at_tail,
                                   .lse = s->lse};
}
static void run_tree(const struct back_stage *s) {
    struct kern_attn_tree a = tree_args(s);
    s->ops->attn_tree(s->k, &a);
}
static void run_tree_back(const struct back_stage *s) {
    const struct back_tree *t = s->tree;
    int n = s->c.n;
    s->ops->train->attn_tree_back(
        s->k, &(struct kern_attn_tree_back){.fwd = tree_args(s),
                                            .dy = s->dy,
                                            .lddy = n,
                                            .dq = s->dx,
                                            .lddq = 3 * n,
                                            .dk = s->sums,
                                            .dv = kern_at(s->sums, (size_t)s->c.m * (size_t)n * 4),
                                            .n_users = QUESTION_ROWS,
                                            .host_user_off = t->user_off,
                                            .user_slot = t->at_user_slot,
                                            .user_off = t->at_user_off,
                                            .user = t->at_user});
}

/* ---- row by row ---- */

static struct kern_norm norm_args(const struct back_stage *s) {
    int n = s->c.n;
    return (struct kern_norm){s->c.m, n, s->x, n, s->w, s->w, 1e-5f, s->y, n, KERN_F32};
}
static struct kern_norm_back norm_back_args(const struct back_stage *s) {
    int n = s->c.n;
    return (struct kern_norm_back){.rows = s->c.m,
                                   .width = n,
                                   .x = s->x,
                                   .ldx = n,
                                   .weight = s->w,
                                   .eps = 1e-5f,
                                   .dy = s->dy,
                                   .lddy = n,
                                   .dx = s->dx,
                                   .lddx = n,
                                   .dw = s->sums};
}
static void run_layernorm(const struct back_stage *s) {
    struct kern_norm a = norm_args(s);
    s->ops->layernorm(s->k, &a);
}
static void run_layernorm_back(const struct back_stage *s) {
    struct kern_norm_back a = norm_back_args(s);
    s->ops->train->layernorm_back(s->k, &a);
}
static void run_rmsnorm(const struct back_stage *s) {
    struct kern_norm a = norm_args(s);
    s->ops->rmsnorm(s->k, &a);
}
static void run_rmsnorm_back(const struct back_stage *s) {
    struct kern_norm_back a = norm_back_args(s);
    s->ops->train->rmsnorm_back(s->k, &a);
}
static struct kern_gelu gelu_args(const struct back_stage *s, struct kern_ptr y) {
    int n = s->c.n;
    return (struct kern_gelu){
        .rows = s->c.m, .width = n, .x = s->x, .ldx = n, .dy = s->dy, .lddy = n, .y = y, .ldy = n};
}
static void run_gelu(const struct back_stage *s) {
    struct kern_gelu a = gelu_args(s, s->y);
    s->ops->train->gelu(s->k, &a);
}
static void run_gelu_back(const struct back_stage *s) {
    struct kern_gelu a = gelu_args(s, s->dx);
    s->ops->train->gelu_back(s->k, &a);
}
static void run_swiglu(const struct back_stage *s) {
    int n = s->c.n;
    s->ops->swiglu(s->k, &(struct kern_swiglu){s->c.m, n, s->x, 2 * n, s->y, n, KERN_F32});
}
static void run_swiglu_back(const struct back_stage *s) {
    int n = s->c.n;
    s->ops->train->swiglu_back(
        s->k, &(struct kern_swiglu_back){s->c.m, n, s->x, 2 * n, s->dy, n, s->dx, 2 * n});
}
static void run_sumsq(const struct back_stage *s) {
    s->ops->train->sumsq(s->k, &(struct kern_sumsq){(size_t)s->c.m * (size_t)s->c.n, s->x, s->lse});
}
static void run_adamw(const struct back_stage *s) {
    s->ops->train->adamw(s->k, &(struct kern_adamw){.n = (size_t)s->c.m * (size_t)s->c.n,
                                                    .p = s->x,
                                                    .m = s->y,
                                                    .v = s->pools,
                                                    .g = s->dy,
                                                    .lr = 1e-6f,
                                                    .beta1 = 0.9f,
                                                    .beta2 = 0.999f,
                                                    .eps = 1,
                                                    .scale = 1,
                                                    .fix1 = 1,
                                                    .fix2 = 1});
}
static void run_set(const struct back_stage *s) {
    s->ops->train->mat_set(
        s->k, &(struct kern_mat_set){.w = s->mat, .rows = s->c.n, .src = s->w, .ld = s->c.k});
}

/* ---- the list ---- */

struct case_list {
    struct back_case *at;
    int n;
};

static struct back_case *add_case(struct case_list *l, const char *name, int m, int n, int k) {
    must(l->n < BACK_CASES);
    struct back_case *c = &l->at[l->n++];
    *c = (struct back_case){.m = m, .n = n, .k = k};
    snprintf(c->name, sizeof c->name, "%s", name);
    return c;
}

static void add_product(struct case_list *l, const char *name, int m, int n, int k) {
    char text[48];
    snprintf(text, sizeof text, "%s %d -> %d", name, k, n);
    struct back_case *c = add_case(l, text, m, n, k);
    c->run[0] = run_gemm, c->run[1] = run_dx, c->run[2] = run_dw;
    c->flop = c->back_flop = 2.0 * m * n * k;
    c->bar = 80;
}

static void add_attention(struct case_list *l, const char *name, int m, int n, int heads, int stem,
                          double pairs) {
    struct back_case *c = add_case(l, name, m, n, 0);
    c->run[0] = stem ? run_tree : run_full, c->run[1] = stem ? run_tree_back : run_full_back;
    c->heads = heads;
    c->stem = stem;
    c->flop = 4 * pairs * n, c->back_flop = 2.5 * c->flop;
    c->bar = 50;
}

static void add_rows(struct case_list *l, const char *name, int m, int n, back_run_fn *there,
                     back_run_fn *back) {
    struct back_case *c = add_case(l, name, m, n, 0);
    c->run[0] = there, c->run[1] = back;
}

int back_cases(const struct train_form *f, struct back_case out[BACK_CASES]) {
    struct case_list l = {.at = out};
    int t = f->tower.tokens, e = f->tower.width, d = f->text.width;
    int stem = f->image_tokens + 3, m = stem + QUESTION_ROWS;
    double pairs = stem * (stem + 1) / 2.0 + (double)stem * QUESTION_ROWS + TAILS;
    add_product(&l, "tower qkv", t, 3 * e, e);
    add_product(&l, "tower o", t, e, e);
    add_product(&l, "tower fc1", t, f->tower.ffn, e);
    add_product(&l, "tower fc2", t, e, f->tower.ffn);
    add_product(&l, "qkv", m, 3 * d, d);
    add_product(&l, "o", m, d, d);
    add_product(&l, "gate, up", m, 2 * f->text.ffn, d);
    add_product(&l, "down", m, d, f->text.ffn);
    add_product(&l, "head", KERN_BACK_ROWS, f->text.vocabulary, d);
    add_attention(&l, "tower attention", t, e, f->tower.heads, 0, (double)t * t);
    add_attention(&l, "tree attention", m, d, f->text.heads, stem, pairs);
    add_rows(&l, "tower layernorm", t, e, run_layernorm, run_layernorm_back);
    add_rows(&l, "rmsnorm", m, d, run_rmsnorm, run_rmsnorm_back);
    add_rows(&l, "tower gelu", t, f->tower.ffn, run_gelu, run_gelu_back);
    add_rows(&l, "swiglu", m, f->text.ffn, run_swiglu, run_swiglu_back);
    add_rows(&l, "sum of squares | AdamW, 1.6 M", 1562, 1024, run_sumsq, run_adamw);
    struct back_case *set = add_case(&l, "product | mat_set, gate and up", m, 2 * f->text.ffn, d);
    set->run[0] = run_gemm, set->run[1] = run_set;
    return l.n;
}
