/* ref.c - the reference backend as a device: its memory is the host's, its order is the program's.
 *
 * Slow, plain, and right: one thread, no vector code, every sum in double in ascending order. The
 * operations lie beside this file, one file per family, each with its formula. What a fast backend
 * does is judged against these. Thread: the owner's.
 */
#include "kernels/ref/ref.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/half.h"
#include "kernels/base/mem.h"
#include "kernels/base/narrow.h"

static int ref_score(void) { return 1; }

static int ref_open(const struct kern_config *cfg, struct kern **out, struct err *e) {
    *out = NULL;
    if (cfg->device != 0) return err_set(e, E_NOT_FOUND, "ref: no device %d", cfg->device);
    *out = mem_must(sizeof(**out));
    (*out)->blocks.most_bytes = cfg->memory_max;
    return 0;
}

static void ref_close(struct kern *k) {
    if (!k) return;
    blocks_clear(&k->blocks);
    mem_free(k);
}

static const char *ref_describe(const struct kern *k) {
    (void)k;
    return "plain loops, 1 thread";
}

static enum kern_dtype ref_pool_dtype(const struct kern *k) {
    (void)k;
    return KERN_F32;
}
static int ref_takes_pool(const struct kern *k, enum kern_dtype type) {
    return (void)k, (void)type, 1;
}

static int ref_pass_rows(const struct kern *k) { return (void)k, 512; }
static int ref_tile_rows(const struct kern *k) { return (void)k, 1; }
static int ref_products(const struct kern *k, int i, char *text, size_t n) {
    return (void)k, (void)i, (void)text, (void)n, 0;
}
static int ref_pass_pictures(const struct kern *k) { return (void)k, 1; }
static enum kern_dtype ref_x_dtype(const struct kern *k, const struct kern_mat *m) {
    return (void)k, (void)m, KERN_F32;
}

void ref_count(struct kern *k, uint64_t multiply_adds) {
    k->ops++;
    k->flops += 2 * multiply_adds;
}

/* ---- memory ---- */
static int ref_alloc(struct kern *k, size_t bytes, struct kern_ptr *out, struct err *e) {
    out->addr = blocks_take(&k->blocks, bytes);
    return out->addr ? 0 : err_set(e, E_NOMEM, "ref: no room for %zu bytes", bytes);
}

static void ref_free(struct kern *k, struct kern_ptr p) { blocks_give(&k->blocks, p.addr); }

static void ref_put(struct kern *k, struct kern_ptr dst, const void *src, size_t bytes) {
    (void)k;
    if (bytes) memcpy(dst.addr, src, bytes);
}

static int ref_get(struct kern *k, void *dst, struct kern_ptr src, size_t bytes, struct err *e) {
    (void)k, (void)e;
    if (bytes) memcpy(dst, src.addr, bytes);
    return 0;
}

static void ref_copy(struct kern *k, struct kern_ptr dst, struct kern_ptr src, size_t bytes) {
    (void)k;
    if (bytes) memmove(dst.addr, src.addr, bytes);
}

float ref_at(const void *base, enum kern_dtype t, size_t i) {
    const char *at = (const char *)base + i * kern_dtype_bytes(t);
    uint16_t h;
    float f;
    switch (t) {
    case KERN_BF16: memcpy(&h, at, sizeof(h)); return half_from_bf16(h);
    case KERN_F16: memcpy(&h, at, sizeof(h)); return half_from_f16(h);
    case KERN_F32:
    case KERN_INT8: break; /* INT8: ref_head knows */
    }
    memcpy(&f, at, sizeof(f));
    return f;
}

void ref_set(struct kern_ptr base, enum kern_dtype t, size_t i, float v) {
    static const float most = 65504;
    float finite = isfinite(v) ? fminf(fmaxf(v, -most), most) : v;
    uint16_t h = t == KERN_BF16 ? half_to_bf16(v) : half_to_f16(finite);
    must(t != KERN_INT8);
    if (t == KERN_F32)
        memcpy(base.addr + i * sizeof v, &v, sizeof v);
    else
        memcpy(base.addr + i * sizeof h, &h, sizeof h);
}

const float *ref_floats(struct kern_ptr base, enum kern_dtype t, size_t at, size_t n, float *room) {
    if (t == KERN_F32) return ref_f32(base) + at;
    for (size_t i = 0; i < n; i++)
        room[i] = ref_at(base.addr, t, at + i);
    return room;
}

const float *ref_head(struct kern_ptr pool, enum kern_dtype t, size_t head, int n, float *room) {
    const char *at = pool.addr + head * kern_head_bytes(t, n);
    if (t != KERN_INT8) return ref_floats(pool, t, head * (size_t)n, (size_t)n, room);
    float scale;
    memcpy(&scale, at, sizeof scale);
    for (int i = 0; i < n; i++)
        room[i] = (float)(signed char)at[sizeof scale + (size_t)i] * scale;
    return room;
}

/* A row as it is kept. */
static void ref_keep_row(enum kern_keep keep, float *row, size_t n) {
    for (size_t i = 0; keep == KERN_KEEP_BF16 && i < n; i++)
        row[i] = half_from_bf16(half_to_bf16(row[i]));
    for (size_t i = 0; keep == KERN_KEEP_F16 && i < n; i++)
        row[i] = half_from_f16(half_to_f16(row[i]));
    if (keep == KERN_KEEP_INT8 || keep == KERN_KEEP_INT8X8) narrow_round(8, row, n);
    if (keep == KERN_KEEP_INT4 || keep == KERN_KEEP_INT4X8) narrow_round(4, row, n);
}

static int ref_mat_new(struct kern *k, const struct kern_mat_src *src, struct kern_mat **out,
                       struct err *e) {
    *out = NULL;
    size_t n = 0, cells, bytes;
    int is_fp8 = src->keep == KERN_KEEP_FP8;
    must(!is_fp8 || !src->with_back);
    for (int p = 0; p < src->n_parts; p++)
        n += (size_t)src->parts[p].n;
    if (!mem_mul(n, (size_t)src->k, &cells) || !mem_mul(cells, sizeof(float), &bytes))
        return err_set(e, E_TOO_BIG, "ref: a matrix of %zu x %d", n, src->k);
    struct kern_mat *m = blocks_take(&k->blocks, sizeof(*m));
    float *w = m ? blocks_take(&k->blocks, bytes) : NULL;
    float *scale =
        w && is_fp8 ? blocks_take(&k->blocks, (n + (size_t)src->k) * sizeof(float)) : NULL;
    if (!w || (is_fp8 && !scale)) {
        blocks_give(&k->blocks, w);
        blocks_give(&k->blocks, m);
        return err_set(e, E_NOMEM, "ref: no room for a matrix of %zu x %d", n, src->k);
    }
    *m = (struct kern_mat){
        .n = (int)n, .k = src->k, .w = w, .scale = scale, .with_back = src->with_back};
    if (scale) m->row = scale + n;
    m->is_bf16 = src->keep == KERN_KEEP_BF16;
    if (src->keep == KERN_KEEP_INT8X8) m->bits = 8;
    if (src->keep == KERN_KEEP_INT4X8) m->bits = 4;
    size_t at = 0;
    for (int p = 0; p < src->n_parts; p++) {
        size_t len = (size_t)src->parts[p].n * (size_t)src->k;
        for (size_t i = 0; i < len; i++)
            m->w[at++] = ref_at(src->parts[p].data, src->parts[p].dtype, i);
    }
    for (size_t r = 0; r < n; r++)
        ref_keep_row(src->keep, w + r * (size_t)src->k, (size_t)src->k);
    for (size_t r = 0; scale && r < n; r++)
        scale[r] = ref_round_row(w + r * (size_t)src->k, (size_t)src->k);
    *out = m;
    return 0;
}

static uint64_t ref_mat_bytes(const struct kern *k, const struct kern_mat_src *src) {
    size_t n = 0, cells, bytes, scales = src->keep == KERN_KEEP_FP8 ? (size_t)src->k : 0;
    (void)k;
    for (int p = 0; p < src->n_parts; p++)
        n += (size_t)src->parts[p].n;
    if (src->keep == KERN_KEEP_FP8) scales += n;
    if (!mem_mul(n, (size_t)src->k, &cells) || !mem_add(cells, scales, &cells) ||
        !mem_mul(cells, sizeof(float), &bytes) || !mem_add(bytes, sizeof(struct kern_mat), &bytes))
        return UINT64_MAX;
    return bytes;
}

static void ref_mat_free(struct kern *k, struct kern_mat *m) {
    if (!m) return;
    blocks_give(&k->blocks, m->w);
    blocks_give(&k->blocks, m->scale);
    blocks_give(&k->blocks, m);
}

static int ref_mat_describe(const struct kern *k, const struct kern_mat *m, char *text, size_t n) {
    (void)k;
    return snprintf(text, n, "%d x %d %s: plain loops", m->n, m->k, m->scale ? "fp8" : "f32");
}

static void ref_zero(struct kern *k, struct kern_ptr p, size_t bytes) {
    if (bytes) memset(p.addr, 0, bytes);
    ref_count(k, 0);
}

/* ---- order: everything has happened when the call returns ---- */
static void ref_pass(struct kern *k, uint64_t key, kern_issue_fn *issue, void *ud) {
    (void)k, (void)key;
    issue(ud);
}

static int ref_sync(struct kern *k, struct err *e) {
    (void)k, (void)e;
    return 0;
}

static void ref_stats(struct kern *k, struct kern_stats *out) {
    *out = (struct kern_stats){.ops = k->ops,
                               .flops = k->flops,
                               .live_bytes = k->blocks.live_bytes,
                               .peak_bytes = k->blocks.peak_bytes,
                               .most_bytes = k->blocks.most_bytes,
                               .allocations = k->blocks.allocations};
}

/* What was issued has been done: the clock will do. */
static void ref_mark(struct kern *k, int i) { k->marks[i] = clock_ns(); }

static int ref_marked(struct kern *k, int n, uint64_t *ns, struct err *e) {
    (void)e;
    for (int i = 0; i + 1 < n; i++)
        ns[i] = k->marks[i + 1] - k->marks[i];
    return 0;
}

static struct kern_mat_form ref_form(const char *isa) {
    (void)isa;
    return (struct kern_mat_form){0};
}

static const struct kern_train_ops ref_train = {
    .size = sizeof(struct kern_train_ops),
    .mat_set = ref_mat_set,
    .zero = ref_zero,
    .gemm_dx = ref_gemm_dx,
    .gemm_dw = ref_gemm_dw,
    .colsum = ref_colsum,
    .layernorm_back = ref_layernorm_back,
    .rmsnorm_back = ref_rmsnorm_back,
    .gelu = ref_gelu,
    .gelu_back = ref_gelu_back,
    .swiglu_back = ref_swiglu_back,
    .dropout = ref_dropout,
    .convert = ref_convert,
    .attn_full_back = ref_attn_full_back,
    .attn_tree_back = ref_attn_tree_back,
    .rope_back = ref_rope_back,
    .embed_back = ref_embed_back,
    .gather_back = ref_gather_back,
    .xent = ref_xent,
    .expect = ref_expect,
    .axpy = ref_axpy,
    .lerp = ref_lerp,
    .sumsq = ref_sumsq,
    .adamw = ref_adamw,
    .form = ref_form,
};

const struct kern_ops kern_ref = {
    .abi = KERN_ABI,
    .size = sizeof(struct kern_ops),
    .name = "ref",
    .train = &ref_train,
    .score = ref_score,
    .open = ref_open,
    .close = ref_close,
    .describe = ref_describe,
    .pool_dtype = ref_pool_dtype,
    .takes_pool = ref_takes_pool,
    .pass_rows = ref_pass_rows,
    .tile_rows = ref_tile_rows,
    .pass_pictures = ref_pass_pictures,
    .alloc = ref_alloc,
    .free = ref_free,
    .put = ref_put,
    .get = ref_get,
    .copy = ref_copy,
    .mat_new = ref_mat_new,
    .mat_free = ref_mat_free,
    .mat_bytes = ref_mat_bytes,
    .mat_describe = ref_mat_describe,
    .x_dtype = ref_x_dtype,
    .products = ref_products,
    .pass = ref_pass,
    .sync = ref_sync,
    .stats = ref_stats,
    .mark = ref_mark,
    .marked = ref_marked,
    .gemm = ref_gemm,
    .layernorm = ref_layernorm,
    .rmsnorm = ref_rmsnorm,
    .swiglu = ref_swiglu,
    .patchify = ref_patchify,
    .add_pos = ref_add_pos,
    .embed = ref_embed,
    .gather = ref_gather,
    .rope = ref_rope,
    .attn_full = ref_attn_full,
    .attn_tree = ref_attn_tree,
    .pick = ref_pick,
};
