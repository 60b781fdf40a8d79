/* test_profile.c - the device that times another one: the same bits, a line for each kind of work, and nothing
 * left behind. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernels/base/mem.h"
#include "tests/unit/kernels/rig.h"

struct timed {
    struct kern_config cfg;
    struct kern *k;
    char path[64];
    char text[8192]; /* the table, after timed_end */
};

static void timed_begin(struct timed *t) {
    *t = (struct timed){.path = "/tmp/lammd-profile-XXXXXX"};
    int fd = mkstemp(t->path);
    CHECK(fd >= 0);
    close(fd);
    const struct kern_ops *ref;
    CHECK_EQ(kern_find("ref", &ref, NULL), 0);
    t->cfg = (struct kern_config){.inner = ref, .profile = t->path};
    CHECK_EQ(kern_profile.open(&t->cfg, &t->k, NULL), 0);
}

static void timed_end(struct timed *t) {
    kern_profile.close(t->k);
    FILE *f = fopen(t->path, "r");
    CHECK(f != NULL);
    t->text[fread(t->text, 1, sizeof t->text - 1, f)] = '\0';
    fclose(f);
    unlink(t->path);
}

/* y (1, n) = x (1, k) W^T with ones everywhere. */
static float product(const struct kern_ops *ops, struct kern *d, int n, int k) {
    float *w = mem_must((size_t)(n * k) * sizeof *w), y = 0;
    for (int i = 0; i < n * k; i++)
        w[i] = 1;
    struct kern_mat *m;
    struct kern_ptr x, out;
    struct kern_mat_part part = {w, n, KERN_F32};
    CHECK_EQ(
        ops->mat_new(d, &(struct kern_mat_src){.parts = &part, .n_parts = 1, .k = k}, &m, NULL), 0);
    CHECK_EQ(ops->alloc(d, (size_t)k * sizeof *w, &x, NULL), 0);
    CHECK_EQ(ops->alloc(d, (size_t)n * sizeof *w, &out, NULL), 0);
    ops->put(d, x, w, (size_t)k * sizeof *w);
    ops->begin(d, 1);
    ops->gemm(d, &(struct kern_gemm){.m = 1, .x = x, .ldx = k, .w = m, .y = out, .ldy = n});
    CHECK_EQ(ops->end(d), 0);
    char text[100];
    CHECK(ops->mat_describe(d, m, text, sizeof text) > 0);
    CHECK_HAS(text, " f32: plain loops");
    CHECK_EQ(ops->get(d, &y, out, sizeof y, NULL), 0);
    ops->mat_free(d, m);
    ops->free(d, x);
    ops->free(d, out);
    mem_free(w);
    return y;
}

TEST(profile_has_a_line_for_each_shape_of_product) {
    struct timed t;
    timed_begin(&t);
    CHECK_EQ(kern_check(&kern_profile, NULL), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(product(&kern_profile, t.k, 5, 7), 7);
    CHECK_EQ(product(&kern_profile, t.k, 2, 3), 3);
    struct kern_stats s;
    kern_profile.stats(t.k, &s);
    CHECK_EQ(s.flops, 2 * (3 * 5 * 7 + 2 * 3));
    CHECK_HAS(kern_profile.describe(t.k), "ref: ");
    CHECK_EQ(kern_profile.pass_rows(t.k), 512);
    timed_end(&t);
    CHECK_HAS(t.text, "| gemm 7 -> 5 | 3 | ");
    CHECK_HAS(t.text, "| gemm 3 -> 2 | 1 | ");
    CHECK_HAS(t.text, " ms of operations");
}

TEST(profile_adds_up_what_has_no_line) {
    struct timed t;
    timed_begin(&t);
    for (int k = 1; k <= 60; k++)
        product(&kern_profile, t.k, 1, k);
    timed_end(&t);
    CHECK_HAS(t.text, "| gemm 47 -> 1 | 1 | ");
    CHECK_HAS(t.text, "| others | 13 | ");
    CHECK(!strstr(t.text, "gemm 48 ->"));
}

TEST(profile_says_what_it_lacks_and_leaves_nothing) {
    struct mem_stats before, after;
    struct kern *k = NULL;
    struct kern_mat *m = NULL;
    struct err e = {0};
    mem_stats(&before);
    CHECK_EQ(kern_profile.open(&(struct kern_config){0}, &k, &e), E_INVALID);
    CHECK_HAS(e.text, "of which device");
    e = (struct err){0};
    const struct kern_config nowhere = {.inner = &kern_profile, .profile = "/nowhere/at/all"};
    CHECK_EQ(kern_profile.open(&nowhere, &k, &e), E_IO);
    CHECK_HAS(e.text, "/nowhere/at/all: No such file");
    struct timed t;
    timed_begin(&t);
    t.cfg.device = 9;
    CHECK_EQ(kern_profile.open(&t.cfg, &k, NULL), E_NOT_FOUND);
    CHECK(k == NULL);
    float w[6] = {0};
    struct kern_mat_part part = {w, 2, KERN_F32};
    for (uint64_t n = 1; n <= 2; n++) { /* its own note, and the device's matrix */
        mem_fail_at(n);
        CHECK_EQ(kern_profile.mat_new(
                     t.k, &(struct kern_mat_src){.parts = &part, .n_parts = 1, .k = 3}, &m, NULL),
                 E_NOMEM);
        mem_fail_at(0);
        CHECK(m == NULL);
    }
    timed_end(&t);
    mem_stats(&after);
    CHECK_EQ(after.live_bytes, before.live_bytes);
}
