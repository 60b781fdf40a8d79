/* test_buf.c - growth up to the maximum and not a byte further; a failed buffer stays failed. */
#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

TEST(buf_holds_what_was_appended) {
    struct buf b;
    buf_init(&b, 1000);
    CHECK_EQ(buf_str(&b, "row "), 0);
    CHECK_EQ(buf_printf(&b, "%d,%s", 17, "x"), 0);
    CHECK_EQ(buf_char(&b, ']'), 0);
    CHECK_EQ(buf_add(&b, "\0z", 2), 0);
    CHECK_EQ(buf_add(&b, NULL, 0), 0);
    CHECK_EQ(b.len, 11);
    CHECK_MEM(b.p, "row 17,x]\0z", 12); /* a NUL behind it all */
    buf_clear(&b);
    CHECK_EQ(b.len, 0);
    CHECK_EQ(buf_str(&b, "again"), 0);
    CHECK_STR((char *)b.p, "again");
    buf_clear(&b);
}

TEST(buf_takes_exactly_its_maximum_for_every_way_there) {
    for (size_t max = 0; max < 700; max += 23) {
        for (size_t step = 1; step < 300; step = step * 3 + 1) {
            struct buf b;
            buf_init(&b, max);
            unsigned char piece[300];
            memset(piece, 'p', sizeof(piece));
            while (b.len + step <= max)
                CHECK(buf_add(&b, piece, step) == 0);
            size_t len = b.len;
            CHECK_EQ(buf_add(&b, piece, max - len + 1), E_TOO_BIG);
            CHECK_EQ(b.len, len); /* as it was */
            CHECK_EQ(b.bad, E_TOO_BIG);
            CHECK(b.cap <= max + 1);
            buf_clear(&b);
        }
    }
}

TEST(buf_that_failed_stays_failed_until_cleared) {
    struct buf b;
    buf_init(&b, 4);
    CHECK_EQ(buf_str(&b, "12345"), E_TOO_BIG);
    CHECK_EQ(buf_char(&b, '1'), E_TOO_BIG);
    CHECK_EQ(buf_printf(&b, "1"), E_TOO_BIG);
    CHECK_EQ(buf_reserve(&b, 0), E_TOO_BIG);
    CHECK_EQ(b.len, 0);
    buf_clear(&b);
    CHECK_EQ(buf_printf(&b, "%d", 1234), 0);
    CHECK_EQ(buf_printf(&b, "%d", 5), E_TOO_BIG);
    CHECK_STR((char *)b.p, "1234");
    buf_clear(&b);
}

TEST(buf_reports_missing_memory_and_keeps_its_content) {
    struct buf b;
    buf_init(&b, 1 << 20);
    CHECK_EQ(buf_str(&b, "kept"), 0);
    mem_fail_at(1);
    CHECK_EQ(buf_reserve(&b, 100000), E_NOMEM);
    CHECK_STR((char *)b.p, "kept");
    CHECK_EQ(buf_str(&b, "more"), E_NOMEM);
    buf_clear(&b);
}

TEST(buf_without_a_practical_maximum_does_not_overflow) {
    struct buf b;
    buf_init(&b, SIZE_MAX);
    CHECK_EQ(buf_str(&b, "x"), 0);
    CHECK(buf_reserve(&b, SIZE_MAX - 1) != 0);
    CHECK_STR((char *)b.p, "x");
    buf_clear(&b);
}

TEST(buf_take_gives_the_bytes_away) {
    struct buf b;
    buf_init(&b, 100);
    buf_str(&b, "mine");
    size_t len = 0;
    char *p = (char *)buf_take(&b, &len);
    CHECK_EQ(len, 4);
    CHECK_STR(p, "mine");
    CHECK_EQ(b.len, 0);
    CHECK(b.p == NULL);
    CHECK_EQ(b.max, 100);
    mem_free(p);
}
