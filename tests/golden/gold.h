/* gold.h - golden vectors against what a model computes.
 *
 * A golden file is a safetensors file (tools/oracle/make_golden.py): tensors under the names that
 * the model's tap uses. One that is shorter than what it stands for holds samples at places that
 * rng chooses; `<name>.norm` then holds the norm of the whole. Relative error: the largest
 * difference over the largest value. For tests only.
 */
#ifndef TESTS_GOLDEN_GOLD_H
#define TESTS_GOLDEN_GOLD_H

#include "tests/golden/maker.h"

struct gold {
    struct st *st;
    int seen;       /* tensors compared */
    double worst;   /* the largest relative error */
    char where[64]; /* of which tensor */
};

static inline int gold_open(struct gold *g, const char *path, struct err *e) {
    *g = (struct gold){0};
    return st_open(path, &g->st, e);
}

static inline double gold_error(const struct st_tensor *t, const char *name, const float *data,
                                size_t n) {
    const float *want = t->data;
    double diff = 0, most = 0;
    for (size_t i = 0; i < t->elements; i++) {
        size_t at = t->elements == n ? i : (size_t)(rng_u64(maker_seed(name), i) % n);
        double d = fabs((double)data[at] - (double)want[i]);
        if (!(d < 1e30)) return 1e30; /* NaN too */
        if (d > diff) diff = d;
        if (fabs((double)want[i]) > most) most = fabs((double)want[i]);
    }
    return diff / most;
}

static inline void gold_note(struct gold *g, const char *name, double error) {
    if (error <= g->worst) return;
    g->worst = error;
    snprintf(g->where, sizeof g->where, "%s", name);
}

/* A model_tap_fn; ud is the gold. */
static inline void gold_tap(void *ud, const char *name, const float *data, int rows, int cols) {
    struct gold *g = ud;
    size_t n = (size_t)rows * (size_t)cols;
    const struct st_tensor *t = st_find(g->st, name);
    must(t && t->dtype == ST_F32 && t->elements <= n);
    g->seen++;
    gold_note(g, name, gold_error(t, name, data, n));
    char norm[64];
    snprintf(norm, sizeof norm, "%s.norm", name);
    const struct st_tensor *whole = st_find(g->st, norm);
    must(whole || t->elements == n);
    if (!whole) return;
    double sum = 0, want = (double)*(const float *)whole->data;
    for (size_t i = 0; i < n; i++)
        sum += (double)data[i] * (double)data[i];
    gold_note(g, norm, fabs(sqrt(sum) - want) / want);
}

/* The golden prompt: ids with -1 for the picture's tokens. */
static inline const int32_t *gold_ids(const struct gold *g, int *n) {
    const struct st_tensor *t = st_find(g->st, "ids");
    must(t && !strcmp(t->dtype_name, "I32"));
    *n = (int)t->elements;
    return t->data;
}

#endif
