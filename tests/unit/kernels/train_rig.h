/* train_rig.h - what tests of training have beside rig.h.
 *
 * The truth about a gradient is that it is a slope. So each is proved in two steps: the plain
 * formula in double (plain_back.inc) by differences of the forward formula in double, and each
 * backend by the plain formula, within the rule of tol.h. A backend that can't train is skipped.
 */
#ifndef TESTS_UNIT_KERNELS_TRAIN_RIG_H
#define TESTS_UNIT_KERNELS_TRAIN_RIG_H

#include "tests/unit/kernels/rig.h"

#define TRAIN_TEST(id)                     \
    static void train_##id(struct rig *r); \
    OP_TEST(id) {                          \
        train_needed(r);                   \
        train_##id(r);                     \
    }                                      \
    static void train_##id(struct rig *r)

/* Issue an operation of training; the first one may make room for itself. */
#define TRAIN(r, op, type, ...)     \
    do {                            \
        type args_ = {__VA_ARGS__}; \
        TRAIN_ON(r, op, &args_);    \
    } while (0)
#define TRAIN_ON(r, op, args)                      \
    do {                                           \
        (r)->ops->train->op((r)->k, args);         \
        CHECK_EQ((r)->ops->sync((r)->k, NULL), 0); \
    } while (0)

/* Twice, the second time without an allocation: what overwrites leaves one result, what adds leaves
 * two. */
#define TWICE(r, op, type, ...)       \
    do {                              \
        type args_ = {__VA_ARGS__};   \
        TRAIN_ON(r, op, &args_);      \
        RUN_ON(r, train->op, &args_); \
    } while (0)

void train_needed(const struct rig *r); /* skips */
int train_is_ref(const struct rig *r);
struct kern_mat *train_mat(struct rig *r, const float *w, int n, int k); /* with_back */

/* What a result shall be, and what the plain version in f32 makes of it. */
struct truth {
    size_t n;
    double *want;
    float *plain;
    size_t terms; /* of each result, where that is a long sum; 0: never mind */
};
struct truth truth_from(const float *begin, size_t n); /* begin NULL: zeros */
void truth_check(const char *what, const struct truth *t, const float *got);

double *host_widened(const float *x, size_t n);
/* Is slope[i] the derivative of loss(ud) by x[i]? `loss` reads x, which is as before afterwards. */
void slope_check(const char *what, double (*loss)(void *ud), void *ud, double *x,
                 const double *slope, size_t n);

#endif
