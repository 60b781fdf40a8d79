/* test_calib.c - stated and found errors in bins. */
#include <math.h>

#include "cli/eval/eval.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

static double bin_number(const json_t *o, size_t bin, const char *key) {
    return json_number_value(json_object_get(json_array_get(json_object_get(o, "bins"), bin), key));
}

static json_t *calib_of(const struct eval_calib *c) {
    json_t *o = json_object();
    eval_calib_set(o, "calibration", c);
    json_t *made = json_incref(json_object_get(o, "calibration"));
    json_decref(o);
    return made;
}

TEST(eval_calib_five_bins) {
    struct eval_calib *c = mem_must(sizeof(*c));
    for (int i = 0; i < 1000; i++) /* states 1, 2, 4 .. 16, and is wrong by half of that */
        eval_calib_add(c, 1 << (i % 5), 0.5 * (1 << (i % 5)));
    json_t *o = calib_of(c);
    CHECK_EQ(json_array_size(json_object_get(o, "bins")), CALIB_BINS);
    for (size_t i = 0; i < CALIB_BINS; i++) {
        CHECK_NEAR(bin_number(o, i, "n"), 200, 0);
        CHECK_NEAR(bin_number(o, i, "stated"), 1 << i, 1e-9);
        CHECK_NEAR(bin_number(o, i, "found"), 0.5 * (1 << i), 1e-9);
    }
    CHECK_NEAR(json_number_value(json_object_get(o, "off")), 3.1, 1e-9); /* 0.5 + 1 + .. 8, by 5 */
    json_decref(o);
    mem_free(c);
}

TEST(eval_calib_extremes) {
    struct eval_calib *c = mem_must(sizeof(*c));
    json_t *o = calib_of(c);
    CHECK_EQ(json_array_size(json_object_get(o, "bins")), 0);
    json_decref(o);
    for (int i = 0; i < 90; i++) /* most in one cell: fewer bins, and none is lost */
        eval_calib_add(c, 0, 1);
    eval_calib_add(c, 1e-30, 0);
    eval_calib_add(c, 1e30, 0);
    o = calib_of(c);
    size_t bins = json_array_size(json_object_get(o, "bins"));
    CHECK(bins >= 1 && bins < CALIB_BINS);
    double n = 0;
    for (size_t i = 0; i < bins; i++)
        n += bin_number(o, i, "n");
    CHECK_NEAR(n, 92, 0);
    json_decref(o);
    mem_free(c);
}
