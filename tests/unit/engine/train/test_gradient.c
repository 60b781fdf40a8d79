/* test_gradient.c - the gradient of a whole model: of packed talks as of the same one by one, as
 * differences of the loss say, with more threads, with less kept. */
#include "tests/unit/engine/train/train_rig.h"

/* The gradient of one sample. */
static float *gradient_of(const struct train_options *o, const struct sample *s) {
    struct train *t = rig_open(o, 1);
    rig_add(t, s, NULL);
    float *g = rig_grad(t);
    train_close(t);
    return g;
}

/* ---- packed and plain ---- */

/* Runs that are long enough to be groups of their own, and forks behind them. */
static void make_long(struct rig_sample *r, uint64_t seed) {
    rig_empty(r, seed);
    rig_talk(r, SAMPLE_CAPTION, 1, "say it", "it goes on and on, xyz xyz xyz xyz xyz, to the end");
    rig_talk(r, SAMPLE_CAPTION, 1, "say it",
             "it goes on and on, xyz xyz xyz xyz xyz, or nearly so");
    rig_talk(r, SAMPLE_CAPTION, 1, "say it", "it goes on and on, xyz xyz xyz xyz xyz, or never");
    rig_talk(r, SAMPLE_CAPTION, 1, "say it", "it doesn't");
    rig_talk(r, SAMPLE_VQA, 1, "is it?", "yes");
}

static void compare_packed(struct train_options o,
                           void (*make)(struct rig_sample *r, uint64_t seed)) {
    struct rig_sample *r = mem_must(sizeof *r);
    make(r, 5);
    struct train *t = rig_open(&o, 1);
    float *packed, *plain = mem_must(t->params.floats * sizeof *plain);
    struct train_loss whole, all = {0};
    rig_add(t, &r->s, &whole);
    packed = rig_grad(t);
    CHECK(whole.rows < whole.rows_plain);
    for (uint32_t i = 0; i < r->s.n_talks; i++) {
        struct sample one = r->s;
        struct train_loss loss;
        one.talks = &r->talks[i];
        one.n_talks = 1;
        t->tree.added = t->tree.depth = 0;
        rig_add(t, &one, &loss);
        CHECK_EQ(loss.rows, loss.rows_plain);
        for (int k = 0; k < SAMPLE_TASKS; k++) {
            all.sum[k] += loss.sum[k];
            all.weight[k] += loss.weight[k];
        }
        float *g = rig_grad(t);
        for (size_t k = 0; k < t->params.floats; k++)
            plain[k] += g[k];
        mem_free(g);
    }
    for (int k = 0; k < SAMPLE_TASKS; k++) {
        CHECK_NEAR(whole.sum[k], all.sum[k], 1e-5 * (1 + all.sum[k]));
        CHECK_NEAR(whole.weight[k], all.weight[k], 1e-9);
    }
    double worst = 0;
    for (int i = 0; i < t->params.n; i++) {
        double off = rig_off(&t->params.at[i], packed, plain);
        if (off > 1e-5) printf("%s %s: %g\n", o.device, t->params.at[i].name, off);
        if (off > worst) worst = off;
    }
    CHECK(worst <= 1e-5);
    train_close(t);
    mem_free(packed);
    mem_free(plain);
    mem_free(r);
}

TEST(gradient_of_packed_talks_is_that_of_each_alone) {
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++) {
        compare_packed(rig_options(rig_backends[i]), rig_mixed);
        compare_packed(rig_lora(rig_backends[i]), rig_mixed);
        compare_packed(rig_options(rig_backends[i]), make_long);
        struct train_options legal = rig_options(rig_backends[i]);
        legal.is_legal = 1;
        compare_packed(legal, rig_mixed);
    }
}

/* ---- differences ---- */

static double loss_with(struct train *t, const struct param *p, size_t at, float value,
                        const struct sample *s) {
    struct train_loss loss;
    t->ops->put(t->k, kern_at(t->params.value, (p->at + at) * sizeof value), &value, sizeof value);
    params_settle(t);
    CHECK_EQ(train_judge(t, s, &loss, NULL), 0);
    return rig_loss_of(&loss);
}

/* A few coordinates of each parameter, those with the largest gradients among some: the vector of
 * differences against that of derivatives. */
static void compare_differences(struct train_options o, struct rig_sample *r, double most) {
    enum { TRIED = 64 };
    int taken = test_count(2, 6);
    struct train *t = rig_open(&o, 1);
    rig_add(t, &r->s, NULL);
    float *g = rig_grad(t), *value = rig_floats(t, t->params.value, t->params.floats);
    for (int i = 0; i < t->params.n; i++) {
        const struct param *p = &t->params.at[i];
        double diff = 0, norm = 0;
        for (int k = 0; k < taken; k++) {
            size_t best = rng_u64(test_seed(), (uint64_t)(k * 1000)) % p->n;
            for (uint64_t c = 1; c < TRIED; c++) {
                size_t at = rng_u64(test_seed(), (uint64_t)(k * 1000) + c) % p->n;
                if (fabsf(g[p->at + at]) > fabsf(g[p->at + best])) best = at;
            }
            float x = value[p->at + best], h = 4e-3f;
            double up = loss_with(t, p, best, x + h, &r->s);
            double down = loss_with(t, p, best, x - h, &r->s);
            (void)loss_with(t, p, best, x, &r->s);
            double want = (up - down) / (double)((x + h) - (x - h)), got = (double)g[p->at + best];
            diff += (want - got) * (want - got);
            norm += want * want + got * got;
        }
        if (norm < 1e-4) continue; /* in f32 nothing is left of so small a difference */
        double off = sqrt(diff / norm);
        if (off > most) printf("%s: %g of %g\n", p->name, off, sqrt(norm));
        CHECK(off <= most);
    }
    train_close(t);
    mem_free(g);
    mem_free(value);
}

static void few(struct rig_sample *r) {
    rig_empty(r, 5);
    rig_talk(r, SAMPLE_PIXELS, 1, "[reconstruct] loc: [3,4] rgb:", "[31,6,108]");
    rig_talk(r, SAMPLE_PIXELS, 1, "[reconstruct] loc: [3,5] rgb:", "[31,7,1]");
    rig_talk(r, SAMPLE_REFER, 1, "[refer] a dog", "{<12><3><100><99>}");
    r->turns[2][1] = (struct sample_turn){1, "and there?", "no"};
    r->talks[2].n_turns = 2;
}

TEST_LIMIT(gradient_is_what_differences_say, 120) {
    struct rig_sample *r = mem_must(sizeof *r);
    few(r);
    compare_differences(rig_options("ref"), r, 0.02);
    mem_free(r);
}

TEST_LIMIT(gradient_of_a_lora_is_what_differences_say, 120) {
    struct rig_sample *r = mem_must(sizeof *r);
    few(r);
    struct train_options o = rig_lora("ref");
    compare_differences(o, r, 0.02);
    mem_free(r);
}

TEST_LIMIT(gradient_among_legal_answers_is_what_differences_say, 120) {
    struct rig_sample *r = mem_must(sizeof *r);
    few(r);
    for (int digits = 0; digits < 2; digits++) {
        struct train_options o = rig_options("ref");
        o.is_legal = 1;
        if (digits) o.model = RIG_DIGITS;
        if (!digits) o.soft[SAMPLE_PIXELS] = 1.5f;
        if (!digits) o.box_l1 = o.box_giou = 0.5f;
        compare_differences(o, r, 0.02);
    }
    mem_free(r);
}

/* ---- the same bits, or the same numbers ---- */

static void compare_threads(const char *isa) {
    struct rig_sample *r = mem_must(sizeof *r);
    rig_mixed(r, 5);
    for (int i = 0; i < 4; i++) {
        struct train_options o = i % 2 ? rig_lora("cpu") : rig_options("cpu");
        o.is_legal = i / 2;
        o.isa = isa;
        struct train *t = rig_open(&o, 1);
        size_t bytes = t->params.floats * sizeof(float);
        train_close(t);
        o.threads = 1;
        float *one = gradient_of(&o, &r->s);
        for (o.threads = 2; o.threads <= 3; o.threads++) {
            float *other = gradient_of(&o, &r->s);
            CHECK_MEM(one, other, bytes);
            mem_free(other);
        }
        mem_free(one);
    }
    mem_free(r);
}

TEST(gradient_has_the_same_bits_with_any_threads) { compare_threads(NULL); }
TEST(gradient_has_the_same_bits_with_any_threads_in_bf16) {
    compare_threads(rig_bf16(rig_options("cpu"), "avx512bf16").isa);
}
TEST(gradient_has_the_same_bits_with_any_threads_by_amx) {
    compare_threads(rig_bf16(rig_options("cpu"), "amx").isa);
}

/* Of all weights; of a LoRA on every matrix; of one on q and v with the tower and boxes, where most
 * buffers share their place. */
static struct train_options less_kept(const char *backend, int which) {
    struct train_options o = which ? rig_lora(backend) : rig_options(backend);
    if (which) o.lora.dropout = 0.25f;
    if (which < 2) return o;
    o.lora.targets = TRAIN_LORA_Q | TRAIN_LORA_V;
    o.tower = 1;
    o.box_l1 = 5;
    o.box_giou = 2;
    return o;
}

static void compare_kept(const char *backend, const char *isa) {
    struct rig_sample *r = mem_must(sizeof *r);
    rig_mixed(r, 5);
    for (int which = 0; which < 3; which++) {
        struct train_options o = less_kept(backend, which);
        o.isa = isa;
        struct train *t = rig_open(&o, 1);
        size_t bytes = t->params.floats * sizeof(float);
        train_close(t);
        float *all = gradient_of(&o, &r->s);
        for (o.recompute = 1; o.recompute <= 2; o.recompute++) {
            float *less = gradient_of(&o, &r->s);
            CHECK_MEM(all, less, bytes);
            mem_free(less);
        }
        mem_free(all);
    }
    mem_free(r);
}

TEST(gradient_is_the_same_with_less_kept) {
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++)
        compare_kept(rig_backends[i], NULL);
}
TEST(gradient_is_the_same_with_less_kept_in_bf16) {
    compare_kept("cpu", rig_bf16(rig_options("cpu"), "avx512bf16").isa);
}
TEST(gradient_is_the_same_with_less_kept_by_amx) {
    compare_kept("cpu", rig_bf16(rig_options("cpu"), "amx").isa);
}

/* ---- bf16 ---- */

/* The cosine of the gradients of a parameter. */
static double cosine(const struct param *p, const float *a, const float *b) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = p->at; i < p->at + p->n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : aa == bb;
}

/* Of every parameter: the same direction, but for what rounding to 8 bits leaves of it. */
static void compare_direction(const char *isa) {
    struct rig_sample *r = mem_must(sizeof *r);
    rig_mixed(r, 5);
    r->s.n_talks = 9; /* what the picture is asked */
    struct train_options o = rig_options("cpu");
    o.model = "models/lamm-mini";
    o.rows = 2048;
    struct train_options half = rig_bf16(o, isa);
    float *want = gradient_of(&o, &r->s), *got = gradient_of(&half, &r->s);
    struct train *t = rig_open(&o, 1);
    double off = 0, least = 1;
    for (int i = 0; i < t->params.n; i++) {
        const struct param *p = &t->params.at[i];
        double d = rig_off(p, got, want), c = cosine(p, got, want);
        if (d > off) printf("%s: off by %.4f, cosine %.5f\n", p->name, d, c);
        off = d > off ? d : off;
        least = c < least ? c : least;
    }
    CHECK(off < 0.2 && least > 0.98);
    train_close(t);
    mem_free(want);
    mem_free(got);
    mem_free(r);
}

TEST_LIMIT(gradient_in_bf16_has_the_direction_of_f32, 120) { compare_direction("avx512bf16"); }
TEST_LIMIT(gradient_by_amx_has_the_direction_of_f32, 120) { compare_direction("amx"); }

/* ---- a card ---- */

/* All that can be learnt, by all losses, with less kept: in f32 the gradient of every parameter is
 * the reference's. */
TEST_LIMIT(gradient_on_a_card_is_right_cuda, 120) {
    const struct kern_ops *ops;
    if (kern_find("cuda", &ops, NULL) || !ops->score()) skip("no CUDA device");
    struct rig_sample *r = mem_must(sizeof *r);
    rig_empty(r, 5);
    r->s.n_pictures = 1;
    rig_talk(r, SAMPLE_PIXELS, 1, "[reconstruct] loc: [3,4] rgb:", "[31,6,108]");
    rig_talk(r, SAMPLE_REFER, 1, "[refer] a dog", "{<12><3><100><99>}");
    rig_things(r);
    rig_features(r);
    struct train_options o = less_kept("ref", 0);
    o.box_l1 = 5;
    o.box_giou = 2;
    o.is_legal = 1;
    o.teacher = RIG_TINY;
    o.teach[SAMPLE_PIXELS] = 0.5f;
    o.recompute = 1;
    for (int i = 0; i < TRAIN_DENSE; i++)
        o.dense[i] = 1;
    float *want = gradient_of(&o, &r->s);
    o.device = "cuda";
    o.isa = "strict";
    float *got = gradient_of(&o, &r->s);
    struct train *t = rig_open(&o, 1);
    for (int i = 0; i < t->params.n; i++) {
        double off = rig_off(&t->params.at[i], got, want);
        if (off > 1e-4) test_failed(__FILE__, __LINE__, "%s: %g", t->params.at[i].name, off);
    }
    train_close(t);
    mem_free(want);
    mem_free(got);
    mem_free(r);
}
