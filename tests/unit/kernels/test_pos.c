/* test_pos.c - patches, positions, embeddings, gathering, rotary angles and the KV store. */
#include "kernels/base/half.h"
#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/rig.h"
#include "tests/unit/kernels/tol.h"

OP_TEST(patchify_puts_every_sample_where_a_convolution_wants_it) {
    static const int sizes[][2] = {{2, 1}, {6, 3}, {28, 14}, {32, 4}, {34, 17}, {33, 11}};
    float mean[3] = {0.48145466f, 0.4578275f, 0.40821073f}, std[3] = {0.2686f, 0.2613f, 0.2758f};
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        int side = sizes[s][0], patch = sizes[s][1], grid = side / patch;
        int rows = grid * grid, cols = 3 * patch * patch;
        size_t cells = (size_t)(rows * cols);
        uint8_t *rgb = host_take(cells);
        for (size_t i = 0; i < cells; i++)
            rgb[i] = (uint8_t)host_below(r, 256);
        struct tensor y = tensor_out(r, rows, cols, 0);
        RUN(r, patchify, struct kern_patchify, .side = side, .patch = patch,
            .rgb = rig_put(r, rgb, cells), .mean = {mean[0], mean[1], mean[2]},
            .std = {std[0], std[1], std[2]}, .y = y.p);
        double *want = host_f64(cells);
        float *plain = host_f32(cells);
        plain_patchify_f64(rgb, mean, std, side, patch, want);
        plain_patchify_f32(rgb, mean, std, side, patch, plain);
        tol_check("patchify", tensor_get(r, &y), want, plain, cells);
    }
}

OP_TEST(add_pos_adds_and_puts_the_class_row_first) {
    static const int sizes[][2] = {{1, 1}, {2, 17}, {18, 88}, {65, 33}, {258, 7}};
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        int rows = sizes[s][0], width = sizes[s][1];
        size_t n = (size_t)(rows * width), w = (size_t)width;
        float *x = host_random(r, n, 1);
        const float *pos = host_random(r, n, 1), *cls = host_random(r, w, 1);
        for (size_t c = 0; c < w; c++)
            x[c] = NAN; /* row 0 is not read */
        struct tensor t = tensor_in(r, x, rows, width, 0);
        RUN(r, add_pos, struct kern_add_pos, .rows = rows, .width = width,
            .cls = tensor_in(r, cls, 1, width, 1).p, .pos = tensor_in(r, pos, rows, width, 0).p,
            .x = t.p);
        const float *got = tensor_get(r, &t);
        for (size_t i = 0; i < n; i++)
            CHECK(got[i] == (i < w ? cls[i] : x[i]) + pos[i]);
    }
}

OP_TEST(embed_takes_tokens_and_picture_rows_of_any_width) {
    enum { VOCAB = 40, FEATS = 19, ROWS = 88 };
    static const int widths[] = {1, 17, 64, 130};
    for (size_t s = 0; s < ARRAY_LEN(widths) * 3; s++) {
        enum kern_dtype type = (enum kern_dtype)(s % 3);
        int width = widths[s / 3];
        size_t w = (size_t)width, cells = VOCAB * w;
        float *table = host_random(r, cells, 1);
        uint16_t *half = host_take(cells * 2);
        for (size_t i = 0; i < cells; i++) {
            if (type == KERN_BF16) table[i] = half_from_bf16(half[i] = half_to_bf16(table[i]));
            if (type == KERN_F16) table[i] = half_from_f16(half[i] = half_to_f16(table[i]));
        }
        const float *feats = host_random(r, FEATS * w, 1);
        int32_t src[ROWS];
        for (int i = 0; i < ROWS; i++)
            src[i] = host_below(r, 2) ? host_below(r, VOCAB) : ~host_below(r, FEATS);
        src[0] = 0, src[1] = ~0, src[2] = VOCAB - 1, src[3] = ~(FEATS - 1);
        struct tensor y = tensor_out(r, ROWS, width, 0);
        struct kern_ptr dev =
            type == KERN_F32 ? rig_put(r, table, cells * 4) : rig_put(r, half, cells * 2);
        RUN(r, embed, struct kern_embed, .rows = ROWS, .width = width,
            .src = rig_put(r, src, sizeof(src)), .table = dev, .dtype = type,
            .feats = tensor_in(r, feats, FEATS, width, 0).p, .y = y.p);
        const float *got = tensor_get(r, &y);
        for (size_t i = 0; i < ROWS; i++) {
            const float *from =
                src[i] >= 0 ? table + (size_t)src[i] * w : feats + (size_t)~src[i] * w;
            CHECK_MEM(got + i * w, from, w * sizeof(float));
        }
    }
}

OP_TEST(gather_copies_rows_and_takes_none) {
    enum { FROM = 30, WIDTH = 33 };
    static const int counts[] = {0, 1, 3, 17, 88};
    const float *x = host_random(r, FROM * WIDTH, 1);
    struct tensor tx = tensor_in(r, x, FROM, WIDTH, 0);
    for (size_t s = 0; s < ARRAY_LEN(counts); s++) {
        int32_t index[88];
        for (int i = 0; i < 88; i++)
            index[i] = i == 0 ? FROM - 1 : host_below(r, FROM);
        struct tensor y = tensor_out(r, counts[s], WIDTH, 0);
        RUN(r, gather, struct kern_gather, .rows = counts[s], .width = WIDTH,
            .index = rig_put(r, index, sizeof(index)), .x = tx.p, .y = y.p);
        const float *got = tensor_get(r, &y);
        for (int i = 0; i < counts[s]; i++)
            CHECK_MEM(got + i * WIDTH, x + index[i] * WIDTH, WIDTH * sizeof(float));
    }
}

/* ---- rotary positions ---- */
struct rope_case {
    int rows, heads, size;
    double theta;
    enum kern_dtype pool;
};

/* A pool of slots with guards, whose bytes lie in a tensor's floats. */
static struct tensor pool_new(struct rig *r, const struct rope_case *c, int slots) {
    size_t bytes = (size_t)c->heads * kern_head_bytes(c->pool, c->size);
    return tensor_out(r, slots, (int)(bytes / sizeof(float)), 0);
}

static float *pool_get_int8(const struct rope_case *c, const struct tensor *t, const float *x) {
    size_t n = (size_t)c->size, heads = (size_t)(t->rows * c->heads);
    const char *at = (const char *)x;
    float *y = host_f32(heads * n), scale;
    for (size_t h = 0; h < heads; h++, at += kern_head_bytes(KERN_INT8, c->size)) {
        memcpy(&scale, at, sizeof scale);
        for (size_t i = 0; i < n; i++)
            y[h * n + i] = (float)(signed char)at[sizeof scale + i] * scale;
    }
    return y;
}

/* As floats; only slots 4 .. rows+3 may have been written. */
static float *pool_get(struct rig *r, const struct rope_case *c, const struct tensor *t) {
    float *x = tensor_get(r, t);
    for (int i = 0; i < t->rows * t->cols; i++)
        CHECK(isnan(x[i]) || (i >= 4 * t->cols && i < (c->rows + 4) * t->cols));
    if (c->pool == KERN_F32) return x;
    if (c->pool == KERN_INT8) return pool_get_int8(c, t, x);
    size_t n = (size_t)t->rows * (size_t)t->cols * 2;
    const uint16_t *half = (const uint16_t *)(const void *)x;
    float *y = host_f32(n);
    for (size_t i = 0; i < n; i++)
        y[i] = c->pool == KERN_BF16 ? half_from_bf16(half[i]) : half_from_f16(half[i]);
    return y;
}

/* Runs rope over qkv; returns qkv, pool k, pool v as they are after. Slots run backwards. */
static void run_rope_padded(struct rig *r, const struct rope_case *c, const float *qkv,
                            const int32_t *pos, int pad, float *out[3]) {
    int width = c->heads * c->size, slots = c->rows + 5;
    int32_t *slot = host_take((size_t)(c->rows + 1) * 4);
    for (int i = 0; i < c->rows; i++)
        slot[i] = slots - 2 - i;
    struct tensor t = tensor_in(r, qkv, c->rows, 3 * width, pad);
    struct tensor k = pool_new(r, c, slots), v = pool_new(r, c, slots);
    RUN(r, rope, struct kern_rope, .rows = c->rows, .heads = c->heads, .head_size = c->size,
        .theta = c->theta, .qkv = t.p, .ld = t.ld,
        .pos = rig_put(r, pos, (size_t)c->rows * 4 + !c->rows),
        .slot = rig_put(r, slot, (size_t)c->rows * 4 + !c->rows), .pool_k = k.p, .pool_v = v.p,
        .pool_dtype = c->pool);
    out[0] = tensor_get(r, &t), out[1] = pool_get(r, c, &k), out[2] = pool_get(r, c, &v);
}

/* At an odd address and at one where rows may be vectors: the same bits. */
static void run_rope(struct rig *r, const struct rope_case *c, const float *qkv, const int32_t *pos,
                     const float *out[3]) {
    float *odd[3], *even[3];
    size_t row = (size_t)(c->heads * c->size) * sizeof(float);
    run_rope_padded(r, c, qkv, pos, 1, odd);
    run_rope_padded(r, c, qkv, pos, 4, even);
    CHECK_MEM(odd[0], even[0], (size_t)c->rows * 3 * row);
    for (int i = 1; i < 3; i++)
        CHECK_MEM(odd[i] + 4 * row / sizeof(float), even[i] + 4 * row / sizeof(float),
                  (size_t)c->rows * row);
    for (int i = 0; i < 3; i++)
        out[i] = odd[i];
}

static void check_rope(struct rig *r, struct rope_case c) {
    int width = c.heads * c.size, slots = c.rows + 5;
    size_t cells = (size_t)(c.rows * width);
    const float *qkv = host_random(r, 3 * cells, 1), *out[3];
    int32_t *pos = host_take((size_t)(c.rows + 1) * 4);
    for (int i = 0; i < c.rows; i++)
        pos[i] = i == 0 ? 0 : i == 1 ? 4095 : host_below(r, 2000);
    run_rope(r, &c, qkv, pos, out);

    double *want = host_f64(2 * cells);
    float *plain = host_f32(2 * cells), *got = host_f32(2 * cells);
    for (int i = 0; i < c.rows; i++) {
        const float *row = qkv + (size_t)(i * 3 * width);
        size_t slot = (size_t)(slots - 2 - i);
        for (int h = 0; h < width; h += c.size) {
            size_t q = (size_t)(i * width + h), k = cells + q;
            plain_turn_f64(row + h, c.size, pos[i], c.theta, want + q);
            plain_turn_f32(row + h, c.size, pos[i], c.theta, plain + q);
            plain_turn_f64(row + width + h, c.size, pos[i], c.theta, want + k);
            plain_turn_f32(row + width + h, c.size, pos[i], c.theta, plain + k);
        }
        memcpy(got + i * width, out[0] + i * 3 * width, (size_t)width * 4);
        memcpy(got + cells + i * width, out[1] + slot * (size_t)width, (size_t)width * 4);
        CHECK_MEM(out[0] + i * 3 * width + width, row + width, (size_t)(2 * width) * 4); /* k, v */
        CHECK_MEM(out[2] + slot * (size_t)width,
                  host_heads(row + 2 * width, (size_t)c.heads, c.size, c.pool), (size_t)width * 4);
    }
    tol_check("rope q", got, want, plain, cells);
    tol_check("rope k", got + cells, want + cells,
              host_heads(plain + cells, (size_t)(c.rows * c.heads), c.size, c.pool), cells);
}

OP_TEST(rope_turns_the_half_split_pairs) {
    for (int t = KERN_F32; t <= KERN_INT8; t++) {
        enum kern_dtype pool = (enum kern_dtype)t;
        if (!rig_takes_pool(r, pool)) continue;
        check_rope(r, (struct rope_case){0, 2, 16, 10000, pool});
        if (pool != KERN_INT8) check_rope(r, (struct rope_case){1, 1, 2, 10000, pool});
        check_rope(r, (struct rope_case){17, 3, 32, 10000, pool});
        check_rope(r, (struct rope_case){88, 2, 88, 10000, pool});
        check_rope(r, (struct rope_case){3, 4, 128, 500000, pool});
        check_rope(r, (struct rope_case){4, 1, 200, 10000, pool}); /* longer than a chunk */
        check_rope(r, (struct rope_case){257, 1, 16, 10000, pool});
    }
}

OP_TEST(rope_row_has_the_same_bits_anywhere_and_in_any_company) {
    struct rope_case c = {60, 3, 32, 10000, r->ops->pool_dtype(r->k)};
    enum { WIDTH = 96 };
    const float *qkv = host_random(r, 60 * 3 * WIDTH, 1), *all[3], *some[3];
    int32_t pos[60];
    for (int i = 0; i < 60; i++)
        pos[i] = host_below(r, 1000);
    run_rope(r, &c, qkv, pos, all);
    for (int rows = 1; rows < 30; rows += 4) {
        int first = host_below(r, 60 - rows + 1);
        c.rows = rows;
        run_rope(r, &c, qkv + first * 3 * WIDTH, pos + first, some);
        CHECK_MEM(some[0], all[0] + first * 3 * WIDTH, (size_t)(rows * 3 * WIDTH) * 4);
        for (int i = 0; i < rows; i++) {
            const float *mine = some[1] + (rows + 3 - i) * WIDTH;
            CHECK_MEM(mine, all[1] + (63 - first - i) * WIDTH, WIDTH * 4);
        }
    }
}
