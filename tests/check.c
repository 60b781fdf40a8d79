/* check.c - what tests/check.h declares for a test's own process. run.c starts it with
 * test_begin(). */
#include "tests/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static const struct test_case *running;
static uint64_t run_seed;
static int is_run_long;

void test_begin(const struct test_case *t, uint64_t seed, int is_long) {
    running = t;
    run_seed = seed;
    is_run_long = is_long;
}

void test_failed(const char *file, int line, const char *fmt, ...) {
    char text[1000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    printf("%s:%d: %s: %s\n", file, line, running->name, text);
    fflush(stdout);
    _exit(TEST_FAILED);
}

void skip(const char *why, ...) {
    char text[1000];
    va_list ap;
    va_start(ap, why);
    vsnprintf(text, sizeof(text), why, ap);
    va_end(ap);
    printf("skip: %s: %s\n", running->name, text);
    fflush(stdout);
    _exit(TEST_SKIPPED);
}

uint64_t test_seed(void) {
    uint64_t h = run_seed * 0x9e3779b97f4a7c15u;
    for (const char *c = running->name; *c; c++)
        h = (h ^ (unsigned char)*c) * 0x100000001b3u;
    return h;
}

int test_count(int few, int full) { return is_run_long ? full : few; }

void check_eq(long long a, long long b, const char *as, const char *bs, const char *file,
              int line) {
    if (a != b) test_failed(file, line, "%s is %lld, not %s = %lld", as, a, bs, b);
}

void check_str(const char *a, const char *b, const char *as, const char *bs, const char *file,
               int line) {
    if (!a || !b || strcmp(a, b) != 0)
        test_failed(file, line, "%s is \"%s\", not %s = \"%s\"", as, a ? a : "NULL", bs,
                    b ? b : "NULL");
}

void check_has(const char *a, const char *part, const char *as, const char *file, int line) {
    if (!a || !strstr(a, part))
        test_failed(file, line, "%s is \"%s\", without \"%s\"", as, a ? a : "NULL", part);
}

void check_near(double a, double b, double tol, const char *as, const char *bs, const char *file,
                int line) {
    if (!(fabs(a - b) <= tol))
        test_failed(file, line, "%s is %.9g, not %s = %.9g: apart by %.3g > %.3g", as, a, bs, b,
                    fabs(a - b), tol);
}

void check_mem(const void *a, const void *b, size_t n, const char *as, const char *bs,
               const char *file, int line) {
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < n; i++) {
        if (x[i] != y[i])
            test_failed(file, line, "%s and %s differ at byte %zu of %zu: %02x, not %02x", as, bs,
                        i, n, x[i], y[i]);
    }
}
