/* test_blocks.c - blocks are zeroed, aligned, counted, and gone with their owner. */
#include "kernels/base/blocks.h"

#include "kernels/base/mem.h"
#include "tests/check.h"

TEST(blocks_are_counted_and_cleared) {
    struct mem_stats before, after;
    mem_stats(&before);
    struct blocks b = {0};
    char *p[5];
    for (size_t i = 0; i < 5; i++) {
        p[i] = blocks_take(&b, 100 * i);
        CHECK(p[i] && (uintptr_t)p[i] % 64 == 0);
        for (size_t c = 0; c < 100 * i; c++)
            CHECK_EQ(p[i][c], 0);
        memset(p[i], 1, 100 * i);
    }
    CHECK_EQ(b.live_bytes, 1000);
    blocks_give(&b, p[2]); /* from the middle, the front and the back */
    blocks_give(&b, p[4]);
    blocks_give(&b, p[0]);
    blocks_give(&b, NULL);
    CHECK_EQ(b.live_bytes, 400);
    CHECK_EQ(b.peak_bytes, 1000);
    CHECK_EQ(b.allocations, 5);
    CHECK_EQ(p[3][299], 1);
    blocks_clear(&b);
    CHECK_EQ(b.live_bytes, 0);
    CHECK(b.first == NULL);
    mem_stats(&after);
    CHECK_EQ(after.live_bytes, before.live_bytes);
}

TEST(blocks_say_when_there_is_no_memory) {
    struct blocks b = {0};
    CHECK(blocks_take(&b, SIZE_MAX - 8) == NULL);
    mem_fail_at(1);
    CHECK(blocks_take(&b, 8) == NULL);
    mem_fail_at(0);
    CHECK_EQ(b.allocations, 0);
    CHECK(b.first == NULL);
}
