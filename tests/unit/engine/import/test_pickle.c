/* test_pickle.c - opcodes by hand: what they become, and what is refused. */
#include "engine/import/pickle.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "tests/check.h"

#define BYTES(s) (s), sizeof(s) - 1

static struct pickle *parse(const char *bytes, size_t n) {
    struct pickle *p;
    struct err e = {0};
    size_t used = 0;
    int rc = pickle_parse(bytes, n, &used, &p, &e);
    CHECK_STR(e.text, "");
    CHECK_EQ(rc, 0);
    CHECK_EQ(used, n);
    return p;
}

static int64_t whole(const char *bytes, size_t n) {
    struct pickle *p = parse(bytes, n);
    int64_t v = -1;
    CHECK(pickle_int(p, pickle_root(p), &v));
    pickle_free(p);
    return v;
}

TEST(pickle_reads_numbers) {
    CHECK_EQ(whole(BYTES("\x80\x02K\xff.")), 255);
    CHECK_EQ(whole(BYTES("\x80\x02M\x01\x02.")), 513);
    CHECK_EQ(whole(BYTES("\x80\x02J\xfe\xff\xff\xff.")), -2);
    CHECK_EQ(whole(BYTES("\x80\x02\x8a\x00.")), 0);
    CHECK_EQ(whole(BYTES("\x80\x02\x8a\x01\x80.")), -128);
    CHECK_EQ(whole(BYTES("\x80\x02\x8a\x06\x00\x00\x00\x00\x00\x01.")), INT64_C(1) << 40);
    CHECK_EQ(whole(BYTES("\x80\x02\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.")), INT64_MAX);
    struct pickle *p = parse(BYTES("\x80\x02G\xc0\x04\x00\x00\x00\x00\x00\x00."));
    CHECK_EQ(pickle_at(p, pickle_root(p))->f, -2.5);
    pickle_free(p);
    p = parse(BYTES("\x80\x02\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.")); /* 2^64 */
    CHECK(pickle_is(p, pickle_root(p), PICKLE_BYTES));
    pickle_free(p);
}

TEST(pickle_reads_containers_and_the_memo) {
    struct pickle *p =
        parse(BYTES("\x80\x02}q\0(X\1\0\0\0aK\1X\1\0\0\0b]q\1(K\2K\3eX\1\0\0\0ah\1u."));
    uint32_t root = pickle_root(p), b = pickle_get(p, root, "b");
    int64_t v;
    CHECK_EQ(pickle_at(p, root)->n, 6);
    CHECK(pickle_is(p, b, PICKLE_LIST) && pickle_at(p, b)->n == 2);
    CHECK(pickle_int(p, pickle_item(p, b, 1), &v) && v == 3);
    CHECK_EQ(pickle_item(p, b, 2), 0);
    CHECK_EQ(pickle_get(p, root, "a"), b); /* the last one counts */
    CHECK_EQ(pickle_get(p, root, "c"), 0);
    CHECK_EQ(pickle_get(p, b, "a"), 0);
    pickle_free(p);
    p = parse(BYTES("\x80\x04\x95\x0f\0\0\0\0\0\0\0\x8c\1k\x94K\1\x86\x94h\0h\1\x87\x85."));
    CHECK(pickle_is(p, pickle_root(p), PICKLE_TUPLE));
    pickle_free(p);
}

/* What a list of itself holds is itself. */
TEST(pickle_survives_what_contains_itself) {
    struct pickle *p = parse(BYTES("\x80\x02]q\0h\0a."));
    uint32_t root = pickle_root(p);
    CHECK_EQ(pickle_item(p, root, 0), root);
    CHECK_EQ(pickle_at(p, root)->n, 1);
    pickle_free(p);
}

/* Ten levels of lists that hold the level below ten times: 10^10 leaves, a few hundred nodes. */
TEST(pickle_does_not_unfold_shared_values) {
    char bytes[2000] = "\x80\x02K\7q";
    size_t n = 5;
    bytes[n++] = 0;
    for (int level = 1; level <= 10; level++) {
        n += (size_t)sprintf(bytes + n, "0](");
        for (int i = 0; i < 10; i++) {
            bytes[n++] = 'h';
            bytes[n++] = (char)(level - 1);
        }
        bytes[n++] = 'e';
        bytes[n++] = 'q';
        bytes[n++] = (char)level;
    }
    bytes[n++] = '.';
    struct pickle *p = parse(bytes, n);
    CHECK(pickle_count(p) < 20);
    pickle_free(p);
}

/* What would run code is a node, and nothing else. */
TEST(pickle_calls_nothing) {
    struct pickle *p = parse(BYTES("\x80\x02"
                                   "cos\nsystem\nX\4\0\0\0exit\x85R."));
    const struct pickle_node *call = pickle_at(p, pickle_root(p));
    CHECK_EQ(call->kind, PICKLE_CALL);
    CHECK(pickle_is_global(p, call->a, "os", "system"));
    CHECK(pickle_is_text(p, pickle_item(p, call->b, 0), "exit"));
    pickle_free(p);
    p = parse(BYTES("\x80\x04\x8c\2os\x8c\6system\x93\x8c\4exit\x85R}b."));
    CHECK(pickle_is(p, pickle_root(p), PICKLE_CALL));
    pickle_free(p);
    /* Items set on an object of somebody's class are dropped, those of an OrderedDict kept. */
    p = parse(BYTES("\x80\x02"
                    "cx\nY\n)\x81"
                    "K\1K\2s."));
    CHECK(pickle_is(p, pickle_root(p), PICKLE_CALL));
    pickle_free(p);
    p = parse(BYTES("\x80\x02"
                    "ccollections\nOrderedDict\n)RK\1K\2s}b."));
    CHECK(pickle_is(p, pickle_root(p), PICKLE_DICT) && pickle_at(p, pickle_root(p))->n == 2);
    pickle_free(p);
}

TEST(pickle_refuses_what_torch_does_not_write) {
    static const struct {
        const char *bytes;
        size_t n;
        int code;
        const char *text;
    } cases[] = {
        {BYTES(""), E_FORMAT, "truncated?"},
        {BYTES("\x80"), E_FORMAT, "truncated?"},
        {BYTES("\x80\x02"), E_FORMAT, "truncated?"},
        {BYTES("\x80\x05N."), E_UNSUPPORTED, "protocol 5; only 2 to 4"},
        {BYTES("\x80\x01N."), E_UNSUPPORTED, "protocol 1"},
        {BYTES("\x80\x02\x80\x02N."), E_FORMAT, "a second beginning"},
        {BYTES("N."), E_FORMAT, "doesn't begin one"},
        {BYTES("\x80\x02(i__main__\nX\n."), E_UNSUPPORTED, "0x69"},
        {BYTES("\x80\x02(o."), E_UNSUPPORTED, "0x6f"},
        {BYTES("\x80\x02\x82\1."), E_UNSUPPORTED, "0x82"},
        {BYTES("\x80\x02Pid\n."), E_UNSUPPORTED, "0x50"},
        {BYTES("\x80\x02."), E_FORMAT, "takes a value that isn't there"},
        {BYTES("\x80\x02NN."), E_FORMAT, "left over"},
        {BYTES("\x80\x02(."), E_FORMAT, "takes a value"},
        {BYTES("\x80\x02]Na"), E_FORMAT, "truncated?"},
        {BYTES("\x80\x02Na."), E_FORMAT, "takes values that aren't there"},
        {BYTES("\x80\x02(Na."), E_FORMAT, "into nothing"},
        {BYTES("\x80\x02]e."), E_FORMAT, "a mark is missing"},
        {BYTES("\x80\x02](N(Ne."), E_FORMAT, "left over"},
        {BYTES("\x80\x02}(Nu."), E_FORMAT, "a key without a value"},
        {BYTES("\x80\x02NNR."), E_FORMAT, "a call without a tuple"},
        {BYTES("\x80\x04NN\x93."), E_FORMAT, "no text"},
        {BYTES("\x80\x02q\0."), E_FORMAT, "remembers nothing"},
        {BYTES("\x80\x02h\0."), E_FORMAT, "never remembered"},
        {BYTES("\x80\x02Nr\xff\xff\xff\xff."), E_TOO_BIG, "remembers more"},
        {BYTES("\x80\x02j\xff\xff\xff\xff."), E_FORMAT, "never remembered"},
        {BYTES("\x80\x02X\xff\xff\xff\xff."), E_FORMAT, "truncated?"},
        {BYTES("\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff."), E_FORMAT, "truncated?"},
        {BYTES("\x80\x04\x95\xff\0\0\0\0\0\0\0N."), E_FORMAT, "truncated?"},
        {BYTES("\x80\x02"
               "cos\nsystem"),
         E_FORMAT, "without an end"},
        {BYTES("\x80\x02Nb."), E_FORMAT, "nothing"},
        {BYTES("\x80\x02(N\x87."), E_FORMAT, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pickle *p;
        struct err e = {0};
        size_t used;
        int rc = pickle_parse(cases[i].bytes, cases[i].n, &used, &p, &e);
        CHECK_HAS(e.text, cases[i].text);
        CHECK_EQ(rc, cases[i].code);
        CHECK(p == NULL);
    }
}

/* A megabyte of opcodes that each make a node: bounded, and no failure of memory leaks. */
TEST(pickle_is_bounded_in_what_it_makes) {
    enum { N = 5 << 20 };
    char *bytes = mem_must(N);
    struct pickle *p;
    struct err e = {0};
    size_t used;
    memset(bytes, 'N', N);
    memcpy(bytes, "\x80\x02", 2);
    CHECK_EQ(pickle_parse(bytes, N, &used, &p, &e), E_TOO_BIG);
    CHECK_HAS(e.text, "more objects than any model has");
    memcpy(bytes, "\x80\x02]q\0(NNNe.", 11);
    for (uint64_t n = 1;; n++) {
        mem_fail_at(n);
        e = (struct err){0};
        int rc = pickle_parse(bytes, N, &used, &p, &e);
        mem_fail_at(0);
        if (!rc) break;
        CHECK_EQ(rc, E_NOMEM);
    }
    pickle_free(p);
    mem_free(bytes);
}
