/* gemm_lt.cu - products by cuBLASLt.
 *
 * cuBLAS thinks in columns: what we call y (rows, n) is its D (n, rows), W (n, k) its A transposed,
 * x its B; on the way back (gemm_dx) dx (rows, k) is D, W is A as it lies, dy is B. A's type is
 * x's; D and C are f32; sums are f32. In e4m3 partial sums are taken over to f32 often enough:
 * CUBLASLT_MATMUL_DESC_FAST_ACCUM stays off. Where the library puts scales to sums ("outer
 * vectors": cuBLAS 12.9 and later, on Hopper), a sum of codes is multiplied by the scale of its row
 * and that of its column on the way out, and may go to y. Elsewhere nothing is scaled here, and
 * rows are rounded up to multiples of 16, as the other two dimensions always are.
 *
 * Which algorithm serves how many rows says lt_choose.cu. A call that fails - whichever: a
 * layout's, the product's own - has queued nothing.
 *   - By a bucket's own algorithm: the base takes its rows from then on, with the same bits.
 *   - By the base: the matrix goes over to our own product for good, which gives other bits. So the
 *     bits of a matrix change once at most while a device is open, and never back. From then on the
 *     device is like no other (kern_stats.bits).
 * The log is told of either. A device that is really lost is found by our own launch. While a pass
 * is recorded a failure may be the capture's: it spoils the pass, which is then issued again
 * (graph.cu), and what fails there once more falls.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cuda/lt.cuh"

struct lt_plan {
    struct lt_shape *shape; /* borrowed */
    bool is_off;            /* a call failed: our own product from then on */
};

struct lt_plan *lt_plan_new(struct kern *k, const struct kern_mat *m, bool is_back) {
    struct lt_shape *s = lt_shape_of(k, m, is_back);
    if (s->end[0].has) {
        struct lt_plan *p = (struct lt_plan *)mem_must(sizeof *p);
        p->shape = s;
        return p;
    }
    if (!k->lt->has_told)
        cuda_note(k, "cuBLASLt has no algorithm for %s, and maybe others: our own product",
                  s->name);
    k->lt->has_told = true;
    return NULL;
}

void lt_plan_free(struct lt_plan *p) { mem_free(p); }

/* ---- telling ---- */

/* A number of the algorithm, which has 4 bytes or 2. False: this library doesn't know it. */
static bool get_number(const struct lt *lt, const cublasLtMatmulAlgo_t *algo,
                       cublasLtMatmulAlgoConfigAttributes_t what, size_t bytes, uint32_t *value) {
    size_t written = 0;
    *value = 0; /* the low bytes are the first */
    return !lt->MatmulAlgoConfigGetAttribute(algo, what, value, bytes, &written) &&
           written == bytes;
}

void lt_describe_algo(const struct lt *lt, const struct lt_algo *a, bool in_brief,
                      char (&text)[LT_TEXT]) {
    static const struct {
        const char *name;
        cublasLtMatmulAlgoConfigAttributes_t what;
        size_t bytes;
    } numbers[] = {{"id", CUBLASLT_ALGO_CONFIG_ID, 4},
                   {"tile", CUBLASLT_ALGO_CONFIG_TILE_ID, 4},
                   {"stages", CUBLASLT_ALGO_CONFIG_STAGES_ID, 4},
                   {"cluster", CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, 2},
                   {"inner shape", CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, 2},
                   {"swizzle", CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, 4},
                   {"custom", CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, 4}};
    size_t n = sizeof text;
    int len = 0;
    for (size_t i = 0; i < (in_brief ? 4 : ARRAY_LEN(numbers)); i++) {
        uint32_t value;
        if (!get_number(lt, &a->algo, numbers[i].what, numbers[i].bytes, &value)) continue;
        len += snprintf(text + len, n - (size_t)len, "%s%s %u", len ? ", " : "", numbers[i].name,
                        value);
        must((size_t)len < n);
    }
    if (in_brief) return;
    len += snprintf(text + len, n - (size_t)len, ", workspace %zu", a->workspace);
    must((size_t)len < n);
}

int lt_describe(const struct lt *lt, const struct lt_plan *p, char *text, size_t n) {
    const struct lt_end *end = p->shape->end;
    char plain[LT_TEXT], bias[LT_TEXT] = "none";
    lt_describe_algo(lt, &end[0].base, false, plain);
    if (end[1].has) lt_describe_algo(lt, &end[1].base, false, bias);
    if (p->shape->type == CUDA_R_8F_E4M3) /* codes take none */
        return snprintf(text, n, "%s%s", plain, p->shape->has_scales ? ", with scales" : "");
    return snprintf(text, n, "%s; with bias %s", plain, strcmp(plain, bias) ? bias : "the same");
}

/* A text that grows within n bytes, and its whole length. */
struct text {
    char *to;
    size_t n, len;
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *t, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    size_t at = t->len < t->n ? t->len : t->n;
    t->len += (size_t)vsnprintf(t->to + at, t->n - at, fmt, ap);
    va_end(ap);
}

static void tell_end(struct text *t, const struct lt *lt, const struct lt_end *end) {
    static const char *const states[] = {"unproved", "no room for a proof",
                                         "nothing to prove it by", "proved"};
    char how[LT_TEXT];
    lt_describe_algo(lt, &end->base, false, how);
    add(t, "%s, %s", how, states[end->state]);
    if (end->state != LT_PROVED) return;
    add(t, " for %d rows; %d others tried, %d unequal, %d failed%s", end->rows, end->n_tried,
        end->n_unequal, end->n_failed, end->is_cut_short ? ", time was over" : "");
    for (int i = 0; i < LT_BUCKETS; i++) {
        const struct lt_bucket *b = &end->bucket[i];
        if (!b->has_own) continue;
        lt_describe_algo(lt, &b->algo, true, how);
        add(t, "; to %d rows %s, %.1f us for %.1f", lt_bucket_rows[i], how, (double)b->us,
            (double)b->base_us);
    }
}

int cuda_products(const struct kern *k, int i, char *text, size_t n) {
    struct text t = {text, n, 0};
    const struct lt_shape *s = k->lt ? k->lt->shapes : NULL;
    if (!s) return 0;
    for (; s; s = s->next) {
        for (int b = 0; b < 2; b++) {
            if (!s->end[b].desc || i-- > 0) continue;
            add(&t, "%s%s: ", s->name, b ? ", bias" : "");
            if (s->end[b].has)
                tell_end(&t, k->lt, &s->end[b]);
            else
                add(&t, "nothing of cuBLASLt's");
            return (int)t.len;
        }
    }
    if (i == 0) add(&t, "proved and chosen in %.0f ms", (double)k->lt->spent_ms);
    return (int)t.len;
}

/* ---- multiplying ---- */

bool lt_serves(const struct lt_plan *p) { return p && !p->is_off; }

bool lt_takes_bias(const struct lt_plan *p) { return p->shape->end[1].has; }

bool lt_takes_scales(const struct lt_plan *p) { return p->shape->has_scales; }

cublasStatus_t lt_set_rows(const struct lt *lt, const struct lt_shape *s, int rows, int ldy) {
    uint64_t cols = (uint64_t)((rows + s->step - 1) / s->step * s->step);
    int64_t ld = ldy;
    cublasStatus_t rc =
        lt->MatrixLayoutSetAttribute(s->x, CUBLASLT_MATRIX_LAYOUT_COLS, &cols, sizeof cols);
    if (!rc)
        rc = lt->MatrixLayoutSetAttribute(s->y, CUBLASLT_MATRIX_LAYOUT_COLS, &cols, sizeof cols);
    if (!rc) rc = lt->MatrixLayoutSetAttribute(s->y, CUBLASLT_MATRIX_LAYOUT_LD, &ld, sizeof ld);
    return rc;
}

static cublasStatus_t set_pointer(const struct lt *lt, cublasLtMatmulDesc_t d,
                                  cublasLtMatmulDescAttributes_t what, const void *p) {
    return lt->MatmulDescSetAttribute(d, what, &p, sizeof p);
}

cublasStatus_t lt_run(struct kern *k, const struct lt_shape *s, const struct lt_algo *a,
                      const struct lt_call *c) {
    const struct lt *lt = k->lt;
    cublasLtMatmulDesc_t d = s->end[c->bias != NULL].desc;
    float one = 1.0f, more = c->accumulate ? 1.0f : 0.0f;
    cublasStatus_t rc = lt_set_rows(lt, s, c->rows, c->ldy);
    if (!rc && c->bias) rc = set_pointer(lt, d, CUBLASLT_MATMUL_DESC_BIAS_POINTER, c->bias);
    if (!rc && s->has_scales)
        rc = set_pointer(lt, d, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, c->w_scales);
    if (!rc && s->has_scales)
        rc = set_pointer(lt, d, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, c->x_scales);
    if (rc) return rc;
    return lt->Matmul(lt->handle, d, &one, c->w, s->w, c->x, s->x, &more, c->y, s->y, c->y, s->y,
                      &a->algo, lt->workspace, cuda_lt_bytes, k->stream);
}

/* A bucket's own algorithm failed. */
static void give_up_own(struct kern *k, struct lt_shape *s, int with_bias, int bucket, int rows,
                        cublasStatus_t status) {
    (void)cudaGetLastError();
    s->end[with_bias].bucket[bucket].has_own = false;
    cuda_note(k,
              "cuBLASLt failed for %d row%s by %s, status %d (%s), with the algorithm for up to %d "
              "rows: another from now on, with the same bits",
              rows, rows == 1 ? "" : "s", s->name, (int)status, k->lt->GetStatusName(status),
              lt_bucket_rows[bucket]);
}

/* See the story above. */
static void give_up(struct kern *k, struct lt_plan *p, int rows, cublasStatus_t status) {
    (void)cudaGetLastError(); /* it is the matrix's; what is for good says so again */
    p->is_off = true;
    k->stats.bits ^= (uint64_t)(uintptr_t)p; /* like no other */
    cuda_note(k, "cuBLASLt failed for %d row%s by %s, status %d (%s): our own product from now on",
              rows, rows == 1 ? "" : "s", p->shape->name, (int)status,
              k->lt->GetStatusName(status));
}

bool lt_product(struct kern *k, const struct kern_mat *m, struct lt_plan *p, int rows,
                const void *x, const float *scales, float *y, int ldy, const float *bias,
                bool accumulate) {
    struct lt_shape *s = p->shape;
    struct lt_end *end = &s->end[bias != NULL];
    struct lt_call c = {rows, m->w, x, m->scales, scales, y, ldy, bias, accumulate};
    int bucket;
    const struct lt_algo *a = lt_algo_for(end, rows, &bucket);
    cublasStatus_t rc = lt_run(k, s, a, &c);
    if (rc && graphs_record(k)) {
        (void)cudaGetLastError();
        cuda_lose(k, "cublasLtMatmul", cudaErrorUnknown); /* until the end of the capture */
        return false;
    }
    if (rc && bucket >= 0) {
        give_up_own(k, s, bias != NULL, bucket, rows, rc);
        rc = lt_run(k, s, &end->base, &c);
    }
    if (rc) give_up(k, p, rows, rc);
    return !rc;
}
