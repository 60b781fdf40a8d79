/* fake_lt.cc - a cuBLASLt of our own for the emulator: the seventeen functions that the plugin
 * calls, by the letter of their documentation (columns first, A transposed or not; codes with a
 * scale for each row and column, where both modes say so), on host memory. Its heuristic first
 * offers one algorithm that splits k, one that adds up in another way, one that does not take every
 * number of rows, and two that do not take every stride of y, a wide or a crooked one. The first
 * two must be refused by lt_choose.cu, and never compute here; the others where what they don't
 * take may come. Where a test wants more (fake_lt.h), there are some whose attributes are good and
 * whose bytes are not, one that fails for some rows, and one that is as good as the best and
 * faster for few rows. What else is made to be refused says the test. */
#include <cstdint>
#include <cstring>
#include <vector>

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "tests/cuda/emu/fake_lt.h"
#include "tests/cuda/emu/stream.h"

struct fake_layout {
    cudaDataType type;
    uint64_t rows, cols;
    int64_t ld;
};
struct fake_desc {
    int32_t transa;
    uint32_t epilogue;
    const float *bias;
    int32_t bias_type;
    int32_t scale_modes[2]; /* of A and B */
    const float *scales[2];
};
/* Algorithms: those that are always there, and those of fake_lt_control.more. */
enum { SPLITS = 7, REDUCES, PICKY, NARROW, ROUND, GOOD };
enum {
    TWIN = FAKE_LT_TWIN, /* as GOOD */
    UNEQUAL,             /* another order of sums */
    COMPANY,             /* of calls of up to 32 rows */
    STRIDED,             /* of wide y */
    MORE,                /* where y is added to */
    FAILS,               /* for 41 to 48 rows */
    CROWD = FAKE_LT_CROWD, /* another order of sums in calls of more than 2,048 rows */
    GAPS = FAKE_LT_GAPS    /* leaves the last column as it was, where nothing is added to it */
};
static_assert(CROWD == FAILS + 1 && GAPS == CROWD + 1);
/* What is promised of B, if nothing is said. */
struct fake_preference {
    uint32_t b_bytes = 256;
};

#define API extern "C" __attribute__((visibility("default")))
API struct fake_lt_control fake_lt_control;
struct fake_lt_control fake_lt_control;

static const fake_layout *layout(cublasLtMatrixLayout_t l) { return (const fake_layout *)l; }
static const fake_desc *desc(cublasLtMatmulDesc_t d) { return (const fake_desc *)d; }

static float value(const void *p, cudaDataType type, size_t i) {
    if (type == CUDA_R_8F_E4M3)
        return __half2float(__half(__nv_cvt_fp8_to_halfraw(((const uint8_t *)p)[i], __NV_E4M3)));
    if (type == CUDA_R_16BF) return __bfloat162float(((const __nv_bfloat16 *)p)[i]);
    if (type == CUDA_R_16F) return __half2float(((const __half *)p)[i]);
    return ((const float *)p)[i];
}

static bool has_scales(const fake_desc *d) {
    const int32_t outer = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    return d->scale_modes[0] == outer && d->scale_modes[1] == outer;
}

/* Is this D (n, m) = A (k, n) transposed times B (k, m), or A (n, k) as it is? fp8: the first, and
 * all in 16s; with scales m may be any number. */
static bool fits(const fake_desc *d, const fake_layout *a, const fake_layout *b,
                 const fake_layout *y) {
    bool is_scaled = has_scales(d);
    if (is_scaled && (a->type != CUDA_R_8F_E4M3 || fake_lt_control.no_scales)) return false;
    if (!is_scaled && (d->scale_modes[0] || d->scale_modes[1])) return false;
    if (a->type == CUDA_R_8F_E4M3 &&
        (a->rows % 16 || a->cols % 16 || (!is_scaled && b->cols % 16) || a->ld % 16 || b->ld % 16 ||
         d->epilogue != CUBLASLT_EPILOGUE_DEFAULT || d->transa != CUBLAS_OP_T))
        return false;
    bool is_turned = d->transa == CUBLAS_OP_T;
    return (is_turned ? a->rows : a->cols) == b->rows &&
           (is_turned ? a->cols : a->rows) == y->rows && b->cols == y->cols && a->type == b->type &&
           a->type != CUDA_R_32F && y->type == CUDA_R_32F && a->ld >= (int64_t)a->rows &&
           b->ld >= (int64_t)b->rows && y->ld >= (int64_t)y->rows && a->ld % 8 == 0 &&
           b->ld % 8 == 0 && y->ld % 4 == 0;
}

/* Does this algorithm take so many rows, so far apart? */
static bool takes(uint64_t algo, const fake_layout *y) {
    if (algo == PICKY) return y->cols % 32 == 0;
    if (algo == NARROW) return y->ld < 2 * (int64_t)y->rows + 4096;
    if (algo == ROUND) return y->ld == ((int64_t)y->rows + 7) / 8 * 8 || y->ld % 64 == 0;
    return true;
}

#define OK CUBLAS_STATUS_SUCCESS

API cublasStatus_t cublasLtCreate(cublasLtHandle_t *h) {
    *h = (cublasLtHandle_t)h;
    return OK;
}
API cublasStatus_t cublasLtDestroy(cublasLtHandle_t) { return OK; }
API size_t cublasLtGetVersion(void) { return 1; }
API const char *cublasLtGetStatusName(cublasStatus_t s) {
    return s == CUBLAS_STATUS_NOT_SUPPORTED ? "NOT_SUPPORTED" : "ANOTHER_STATUS";
}

API cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t compute,
                                            cudaDataType_t scale) {
    if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
    *d = (cublasLtMatmulDesc_t) new fake_desc{CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr, -1, {}, {}};
    return OK;
}
API cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) {
    delete (fake_desc *)d;
    return OK;
}
API cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t m,
                                                  cublasLtMatmulDescAttributes_t what,
                                                  const void *v, size_t n) {
    fake_desc *d = (fake_desc *)m;
    if (what == CUBLASLT_MATMUL_DESC_TRANSA && n == sizeof d->transa)
        std::memcpy(&d->transa, v, n);
    else if (what == CUBLASLT_MATMUL_DESC_EPILOGUE && n == sizeof d->epilogue)
        std::memcpy(&d->epilogue, v, n);
    else if (what == CUBLASLT_MATMUL_DESC_BIAS_POINTER && n == sizeof d->bias)
        std::memcpy(&d->bias, v, n);
    else if (what == CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE && n == sizeof d->bias_type)
        std::memcpy(&d->bias_type, v, n);
    else if (what == CUBLASLT_MATMUL_DESC_A_SCALE_MODE && n == sizeof d->scale_modes[0])
        std::memcpy(&d->scale_modes[0], v, n);
    else if (what == CUBLASLT_MATMUL_DESC_B_SCALE_MODE && n == sizeof d->scale_modes[1])
        std::memcpy(&d->scale_modes[1], v, n);
    else if (what == CUBLASLT_MATMUL_DESC_A_SCALE_POINTER && n == sizeof d->scales[0])
        std::memcpy(&d->scales[0], v, n);
    else if (what == CUBLASLT_MATMUL_DESC_B_SCALE_POINTER && n == sizeof d->scales[1])
        std::memcpy(&d->scales[1], v, n);
    else
        return CUBLAS_STATUS_INVALID_VALUE;
    return OK;
}

API cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType type,
                                              uint64_t rows, uint64_t cols, int64_t ld) {
    *l = (cublasLtMatrixLayout_t) new fake_layout{type, rows, cols, ld};
    return OK;
}
API cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) {
    delete (fake_layout *)l;
    return OK;
}
API cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t m,
                                                    cublasLtMatrixLayoutAttribute_t what,
                                                    const void *v, size_t n) {
    fake_layout *l = (fake_layout *)m;
    int *fail = &fake_lt_control.fail_layout;
    if (*fail > 0 && --*fail == 0) return CUBLAS_STATUS_ALLOC_FAILED;
    if (n != 8) return CUBLAS_STATUS_INVALID_VALUE;
    if (what == CUBLASLT_MATRIX_LAYOUT_COLS)
        std::memcpy(&l->cols, v, n);
    else if (what == CUBLASLT_MATRIX_LAYOUT_LD)
        std::memcpy(&l->ld, v, n);
    else
        return CUBLAS_STATUS_INVALID_VALUE;
    return OK;
}

API cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p) {
    *p = (cublasLtMatmulPreference_t) new fake_preference;
    return OK;
}
API cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) {
    delete (fake_preference *)p;
    return OK;
}
API cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                        cublasLtMatmulPreferenceAttributes_t what,
                                                        const void *v, size_t n) {
    if (what == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES && n == 4)
        std::memcpy(&((fake_preference *)p)->b_bytes, v, n);
    return n == 4 || n == 8 ? OK : CUBLAS_STATUS_INVALID_VALUE;
}

/* What a pointer's value says of its alignment, up to 256; nothing said is all promised. */
static uint64_t promised(uintptr_t p) {
    uint64_t bytes = 256;
    while (p % bytes)
        bytes /= 2;
    return bytes;
}

API cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t d,
                                                  cublasLtMatrixLayout_t a,
                                                  cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t,
                                                  cublasLtMatrixLayout_t y,
                                                  cublasLtMatmulPreference_t p, int most,
                                                  cublasLtMatmulHeuristicResult_t found[], int *n) {
    const int all[] = {fake_lt_control.first, COMPANY, SPLITS, REDUCES, PICKY, NARROW, ROUND, GOOD,
                       UNEQUAL, STRIDED, MORE,   FAILS, TWIN};
    const int begin = fake_lt_control.more ? 1 : 2, end = fake_lt_control.more ? 13 : 8;
    const int first = fake_lt_control.first ? 0 : begin;
    fake_lt_control.asked++;
    if (fake_lt_control.no_algorithm || most < end ||
        !fits(desc(d), layout(a), layout(b), layout(y)))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    uint64_t d_bias = fake_lt_control.bias_tile && desc(d)->epilogue == CUBLASLT_EPILOGUE_BIAS;
    std::memset(found, 0, (size_t)(end - first + 1) * sizeof found[0]);
    *n = 0;
    for (int i = first; i < end; i = i ? i + 1 : begin, ++*n) {
        uint64_t *data = found[*n].algo.data;
        data[0] = (uint64_t)all[i];
        data[1] = d_bias;
        data[2] = ((const fake_preference *)p)->b_bytes;
        data[3] = promised((uintptr_t)desc(d)->bias);
    }
    return OK;
}
API cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t d,
                                           cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                           cublasLtMatrixLayout_t, cublasLtMatrixLayout_t y,
                                           const cublasLtMatmulAlgo_t *algo,
                                           cublasLtMatmulHeuristicResult_t *r) {
    std::memset(r, 0, sizeof *r);
    if (!takes(algo->data[0], layout(y))) return CUBLAS_STATUS_NOT_SUPPORTED;
    r->workspaceSize = layout(y)->cols < 1000 ? 0 : algo->data[0] == ROUND ? 8192 : 4096;
    return fits(desc(d), layout(a), layout(b), layout(y)) ? OK : CUBLAS_STATUS_NOT_SUPPORTED;
}
API cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algo,
                                                        cublasLtMatmulAlgoConfigAttributes_t what,
                                                        void *v, size_t n, size_t *written) {
    uint32_t value = 0;
    size_t size = 4;
    if (what == CUBLASLT_ALGO_CONFIG_SPLITK_NUM && algo->data[0] == SPLITS) value = 4;
    if (what == CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME && algo->data[0] == REDUCES) value = 2;
    if (what == CUBLASLT_ALGO_CONFIG_ID) value = (uint32_t)algo->data[0];
    if (what == CUBLASLT_ALGO_CONFIG_TILE_ID) value = 20 + (uint32_t)algo->data[1];
    if (what == CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID) value = 258, size = 2;
    if (what == CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID) return CUBLAS_STATUS_INVALID_VALUE;
    if (n != size) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(v, &value, n);
    *written = n;
    return OK;
}

/* A call's arguments, which it keeps: it may run with a graph, later. */
struct product {
    fake_layout a, b, y;
    const void *A, *B;
    const float *C;
    float *D;
    const float *bias, *row_scale, *col_scale; /* of D's rows and columns */
    float one, more;
    bool is_turned, is_other, adds_first, has_gaps;
};

static void multiply(const product &p) {
    const uint64_t depth = p.b.rows, ld = (uint64_t)p.a.ld;
    std::vector<double> a(p.y.rows * depth), b(depth);
    for (uint64_t j = 0; j < p.y.rows; j++)
        for (uint64_t c = 0; c < depth; c++)
            a[j * depth + c] = (double)value(p.A, p.a.type, p.is_turned ? j * ld + c : c * ld + j);
    for (uint64_t i = 0; i < p.y.cols; i++) {
        for (uint64_t c = 0; c < depth; c++)
            b[c] = (double)value(p.B, p.b.type, i * (uint64_t)p.b.ld + c);
        for (uint64_t j = 0; j < p.y.rows; j++) {
            double sum = 0;
            union {
                float v;
                uint32_t bits;
            } other = {0};
            for (uint64_t c = 0; c < depth && !p.is_other; c++)
                sum += a[j * depth + c] * b[c];
            for (uint64_t c = depth; c-- > 0 && p.is_other;) {
                other.v += (float)(a[j * depth + c] * b[c]);
                other.bits &= ~0xffu; /* a sum of fewer bits, as tensor cores have for codes */
            }
            uint64_t at = i * (uint64_t)p.y.ld + j;
            bool has_more = p.more > 0 || p.more < 0;
            if (p.has_gaps && !has_more && j + 1 == p.y.rows) continue;
            if (has_more && p.adds_first) sum += (double)p.C[at];
            float s = p.one * (p.is_other ? other.v : (float)sum);
            if (p.row_scale) s = s * p.row_scale[j] * p.col_scale[i];
            if (has_more && !p.adds_first) s += p.more * p.C[at];
            p.D[at] = p.bias ? s + p.bias[j] : s;
        }
    }
}

/* Nanoseconds that a call says it takes. What has good bytes for some rows is slow for those. */
static uint64_t cost(uint64_t algo, uint64_t rows, bool is_staged) {
    uint64_t us = algo <= GOOD ? 100 : 10;
    if (algo == TWIN) us = rows <= FAKE_LT_TWIN_ROWS ? 50 : 200;
    if (algo == COMPANY && rows > 64) us = 300;
    if (algo == FAILS && (rows <= 16 || rows > 64)) us = 300;
    if ((algo == STRIDED || algo == MORE) && is_staged) us = 300;
    return us * 1000 * (uint64_t)(fake_lt_control.slow ? 1000 : 1);
}

API cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t md, const void *alpha,
                                  const void *A, cublasLtMatrixLayout_t la, const void *B,
                                  cublasLtMatrixLayout_t lb, const void *beta, const void *C,
                                  cublasLtMatrixLayout_t lc, void *D, cublasLtMatrixLayout_t ly,
                                  const cublasLtMatmulAlgo_t *algo, void *, size_t,
                                  cudaStream_t stream) {
    const fake_desc *d = desc(md);
    const fake_layout *a = layout(la), *b = layout(lb), *y = layout(ly), *c = layout(lc);
    uintptr_t all = (uintptr_t)A | (uintptr_t)B | (uintptr_t)C | (uintptr_t)D;
    bool has_bias = d->epilogue == CUBLASLT_EPILOGUE_BIAS;
    if (has_bias && (!d->bias || (uintptr_t)d->bias % algo->data[3] || d->bias_type != CUDA_R_32F))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (all % 16 || (uintptr_t)B % algo->data[2] || !fits(d, a, b, y) || algo->data[0] == SPLITS || algo->data[0] == REDUCES ||
        !takes(algo->data[0], y))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (has_scales(d) && (!d->scales[0] || !d->scales[1])) return CUBLAS_STATUS_INVALID_VALUE;
    uint64_t algorithm = algo->data[0];
    fake_lt_control.products++;
    fake_lt_control.by = (int)algorithm;
    if (fake_lt_control.fail_rows && b->cols == (uint64_t)fake_lt_control.fail_rows &&
        (!fake_lt_control.fail_by || fake_lt_control.fail_by == (int)algorithm))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (algorithm == FAILS && b->cols > 40 && b->cols <= 48) return CUBLAS_STATUS_EXECUTION_FAILED;
    if (c->type != y->type || c->rows != y->rows || c->cols != y->cols || c->ld != y->ld)
        return CUBLAS_STATUS_INVALID_VALUE;
    float one = *(const float *)alpha, more = *(const float *)beta;
    struct product p = {*a,
                        *b,
                        *y,
                        A,
                        B,
                        (const float *)C,
                        (float *)D,
                        has_bias ? d->bias : nullptr,
                        d->scales[0],
                        d->scales[1],
                        one,
                        more,
                        d->transa == CUBLAS_OP_T,
                        algorithm == UNEQUAL || (algorithm == COMPANY && y->cols <= 32) ||
                            (algorithm == CROWD && y->cols > 2048) ||
                            (algorithm == STRIDED && y->ld > (int64_t)y->rows + 1000),
                        algorithm == MORE,
                        algorithm == GAPS};
    if (!has_scales(d)) p.row_scale = p.col_scale = nullptr;
    struct emu_stream *s = (struct emu_stream *)stream;
    s->busy_ns += cost(algorithm, y->cols, a->type == CUDA_R_8F_E4M3 && !has_scales(d));
    return s->put(s, EMU_PRODUCT, [p] { multiply(p); }) ? OK : CUBLAS_STATUS_EXECUTION_FAILED;
}
