/* test_safetensors.c - good files read right, and some seventy bad ones refused by name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/files/safetensors.h"
#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

/* A file with this header, as long as it says, and so many bytes of data: 0, 1, 2, ... */
static struct buf file_of(const char *header, size_t header_len, size_t data_len) {
    struct buf b;
    buf_init(&b, 64 << 20);
    for (int i = 0; i < 8; i++)
        buf_char(&b, (char)(header_len >> (8 * i) & 255));
    buf_add(&b, header, header_len);
    for (size_t i = 0; i < data_len; i++)
        buf_char(&b, (char)i);
    CHECK(!b.bad);
    return b;
}

/* Parses it; what comes out is closed at once. The code, and the error's text in e. */
static int try_parse(const void *bytes, size_t len, struct err *e) {
    struct st *st = (struct st *)(void *)e; /* anything but NULL */
    *e = (struct err){0};
    int rc = st_parse(bytes, len, &st, e);
    CHECK_EQ(rc == 0, st != NULL);
    st_close(st);
    return rc;
}

TEST(safetensors_reads_what_is_there) {
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
        "\"a.weight\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
        "\"scalar\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[20,22]},"
        "\"none\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[8,8]},"
        "\"idx\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[22,30]}}   ";
    struct buf b = file_of(header, sizeof header - 1, 30);
    struct st *st;
    struct err e = {0};
    CHECK_EQ(st_parse(b.p, b.len, &st, &e), 0);
    CHECK_EQ(st_count(st), 5u);
    const struct st_tensor *t = st_find(st, "b");
    CHECK(t && t->dtype == ST_BF16 && t->ndim == 2 && t->shape[0] == 2 && t->shape[1] == 3);
    CHECK_EQ(t->bytes, 12u);
    CHECK_EQ(t->elements, 6u);
    CHECK_EQ(((const uint8_t *)t->data)[0], 8);
    t = st_find(st, "scalar");
    CHECK(t && t->ndim == 0 && t->elements == 1 && t->dtype == ST_F16);
    t = st_find(st, "none");
    CHECK(t && t->bytes == 0);
    t = st_find(st, "idx");
    CHECK(t && t->dtype == ST_OTHER && !strcmp(t->dtype_name, "I64"));
    CHECK(st_find(st, "a.weight") != NULL);
    CHECK(st_find(st, "a.weigh") == NULL && st_find(st, "") == NULL);
    CHECK(st_find(st, "__metadata__") == NULL);
    for (size_t i = 1; i < st_count(st); i++)
        CHECK(strcmp(st_at(st, i - 1)->name, st_at(st, i)->name) < 0);
    size_t len;
    CHECK(st_bytes(st, &len) == b.p && len == b.len);
    st_close(st);
    st_close(NULL);
    buf_clear(&b);
}

TEST(safetensors_without_tensors) {
    struct buf b = file_of("{}", 2, 0);
    struct st *st;
    CHECK_EQ(st_parse(b.p, b.len, &st, NULL), 0);
    CHECK_EQ(st_count(st), 0u);
    CHECK(st_find(st, "x") == NULL);
    st_close(st);
    buf_clear(&b);
}

#define ONE(dtype, shape, offsets) \
    "{\"w\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define TWO(offsets_a, offsets_b)                                              \
    "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" offsets_a "}," \
    "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" offsets_b "}}"
#define PLAIN ONE("F32", "[2]", "[0,8]")

struct bad {
    const char *header;
    size_t data_len;
    int code;
    const char *says; /* part of the error's text */
};

static const struct bad bad_headers[] = {
    /* not JSON, or not our kind */
    {"", 8, E_FORMAT, "header"},
    {"{", 8, E_FORMAT, "header"},
    {"[]", 8, E_FORMAT, "not a JSON object"},
    {"  {}", 8, E_FORMAT, "not a JSON object"},
    {"null", 8, E_FORMAT, "not a JSON object"},
    {"{\"w\"}", 8, E_FORMAT, "header"},
    {"{}{}", 0, E_FORMAT, "header"},
    {"{} x", 0, E_FORMAT, "header"},
    {"{'w':1}", 8, E_FORMAT, "header"},
    {"{\"w\":NaN}", 8, E_FORMAT, "header"},
    {"{\"w\":1e999}", 8, E_FORMAT, "header"},
    {"{\"w\xff\":{}}", 8, E_FORMAT, "header"},
    {"{\"w\xc0\x80\":{}}", 8, E_FORMAT, "header"},
    {"{\"w\\u0000\":{}}", 8, E_FORMAT, "header"},
    {"{\"w\\ud800\":{}}", 8, E_FORMAT, "header"},
    {"{\"w\":[[[[1]]]]}", 8, E_TOO_BIG, "nests deeper"},
    {"{\"w\":{\"dtype\":{\"a\":{}}}}", 8, E_TOO_BIG, "nests deeper"},
    {"{\"__metadata__\":{\"a\":{\"b\":{}}}}", 0, E_TOO_BIG, "nests deeper"},
    {"{\"a\":{},\"a\":{}}", 8, E_FORMAT, "header"},
    {"{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
     E_FORMAT, "header"},
    /* metadata */
    {"{\"__metadata__\":[]}", 0, E_FORMAT, "__metadata__"},
    {"{\"__metadata__\":{\"a\":1}}", 0, E_FORMAT, "__metadata__: a"},
    {"{\"__metadata__\":null}", 0, E_FORMAT, "__metadata__"},
    /* entries */
    {"{\"w\":1}", 8, E_FORMAT, "tensor w"},
    {"{\"w\":[]}", 8, E_FORMAT, "tensor w"},
    {"{\"w\":null}", 8, E_FORMAT, "tensor w"},
    {"{\"w\":{}}", 8, E_FORMAT, "tensor w: needs dtype"},
    {"{\"\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, E_FORMAT, "no name"},
    {"{\"w\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, E_FORMAT, "tensor w: needs dtype"},
    {"{\"w\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, E_FORMAT, "tensor w: needs dtype"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, E_FORMAT, "tensor w: needs dtype"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8, E_FORMAT,
     "tensor w: needs dtype"},
    {"{\"w\":{\"Dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, E_FORMAT, "tensor w"},
    {"{\"w\":{\"dtype\":4,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, E_FORMAT, "dtype"},
    {"{\"w\":{\"dtype\":null,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, E_FORMAT, "dtype"},
    {ONE("f32", "[2]", "[0,8]"), 8, E_UNSUPPORTED, "unknown dtype f32"},
    {ONE("", "[2]", "[0,8]"), 8, E_UNSUPPORTED, "unknown dtype"},
    {ONE("F128", "[2]", "[0,8]"), 8, E_UNSUPPORTED, "unknown dtype F128"},
    /* shapes */
    {ONE("F32", "2", "[0,8]"), 8, E_FORMAT, "tensor w: shape"},
    {ONE("F32", "{}", "[0,8]"), 8, E_FORMAT, "tensor w: shape"},
    {ONE("F32", "[-2]", "[0,8]"), 8, E_FORMAT, "dimension"},
    {ONE("F32", "[2.0]", "[0,8]"), 8, E_FORMAT, "dimension"},
    {ONE("F32", "[\"2\"]", "[0,8]"), 8, E_FORMAT, "dimension"},
    {ONE("F32", "[true]", "[0,8]"), 8, E_FORMAT, "dimension"},
    {ONE("F32", "[1,1,1,1,2]", "[0,8]"), 8, E_TOO_BIG, "dimensions"},
    {ONE("F32", "[2147483649]", "[0,8]"), 8, E_TOO_BIG, "2^31"},
    {ONE("F32", "[9223372036854775807]", "[0,8]"), 8, E_TOO_BIG, "2^31"},
    {ONE("F32", "[9223372036854775808]", "[0,8]"), 8, E_FORMAT, "header"},
    {ONE("F32", "[2147483648,2147483648,2147483648]", "[0,8]"), 8, E_TOO_BIG, "overflows"},
    {ONE("F32", "[2147483648,2147483648]", "[0,8]"), 8, E_TOO_BIG, "overflows"},
    {ONE("F32", "[2147483648,2147483648,4]", "[0,0]"), 0, E_TOO_BIG, "overflows"},
    {ONE("F32", "[3]", "[0,8]"), 8, E_FORMAT, "its shape needs 12"},
    {ONE("F32", "[1]", "[0,8]"), 8, E_FORMAT, "its shape needs 4"},
    {ONE("F32", "[]", "[0,8]"), 8, E_FORMAT, "its shape needs 4"},
    {ONE("F32", "[0]", "[0,8]"), 8, E_FORMAT, "its shape needs 0"},
    {ONE("F16", "[2]", "[0,8]"), 8, E_FORMAT, "its shape needs 4"},
    {ONE("I64", "[2]", "[0,8]"), 8, E_FORMAT, "its shape needs 16"},
    /* places */
    {ONE("F32", "[2]", "[0]"), 8, E_FORMAT, "data_offsets"},
    {ONE("F32", "[2]", "[0,8,8]"), 8, E_FORMAT, "data_offsets"},
    {ONE("F32", "[2]", "8"), 8, E_FORMAT, "data_offsets"},
    {ONE("F32", "[2]", "[0,8.0]"), 8, E_FORMAT, "data_offsets"},
    {ONE("F32", "[2]", "[\"0\",8]"), 8, E_FORMAT, "data_offsets"},
    {ONE("F32", "[2]", "[-8,0]"), 8, E_FORMAT, "backwards"},
    {ONE("F32", "[2]", "[8,0]"), 8, E_FORMAT, "backwards"},
    {ONE("F32", "[2]", "[0,9223372036854775807]"), 8, E_FORMAT, "truncated"},
    {ONE("F32", "[2]", "[4,12]"), 8, E_FORMAT, "truncated"},
    {PLAIN, 7, E_FORMAT, "truncated"},
    {PLAIN, 0, E_FORMAT, "truncated"},
    {PLAIN, 9, E_FORMAT, "1 bytes behind"},
    {"{}", 1, E_FORMAT, "1 bytes behind"},
    {ONE("F32", "[2]", "[1,9]"), 9, E_FORMAT, "tensor w: 1 bytes before"},
    {TWO("[0,8]", "[0,8]"), 8, E_FORMAT, "overlaps"},
    {TWO("[0,8]", "[4,12]"), 16, E_FORMAT, "tensor b: overlaps"},
    {TWO("[0,8]", "[12,20]"), 20, E_FORMAT, "tensor b: 4 bytes before"},
    {TWO("[0,8]", "[8,16]"), 20, E_FORMAT, "4 bytes behind"},
    {TWO("[0,8]", "[8,16]"), 15, E_FORMAT, "tensor b"},
};

TEST(safetensors_refuses_bad_headers) {
    for (size_t i = 0; i < ARRAY_LEN(bad_headers); i++) {
        const struct bad *c = &bad_headers[i];
        struct buf b = file_of(c->header, strlen(c->header), c->data_len);
        struct err e;
        int rc = try_parse(b.p, b.len, &e);
        if (rc != c->code || !strstr(e.text, c->says))
            printf("case %zu: %s -> %d \"%s\"\n", i, c->header, rc, e.text);
        CHECK_EQ(rc, c->code);
        CHECK_EQ(e.code, c->code);
        CHECK_HAS(e.text, c->says);
        buf_clear(&b);
    }
    struct buf b = file_of(PLAIN, strlen(PLAIN), 8); /* the base of the cases above is good */
    struct err e;
    CHECK_EQ(try_parse(b.p, b.len, &e), 0);
    buf_clear(&b);
}

TEST(safetensors_refuses_every_truncation) {
    struct buf b = file_of(TWO("[0,8]", "[8,16]"), strlen(TWO("[0,8]", "[8,16]")), 16);
    struct err e;
    CHECK_EQ(try_parse(b.p, b.len, &e), 0);
    for (size_t n = 0; n < b.len; n++) {
        uint8_t *copy = mem_must(n + 1); /* its own allocation, for the sanitizer to watch */
        memcpy(copy, b.p, n);
        CHECK(try_parse(copy, n, &e) != 0);
        mem_free(copy);
    }
    buf_clear(&b);
}

TEST(safetensors_survives_every_flipped_bit) {
    struct buf b = file_of(TWO("[0,8]", "[8,16]"), strlen(TWO("[0,8]", "[8,16]")), 16);
    struct err e;
    for (size_t i = 0; i < (b.len - 16) * 8; i++) {
        b.p[i / 8] ^= (uint8_t)(1u << i % 8);
        try_parse(b.p, b.len, &e);
        b.p[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    CHECK_EQ(try_parse(b.p, b.len, &e), 0);
    buf_clear(&b);
}

TEST(safetensors_refuses_headers_by_length) {
    struct buf b = file_of(PLAIN, strlen(PLAIN), 8);
    struct err e;
    b.p[0]++; /* takes a byte of the data in */
    CHECK_EQ(try_parse(b.p, b.len, &e), E_FORMAT);
    b.p[0] = (uint8_t)(b.len - 8 + 1);
    CHECK_EQ(try_parse(b.p, b.len, &e), E_FORMAT);
    CHECK_HAS(e.text, "truncated");
    b.p[2] = 0x80; /* 8 MiB and some */
    CHECK_EQ(try_parse(b.p, b.len, &e), E_TOO_BIG);
    memset(b.p, 0xff, 8);
    CHECK_EQ(try_parse(b.p, b.len, &e), E_TOO_BIG);
    buf_clear(&b);
}

/* Many small things: a bomb has to be refused before it costs a hundred times its size. */
TEST(safetensors_refuses_bombs) {
    struct buf h;
    struct err e;
    buf_init(&h, 32 << 20);
    buf_str(&h, "{\"w\":[");
    while (h.len < 6 << 20)
        buf_str(&h, "[],");
    buf_str(&h, "[]]}");
    struct buf b = file_of((const char *)h.p, h.len, 0);
    CHECK_EQ(try_parse(b.p, b.len, &e), E_TOO_BIG);
    buf_clear(&b);
    buf_clear(&h);
    buf_char(&h, '{');
    for (int i = 0; i <= ST_TENSORS_MAX + 1; i++)
        buf_printf(&h, "%s\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
                   i ? "," : "", i);
    buf_char(&h, '}');
    b = file_of((const char *)h.p, h.len, 0);
    CHECK_EQ(try_parse(b.p, b.len, &e), E_TOO_BIG);
    buf_clear(&b);
    buf_clear(&h);
}

TEST(safetensors_refuses_long_names) {
    for (int extra = 0; extra < 2; extra++) {
        struct buf h;
        buf_init(&h, 4096);
        buf_str(&h, "{\"");
        for (int i = 0; i < ST_NAME_MAX + extra; i++)
            buf_char(&h, 'n');
        buf_str(&h, "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}");
        struct buf b = file_of((const char *)h.p, h.len, 1);
        struct err e;
        CHECK_EQ(try_parse(b.p, b.len, &e), extra ? E_TOO_BIG : 0);
        buf_clear(&b);
        buf_clear(&h);
    }
}

TEST(safetensors_errors_are_one_line) {
    static const char header[] = "{\"a\\nb\\u001b[31m\":{\"dtype\":\"X\\n\",\"shape\":[],"
                                 "\"data_offsets\":[0,0]}}";
    struct buf b = file_of(header, sizeof header - 1, 0);
    struct err e;
    CHECK_EQ(try_parse(b.p, b.len, &e), E_UNSUPPORTED);
    CHECK(strchr(e.text, '\n') == NULL && strchr(e.text, 0x1b) == NULL);
    buf_clear(&b);
}

TEST(safetensors_without_memory) {
    struct buf b = file_of(PLAIN, strlen(PLAIN), 8);
    struct err e;
    int failed = 0;
    for (uint64_t n = 1; n < 20; n++) {
        mem_fail_at(n);
        int rc = try_parse(b.p, b.len, &e);
        mem_fail_at(0);
        CHECK(rc == 0 || rc == E_NOMEM);
        failed += rc == E_NOMEM;
    }
    CHECK(failed >= 2);
    buf_clear(&b);
}

TEST(safetensors_files) {
    char dir[] = "/tmp/lammd-st-XXXXXX", path[64];
    struct err e = {0};
    struct st *st;
    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/x", dir);
    CHECK_EQ(st_open(path, &st, &e), E_NOT_FOUND);
    CHECK(strstr(e.text, path) != NULL && st == NULL);
    CHECK_EQ(st_open(dir, &st, NULL), E_FORMAT);
    CHECK_EQ(mkfifo(path, 0600), 0);
    CHECK_EQ(st_open(path, &st, NULL), E_FORMAT); /* and does not hang */
    unlink(path);
    struct buf b = file_of(PLAIN, strlen(PLAIN), 8);
    for (int empty = 1; empty >= 0; empty--) {
        FILE *f = fopen(path, "wb");
        CHECK(f && fwrite(b.p, 1, empty ? 0 : b.len, f) == (empty ? 0 : b.len));
        fclose(f);
        CHECK_EQ(st_open(path, &st, NULL), empty ? E_FORMAT : 0);
    }
    CHECK_EQ(((const uint8_t *)st_find(st, "w")->data)[7], 7);
    st_close(st);
    unlink(path);
    rmdir(dir);
    buf_clear(&b);
}
