/* rig.c - see rig.h. */
#include "tests/unit/kernels/rig.h"

#include <stdio.h>

#include "kernels/base/half.h"
#include "kernels/base/mem.h"
#include "kernels/base/narrow.h"
#include "kernels/base/rng.h"

enum { GUARD = 32 }; /* floats before and behind a tensor, at least */
static const uint32_t poison = 0x7fc0deadu;

static struct arena *host;

void *host_take(size_t bytes) {
    void *p = arena_take(host, bytes ? bytes : 1);
    CHECK(p != NULL);
    return p;
}

float *host_f32(size_t n) { return host_take(n * sizeof(float)); }
double *host_f64(size_t n) { return host_take(n * sizeof(double)); }

float *host_random(struct rig *r, size_t n, float scale) {
    float *x = host_f32(n);
    for (size_t i = 0; i < n; i++) {
        x[i] = scale * rng_normal(test_seed(), r->drawn++);
        if (rig_is_bf16(r)) x[i] = half_from_bf16(half_to_bf16(x[i]));
    }
    return x;
}

int host_below(struct rig *r, int n) {
    return (int)(rng_u64(test_seed() + 1, r->drawn++) % (uint64_t)n);
}

uint64_t rig_allocations(void) {
    struct mem_stats s;
    mem_stats(&s);
    return s.allocations;
}

/* That a fast way is closed would hide behind the slow one's right answers. */
static void refuse_fall(void *ud, const char *text) {
    (void)ud;
    if (strstr(text, "failed for")) test_failed(__FILE__, __LINE__, "%s", text);
}

void rig_open(struct rig *r, const char *backend, const char *isa, int threads) {
    *r = (struct rig){.backend = backend, .isa = isa, .threads = threads};
    struct err e = {0};
    int rc = kern_find(backend, &r->ops, &e);
    if (!rc) {
        struct kern_config cfg = {.threads = threads, .isa = isa, .note = refuse_fall};
        rc = r->ops->open(&cfg, &r->k, &e);
    }
    if (rc == E_NOT_FOUND || rc == E_UNSUPPORTED) skip("%s", e.text);
    if (rc) test_failed(__FILE__, __LINE__, "%s %s: %s", backend, isa ? isa : "", e.text);
}

void rig_close(struct rig *r) { r->ops->close(r->k); }

void rig_run(const char *backend, const char *isa, void (*op)(struct rig *r)) {
    uint64_t digest = 0;
    for (int threads = 1; threads <= (isa ? 3 : 1); threads++) {
        struct rig r;
        host = arena_new((size_t)1 << 31);
        CHECK(host != NULL);
        rig_open(&r, backend, isa, threads);
        op(&r);
        if (threads == 1) digest = r.digest;
        CHECK_EQ(r.digest, digest); /* as many threads, as many bits */
        rig_close(&r);
        arena_free(host);
    }
}

int rig_is_16bit(const struct rig *r) { return r->isa && strcmp(r->isa, "tile") == 0; }

int rig_is_bf16(const struct rig *r) {
    return r->isa && (strcmp(r->isa, "avx512bf16") == 0 || strcmp(r->isa, "amx") == 0);
}

static uint16_t to_half(float x, enum kern_dtype t) {
    return t == KERN_BF16 ? half_to_bf16(x) : half_to_f16(x);
}

float *host_rounded(const float *x, size_t n, enum kern_dtype t) {
    float *y = host_f32(n);
    for (size_t i = 0; i < n; i++)
        y[i] = t == KERN_F32    ? x[i]
               : t == KERN_BF16 ? half_from_bf16(to_half(x[i], t))
                                : half_from_f16(to_half(x[i], t));
    return y;
}

struct kern_ptr rig_put_as(struct rig *r, const float *x, size_t n, enum kern_dtype t) {
    if (t == KERN_F32) return rig_put(r, x, n * sizeof *x);
    uint16_t *half = host_take(n * sizeof *half);
    for (size_t i = 0; i < n; i++)
        half[i] = to_half(x[i], t);
    return rig_put(r, half, n * sizeof *half);
}

int rig_takes_pool(const struct rig *r, enum kern_dtype t) { return r->ops->takes_pool(r->k, t); }

float *host_heads(const float *x, size_t heads, int size, enum kern_dtype t) {
    size_t n = (size_t)size;
    if (t != KERN_INT8) return host_rounded(x, heads * n, t);
    float *y = host_f32(heads * n);
    int8_t *q = host_take(n);
    for (size_t h = 0; h < heads; h++) {
        float scale = narrow_row_block(x + h * n, size, q);
        for (size_t i = 0; i < n; i++)
            y[h * n + i] = (float)q[i] * scale;
    }
    return y;
}

struct kern_ptr rig_put_heads(struct rig *r, const float *x, size_t heads, int size,
                              enum kern_dtype t) {
    size_t n = (size_t)size, bytes = kern_head_bytes(t, size);
    if (t != KERN_INT8) return rig_put_as(r, x, heads * n, t);
    char *all = host_take(heads * bytes);
    for (size_t h = 0; h < heads; h++) {
        char *to = all + h * bytes;
        float scale = narrow_row_block(x + h * n, size, (int8_t *)to + sizeof scale);
        memcpy(to, &scale, sizeof scale);
    }
    return rig_put(r, all, heads * bytes);
}

/* ---- tensors ---- */
static float *poisoned(size_t n) {
    uint32_t *x = host_take(n * sizeof(*x));
    for (size_t i = 0; i < n; i++)
        x[i] = poison;
    return (float *)(void *)x;
}

static struct tensor tensor_new(struct rig *r, const float *src, int rows, int cols, int pad) {
    struct tensor t = {.rows = rows, .cols = cols, .ld = cols + pad};
    t.lead = GUARD + (size_t)(pad % 2);
    t.total = t.lead + (size_t)rows * (size_t)t.ld + GUARD;
    CHECK_EQ(r->ops->alloc(r->k, t.total * sizeof(float), &t.base, NULL), 0);
    t.p = kern_at(t.base, t.lead * sizeof(float));
    float *all = poisoned(t.total);
    for (int i = 0; src && i < rows; i++)
        memcpy(all + t.lead + (size_t)i * (size_t)t.ld, src + (size_t)i * (size_t)cols,
               (size_t)cols * sizeof(float));
    r->ops->put(r->k, t.base, all, t.total * sizeof(float));
    return t;
}

struct tensor tensor_in(struct rig *r, const float *src, int rows, int cols, int pad) {
    return tensor_new(r, src, rows, cols, pad);
}

struct tensor tensor_out(struct rig *r, int rows, int cols, int pad) {
    return tensor_new(r, NULL, rows, cols, pad);
}

struct kern_ptr tensor_row(const struct tensor *t, int i) {
    return kern_at(t->p, (size_t)i * (size_t)t->ld * sizeof(float));
}

void *rig_get(struct rig *r, struct kern_ptr p, size_t bytes) {
    unsigned char *b = host_take(bytes);
    CHECK_EQ(r->ops->get(r->k, b, p, bytes, NULL), 0);
    for (size_t i = 0; i < bytes; i++)
        r->digest = (r->digest ^ b[i]) * 0x100000001b3u;
    return b;
}

float *tensor_get(struct rig *r, const struct tensor *t) {
    float *all = rig_get(r, t->base, t->total * sizeof(float));
    float *dense = host_f32((size_t)t->rows * (size_t)t->cols);
    for (size_t i = 0; i < t->total; i++) {
        size_t ld = (size_t)t->ld, at = i - t->lead; /* wraps before the first row */
        if (i >= t->lead && at < (size_t)t->rows * ld && at % ld < (size_t)t->cols) {
            dense[at / ld * (size_t)t->cols + at % ld] = all[i];
        } else if (memcmp(&all[i], &poison, sizeof(poison)) != 0) {
            test_failed(__FILE__, __LINE__,
                        "float %zd of a tensor (%d, %d) with stride %d was "
                        "written",
                        (ssize_t)at, t->rows, t->cols, t->ld);
        }
    }
    return dense;
}

struct kern_ptr rig_put(struct rig *r, const void *src, size_t bytes) {
    struct kern_ptr p;
    CHECK_EQ(r->ops->alloc(r->k, bytes, &p, NULL), 0);
    r->ops->put(r->k, p, src, bytes);
    return p;
}

struct kern_mat *rig_mat(struct rig *r, const float *w, int n, int k) {
    struct kern_mat_part part = {.data = w, .n = n, .dtype = KERN_F32};
    struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = k};
    struct kern_mat *m = NULL;
    CHECK_EQ(r->ops->mat_new(r->k, &src, &m, NULL), 0);
    return m;
}
