/* tol.h - the one rule of how wrong a backend may be.
 *
 *     err(backend) <= 2 * err(plain f32 version) + tiny
 *
 * err is the largest distance from the double result, as a share of the largest result. `tiny` is
 * four units in the last place, for operations where the simple version happens to be exact. There
 * are no constants per test: who wants to be less exact must say so here.
 *
 * The rule needs many results, or the plain version may be lucky. So results that are few are
 * gathered first (struct tol); and where they are few because they are long sums, `tiny` is at
 * least the square root of the terms, in units of the last place: as far as a sum in f32 strays.
 *
 * Where a backend rounds to 16 bits on the way (rig_is_16bit), the plain version is given rounded
 * inputs, and tiny is one unit of that type, 2^-10 or 2^-7: it also rounds the weights of a
 * softmax.
 */
#ifndef TESTS_UNIT_KERNELS_TOL_H
#define TESTS_UNIT_KERNELS_TOL_H

#include <float.h>
#include <math.h>

#include "tests/check.h"

static inline double tol_err(const float *got, const double *want, size_t n) {
    double worst = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - want[i]);
        if (!(d <= worst)) worst = d; /* NaN stays */
        if (isnan(d)) return d;
        if (fabs(want[i]) > largest) largest = fabs(want[i]);
    }
    return largest > 0 ? worst / largest : worst;
}

/* The largest errors so far, of results each of which has a largest of its own. */
struct tol {
    double err, plain;
};
static inline void tol_add(struct tol *t, const float *got, const double *want, const float *plain,
                           size_t n) {
    double err = tol_err(got, want, n), other = tol_err(plain, want, n);
    if (!isnan(t->err) && !(err <= t->err)) t->err = err;
    if (!(other <= t->plain)) t->plain = other;
}
static inline void tol_end(const char *what, const struct tol *t, double tiny) {
    double most = 2 * t->plain + tiny;
    if (!(t->err <= most))
        test_failed(__FILE__, __LINE__, "%s: error %.3g, allowed %.3g", what, t->err, most);
}

static inline void tol_check_within(const char *what, const float *got, const double *want,
                                    const float *plain, size_t n, double tiny) {
    struct tol t = {0};
    tol_add(&t, got, want, plain, n);
    tol_end(what, &t, tiny);
}

static inline double tol_tiny(size_t terms) {
    return (double)FLT_EPSILON * fmax(4, sqrt((double)terms));
}

static inline void tol_check(const char *what, const float *got, const double *want,
                             const float *plain, size_t n) {
    tol_check_within(what, got, want, plain, n, tol_tiny(0));
}

/* Inputs of `plain` were rounded to 16 bits. */
static inline void tol_check_f16(const char *what, const float *got, const double *want,
                                 const float *plain, size_t n) {
    tol_check_within(what, got, want, plain, n, 1.0 / 1024);
}

static inline void tol_check_bf16(const char *what, const float *got, const double *want,
                                  const float *plain, size_t n) {
    tol_check_within(what, got, want, plain, n, 1.0 / 128);
}

#endif
