/* moved.c - see moved.h. */
#include "kernels/moved.h"

/* rows of `width` numbers */
static uint64_t moved_numbers(int rows, int width, enum kern_dtype type) {
    return (uint64_t)rows * (uint64_t)width * kern_dtype_bytes(type);
}
static uint64_t floats(int rows, int width) { return moved_numbers(rows, width, KERN_F32); }

uint64_t moved_gemm(const struct kern_gemm *a, int n, int k, uint64_t w) {
    int n_used = kern_gemm_n(a, n), k_used = kern_gemm_k(a, k);
    uint64_t used = (uint64_t)((double)w * n_used / n * k_used / k);
    if (a->m == 0) return 0;
    return used + moved_numbers(a->m, k_used, a->x_dtype) +
           moved_numbers(a->m, n_used, a->y_dtype) * (a->accumulate ? 2 : 1);
}

uint64_t moved_layernorm(const struct kern_norm *a) {
    return floats(a->rows, a->width) + moved_numbers(a->rows, a->width, a->y_dtype);
}
uint64_t moved_rmsnorm(const struct kern_norm *a) { return moved_layernorm(a); }
uint64_t moved_swiglu(const struct kern_swiglu *a) {
    return 2 * floats(a->rows, a->width) + moved_numbers(a->rows, a->width, a->y_dtype);
}

uint64_t moved_patchify(const struct kern_patchify *a) {
    return (uint64_t)a->side * (uint64_t)a->side * 3 * (1 + sizeof(float));
}

uint64_t moved_add_pos(const struct kern_add_pos *a) { return 3 * floats(a->rows, a->width); }

uint64_t moved_embed(const struct kern_embed *a) {
    return floats(a->rows, a->width) / sizeof(float) * (sizeof(float) + kern_dtype_bytes(a->dtype));
}

uint64_t moved_gather(const struct kern_gather *a) {
    return 2 * moved_numbers(a->rows, a->width, a->dtype);
}

/* q there and back, k and v to their pools */
uint64_t moved_rope(const struct kern_rope *a) {
    uint64_t row = (uint64_t)a->heads * (uint64_t)a->head_size;
    uint64_t head = kern_head_bytes(a->pool_dtype, a->head_size);
    return (uint64_t)a->rows * (row * 4 * sizeof(float) + 2 * (uint64_t)a->heads * head);
}

uint64_t moved_attn_full(const struct kern_attn_full *a) {
    int rows = a->images * a->tokens, width = a->heads * a->head_size;
    return 3 * floats(rows, width) + moved_numbers(rows, width, a->y_dtype);
}

uint64_t moved_attn_tree(const struct kern_attn_tree *a) {
    uint64_t row = (uint64_t)a->heads * kern_head_bytes(a->pool_dtype, a->head_size), slots = 0;
    for (int i = 0; i < a->n_groups; i++) {
        const struct kern_attn_group *g = &a->groups[i];
        for (int s = 0; s < g->spans; s++)
            slots += (uint64_t)a->spans[g->span0 + s].len;
        slots += (uint64_t)g->rows;
    }
    int width = a->heads * a->head_size;
    return floats(a->rows, width) + moved_numbers(a->rows, width, a->y_dtype) + 2 * slots * row;
}

uint64_t moved_pick(const struct kern_pick *a) { return 2 * floats(a->rows, a->ldp); }
