/* rig.h - one operation test on every backend.
 *
 *     OP_TEST(gemm_accumulates) {
 *         struct tensor x = tensor_in(r, host, rows, cols, 3);
 *         struct tensor y = tensor_out(r, rows, n, 1);
 *         RUN(r, gemm, struct kern_gemm, .m = rows, .x = x.p, .ldx = x.ld, ...);
 *         const float *got = tensor_get(r, &y);
 *     }
 *
 * becomes gemm_accumulates_ref, _portable, _avx2, _avx512, _avx512bf16, _amx and _cuda (its f32
 * mode; skipped without a device), each opened with one, two and three threads; every result must
 * have the same bits each time. Tensors lie between guards, at an odd address, with an odd stride,
 * and all of it that is not input is poisoned with NaN: what is read beyond the rows spoils the
 * result, what is written beyond them is found by tensor_get. Host memory comes from one arena and
 * ends with the test.
 */
#ifndef TESTS_UNIT_KERNELS_RIG_H
#define TESTS_UNIT_KERNELS_RIG_H

#include "kernels/kern.h"
#include "tests/check.h"

struct rig {
    const struct kern_ops *ops;
    struct kern *k;
    const char *backend, *isa;
    int threads;
    uint64_t drawn;  /* random numbers so far */
    uint64_t digest; /* of all results so far */
};

/* Opens the backend, or skips the test where this machine can't. */
void rig_open(struct rig *r, const char *backend, const char *isa, int threads);
void rig_close(struct rig *r);
void rig_run(const char *backend, const char *isa, void (*op)(struct rig *r));
uint64_t rig_allocations(void); /* of this process */

#define OP_TEST(id)                                                  \
    static void op_##id(struct rig *r);                              \
    TEST(id##_ref) { rig_run("ref", NULL, op_##id); }                \
    TEST(id##_portable) { rig_run("cpu", "portable", op_##id); }     \
    TEST(id##_avx2) { rig_run("cpu", "avx2", op_##id); }             \
    TEST(id##_avx512) { rig_run("cpu", "avx512", op_##id); }         \
    TEST(id##_avx512bf16) { rig_run("cpu", "avx512bf16", op_##id); } \
    TEST(id##_amx) { rig_run("cpu", "amx", op_##id); }               \
    TEST(id##_cuda) { rig_run("cuda", "strict", op_##id); }          \
    static void op_##id(struct rig *r)

/* The same also where the CUDA backend rounds to 16 bits on the way: id_cuda_tile. */
#define OP_TEST_TILE(id)                                       \
    static void op_##id(struct rig *r);                        \
    TEST(id##_cuda_tile) { rig_run("cuda", "tile", op_##id); } \
    OP_TEST(id)

/* Issue an operation, which may not allocate: of such arguments, and of those at `args`. */
#define RUN(r, op, type, ...)       \
    do {                            \
        type args_ = {__VA_ARGS__}; \
        RUN_ON(r, op, &args_);      \
    } while (0)
#define RUN_ON(r, op, args)                        \
    do {                                           \
        uint64_t before_ = rig_allocations();      \
        (r)->ops->op((r)->k, args);                \
        CHECK_EQ((r)->ops->sync((r)->k, NULL), 0); \
        CHECK_EQ(rig_allocations(), before_);      \
    } while (0)

struct tensor {
    struct kern_ptr p, base;
    int rows, cols, ld;
    size_t lead;  /* floats between base and p */
    size_t total; /* floats from base on */
};

/* `pad` floats behind each row; the address is odd when pad is. src is (rows, cols), dense. */
struct tensor tensor_in(struct rig *r, const float *src, int rows, int cols, int pad);
struct tensor tensor_out(struct rig *r, int rows, int cols, int pad);
/* Row i of it. */
struct kern_ptr tensor_row(const struct tensor *t, int i);
/* The rows, dense; checks guards and padding. */
float *tensor_get(struct rig *r, const struct tensor *t);
/* Any bytes, for index arrays and integer results. */
void *rig_get(struct rig *r, struct kern_ptr p, size_t bytes);
struct kern_ptr rig_put(struct rig *r, const void *src, size_t bytes);
struct kern_mat *rig_mat(struct rig *r, const float *w, int n, int k);

/* Is this a backend that rounds to 16 bits on the way? */
int rig_is_16bit(const struct rig *r);
/* One whose products on the CPU round what they multiply to bf16? */
int rig_is_bf16(const struct rig *r);
/* x, rounded to a type. */
float *host_rounded(const float *x, size_t n, enum kern_dtype t);
/* May the backend's pools of keys and values be of that type? */
int rig_takes_pool(const struct rig *r, enum kern_dtype t);
/* Heads of so many numbers, rounded as in a pool of that type. */
float *host_heads(const float *x, size_t heads, int size, enum kern_dtype t);
/* Numbers on the device in a type, and heads as in a pool. */
struct kern_ptr rig_put_as(struct rig *r, const float *x, size_t n, enum kern_dtype t);
struct kern_ptr rig_put_heads(struct rig *r, const float *x, size_t heads, int size,
                              enum kern_dtype t);

/* ---- host ---- */
void *host_take(size_t bytes); /* zeroed */
float *host_f32(size_t n);
double *host_f64(size_t n);
/* n numbers, normal, scaled; where the backend rounds to bf16 they are rounded already, so its
 * products are held to what those in f32 are held to. */
float *host_random(struct rig *r, size_t n, float scale);
int host_below(struct rig *r, int n); /* a random number 0 .. n-1 */

#endif
