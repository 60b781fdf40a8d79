/* attn.cu - attention inside pictures and over the prompt tree: kernels/ref/attn.c. Both operations
 * are brought into one form (attn.cuh) and given to the flat or to the tiled kernel, as the mode
 * says. */
#include "kernels/cuda/attn.cuh"

static void run(struct kern *k, struct attn *a, int rows_most) {
    size_t item = kern_dtype_bytes(a->dtype);
    uintptr_t at = (uintptr_t)a->k | (uintptr_t)a->v;
    a->has_vectors = at % 16 == 0 && a->stride * item % 16 == 0 && (size_t)a->K * item % 16 == 0;
    a->has_pairs = cuda_is_aligned(a->y) && a->ldy % 2 == 0 && a->K % 2 == 0;
    if (a->rows == 0) return;
    if (k->mode == CUDA_TILE && attn_has_tile(a->K))
        attn_run_tile(k, a, rows_most);
    else
        attn_run_flat(k, a);
}

struct attn attn_of_full(const struct kern_attn_full *a) {
    size_t width = (size_t)a->heads * (size_t)a->head_size;
    struct attn all = {};
    all.rows = a->images * a->tokens;
    all.heads = a->heads;
    all.K = a->head_size;
    all.tokens = a->tokens;
    all.n_groups = a->images;
    all.scale = a->scale;
    all.q = cuda_f32(a->qkv);
    all.ldq = a->ld;
    all.dtype = KERN_F32;
    all.k = all.q + width;
    all.v = all.q + 2 * width;
    all.stride = (size_t)a->ld;
    all.y = a->y.addr;
    all.ldy = a->ldy;
    all.y_dtype = a->y_dtype;
    all.lse = cuda_f32(a->lse);
    return all;
}

void cuda_attn_full(struct kern *k, const struct kern_attn_full *a) {
    size_t width = (size_t)a->heads * (size_t)a->head_size;
    uint64_t keys = (uint64_t)a->images * (uint64_t)a->tokens * (uint64_t)a->tokens;
    if (!cuda_enter(k, 2 * keys * (uint64_t)width)) return;
    struct attn all = attn_of_full(a);
    run(k, &all, a->tokens);
}

uint64_t attn_count_keys(const struct kern_attn_tree *a, int *rows_most) {
    uint64_t keys = 0;
    for (int i = 0; i < a->n_groups; i++) {
        const struct kern_attn_group *g = &a->groups[i];
        uint64_t rows = (uint64_t)g->rows, shared = 0;
        for (int s = 0; s < g->spans; s++)
            shared += (uint64_t)a->spans[g->span0 + s].len;
        keys += rows * shared;
        if (g->own_slot >= 0) keys += rows * (rows + 1) / 2;
        if (g->rows > *rows_most) *rows_most = g->rows;
    }
    return keys;
}

struct attn attn_of_tree(const struct kern_attn_tree *a) {
    struct attn all = {};
    all.rows = a->rows;
    all.heads = a->heads;
    all.K = a->head_size;
    all.n_groups = a->n_groups;
    all.scale = a->scale;
    all.q = cuda_f32(a->q);
    all.ldq = a->ldq;
    all.dtype = a->pool_dtype;
    all.k = a->pool_k.addr;
    all.v = a->pool_v.addr;
    all.stride = (size_t)a->heads * (size_t)a->head_size;
    all.y = a->y.addr;
    all.ldy = a->ldy;
    all.y_dtype = a->y_dtype;
    all.lse = cuda_f32(a->lse);
    all.groups = (const struct kern_attn_group *)(const void *)a->dev_groups.addr;
    all.spans = (const struct kern_attn_span *)(const void *)a->dev_spans.addr;
    all.tail_off = cuda_i32(a->tail_off);
    all.tail = cuda_i32(a->tail);
    return all;
}

void cuda_attn_tree(struct kern *k, const struct kern_attn_tree *a) {
    must(a->pool_dtype == KERN_F32 || a->pool_dtype == KERN_BF16);
    int rows_most = 0;
    uint64_t keys = attn_count_keys(a, &rows_most);
    if (!cuda_enter(k, 2 * keys * (uint64_t)a->heads * (uint64_t)a->head_size)) return;
    struct attn all = attn_of_tree(a);
    run(k, &all, rows_most);
}
