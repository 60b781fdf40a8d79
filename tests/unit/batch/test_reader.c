/* test_reader.c - lines of a file, with a bound. */
#include "batch/reader.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

static FILE *holds(const char *bytes, size_t n) {
    FILE *f = tmpfile();
    CHECK(f && fwrite(bytes, 1, n, f) == n && fflush(f) == 0);
    rewind(f);
    return f;
}

TEST(reader_gives_lines_and_says_what_is_torn) {
    static const char text[] = "a\n\nbcd\ntorn";
    static const char *const want[] = {"a", "", "bcd", "torn"};
    FILE *f = holds(text, sizeof(text) - 1);
    struct reader r;
    struct reader_line one;
    reader_open(&r, fileno(f), 100);
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQ(reader_next(&r, &one), 1);
        CHECK_EQ(one.number, i + 1);
        CHECK_EQ(one.len, strlen(want[i]));
        CHECK_EQ(memcmp(one.text, want[i], one.len), 0);
        CHECK_EQ(one.is_torn, i == 3);
    }
    CHECK_EQ(r.offset, sizeof(text) - 1);
    CHECK_EQ(reader_next(&r, &one), 0);
    CHECK_EQ(r.error, 0);
    reader_close(&r);
    fclose(f);
}

/* However long it is: the bound counts, and the line behind it is whole. */
TEST(reader_passes_over_what_is_too_long) {
    enum { MAX = 100000 };
    static const size_t lengths[] = {MAX, MAX + 1, 5 * MAX, 300000, MAX - 1};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        size_t n = lengths[i];
        char *text = mem_must(n + 3);
        memset(text, 'x', n);
        memcpy(text + n, "\ny\n", 3);
        FILE *f = holds(text, n + 3);
        struct reader r;
        struct reader_line one;
        reader_open(&r, fileno(f), MAX);
        CHECK_EQ(reader_next(&r, &one), 1);
        CHECK_EQ(one.text != NULL, n <= MAX);
        CHECK_EQ(one.is_torn, 0);
        CHECK_EQ(r.offset, n + 1);
        CHECK_EQ(reader_next(&r, &one), 1);
        CHECK(one.number == 2 && one.len == 1 && one.text[0] == 'y');
        CHECK_EQ(reader_next(&r, &one), 0);
        CHECK(r.cap <= 4 * MAX); /* its memory has a bound, too */
        reader_close(&r);
        fclose(f);
        mem_free(text);
    }
}

TEST(reader_says_that_it_cannot_read) {
    struct reader r;
    struct reader_line one;
    reader_open(&r, -1, 100);
    CHECK_EQ(reader_next(&r, &one), 0);
    CHECK(r.error != 0);
    reader_close(&r);
}
