/* test_whole.c - model folders that are not what they were: every bit that is flipped is found by
 * SHA256SUMS, weights that are no numbers without it, and weights too large for their numbers end a
 * job, never the process. */
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/files/safetensors.h"
#include "engine/files/smallfile.h"
#include "kernels/base/hex.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/check.h"
#include "tests/unit/engine/eng_rig.h"

static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.model"};

struct folder {
    char dir[64];
    char *bytes[3];
    size_t len[3];
};

static void write_file(const struct folder *f, const char *name, const void *bytes, size_t len) {
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
    close(fd);
}

static void folder_copy(struct folder *f, const char *model) {
    snprintf(f->dir, sizeof(f->dir), "/tmp/lammd-whole-XXXXXX");
    CHECK(mkdtemp(f->dir));
    for (int i = 0; i < 3; i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", model, names[i]);
        CHECK_EQ(smallfile_read(path, 16 << 20, &f->bytes[i], &f->len[i], NULL), 0);
        write_file(f, names[i], f->bytes[i], f->len[i]);
    }
}

static void folder_open(struct folder *f) { folder_copy(f, TINY); }

static void folder_close(struct folder *f) {
    static const char *const all[] = {"config.json", "model.safetensors", "tokenizer.model",
                                      "SHA256SUMS"};
    for (int i = 0; i < 4; i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", f->dir, all[i]);
        unlink(path);
    }
    rmdir(f->dir);
    for (int i = 0; i < 3; i++)
        mem_free(f->bytes[i]);
}

static void write_sums(const struct folder *f) {
    char text[400], hex[65];
    size_t at = 0;
    for (int i = 0; i < 3; i++) {
        unsigned char sum[EVP_MAX_MD_SIZE];
        CHECK(EVP_Digest(f->bytes[i], f->len[i], sum, NULL, EVP_sha256(), NULL));
        hex_write(sum, 32, hex);
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s  %s\n", hex, names[i]);
    }
    write_file(f, "SHA256SUMS", text, at);
}

/* *is_summed: it was held against its sums. */
static int try_sums(const struct folder *f, int *is_summed, struct err *e) {
    struct eng_options o = {
        .model = f->dir, .device = eng_rig_backend(), .threads = 1, .kv_tokens = 1000};
    struct eng *eng;
    *e = (struct err){0};
    int rc = eng_open(&o, &eng, e);
    *is_summed = eng && eng_info(eng)->is_summed;
    eng_close(eng);
    return rc;
}

static int try_open(const struct folder *f, struct err *e) {
    int is_summed;
    return try_sums(f, &is_summed, e);
}

/* So many bits of each file of the model, and of the header of its weights. */
static void flip_bits(const char *model, int n) {
    struct folder f;
    struct err e;
    int is_summed;
    folder_copy(&f, model);
    CHECK_EQ(try_sums(&f, &is_summed, &e), 0);
    CHECK(!is_summed);
    write_sums(&f);
    CHECK_EQ(try_sums(&f, &is_summed, &e), 0);
    CHECK(is_summed);
    size_t header = 8 + (size_t) * (const uint16_t *)(const void *)f.bytes[1];
    for (int part = 0; part < 4; part++) { /* config, weights, tokenizer; 3: the weights' header */
        int file = part == 3 ? 1 : part;
        for (int i = 0; i < n; i++) {
            uint64_t r = rng_u64(test_seed(), (uint64_t)(part * 1000 + i));
            size_t from = part == 1 ? header : 0, to = part == 3 ? header : f.len[file];
            size_t at = from + r % (to - from);
            f.bytes[file][at] ^= (char)(1 << (r >> 60) % 8);
            write_file(&f, names[file], f.bytes[file], f.len[file]);
            CHECK(try_open(&f, &e) < 0);
            CHECK(e.text[0]);
            f.bytes[file][at] ^= (char)(1 << (r >> 60) % 8);
        }
        write_file(&f, names[file], f.bytes[file], f.len[file]);
    }
    CHECK_EQ(try_open(&f, &e), 0);
    write_file(&f, "SHA256SUMS", "nonsense\n", 9);
    CHECK_EQ(try_open(&f, &e), E_FORMAT);
    CHECK_HAS(e.text, "SHA256SUMS: line 1");
    folder_close(&f);
}

TEST_LIMIT(whole_every_flipped_bit_is_found, 300) {
    flip_bits(TINY, test_count(5, 100));
    if (test_count(0, 1)) flip_bits(MINI, 100);
}

/* Write `bits` over elements of a tensor: its f32 pattern, of which 16-bit types have the head. */
static void spoil(struct folder *f, const char *name, size_t n, uint32_t bits) {
    struct st *st;
    CHECK_EQ(st_parse(f->bytes[1], f->len[1], &st, NULL), 0);
    const struct st_tensor *t = st_find(st, name);
    CHECK(t && t->dtype != ST_OTHER && t->dtype != ST_F16);
    size_t width = t->dtype == ST_F32 ? 4 : 2, at = (size_t)((const char *)t->data - f->bytes[1]);
    for (size_t i = 0; i < n && i < t->elements; i++)
        memcpy(f->bytes[1] + at + i * width, (const char *)&bits + (4 - width), width);
    st_close(st);
    write_file(f, names[1], f->bytes[1], f->len[1]);
}

TEST(whole_weights_are_numbers) {
    struct folder f;
    struct err e;
    static const char *const tensors[] = {"model.norm.weight",
                                          "model.layers.0.self_attn.q_proj.weight"};
    static const uint32_t bits[] = {0x7f800000u, 0xff800000u, 0x7fc00000u, 0xffffffffu};
    for (size_t i = 0; i < ARRAY_LEN(tensors); i++) {
        for (size_t b = 0; b < ARRAY_LEN(bits); b++) {
            folder_open(&f);
            spoil(&f, tensors[i], 1, bits[b]);
            CHECK_EQ(try_open(&f, &e), E_FORMAT);
            CHECK_HAS(e.text, tensors[i]);
            CHECK_HAS(e.text, "infinite or not a number");
            folder_close(&f);
        }
    }
}

TEST(whole_a_pointer_of_git_lfs_is_named) {
    static const char text[] = "version https://git-lfs.github.com/spec/v1\n"
                               "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24"
                               "d17e2393\nsize 12345\n";
    struct folder f;
    struct err e;
    folder_open(&f);
    write_file(&f, names[1], text, sizeof(text) - 1);
    CHECK_EQ(try_open(&f, &e), E_FORMAT);
    CHECK_HAS(e.text, "git lfs pull");
    folder_close(&f);
}

/* Finite weights whose products are not: each kind of job ends, and the engine lives. */
TEST(whole_numbers_that_overflow_end_a_job) {
    struct folder f;
    folder_open(&f);
    spoil(&f, "model.norm.weight", 1 << 20, 0x7f000000u); /* 1.7e38 */
    struct eng *e = eng_rig_open(&(struct eng_options){.model = f.dir, .kv_tokens = 2000});
    struct eng_picture *picture = eng_rig_picture(e, 1);
    static const char *const choices[] = {"yes", "no"};
    struct eng_ask asks[] = {
        {.task = ENG_PIXELS, .points = eng_rig_points(), .n_points = 5},
        {.task = ENG_PIXELS, .points = eng_rig_points(), .n_points = 5, .estimate = ENG_MEAN},
        {.task = ENG_PIXELS, .points = eng_rig_points(), .n_points = 5, .distribution = 1},
        {.task = ENG_REFER, .text = "a", .distribution = 1},
        {.task = ENG_VQA, .text = "a", .generate = {.max_tokens = 4}},
        {.task = ENG_VQA, .text = "a", .generate = {.max_tokens = 4, .temperature = 1}},
        {.task = ENG_VQA, .text = "a", .choices = choices, .n_choices = 2}};
    int failed = 0;
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        struct eng_job *j;
        asks[i].pictures = &picture;
        asks[i].n_pictures = 1;
        CHECK_EQ(eng_submit(e, &asks[i], &j, NULL), 0);
        while (eng_job_wait(j, UINT32_MAX, UINT64_MAX) == 0 && eng_job_state(j) < ENG_DONE) {}
        if (eng_job_state(j) == ENG_FAILED) {
            CHECK_EQ(eng_job_error(j)->code, E_INTERNAL);
            failed++;
        }
        eng_job_put(j);
    }
    CHECK(failed >= 6); /* where no probability is wanted, none is looked at */
    CHECK_EQ(eng_health(e), 0);
    struct eng_stats s;
    eng_rig_idle(e, &s);
    CHECK_EQ(s.kv_used + s.lanes + s.jobs_running, 0);
    eng_picture_put(picture);
    eng_close(e);
    folder_close(&f);
}
