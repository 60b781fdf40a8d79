/* test_kern.c - the door: finding a backend, refusing a broken one, device memory, statistics. */
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "tests/unit/kernels/rig.h"

TEST(kern_find_knows_its_backends_and_no_other) {
    const struct kern_ops *ops = NULL, *untouched = NULL;
    struct err e = {0};
    CHECK_EQ(kern_find("ref", &ops, &e), 0);
    CHECK_STR(ops->name, "ref");
    CHECK_EQ(kern_find("auto", &ops, &e), 0);
    CHECK(ops->score() > 0);
    CHECK_EQ(e.code, 0);
    CHECK_EQ(kern_find("nonsense", &untouched, &e), E_NOT_FOUND);
    CHECK_HAS(e.text, "nonsense");
    CHECK_EQ(kern_find("", &untouched, NULL), E_NOT_FOUND);
    CHECK(untouched == NULL);
}

TEST(kern_auto_prefers_the_fast_one) {
    const struct kern_ops *ops, *cpu;
    if (kern_find("cpu", &cpu, NULL)) skip("no cpu backend");
    int has_gpu = kern_find("cuda", &ops, NULL) == 0 && ops->score() > cpu->score();
    CHECK_EQ(kern_find("auto", &ops, NULL), 0);
    CHECK_STR(ops->name, has_gpu ? "cuda" : "cpu");
}

TEST(kern_check_refuses_another_abi_and_every_hole) {
    const struct kern_ops *ops;
    struct err e = {0};
    CHECK_EQ(kern_find("ref", &ops, NULL), 0);
    CHECK_EQ(kern_check(ops, &e), 0);
    struct kern_ops t = *ops;
    t.abi++;
    CHECK_EQ(kern_check(&t, NULL), E_UNSUPPORTED);
    t = *ops;
    t.size -= 8;
    CHECK_EQ(kern_check(&t, NULL), E_UNSUPPORTED);
    size_t entries = 0;
    for (size_t at = offsetof(struct kern_ops, name); at < sizeof(t); at += sizeof(void *)) {
        if (at == offsetof(struct kern_ops, train) || at == offsetof(struct kern_ops, peak))
            continue;
        t = *ops;
        memset((char *)&t + at, 0, sizeof(void *));
        CHECK_EQ(kern_check(&t, NULL), E_UNSUPPORTED);
        entries++;
    }
    CHECK(entries > 25);
}

TEST(kern_check_takes_training_whole_or_not_at_all) {
    const struct kern_ops *ops;
    struct err e = {0};
    CHECK_EQ(kern_find("ref", &ops, NULL), 0);
    struct kern_ops t = *ops;
    t.train = NULL;
    CHECK_EQ(kern_check(&t, NULL), 0);
    struct kern_train_ops train = *ops->train;
    t.train = &train;
    CHECK_EQ(kern_check(&t, NULL), 0);
    train.size -= 8;
    CHECK_EQ(kern_check(&t, NULL), E_UNSUPPORTED);
    size_t entries = 0;
    size_t at = offsetof(struct kern_train_ops, mat_set);
    for (; at < sizeof train; at += sizeof(void *)) {
        train = *ops->train;
        memset((char *)&train + at, 0, sizeof(void *));
        CHECK_EQ(kern_check(&t, NULL), E_UNSUPPORTED);
        entries++;
    }
    CHECK_EQ(entries, 24);
    CHECK_EQ(kern_check(&t, &e), E_UNSUPPORTED);
    CHECK_HAS(e.text, "training");
}

TEST(kern_open_refuses_what_is_not_there) {
    static const char *const names[] = {"ref", "cpu"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct kern_ops *ops;
        struct kern *k = NULL;
        if (kern_find(names[i], &ops, NULL)) continue;
        CHECK(ops->open(&(struct kern_config){.device = 7}, &k, NULL) < 0);
        CHECK(k == NULL);
        if (i == 1) CHECK(ops->open(&(struct kern_config){.isa = "mmx"}, &k, NULL) < 0);
        CHECK(k == NULL);
        ops->close(NULL);
    }
}

OP_TEST(device_memory_is_zeroed_aligned_and_counted) {
    struct kern_stats a, b;
    struct kern_ptr p[8];
    r->ops->stats(r->k, &a);
    for (size_t i = 0; i < 8; i++) {
        size_t bytes = i * 37 + 1;
        CHECK_EQ(r->ops->alloc(r->k, bytes, &p[i], NULL), 0);
        CHECK_EQ((uintptr_t)p[i].addr % 64, 0);
        const char *got = rig_get(r, p[i], bytes);
        for (size_t c = 0; c < bytes; c++)
            CHECK_EQ(got[c], 0);
        r->ops->put(r->k, p[i], memset(host_take(bytes), 0x5a, bytes), bytes);
    }
    r->ops->stats(r->k, &b);
    CHECK_EQ(b.allocations - a.allocations, 8);
    CHECK(b.live_bytes - a.live_bytes >= 8 + 37 * 28);
    for (size_t i = 0; i < 8; i++)
        r->ops->free(r->k, p[i]);
    r->ops->free(r->k, (struct kern_ptr){NULL});
    uint64_t peak = b.peak_bytes;
    r->ops->stats(r->k, &b);
    CHECK_EQ(b.live_bytes, a.live_bytes);
    CHECK_EQ(b.peak_bytes, peak);
    r->ops->mat_free(r->k, NULL);
}

OP_TEST(device_memory_keeps_what_was_put) {
    char text[] = "0123456789abcdef";
    struct kern_ptr a = rig_put(r, text, 16), b = rig_put(r, host_take(64), 64);
    r->ops->copy(r->k, kern_at(b, 5), kern_at(a, 3), 7);
    r->ops->copy(r->k, b, a, 0);
    const char *got = rig_get(r, b, 64);
    CHECK_MEM(got, "\0\0\0\0\0003456789\0\0\0", 15);
    r->ops->put(r->k, a, "XY", 2);
    CHECK_MEM(rig_get(r, a, 16), "XY23456789abcdef", 16);
    CHECK_EQ(r->ops->sync(r->k, NULL), 0);
    CHECK(strlen(r->ops->describe(r->k)) > 3);
}

OP_TEST(device_memory_that_is_not_there_is_reported) {
    struct kern_ptr p = {NULL};
    struct err e = {0};
    CHECK_EQ(r->ops->alloc(r->k, SIZE_MAX / 2 + 1, &p, &e), E_NOMEM);
    CHECK_EQ(e.code, E_NOMEM);
    CHECK_EQ(r->ops->alloc(r->k, SIZE_MAX, &p, NULL), E_NOMEM);
    int is_plugin = strcmp(r->backend, "cuda") == 0; /* its memory is out of our hook's reach */
    mem_fail_at(!is_plugin);
    CHECK_EQ(r->ops->alloc(r->k, 100, &p, NULL), is_plugin ? 0 : E_NOMEM);
    CHECK_EQ(p.addr != NULL, is_plugin);

    float w[6] = {0};
    struct kern_mat_part part = {w, 2, KERN_F32};
    struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = 3};
    struct kern_stats before, after;
    r->ops->stats(r->k, &before);
    int rc = E_NOMEM, failures = 0;
    for (uint64_t n = 1; rc; n++) { /* whichever allocation fails, nothing is left behind */
        struct kern_mat *m = NULL;
        mem_fail_at(n);
        rc = r->ops->mat_new(r->k, &src, &m, NULL);
        mem_fail_at(0);
        CHECK(rc == 0 || (rc == E_NOMEM && m == NULL && ++failures));
        r->ops->mat_free(r->k, m);
        r->ops->stats(r->k, &after);
        CHECK_EQ(after.live_bytes, before.live_bytes);
    }
    CHECK(failures > 0 || is_plugin);
    part.n = src.k = INT_MAX; /* refused by its size, before a byte of it is read */
    struct kern_mat *m = NULL;
    rc = r->ops->mat_new(r->k, &src, &m, NULL);
    CHECK(rc == E_TOO_BIG || rc == E_NOMEM);
    CHECK(m == NULL);
}

/* The cap counts both kinds of memory, and what is given back can be had again. */
OP_TEST(device_memory_keeps_to_its_cap) {
    enum { CAP = 1 << 20 };
    struct kern_config cfg = {.threads = r->threads, .isa = r->isa, .memory_max = CAP};
    struct kern_stats s;
    struct kern_ptr p, more = {NULL};
    struct kern_mat *m = NULL;
    struct kern *k;
    float *w = host_f32(CAP / 16);
    struct kern_mat_part part = {w, 1024, KERN_F32};
    const struct kern_mat_src src = {
        .parts = &part, .n_parts = 1, .k = 64}; /* a quarter of the cap */
    CHECK_EQ(r->ops->open(&cfg, &k, NULL), 0);
    r->ops->stats(k, &s);
    CHECK_EQ(s.most_bytes, CAP);
    CHECK_EQ(r->ops->alloc(k, CAP + 1, &p, NULL), E_NOMEM);
    CHECK_EQ(r->ops->alloc(k, CAP - (128 << 10), &p, NULL), 0);
    CHECK_EQ(r->ops->alloc(k, 129 << 10, &more, NULL), E_NOMEM);
    CHECK_EQ(r->ops->mat_new(k, &src, &m, NULL), E_NOMEM);
    CHECK(more.addr == NULL && m == NULL);
    r->ops->free(k, p);
    CHECK_EQ(r->ops->mat_new(k, &src, &m, NULL), 0);
    CHECK_EQ(r->ops->alloc(k, CAP - (255 << 10), &p, NULL), E_NOMEM);
    CHECK_EQ(r->ops->alloc(k, CAP / 2, &p, NULL), 0);
    r->ops->stats(k, &s);
    CHECK(s.live_bytes <= CAP);
    r->ops->close(k);
}

OP_TEST(device_knows_the_rows_of_its_best_pass) {
    int rows = r->ops->pass_rows(r->k);
    CHECK(strcmp(r->backend, "cuda") ? rows == 512 : rows == 1024 || rows == 2048);
}

/* Without a cap the CPU takes what was free when it was opened, and not what others have. */
TEST(device_cpu_leaves_the_host_its_memory) {
    const struct kern_ops *ops;
    struct kern *k;
    struct kern_ptr p = {NULL};
    struct kern_stats s;
    struct err e = {0};
    if (access("/proc/meminfo", R_OK)) skip("no /proc/meminfo");
    CHECK_EQ(kern_find("cpu", &ops, NULL), 0);
    CHECK_EQ(ops->open(&(struct kern_config){.threads = 1}, &k, NULL), 0);
    CHECK_EQ(ops->alloc(k, (size_t)1 << 50, &p, &e), E_NOMEM);
    CHECK(p.addr == NULL);
    CHECK_HAS(e.text, "no memory for 1073741824.0 MiB beside 0.0 MiB: there were ");
    ops->stats(k, &s);
    CHECK_EQ(s.most_bytes, 0); /* nobody asked for a cap: pools don't grow into all of it */
    ops->close(k);
}

struct product {
    const struct kern_ops *ops;
    struct kern *k;
    const struct kern_gemm *a;
    int n; /* times issued */
};

static void issue_product(void *ud) {
    struct product *p = ud;
    p->ops->gemm(p->k, p->a);
    p->n++;
}

OP_TEST(device_counts_operations_and_multiply_adds) {
    struct kern_stats a, b;
    struct kern_mat *mat = rig_mat(r, host_random(r, 35, 1), 5, 7);
    struct tensor x = tensor_in(r, host_random(r, 21, 1), 3, 7, 0), y = tensor_out(r, 3, 5, 0);
    r->ops->stats(r->k, &a);
    const struct kern_gemm product = {.m = 3, .x = x.p, .ldx = 7, .w = mat, .y = y.p, .ldy = 5};
    struct product p = {r->ops, r->k, &product, 0};
    r->ops->pass(r->k, 42, issue_product, &p);
    CHECK_EQ(p.n, 1);
    r->ops->stats(r->k, &b);
    CHECK_EQ(b.ops - a.ops, 1);
    CHECK_EQ(b.flops - a.flops, 2 * 3 * 5 * 7);
    CHECK_EQ(b.allocations, a.allocations);
    r->ops->mat_free(r->k, mat);
}

/* Marks lie in the order of the operations, and the time between them is a part of the clock's. */
OP_TEST(device_marks_times) {
    enum { ROWS = 64, D = 64, STEPS = 5 };
    uint64_t ns[KERN_MARKS], sum = 0, before, after;
    struct tensor x = tensor_in(r, host_random(r, ROWS * 2 * D, 1), ROWS, 2 * D, 0);
    struct tensor y = tensor_out(r, ROWS, D, 0);
    const struct kern_swiglu a = {ROWS, D, x.p, x.ld, y.p, y.ld, KERN_F32};
    CHECK_EQ(r->ops->marked(r->k, 0, ns, NULL), 0);
    for (int again = 0; again < 2; again++) { /* a mark may be set anew */
        memset(ns, 0xff, sizeof ns);
        CHECK_EQ(r->ops->sync(r->k, NULL), 0);
        before = clock_ns();
        for (int i = 0; i < STEPS; i++) {
            r->ops->mark(r->k, i);
            for (int j = 0; j < i; j++)
                r->ops->swiglu(r->k, &a);
        }
        r->ops->mark(r->k, STEPS);
        CHECK_EQ(r->ops->marked(r->k, STEPS + 1, ns, NULL), 0);
        after = clock_ns();
        sum = 0;
        for (int i = 0; i < STEPS; i++) {
            CHECK(ns[i] <= after - before);
            sum += ns[i];
        }
        CHECK(sum > 0 && sum <= (after - before) / 10 * 11 + 100000); /* the clocks are two */
        CHECK_EQ(ns[STEPS], UINT64_MAX);
    }
    r->ops->mark(r->k, KERN_MARKS - 1);
}

OP_TEST(device_tells_how_it_multiplies) {
    static const struct {
        const char *backend, *plain, *fp8;
    } want[] = {{"ref", "5 x 7 f32: plain loops", "5 x 7 fp8: plain loops"},
                {"cpu", "5 x 7 f32: %s, panels of ", "5 x 7 fp8 in f32: %s, panels of "},
                {"cuda", "5 x 7 f32: our own product", "5 x 7 fp8 in f32: our own product"}};
    const char *plain = rig_is_bf16(r) ? "5 x 7 bf16: %s, panels of " : NULL;
    float *w = host_random(r, 35, 1);
    for (int as_fp8 = 0; as_fp8 < 2; as_fp8++) {
        char begins[100] = "", text[100], one[1];
        struct kern_mat_part part = {w, 5, KERN_F32};
        struct kern_mat_src src = {
            .parts = &part, .n_parts = 1, .k = 7, .keep = as_fp8 ? KERN_KEEP_FP8 : KERN_KEEP_OWN};
        struct kern_mat *m;
        CHECK_EQ(r->ops->mat_new(r->k, &src, &m, NULL), 0);
        for (size_t i = 0; i < ARRAY_LEN(want); i++)
            if (!strcmp(r->backend, want[i].backend))
                snprintf(begins, sizeof begins,
                         as_fp8  ? want[i].fp8
                         : plain ? plain
                                 : want[i].plain,
                         r->isa);
        int n = r->ops->mat_describe(r->k, m, text, sizeof text);
        CHECK_EQ(n, strlen(text));
        CHECK(begins[0] && !strncmp(text, begins, strlen(begins)));
        CHECK_EQ(r->ops->mat_describe(r->k, m, one, 1), n);
        CHECK_EQ(one[0], 0);
        r->ops->mat_free(r->k, m);
    }
}

/* The contract of close: whoever forgets to give back, or fails half-way, leaks nothing. */
OP_TEST(device_close_frees_what_is_left) {
    struct mem_stats before, after;
    mem_stats(&before);
    struct kern_config cfg = {.threads = r->threads, .isa = r->isa};
    struct kern *k;
    CHECK_EQ(r->ops->open(&cfg, &k, NULL), 0);
    struct kern_ptr p[3];
    for (size_t i = 0; i < 3; i++)
        CHECK_EQ(r->ops->alloc(k, 1000 * i, &p[i], NULL), 0);
    r->ops->free(k, p[1]); /* out of the middle */
    float w[6] = {0};
    struct kern_mat_part part = {w, 2, KERN_F32};
    struct kern_mat *m;
    CHECK_EQ(
        r->ops->mat_new(k, &(struct kern_mat_src){.parts = &part, .n_parts = 1, .k = 3}, &m, NULL),
        0);
    r->ops->close(k);
    mem_stats(&after);
    CHECK_EQ(after.live_bytes, before.live_bytes);
}
