/* test_kv.c - slots of the pool: ranges never overlap, gaps grow together, promises are kept. */
#include "engine/run/kv.h"
#include "kernels/base/rng.h"
#include "tests/check.h"

TEST(kv_ranges_are_first_fit_and_grow_together) {
    struct kv kv;
    int32_t a, b, c, d;
    kv_init(&kv, 100, 10, 8);
    CHECK(kv_range_take(&kv, 30, &a) && a == 0);
    CHECK(kv_range_take(&kv, 30, &b) && b == 30);
    CHECK(kv_range_take(&kv, 40, &c) && c == 60);
    CHECK(!kv_range_take(&kv, 1, &d));
    CHECK_EQ(kv.n_gaps, 0);
    kv_range_give(&kv, a, 30);
    kv_range_give(&kv, c, 40);
    CHECK_EQ(kv.n_gaps, 2);
    CHECK_EQ(kv.range_free, 70);
    CHECK(!kv_range_take(&kv, 41, &d)); /* 70 are free, but not side by side */
    kv_range_give(&kv, b, 30);          /* joins both neighbours */
    CHECK_EQ(kv.n_gaps, 1);
    CHECK(kv_range_take(&kv, 100, &d) && d == 0);
    kv_range_give(&kv, d, 100);
    CHECK_EQ(kv_used(&kv), 0);
    kv_clear(&kv);
}

TEST(kv_ranges_survive_random_use) {
    enum { SLOTS = 200, RANGES = 16 };
    struct kv kv;
    struct kv_gap held[RANGES];
    uint8_t owner[SLOTS];
    int32_t n = 0;
    uint64_t dice = 0;
    memset(owner, 0, sizeof owner);
    kv_init(&kv, SLOTS, 1, RANGES);
    for (int round = 0; round < 20000; round++) {
        uint64_t r = rng_u64(test_seed(), dice++);
        if (n < RANGES && (r & 1)) {
            int32_t len = 1 + (int32_t)((r >> 8) % 40), slot;
            if (!kv_range_take(&kv, len, &slot)) continue;
            for (int32_t i = slot; i < slot + len; i++)
                CHECK_EQ(owner[i]++, 0);
            held[n++] = (struct kv_gap){slot, len};
        } else if (n > 0) {
            int32_t k = (int32_t)((r >> 8) % (uint64_t)n);
            for (int32_t i = held[k].slot; i < held[k].slot + held[k].len; i++)
                CHECK_EQ(--owner[i], 0);
            kv_range_give(&kv, held[k].slot, held[k].len);
            held[k] = held[--n];
        }
        int32_t sum = 0;
        for (int32_t i = 0; i < kv.n_gaps; i++) {
            sum += kv.gaps[i].len;
            CHECK(kv.gaps[i].len > 0);
            if (i) CHECK(kv.gaps[i - 1].slot + kv.gaps[i - 1].len < kv.gaps[i].slot);
        }
        CHECK_EQ(sum, kv.range_free);
    }
    while (n > 0) {
        n--;
        kv_range_give(&kv, held[n].slot, held[n].len);
    }
    CHECK_EQ(kv.n_gaps, 1);
    CHECK_EQ(kv.range_free, SLOTS);
    kv_clear(&kv);
}

TEST(kv_keeps_promises) {
    struct kv kv;
    kv_init(&kv, 5, 4, 1);
    CHECK(kv_promise(&kv, 3));
    CHECK(!kv_promise(&kv, 2));
    CHECK(kv_promise(&kv, 1));
    CHECK(kv_promise(&kv, 0));
    int32_t slot[4], seen = 0;
    for (int i = 0; i < 4; i++) {
        slot[i] = kv_take(&kv);
        CHECK(slot[i] >= 5 && slot[i] < 9);
        CHECK(!(seen & 1 << slot[i]));
        seen |= 1 << slot[i];
    }
    CHECK_EQ(kv_used(&kv), 4);
    for (int i = 0; i < 4; i++)
        kv_give(&kv, slot[i]);
    kv_release(&kv, 4);
    CHECK_EQ(kv.promised, 0);
    CHECK_EQ(kv_used(&kv), 0);
    kv_clear(&kv);
}
