/* lt.cuh - what the files of products by cuBLASLt share: the library (lt_library.cu), which
 * algorithms serve matrices of one shape (lt_choose.cu), how an algorithm is proved and timed
 * (lt_proof.cu), and the products themselves (gemm_lt.cu).
 */
#ifndef KERNELS_CUDA_LT_CUH
#define KERNELS_CUDA_LT_CUH

#include <cublasLt.h>

#include "kernels/cuda/common.cuh"

struct lt_shape;

struct lt {
    void *library;
    cublasLtHandle_t handle;
    cublasLtMatmulPreference_t preference;
    void *workspace;         /* device */
    bool has_told;           /* that a matrix has no algorithm */
    bool only_base;          /* one algorithm for all rows, and no proof */
    float spent_ms;          /* with proofs and choosing */
    struct lt_shape *shapes; /* that were asked for so far, the oldest first */
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

/* ---- which algorithms ---- */

struct lt_algo {
    cublasLtMatmulAlgo_t algo;
    size_t workspace; /* bytes that it wants at most */
};

/* Calls are told apart by their rows. A bucket has those of up to so many rows, and of more than
 * the bucket before it has. Calls of still more rows have the base. */
enum { LT_BUCKETS = 9 };
static const int lt_bucket_rows[LT_BUCKETS] = {8,   16,   64,   128, 256,
                                               512, 1024, 2048, 4608 /* four pictures' */};

struct lt_bucket {
    bool has_own; /* an algorithm other than the base's, with the same bits */
    struct lt_algo algo;
    float us, base_us; /* of one product, by the two of them */
};

/* What became of the base, and what the other algorithms did. */
enum lt_state {
    LT_UNPROVED,  /* a small matrix, or nobody wanted proof */
    LT_NO_ROOM,   /* a matrix so wide that not even the stage holds a proof */
    LT_NO_NUMBER, /* the matrix holds zeros, or what is no number: it proves nothing */
    LT_PROVED     /* its rows have the same bits in any company */
};

/* Products without a bias, or with one. */
struct lt_end {
    cublasLtMatmulDesc_t desc;
    bool has; /* a base */
    struct lt_algo base;
    struct lt_bucket bucket[LT_BUCKETS];
    enum lt_state state;
    int rows;                         /* that it was proved for */
    int n_tried, n_unequal, n_failed; /* other algorithms */
    bool is_cut_short;                /* the time was over before all were tried */
};

/* How matrices of one shape are multiplied by: layers have the same shapes, and share them. */
struct lt_shape {
    struct lt_shape *next;
    cudaDataType_t type;
    int n, k, rows, ld; /* of the matrices, as in struct kern_mat */
    bool is_back;
    bool has_scales;                /* codes, whose scales cuBLASLt puts to the sums */
    int in, out;                    /* columns of x and of y, */
    int ldx, ldy;                   /* and the densest strides that come */
    int step;                       /* rows come in multiples of it */
    cublasLtMatrixLayout_t w, x, y; /* x and y get their rows with each call */
    struct lt_end end[2];           /* without and with a bias */
    int n_looks;                    /* at matrices that should prove it */
    char name[64];                  /* "12288 x 4096 bf16" */
};

/* How matrices like `m` are multiplied by; `is_back`: as gemm_dx does. Its own to the end of
 * `k->lt`. No end has a base: cuBLASLt has nothing for it. */
struct lt_shape *lt_shape_of(struct kern *k, const struct kern_mat *m, bool is_back);
void lt_shapes_free(struct lt *lt);

/* The algorithm for so many rows; `bucket`: of which bucket it is, -1 the base. */
const struct lt_algo *lt_algo_for(const struct lt_end *end, int rows, int *bucket);

/* Does the algorithm keep our rules for each of the `n` numbers of rows (lt_choose.cu)? Says what
 * workspace it wants. */
bool lt_keeps_rules(const struct lt *lt, const struct lt_shape *s, int with_bias, const int *rows,
                    int n, struct lt_algo *a);

/* "id 66, tile 20, ...", all that the library tells; or the first four numbers, in brief. */
enum { LT_TEXT = 160 };
void lt_describe_algo(const struct lt *lt, const struct lt_algo *a, bool in_brief,
                      char (&text)[LT_TEXT]);

/* ---- one product ---- */

struct lt_call {
    int rows;
    const void *w, *x;
    const float *w_scales, *x_scales; /* with lt_shape.has_scales */
    float *y;
    int ldy;
    const float *bias; /* of end[1] */
    bool accumulate;
};

/* Layouts of so many rows. */
cublasStatus_t lt_set_rows(const struct lt *lt, const struct lt_shape *s, int rows, int ldy);
/* Queue it. A status that isn't 0: nothing was queued. */
cublasStatus_t lt_run(struct kern *k, const struct lt_shape *s, const struct lt_algo *a,
                      const struct lt_call *c);

/* ---- proofs ---- */

struct lt_proof; /* seeded rows, and what they become by the base */

enum lt_verdict { LT_SAME, LT_OTHER, LT_FAILS };

/* Buffers and rows for `s`, beside `m`, which has the shape. Where memory is short they lie in
 * k->stage_out, which nobody else may use meanwhile. NULL: not even that has room. */
struct lt_proof *lt_proof_open(struct kern *k, const struct lt_shape *s, const struct kern_mat *m,
                               int with_bias);
void lt_proof_close(struct lt_proof *p);
int lt_proof_rows(const struct lt_proof *p); /* the most that it has */
/* What all algorithms are held to, made by this one. LT_SAME; LT_OTHER: it proves nothing, see
 * LT_NO_NUMBER. */
enum lt_verdict lt_proof_base(struct lt_proof *p, const struct lt_algo *a);
/* Have its rows the bytes of the base's, in calls of the bucket? */
enum lt_verdict lt_proof_look(struct lt_proof *p, const struct lt_algo *a, int bucket);
/* Microseconds of a call with the bucket's rows; endless, if it fails. */
float lt_proof_time(struct lt_proof *p, const struct lt_algo *a, int bucket);
/* Milliseconds since the proof was opened. */
float lt_proof_ms(struct lt_proof *p);
/* The strides of y that may come; returns how many. */
int lt_strides(const struct lt_shape *s, int strides[3]);
/* Numbers of rows that stand for the bucket; returns how many, at most LT_COUNTS. */
enum { LT_COUNTS = 3 };
int lt_bucket_counts(int bucket, int rows[LT_COUNTS]);

#endif
