/* JSON from outside is bounded before it is parsed, and its faults are told by place. */
#include <string.h>

#include "api/wire/json.h"

#include "kernels/base/mem.h"
#include "tests/check.h"

static void check_refused(const char *text, size_t len, const char *piece) {
    struct problem p = {0};
    json_t *root;
    CHECK_EQ(json_open((const uint8_t *)text, len, &root, &p), -1);
    CHECK(root == NULL);
    CHECK_EQ(p.code, PROBLEM_INVALID_JSON);
    CHECK_HAS(p.detail, piece);
}

TEST(json_refuses_with_place) {
    check_refused("", 0, "empty");
    check_refused("{\"a\":1", 6, "ends too early (line 1");
    check_refused("{\"a\":1}x", 8, "follows after its end");
    check_refused("{\n\"a\":NaN}", 10, "(line 2");
    check_refused("{\"a\":1e999}", 11, "number is far too large");
    check_refused("{\"a\":99999999999999999999}", 26, "number is far too large");
    check_refused("{\"a\":1,\"a\":2}", 13, "given twice");
    check_refused("{\"a\":\"\xff\"}", 9, "UTF-8");
    check_refused("{\"a\":\"\\u0000\"}", 14, "NUL");
    check_refused("{\"a\":'x'}", 9, "not valid JSON");
    check_refused("{\"a\":01}", 8, "not valid JSON");
    check_refused("\xef\xbb\xbf{}", 5, "JSON"); /* byte order mark */
}

TEST(json_takes_any_value) {
    static const char *const texts[] = {"{}", "[]", "3", "\"NOOP\"", "true", "null"};
    for (unsigned i = 0; i < ARRAY_LEN(texts); i++) {
        struct problem p = {0};
        json_t *root;
        CHECK_EQ(json_open((const uint8_t *)texts[i], strlen(texts[i]), &root, &p), 0);
        json_decref(root);
    }
}

TEST(json_refuses_token_bomb_before_parsing) {
    enum { N = 4 << 20 };
    char *s = mem_must(N);
    for (size_t i = 0; i + 3 < N; i += 3)
        memcpy(s + i, i ? "{}," : "[{}", 3);
    struct mem_stats before, after;
    mem_stats(&before);
    check_refused(s, N, "too complex");
    mem_stats(&after);
    CHECK_EQ(after.allocations, before.allocations);
    memset(s, '[', N);
    check_refused(s, N, "levels deep");
    mem_free(s);
}

TEST(json_structure_inside_strings_costs_nothing) {
    enum { N = 200000 };
    char *s = mem_must(N + 8);
    memset(s, '[', N);
    memcpy(s, "[\"\\\"", 4);
    memcpy(s + N - 2, "\"]", 3);
    struct problem p = {0};
    json_t *root;
    CHECK_EQ(json_open((const uint8_t *)s, N, &root, &p), 0);
    CHECK_EQ(json_string_length(json_array_get(root, 0)), N - 5);
    json_decref(root);
    mem_free(s);
}

TEST(json_describe_what_somebody_sent) {
    static const char *const pairs[][2] = {{"65", "65"},
                                           {"-1", "-1"},
                                           {"64.0", "64.0"},
                                           {"1.5e300", "1.5e+300"},
                                           {"\"64\"", "the string \"64\""},
                                           {"\"a\\nb\\\"\\\\\"", "the string \"a?b??\""},
                                           {"true", "true"},
                                           {"null", "null"},
                                           {"[1,2]", "an array of 2"},
                                           {"{}", "an object"}};
    for (unsigned i = 0; i < ARRAY_LEN(pairs); i++) {
        json_t *v = json_loads(pairs[i][0], JSON_DECODE_ANY, NULL);
        char text[64];
        json_describe(v, text, sizeof(text));
        CHECK_STR(text, pairs[i][1]);
        json_decref(v);
    }
    char shortened[64];
    json_quote("0123456789012345678901234567890123456789", 40, shortened, sizeof(shortened));
    CHECK_STR(shortened, "\"01234567890123456789012345678901...\"");
}
