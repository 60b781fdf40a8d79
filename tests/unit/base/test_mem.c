/* test_mem.c - alignment, zeroing, counters, the fault hook, overflow, arenas. */
#include <pthread.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "tests/check.h"

static int is_zero(const void *p, size_t n) {
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++) {
        if (b[i]) return 0;
    }
    return 1;
}

TEST(mem_is_zeroed_aligned_and_writable_to_its_last_byte) {
    static const size_t sizes[] = {0, 1, 63, 64, 65, 127, 128, 4096, 100001};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        unsigned char *p = i % 2 ? mem_must(sizes[i]) : mem_try(sizes[i]);
        CHECK(p != NULL);
        CHECK_EQ((uintptr_t)p % 64, 0);
        CHECK(is_zero(p, sizes[i]));
        memset(p, 0xa5, sizes[i]);
        mem_free(p);
    }
    mem_free(NULL);
}

TEST(mem_counts_what_lives) {
    struct mem_stats a, b, c;
    mem_stats(&a);
    void *p = mem_must(1000), *q = mem_try(500);
    mem_stats(&b);
    CHECK_EQ(b.allocations - a.allocations, 2);
    CHECK_EQ(b.live_bytes - a.live_bytes, 1500);
    CHECK(b.peak_bytes >= b.live_bytes);
    mem_free(p);
    mem_free(q);
    mem_stats(&c);
    CHECK_EQ(c.frees - a.frees, 2);
    CHECK_EQ(c.live_bytes, a.live_bytes);
    CHECK_EQ(c.peak_bytes, b.peak_bytes);
}

static void *allocate_ten(void *own) {
    for (int i = 0; i < 10; i++)
        mem_free(mem_must(8));
    *(uint64_t *)own = mem_thread_allocations();
    return NULL;
}

TEST(mem_counts_each_thread_by_itself) {
    uint64_t before = mem_thread_allocations(), theirs = 0;
    pthread_t t;
    CHECK(pthread_create(&t, NULL, allocate_ten, &theirs) == 0);
    pthread_join(t, NULL);
    CHECK_EQ(theirs, 10);
    CHECK_EQ(mem_thread_allocations(), before);
}

TEST(mem_fault_hook_fails_exactly_the_nth_try) {
    for (uint64_t n = 1; n <= 5; n++) {
        mem_fail_at(n);
        for (uint64_t i = 1; i <= 7; i++) {
            void *must_work = mem_must(16); /* not touched by the hook */
            void *p = mem_try(16);
            CHECK_EQ(p == NULL, i == n);
            mem_free(p);
            mem_free(must_work);
        }
    }
    mem_fail_at(1);
    mem_fail_at(0);
    void *p = mem_try(1);
    CHECK(p != NULL);
    mem_free(p);
}

TEST(mem_refuses_what_can_not_be) {
    CHECK(mem_try(SIZE_MAX) == NULL);
    CHECK(mem_try(SIZE_MAX - 64) == NULL);
    CHECK(mem_try(SIZE_MAX / 2 + 1) == NULL);
}

TEST(mem_resize_keeps_the_content_and_zeroes_the_rest) {
    char *p = mem_try_resize(NULL, 0, 10);
    CHECK(p != NULL);
    memcpy(p, "123456789", 10);
    char *q = mem_try_resize(p, 10, 5000);
    CHECK(q != NULL);
    CHECK_STR(q, "123456789");
    CHECK(is_zero(q + 10, 4990));
    mem_fail_at(1);
    CHECK(mem_try_resize(q, 5000, 6000) == NULL);
    CHECK_STR(q, "123456789"); /* as it was */
    char *r = mem_try_resize(q, 5000, 4);
    CHECK(r != NULL);
    CHECK_MEM(r, "1234", 4);
    mem_free(r);
}

TEST(mem_arithmetic_sees_overflow) {
    size_t x = 7;
    CHECK(mem_mul(3, 4, &x) && x == 12);
    CHECK(mem_mul(SIZE_MAX, 1, &x) && x == SIZE_MAX);
    CHECK(!mem_mul(SIZE_MAX / 2 + 1, 2, &x));
    CHECK(mem_add(SIZE_MAX - 1, 1, &x) && x == SIZE_MAX);
    CHECK(!mem_add(SIZE_MAX, 1, &x));
}

TEST(mem_strdup_copies) {
    char *s = mem_strdup("stem");
    CHECK_STR(s, "stem");
    mem_free(s);
}

TEST(arena_gives_zeroed_aligned_pieces_that_do_not_overlap) {
    struct arena *a = arena_new(1 << 20);
    CHECK(a != NULL);
    unsigned char *piece[300];
    for (size_t i = 0; i < 300; i++) {
        size_t n = i * 7 % 900;
        piece[i] = arena_take(a, n);
        CHECK(piece[i] != NULL);
        CHECK_EQ((uintptr_t)piece[i] % 16, 0);
        CHECK(is_zero(piece[i], n));
        memset(piece[i], (int)(i % 251 + 1), n);
    }
    for (size_t i = 0; i < 300; i++) {
        for (size_t j = 0; j < i * 7 % 900; j++)
            CHECK(piece[i][j] == i % 251 + 1);
    }
    arena_free(a);
    arena_free(NULL);
}

TEST(arena_holds_its_cap) {
    struct arena *a = arena_new(10000);
    CHECK(a != NULL);
    CHECK(arena_take(a, 9990) != NULL);
    CHECK(arena_take(a, 11) == NULL);
    CHECK(arena_take(a, SIZE_MAX) == NULL);
    CHECK(arena_strdup(a, "0123456789", 10) == NULL); /* the NUL is the eleventh */
    CHECK_STR(arena_strdup(a, "012345678", 9), "012345678");
    CHECK(arena_take(a, 1) == NULL);
    CHECK(arena_strdup(a, "", SIZE_MAX) == NULL);
    arena_free(a);
}

TEST(arena_survives_a_failed_allocation_at_any_place) {
    for (uint64_t n = 1; n <= 4; n++) {
        mem_fail_at(n);
        struct arena *a = arena_new(100000);
        int failed = a == NULL;
        for (int i = 0; a && i < 10; i++)
            failed += arena_take(a, 3000) == NULL;
        CHECK_EQ(failed, 1);
        arena_free(a);
    }
    mem_fail_at(0);
}
