/* test_profile.c - the device that times another one: the same bits, a line for each kind of work,
 * and nothing left behind. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernels/base/mem.h"
#include "kernels/moved.h"
#include "tests/unit/kernels/emu_rig.h"
#include "tests/unit/kernels/rig.h"

struct timed {
    struct kern_config cfg;
    struct kern *k;
    char path[64];
    char text[8192]; /* the table, after timed_end */
};

static void timed_begin_on(struct timed *t, const struct kern_ops *inner, const char *isa) {
    *t = (struct timed){.path = "/tmp/lammd-profile-XXXXXX"};
    int fd = mkstemp(t->path);
    CHECK(fd >= 0);
    close(fd);
    t->cfg = (struct kern_config){.inner = inner, .profile = t->path, .isa = isa};
    CHECK_EQ(kern_profile.open(&t->cfg, &t->k, NULL), 0);
}

static void timed_begin(struct timed *t) {
    const struct kern_ops *ref;
    CHECK_EQ(kern_find("ref", &ref, NULL), 0);
    timed_begin_on(t, ref, NULL);
}

static void timed_end(struct timed *t) {
    kern_profile.close(t->k);
    FILE *f = fopen(t->path, "r");
    CHECK(f != NULL);
    t->text[fread(t->text, 1, sizeof t->text - 1, f)] = '\0';
    fclose(f);
    unlink(t->path);
}

struct product {
    const struct kern_ops *ops;
    struct kern *k;
    const struct kern_gemm *a;
};

static void issue_product(void *ud) {
    const struct product *p = ud;
    p->ops->gemm(p->k, p->a);
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
    const struct kern_gemm a = {.m = 1, .x = x, .ldx = k, .w = m, .y = out, .ldy = n};
    ops->pass(d, 1, issue_product, &(struct product){ops, d, &a});
    char text[100];
    CHECK(ops->mat_describe(d, m, text, sizeof text) > 0);
    CHECK_HAS(text, " f32: ");
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

/* The text of a column of the line of `name`, 0 being the name. */
static void column(const struct timed *t, const char *name, int i, char out[32]) {
    const char *at = strstr(t->text, name);
    CHECK(at != NULL);
    for (; i > 0; i--)
        at = strchr(at, '|') + 1;
    CHECK_EQ(sscanf(at, " %31[^|]", out), 1);
}

TEST(profile_counts_what_is_moved_and_holds_it_against_the_peak) {
    enum { CALLS = 50 };
    struct timed t;
    const struct kern_ops *cpu;
    char text[32];
    CHECK_EQ(kern_find("cpu", &cpu, NULL), 0);
    timed_begin_on(&t, cpu, "portable");
    for (int i = 0; i < CALLS; i++) /* the table has tenths of a millisecond */
        CHECK_EQ(product(&kern_profile, t.k, 500, 700), 700);
    timed_end(&t);
    column(&t, "gemm 700 -> 500", 2, text);
    double ms = strtod(text, NULL);
    CHECK(ms > 0);
    column(&t, "gemm 700 -> 500", 7, text);
    double moved = strtod(text, NULL) * 1e9 * ms / 1e3,
           right = CALLS * 4.0 * (500 * 700 + 500 + 700);
    CHECK(moved > 0.5 * right && moved < 2 * right); /* as far as the digits that are printed go */
    column(&t, "gemm 700 -> 500", 6, text);
    CHECK(strchr(text, '%') != NULL);
    CHECK_HAS(t.text, "GB/s read from memory");
    timed_begin(&t);
    (void)product(&kern_profile, t.k, 5, 7);
    timed_end(&t);
    column(&t, "gemm 7 -> 5", 6, text);
    CHECK_STR(text, "- ");
    CHECK(!strstr(t.text, "GB/s read from memory"));
}

TEST(profile_counts_operands_once) {
    struct kern_gemm g = {.m = 3};
    CHECK_EQ(moved_gemm(&g, 5, 7, 140), 140 + 4 * (3 * 7 + 3 * 5));
    g.accumulate = 1;
    CHECK_EQ(moved_gemm(&g, 5, 7, 140), 140 + 4 * (3 * 7 + 2 * 3 * 5));
    g.m = 0;
    CHECK_EQ(moved_gemm(&g, 5, 7, 140), 0);
    const struct kern_attn_group groups[] = {{0, 2, 0, 2, 9}, {2, 1, 1, 1, -1}};
    const struct kern_attn_span spans[] = {{0, 10}, {20, 5}};
    const struct kern_attn_tree tree = {.rows = 3,
                                        .heads = 2,
                                        .head_size = 4,
                                        .pool_dtype = KERN_BF16,
                                        .groups = groups,
                                        .n_groups = 2,
                                        .spans = spans,
                                        .n_spans = 2};
    CHECK_EQ(moved_attn_tree(&tree), 2 * 3 * 8 * 4 + 2 * (15 + 2 + 5 + 1) * 8 * 2);
}

TEST(profile_adds_up_what_has_no_line) {
    struct timed t;
    timed_begin(&t);
    for (int k = 1; k <= 108; k++)
        product(&kern_profile, t.k, 1, k);
    timed_end(&t);
    CHECK_HAS(t.text, "| gemm 95 -> 1 | 1 | ");
    CHECK_HAS(t.text, "| others | 13 | ");
    CHECK(!strstr(t.text, "gemm 96 ->"));
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

/* One line each, and the matrix is the device's own below. */
TEST(profile_has_lines_for_training) {
    struct timed t;
    timed_begin(&t);
    const struct kern_train_ops *train = kern_profile.train;
    const float w[6] = {1, 2, 3, 4, 5, 6}, dy[2] = {1, 10};
    struct kern_mat_part part = {w, 2, KERN_F32};
    const struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = 3, .with_back = 1};
    struct kern_mat *m;
    struct kern_ptr at;
    float dx[3];
    CHECK_EQ(kern_profile.mat_new(t.k, &src, &m, NULL), 0);
    CHECK_EQ(kern_profile.alloc(t.k, 256, &at, NULL), 0);
    kern_profile.put(t.k, at, dy, sizeof dy);
    kern_profile.put(t.k, kern_at(at, 64), w, sizeof w);
    train->mat_set(t.k, &(struct kern_mat_set){m, 1, 1, kern_at(at, 64), 3}); /* 1 2 3 twice */
    train->gemm_dx(t.k, &(struct kern_gemm_dx){1, at, 2, m, kern_at(at, 128), 3, 0});
    CHECK_EQ(kern_profile.get(t.k, dx, kern_at(at, 128), sizeof dx, NULL), 0);
    CHECK(dx[0] == 11 && dx[1] == 22 && dx[2] == 33);
    train->gemm_dw(
        t.k, &(struct kern_gemm_dw){1, 2, 3, at, 2, kern_at(at, 64), 3, kern_at(at, 128), 3, 0});
    train->zero(t.k, kern_at(at, 128), 8);
    train->axpy(t.k, &(struct kern_axpy){3, 1, kern_at(at, 64), kern_at(at, 128)});
    CHECK_EQ(kern_profile.get(t.k, dx, kern_at(at, 128), sizeof dx, NULL), 0);
    CHECK(dx[0] == 1 && dx[1] == 2 && dx[2] == 6);
    kern_profile.mat_free(t.k, m);
    timed_end(&t);
    static const char *const lines[] = {"mat_set", "gemm_dx 3 <- 2", "gemm_dw 2 x 3", "zero",
                                        "axpy"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        char begins[32];
        snprintf(begins, sizeof begins, "| %s | 1 | ", lines[i]);
        CHECK_HAS(t.text, begins);
    }
}

/* ---- marks ---- */

/* A device whose clock a test reads from: 1 ms from each mark to the next, and it is known who
 * waited. */
static struct {
    const struct kern_ops *ref;
    int waits, readings, marks, is_lost;
} slow;

static int slow_sync(struct kern *k, struct err *e) {
    slow.waits++;
    return slow.ref->sync(k, e);
}
static void slow_mark(struct kern *k, int i) {
    (void)k;
    CHECK(i >= 0 && i < KERN_MARKS);
    CHECK(i == 0 || i == slow.marks); /* in their order */
    slow.marks = i + 1;
}
static int slow_marked(struct kern *k, int n, uint64_t *ns, struct err *e) {
    (void)k;
    CHECK_EQ(n, slow.marks);
    slow.readings++;
    if (slow.is_lost) return err_set(e, E_DEVICE, "slow: gone");
    for (int i = 0; i + 1 < n; i++)
        ns[i] = 1000000;
    return 0;
}

static void slow_begin(struct timed *t) {
    static struct kern_ops ops;
    memset(&slow, 0, sizeof slow);
    CHECK_EQ(kern_find("ref", &slow.ref, NULL), 0);
    ops = *slow.ref;
    ops.sync = slow_sync;
    ops.mark = slow_mark;
    ops.marked = slow_marked;
    timed_begin_on(t, &ops, NULL);
}

static void swiglu(struct timed *t, struct kern_ptr x, int times) {
    for (int i = 0; i < times; i++)
        kern_profile.swiglu(
            t->k, &(struct kern_swiglu){
                      .rows = 1, .width = 2, .x = x, .ldx = 4, .y = kern_at(x, 32), .ldy = 2});
}

TEST(profile_does_not_wait_for_operations) {
    struct timed t;
    struct kern_ptr x;
    float y[4] = {0};
    slow_begin(&t);
    CHECK_EQ(kern_profile.alloc(t.k, 64, &x, NULL), 0);
    kern_profile.put(t.k, x, y, sizeof y);
    swiglu(&t, x, 3);
    kern_profile.put(t.k, x, y, sizeof y); /* has a time, too, and is no operation */
    kern_profile.copy(t.k, kern_at(x, 16), x, 16);
    swiglu(&t, x, 2);
    CHECK_EQ(slow.waits, 0);
    CHECK_EQ(slow.readings, 0);
    CHECK_EQ(slow.marks, 1 + 3 + 1 + 2);
    CHECK_EQ(kern_profile.get(t.k, y, x, sizeof y, NULL), 0);
    CHECK_EQ(slow.readings, 1);
    CHECK_EQ(product(&kern_profile, t.k, 5, 7), 7);
    CHECK_EQ(slow.marks, 2);
    CHECK_EQ(slow.readings, 2);
    swiglu(&t, x, 1);
    CHECK_EQ(kern_profile.sync(t.k, NULL), 0);
    CHECK_EQ(slow.readings, 3);
    CHECK_EQ(kern_profile.sync(t.k, NULL), 0); /* there is nothing to read */
    CHECK_EQ(slow.readings, 3);
    swiglu(&t, x, 1); /* which close reads */
    timed_end(&t);
    CHECK_HAS(t.text, "| swiglu | 7 | 7.0 | 87.5 % | 1000.0 | ");
    CHECK_HAS(t.text, "| gemm 7 -> 5 | 1 | 1.0 | 12.5 % | 1000.0 | ");
    CHECK_HAS(t.text, "plain loops, 1 thread, each operation timed: 8.0 ms of operations\n");
    CHECK_HAS(t.text, "from mark to mark");
}

TEST(profile_reads_when_marks_run_out) {
    enum { CALLS = 3 * KERN_MARKS + 5 };
    struct timed t;
    struct kern_ptr x;
    slow_begin(&t);
    CHECK_EQ(kern_profile.alloc(t.k, 64, &x, NULL), 0);
    swiglu(&t, x, KERN_MARKS - 1);
    CHECK_EQ(slow.readings, 0);
    swiglu(&t, x, 1);
    CHECK_EQ(slow.readings, 1);
    swiglu(&t, x, CALLS - KERN_MARKS);
    CHECK_EQ(slow.readings, 3);
    CHECK_EQ(slow.waits, 0);
    timed_end(&t);
    CHECK_HAS(t.text, "| swiglu | 6149 | 6149.0 | 100.0 % | ");
}

TEST(profile_of_a_lost_device_is_short) {
    struct timed t;
    struct kern_ptr x;
    slow_begin(&t);
    CHECK_EQ(kern_profile.alloc(t.k, 64, &x, NULL), 0);
    swiglu(&t, x, 3);
    slow.is_lost = 1;
    CHECK_EQ(kern_profile.sync(t.k, NULL), 0); /* whose own error is the caller's */
    slow.is_lost = 0;
    product(&kern_profile, t.k, 5, 7);
    timed_end(&t);
    CHECK(!strstr(t.text, "swiglu"));
    CHECK_HAS(t.text, "| gemm 7 -> 5 | 1 | 1.0 | 100.0 % | ");
}

/* The caller's own marks are served beside. */
TEST(profile_has_marks_itself) {
    struct timed t;
    struct kern_ptr x;
    uint64_t ns[2] = {0};
    slow_begin(&t);
    CHECK_EQ(kern_profile.alloc(t.k, 64, &x, NULL), 0);
    kern_profile.mark(t.k, 0);
    swiglu(&t, x, 100);
    kern_profile.mark(t.k, 1);
    swiglu(&t, x, 1);
    kern_profile.mark(t.k, 2);
    CHECK_EQ(kern_profile.marked(t.k, 3, ns, NULL), 0);
    CHECK(ns[0] > 0 && ns[1] > 0 && ns[0] < 60000000000u && ns[1] < 60000000000u);
    timed_end(&t);
    CHECK_HAS(t.text, "| swiglu | 101 | 101.0 | ");
}

/* A card that would record passes does not; its events go with it. */
TEST(profile_of_a_card_cuda_flat) {
    struct timed t;
    struct err e = {0};
    const struct kern_ops *ops;
    struct kern *k = NULL;
    int rc = kern_find("cuda", &ops, &e);
    if (!rc) rc = ops->open(&(struct kern_config){0}, &k, &e);
    if (rc == E_NOT_FOUND || rc == E_UNSUPPORTED) skip("%s", e.text);
    CHECK_EQ(rc, 0);
    ops->close(k);
    struct emu_control *emu = emu_find(ops);
    timed_begin_on(&t, ops, "auto+graphs");
    for (int i = 0; i < 4; i++)
        CHECK_EQ(product(&kern_profile, t.k, 5, 7), 7);
    struct kern_stats s;
    kern_profile.stats(t.k, &s);
    CHECK_EQ(s.replays, 0);
    if (emu) CHECK_EQ(emu->calls[EMU_BEGIN], 0);
    timed_end(&t);
    if (emu) CHECK_EQ(emu->events, 0);
    CHECK_HAS(t.text, "| gemm 7 -> 5 | 4 | ");
    CHECK_HAS(t.text, "cuda: 0, ");
}
