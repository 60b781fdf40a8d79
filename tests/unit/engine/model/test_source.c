/* test_source.c - weights made from a seed: the same for all who have it, of a sensible spread, and a
 * model of them opens, runs, and leaves nothing behind when memory gives out. */
#include <math.h>

#include "engine/model/source.h"
#include "kernels/base/half.h"
#include "tests/unit/engine/model/model_rig.h"

static double at(const struct st_tensor *t, uint64_t i) {
    return t->dtype == ST_F32 ? ((const float *)t->data)[i]
                              : half_from_bf16(((const uint16_t *)t->data)[i]);
}

struct moments {
    double mean, deviation;
};
static struct moments moments_of(const struct st_tensor *t) {
    double sum = 0, squares = 0, n = (double)t->elements;
    for (uint64_t i = 0; i < t->elements; i++) {
        sum += at(t, i);
        squares += at(t, i) * at(t, i);
    }
    return (struct moments){sum / n, sqrt(squares / n - sum / n * (sum / n))};
}

TEST(source_spreads_its_numbers_as_the_header_says) {
    static const struct {
        const char *name;
        int64_t shape[4];
        int ndim;
        enum st_dtype dtype;
        double mean, deviation;
    } want[] = {
        {"model.layers.3.mlp.down_proj.weight", {64, 400}, 2, ST_BF16, 0, 0.05},
        {"visual_encoder.patch_embed.proj.weight", {32, 3, 14, 14}, 4, ST_BF16, 0, 0.0412},
        {"model.embed_tokens.weight", {300, 64}, 2, ST_BF16, 0, 1},
        {"visual_encoder.pos_embed", {1, -1, 32}, 3, ST_F32, 0, 1},
        {"model.layers.0.input_layernorm.weight", {4096}, 1, ST_F32, 1, 0.1},
        {"visual_encoder.blocks.1.norm2.bias", {4096}, 1, ST_F32, 0, 0.1},
        {"ln_vision.weight", {4096}, 1, ST_F32, 1, 0.1},
    };
    struct source s = {.seed = test_seed(), .any = 100};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        const struct st_tensor *t = source_find(&s, want[i].name, want[i].shape, want[i].ndim);
        CHECK(t != NULL && source_has(&s, want[i].name));
        CHECK_EQ(t->dtype, want[i].dtype);
        for (int k = 0; k < t->ndim; k++)
            CHECK_EQ(t->shape[k], want[i].shape[k] < 0 ? 100 : want[i].shape[k]);
        struct moments m = moments_of(t);
        /* Five deviations of a mean of uniform numbers, and 5 % of the spread's own. */
        CHECK(fabs(m.mean - want[i].mean) < 5 * m.deviation / sqrt((double)t->elements));
        CHECK(fabs(m.deviation / want[i].deviation - 1) < 0.05);
    }
    source_clear(&s);
}

TEST(source_is_a_function_of_seed_and_name) {
    struct source a = {.seed = 7}, b = {.seed = 8};
    const int64_t shape[] = {3, 5};
    const struct st_tensor *one = source_find(&a, "x", shape, 2),
                           *two = source_find(&b, "x", shape, 2);
    const struct st_tensor *other = source_find(&a, "y", shape, 2);
    CHECK(memcmp(one->data, two->data, one->bytes) != 0);
    CHECK(memcmp(one->data, other->data, one->bytes) != 0);
    const struct st_tensor *again = source_find(&a, "x", shape, 2); /* the first is still there */
    CHECK(again != one);
    CHECK_MEM(again->data, one->data, one->bytes);
    source_clear(&a);
    source_clear(&b);
}

/* A large tensor is made by threads, cut elsewhere when it is a little larger: nobody can tell. */
TEST(source_numbers_do_not_depend_on_who_makes_them) {
    enum { K = 64, SMALL = 3, LESS = 99991, MORE = 100003 };
    static const char *const names[] = {"x", "visual_encoder.pos_embed"}; /* bf16, f32 */
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct source s = {.seed = 7};
        const struct st_tensor *t[3];
        const int64_t rows[] = {MORE, LESS, SMALL};
        for (int k = 0; k < 3; k++)
            t[k] = source_find(&s, names[i], (const int64_t[]){rows[k], K}, 2);
        CHECK_MEM(t[1]->data, t[0]->data, t[1]->bytes);
        CHECK_MEM(t[2]->data, t[0]->data, t[2]->bytes);
        const struct st_tensor *last = source_find(&s, names[i], (const int64_t[]){MORE, K}, 2);
        CHECK_MEM(last->data, t[0]->data, last->bytes);
        const struct st_tensor *again = source_find(&s, names[i], (const int64_t[]){LESS, K}, 2);
        CHECK(again == t[0]); /* in the memory of the first */
        CHECK_MEM(again->data, t[1]->data, again->bytes);
        source_clear(&s);
    }
}

/* What is held against a device's room: fp8 halves the decoder's matrices and nothing else. */
TEST(source_bytes_of_fp8) {
    struct rig_file f;
    rig_make(&f, "tests/golden/odd", ST_BF16);
    const struct source sources[] = {{.st = f.st}, {.seed = 1}};
    uint64_t d = (uint64_t)f.c.text.hidden_size, ffn = (uint64_t)f.c.text.intermediate_size;
    uint64_t less = (uint64_t)f.c.text.layers * (4 * d * d + 3 * d * ffn);
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        CHECK_EQ(source_bytes(&sources[i], &f.c, 0) - source_bytes(&sources[i], &f.c, 1), less);
    rig_drop(&f);
}

static uint64_t digest_of(uint64_t seed) {
    struct rig r = {0};
    struct err e = {0};
    rig_kern(&r, "ref");
    CHECK_EQ(model_open_how("tests/golden/tiny", &(struct model_how){.is_seeded = 1, .seed = seed},
                            r.ops, r.k, &r.m, &e),
             0);
    CHECK(model_parameters(r.m) > 10000);
    uint64_t h = 0;
    for (const char *c = model_digest(r.m); *c; c++)
        h = h * 31 + (uint8_t)*c;
    rig_close(&r);
    return h;
}

TEST(model_of_a_seed_has_the_file_s_parameters_and_its_own_digest) {
    struct rig r = {0};
    rig_open(&r, "ref", "tests/golden/tiny");
    uint64_t parameters = model_parameters(r.m);
    rig_close(&r);
    r = (struct rig){0};
    rig_kern(&r, "ref");
    CHECK_EQ(model_open_how("tests/golden/tiny", &(struct model_how){.is_seeded = 1, .seed = 1},
                            r.ops, r.k, &r.m, NULL),
             0);
    CHECK_EQ(model_parameters(r.m), parameters);
    rig_close(&r);
    CHECK_EQ(digest_of(5), digest_of(5));
    CHECK(digest_of(5) != digest_of(6));
}

TEST(model_of_a_seed_leaves_nothing_when_memory_gives_out) {
    struct rig r = {0};
    rig_kern(&r, "ref");
    struct mem_stats before, after;
    mem_stats(&before);
    int rc = E_NOMEM, failures = 0;
    for (uint64_t n = 1; rc == E_NOMEM; n += 3) {
        mem_fail_at(n);
        rc = model_open_how("tests/golden/odd", &(struct model_how){.is_seeded = 1, .seed = 1},
                            r.ops, r.k, &r.m, NULL);
        mem_fail_at(0);
        if (rc == 0) break;
        CHECK_EQ(rc, E_NOMEM);
        CHECK(r.m == NULL);
        failures++;
        mem_stats(&after);
        CHECK_EQ(after.live_bytes, before.live_bytes);
    }
    CHECK_EQ(rc, 0);
    CHECK(failures > 30);
    rig_close(&r);
}
