/* test_num.c - small words for numbers and texts. */
#include "kernels/base/num.h"

#include <stdlib.h>

#include "kernels/base/str.h"
#include "tests/check.h"

TEST(num_words) {
    CHECK_EQ(at_least(3, 4), 4);
    CHECK_EQ(at_least(5, 4), 5);
    CHECK_EQ(at_most(3, 4), 3);
    CHECK_EQ(at_most(INT32_MAX, INT32_MIN), INT32_MIN);
    CHECK_NEAR(in_mib(3 << 19), 1.5, 0);
    int32_t v[] = {INT32_MAX, -1, INT32_MIN, 7};
    qsort(v, 4, sizeof(v[0]), by_int32);
    CHECK(v[0] == INT32_MIN && v[1] == -1 && v[2] == 7 && v[3] == INT32_MAX);
}

TEST(str_suffix) {
    CHECK(has_suffix("a.png", ".png"));
    CHECK(has_suffix(".png", ".png"));
    CHECK(has_suffix("a", ""));
    CHECK(!has_suffix("png", ".png"));
    CHECK(!has_suffix("a.png ", ".png"));
}
