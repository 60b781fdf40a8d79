/* pos.c - what gives rows their place: patches, learned positions, embeddings, rotary angles.
 *
 * TRAPS:
 * - A patch is laid out channel first, (c, iy, ix), as a convolution's weight is; the picture lies
 *   interleaved. test_pos.c: patchify_puts_every_sample_where_a_convolution_wants_it.
 * - Rotary pairs are (i, i + K/2), not (2i, 2i + 1). test_pos.c: rope_turns_the_half_split_pairs.
 */
#include <math.h>
#include <string.h>

#include "kernels/base/half.h"
#include "kernels/base/narrow.h"
#include "kernels/ref/ref.h"

void ref_patchify(struct kern *k, const struct kern_patchify *a) {
    const uint8_t *rgb = (const uint8_t *)a->rgb.addr;
    int grid = a->side / a->patch;
    float *y = ref_f32(a->y); /* (G*G, 3*P*P), written in order */
    for (int py = 0; py < grid; py++) {
        for (int px = 0; px < grid; px++) {
            for (int i = 0; i < 3 * a->patch * a->patch; i++) {
                int c = i / (a->patch * a->patch), iy = i / a->patch % a->patch, ix = i % a->patch;
                size_t row = (size_t)(py * a->patch + iy), col = (size_t)(px * a->patch + ix);
                double v = rgb[(row * (size_t)a->side + col) * 3 + (size_t)c] / 255.0;
                *y++ = (float)((v - (double)a->mean[c]) / (double)a->std[c]);
            }
        }
    }
    ref_count(k, 0);
}

void ref_add_pos(struct kern *k, const struct kern_add_pos *a) {
    float *x = ref_f32(a->x);
    const float *cls = ref_f32(a->cls), *pos = ref_f32(a->pos);
    size_t width = (size_t)a->width;
    for (size_t i = 0; i < (size_t)a->rows; i++) {
        for (size_t c = 0; c < width; c++)
            x[i * width + c] = (i == 0 ? cls[c] : x[i * width + c]) + pos[i * width + c];
    }
    ref_count(k, 0);
}

void ref_embed(struct kern *k, const struct kern_embed *a) {
    const int32_t *src = ref_i32(a->src);
    const float *feats = ref_f32(a->feats);
    size_t width = (size_t)a->width;
    for (int i = 0; i < a->rows; i++) {
        float *y = ref_f32(a->y) + (size_t)i * width;
        for (size_t c = 0; c < width; c++)
            y[c] = src[i] >= 0 ? ref_at(a->table.addr, a->dtype, (size_t)src[i] * width + c)
                               : feats[(size_t)~src[i] * width + c];
    }
    ref_count(k, 0);
}

void ref_gather(struct kern *k, const struct kern_gather *a) {
    const int32_t *index = ref_i32(a->index);
    size_t bytes = (size_t)a->width * kern_dtype_bytes(a->dtype);
    for (int i = 0; i < a->rows; i++)
        memcpy(a->y.addr + (size_t)i * bytes, a->x.addr + (size_t)index[i] * bytes, bytes);
    ref_count(k, 0);
}

/* Put a head of n numbers into a pool. */
static void pos_store(struct kern_ptr pool, enum kern_dtype t, size_t head, const float *x, int n) {
    char *to = pool.addr + head * kern_head_bytes(t, n);
    if (t == KERN_F32) memcpy(to, x, (size_t)n * sizeof(float));
    if (t == KERN_INT8) {
        int8_t q[REF_HEAD_MAX];
        float scale = narrow_row_block(x, n, q);
        memcpy(to, &scale, sizeof scale);
        memcpy(to + sizeof scale, q, (size_t)n);
    }
    for (int i = 0; (t == KERN_BF16 || t == KERN_F16) && i < n; i++) {
        uint16_t h = t == KERN_BF16 ? half_to_bf16(x[i]) : half_to_f16(x[i]);
        memcpy(to + 2 * i, &h, sizeof h);
    }
}

/* One head: pair (i, i + K/2) turns by pos * theta^(-2i/K). */
static void pos_turn(float *out, const float *in, int size, int32_t pos, double theta) {
    int half = size / 2;
    for (int i = 0; i < half; i++) {
        double angle = pos * pow(theta, -2.0 * i / size);
        double c = cos(angle), s = sin(angle), a = (double)in[i], b = (double)in[i + half];
        out[i] = (float)(a * c - b * s);
        out[i + half] = (float)(b * c + a * s);
    }
}

void ref_rope(struct kern *k, const struct kern_rope *a) {
    const int32_t *pos = ref_i32(a->pos), *slot = ref_i32(a->slot);
    must(a->head_size <= REF_HEAD_MAX);
    size_t width = (size_t)a->heads * (size_t)a->head_size;
    for (int i = 0; i < a->rows; i++) {
        float *q = ref_f32(a->qkv) + (size_t)i * (size_t)a->ld, *kk = q + width, *v = kk + width;
        size_t to = (size_t)slot[i] * (size_t)a->heads, size = (size_t)a->head_size;
        for (size_t h = 0; h < width; h += size) {
            float turned[REF_HEAD_MAX];
            pos_turn(q + h, q + h, a->head_size, pos[i], a->theta);
            pos_turn(turned, kk + h, a->head_size, pos[i], a->theta);
            pos_store(a->pool_k, a->pool_dtype, to + h / size, turned, a->head_size);
            pos_store(a->pool_v, a->pool_dtype, to + h / size, v + h, a->head_size);
        }
    }
    ref_count(k, 0);
}

/* ---- training ---- */

void ref_rope_back(struct kern *k, const struct kern_rope_back *a) {
    const int32_t *pos = ref_i32(a->pos), *slot = ref_i32(a->slot);
    size_t width = (size_t)a->heads * (size_t)a->head_size;
    for (int i = 0; i < a->rows; i++) {
        float *dq = ref_f32(a->dqkv) + (size_t)i * (size_t)a->ld, *dk = dq + width;
        size_t from = (size_t)slot[i] * width;
        for (size_t h = 0; h < width; h += (size_t)a->head_size) {
            pos_turn(dq + h, dq + h, a->head_size, -pos[i], a->theta);
            pos_turn(dk + h, ref_f32(a->dk) + from + h, a->head_size, -pos[i], a->theta);
        }
        memcpy(dk + width, ref_f32(a->dv) + from, width * sizeof(float));
    }
    ref_count(k, 0);
}

/* to[c] += the sum of column c over some rows of dy. */
static void pos_add_rows(float *to, const float *dy, size_t width, const int32_t *from, int n) {
    for (size_t c = 0; c < width; c++) {
        double sum = 0;
        for (int i = 0; i < n; i++)
            sum += (double)dy[(size_t)from[i] * width + c];
        ref_give(&to[c], sum, 1);
    }
}

void ref_embed_back(struct kern *k, const struct kern_embed_back *a) {
    const int32_t *key = ref_i32(a->key), *off = ref_i32(a->off), *from = ref_i32(a->from);
    size_t width = (size_t)a->width;
    for (int s = 0; s < a->sources; s++) {
        float *all = ref_f32(key[s] >= 0 ? a->dtable : a->dfeats);
        size_t row = (size_t)(key[s] >= 0 ? key[s] : ~key[s]);
        if (!all) continue;
        pos_add_rows(all + row * width, ref_f32(a->dy), width, from + off[s], off[s + 1] - off[s]);
    }
    ref_count(k, 0);
}

void ref_gather_back(struct kern *k, const struct kern_gather_back *a) {
    const int32_t *index = ref_i32(a->index);
    size_t width = (size_t)a->width;
    for (size_t i = 0; i < (size_t)a->rows; i++) {
        for (size_t c = 0; c < width; c++)
            ref_f32(a->dx)[(size_t)index[i] * width + c] += ref_f32(a->dy)[i * width + c];
    }
    ref_count(k, 0);
}
