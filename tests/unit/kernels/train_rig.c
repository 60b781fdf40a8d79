/* train_rig.c - see train_rig.h. */
#include "tests/unit/kernels/train_rig.h"

#include "tests/unit/kernels/tol.h"

void train_needed(const struct rig *r) {
    if (!r->ops->train) skip("%s can't train", r->ops->name);
}

int train_is_ref(const struct rig *r) { return !strcmp(r->backend, "ref"); }

struct kern_mat *train_mat(struct rig *r, const float *w, int n, int k) {
    struct kern_mat_part part = {.data = w, .n = n, .dtype = KERN_F32};
    struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = k, .with_back = 1};
    struct kern_mat *m = NULL;
    CHECK_EQ(r->ops->mat_new(r->k, &src, &m, NULL), 0);
    return m;
}

double *host_widened(const float *x, size_t n) {
    double *y = host_f64(n);
    for (size_t i = 0; i < n; i++)
        y[i] = (double)x[i];
    return y;
}

struct truth truth_from(const float *begin, size_t n) {
    struct truth t = {n, host_f64(n), host_f32(n), 0};
    for (size_t i = 0; begin && i < n; i++)
        t.want[i] = (double)(t.plain[i] = begin[i]);
    return t;
}

void truth_check(const char *what, const struct truth *t, const float *got) {
    tol_check_within(what, got, t->want, t->plain, t->n, tol_tiny(t->terms));
}

/* f' = (8 (f(x+h) - f(x-h)) - (f(x+2h) - f(x-2h))) / 12h, wrong by h^4 f^(5) / 30. */
void slope_check(const char *what, double (*loss)(void *ud), void *ud, double *x,
                 const double *slope, size_t n) {
    static const double at[] = {1, -1, 2, -2}, weight[] = {8, -8, -1, 1};
    const double h = 1e-3;
    double largest = 1e-3;
    for (size_t i = 0; i < n; i++)
        if (fabs(slope[i]) > largest) largest = fabs(slope[i]);
    for (size_t i = 0; i < n; i++) {
        double was = x[i], sum = 0;
        for (size_t s = 0; s < ARRAY_LEN(at); s++) {
            x[i] = was + at[s] * h;
            sum += weight[s] * loss(ud);
        }
        x[i] = was;
        double got = sum / (12 * h);
        if (!(fabs(got - slope[i]) <= 1e-7 * largest))
            test_failed(__FILE__, __LINE__, "%s %zu: slope %.12g, formula %.12g, largest %.3g",
                        what, i, got, slope[i], largest);
    }
}
