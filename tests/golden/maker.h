/* maker.h - random weights as tools/oracle/make_models.py makes them, number for number.
 *
 * A weight is a pure function of its tensor's name and its place, so a model of a quarter of a
 * billion weights needs no file. A test may bend the table (drop, rename, reshape) before it turns
 * it into bytes. For tests only.
 */
#ifndef TESTS_GOLDEN_MAKER_H
#define TESTS_GOLDEN_MAKER_H

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/files/safetensors.h"
#include "engine/model/model.h"
#include "kernels/base/buf.h"
#include "kernels/base/half.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

struct maker_tensor {
    char name[96];
    enum st_dtype dtype;
    int ndim;
    int shape[4];
    double std, mean;
};
struct maker {
    struct maker_tensor t[256];
    int n;
    enum st_dtype matrices; /* type of what is added next; vectors and positions are f32 */
};

/* Dimensions are ints, ended by 0. */
static inline struct maker_tensor *maker_add(struct maker *m, enum st_dtype dtype, double std,
                                             double mean, const char *name, const int *shape) {
    must(m->n < (int)ARRAY_LEN(m->t));
    struct maker_tensor *t = &m->t[m->n++];
    *t = (struct maker_tensor){.dtype = dtype, .std = std, .mean = mean};
    snprintf(t->name, sizeof t->name, "%s", name);
    while (shape[t->ndim]) {
        t->shape[t->ndim] = shape[t->ndim];
        t->ndim++;
    }
    return t;
}

static inline void maker_matrix(struct maker *m, const char *prefix, const char *name, int n, int k,
                                double gain) {
    char full[96];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    maker_add(m, m->matrices, gain / sqrt(k), 0, full, (int[]){n, k, 0});
}

static inline void maker_vector(struct maker *m, const char *prefix, const char *name, int n,
                                double mean) {
    char full[96];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    maker_add(m, ST_F32, 0.1, mean, full, (int[]){n, 0});
}

static inline void maker_vit(struct maker *m, const struct model_config *c) {
    const struct model_vision *v = &c->vision;
    int e = v->hidden_size, p = v->patch_size, f = v->intermediate_size;
    char b[64];
    maker_add(m, ST_F32, 0.5, 0, "visual_encoder.cls_token", (int[]){1, 1, e, 0});
    maker_add(m, ST_F32, 0.5, 0, "visual_encoder.pos_embed", (int[]){1, 1 + c->n_patches, e, 0});
    maker_add(m, m->matrices, 1 / sqrt(3 * p * p), 0, "visual_encoder.patch_embed.proj.weight",
              (int[]){e, 3, p, p, 0});
    maker_vector(m, "", "visual_encoder.patch_embed.proj.bias", e, 0);
    for (int i = 0; i < v->layers; i++) {
        snprintf(b, sizeof b, "visual_encoder.blocks.%d.", i);
        maker_vector(m, b, "norm1.weight", e, 1);
        maker_vector(m, b, "norm1.bias", e, 0);
        maker_vector(m, b, "norm2.weight", e, 1);
        maker_vector(m, b, "norm2.bias", e, 0);
        maker_vector(m, b, "attn.q_bias", e, 0);
        maker_vector(m, b, "attn.v_bias", e, 0);
        maker_matrix(m, b, "attn.qkv.weight", 3 * e, e, 1.5);
        maker_matrix(m, b, "attn.proj.weight", e, e, 1);
        maker_vector(m, b, "attn.proj.bias", e, 0);
        maker_matrix(m, b, "mlp.fc1.weight", f, e, 1);
        maker_vector(m, b, "mlp.fc1.bias", f, 0);
        maker_matrix(m, b, "mlp.fc2.weight", e, f, 1);
        maker_vector(m, b, "mlp.fc2.bias", e, 0);
    }
    maker_vector(m, "", "ln_vision.weight", e, 1);
    maker_vector(m, "", "ln_vision.bias", e, 0);
}

/* Every tensor of a model; matrices in `matrices`. */
static inline void maker_model(struct maker *m, const struct model_config *c,
                               enum st_dtype matrices) {
    int d = c->text.hidden_size, g = c->text.intermediate_size, v = c->text.vocab_size;
    char b[64];
    *m = (struct maker){.matrices = matrices};
    maker_vit(m, c);
    maker_matrix(m, "", "llama_proj.weight", d, c->concat * c->vision.hidden_size, 1);
    maker_vector(m, "", "llama_proj.bias", d, 0);
    maker_add(m, matrices, 1, 0, "model.embed_tokens.weight", (int[]){v, d, 0});
    for (int i = 0; i < c->text.layers; i++) {
        snprintf(b, sizeof b, "model.layers.%d.", i);
        maker_vector(m, b, "input_layernorm.weight", d, 1);
        maker_vector(m, b, "post_attention_layernorm.weight", d, 1);
        maker_matrix(m, b, "self_attn.q_proj.weight", d, d, 2.2);
        maker_matrix(m, b, "self_attn.k_proj.weight", d, d, 2.2);
        maker_matrix(m, b, "self_attn.v_proj.weight", d, d, 1);
        maker_matrix(m, b, "self_attn.o_proj.weight", d, d, 4);
        maker_matrix(m, b, "mlp.gate_proj.weight", g, d, 1);
        maker_matrix(m, b, "mlp.up_proj.weight", g, d, 1);
        maker_matrix(m, b, "mlp.down_proj.weight", d, g, 2);
    }
    maker_vector(m, "", "model.norm.weight", d, 1);
    maker_matrix(m, "", "lm_head.weight", v, d, 6);
}

static inline struct maker_tensor *maker_find(struct maker *m, const char *name) {
    for (int i = 0; i < m->n; i++)
        if (!strcmp(m->t[i].name, name)) return &m->t[i];
    return NULL;
}

static inline void maker_drop(struct maker *m, const char *name) {
    struct maker_tensor *t = maker_find(m, name);
    must(t != NULL);
    memmove(t, t + 1, (size_t)(m->t + --m->n - t) * sizeof *t);
}

static inline void maker_rename(struct maker *m, const char *from, const char *to) {
    struct maker_tensor *t = maker_find(m, from);
    must(t != NULL);
    snprintf(t->name, sizeof t->name, "%s", to);
}

static inline size_t maker_bytes(const struct maker_tensor *t) {
    size_t n = t->dtype == ST_F32 ? 4 : t->dtype == ST_OTHER ? 8 : 2;
    for (int i = 0; i < t->ndim; i++)
        n *= (size_t)t->shape[i];
    return n;
}

/* FNV-1a, as rng.name_seed of the generator. */
static inline uint64_t maker_seed(const char *name) {
    uint64_t h = 0xCBF29CE484222325u;
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 0x100000001B3u;
    return h;
}

static inline void maker_fill(const struct maker_tensor *t, uint8_t *out) {
    uint64_t seed = maker_seed(t->name);
    size_t n = maker_bytes(t) / (t->dtype == ST_F32 ? 4 : 2);
    float factor = (float)(t->std * sqrt(12.0)), mean = (float)t->mean;
    for (size_t i = 0; i < n; i++) {
        float v = (rng_uniform(seed, i) - 0.5f) * factor;
        if (mean != 0.0f) v += mean;
        if (t->dtype == ST_F32) {
            memcpy(out + 4 * i, &v, 4);
            continue;
        }
        uint16_t h = t->dtype == ST_F16 ? half_to_f16(v) : half_to_bf16(v);
        memcpy(out + 2 * i, &h, 2);
    }
}

/* The table as the bytes of a weights file (mem_free). */
static inline uint8_t *maker_file(const struct maker *m, size_t *len) {
    static const char *const names[] = {"F32", "F16", "BF16", "I64"};
    struct buf h;
    size_t data = 0;
    buf_init(&h, 1 << 20);
    buf_char(&h, '{');
    for (int i = 0; i < m->n; i++) {
        const struct maker_tensor *t = &m->t[i];
        buf_printf(&h, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "", t->name,
                   names[t->dtype]);
        for (int k = 0; k < t->ndim; k++)
            buf_printf(&h, "%s%d", k ? "," : "", t->shape[k]);
        buf_printf(&h, "],\"data_offsets\":[%zu,%zu]}", data, data + maker_bytes(t));
        data += maker_bytes(t);
    }
    buf_char(&h, '}');
    must(!h.bad);
    uint8_t *file = mem_must(8 + h.len + data), *at = file + 8 + h.len;
    uint64_t n = h.len;
    memcpy(file, &n, 8);
    memcpy(file + 8, h.p, h.len);
    *len = 8 + h.len + data;
    buf_clear(&h);
    for (int i = 0; i < m->n; i++) {
        maker_fill(&m->t[i], at);
        at += maker_bytes(&m->t[i]);
    }
    return file;
}

#endif
