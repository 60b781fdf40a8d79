/* test_weights.c - both sides of the table. A file gives what is in it. A seed always gives the
 * same, of a sensible spread; a model of it opens, runs, and leaves nothing behind when memory runs
 * out. */
#include <math.h>

#include "engine/model/weights.h"
#include "kernels/base/clock.h"
#include "kernels/base/half.h"
#include "tests/unit/engine/model/model_rig.h"

static double at(const struct st_tensor *t, uint64_t i) {
    return t->dtype == ST_F32 ? ((const float *)t->data)[i]
                              : half_from_bf16(((const uint16_t *)t->data)[i]);
}

static const struct st_tensor *find(struct weights *w, const char *name, const int64_t *want,
                                    int ndim) {
    const struct st_tensor *t = NULL;
    CHECK_EQ(w->find(w, name, want, ndim, &t), 0);
    return t;
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

TEST(weights_of_a_seed_spread_as_the_header_says) {
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
    struct weights_seed s;
    weights_of_seed(&s, test_seed(), 100);
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        const struct st_tensor *t = find(&s.w, want[i].name, want[i].shape, want[i].ndim);
        CHECK_EQ(t->dtype, want[i].dtype);
        for (int k = 0; k < t->ndim; k++)
            CHECK_EQ(t->shape[k], want[i].shape[k] < 0 ? 100 : want[i].shape[k]);
        struct moments m = moments_of(t);
        /* Five deviations of a mean of uniform numbers, and 5 % of the spread's own. */
        CHECK(fabs(m.mean - want[i].mean) < 5 * m.deviation / sqrt((double)t->elements));
        CHECK(fabs(m.deviation / want[i].deviation - 1) < 0.05);
    }
    weights_seed_clear(&s);
}

TEST(weights_are_a_function_of_seed_and_name) {
    struct weights_seed a, b;
    weights_of_seed(&a, 7, 1);
    weights_of_seed(&b, 8, 1);
    const int64_t shape[] = {3, 5};
    const struct st_tensor *one = find(&a.w, "x", shape, 2), *two = find(&b.w, "x", shape, 2);
    const struct st_tensor *other = find(&a.w, "y", shape, 2);
    CHECK(memcmp(one->data, two->data, one->bytes) != 0);
    CHECK(memcmp(one->data, other->data, one->bytes) != 0);
    const struct st_tensor *again = find(&a.w, "x", shape, 2); /* the first is still there */
    CHECK(again != one);
    CHECK_MEM(again->data, one->data, one->bytes);
    weights_seed_clear(&a);
    weights_seed_clear(&b);
}

/* A large tensor is made by threads, cut elsewhere when it is a little larger: that makes no
 * difference. */
TEST(weights_do_not_depend_on_threads) {
    enum { K = 64, SMALL = 3, LESS = 99991, MORE = 100003 };
    static const char *const names[] = {"x", "visual_encoder.pos_embed"}; /* bf16, f32 */
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct weights_seed s;
        weights_of_seed(&s, 7, 1);
        const struct st_tensor *t[3];
        const int64_t rows[] = {MORE, LESS, SMALL};
        for (int k = 0; k < 3; k++)
            t[k] = find(&s.w, names[i], (const int64_t[]){rows[k], K}, 2);
        CHECK_MEM(t[1]->data, t[0]->data, t[1]->bytes);
        CHECK_MEM(t[2]->data, t[0]->data, t[2]->bytes);
        const struct st_tensor *last = find(&s.w, names[i], (const int64_t[]){MORE, K}, 2);
        CHECK_MEM(last->data, t[0]->data, last->bytes);
        const struct st_tensor *again = find(&s.w, names[i], (const int64_t[]){LESS, K}, 2);
        CHECK(again == t[0]); /* in the memory of the first */
        CHECK_MEM(again->data, t[1]->data, again->bytes);
        weights_seed_clear(&s);
    }
}

/* What is compared with the device's memory is what the device then holds, to the byte, whether
 * weights come from a file or a seed. Numbers aren't read for it. */
TEST(weights_are_counted_as_the_device_will_hold_them) {
    static const enum kern_keep keeps[] = {KERN_KEEP_OWN,    KERN_KEEP_FP8,   KERN_KEEP_BF16,
                                           KERN_KEEP_F16,    KERN_KEEP_INT8,  KERN_KEEP_INT4,
                                           KERN_KEEP_INT8X8, KERN_KEEP_INT4X8};
    for (size_t i = 0; i < 2 * ARRAY_LEN(rig_backends) * ARRAY_LEN(keeps); i++) {
        struct rig r;
        struct kern_stats s;
        struct err e = {0};
        rig_kern(&r, rig_backends[i % 2]);
        struct model_how how = {.keep = keeps[i / 4], .is_seeded = i / 2 % 2, .seed = 1};
        CHECK_EQ(model_open(RIG_TINY, &how, r.ops, r.k, &r.m, &e), 0);
        rig_ready(&r, 8, 8);
        model_head_free(r.m, r.head);
        r.head = NULL;
        uint64_t before, need = 0;
        r.ops->stats(r.k, &s);
        before = s.live_bytes;
        CHECK_EQ(model_head_new(r.m, r.ids, model_config(r.m)->text.vocab_size, &r.head, &e), 0);
        r.ops->stats(r.k, &s);
        uint64_t head = s.live_bytes - before;
        rig_close(&r);

        rig_kern(&r, rig_backends[i % 2]);
        CHECK_EQ(model_open(RIG_TINY, &how, r.ops, r.k, &r.m, &e), 0);
        r.ops->stats(r.k, &s);
        struct weights_seed seed;
        weights_of_seed(&seed, 1, 1 + model_config(r.m)->n_patches);
        seed.w.only_shapes = 1;
        if (how.is_seeded) {
            CHECK_EQ(bind_count(r.m, &seed.w, &need, &e), 0);
            CHECK_EQ(need, s.live_bytes + head);
            CHECK(seed.made[0].data == NULL);
        } else { /* with one byte less it is refused, or stays as it is stored */
            model_close(r.m);
            r.ops->close(r.k);
            struct kern_config cfg = {.threads = 2, .memory_max = s.live_bytes + head};
            CHECK_EQ(r.ops->open(&cfg, &r.k, &e), 0);
            CHECK_EQ(model_open(RIG_TINY, &how, r.ops, r.k, &r.m, &e), 0);
            model_close(r.m);
            r.ops->close(r.k);
            cfg.memory_max--;
            CHECK_EQ(r.ops->open(&cfg, &r.k, &e), 0);
            int may_stay = how.keep == KERN_KEEP_OWN && !strcmp(rig_backends[i % 2], "cpu");
            CHECK_EQ(model_open(RIG_TINY, &how, r.ops, r.k, &r.m, &e), may_stay ? 0 : E_NOMEM);
            if (may_stay)
                CHECK(model_is_as_stored(r.m));
            else
                CHECK_HAS(e.text, "the weights take");
        }
        rig_close(&r);
    }
}

/* 7B in less memory than the file takes: refused at once, for no number of it was made. */
TEST(weights_of_7b_are_refused_before_they_are_made) {
    struct rig r = {0};
    struct err e = {0};
    struct kern_config cfg = {.threads = 1, .memory_max = UINT64_C(10) << 30};
    CHECK_EQ(kern_find("cpu", &r.ops, &e), 0);
    CHECK_EQ(r.ops->open(&cfg, &r.k, &e), 0);
    struct model_how how = {.is_seeded = 1, .seed = 1};
    uint64_t begin = clock_ns();
    CHECK_EQ(model_open("models/shapes/pae-lamm-7b", &how, r.ops, r.k, &r.m, &e), E_NOMEM);
    CHECK(clock_ns() - begin < 1000000000);
    CHECK_HAS(e.text, "the device has 10240.0 MiB; it fits with --weights-as int8 or int4");
    how.keep = KERN_KEEP_INT4; /* with a tower in int8 */
    cfg.memory_max = UINT64_C(8) << 30;
    r.ops->close(r.k);
    CHECK_EQ(r.ops->open(&cfg, &r.k, &e), 0);
    e = (struct err){0};
    how.beside = (struct model_beside){UINT64_C(8) << 30, 512, 1 << 20, 1 << 10};
    CHECK_EQ(model_open("models/shapes/pae-lamm-7b", &how, r.ops, r.k, &r.m, &e), E_NOMEM);
    CHECK_HAS(e.text, "1048576 KV slots 1048576.0, buffers for 512 rows 8192.0: ");
    CHECK_HAS(e.text, "no other form fits");
    r.ops->close(r.k);
}

/* Room is looked at before the numbers are. */
TEST(weights_that_find_no_room_are_not_read) {
    struct rig_file f;
    struct rig r;
    struct err e = {0};
    rig_make(&f, "tests/golden/odd", ST_F32);
    const struct st_tensor *t = st_find(f.st, "model.layers.0.mlp.down_proj.weight");
    const uint32_t nan = 0x7fc00000;
    memcpy((uint8_t *)(uintptr_t)t->data, &nan, sizeof nan);
    const uint64_t rooms[] = {1 << 10, 0};
    for (int i = 0; i < 2; i++) {
        rig_kern(&r, "cpu");
        r.ops->close(r.k);
        CHECK_EQ(r.ops->open(&(struct kern_config){.memory_max = rooms[i]}, &r.k, &e), 0);
        CHECK_EQ(model_open_tensors(&f.c, f.st, r.ops, r.k, &r.m, &e), i ? E_FORMAT : E_NOMEM);
        rig_close(&r);
    }
    rig_drop(&f);
}

/* A file lists what it has, finds each of it by name in its own shape, and nothing else. A seed
 * lists nothing. */
TEST(weights_of_a_file_are_those_in_it) {
    struct rig_file f;
    rig_make(&f, "tests/golden/odd", ST_BF16);
    struct weights_file file;
    weights_of_file(&file, f.st);
    const struct st_tensor *t, *found;
    const int64_t other[] = {1, 2, 3};
    size_t n = 0;
    for (; (t = file.w.each(&file.w, n)) != NULL; n++) {
        CHECK_EQ(file.w.find(&file.w, t->name, other, 3, &found), 0);
        CHECK(found == t);
    }
    CHECK_EQ(n, st_count(f.st));
    found = NULL;
    CHECK_EQ(file.w.find(&file.w, "model.norm.bias", other, 1, &found), E_NOT_FOUND);
    CHECK(!found);
    struct weights_seed seed;
    weights_of_seed(&seed, 1, 1);
    CHECK(seed.w.each(&seed.w, 0) == NULL);
    weights_seed_clear(&seed);
    rig_drop(&f);
}

static uint64_t digest_of(uint64_t seed) {
    struct rig r = {0};
    struct err e = {0};
    rig_kern(&r, "ref");
    CHECK_EQ(model_open("tests/golden/tiny", &(struct model_how){.is_seeded = 1, .seed = seed},
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
    CHECK_EQ(model_open("tests/golden/tiny", &(struct model_how){.is_seeded = 1, .seed = 1}, r.ops,
                        r.k, &r.m, NULL),
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
        rc = model_open("tests/golden/odd", &(struct model_how){.is_seeded = 1, .seed = 1}, r.ops,
                        r.k, &r.m, NULL);
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
