/* test_st_write.c - what is written is read again, and what couldn't be read isn't written. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/files/st_write.h"
#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/engine/files/broken_disk.h"

struct place {
    char folder[64], file[96];
};

static struct place place_new(void) {
    struct place p = {"/tmp/st_write-XXXXXX", ""};
    CHECK(mkdtemp(p.folder) != NULL);
    snprintf(p.file, sizeof p.file, "%s/t.safetensors", p.folder);
    return p;
}

static void place_drop(const struct place *p) {
    unlink(p->file);
    CHECK_EQ(rmdir(p->folder), 0); /* no temporary is left */
}

/* Byte `at` of tensor i. */
static uint8_t byte_of(size_t i, uint64_t at) { return (uint8_t)(7 * i + at * 31 + (at >> 12)); }

struct asked {
    size_t i;
    uint64_t at;
    size_t most;
    int fails_at; /* tensor; -1: none */
};

static int fill(void *ud, size_t i, uint64_t at, void *to, size_t n, struct err *e) {
    struct asked *a = ud;
    CHECK(i > a->i || (i == a->i && at == a->at)); /* in order, without gaps */
    CHECK(n > 0 && n <= ST_FILL_MAX && n % 2 == 0);
    if ((int)i == a->fails_at) return err_set(e, E_DEVICE, "lost");
    for (size_t k = 0; k < n; k++)
        ((uint8_t *)to)[k] = byte_of(i, at + k);
    a->i = i;
    a->at = at + n;
    if (n > a->most) a->most = n;
    return 0;
}

static const struct st_tensor tensors[] = {
    {.name = "model.norm.weight", .dtype = ST_F32, .ndim = 1, .shape = {5}},
    {.name = "large", .dtype = ST_BF16, .ndim = 2, .shape = {3, (1 << 20) + 3}},
    {.name = "scalar", .dtype = ST_F16, .ndim = 0},
    {.name = "empty", .dtype = ST_F32, .ndim = 2, .shape = {0, 7}},
    {.name = "Grü\"ße\n", .dtype = ST_F32, .ndim = 4, .shape = {1, 2, 3, 4}},
};
static const struct st_text texts[] = {{"step", "100"}, {"cursor", "{\"a\": [1, \"b\\\\\"]}"}};

TEST(st_write_is_read_again) {
    struct place p = place_new();
    struct err e = {0};
    struct asked a = {.fails_at = -1};
    struct st_new file = {tensors, ARRAY_LEN(tensors), texts, ARRAY_LEN(texts), fill, &a};
    CHECK_EQ(st_write(p.file, &file, &e), 0);
    CHECK_EQ(a.most, (size_t)ST_FILL_MAX); /* the large one came in pieces */
    struct st *st;
    CHECK_EQ(st_open(p.file, &st, &e), 0);
    CHECK_EQ(st_count(st), ARRAY_LEN(tensors));
    for (size_t i = 0; i < ARRAY_LEN(tensors); i++) {
        const struct st_tensor *want = &tensors[i], *t = st_find(st, want->name);
        CHECK(t && t->dtype == want->dtype && t->ndim == want->ndim);
        CHECK_MEM(t->shape, want->shape, sizeof want->shape);
        for (uint64_t at = 0; at < t->bytes; at++)
            if (((const uint8_t *)t->data)[at] != byte_of(i, at))
                CHECK_EQ(((const uint8_t *)t->data)[at], byte_of(i, at));
    }
    CHECK_STR(st_text(st, "step"), texts[0].value);
    CHECK_STR(st_text(st, "cursor"), texts[1].value);
    CHECK(st_text(st, "seed") == NULL);
    size_t len;
    const uint8_t *bytes = st_bytes(st, &len);
    CHECK_EQ((bytes[0] | bytes[1] << 8) % 8, 0); /* the data is aligned */
    st_close(st);
    place_drop(&p);
}

TEST(st_write_of_buffers) {
    struct place p = place_new();
    float x[2] = {1.5f, -2};
    struct st_tensor one = {.name = "x", .dtype = ST_F32, .ndim = 1, .shape = {2}, .data = x};
    CHECK_EQ(st_write(p.file, &(struct st_new){.tensors = &one, .n = 1}, NULL), 0);
    struct st *st;
    CHECK_EQ(st_open(p.file, &st, NULL), 0);
    CHECK_MEM(st_find(st, "x")->data, x, sizeof x);
    CHECK(st_text(st, "x") == NULL);
    st_close(st);
    CHECK_EQ(st_write(p.file, &(struct st_new){0}, NULL), 0); /* of nothing at all */
    CHECK_EQ(st_open(p.file, &st, NULL), 0);
    CHECK_EQ(st_count(st), 0u);
    st_close(st);
    place_drop(&p);
}

static void check_refused(struct st_new file, int code, const char *says) {
    struct place p = place_new();
    struct err e = {0};
    CHECK_EQ(st_write(p.file, &file, &e), code);
    CHECK_HAS(e.text, says);
    CHECK(access(p.file, F_OK) != 0);
    place_drop(&p);
}

TEST(st_write_refuses_what_could_not_be_read) {
    char name[ST_NAME_MAX + 2];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    const struct st_tensor bad[] = {
        {.name = "", .dtype = ST_F32},
        {.name = name, .dtype = ST_F32},
        {.name = "__metadata__", .dtype = ST_F32},
        {.name = "a", .dtype = ST_OTHER},
        {.name = "a", .dtype = ST_F32, .ndim = 5},
        {.name = "a\xff", .dtype = ST_F32},
    };
    float x = 0;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct st_tensor t = bad[i];
        t.data = &x;
        check_refused((struct st_new){.tensors = &t, .n = 1}, E_INVALID, "tensor");
    }
    struct st_tensor huge = {.name = "a", .dtype = ST_F32, .ndim = 1, .shape = {-1}};
    check_refused((struct st_new){.tensors = &huge, .n = 1}, E_TOO_BIG, "overflows");
    for (int i = huge.ndim = 0; i < 3; i++)
        huge.shape[huge.ndim++] = INT64_C(1) << 31;
    check_refused((struct st_new){.tensors = &huge, .n = 1}, E_TOO_BIG, "overflows");
    struct st_tensor twice[2] = {{.name = "a", .dtype = ST_F32}, {.name = "a", .dtype = ST_F32}};
    check_refused((struct st_new){.tensors = twice, .n = 2}, E_INVALID, "twice");
    struct st_text bad_text = {"key", "\xc3"};
    check_refused((struct st_new){.texts = &bad_text, .n_texts = 1}, E_INVALID, "UTF-8");
    char *long_text = mem_must(ST_HEADER_MAX + 1);
    memset(long_text, 'x', ST_HEADER_MAX);
    struct st_text large = {"key", long_text};
    check_refused((struct st_new){.texts = &large, .n_texts = 1}, E_TOO_BIG, "header");
    mem_free(long_text);
}

TEST(st_write_passes_on_what_fill_says) {
    struct asked a = {.fails_at = 1};
    check_refused((struct st_new){tensors, ARRAY_LEN(tensors), NULL, 0, fill, &a}, E_DEVICE,
                  "lost");
}

TEST(st_write_without_memory) {
    struct place p = place_new();
    for (uint64_t n = 1; n <= 2; n++) {
        struct asked a = {.fails_at = -1};
        struct st_new file = {tensors, ARRAY_LEN(tensors), texts, ARRAY_LEN(texts), fill, &a};
        mem_fail_at(n);
        CHECK_EQ(st_write(p.file, &file, NULL), E_NOMEM);
    }
    place_drop(&p);
}

/* An earlier file stays whole when the disk is full in the middle of the data. */
TEST(st_write_on_a_full_disk) {
    struct place p = place_new();
    struct err e = {0};
    struct asked a = {.fails_at = -1};
    float x = 3;
    struct st_tensor one = {.name = "x", .dtype = ST_F32, .ndim = 0, .data = &x};
    CHECK_EQ(st_write(p.file, &(struct st_new){.tensors = &one, .n = 1}, &e), 0);
    broken_disk(SYS_write, ST_FILL_MAX, ENOSPC);
    struct st_new file = {tensors, ARRAY_LEN(tensors), texts, ARRAY_LEN(texts), fill, &a};
    CHECK_EQ(st_write(p.file, &file, &e), E_IO);
    CHECK_HAS(e.text, "No space left on device");
    struct st *st;
    CHECK_EQ(st_open(p.file, &st, NULL), 0);
    CHECK_MEM(st_find(st, "x")->data, &x, sizeof x);
    st_close(st);
    place_drop(&p);
}
