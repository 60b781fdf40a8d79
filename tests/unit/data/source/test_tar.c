/* test_tar.c - what a tar may be, and every sentence about one that may not. */
#include "data/source/tar.h"

#include <stdio.h>

#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/data/tars.h"

struct seen {
    const struct buf *tar;
    char names[400];
    int n;
};

static int seen_read(void *ud, uint64_t at, void *to, size_t n, struct err *e) {
    const struct seen *s = ud;
    if (n > s->tar->len || at > s->tar->len - n) return err_set(e, E_IO, "outside");
    memcpy(to, s->tar->p + at, n);
    return 0;
}

static int seen_file(void *ud, const struct tar_file *f, struct err *e) {
    struct seen *s = ud;
    (void)e;
    CHECK(f->at % TAR_BLOCK == 0 && f->at + f->size <= s->tar->len);
    size_t at = strlen(s->names);
    snprintf(s->names + at, sizeof(s->names) - at, "%s:%u ", f->name, f->size);
    s->n++;
    return 0;
}

static int seen_walk(const struct buf *tar, struct seen *s, struct err *e) {
    *s = (struct seen){.tar = tar};
    *e = (struct err){0};
    return tar_walk(seen_read, tar->len, seen_file, s, e);
}

TEST(tar_lists_its_files) {
    struct buf b;
    struct seen s;
    struct err e;
    buf_init(&b, 1 << 20);
    tars_add(&b, "pairs/", '5', "", 0);
    tars_add(&b, "pairs/a.jsonl", '0', "{}\n", 3);
    tars_add(&b, "./b.png", '\0', "", 0);
    size_t at = b.len;
    tars_add(&b, "c", '0', "x", 1); /* a long name, in two parts */
    memset(b.p + at + 345, 'p', 150);
    tars_sum(b.p + at);
    at = b.len;
    tars_add(&b, "gnu", '0', "xy", 2); /* GNU has times where the prefix was */
    memcpy(b.p + at + 257, "ustar  ", 8);
    memcpy(b.p + at + 345, "00000000000", 11);
    tars_sum(b.p + at);
    tars_end(&b);
    CHECK_EQ(seen_walk(&b, &s, &e), 0);
    CHECK_EQ(s.n, 4);
    CHECK(strncmp(s.names, "pairs/a.jsonl:3 b.png:0 ppp", 27) == 0);
    CHECK_HAS(s.names, "p/c:1 gnu:2 ");
    b.len -= TAR_BLOCK; /* one block of zeros is an end */
    CHECK_EQ(seen_walk(&b, &s, &e), 0);
    buf_clear(&b);
}

/* A tar of one file "a" whose header is changed at `at`. */
static int with_header(size_t at, const void *bytes, size_t n, int is_summed, struct err *e) {
    struct buf b;
    struct seen s;
    buf_init(&b, 1 << 20);
    tars_add(&b, "a", '0', "xyz", 3);
    tars_end(&b);
    memcpy(b.p + at, bytes, n);
    if (is_summed) tars_sum(b.p);
    int rc = seen_walk(&b, &s, e);
    buf_clear(&b);
    return rc;
}

TEST(tar_says_what_is_wrong) {
    static const struct {
        size_t at;
        const char *bytes;
        size_t n;
        int is_summed, rc;
        const char *text;
    } wrong[] = {{0, "/a", 3, 1, E_FORMAT, "an absolute name"},
                 {0, "b/../a", 7, 1, E_FORMAT, "a name with .."},
                 {0, "..", 3, 1, E_FORMAT, "a name with .."},
                 {0, "b//a", 5, 1, E_FORMAT, "an empty part"},
                 {0, "\0", 1, 1, E_FORMAT, "has no name"},
                 {0, "a\n", 3, 1, E_FORMAT, "isn't plain UTF-8"},
                 {0, "\xff", 2, 1, E_FORMAT, "isn't plain UTF-8"},
                 {0, "b", 1, 0, E_FORMAT, "damaged"}, /* the sum is wrong now */
                 {0, "\x1f\x8b", 2, 0, E_UNSUPPORTED, "compressed"},
                 {156, "1", 1, 1, E_UNSUPPORTED, "is a link"},
                 {156, "2", 1, 1, E_UNSUPPORTED, "is a link"},
                 {156, "3", 1, 1, E_UNSUPPORTED, "not a regular file"},
                 {156, "x", 1, 1, E_UNSUPPORTED, "pax headers; write the tar with plain headers"},
                 {156, "g", 1, 1, E_UNSUPPORTED, "pax headers"},
                 {156, "L", 1, 1, E_UNSUPPORTED, "GNU long names"},
                 {156, "S", 1, 1, E_UNSUPPORTED, "sparse"},
                 {124, "0000000000z", 11, 1, E_FORMAT, "no octal number"},
                 {124, "\x80\0\0\0\0\0\0\0\0\0\0\3", 12, 1, E_FORMAT, "no octal number"},
                 {124, "00060000001", 11, 1, E_TOO_BIG, "at most 12 MiB"},
                 {124, "00000100000", 11, 1, E_FORMAT, "cut short"}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct err e;
        CHECK_EQ(with_header(wrong[i].at, wrong[i].bytes, wrong[i].n, wrong[i].is_summed, &e),
                 wrong[i].rc);
        CHECK_HAS(e.text, wrong[i].text);
    }
    struct buf b;
    struct seen s;
    struct err e;
    buf_init(&b, 1 << 20);
    CHECK_EQ(seen_walk(&b, &s, &e), E_FORMAT); /* empty */
    CHECK_HAS(e.text, "cut short");
    tars_add(&b, "a", '0', "xyz", 3);
    CHECK_EQ(seen_walk(&b, &s, &e), E_FORMAT); /* without an end */
    buf_clear(&b);
}

TEST(tar_has_a_bound_of_entries) {
    struct buf b;
    struct seen s;
    struct err e;
    buf_init(&b, (TAR_ENTRIES_MAX + 4) * TAR_BLOCK);
    for (int i = 0; i < TAR_ENTRIES_MAX; i++)
        tars_add(&b, "d", '5', "", 0);
    size_t len = b.len;
    tars_end(&b);
    CHECK_EQ(seen_walk(&b, &s, &e), 0);
    b.len = len;
    tars_add(&b, "d", '5', "", 0);
    tars_end(&b);
    CHECK_EQ(seen_walk(&b, &s, &e), E_TOO_BIG);
    CHECK_HAS(e.text, "over 200000 entries");
    buf_clear(&b);
}

TEST(tar_is_known_by_its_first_bytes) {
    struct buf b;
    static const uint8_t gzip[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0};
    buf_init(&b, 1 << 20);
    tars_add(&b, "a.txt", '0', "abc", 3);
    CHECK(tar_may_be(b.p, TAR_BLOCK));
    for (size_t n = 0; n < 262; n++)
        CHECK(!tar_may_be(b.p, n));
    CHECK(tar_may_be(gzip, sizeof(gzip)));
    CHECK(!tar_may_be(gzip, 7));
    CHECK(!tar_may_be((const uint8_t *)"{\"task\": 1}", 11));
    buf_clear(&b);
}
