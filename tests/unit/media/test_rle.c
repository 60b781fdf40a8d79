/* test_rle.c - run lengths against vectors made by hand. */
#include "media/rle.h"

#include "tests/check.h"

static void check_runs(const uint32_t *runs, int n, const char *want) {
    struct buf b;
    struct rle r;
    buf_init(&b, 1000);
    rle_begin(&r, &b);
    for (int i = 0; i < n; i++)
        rle_add(&r, i % 2, runs[i]);
    CHECK_EQ(rle_end(&r), 0);
    CHECK_STR((char *)b.p, want);
    buf_clear(&b);
}

/* Worked out on paper from rleToString's description: groups of 5 bits, low first, bit 6 for more,
 * from the fourth run on as the difference to the one two before. */
TEST(rle_by_hand) {
    check_runs((uint32_t[]){4}, 1, "4");   /* all zeros */
    check_runs((uint32_t[]){15}, 1, "?");  /* 15 still is one group: its sign bit is 0 */
    check_runs((uint32_t[]){16}, 1, "`0"); /* 16 would read as negative: one more group */
    check_runs((uint32_t[]){6, 1, 40, 4}, 4, "61X13"); /* the fourth: 4 - 1 = 3 */
    check_runs((uint32_t[]){5, 5, 5, 3}, 4, "555N");   /* 3 - 5 = -2: 11110, sign from bit 4 */
    check_runs((uint32_t[]){100, 1, 2, 40, 2}, 5, "T312W10"); /* 39, then 2 - 2 = 0 */
}

/* Zeros come first even when there are none: `0`. */
TEST(rle_that_begins_with_ones) {
    struct buf b;
    struct rle r;
    buf_init(&b, 1000);
    rle_begin(&r, &b);
    rle_add(&r, 1, 3);
    rle_add(&r, 1, 0);
    rle_add(&r, 1, 1);
    CHECK_EQ(rle_end(&r), 0);
    CHECK_STR((char *)b.p, "04");
    buf_clear(&b);
}
