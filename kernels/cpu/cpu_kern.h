/* cpu_kern.h - what the files of the CPU backend share: the opened device and its helpers. */
#ifndef KERNELS_CPU_CPU_KERN_H
#define KERNELS_CPU_CPU_KERN_H

#include "kernels/base/blocks.h"
#include "kernels/cpu/dots.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/pool.h"
#include "kernels/kern.h"

/* Rows of weights, packed: panel p holds outputs p*nr .. p*nr+nr-1, k-major inside, zeros behind
 * n. */
struct kern_mat {
    int n, k;
    int n_places, k_places; /* that a panel has: n and k, or with pairs half of them */
    float *data;            /* (panels, k_places, nr) f32 or pairs (isa.h), or as `keep` says */
    float *back;         /* the other way, (panels of k, n_places, nr); NULL: not made with_back */
    int is_pairs;        /* bf16, two of them at a place; x has to be, too */
    int is_fp8;          /* rounded to s(w) q(w) of kern_gemm; x has to be, too */
    enum kern_keep keep; /* KERN_KEEP_BF16, _F16, _INT8 and what follows: panels of narrow.c */
};

/* A scratch block that only grows. */
struct cpu_scratch {
    float *p;
    size_t floats;
};

struct kern {
    const struct cpu_isa *isa;
    const struct cpu_dots *dots;
    struct pool *pool;
    struct blocks blocks; /* device memory */
    uint64_t memory_max;  /* of kern_config */
    uint64_t ops, flops, scratch_grown;
    struct cpu_scratch shared;   /* packed keys and values of attention */
    struct cpu_scratch *private; /* (threads): scores */
    /* cos and sin of pos * theta^(-2i/K): (angle_pos, K/2, 2), of the last theta and K asked for */
    struct cpu_scratch angles;
    int angle_pos, angle_size; /* positions in it; K */
    double angle_theta;
    uint64_t marks[KERN_MARKS]; /* clock_ns */
    char text[64];
};

static inline int cpu_round_up(int n, int to) { return (n + to - 1) / to * to; }
static inline float *cpu_f32(struct kern_ptr p) { return (float *)(void *)p.addr; }
static inline const int32_t *cpu_i32(struct kern_ptr p) { return (const int32_t *)(void *)p.addr; }

/* What pools of keys and values may hold. */
static inline int cpu_kern_takes(enum kern_dtype pool) { return pool != KERN_F16; }

/* E_NOMEM, and how much there is. */
int cpu_no_memory(const struct kern *k, size_t bytes, struct err *e);

/* At least `floats` floats; what was inside is lost when it grows. */
float *cpu_scratch(struct kern *k, struct cpu_scratch *s, size_t floats);

/* Count an operation and its multiply-adds. */
void cpu_count(struct kern *k, uint64_t multiply_adds);

/* Run fn over row ranges [row0, row1) on all threads; `cost` is a row's work in floats touched, so
 * that small calls stay on the caller's thread. */
typedef void cpu_rows_fn(const void *args, int row0, int row1);
void cpu_rows(struct kern *k, int rows, int cost, cpu_rows_fn *fn, const void *args);

/* y (m, n) = act(x (m, k) times the panels (n, rounded up to panels; k of k_packed; nr) + bias), or
 * +=. `deep` of the k at a time, where y waits in between: all k of them, if there is a bias or an
 * act. */
struct cpu_product {
    int m, n, k, deep;
    int k_packed;        /* places that a panel has: for k or more */
    int is_pairs;        /* panels hold pairs: see cpu_multiply_pairs */
    enum kern_keep keep; /* of the matrix; with narrow panels deep is k */
    const float *x;
    int ldx;
    const float *panels, *bias;
    enum kern_act act;
    int accumulate;
    float *y;
    int ldy;
};
void cpu_multiply(struct kern *k, const struct cpu_product *a);

/* Row `row` of a part, as n floats. */
void cpu_part_row(const struct kern_mat_part *p, size_t row, size_t n, float *to);

/* ---- peak.c ---- */
void cpu_peak(struct kern *k, struct kern_peak *out);

/* ---- narrow.c: weights in less than f32 ---- */
enum { CPU_WIDE = 1024 }; /* columns from which on a matrix stays in the 16 bits it is stored in */
/* Is it multiplied by rows in 8 bits? */
static inline int cpu_is_dots(enum kern_keep keep) {
    return keep == KERN_KEEP_INT8X8 || keep == KERN_KEEP_INT4X8;
}
/* Outputs of a panel in that form. */
int cpu_columns(const struct cpu_isa *isa, enum kern_keep keep);
/* Bytes of a panel of so many outputs and places. 0: it isn't narrow, or too many. */
size_t cpu_narrow_bytes(enum kern_keep keep, size_t nr, size_t places);
cpu_tile_fn *cpu_narrow_tile(const struct kern *k, enum kern_keep keep);
/* The same for one row and several panels. NULL: there is none, of blocks. */
cpu_line_fn *cpu_narrow_line(const struct kern *k, enum kern_keep keep);
/* What makes floats of its panels; NULL: it is floats, or for rows in 8 bits. */
cpu_unpack_fn *cpu_narrow_unpack(const struct kern *k, enum kern_keep keep);
/* Packs what the source has. It takes `private`. */
void cpu_narrow_pack(struct kern *k, const struct kern_mat *m, const struct kern_mat_src *src);
/* Row `row` of a matrix in 16 bits becomes x, rounded. */
void cpu_narrow_set(const struct cpu_isa *isa, const struct kern_mat *m, int row, const float *x);

/* ---- dots.c: products in 8 bits ---- */
/* The same product, of which x is floats and the panels are of such a form. It takes `shared`. */
void cpu_multiply_dots(struct kern *k, const struct cpu_product *a);

/* ---- pairs.c: products in bf16 ---- */
static inline int cpu_pairs(int n) { return n / 2 + n % 2; }
/* x (rows, K) as panels (pairs of K, nr) of its rows, zeros behind them. `room`: of
 * cpu_pairs(rows) * 2 * cpu_pairs(K) floats, here and below. */
void cpu_pairs_turn(const struct cpu_isa *isa, int rows, int K, const float *x, int ldx, float *to,
                    float *room);
/* The same as panels (pairs of rows, nr) of K, as isa.panels. */
void cpu_pairs_panels(const struct cpu_isa *isa, int rows, int K, const float *x, int ldx,
                      float *to, float *room);
/* The same product, of which x is floats and the panels are pairs. It takes `shared`. */
void cpu_multiply_pairs(struct kern *k, const struct cpu_product *a);
/* Rows [row, row + rows) of a matrix of pairs, all of one panel, into both packs. `room`:
 * cpu_pairs_room floats. */
void cpu_pairs_set(const struct cpu_isa *isa, const struct kern_mat *m, int row, int rows,
                   const float *x, int ldx, float *room);
size_t cpu_pairs_room(const struct cpu_isa *isa, const struct kern_mat *m);

int cpu_mat_new(struct kern *k, const struct kern_mat_src *src, struct kern_mat **out,
                struct err *e);
void cpu_mat_free(struct kern *k, struct kern_mat *m);
uint64_t cpu_mat_bytes(const struct kern *k, const struct kern_mat_src *src);
int cpu_mat_describe(const struct kern *k, const struct kern_mat *m, char *text, size_t n);
void cpu_gemm(struct kern *k, const struct kern_gemm *a);
void cpu_layernorm(struct kern *k, const struct kern_norm *a);
void cpu_rmsnorm(struct kern *k, const struct kern_norm *a);
void cpu_swiglu(struct kern *k, const struct kern_swiglu *a);
void cpu_patchify(struct kern *k, const struct kern_patchify *a);
void cpu_add_pos(struct kern *k, const struct kern_add_pos *a);
void cpu_embed(struct kern *k, const struct kern_embed *a);
void cpu_gather(struct kern *k, const struct kern_gather *a);
void cpu_rope(struct kern *k, const struct kern_rope *a);
void cpu_attn_full(struct kern *k, const struct kern_attn_full *a);
void cpu_attn_tree(struct kern *k, const struct kern_attn_tree *a);
void cpu_pick(struct kern *k, const struct kern_pick *a);

/* ---- training ---- */
void cpu_mat_set(struct kern *k, const struct kern_mat_set *a);
void cpu_zero(struct kern *k, struct kern_ptr p, size_t bytes);
void cpu_gemm_dx(struct kern *k, const struct kern_gemm_dx *a);
void cpu_gemm_dw(struct kern *k, const struct kern_gemm_dw *a);
void cpu_colsum(struct kern *k, const struct kern_colsum *a);
void cpu_layernorm_back(struct kern *k, const struct kern_norm_back *a);
void cpu_rmsnorm_back(struct kern *k, const struct kern_norm_back *a);
void cpu_gelu(struct kern *k, const struct kern_gelu *a);
void cpu_gelu_back(struct kern *k, const struct kern_gelu *a);
void cpu_swiglu_back(struct kern *k, const struct kern_swiglu_back *a);
void cpu_dropout(struct kern *k, const struct kern_dropout *a);
void cpu_convert(struct kern *k, const struct kern_convert *a);
void cpu_attn_full_back(struct kern *k, const struct kern_attn_full_back *a);
void cpu_attn_tree_back(struct kern *k, const struct kern_attn_tree_back *a);
void cpu_rope_back(struct kern *k, const struct kern_rope_back *a);
void cpu_embed_back(struct kern *k, const struct kern_embed_back *a);
void cpu_gather_back(struct kern *k, const struct kern_gather_back *a);
void cpu_xent(struct kern *k, const struct kern_xent *a);
void cpu_expect(struct kern *k, const struct kern_expect *a);
void cpu_axpy(struct kern *k, const struct kern_axpy *a);
void cpu_lerp(struct kern *k, const struct kern_lerp *a);
void cpu_sumsq(struct kern *k, const struct kern_sumsq *a);
void cpu_adamw(struct kern *k, const struct kern_adamw *a);

#endif
