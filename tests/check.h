/* check.h - what a test is written with.
 *
 *     TEST(kv_gives_back_what_it_took) {
 *         CHECK_EQ(kv_free(kv), 64);
 *     }
 *
 * A test registers itself and runs in a process of its own, with a limit of processor time (run.c).
 * The first check that fails says what it expected and found, and ends the test. Where something
 * outside is missing, skip("why") ends it, aloud, and is counted. Random numbers come from
 * test_seed(), which depends on the run's --seed and the test's name, not on which tests ran
 * before. How often a test tries its matter is test_count(few, full): few in `make test`, which
 * everybody waits for, and the number that is promised in `make test-long`.
 */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct test_case {
    const char *name, *file;
    void (*run)(void);
    unsigned seconds; /* limit in seconds of processor time; less than the runner's: that */
    struct test_case *next;
};
/* The runner's side: exit statuses of a child, and what it calls there before the test. */
enum { TEST_FAILED = 1, TEST_SKIPPED = 77 };
void test_register(struct test_case *t);
void test_begin(const struct test_case *t, uint64_t seed, int is_long);

#define TEST(id) TEST_LIMIT(id, 0)
#define TEST_LIMIT(id, limit_s)                                                                 \
    static void test_##id(void);                                                                \
    static struct test_case case_##id = {#id, __FILE__, test_##id, limit_s, NULL};              \
    __attribute__((constructor)) static void register_##id(void) { test_register(&case_##id); } \
    static void test_##id(void)

__attribute__((noreturn, format(printf, 3, 4))) void test_failed(const char *file, int line,
                                                                 const char *fmt, ...);
__attribute__((noreturn, format(printf, 1, 2))) void skip(const char *why, ...);
uint64_t test_seed(void);
int test_count(int few, int full);

#define CHECK(cond)        ((cond) ? (void)0 : test_failed(__FILE__, __LINE__, "not so: %s", #cond))
#define CHECK_EQ(a, b)     check_eq((long long)(a), (long long)(b), #a, #b, __FILE__, __LINE__)
#define CHECK_STR(a, b)    check_str((a), (b), #a, #b, __FILE__, __LINE__)
#define CHECK_HAS(a, part) check_has((a), (part), #a, __FILE__, __LINE__)
/* |a - b| <= tol; fails when one of them is not a number. */
#define CHECK_NEAR(a, b, tol) \
    check_near((double)(a), (double)(b), (double)(tol), #a, #b, __FILE__, __LINE__)
#define CHECK_MEM(a, b, n) check_mem((a), (b), (size_t)(n), #a, #b, __FILE__, __LINE__)

void check_eq(long long a, long long b, const char *as, const char *bs, const char *file, int line);
void check_str(const char *a, const char *b, const char *as, const char *bs, const char *file,
               int line);
void check_has(const char *a, const char *part, const char *as, const char *file, int line);
void check_near(double a, double b, double tol, const char *as, const char *bs, const char *file,
                int line);
void check_mem(const void *a, const void *b, size_t n, const char *as, const char *bs,
               const char *file, int line);

#endif
