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
/* n of them from element `at` on, as floats: in place, or widened into `room`. */
const float *ref_floats(struct kern_ptr base, enum kern_dtype t, size_t at, size_t n, float *room);

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

#endif
