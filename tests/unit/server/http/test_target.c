/* test_target.c - paths and queries, and how they can be wrong. */
#include "server/http/target.h"

#include <stdio.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

static void check_field(const struct target *t, size_t i, const char *name, const char *value) {
    CHECK(i < t->n_query);
    CHECK_STR(t->query[i].name, name);
    CHECK_EQ(t->query[i].len, strlen(value));
    CHECK_MEM(t->query[i].data, value, strlen(value));
}

TEST(target_is_taken_apart) {
    struct target t;
    CHECK_EQ(target_read(&t, "/v1/images/a%20b%2Fc+d?width=8&note=a+b%26c&&flag&e=&x=1=2"), 0);
    CHECK_STR(t.path, "/v1/images/a b/c+d");
    CHECK_EQ(t.n_query, 5);
    check_field(&t, 0, "width", "8");
    check_field(&t, 1, "note", "a b&c");
    check_field(&t, 2, "flag", "");
    check_field(&t, 3, "e", "");
    check_field(&t, 4, "x", "1=2");
    target_clear(&t);
    CHECK_EQ(target_read(&t, "/"), 0);
    CHECK_STR(t.path, "/");
    CHECK_EQ(t.n_query, 0);
    target_clear(&t);
    CHECK_EQ(target_read(&t, "/v1/models/?a=b/"), 0); /* the slash at the end is left out */
    CHECK_STR(t.path, "/v1/models");
    check_field(&t, 0, "a", "b/");
    target_clear(&t);
    CHECK_EQ(target_read(&t, "/v1/models%2F"), 0);
    CHECK_STR(t.path, "/v1/models/");
    target_clear(&t);
    CHECK_EQ(target_read(&t, "/?"), 0);
    CHECK_EQ(t.n_query, 0);
    target_clear(&t);
    CHECK_EQ(target_read(&t, "/caf%C3%A9?=v"), 0);
    CHECK_STR(t.path, "/caf\xc3\xa9");
    check_field(&t, 0, "", "v");
    target_clear(&t);
}

TEST(target_malformed) {
    static const char *const bad[] = {"/%",       "/%4",   "/%zz",     "/%0",   "/a%00b",
                                      "/a%0ab",   "/?a=%", "/?a=%1",   "/?%=1", "/?a=%00",
                                      "/?a%7f=1", "/%7f",  "/?a&b=%g1"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct target t;
        if (target_read(&t, bad[i]) != E_INVALID) printf("%s\n", bad[i]);
        CHECK_EQ(target_read(&t, bad[i]), E_INVALID);
        CHECK(!t.path);
    }
}

TEST(target_fields_are_counted) {
    char text[TARGET_FIELDS_MAX * 4 + 8] = "/?a=1";
    for (int i = 1; i < TARGET_FIELDS_MAX; i++)
        snprintf(text + strlen(text), 5, "&a=1");
    struct target t;
    CHECK_EQ(target_read(&t, text), 0);
    CHECK_EQ(t.n_query, TARGET_FIELDS_MAX);
    target_clear(&t);
    snprintf(text + strlen(text), 3, "&a");
    CHECK_EQ(target_read(&t, text), E_TOO_BIG);
}

TEST(target_without_memory) {
    struct target t;
    mem_fail_at(1);
    CHECK_EQ(target_read(&t, "/a?b=c"), E_NOMEM);
    CHECK(!t.path);
}
