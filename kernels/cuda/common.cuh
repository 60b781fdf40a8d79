/* common.cuh - what the files of the CUDA plugin share: the opened device, and how kernels are
 * begun and add up.
 *
 * One device, one stream: operations are queued in the order of their calls, and the host waits
 * only in get, sync, and where the ring of pinned buffers has come round. Everything an operation
 * needs is there after open: no operation allocates. Errors are sticky: the first failing call is
 * kept in `lost`, later operations do nothing, and sync and get report it. Numerics: every sum has
 * an order that follows from its own row alone. Blocks of threads never share a sum across rows,
 * nothing uses atomics. Thread: the owner's. The device is made current in every entry
 * (cuda_enter), since the thread that opens it need not be the one that computes.
 */
#ifndef KERNELS_CUDA_COMMON_CUH
#define KERNELS_CUDA_COMMON_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"
#include "kernels/cuda/sizes.h"
#include "kernels/kern.h"

/* Pinned buffers that puts go through, and bytes of each. */
enum { RING = 4 };
static constexpr size_t RING_BYTES = (size_t)4 << 20;

struct lt;      /* cuBLASLt, see lt.cuh */
struct lt_plan; /* and how it multiplies by one matrix */

/* A matrix on the device: (rows, ld) of `dtype`, ld >= k, zeros behind k; rows is n. 16-bit rows
 * are padded to whole vectors of 16 bytes. An fp8 matrix is q(w) of kern_gemm, one byte each, both
 * sides padded to multiples of 16, with its scales; in strict mode the floats s(w) q(w). */
struct kern_mat {
    int n, k, ld, rows;
    enum kern_dtype dtype; /* KERN_F32 when there are scales, and means nothing then */
    bool is_fp8;
    size_t scale_bytes; /* 0: it has none */
    float *scales;      /* (n); NULL: it isn't in codes */
    void *w;
    struct lt_plan *plan;         /* NULL: our own product */
    struct lt_plan *back;         /* the same of gemm_dx, where it will be asked for */
    struct kern_mat *prev, *next; /* of the device's */
};

/* How much of the work may be rounded to 16 bits: kern_config.isa. */
enum cuda_mode {
    CUDA_FLAT,   /* products in the type of their weights, keys and values kept in bf16,
                    attention in f32 */
    CUDA_TILE,   /* and attention on the tensor cores, see attn_tile.cu: the default */
    CUDA_STRICT, /* everything in f32, to be held against ref */
};

struct cuda_block; /* a piece of device memory that close gives back */
struct graphs;     /* passes that are kept, see graph.cu */

struct kern {
    int device, major; /* of its compute capability */
    size_t l2_bytes;
    enum cuda_mode mode;
    cudaStream_t stream;
    struct cuda_block *blocks;
    struct kern_mat *mats;
    struct kern_stats stats;
    uint64_t memory_max; /* of kern_config */
    struct err lost;     /* code 0: the device is well */
    char *ring;          /* (RING, RING_BYTES), pinned */
    cudaEvent_t ring_free[RING];
    int ring_next;
    cudaEvent_t *marks;         /* (KERN_MARKS); NULL until the first is set, as each of them */
    char *stage_in, *stage_out; /* cuda_stage_bytes each */
    struct lt *lt;              /* NULL: there is no cuBLASLt */
    struct graphs *graphs;      /* NULL: every pass runs as it is issued */
    void (*note)(void *ud, const char *text); /* of kern_config */
    void *note_ud;
    char text[144];
};

/* Note a failed call; the first one counts. */
void cuda_lose(struct kern *k, const char *what, cudaError_t rc);

/* A line for the log, behind "cuda: device N: ": see kern_config.note. */
void cuda_note(const struct kern *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define CUDA_TRY(k, call)                                        \
    do {                                                         \
        cudaError_t rc_ = (k)->lost.code ? cudaSuccess : (call); \
        if (rc_ != cudaSuccess) cuda_lose((k), #call, rc_);      \
    } while (0)

/* What makes the device's bits has this in it, too: kern_stats.bits. */
void cuda_mix_bits(struct kern *k, const char *text);

/* Begin an operation of so many multiply-adds. False when the device is lost: do nothing then. */
bool cuda_enter(struct kern *k, uint64_t multiply_adds);
/* Behind each launch: was it accepted? */
void cuda_launched(struct kern *k, const char *kernel);

/* mem.cu */
int cuda_alloc(struct kern *k, size_t bytes, struct kern_ptr *out, struct err *e);
void cuda_free(struct kern *k, struct kern_ptr p);
void cuda_free_all(struct kern *k);
void cuda_put(struct kern *k, struct kern_ptr dst, const void *src, size_t bytes);
int cuda_get(struct kern *k, void *dst, struct kern_ptr src, size_t bytes, struct err *e);
void cuda_copy(struct kern *k, struct kern_ptr dst, struct kern_ptr src, size_t bytes);
int cuda_sync(struct kern *k, struct err *e);
/* The next pinned buffer, free to be written; NULL when the device is lost. Send what was written
 * with cuda_ring_send. */
char *cuda_ring_take(struct kern *k);
void cuda_ring_send(struct kern *k, char *dst, const char *from, size_t bytes);

/* graph.cu */
void graphs_open(struct kern *k);
void graphs_close(struct kern *k);
bool graphs_record(const struct kern *k); /* is what is issued now recorded? */
void cuda_pass(struct kern *k, uint64_t key, kern_issue_fn *issue, void *ud);

/* mark.cu */
void marks_close(struct kern *k);
void cuda_mark(struct kern *k, int i);
int cuda_marked(struct kern *k, int n, uint64_t *ns, struct err *e);

/* gemm.cu, gemm_own.cu */
int cuda_mat_new(struct kern *k, const struct kern_mat_src *src, struct kern_mat **out,
                 struct err *e);
void cuda_mat_free(struct kern *k, struct kern_mat *m);
uint64_t cuda_mat_bytes(const struct kern *k, const struct kern_mat_src *src);
int cuda_mat_describe(const struct kern *k, const struct kern_mat *m, char *text, size_t n);
const char *cuda_mat_shape(const struct kern_mat *m, char (&text)[64]); /* "12288 x 4096 bf16" */
enum kern_dtype cuda_x_dtype(const struct kern *k, const struct kern_mat *m);
void cuda_gemm(struct kern *k, const struct kern_gemm *a);

/* lt_library.cu. `only_base`: one algorithm for all rows, unproved. */
struct lt *lt_open(const struct kern *k, bool only_base); /* NULL: none, and it is noted why */
void lt_close(struct lt *lt);
int lt_version(const struct lt *lt);
/* gemm_lt.cu */
/* How to multiply by `m` (16 bits or e4m3), or, in 16 bits, by it as gemm_dx does; NULL when no
 * algorithm fits our rules. */
struct lt_plan *lt_plan_new(struct kern *k, const struct kern_mat *m, bool is_back);
void lt_plan_free(struct lt_plan *p);
/* Is there a plan, and has none of its calls failed so far? Else the product is our own. */
bool lt_serves(const struct lt_plan *p);
/* "id 66, tile 20, ...": what the library tells of the bases. Length as snprintf's. */
int lt_describe(const struct lt *lt, const struct lt_plan *p, char *text, size_t n);
int cuda_products(const struct kern *k, int i, char *text, size_t n); /* kern_ops.products */
/* May the bias be added on the way out? Are the scales of codes put to the sums? */
bool lt_takes_bias(const struct lt_plan *p);
bool lt_takes_scales(const struct lt_plan *p);
/* y (rows, ldy) = x W^T [+ y] [+ bias], x (rows, m->ld) in w's type, by m->plan; or x W, x (rows,
 * cuda_row_16bit(m->n)), by m->back. y and bias aligned to 16 bytes. Codes have no bias; `scales`
 * (rows) are x's, where lt_takes_scales; elsewhere y is (rows, m->rows), sums of codes alone, and
 * there must be room for whole 16 rows of x and y. False: it failed, y is as it was, and it won't
 * be tried again: take our own product. */
bool lt_product(struct kern *k, const struct kern_mat *m, struct lt_plan *p, int rows,
                const void *x, const float *scales, float *y, int ldy, const float *bias,
                bool accumulate);

/* What is done to a sum before it is stored. */
struct finish {
    const float *bias; /* NULL: none */
    bool gelu, accumulate;
    const float *row_scale, *col_scale; /* come first; NULL: none */
    enum kern_dtype y_dtype;            /* cuda_finish_rows alone; else KERN_F32 */
};
/* y = finish(s), s (rows, n) with stride lds; it may be y itself. */
void cuda_finish_rows(struct kern *k, int rows, int n, const float *s, int lds, void *y, int ldy,
                      struct finish end);
/* The strict product: y = finish(x W^T), w (n, ldw) f32. */
void own_product_f32(struct kern *k, int rows, int n, int depth, const float *x, int ldx,
                     const float *w, int ldw, float *y, int ldy, struct finish end);
/* The same on the tensor cores for x (rows, ld) and w (n, ld) of 16 bits, or of e4m3. */
void own_product_16(struct kern *k, const struct kern_mat *m, int rows, const void *x, float *y,
                    int ldy, struct finish end);

void cuda_layernorm(struct kern *k, const struct kern_norm *a);
void cuda_rmsnorm(struct kern *k, const struct kern_norm *a);
void cuda_swiglu(struct kern *k, const struct kern_swiglu *a);
void cuda_patchify(struct kern *k, const struct kern_patchify *a);
void cuda_add_pos(struct kern *k, const struct kern_add_pos *a);
void cuda_embed(struct kern *k, const struct kern_embed *a);
void cuda_gather(struct kern *k, const struct kern_gather *a);
void cuda_rope(struct kern *k, const struct kern_rope *a);
void cuda_attn_full(struct kern *k, const struct kern_attn_full *a);
void cuda_attn_tree(struct kern *k, const struct kern_attn_tree *a);
void cuda_pick(struct kern *k, const struct kern_pick *a);

/* ---- training ---- */
void cuda_mat_set(struct kern *k, const struct kern_mat_set *a);
void cuda_zero(struct kern *k, struct kern_ptr p, size_t bytes);
void cuda_gemm_dx(struct kern *k, const struct kern_gemm_dx *a);
void cuda_gemm_dw(struct kern *k, const struct kern_gemm_dw *a);
void cuda_colsum(struct kern *k, const struct kern_colsum *a);
void cuda_layernorm_back(struct kern *k, const struct kern_norm_back *a);
void cuda_rmsnorm_back(struct kern *k, const struct kern_norm_back *a);
void cuda_gelu(struct kern *k, const struct kern_gelu *a);
void cuda_gelu_back(struct kern *k, const struct kern_gelu *a);
void cuda_swiglu_back(struct kern *k, const struct kern_swiglu_back *a);
void cuda_dropout(struct kern *k, const struct kern_dropout *a);
void cuda_convert(struct kern *k, const struct kern_convert *a);
void cuda_attn_full_back(struct kern *k, const struct kern_attn_full_back *a);
void cuda_attn_tree_back(struct kern *k, const struct kern_attn_tree_back *a);
void cuda_rope_back(struct kern *k, const struct kern_rope_back *a);
void cuda_embed_back(struct kern *k, const struct kern_embed_back *a);
void cuda_gather_back(struct kern *k, const struct kern_gather_back *a);
void cuda_xent(struct kern *k, const struct kern_xent *a);
void cuda_expect(struct kern *k, const struct kern_expect *a);
void cuda_axpy(struct kern *k, const struct kern_axpy *a);
void cuda_lerp(struct kern *k, const struct kern_lerp *a);
void cuda_sumsq(struct kern *k, const struct kern_sumsq *a);
void cuda_adamw(struct kern *k, const struct kern_adamw *a);

/* to (rows, ld) = x (rows, depth) in a type of 16 bits, zeros behind depth; ld a multiple of 8. In
 * fp16 what is finite stays so. */
void cuda_round_rows(struct kern *k, enum kern_dtype type, int rows, int depth, int ld,
                     const float *x, int ldx, void *to);
/* sum (n) = or += the `blocks` rows of part (blocks, ldp), in their order. */
void cuda_add_blocks(struct kern *k, int blocks, int n, const float *part, int ldp, float *sum,
                     bool accumulate);

static inline float *cuda_f32(struct kern_ptr p) { return (float *)(void *)p.addr; }
static inline const int32_t *cuda_i32(struct kern_ptr p) { return (const int32_t *)(void *)p.addr; }
static inline bool cuda_is_aligned(const void *p) { return (uintptr_t)p % 16 == 0; }
/* How many blocks of `per` cover n. */
static inline unsigned cuda_blocks(size_t n, size_t per) { return (unsigned)((n + per - 1) / per); }

/* ---- inside kernels ---- */

/* 16 bits without overflow: what is finite stays finite. */
static __device__ inline __half to_f16(float x) {
    if (isfinite(x)) x = fminf(fmaxf(x, -65504.0f), 65504.0f);
    return __float2half_rn(x);
}
static __device__ inline __nv_bfloat16 to_bf16(float x) { return __float2bfloat16_rn(x); }

static __device__ inline float f32_of(float v) { return v; }
static __device__ inline float f32_of(__nv_bfloat16 v) { return __bfloat162float(v); }
static __device__ inline float f32_of(__half v) { return __half2float(v); }
/* Into an element of a pool of keys and values. */
static __device__ inline void into_pool(float *to, float v) { *to = v; }
static __device__ inline void into_pool(__nv_bfloat16 *to, float v) { *to = to_bf16(v); }

/* x/2 (1 + erf(x / sqrt 2)), by erfc, which keeps its digits where x is far below 0. In double it
 * is like the reference's: for all that is f32. */
static __device__ inline float gelu_f64(float x) {
    return (float)(0.5 * (double)x * erfc(-0.70710678118654752440 * (double)x));
}
static __device__ inline float gelu_f32(float x) { return 0.5f * x * erfcf(-0.70710678f * x); }

/* e4m3: see kernels/base/half.h. Every code is a number of fp16, too. */
static __device__ inline uint8_t to_e4m3(float v) {
    return __nv_cvt_float_to_fp8(v, __NV_SATFINITE, __NV_E4M3);
}
static __device__ inline __half from_e4m3(uint8_t c) {
    return __half(__nv_cvt_fp8_to_halfraw(c, __NV_E4M3));
}

/* The largest over a block of threads, in all of them; as block_sum. */
static __device__ inline float block_max(float v, float *shared) {
    for (int step = 16; step > 0; step /= 2)
        v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, step));
    __syncthreads();
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
    __syncthreads();
    for (unsigned w = 0; w < blockDim.x / 32; w++)
        v = fmaxf(v, shared[w]);
    return v;
}

/* Sum over a warp, the same bits in all of its lanes: a fixed tree. */
static __device__ inline float warp_sum(float v) {
    for (int step = 16; step > 0; step /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, step);
    return v;
}

/* Sum over a block of threads, the same bits in all of them: lanes in a fixed tree, then warps in
 * order. `shared` has room for one value a warp. Ends behind a barrier. */
template <typename T> static __device__ inline T block_sum(T v, T *shared) {
    for (int step = 16; step > 0; step /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, step);
    __syncthreads(); /* whoever still reads what the last call left */
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
    __syncthreads();
    T sum = shared[0];
    for (unsigned w = 1; w < blockDim.x / 32; w++)
        sum += shared[w];
    return sum;
}

#endif
