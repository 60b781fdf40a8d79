/* ref.h - the reference backend: what every operation means, in plain loops. Room-private. */
#ifndef KERNELS_REF_REF_H
#define KERNELS_REF_REF_H

#include "kernels/base/blocks.h"
#include "kernels/kern.h"

extern const struct kern_ops kern_ref;

enum { REF_HEAD_MAX = 1024 };

struct kern_mat {
    int n, k;
    float *w;     /* (n, k); q(w) of an fp8 matrix */
    float *scale; /* (n) s(w) of an fp8 matrix; else NULL */
    float *row;   /* (k) with scale: room for a row of x */
    int bits;     /* 8 or 4: kept so, for rows in 8 bits; else 0 */
    int is_bf16;  /* mat_set rounds to it */
    int with_back;
};

struct kern {
    struct blocks blocks; /* device memory */
    uint64_t ops, flops;
    uint64_t marks[KERN_MARKS]; /* clock_ns */
};

static inline float *ref_f32(struct kern_ptr p) { return (float *)(void *)p.addr; }
static inline const int32_t *ref_i32(struct kern_ptr p) { return (const int32_t *)(void *)p.addr; }

/* Element i of what lies at `base`, at any address. */
float ref_at(const void *base, enum kern_dtype t, size_t i);
/* It becomes v, rounded; in fp16 what is finite stays so. Of types of 16 bits or f32. */
void ref_set(struct kern_ptr base, enum kern_dtype t, size_t i, float v);
/* n of them from element `at` on, as floats: in place, or widened into `room`. */
const float *ref_floats(struct kern_ptr base, enum kern_dtype t, size_t at, size_t n, float *room);
/* Head number `head` of a pool, of n numbers: there, or as floats in `room`. */
const float *ref_head(struct kern_ptr pool, enum kern_dtype t, size_t head, int n, float *room);

/* A sum where it belongs: overwritten, or added to. */
static inline void ref_give(float *to, double sum, int accumulate) {
    *to = accumulate ? *to + (float)sum : (float)sum;
}

/* x/2 * (1 + erf(x / sqrt 2)) */
double ref_gelu_of(double x);

/* A row of n numbers into q(row), in place; returns s(row): see kern_gemm. */
float ref_round_row(float *row, size_t n);

/* Count an operation and its multiply-adds. */
void ref_count(struct kern *k, uint64_t multiply_adds);

void ref_gemm(struct kern *k, const struct kern_gemm *a);
void ref_layernorm(struct kern *k, const struct kern_norm *a);
void ref_rmsnorm(struct kern *k, const struct kern_norm *a);
void ref_swiglu(struct kern *k, const struct kern_swiglu *a);
void ref_patchify(struct kern *k, const struct kern_patchify *a);
void ref_add_pos(struct kern *k, const struct kern_add_pos *a);
void ref_embed(struct kern *k, const struct kern_embed *a);
void ref_gather(struct kern *k, const struct kern_gather *a);
void ref_rope(struct kern *k, const struct kern_rope *a);
void ref_attn_full(struct kern *k, const struct kern_attn_full *a);
void ref_attn_tree(struct kern *k, const struct kern_attn_tree *a);
void ref_pick(struct kern *k, const struct kern_pick *a);

/* training */
void ref_mat_set(struct kern *k, const struct kern_mat_set *a);
void ref_gemm_dx(struct kern *k, const struct kern_gemm_dx *a);
void ref_gemm_dw(struct kern *k, const struct kern_gemm_dw *a);
void ref_colsum(struct kern *k, const struct kern_colsum *a);
void ref_layernorm_back(struct kern *k, const struct kern_norm_back *a);
void ref_rmsnorm_back(struct kern *k, const struct kern_norm_back *a);
void ref_gelu(struct kern *k, const struct kern_gelu *a);
void ref_gelu_back(struct kern *k, const struct kern_gelu *a);
void ref_swiglu_back(struct kern *k, const struct kern_swiglu_back *a);
void ref_dropout(struct kern *k, const struct kern_dropout *a);
void ref_convert(struct kern *k, const struct kern_convert *a);
void ref_attn_full_back(struct kern *k, const struct kern_attn_full_back *a);
void ref_attn_tree_back(struct kern *k, const struct kern_attn_tree_back *a);
void ref_rope_back(struct kern *k, const struct kern_rope_back *a);
void ref_embed_back(struct kern *k, const struct kern_embed_back *a);
void ref_gather_back(struct kern *k, const struct kern_gather_back *a);
void ref_xent(struct kern *k, const struct kern_xent *a);
void ref_expect(struct kern *k, const struct kern_expect *a);
void ref_axpy(struct kern *k, const struct kern_axpy *a);
void ref_lerp(struct kern *k, const struct kern_lerp *a);
void ref_sumsq(struct kern *k, const struct kern_sumsq *a);
void ref_adamw(struct kern *k, const struct kern_adamw *a);

#endif
