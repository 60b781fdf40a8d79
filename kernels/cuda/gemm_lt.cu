/* gemm_lt.cu - products by cuBLASLt, with one algorithm for each matrix, chosen once.
 *
 * What makes a row's bits independent of its company: an output is one sum over k, made by one
 * block of threads in an order that the algorithm fixes. So an algorithm is taken only when it
 *   1. does not split k (SPLITK_NUM at most 1, REDUCTION_SCHEME none), and
 *   2. is legal for every number of rows that may come: it is checked for a few from 1 to many; and
 *      for every stride of y: a head's logits lie as far apart as the widest head's (engine/model).
 * The same algorithm then serves all calls; how many rows there are changes only how many tiles
 * there are. The heuristic is asked for ROWS_TYPICAL rows. That cuBLASLt keeps to this is measured,
 * not believed: gemm_16bit_row_has_the_same_bits_in_any_company, and the same of gemm_true_shapes.
 *
 * cuBLAS thinks in columns: what we call y (rows, n) is its D (n, rows), W (n, k) its A transposed,
 * x its B; on the way back (gemm_dx) dx (rows, k) is D, W is A as it lies, dy is B. A's type is
 * x's; D and C are f32; sums are f32. In e4m3 all three dimensions are multiples of 16 (rows are
 * rounded up), nothing is scaled here, and partial sums are taken over to f32 often enough:
 * CUBLASLT_MATMUL_DESC_FAST_ACCUM stays off.
 *
 * A call that fails - whichever: a layout's, the product's own - has queued nothing. The matrix
 * goes over to our own product for good, which gives other bits than cuBLASLt: so the bits of a
 * matrix change once at most while a device is open, and never back. The log is told, since a card
 * that does so answers otherwise than its neighbours from then on. A device that is really lost is
 * found by our own launch. While a pass is recorded a failure may be the capture's: it spoils the
 * pass, which is then issued again (graph.cu), and what fails there once more goes over.
 *
 * The library is looked for at run time, so that the plugin loads without it. A card without it
 * works, by our own products, and says so in the log.
 */
#include <cublasLt.h>
#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cuda/common.cuh"

#define LIBRARY "libcublasLt.so.13"
enum { ROWS_TYPICAL = 1024, CANDIDATES = 32 };
enum { WIDEST = 32000 }; /* columns of the widest head: LLaMA-2's vocabulary */

struct lt {
    void *library;
    cublasLtHandle_t handle;
    cublasLtMatmulPreference_t preference;
    void *workspace; /* device */
    bool has_told;   /* that a matrix has no algorithm */
    /* the functions that we call, by their own types */
    decltype(&cublasLtCreate) Create;
    decltype(&cublasLtDestroy) Destroy;
    decltype(&cublasLtGetVersion) GetVersion;
    decltype(&cublasLtGetStatusName) GetStatusName;
    decltype(&cublasLtMatmul) Matmul;
    decltype(&cublasLtMatmulDescCreate) MatmulDescCreate;
    decltype(&cublasLtMatmulDescDestroy) MatmulDescDestroy;
    decltype(&cublasLtMatmulDescSetAttribute) MatmulDescSetAttribute;
    decltype(&cublasLtMatrixLayoutCreate) MatrixLayoutCreate;
    decltype(&cublasLtMatrixLayoutDestroy) MatrixLayoutDestroy;
    decltype(&cublasLtMatrixLayoutSetAttribute) MatrixLayoutSetAttribute;
    decltype(&cublasLtMatmulPreferenceCreate) MatmulPreferenceCreate;
    decltype(&cublasLtMatmulPreferenceDestroy) MatmulPreferenceDestroy;
    decltype(&cublasLtMatmulPreferenceSetAttribute) MatmulPreferenceSetAttribute;
    decltype(&cublasLtMatmulAlgoGetHeuristic) MatmulAlgoGetHeuristic;
    decltype(&cublasLtMatmulAlgoCheck) MatmulAlgoCheck;
    decltype(&cublasLtMatmulAlgoConfigGetAttribute) MatmulAlgoConfigGetAttribute;
};

struct lt_plan {
    cublasLtMatmulDesc_t desc[2]; /* without and with a bias */
    cublasLtMatmulAlgo_t algo[2];
    size_t workspace[2]; /* bytes that the algorithm wants at most */
    bool has[2];
    bool is_off;                    /* a call failed: our own product from then on */
    int step;                       /* rows come in multiples of it */
    cublasLtMatrixLayout_t w, x, y; /* x and y get their rows with each call */
};

/* ---- the library ---- */

static const struct {
    const char *name;
    size_t at;
} functions[] = {
    {"cublasLtCreate", offsetof(struct lt, Create)},
    {"cublasLtDestroy", offsetof(struct lt, Destroy)},
    {"cublasLtGetVersion", offsetof(struct lt, GetVersion)},
    {"cublasLtGetStatusName", offsetof(struct lt, GetStatusName)},
    {"cublasLtMatmul", offsetof(struct lt, Matmul)},
    {"cublasLtMatmulDescCreate", offsetof(struct lt, MatmulDescCreate)},
    {"cublasLtMatmulDescDestroy", offsetof(struct lt, MatmulDescDestroy)},
    {"cublasLtMatmulDescSetAttribute", offsetof(struct lt, MatmulDescSetAttribute)},
    {"cublasLtMatrixLayoutCreate", offsetof(struct lt, MatrixLayoutCreate)},
    {"cublasLtMatrixLayoutDestroy", offsetof(struct lt, MatrixLayoutDestroy)},
    {"cublasLtMatrixLayoutSetAttribute", offsetof(struct lt, MatrixLayoutSetAttribute)},
    {"cublasLtMatmulPreferenceCreate", offsetof(struct lt, MatmulPreferenceCreate)},
    {"cublasLtMatmulPreferenceDestroy", offsetof(struct lt, MatmulPreferenceDestroy)},
    {"cublasLtMatmulPreferenceSetAttribute", offsetof(struct lt, MatmulPreferenceSetAttribute)},
    {"cublasLtMatmulAlgoGetHeuristic", offsetof(struct lt, MatmulAlgoGetHeuristic)},
    {"cublasLtMatmulAlgoCheck", offsetof(struct lt, MatmulAlgoCheck)},
    {"cublasLtMatmulAlgoConfigGetAttribute", offsetof(struct lt, MatmulAlgoConfigGetAttribute)},
};

/* NULL, or the one that isn't there. */
static const char *find_functions(struct lt *lt) {
    for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
        void *found = dlsym(lt->library, functions[i].name);
        if (!found) return functions[i].name;
        memcpy((char *)lt + functions[i].at, &found, sizeof found);
    }
    return NULL;
}

/* The first file of a pattern that can be loaded. */
static void *load_one_of(const char *pattern) {
    glob_t files;
    void *library = NULL;
    if (glob(pattern, 0, NULL, &files)) return NULL;
    for (size_t i = 0; i < files.gl_pathc && !library; i++)
        library = dlopen(files.gl_pathv[i], RTLD_NOW | RTLD_LOCAL);
    globfree(&files);
    return library;
}

/* As the system finds it, or where CUDA's own installer puts it. `why`: what the system said. */
static void *load_library(char (&why)[240]) {
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (library) return library;
    const char *said = dlerror();
    snprintf(why, sizeof why, "%s", said ? said : LIBRARY);
    library = load_one_of("/usr/local/cuda/lib64/" LIBRARY);
    return library ? library : load_one_of("/usr/local/cuda-13*/lib64/" LIBRARY);
}

static bool set_preference(const struct lt *lt) {
    uint64_t bytes = cuda_lt_bytes;
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_NONE, aligned = 16; /* y; w and x have more */
    cublasLtMatmulPreference_t p = lt->preference;
    return !lt->MatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                                             sizeof bytes) &&
           !lt->MatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                             &schemes, sizeof schemes) &&
           !lt->MatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                                             &aligned, sizeof aligned) &&
           !lt->MatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                                             &aligned, sizeof aligned);
}

/* What is missing is left in `why`. */
static bool open_all(struct lt *lt, char (&why)[240]) {
    lt->library = load_library(why);
    if (!lt->library) return false;
    const char *missing = find_functions(lt);
    if (missing) {
        snprintf(why, sizeof why, LIBRARY " has no %s", missing);
        return false;
    }
    cublasStatus_t s = lt->Create(&lt->handle);
    snprintf(why, sizeof why, "cublasLtCreate: status %d (%s)", (int)s, lt->GetStatusName(s));
    if (s) return false;
    snprintf(why, sizeof why, "it refuses what we prefer");
    if (lt->MatmulPreferenceCreate(&lt->preference) || !set_preference(lt)) return false;
    snprintf(why, sizeof why, "no memory for its workspace of %zu MiB", cuda_lt_bytes >> 20);
    return cudaMalloc(&lt->workspace, cuda_lt_bytes) == cudaSuccess;
}

struct lt *lt_open(const struct kern *k) {
    struct lt *lt = (struct lt *)mem_must(sizeof *lt);
    char why[240] = "";
    if (open_all(lt, why)) return lt;
    (void)cudaGetLastError(); /* or the next launch would be blamed for it */
    lt_close(lt);
    cuda_note(k, "no cuBLASLt, so products are our own, and slow: %s", why);
    return NULL;
}

void lt_close(struct lt *lt) {
    if (!lt) return;
    if (lt->workspace) (void)cudaFree(lt->workspace);
    if (lt->preference) (void)lt->MatmulPreferenceDestroy(lt->preference);
    if (lt->handle) (void)lt->Destroy(lt->handle);
    mem_free(lt); /* the library stays: it may have threads of its own */
}

int lt_version(const struct lt *lt) { return (int)lt->GetVersion(); }

/* ---- choosing an algorithm ---- */

static cublasStatus_t set_rows(const struct lt *lt, const struct lt_plan *p, int rows, int ldy) {
    uint64_t cols = (uint64_t)((rows + p->step - 1) / p->step * p->step);
    int64_t ld = ldy;
    cublasStatus_t s =
        lt->MatrixLayoutSetAttribute(p->x, CUBLASLT_MATRIX_LAYOUT_COLS, &cols, sizeof cols);
    if (!s) s = lt->MatrixLayoutSetAttribute(p->y, CUBLASLT_MATRIX_LAYOUT_COLS, &cols, sizeof cols);
    if (!s) s = lt->MatrixLayoutSetAttribute(p->y, CUBLASLT_MATRIX_LAYOUT_LD, &ld, sizeof ld);
    return s;
}

/* Rule 2 above, for one stride of y. Sums of 8 GiB and more are not asked about: they hardly
 * come. */
static bool takes_rows(const struct lt *lt, struct lt_plan *p, int with_bias, int ldy,
                       const cublasLtMatmulAlgo_t *algo) {
    static const int rows[] = {1, 2, 7, 16, 64, 257, 512, 1025, 4096, CUDA_ROWS_MOST};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        cublasLtMatmulHeuristicResult_t r;
        if (rows[i] > 1025 && (int64_t)rows[i] * ldy > INT32_MAX) break;
        if (set_rows(lt, p, rows[i], ldy) ||
            lt->MatmulAlgoCheck(lt->handle, p->desc[with_bias], p->w, p->x, p->y, p->y, algo, &r) ||
            r.workspaceSize > cuda_lt_bytes)
            return false;
        if (r.workspaceSize > p->workspace[with_bias]) p->workspace[with_bias] = r.workspaceSize;
    }
    return true;
}

/* Both rules; `ldy` is the densest that comes. Codes have no other. */
static bool keeps_rules(const struct lt *lt, struct lt_plan *p, int with_bias, int ldy,
                        const cublasLtMatmulAlgo_t *algo) {
    bool is_fp8 = p->step > 1;
    int32_t splits = 0;
    uint32_t scheme = 0;
    size_t n;
    if (lt->MatmulAlgoConfigGetAttribute(algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &splits,
                                         sizeof splits, &n) ||
        lt->MatmulAlgoConfigGetAttribute(algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme,
                                         sizeof scheme, &n) ||
        splits > 1 || splits < 0 || scheme != CUBLASLT_REDUCTION_SCHEME_NONE)
        return false;
    return takes_rows(lt, p, with_bias, ldy, algo) &&
           (is_fp8 || (takes_rows(lt, p, with_bias, ldy + 4, algo) && /* the least aligned */
                       takes_rows(lt, p, with_bias, ldy > WIDEST ? ldy : WIDEST, algo)));
}

/* The best that keeps the rules. */
static bool choose(const struct lt *lt, struct lt_plan *p, int with_bias, int ldy) {
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    int n = 0;
    if (!p->desc[with_bias] || set_rows(lt, p, ROWS_TYPICAL, ldy) ||
        lt->MatmulAlgoGetHeuristic(lt->handle, p->desc[with_bias], p->w, p->x, p->y, p->y,
                                   lt->preference, CANDIDATES, found, &n))
        return false;
    for (int i = 0; i < n; i++) {
        p->workspace[with_bias] = 0;
        if (found[i].state != CUBLAS_STATUS_SUCCESS ||
            !keeps_rules(lt, p, with_bias, ldy, &found[i].algo))
            continue;
        p->algo[with_bias] = found[i].algo;
        return true;
    }
    return false;
}

/* D = A^T B, or A B on the way back, [+ C] [+ bias]. NULL when cuBLASLt refuses. */
static cublasLtMatmulDesc_t new_desc(const struct lt *lt, bool is_back, bool with_bias) {
    cublasLtMatmulDesc_t d;
    int32_t transposed = is_back ? CUBLAS_OP_N : CUBLAS_OP_T, type = CUDA_R_32F;
    uint32_t epilogue = with_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    if (lt->MatmulDescCreate(&d, CUBLAS_COMPUTE_32F, CUDA_R_32F)) return NULL;
    bool is_set =
        !lt->MatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                    sizeof transposed) &&
        !lt->MatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    if (is_set && with_bias)
        is_set =
            !lt->MatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, sizeof type);
    if (is_set) return d;
    (void)lt->MatmulDescDestroy(d);
    return NULL;
}

/* On the way back only the columns that exist are made: dx has no room for others. */
struct lt_plan *lt_plan_new(struct kern *k, const struct kern_mat *m, bool is_back) {
    struct lt *lt = k->lt;
    char shape[64];
    struct lt_plan *p = (struct lt_plan *)mem_must(sizeof *p);
    cudaDataType_t type = m->scales               ? CUDA_R_8F_E4M3
                          : m->dtype == KERN_BF16 ? CUDA_R_16BF
                                                  : CUDA_R_16F;
    uint64_t n = (uint64_t)m->rows, depth = (uint64_t)m->ld; /* of A's columns and rows */
    if (is_back) depth = (uint64_t)m->k;
    uint64_t in = is_back ? n : depth, out = is_back ? depth : n;
    int64_t ldx = is_back ? (int64_t)cuda_row_16bit(in) : (int64_t)in;
    int ldy = (int)cuda_row_sums(out); /* 16-byte rows: what every call has */
    p->step = m->scales ? 16 : 1;
    bool is_there = !lt->MatrixLayoutCreate(&p->w, type, depth, n, m->ld) &&
                    !lt->MatrixLayoutCreate(&p->x, type, in, ROWS_TYPICAL, ldx) &&
                    !lt->MatrixLayoutCreate(&p->y, CUDA_R_32F, out, ROWS_TYPICAL, ldy);
    for (int b = 0; is_there && b < (m->scales || is_back ? 1 : 2); b++) {
        p->desc[b] = new_desc(lt, is_back, b != 0);
        p->has[b] = choose(lt, p, b, ldy);
    }
    if (p->has[0]) return p;
    lt_plan_free(lt, p);
    if (!lt->has_told)
        cuda_note(k, "cuBLASLt has no algorithm for %s, and maybe others: our own product",
                  cuda_mat_shape(m, shape));
    lt->has_told = true;
    return NULL;
}

void lt_plan_free(struct lt *lt, struct lt_plan *p) {
    if (!p) return;
    cublasLtMatrixLayout_t layouts[] = {p->w, p->x, p->y};
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++)
        if (layouts[i]) (void)lt->MatrixLayoutDestroy(layouts[i]);
    for (int b = 0; b < 2; b++)
        if (p->desc[b]) (void)lt->MatmulDescDestroy(p->desc[b]);
    mem_free(p);
}

/* ---- telling ---- */

/* A number of the algorithm, which has 4 bytes or 2. False: this library doesn't know it. */
static bool get_number(const struct lt *lt, const cublasLtMatmulAlgo_t *algo,
                       cublasLtMatmulAlgoConfigAttributes_t what, size_t bytes, uint32_t *value) {
    size_t written = 0;
    *value = 0; /* the low bytes are the first */
    return !lt->MatmulAlgoConfigGetAttribute(algo, what, value, bytes, &written) &&
           written == bytes;
}

static int describe_one(const struct lt *lt, const struct lt_plan *p, int with_bias, char *text,
                        size_t n) {
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
    int len = 0;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        uint32_t value;
        if (!get_number(lt, &p->algo[with_bias], numbers[i].what, numbers[i].bytes, &value))
            continue;
        len += snprintf(text + len, n - (size_t)len, "%s %u, ", numbers[i].name, value);
        must((size_t)len < n);
    }
    len += snprintf(text + len, n - (size_t)len, "workspace %zu", p->workspace[with_bias]);
    must((size_t)len < n);
    return len;
}

int lt_describe(const struct lt *lt, const struct lt_plan *p, char *text, size_t n) {
    char plain[160], bias[160] = "none";
    (void)describe_one(lt, p, 0, plain, sizeof plain);
    if (p->has[1]) (void)describe_one(lt, p, 1, bias, sizeof bias);
    if (!p->has[1] && p->step > 1) return snprintf(text, n, "%s", plain); /* codes take none */
    return snprintf(text, n, "%s; with bias %s", plain, strcmp(plain, bias) ? bias : "the same");
}

/* ---- multiplying ---- */

bool lt_serves(const struct lt_plan *p) { return p && !p->is_off; }

bool lt_takes_bias(const struct lt_plan *p) { return p->has[1]; }

/* See the story above. */
static void give_up(struct kern *k, const struct kern_mat *m, struct lt_plan *p, int rows,
                    cublasStatus_t status) {
    char shape[64];
    (void)cudaGetLastError(); /* it is the matrix's; what is for good says so again */
    if (graphs_record(k)) {
        cuda_lose(k, "cublasLtMatmul", cudaErrorUnknown); /* until the end of the capture */
        return;
    }
    p->is_off = true;
    cuda_note(k, "cuBLASLt failed for %d row%s by %s, status %d (%s): our own product from now on",
              rows, rows == 1 ? "" : "s", cuda_mat_shape(m, shape), (int)status,
              k->lt->GetStatusName(status));
}

bool lt_product(struct kern *k, const struct kern_mat *m, struct lt_plan *p, int rows,
                const void *x, float *y, int ldy, const float *bias, bool accumulate) {
    const struct lt *lt = k->lt;
    int b = bias != NULL;
    float one = 1.0f, more = accumulate ? 1.0f : 0.0f;
    cublasStatus_t s = set_rows(lt, p, rows, ldy);
    if (!s && b)
        s = lt->MatmulDescSetAttribute(p->desc[1], CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias,
                                       sizeof bias);
    if (!s)
        s = lt->Matmul(lt->handle, p->desc[b], &one, m->w, p->w, x, p->x, &more, y, p->y, y, p->y,
                       &p->algo[b], lt->workspace, cuda_lt_bytes, k->stream);
    if (s) give_up(k, m, p, rows, s);
    return !s;
}
