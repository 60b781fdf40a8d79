/* test_recent.c - which graphs stay, which needs no device: held against a plain list. */
#include "kernels/base/rng.h"
#include "kernels/cuda/recent.h"
#include "tests/check.h"

TEST(recent_keeps_what_was_used_last) {
    struct recent r = {.places = 3};
    CHECK_EQ(recent_find(&r, 0), -1); /* nothing is there, not even zero */
    int a = recent_put(&r, 10), b = recent_put(&r, 20), c = recent_put(&r, 0);
    CHECK(a != b && b != c && a != c);
    CHECK_EQ(recent_find(&r, 10), a);
    CHECK_EQ(recent_put(&r, 40), b); /* 20 was not used for longest */
    CHECK_EQ(recent_find(&r, 20), -1);
    CHECK_EQ(recent_find(&r, 0), c);
    CHECK_EQ(recent_find(&r, 10), a);
    CHECK_EQ(recent_find(&r, 40), b);
}

TEST(recent_is_a_list_with_the_last_one_in_front) {
    enum { PLACES = 5, KEYS = 8, STEPS = 2000 };
    struct recent r = {.places = PLACES};
    uint64_t list[PLACES + 1], at[KEYS] = {0}; /* at: the place each key was given */
    int n = 0;
    for (uint64_t step = 0; step < STEPS; step++) {
        uint64_t key = rng_u64(test_seed(), step) % KEYS;
        int i = 0, found = recent_find(&r, key);
        while (i < n && list[i] != key)
            i++;
        CHECK_EQ(found, i < n ? (int)at[key] : -1);
        if (i == n) {
            at[key] = (uint64_t)recent_put(&r, key);
            CHECK(at[key] < PLACES);
            n++;
        }
        for (; i > 0; i--)
            list[i] = list[i - 1];
        list[0] = key;
        if (n > PLACES) n = PLACES;
    }
}
