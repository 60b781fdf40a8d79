/* test_keyfile.c - the file of keys: what is read, and what is refused, by its line. */
#include "server/keys/keyfile.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/mem.h"
#include "tests/check.h"

#define D64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static int parse(const char *text, struct key **keys, int *n, struct err *e) {
    return keyfile_parse(text, strlen(text), keys, n, e);
}

TEST(keyfile_reads_what_it_writes) {
    static const char text[] = "# a comment\n"
                               "\n"
                               "abcd " D64 " ask never me\n"
                               "k3v9x0a1b2c4d5e6   " D64
                               " ask,metrics,admin  2027-01-31T12:30:59Z Änne's notebook, the 2nd";
    struct key *keys;
    int n;
    CHECK_EQ(parse(text, &keys, &n, NULL), 0);
    CHECK_EQ(n, 2);
    CHECK_STR(keys[0].id, "abcd");
    CHECK_EQ(keys[0].scopes, API_SCOPE(API_ASK));
    CHECK_EQ(keys[0].expires, 0);
    CHECK_EQ(keys[0].line, 3);
    CHECK_EQ(keys[0].digest[31], 0xef);
    CHECK_EQ(keys[1].scopes, API_SCOPE(API_ASK) | API_SCOPE(API_METRICS) | API_SCOPE(API_ADMIN));
    CHECK_EQ(keys[1].expires, 1801398659);
    CHECK_STR(keys[1].name, "Änne's notebook, the 2nd");
    struct buf again;
    buf_init(&again, 4096);
    keyfile_line(&keys[0], &again);
    keyfile_line(&keys[1], &again);
    CHECK_STR((const char *)again.p,
              "abcd " D64 " ask never me\n"
              "k3v9x0a1b2c4d5e6 " D64
              " ask,metrics,admin 2027-01-31T12:30:59Z Änne's notebook, the 2nd\n");
    buf_clear(&again);
    mem_free(keys);
    CHECK_EQ(parse("", &keys, &n, NULL), 0);
    CHECK_EQ(n, 0);
    mem_free(keys);
}

TEST(keyfile_refuses_by_line) {
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"abcd " D64 " ask never", "line 1: NAME"},
        {"\n\nabcd " D64 " ask", "line 3: a key has five fields"},
        {"#\nabc " D64 " ask never x", "line 2: ID"},
        {"Abcd " D64 " ask never x", "line 1: ID"},
        {"abcdefghijklmnopq " D64 " ask never x", "line 1: ID"},
        {"abcd 0" D64 " ask never x", "line 1: DIGEST"},
        {"abcd 0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef ask never x",
         "line 1: DIGEST"},
        {"abcd " D64 " ask,paint never x", "line 1: SCOPES"},
        {"abcd " D64 " ask, never x", "line 1: SCOPES"},
        {"abcd " D64 " , never x", "line 1: SCOPES"},
        {"abcd " D64 " ask 2027-02-30T00:00:00Z x", "line 1: EXPIRES"},
        {"abcd " D64 " ask 2027-02-28T24:00:00Z x", "line 1: EXPIRES"},
        {"abcd " D64 " ask 2027-02-28 x", "line 1: EXPIRES"},
        {"abcd " D64 " ask soon x", "line 1: EXPIRES"},
        {"abcd " D64 " ask never x\r\n", "line 1: NAME"},
        {"abcd " D64 " ask never \xff", "line 1: NAME"},
        {"abcd " D64 " ask never " D64 "x", "line 1: NAME"},
        {"abcd " D64 " ask never x\nabcd " D64 " ask never y", "line 2: the ID is that of line 1"}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct key *keys;
        struct err e = {0};
        int n;
        CHECK_EQ(parse(bad[i].text, &keys, &n, &e), E_FORMAT);
        CHECK_HAS(e.text, bad[i].why);
        CHECK(keys == NULL && n == 0 && !strstr(e.text, "0123456789"));
    }
}

TEST(keyfile_has_bounds) {
    struct buf text;
    struct key *keys;
    struct err e = {0};
    int n;
    buf_init(&text, KEYFILE_BYTES_MAX + 1);
    for (int i = 0; i < KEYFILE_KEYS_MAX; i++)
        buf_printf(&text, "k%05d " D64 " ask never x\n", i);
    CHECK_EQ(keyfile_parse((char *)text.p, text.len, &keys, &n, NULL), 0);
    CHECK_EQ(n, KEYFILE_KEYS_MAX);
    mem_free(keys);
    buf_str(&text, "more " D64 " ask never x\n");
    CHECK_EQ(keyfile_parse((char *)text.p, text.len, &keys, &n, &e), E_TOO_BIG);
    CHECK_HAS(e.text, "line 1025");
    while (text.len <= KEYFILE_BYTES_MAX)
        buf_char(&text, '\n');
    CHECK_EQ(keyfile_parse((char *)text.p, text.len, &keys, &n, NULL), E_TOO_BIG);
    buf_clear(&text);
}

/* Who may write the file may give himself a key. */
TEST(keyfile_is_its_owners) {
    char path[64];
    struct buf text;
    struct err e = {0};
    snprintf(path, sizeof(path), "/tmp/lammd-keyfile-%ld", (long)getpid());
    FILE *f = fopen(path, "w");
    CHECK(f && fputs("# none\n", f) >= 0 && fclose(f) == 0);
    CHECK_EQ(chmod(path, 0640), 0);
    CHECK_EQ(keyfile_load(path, &text, NULL), 0);
    CHECK_STR((char *)text.p, "# none\n");
    buf_clear(&text);
    CHECK_EQ(chmod(path, 0660), 0);
    CHECK_EQ(keyfile_load(path, &text, &e), E_INVALID);
    CHECK_HAS(e.text, "chmod go-w");
    unlink(path);
    CHECK_EQ(keyfile_load(path, &text, NULL), E_NOT_FOUND);
    CHECK_EQ(keyfile_load("/tmp", &text, NULL), E_INVALID);
}
