/* test_pth.c - files that torch wrote (tools/oracle/make_checkpoints.py), whole and damaged. */
#include <stdio.h>
#include <string.h>

#include "engine/files/smallfile.h"
#include "engine/import/pth.h"
#include "engine/import/tensor.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

static const char *const files[] = {"nested.pth", "nested-legacy.pth", "flat.pth",
                                    "flat-legacy.pth"};

struct bytes {
    char *p;
    size_t n;
};

static struct bytes load(const char *name) {
    char path[200];
    struct bytes b = {0};
    struct err e = {0};
    snprintf(path, sizeof path, "tests/golden/import/%s", name);
    CHECK_EQ(smallfile_read(path, 1 << 20, &b.p, &b.n, &e), 0);
    return b;
}

static struct pth *open_golden(const char *name) {
    char path[200];
    struct pth *p;
    struct err e = {0};
    snprintf(path, sizeof path, "tests/golden/import/%s", name);
    int rc = pth_open(path, &p, &e);
    CHECK_STR(e.text, "");
    CHECK_EQ(rc, 0);
    return p;
}

static const struct pth_tensor *find(const struct pth *p, const char *name) {
    for (size_t i = 0; i < pth_count(p); i++)
        if (!strcmp(pth_at(p, i)->t.name, name)) return pth_at(p, i);
    return NULL;
}

static void check_floats(const struct pth_tensor *t, const float *want, size_t n) {
    uint8_t raw[400];
    CHECK(t != NULL);
    CHECK(t->flaw == NULL);
    CHECK_EQ(t->t.elements, n);
    CHECK(t->t.bytes <= sizeof raw);
    tensor_read(&t->t, t->is_strided ? t->stride : NULL, 0, raw, t->t.bytes);
    struct st_tensor whole = t->t;
    whole.data = raw;
    float got[100];
    st_floats(&whole, 0, got, n);
    for (size_t i = 0; i < n; i++)
        CHECK_EQ(got[i], want[i]);
}

TEST(pth_reads_what_torch_wrote) {
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct pth *p = open_golden(files[i]);
        float counted[24], turned[24], apart[8];
        for (int k = 0; k < 24; k++)
            counted[k] = (float)k;
        for (int k = 0; k < 24; k++)
            turned[k] = (float)(k % 4 * 6 + k / 4);
        for (int k = 0; k < 8; k++)
            apart[k] = (float)(k / 2 * 6 + 1 + k % 2);
        CHECK_EQ(pth_count(p), 10);
        const struct pth_tensor *t = find(p, "plain.weight");
        CHECK(t->t.ndim == 2 && t->t.shape[0] == 2 && t->t.shape[1] == 3 && t->t.dtype == ST_F32);
        check_floats(t, (float[]){0, .5f, 1, 1.5f, 2, 2.5f}, 6);
        CHECK_EQ(find(p, "half.weight")->t.dtype, ST_F16);
        check_floats(find(p, "half.weight"), counted, 8);
        CHECK_EQ(find(p, "brain.weight")->t.dtype, ST_BF16);
        check_floats(find(p, "brain.weight"), counted, 5);
        t = find(p, "turned.weight");
        CHECK(t->is_strided && t->t.shape[0] == 6 && t->t.shape[1] == 4);
        check_floats(t, turned, 24);
        CHECK(!find(p, "part.weight")->is_strided);
        check_floats(find(p, "part.weight"), counted + 8, 12);
        check_floats(find(p, "apart.weight"), apart, 8);
        CHECK_EQ(find(p, "scalar")->t.ndim, 0);
        check_floats(find(p, "scalar"), (float[]){7.5f}, 1);
        check_floats(find(p, "empty"), NULL, 0);
        CHECK_STR(find(p, "long.buffer")->t.dtype_name, "I64");
        CHECK_EQ(find(p, "long.buffer")->t.dtype, ST_OTHER);
        check_floats(find(p, "learnt"), counted, 4);
        CHECK_EQ(pth_said(p, "lora_alpha"), i < 2 ? 32 : 0);
        CHECK_EQ(pth_said(p, "none"), 0);
        CHECK_STR(pth_foreign(p), "");
        for (size_t k = 0; k < pth_count(p); k++)
            CHECK_EQ(pth_check(p, pth_at(p, k), NULL), 0);
        pth_close(p);
    }
}

/* A piece of a strided tensor that begins and ends anywhere. */
TEST(pth_gives_pieces_of_what_lies_apart) {
    struct pth *p = open_golden("nested.pth");
    const struct pth_tensor *t = find(p, "turned.weight");
    for (size_t at = 0; at < 24; at++)
        for (size_t n = 1; n <= 24 - at; n++) {
            float got[24];
            tensor_read(&t->t, t->stride, 4 * at, got, 4 * n);
            for (size_t k = 0; k < n; k++)
                CHECK_EQ(got[k], (float)((at + k) % 4 * 6 + (at + k) / 4));
        }
    pth_close(p);
}

/* Cut short at any byte: refused, or what is missing has a flaw. */
TEST(pth_refuses_files_that_are_cut_short) {
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct bytes b = load(files[i]);
        for (size_t n = 0; n < b.n; n++) {
            struct pth *p;
            struct err e = {0};
            char *exact = memcpy(mem_must(n + 1), b.p, n);
            int rc = pth_parse(exact, n, &p, &e);
            CHECK(rc == e.code && rc != 0 && p == NULL && e.text[0] != '\0');
            mem_free(exact);
        }
        mem_free(b.p);
    }
}

/* One flipped bit in a storage is found by its sum. The old form has none. */
TEST(pth_finds_a_flipped_bit) {
    struct bytes b = load("flat.pth");
    struct pth *p;
    struct err e = {0};
    CHECK_EQ(pth_parse(b.p, b.n, &p, &e), 0);
    const struct pth_tensor *t = find(p, "half.weight");
    *(uint8_t *)(uintptr_t)t->t.data ^= 4;
    CHECK_EQ(pth_check(p, t, &e), E_FORMAT);
    CHECK_HAS(e.text, "is damaged: its CRC-32 is another one");
    CHECK_EQ(pth_check(p, find(p, "plain.weight"), NULL), 0);
    pth_close(p);
    mem_free(b.p);
}

TEST(pth_says_what_else_a_file_is) {
    static const struct {
        const char *bytes, *text;
        size_t n;
    } cases[] = {
        {"", "it is empty", 0},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git-LFS", 60},
        {"\x80\x02}q\0.", "a pickle, but not one of torch.save", 6},
        {"PK\3\4", "truncated?", 4},
        {"hello, world", "not a file of torch.save", 12},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pth *p;
        struct err e = {0};
        CHECK(pth_parse(cases[i].bytes, cases[i].n, &p, &e) != 0);
        CHECK_HAS(e.text, cases[i].text);
    }
}
