/* base64 both ways: RFC 4648's vectors, as programs write them, and what is no base64. */
#include <string.h>

#include "api/wire/base64.h"
#include "kernels/base/err.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

TEST(base64_vectors_both_ways) {
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    for (unsigned i = 0; i < ARRAY_LEN(pairs); i++) {
        struct buf b;
        buf_init(&b, 100);
        CHECK_EQ(base64_encode(&b, (const uint8_t *)pairs[i][0], strlen(pairs[i][0])), 0);
        CHECK_STR(b.p ? (const char *)b.p : "", pairs[i][1]);
        buf_clear(&b);
        uint8_t *bytes;
        size_t n, at;
        CHECK_EQ(base64_decode(pairs[i][1], strlen(pairs[i][1]), &bytes, &n, &at), 0);
        CHECK_EQ(n, strlen(pairs[i][0]));
        CHECK_MEM(bytes, pairs[i][0], n);
        mem_free(bytes);
    }
}

TEST(base64_long_round_trip) {
    static uint8_t in[10000];
    for (unsigned i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)(i * 31 + i / 256);
    for (size_t n = 3060; n < 3085; n++) { /* around the size of a piece */
        struct buf b;
        buf_init(&b, 100000);
        base64_encode(&b, in, n);
        uint8_t *out;
        size_t got, at;
        CHECK_EQ(base64_decode((char *)b.p, b.len, &out, &got, &at), 0);
        CHECK_EQ(got, n);
        CHECK_MEM(out, in, n);
        mem_free(out);
        buf_clear(&b);
    }
}

TEST(base64_refuses) {
    static const struct {
        const char *text;
        size_t at;
    } bad[] = {{"Zm9", 2},     {"Zg=", 1},      {"Z", 0},        {"====", 0},     {"Z===", 0},
               {"Zm9v=", 3},   {"Zm9v====", 3}, {"Zg==Zg==", 4}, {"Zg==\nZg", 5}, {"Zh==", 1},
               {"Zm9=", 2},    {"Zm9\x80", 3},  {"=", 0},        {"Zm9v*", 4},    {"Zm.9v", 2},
               {"Zm9v%3D", 4}, {"Zg===", 1}};
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        uint8_t *bytes;
        size_t n, at;
        int rc = base64_decode(bad[i].text, strlen(bad[i].text), &bytes, &n, &at);
        if (rc != E_FORMAT || at != bad[i].at)
            test_failed(__FILE__, __LINE__, "\"%s\": %d at %zu", bad[i].text, rc, at);
        CHECK(bytes == NULL);
    }
}

TEST(base64_is_taken_as_programs_write_it) {
    static const char *const same[] = {
        "+/+/Zm9vYmE=",          "-_-_Zm9vYmE=",         "-_-_Zm9vYmE", "+/+/\r\nZm9v\r\nYmE=\r\n",
        "  +/+/ Zm9v\tYmE = \n", "\n+\n/\n+\n/\nZm9vYmE"};
    for (unsigned i = 0; i < ARRAY_LEN(same); i++) {
        uint8_t *bytes;
        size_t n, at;
        CHECK_EQ(base64_decode(same[i], strlen(same[i]), &bytes, &n, &at), 0);
        CHECK_EQ(n, 8);
        CHECK_MEM(bytes,
                  "\xfb\xff\xbf"
                  "fooba",
                  8);
        mem_free(bytes);
    }
    uint8_t *bytes;
    size_t n, at;
    CHECK_EQ(base64_decode(" \r\n", 3, &bytes, &n, &at), 0);
    CHECK(n == 0 && !bytes);
}

TEST(base64_refuses_nul_inside) {
    uint8_t *bytes;
    size_t n, at;
    CHECK_EQ(base64_decode("Zm\0v", 4, &bytes, &n, &at), E_FORMAT);
    CHECK_EQ(at, 2);
}

TEST(base64_without_memory) {
    uint8_t *bytes;
    size_t n, at;
    mem_fail_at(1);
    CHECK_EQ(base64_decode("Zm9v", 4, &bytes, &n, &at), E_NOMEM);
    CHECK(bytes == NULL);
}
