/* test_st_join.c - tensors in several files are those of one: the same numbers, order and bytes. */
#include "engine/files/st_join.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/files/newfile.h"
#include "engine/files/st_write.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

struct place {
    char folder[64], table[96], one[96], two[96];
};

static struct place place_new(void) {
    struct place p = {.folder = "/tmp/st_join-XXXXXX"};
    CHECK(mkdtemp(p.folder) != NULL);
    snprintf(p.table, sizeof p.table, "%s/weights.json", p.folder);
    snprintf(p.one, sizeof p.one, "%s/one.bin", p.folder);
    snprintf(p.two, sizeof p.two, "%s/two.bin", p.folder);
    CHECK_EQ(newfile_write(p.one, "xABCDEFGH", 9, NULL), 0);
    CHECK_EQ(newfile_write(p.two, "ijklmnop", 8, NULL), 0);
    return p;
}

static void place_drop(const struct place *p) {
    unlink(p->table);
    unlink(p->one);
    unlink(p->two);
    rmdir(p->folder);
}

#define SHA "\"sha256\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\""
#define FILES \
    "\"files\": [{\"path\": \"one.bin\", \"bytes\": 9}, {\"path\": \"%s/two.bin\", \"bytes\": 8}]"
#define TENSOR(name, type, shape, file, at)                                                    \
    "{\"name\": \"" name "\", \"dtype\": \"" type "\", \"shape\": " shape ", \"file\": " #file \
    ", \"at\": " #at "}"

static int write_table(const struct place *p, const char *tensors) {
    char text[4000];
    int n = snprintf(text, sizeof text, "{\"format\": 1, " SHA ", " FILES ", \"tensors\": [%s]}",
                     p->folder, tensors);
    return newfile_write(p->table, text, (size_t)n, NULL);
}

TEST(st_join_is_one_file) {
    struct place p = place_new();
    struct st *st;
    struct err e = {0};
    char sha[65];
    CHECK_EQ(write_table(&p, TENSOR("b", "F16", "[2, 2]", 1, 0) ", " TENSOR(
                                 "c", "F32", "[]", 0, 1) ", " TENSOR("a", "BF16", "[2]", 0, 5)),
             0);
    int rc = st_open_model(p.folder, &st, sha, &e);
    CHECK_STR(e.text, "");
    CHECK_EQ(rc, 0);
    CHECK(sha[0] == 'a' && strlen(sha) == 64);
    CHECK_EQ(st_count(st), 3);
    CHECK_STR(st_at(st, 0)->name, "a");
    CHECK_MEM(st_find(st, "a")->data, "EFGH", 4);
    CHECK_MEM(st_find(st, "b")->data, "ijklmnop", 8);
    CHECK_MEM(st_find(st, "c")->data, "ABCD", 4);

    /* The pieces are the file that holds the three in that order. */
    struct st_tensor list[3] = {*st_find(st, "b"), *st_find(st, "c"), *st_find(st, "a")};
    static const struct st_text format = {"format", "pt"};
    struct st_new file = {.tensors = list, .n = 3, .texts = &format, .n_texts = 1};
    char path[200];
    snprintf(path, sizeof path, "%s/model.safetensors", p.folder);
    CHECK_EQ(st_write(path, &file, &e), 0);
    struct st *whole;
    size_t len, all, at = 0;
    CHECK_EQ(st_open_model(p.folder, &whole, sha, &e), 0); /* which comes before weights.json */
    CHECK_STR(sha, "");
    const char *bytes = st_piece(whole, 0, &all);
    const void *piece;
    for (size_t i = 0; (piece = st_piece(st, i, &len)) != NULL; at += len, i++)
        CHECK_MEM(bytes + at, piece, len);
    CHECK_EQ(at, all);
    CHECK(!st_piece(whole, 1, &len));
    st_close(whole);
    st_close(st);
    unlink(path);
    place_drop(&p);
}

TEST(st_join_refuses_what_does_not_fit) {
    static const struct {
        const char *tensors, *text;
    } cases[] = {
        {TENSOR("a", "F16", "[4]", 1, 1), "tensor a: ends behind the end of its file"},
        {TENSOR("a", "F16", "[4]", 2, 0), "file: not a whole number of 0 to 1"},
        {TENSOR("a", "F16", "[4]", -1, 0), "file: not a whole number"},
        {TENSOR("a", "F16", "[4]", 0, -1), "at: not a whole number"},
        {TENSOR("a", "F16", "[4]", 0, 9223372036854775807), "ends behind"},
        {TENSOR("a", "F16", "[2147483648, 2147483648, 2147483648]", 0, 0), "shape: a size"},
        {TENSOR("a", "F16", "[2147483648, 2147483648]", 0, 0), "ends behind"},
        {TENSOR("a", "F16", "[1, 1, 1, 1, 1]", 0, 0), "shape: not a list"},
        {TENSOR("a", "I64", "[1]", 0, 0), "dtype: not F32"},
        {TENSOR("", "F16", "[1]", 0, 0), "no name"},
        {TENSOR("a", "F16", "[1]", 0, 0) "," TENSOR("a", "F16", "[1]", 0, 2), "is there twice"},
        {"7", "no name"},
        {"", ""},
    };
    struct place p = place_new();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct st *st;
        struct err e = {0};
        char sha[65];
        CHECK_EQ(write_table(&p, cases[i].tensors), 0);
        int rc = st_open_model(p.folder, &st, sha, &e);
        CHECK_HAS(e.text, cases[i].text);
        CHECK_EQ(rc != 0, cases[i].text[0] != '\0');
        st_close(st);
    }
    place_drop(&p);
}

TEST(st_join_refuses_files_that_changed) {
    struct place p = place_new();
    struct st *st;
    struct err e = {0};
    char sha[65];
    CHECK_EQ(write_table(&p, TENSOR("a", "F16", "[4]", 1, 0)), 0);
    CHECK_EQ(newfile_write(p.two, "ijklmno", 7, NULL), 0);
    CHECK_EQ(st_open_model(p.folder, &st, sha, &e), E_FORMAT);
    CHECK_HAS(e.text, "isn't what was imported: it had 8 bytes");
    unlink(p.two);
    e = (struct err){0};
    CHECK_EQ(st_open_model(p.folder, &st, sha, &e), E_FORMAT);
    CHECK_HAS(e.text, "two.bin: No such file");
    CHECK_EQ(newfile_write(p.two, "ijklmnop", 8, NULL), 0);
    for (uint64_t n = 1;; n++) {
        mem_fail_at(n);
        int rc = st_open_model(p.folder, &st, sha, NULL);
        mem_fail_at(0);
        if (!rc) break;
        CHECK(st == NULL && rc == E_NOMEM);
    }
    st_close(st);
    unlink(p.table);
    e = (struct err){0};
    CHECK_EQ(st_open_model(p.folder, &st, sha, &e), E_NOT_FOUND);
    CHECK_HAS(e.text, "model.safetensors");
    place_drop(&p);
}
