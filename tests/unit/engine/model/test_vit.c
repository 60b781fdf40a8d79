/* test_vit.c - the vision tower and the connector, held against plain loops in double, written from
 * docs/model.md section 1. Each trap of vit.c would change a number here: the class token's row, q
 * scaled and not k, no bias for k, the exact GELU, the order of patches, four (here three)
 * neighbours in a row. */
#include "tests/unit/engine/model/model_rig.h"

#define ODD "tests/golden/odd"
enum { SIDE = 30, ROWS = 1 + 36, E = 24, WIDE = 3 * E, F = 68, D = 40, I = 12 };

/* ---- plain loops ---- */

struct tower {
    const struct model_config *c;
    const struct st *st;
    char prefix[64];
    float *held[64]; /* copies, since a file's tensors are of any alignment */
    int n;
};

static const float *weights(struct tower *t, const char *name) {
    char full[128];
    snprintf(full, sizeof full, "%s%s", t->prefix, name);
    const struct st_tensor *found = st_find(t->st, full);
    CHECK(found && found->dtype == ST_F32 && t->n < (int)ARRAY_LEN(t->held));
    t->held[t->n] = mem_must(found->bytes);
    memcpy(t->held[t->n], found->data, found->bytes);
    return t->held[t->n++];
}

/* y (rows, n) = x (rows, k) w^T + b; b NULL: none. */
static void product(const double *x, int rows, int k, const float *w, int n, const float *b,
                    double *y) {
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < n; o++) {
            double sum = b ? (double)b[o] : 0;
            for (int i = 0; i < k; i++)
                sum += x[r * k + i] * (double)w[o * k + i];
            y[r * n + o] = sum;
        }
}

static void norm(struct tower *t, const char *name, double eps, const double *x, double *y) {
    char weight[64], bias[64];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    const float *w = weights(t, weight), *b = weights(t, bias);
    for (int r = 0; r < ROWS; r++) {
        double mean = 0, var = 0;
        for (int i = 0; i < E; i++)
            mean += x[r * E + i] / E;
        for (int i = 0; i < E; i++)
            var += (x[r * E + i] - mean) * (x[r * E + i] - mean) / E;
        for (int i = 0; i < E; i++)
            y[r * E + i] = (x[r * E + i] - mean) / sqrt(var + eps) * (double)w[i] + (double)b[i];
    }
}

static void attention(const double *qkv, int heads, double *y) {
    int head = E / heads;
    for (int h = 0; h < heads; h++)
        for (int r = 0; r < ROWS; r++) {
            double score[ROWS], most = -1e300, sum = 0, out[E] = {0};
            for (int k = 0; k < ROWS; k++) {
                score[k] = 0;
                for (int i = 0; i < head; i++)
                    score[k] += qkv[r * WIDE + h * head + i] / sqrt(head) *
                                qkv[k * WIDE + E + h * head + i];
                if (score[k] > most) most = score[k];
            }
            for (int k = 0; k < ROWS; k++) {
                double p = exp(score[k] - most);
                sum += p;
                for (int i = 0; i < head; i++)
                    out[i] += p * qkv[k * WIDE + 2 * E + h * head + i];
            }
            for (int i = 0; i < head; i++)
                y[r * E + h * head + i] = out[i] / sum;
        }
}

/* Patches left to right, then top to bottom; in each the three colours one after the other. */
static void embed(struct tower *t, const uint8_t *rgb, double *x) {
    const struct model_vision *v = &t->c->vision;
    int p = v->patch_size, across = SIDE / p;
    const float *w = weights(t, "patch_embed.proj.weight"),
                *b = weights(t, "patch_embed.proj.bias");
    const float *cls = weights(t, "cls_token"), *pos = weights(t, "pos_embed");
    for (int i = 0; i < E; i++)
        x[i] = (double)cls[i];
    for (int r = 1; r < ROWS; r++)
        for (int o = 0; o < E; o++) {
            double sum = (double)b[o];
            int x0 = (r - 1) % across * p, y0 = (r - 1) / across * p;
            for (int c = 0; c < 3; c++)
                for (int k = 0; k < p * p; k++) {
                    int at = ((y0 + k / p) * SIDE + x0 + k % p) * 3 + c;
                    double value = (rgb[at] / 255.0 - (double)v->mean[c]) / (double)v->std[c];
                    sum += value * (double)w[(o * 3 + c) * p * p + k];
                }
            x[r * E + o] = sum;
        }
    for (int i = 0; i < ROWS * E; i++)
        x[i] += (double)pos[i];
}

static void block(struct tower *t, int i, double *x) {
    static double h[ROWS * E], wide[ROWS * WIDE], more[ROWS * E];
    float bias[WIDE] = {0}; /* nothing for k */
    snprintf(t->prefix, sizeof t->prefix, "visual_encoder.blocks.%d.", i);
    memcpy(bias, weights(t, "attn.q_bias"), E * sizeof bias[0]);
    memcpy(bias + 2 * E, weights(t, "attn.v_bias"), E * sizeof bias[0]);
    norm(t, "norm1", (double)t->c->vision.layer_norm_eps, x, h);
    product(h, ROWS, E, weights(t, "attn.qkv.weight"), WIDE, bias, wide);
    attention(wide, t->c->vision.heads, h);
    product(h, ROWS, E, weights(t, "attn.proj.weight"), E, weights(t, "attn.proj.bias"), more);
    for (int k = 0; k < ROWS * E; k++)
        x[k] += more[k];
    norm(t, "norm2", (double)t->c->vision.layer_norm_eps, x, h);
    product(h, ROWS, E, weights(t, "mlp.fc1.weight"), F, weights(t, "mlp.fc1.bias"), wide);
    for (int k = 0; k < ROWS * F; k++)
        wide[k] = wide[k] / 2 * (1 + erf(wide[k] / sqrt(2)));
    product(wide, ROWS, F, weights(t, "mlp.fc2.weight"), E, weights(t, "mlp.fc2.bias"), more);
    for (int k = 0; k < ROWS * E; k++)
        x[k] += more[k];
}

static void plain_tower(const struct rig_file *f, const uint8_t *rgb, double *out) {
    static double x[ROWS * E], h[ROWS * E];
    struct tower t = {.c = &f->c, .st = f->st, .prefix = "visual_encoder."};
    embed(&t, rgb, x);
    for (int i = 0; i < f->c.vision.layers; i++)
        block(&t, i, x);
    t.prefix[0] = 0;
    norm(&t, "ln_vision", (double)f->c.ln_vision_eps, x, h);
    /* Neighbours of a row of patches side by side, the class token's row left out. */
    product(h + E, I, f->c.concat * E, weights(&t, "llama_proj.weight"), D,
            weights(&t, "llama_proj.bias"), out);
    while (t.n > 0)
        mem_free(t.held[--t.n]);
}

/* ---- the model ---- */

/* Keeps the last tensor of that many rows and columns: the features. */
static void keep(void *ud, const char *name, const float *data, int rows, int cols) {
    if (strcmp(name, "proj") != 0) return;
    CHECK(rows == I && cols == D);
    memcpy(ud, data, sizeof(float) * I * D);
}

static void make_picture(uint8_t *rgb, uint64_t seed) {
    for (int i = 0; i < SIDE * SIDE * 3; i++)
        rgb[i] = (uint8_t)rng_u64(seed, (uint64_t)i);
}

static double difference(const float *a, const double *b) {
    double most = 0, largest = 0;
    for (int i = 0; i < I * D; i++) {
        most = fmax(most, fabs((double)a[i] - b[i]));
        largest = fmax(largest, fabs(b[i]));
    }
    return most / largest;
}

TEST(vit_equals_plain_loops) {
    struct rig_file f;
    rig_make(&f, ODD, ST_F32);
    CHECK(f.c.vision.image_size == SIDE && f.c.vision.hidden_size == E &&
          f.c.n_patches == ROWS - 1);
    CHECK(f.c.vision.intermediate_size == F && f.c.text.hidden_size == D &&
          f.c.n_image_tokens == I);
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++) {
        struct rig r;
        float got[I * D];
        static double want[I * D];
        uint8_t rgb[SIDE * SIDE * 3];
        rig_open_file(&r, rig_backends[i], &f);
        rig_ready(&r, 4, 4);
        model_set_tap(r.m, keep, got);
        for (uint64_t n = 0; n < 3; n++) {
            make_picture(rgb, test_seed() + n);
            plain_tower(&f, rgb, want);
            model_encode(r.m, MODEL_BASE, rgb, (int)n % 2);
            CHECK(difference(got, want) < 1e-5);
        }
        rig_close(&r);
    }
    rig_drop(&f);
}

/* n pictures in one call, one by one, and in another order: each has its bits. */
static void together(const struct rig_file *f, const char *backend) {
    enum { MOST = KERN_PICTURES_MOST };
    struct rig r;
    int side = f->c.vision.image_size;
    size_t cells = (size_t)f->c.n_image_tokens * (size_t)f->c.text.hidden_size;
    size_t rgb = (size_t)side * (size_t)side * 3, bytes = cells * sizeof(float);
    uint8_t *pixels = mem_must(MOST * rgb);
    char *want = mem_must(MOST * bytes), *got = mem_must(2 * MOST * bytes);
    struct model_plan plan = {
        .rows_max = 4, .picks_max = 4, .kv_slots = 4, .feats_max = 2 * MOST, .pictures_max = MOST};
    rig_open_file(&r, backend, f);
    rig_ready_for(&r, &plan);
    for (size_t i = 0; i < MOST * rgb; i++)
        pixels[i] = (uint8_t)rng_u64(test_seed(), i);
    for (int i = 0; i < MOST; i++)
        model_encode(r.m, MODEL_BASE, pixels + (size_t)i * rgb, i);
    CHECK_EQ(r.ops->get(r.k, want, r.m->feats, MOST * bytes, NULL), 0);
    CHECK(memcmp(want, want + bytes, bytes) != 0);
    for (int n = 2; n <= MOST; n += 2) {
        struct model_view views[MOST];
        for (int i = 0; i < n; i++) /* picture i into entry MOST + i, the last one first */
            views[n - 1 - i] = (struct model_view){pixels + (size_t)i * rgb, MOST + i};
        model_encode_all(r.m, MODEL_BASE, views, n);
        CHECK_EQ(r.ops->get(r.k, got, r.m->feats, 2 * MOST * bytes, NULL), 0);
        CHECK_MEM(got, want, MOST * bytes);
        CHECK_MEM(got + MOST * bytes, want, (size_t)n * bytes);
    }
    mem_free(pixels);
    mem_free(want);
    mem_free(got);
    rig_close(&r);
}

static void together_on(const char *dir, enum st_dtype type, const char *backend) {
    struct rig_file f;
    rig_make(&f, dir, type);
    together(&f, backend);
    rig_drop(&f);
}

TEST(vit_sees_pictures_together_as_alone) {
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++) {
        together_on(ODD, ST_BF16, rig_backends[i]);
        together_on(RIG_TINY, ST_F16, rig_backends[i]);
    }
}
TEST(vit_sees_pictures_together_as_alone_cuda) {
    together_on(ODD, ST_BF16, "cuda-tile");
    together_on(RIG_TINY, ST_F16, "cuda-flat+graphs");
}

/* With a tap and without, into one entry and into the other: the same bits, and only there. */
TEST(vit_fills_its_entry_alone) {
    struct rig_file f;
    rig_make(&f, ODD, ST_BF16);
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++) {
        struct rig r;
        float tapped[I * D], feats[2][I * D];
        uint8_t rgb[SIDE * SIDE * 3], other[SIDE * SIDE * 3];
        make_picture(rgb, 1);
        make_picture(other, 2);
        rig_open_file(&r, rig_backends[i], &f);
        rig_ready(&r, 4, 4);
        model_set_tap(r.m, keep, tapped);
        model_encode(r.m, MODEL_BASE, rgb, 0);
        model_set_tap(r.m, NULL, NULL);
        model_encode(r.m, MODEL_BASE, other, 0);
        model_encode(r.m, MODEL_BASE, rgb, 1);
        CHECK_EQ(r.ops->get(r.k, feats, r.m->feats, sizeof feats, NULL), 0);
        CHECK_MEM(feats[1], tapped, sizeof tapped);
        CHECK(memcmp(feats[0], tapped, sizeof tapped) != 0);
        model_encode(r.m, MODEL_BASE, rgb, 0);
        CHECK_EQ(r.ops->get(r.k, feats, r.m->feats, sizeof feats, NULL), 0);
        CHECK_MEM(feats[0], feats[1], sizeof feats[0]);
        rig_close(&r);
    }
    rig_drop(&f);
}
