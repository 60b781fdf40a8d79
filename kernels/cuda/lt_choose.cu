/* lt_choose.cu - which algorithms of cuBLASLt serve matrices of one shape.
 *
 * What makes a row's bits independent of its company: an output is one sum over k, made by one
 * block of threads in an order that the algorithm fixes. So an algorithm is taken only when it
 *   1. does not split k (SPLITK_NUM at most 1, REDUCTION_SCHEME none), and
 *   2. is legal for every number of rows that it may get, and for every stride of y: a head's
 *      logits lie as far apart as the widest head's (engine/model).
 * Attributes can't prove more. Bytes do (lt_proof.cu):
 *
 *     the base       the heuristic's first for ROWS_TYPICAL rows that keeps both rules, and whose
 *                    rows have the same bytes in calls of 1 to 4,608 rows, or of as many as there
 *                    is room for. It says what the bits of the shape are.
 *     a bucket's     whichever of the heuristic's for the bucket's rows is fastest among those
 *     own            whose rows have the base's bytes. Where none is faster, the base serves.
 *
 * So time never decides about bits. Two devices whose bases are the same give the same bits,
 * whatever else they chose; hence kern_stats.bits is made of the bases alone.
 *
 * A base is proved whatever time it takes. Buckets' own are looked for until SLICE_MS of an end are
 * over, or TOTAL_MS of all of a device, proofs included. What isn't tried by then is left to the
 * base, small buckets come first. Layers share shapes. A matrix that is small beside the L2 is not
 * worth it: it has its base, unproved. One that holds zeros alone, or what is no number, proves
 * nothing, and the next matrix of its shape is asked, a few times.
 */
#include <stdio.h>
#include <string.h>

#include "kernels/cuda/lt.cuh"

enum { ROWS_TYPICAL = 1024, CANDIDATES = 32 };
enum { WIDEST = 32000 }; /* columns of the widest head: LLaMA-2's vocabulary */
enum { L2_PARTS = 64 };  /* of the L2: a matrix below one of them is small */
enum { LOOKS = 4 };      /* at matrices of one shape */
static const float slice_ms = 400, total_ms = 6000;
static const float faster = 0.97f; /* than the base, or it stays: less is noise */

/* ---- the rules ---- */

/* Rule 2, for one stride of y. Sums of 8 GiB and more are not asked about: they hardly come. */
static bool takes_rows(const struct lt *lt, const struct lt_shape *s, int with_bias, int ldy,
                       const int *rows, int n, struct lt_algo *a) {
    for (int i = 0; i < n; i++) {
        cublasLtMatmulHeuristicResult_t r;
        if (rows[i] > 1025 && (int64_t)rows[i] * ldy > INT32_MAX) break;
        if (lt_set_rows(lt, s, rows[i], ldy) ||
            lt->MatmulAlgoCheck(lt->handle, s->end[with_bias].desc, s->w, s->x, s->y, s->y,
                                &a->algo, &r) ||
            r.workspaceSize > cuda_lt_bytes)
            return false;
        if (r.workspaceSize > a->workspace) a->workspace = r.workspaceSize;
    }
    return true;
}

static bool splits_sums(const struct lt *lt, const struct lt_algo *a) {
    int32_t splits = 0;
    uint32_t scheme = 0;
    size_t n;
    return lt->MatmulAlgoConfigGetAttribute(&a->algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &splits,
                                            sizeof splits, &n) ||
           lt->MatmulAlgoConfigGetAttribute(&a->algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME,
                                            &scheme, sizeof scheme, &n) ||
           splits > 1 || splits < 0 || scheme != CUBLASLT_REDUCTION_SCHEME_NONE;
}

bool lt_keeps_rules(const struct lt *lt, const struct lt_shape *s, int with_bias, const int *rows,
                    int n, struct lt_algo *a) {
    int strides[3], n_strides = lt_strides(s, strides);
    a->workspace = 0;
    if (splits_sums(lt, a)) return false;
    for (int i = 0; i < n_strides; i++)
        if (!takes_rows(lt, s, with_bias, strides[i], rows, n, a)) return false;
    return true;
}

/* Codes without scales go through a stage, which has one stride. Else the densest, the least
 * aligned, and that of the widest head. */
int lt_strides(const struct lt_shape *s, int strides[3]) {
    strides[0] = s->ldy;
    strides[1] = s->ldy + 4;
    strides[2] = s->ldy > WIDEST ? s->ldy : WIDEST;
    return s->type == CUDA_R_8F_E4M3 && !s->has_scales ? 1 : 3;
}

int lt_bucket_counts(int bucket, int rows[LT_COUNTS]) {
    int least = bucket ? lt_bucket_rows[bucket - 1] + 1 : 1, most = lt_bucket_rows[bucket];
    rows[0] = least;
    rows[1] = (least + most) / 2 | 1;
    rows[2] = most;
    return LT_COUNTS;
}

const struct lt_algo *lt_algo_for(const struct lt_end *end, int rows, int *bucket) {
    int i = 0;
    while (i < LT_BUCKETS && rows > lt_bucket_rows[i])
        i++;
    bool has_own = i < LT_BUCKETS && end->bucket[i].has_own;
    *bucket = has_own ? i : -1;
    return has_own ? &end->bucket[i].algo : &end->base;
}

/* Whether an algorithm may need a bias that is better aligned follows from the pointer's value. So
 * it has the least that callers promise, not what the last product left there. */
static cublasStatus_t promise_bias(const struct lt *lt, cublasLtMatmulDesc_t d) {
    const void *least = (const void *)(uintptr_t)16;
    return lt->MatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &least, sizeof least);
}

/* What the heuristic has for so many rows, the best first. */
static int ask(const struct lt *lt, const struct lt_shape *s, int with_bias, int rows,
               cublasLtMatmulHeuristicResult_t (&found)[CANDIDATES]) {
    cublasLtMatmulDesc_t d = s->end[with_bias].desc;
    int n = 0;
    if (!d || lt_set_rows(lt, s, rows, s->ldy) || (with_bias && promise_bias(lt, d)) ||
        lt->MatmulAlgoGetHeuristic(lt->handle, d, s->w, s->x, s->y, s->y, lt->preference,
                                   CANDIDATES, found, &n))
        return 0;
    return n;
}

/* ---- the base ---- */

/* Has each row the same bytes in calls of all numbers of rows? */
static enum lt_verdict prove_base(struct lt_proof *p, struct lt_end *end, const struct lt_algo *a) {
    enum lt_verdict v = lt_proof_base(p, a);
    if (v == LT_OTHER) end->state = LT_NO_NUMBER;
    if (v != LT_SAME) return v == LT_OTHER ? LT_SAME : v;
    for (int i = 0; i < LT_BUCKETS; i++) {
        v = lt_proof_look(p, a, i);
        if (v != LT_SAME) return v;
    }
    end->state = LT_PROVED;
    end->rows = lt_proof_rows(p);
    return v;
}

/* `p`: NULL, then the first is taken that keeps the rules. */
static void choose_base(struct kern *k, struct lt_shape *s, int with_bias, struct lt_proof *p) {
    static const int rows[] = {1, 2, 7, 16, 64, 257, 512, 1025, 4096, CUDA_ROWS_MOST};
    struct lt_end *end = &s->end[with_bias];
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    int n = ask(k->lt, s, with_bias, ROWS_TYPICAL, found);
    char how[LT_TEXT];
    end->has = false;
    for (int i = 0; i < n && !k->lost.code; i++) {
        struct lt_algo a = {found[i].algo, 0};
        if (found[i].state != CUBLAS_STATUS_SUCCESS ||
            !lt_keeps_rules(k->lt, s, with_bias, rows, (int)ARRAY_LEN(rows), &a))
            continue;
        enum lt_verdict v = p ? prove_base(p, end, &a) : LT_SAME;
        if (v != LT_SAME) {
            lt_describe_algo(k->lt, &a, false, how);
            cuda_note(k, "cuBLASLt for %s%s, %s: %s, so it is not taken", s->name,
                      with_bias ? " with bias" : "", how,
                      v == LT_FAILS ? "it failed" : "rows have other bits in other company");
            continue;
        }
        end->base = a;
        end->has = true;
        return;
    }
}

/* ---- a bucket's own ---- */

static bool is_over(const struct lt *lt, struct lt_proof *p) {
    float ms = lt_proof_ms(p);
    return ms > slice_ms || lt->spent_ms + ms > total_ms;
}

static bool is_same(const struct lt_algo *a, const cublasLtMatmulAlgo_t *b) {
    return memcmp(&a->algo, b, sizeof *b) == 0;
}

/* One of the heuristic's: in place of what the bucket has, if it is faster and has the bits. */
static void try_one(struct kern *k, struct lt_shape *s, int with_bias, struct lt_proof *p, int i,
                    const cublasLtMatmulAlgo_t *algo) {
    struct lt_end *end = &s->end[with_bias];
    struct lt_bucket *bucket = &end->bucket[i];
    struct lt_algo a = {*algo, 0};
    int rows[LT_COUNTS], n = lt_bucket_counts(i, rows);
    if (!lt_keeps_rules(k->lt, s, with_bias, rows, n, &a)) return;
    enum lt_verdict v = lt_proof_look(p, &a, i);
    end->n_tried++;
    end->n_unequal += v == LT_OTHER;
    end->n_failed += v == LT_FAILS;
    if (v != LT_SAME) return;
    float us = lt_proof_time(p, &a, i);
    if (us >= (bucket->has_own ? bucket->us : faster * bucket->base_us)) return;
    bucket->has_own = true;
    bucket->algo = a;
    bucket->us = us;
}

static void choose_bucket(struct kern *k, struct lt_shape *s, int with_bias, struct lt_proof *p,
                          int i) {
    struct lt_end *end = &s->end[with_bias];
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    if (is_over(k->lt, p)) {
        end->is_cut_short = true;
        return;
    }
    int n = ask(k->lt, s, with_bias, lt_bucket_rows[i], found);
    end->bucket[i].base_us = lt_proof_time(p, &end->base, i);
    for (int c = 0; c < n && !k->lost.code; c++) {
        if (found[c].state != CUBLAS_STATUS_SUCCESS || is_same(&end->base, &found[c].algo))
            continue;
        if (is_over(k->lt, p)) {
            end->is_cut_short = true;
            return;
        }
        try_one(k, s, with_bias, p, i, &found[c].algo);
    }
}

/* Base and buckets of one end, by a matrix of the shape. */
static void choose_end(struct kern *k, struct lt_shape *s, const struct kern_mat *m,
                       int with_bias) {
    struct lt_end *end = &s->end[with_bias];
    size_t bytes = (size_t)m->rows * (size_t)m->ld * (m->scales ? 1 : 2);
    bool is_worth_it = !k->lt->only_base && bytes * L2_PARTS >= k->l2_bytes && !k->lost.code;
    struct lt_proof *p = is_worth_it ? lt_proof_open(k, s, m, with_bias) : NULL;
    end->state = is_worth_it && !p ? LT_NO_ROOM : LT_UNPROVED;
    choose_base(k, s, with_bias, p);
    for (int i = 0; i < LT_BUCKETS && end->state == LT_PROVED; i++)
        if (lt_bucket_rows[i] <= end->rows && !k->lost.code) choose_bucket(k, s, with_bias, p, i);
    if (p) k->lt->spent_ms += lt_proof_ms(p);
    lt_proof_close(p);
}

/* ---- shapes ---- */

/* D = A^T B, or A B on the way back, [+ C] [+ bias]. NULL when cuBLASLt refuses. */
static cublasLtMatmulDesc_t new_desc(const struct lt *lt, const struct lt_shape *s, bool with_bias,
                                     const void *scales) {
    cublasLtMatmulDesc_t d;
    int32_t transposed = s->is_back ? CUBLAS_OP_N : CUBLAS_OP_T, type = CUDA_R_32F,
            mode = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    uint32_t epilogue = with_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    const struct {
        cublasLtMatmulDescAttributes_t what;
        const void *value;
        size_t bytes;
        bool is_meant;
    } all[] = {{CUBLASLT_MATMUL_DESC_TRANSA, &transposed, 4, true},
               {CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, 4, true},
               {CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, 4, with_bias},
               {CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &mode, 4, s->has_scales},
               {CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &mode, 4, s->has_scales},
               /* any, for the heuristic may look whether they are there */
               {CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &scales, sizeof scales, s->has_scales},
               {CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &scales, sizeof scales, s->has_scales}};
    if (lt->MatmulDescCreate(&d, CUBLAS_COMPUTE_32F, CUDA_R_32F)) return NULL;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (!all[i].is_meant ||
            !lt->MatmulDescSetAttribute(d, all[i].what, all[i].value, all[i].bytes))
            continue;
        (void)lt->MatmulDescDestroy(d);
        return NULL;
    }
    return d;
}

/* On the way back only the columns that exist are made: dx has no room for others. */
static bool shape_fill(struct kern *k, struct lt_shape *s, const struct kern_mat *m) {
    struct lt *lt = k->lt;
    int n = s->rows, depth = s->is_back ? s->k : s->ld; /* of A's columns and rows */
    s->in = s->is_back ? n : depth;
    s->out = s->is_back ? depth : n;
    s->ldx = s->is_back ? (int)cuda_row_16bit((size_t)s->in) : s->in;
    s->ldy = (int)cuda_row_sums((size_t)s->out); /* 16-byte rows: what every call has */
    s->step = m->scales && !s->has_scales ? 16 : 1;
    if (lt->MatrixLayoutCreate(&s->w, s->type, (uint64_t)depth, (uint64_t)n, s->ld) ||
        lt->MatrixLayoutCreate(&s->x, s->type, (uint64_t)s->in, ROWS_TYPICAL, s->ldx) ||
        lt->MatrixLayoutCreate(&s->y, CUDA_R_32F, (uint64_t)s->out, ROWS_TYPICAL, s->ldy))
        return false;
    for (int b = 0; b < (m->scales || s->is_back ? 1 : 2); b++)
        s->end[b].desc = new_desc(lt, s, b != 0, m->scales);
    return true;
}

static void shape_free(struct lt *lt, struct lt_shape *s) {
    cublasLtMatrixLayout_t layouts[] = {s->w, s->x, s->y};
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++)
        if (layouts[i]) (void)lt->MatrixLayoutDestroy(layouts[i]);
    for (int b = 0; b < 2; b++)
        if (s->end[b].desc) (void)lt->MatmulDescDestroy(s->end[b].desc);
    mem_free(s);
}

void lt_shapes_free(struct lt *lt) {
    for (struct lt_shape *s = lt->shapes, *next; s; s = next) {
        next = s->next;
        shape_free(lt, s);
    }
    lt->shapes = NULL;
}

static cudaDataType_t type_of(const struct kern_mat *m) {
    if (m->scales) return CUDA_R_8F_E4M3;
    return m->dtype == KERN_BF16 ? CUDA_R_16BF : CUDA_R_16F;
}

/* All that follows from a matrix. Where cuBLASLt puts scales to sums, on Hopper, it writes to y,
 * so there may be no more columns than y has. */
static struct lt_shape *shape_new(struct kern *k, const struct kern_mat *m, bool is_back,
                                  bool has_scales) {
    char name[64];
    struct lt_shape *s = (struct lt_shape *)mem_must(sizeof *s);
    s->type = type_of(m);
    s->n = m->n;
    s->k = m->k;
    s->rows = m->rows;
    s->ld = m->ld;
    s->is_back = is_back;
    s->has_scales = has_scales;
    (void)snprintf(s->name, sizeof s->name, "%.48s%s", cuda_mat_shape(m, name),
                   is_back ? " backwards" : "");
    if (shape_fill(k, s, m))
        for (int b = 0; b < 2; b++)
            if (s->end[b].desc) choose_end(k, s, m, b);
    return s;
}

/* What kern_stats.bits is made of. */
static void mix_bits(struct kern *k, const struct lt_shape *s) {
    char how[LT_TEXT];
    cuda_mix_bits(k, s->name);
    for (int b = 0; b < 2; b++) {
        how[0] = '\0';
        if (s->end[b].has) lt_describe_algo(k->lt, &s->end[b].base, false, how);
        cuda_mix_bits(k, how);
    }
    cuda_mix_bits(k, s->has_scales ? "scaled" : "");
}

/* By another matrix, if the ones before proved nothing. */
static void look_again(struct kern *k, struct lt_shape *s, const struct kern_mat *m) {
    bool is_wanted = s->end[0].state == LT_NO_NUMBER || s->end[1].state == LT_NO_NUMBER;
    for (int b = 0; b < 2; b++)
        if (s->end[b].state == LT_NO_NUMBER) choose_end(k, s, m, b);
    if (is_wanted) mix_bits(k, s);
}

struct lt_shape *lt_shape_of(struct kern *k, const struct kern_mat *m, bool is_back) {
    struct lt *lt = k->lt;
    struct lt_shape **at = &lt->shapes;
    for (; *at; at = &(*at)->next) {
        struct lt_shape *s = *at;
        if (s->type != type_of(m) || s->n != m->n || s->k != m->k || s->is_back != is_back)
            continue;
        if (++s->n_looks < LOOKS) look_again(k, s, m);
        return s;
    }
    bool may_scale = m->scales && k->major == 9 && m->n == m->rows;
    struct lt_shape *s = shape_new(k, m, is_back, may_scale);
    if (may_scale && !s->end[0].has) {
        shape_free(lt, s);
        s = shape_new(k, m, is_back, false);
    }
    *at = s;
    mix_bits(k, s);
    return s;
}
