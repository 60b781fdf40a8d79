/* pos.c - where things are: patches, positions, embeddings, rotary angles and the KV store. */
#include <math.h>
#include <string.h>

#include "kernels/base/half.h"
#include "kernels/cpu/cpu_kern.h"

static void patchify_rows(const void *args, int row0, int row1) {
    const struct kern_patchify *a = args;
    int P = a->patch, G = a->side / P;
    const uint8_t *rgb = (const uint8_t *)a->rgb.addr;
    for (int r = row0; r < row1; r++) {
        float *y = cpu_f32(a->y) + (size_t)r * (size_t)(3 * P * P);
        for (int c = 0; c < 3; c++)
            for (int iy = 0; iy < P; iy++) {
                size_t line = (size_t)(r / G * P + iy) * (size_t)a->side + (size_t)(r % G * P);
                for (int ix = 0; ix < P; ix++)
                    *y++ = ((float)rgb[(line + (size_t)ix) * 3 + (size_t)c] / 255.0f - a->mean[c]) /
                           a->std[c];
            }
    }
}

void cpu_patchify(struct kern *k, const struct kern_patchify *a) {
    int G = a->side / a->patch;
    cpu_rows(k, G * G, 6 * a->patch * a->patch, patchify_rows, a);
}

static void add_pos_rows(const void *args, int row0, int row1) {
    const struct kern_add_pos *a = args;
    for (size_t r = (size_t)row0; r < (size_t)row1; r++) {
        const float *pos = cpu_f32(a->pos) + r * (size_t)a->width;
        float *x = cpu_f32(a->x) + r * (size_t)a->width;
        const float *from = r == 0 ? cpu_f32(a->cls) : x;
        for (int i = 0; i < a->width; i++)
            x[i] = from[i] + pos[i];
    }
}

void cpu_add_pos(struct kern *k, const struct kern_add_pos *a) {
    cpu_rows(k, a->rows, 2 * a->width, add_pos_rows, a);
}

static void embed_rows(const void *args, int row0, int row1) {
    const struct kern_embed *a = args;
    size_t w = (size_t)a->width;
    for (int r = row0; r < row1; r++) {
        int32_t src = cpu_i32(a->src)[r];
        float *y = cpu_f32(a->y) + (size_t)r * w;
        if (src < 0) {
            memcpy(y, cpu_f32(a->feats) + (size_t)~src * w, w * sizeof *y);
        } else if (a->dtype == KERN_F32) {
            memcpy(y, cpu_f32(a->table) + (size_t)src * w, w * sizeof *y);
        } else {
            const uint16_t *h = (const uint16_t *)(const void *)a->table.addr + (size_t)src * w;
            for (size_t i = 0; i < w; i++)
                y[i] = a->dtype == KERN_BF16 ? half_from_bf16(h[i]) : half_from_f16(h[i]);
        }
    }
}

void cpu_embed(struct kern *k, const struct kern_embed *a) {
    cpu_rows(k, a->rows, 2 * a->width, embed_rows, a);
}

static void gather_rows(const void *args, int row0, int row1) {
    const struct kern_gather *a = args;
    size_t w = (size_t)a->width;
    for (int r = row0; r < row1; r++)
        memcpy(cpu_f32(a->y) + (size_t)r * w, cpu_f32(a->x) + (size_t)cpu_i32(a->index)[r] * w,
               w * sizeof(float));
}

void cpu_gather(struct kern *k, const struct kern_gather *a) {
    must(a->dtype == KERN_F32);
    cpu_rows(k, a->rows, 2 * a->width, gather_rows, a);
}

/* ---- rotary ---- */

/* cos and sin for positions 0 .. most, computed in double once and kept. */
static const float *angles(struct kern *k, double theta, int K, int most) {
    int is_same = k->angle_size == K && !(k->angle_theta < theta) && !(k->angle_theta > theta);
    if (is_same && most < k->angle_pos) return k->angles.p;
    size_t half = (size_t)(K / 2), room = k->angles.floats / (size_t)K;
    if (room <= (size_t)most) {
        room = 2 * ((size_t)most + 1);
        cpu_scratch(k, &k->angles, room * (size_t)K);
    }
    int n = room < 4096 ? (int)room : most < 4096 ? 4096 : (int)room;
    for (size_t i = 0; i < half; i++) {
        double turn = pow(theta, -2.0 * (double)i / K);
        for (int p = 0; p < n; p++) {
            float *to = k->angles.p + ((size_t)p * half + i) * 2;
            to[0] = (float)cos(p * turn);
            to[1] = (float)sin(p * turn);
        }
    }
    k->angle_pos = n;
    k->angle_size = K;
    k->angle_theta = theta;
    return k->angles.p;
}

static int largest(const int32_t *x, int n) {
    int most = 0;
    for (int i = 0; i < n; i++)
        if (x[i] > most) most = x[i];
    return most;
}

struct rope_job {
    const struct cpu_isa *isa;
    const struct kern_rope *a;
    const float *angles;
};

/* Turn each head of `from` into `to` (may be the same). */
static void rotate(const float *from, float *to, int heads, int K, const float *angle) {
    int half = K / 2;
    for (int h = 0; h < heads; h++, from += K, to += K)
        for (int i = 0; i < half; i++) {
            float c = angle[2 * i], s = angle[2 * i + 1], x = from[i], y = from[i + half];
            to[i] = x * c - y * s;
            to[i + half] = y * c + x * s;
        }
}

/* Some pairs of a head, turned: their first halves, then their second ones. */
enum { SOME = 64 };
struct turned {
    float low[SOME], high[SOME];
    int n;
};
static void turn_some(const float *from, int at, int half, const float *angle, struct turned *to) {
    to->n = half - at < SOME ? half - at : SOME;
    for (int i = 0; i < to->n; i++) {
        float c = angle[2 * (at + i)], s = angle[2 * (at + i) + 1];
        float x = from[at + i], y = from[at + i + half];
        to->low[i] = x * c - y * s;
        to->high[i] = y * c + x * s;
    }
}

/* As `rotate`, rounded on the way. */
static void rotate_rounded(const struct cpu_isa *isa, const float *from, uint16_t *to, int heads,
                           int K, const float *angle) {
    int half = K / 2;
    for (int h = 0; h < heads; h++, from += K, to += K)
        for (int at = 0; at < half; at += SOME) {
            struct turned t;
            turn_some(from, at, half, angle, &t);
            isa->round(t.n, t.low, to + at);
            isa->round(t.n, t.high, to + at + half);
        }
}

/* The scale of a head with that largest number, to its place; and what its numbers are multiplied
 * by. */
static float put_scale(float most, char *to) {
    float scale = narrow_row_scale(most);
    memcpy(to, &scale, sizeof scale);
    return scale > 0 ? narrow_row_by(most) : 0;
}

/* As `rotate`, and rounded to KERN_INT8. A head is turned twice, for its scale and for its
 * numbers. */
static void rotate_int8(const struct cpu_isa *isa, const float *from, char *to, int heads, int K,
                        const float *angle) {
    int half = K / 2;
    for (int h = 0; h < heads; h++, from += K, to += kern_head_bytes(KERN_INT8, K)) {
        int8_t *q = (int8_t *)to + sizeof(float);
        struct turned t;
        float most = 0;
        for (int at = 0; at < half; at += SOME) {
            turn_some(from, at, half, angle, &t);
            float low = isa->most(t.n, t.low), high = isa->most(t.n, t.high);
            if (!(low <= most)) most = low;
            if (!(high <= most)) most = high;
        }
        float by = put_scale(most, to);
        for (int at = 0; at < half; at += SOME) {
            if (half > SOME) turn_some(from, at, half, angle, &t);
            isa->to_ints(t.n, t.low, by, q + at);
            isa->to_ints(t.n, t.high, by, q + at + half);
        }
    }
}

static void round_int8(const struct cpu_isa *isa, const float *x, char *to, int heads, int K) {
    for (int h = 0; h < heads; h++, x += K, to += kern_head_bytes(KERN_INT8, K))
        isa->to_ints(K, x, put_scale(isa->most(K, x), to), (int8_t *)to + sizeof(float));
}

/* A row's key and value into a slot of the pools. */
static void rope_store(const struct rope_job *j, const float *key, const float *value,
                       const float *angle, size_t slot) {
    const struct kern_rope *a = j->a;
    int heads = a->heads, K = a->head_size;
    size_t at = slot * (size_t)heads * kern_head_bytes(a->pool_dtype, K);
    char *keys = a->pool_k.addr + at, *values = a->pool_v.addr + at;
    if (a->pool_dtype == KERN_F32) {
        rotate(key, (float *)(void *)keys, heads, K, angle);
        memcpy(values, value, (size_t)(heads * K) * sizeof *value);
    } else if (a->pool_dtype == KERN_INT8) {
        rotate_int8(j->isa, key, keys, heads, K, angle);
        round_int8(j->isa, value, values, heads, K);
    } else {
        rotate_rounded(j->isa, key, (uint16_t *)(void *)keys, heads, K, angle);
        j->isa->round(heads * K, value, (uint16_t *)(void *)values);
    }
}

static void rope_rows(const void *args, int row0, int row1) {
    const struct rope_job *j = args;
    const struct kern_rope *a = j->a;
    int K = a->head_size;
    size_t w = (size_t)(a->heads * K);
    for (int r = row0; r < row1; r++) {
        float *q = cpu_f32(a->qkv) + (size_t)r * (size_t)a->ld;
        const float *angle = j->angles + (size_t)cpu_i32(a->pos)[r] * (size_t)K;
        rope_store(j, q + w, q + 2 * w, angle, (size_t)cpu_i32(a->slot)[r]);
        rotate(q, q, a->heads, K, angle);
    }
}

void cpu_rope(struct kern *k, const struct kern_rope *a) {
    must(cpu_kern_takes(a->pool_dtype));
    int most = largest(cpu_i32(a->pos), a->rows);
    struct rope_job j = {k->isa, a, angles(k, a->theta, a->head_size, most)};
    cpu_rows(k, a->rows, 6 * a->heads * a->head_size, rope_rows, &j);
}

/* ---- training ---- */

struct rope_back_job {
    const struct kern_rope_back *a;
    const float *angles;
};

/* As `rotate`, by the other way round. */
static void rotate_back(const float *from, float *to, int heads, int K, const float *angle) {
    int half = K / 2;
    for (int h = 0; h < heads; h++, from += K, to += K)
        for (int i = 0; i < half; i++) {
            float c = angle[2 * i], s = angle[2 * i + 1], x = from[i], y = from[i + half];
            to[i] = x * c + y * s;
            to[i + half] = y * c - x * s;
        }
}

static void rope_back_rows(const void *args, int row0, int row1) {
    const struct rope_back_job *j = args;
    const struct kern_rope_back *a = j->a;
    int K = a->head_size;
    size_t w = (size_t)(a->heads * K);
    for (int r = row0; r < row1; r++) {
        float *dq = cpu_f32(a->dqkv) + (size_t)r * (size_t)a->ld;
        const float *angle = j->angles + (size_t)cpu_i32(a->pos)[r] * (size_t)K;
        size_t slot = (size_t)cpu_i32(a->slot)[r];
        rotate_back(dq, dq, a->heads, K, angle);
        rotate_back(cpu_f32(a->dk) + slot * w, dq + w, a->heads, K, angle);
        memcpy(dq + 2 * w, cpu_f32(a->dv) + slot * w, w * sizeof *dq);
    }
}

void cpu_rope_back(struct kern *k, const struct kern_rope_back *a) {
    int most = largest(cpu_i32(a->pos), a->rows);
    struct rope_back_job j = {a, angles(k, a->theta, a->head_size, most)};
    cpu_rows(k, a->rows, 6 * a->heads * a->head_size, rope_back_rows, &j);
}

struct embed_back_job {
    const struct kern *k;
    const struct kern_embed_back *a;
};

static void embed_back_sources(const void *args, int from, int to) {
    const struct embed_back_job *j = args;
    const struct kern_embed_back *a = j->a;
    size_t w = (size_t)a->width;
    for (int i = from; i < to; i++) {
        int32_t key = cpu_i32(a->key)[i], end = cpu_i32(a->off)[i + 1];
        float *all = cpu_f32(key < 0 ? a->dfeats : a->dtable);
        for (int32_t at = cpu_i32(a->off)[i]; all && at < end; at++)
            j->k->isa->axpy(a->width, 1.0f, cpu_f32(a->dy) + (size_t)cpu_i32(a->from)[at] * w,
                            all + (size_t)(key < 0 ? ~key : key) * w);
    }
}

void cpu_embed_back(struct kern *k, const struct kern_embed_back *a) {
    int rows = a->sources > 0 ? cpu_i32(a->off)[a->sources] / a->sources + 1 : 1;
    cpu_rows(k, a->sources, 2 * a->width * rows, embed_back_sources,
             &(struct embed_back_job){k, a});
}

struct gather_back_job {
    const struct kern *k;
    const struct kern_gather_back *a;
};

static void gather_back_rows(const void *args, int row0, int row1) {
    const struct gather_back_job *j = args;
    const struct kern_gather_back *a = j->a;
    size_t w = (size_t)a->width;
    for (int r = row0; r < row1; r++)
        j->k->isa->axpy(a->width, 1.0f, cpu_f32(a->dy) + (size_t)r * w,
                        cpu_f32(a->dx) + (size_t)cpu_i32(a->index)[r] * w);
}

void cpu_gather_back(struct kern *k, const struct kern_gather_back *a) {
    cpu_rows(k, a->rows, 2 * a->width, gather_back_rows, &(struct gather_back_job){k, a});
}
