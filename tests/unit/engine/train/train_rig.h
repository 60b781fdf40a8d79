/* train_rig.h - a train on a small model, and samples to learn: what the tests of the training room
 * share. */
#ifndef TESTS_UNIT_ENGINE_TRAIN_TRAIN_RIG_H
#define TESTS_UNIT_ENGINE_TRAIN_TRAIN_RIG_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/train/internal.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/check.h"

#define RIG_TINY   "tests/golden/tiny"
#define RIG_DIGITS "tests/golden/tiny-digits"
static const char *const rig_backends[] = {"ref", "cpu"};

/* Everything learns, of the tiny model. */
static inline struct train_options rig_options(const char *backend) {
    return (struct train_options){.model = RIG_TINY,
                                  .device = backend,
                                  .threads = 2,
                                  .tower = 1,
                                  .connector = 1,
                                  .text = TRAIN_TEXT_FULL,
                                  .rate = {.peak = 1e-3, .end = 1e-3, .steps = 100},
                                  .rows = 256,
                                  .pictures = 2,
                                  .seed = 7};
}

static inline struct train_options rig_lora(const char *backend) {
    struct train_options o = rig_options(backend);
    o.tower = 0;
    o.text = TRAIN_TEXT_LORA;
    o.lora = (struct train_lora){.r = 4, .alpha = 12, .targets = 127};
    return o;
}

/* The B of a new LoRA is 0, and nothing comes back through it: it gets numbers. */
static inline void rig_stir(struct train *t) {
    for (int i = 0; i < t->params.n; i++) {
        const struct param *p = &t->params.at[i];
        if (!p->is_lora || !strstr(p->name, "lora_B")) continue;
        for (size_t k = 0; k < p->n; k++) {
            float v = 0.1f * rng_normal((uint64_t)i, k);
            t->ops->put(t->k, kern_at(t->params.value, (p->at + k) * sizeof v), &v, sizeof v);
        }
    }
    params_settle(t);
}

/* Trains whose products are in bf16, by avx512bf16 or amx, where this processor has that; else the
 * test is skipped. */
static inline struct train_options rig_bf16(struct train_options o, const char *isa) {
    struct train *t = NULL;
    struct err e = {0};
    o.isa = isa;
    int rc = train_open(&o, 1, &t, &e);
    train_close(t);
    if (rc == E_UNSUPPORTED) skip("%s", e.text);
    return o;
}

static inline struct train *rig_open(const struct train_options *o, int samples) {
    struct train *t = NULL;
    struct err e = {0};
    int rc = train_open(o, samples, &t, &e);
    if (rc) printf("%s\n", e.text);
    CHECK_EQ(rc, 0);
    if (o->text == TRAIN_TEXT_LORA) rig_stir(t);
    return t;
}

/* ---- samples ---- */

/* A picture of noise that depends on `seed`. */
enum { RIG_SIDE = 40, RIG_TALKS = 24 };
struct rig_sample {
    struct sample s;
    struct sample_picture pictures[2];
    struct sample_talk talks[RIG_TALKS];
    struct sample_turn turns[RIG_TALKS][2];
    char text[2 * RIG_TALKS][64];
    uint8_t rgb[2][RIG_SIDE * RIG_SIDE * 3];
    float features[16 * SAMPLE_FEATURES];
    int n_text;
};

static inline const char *rig_text(struct rig_sample *r, const char *fmt, int a, int b, int c,
                                   int d) {
    must(r->n_text < 2 * RIG_TALKS);
    char *to = r->text[r->n_text++];
    snprintf(to, sizeof r->text[0], fmt, a, b, c, d);
    return to;
}

static inline struct sample_talk *rig_talk(struct rig_sample *r, enum sample_task task,
                                           uint32_t pictures, const char *question,
                                           const char *answer) {
    must(r->s.n_talks < RIG_TALKS);
    struct sample_talk *talk = &r->talks[r->s.n_talks];
    struct sample_turn *turn = r->turns[r->s.n_talks++];
    *turn = (struct sample_turn){pictures, question, answer};
    *talk = (struct sample_talk){.turns = turn, .n_turns = 1, .task = task, .weight = 1};
    return talk;
}

static inline void rig_empty(struct rig_sample *r, uint64_t seed) {
    *r = (struct rig_sample){0};
    for (int p = 0; p < 2; p++) {
        for (size_t i = 0; i < sizeof r->rgb[p]; i++)
            r->rgb[p][i] = (uint8_t)rng_u64(seed + (uint64_t)p * 1000, i);
        r->pictures[p] = (struct sample_picture){r->rgb[p], RIG_SIDE, RIG_SIDE};
    }
    r->s = (struct sample){.pictures = r->pictures, .n_pictures = 2, .talks = r->talks};
}

/* Pixels that share much, a mask, a talk of two turns, one of two pictures, one without any. */
static inline void rig_mixed(struct rig_sample *r, uint64_t seed) {
    rig_empty(r, seed);
    for (int i = 0; i < 6; i++) {
        int x = (int)(rng_u64(seed, 100 + (uint64_t)i) % 4), y = (int)(seed + (uint64_t)i / 3) % 16;
        rig_talk(r, SAMPLE_PIXELS, 1, rig_text(r, "[reconstruct] loc: [%d,%d] rgb:", y, x, 0, 0),
                 rig_text(r, "[%d,%d,%d]", 10 * i, 255 - i, (int)(seed % 200), 0));
    }
    rig_talk(r, SAMPLE_MASK, 1, "[segmentation] dog loc: [3,4] mask:", "1")->weight = 0.5f;
    rig_talk(r, SAMPLE_REFER, 1, "[refer] a dog", "{<12><3><100><99>}");
    struct sample_talk *chat = rig_talk(r, SAMPLE_VQA, 1, "what is it?", "a dog");
    r->turns[r->s.n_talks - 1][1] = (struct sample_turn){0, "is it red?", "no"};
    chat->n_turns = 2;
    chat->weight = 0.7f;
    rig_talk(r, SAMPLE_DRIVE, 2, "[CarRacing] drive", "[8,10,20]");
    rig_talk(r, SAMPLE_CHAT, 0, "hello", "you too");
}

/* Things of its first picture: two of one name, and one that isn't there. */
static inline void rig_things(struct rig_sample *r) {
    static const uint8_t none[16 * 16];
    static const struct sample_thing things[] = {{.text = "a dog", .box = {0.1f, 0.2f, 0.6f, 0.9f}},
                                                 {.text = "red", .box = {0.5f, 0, 1, 0.4f}},
                                                 {.text = "a dog", .box = {0.7f, 0.7f, 1, 1}},
                                                 {.text = "a hat", .mask = none}};
    r->s.things = things;
    r->s.n_things = ARRAY_LEN(things);
}

/* What another network saw in it, of the tiny model's 16 tokens. */
static inline void rig_features(struct rig_sample *r) {
    for (int i = 0; i < 16 * SAMPLE_FEATURES; i++)
        r->features[i] = rng_normal(77, (uint64_t)i);
    r->s.features = r->features;
}

static inline void rig_add(struct train *t, const struct sample *s, struct train_loss *loss) {
    struct train_loss own;
    struct err e = {0};
    int rc = train_add(t, s, loss ? loss : &own, &e);
    if (rc) printf("%s\n", e.text);
    CHECK_EQ(rc, 0);
}

static inline struct train_result rig_step(struct train *t) {
    struct train_result result;
    struct err e = {0};
    int rc = train_step(t, &result, &e);
    if (rc) printf("%s\n", e.text);
    CHECK_EQ(rc, 0);
    return result;
}

/* What is learnt, of one sample. */
static inline double rig_loss_of(const struct train_loss *l) {
    double sum = l->box + l->hold;
    for (int i = 0; i < SAMPLE_TASKS; i++)
        sum += l->sum[i];
    return sum;
}

static inline double rig_mean(const struct train_loss *l) {
    double weight = 0;
    for (int i = 0; i < SAMPLE_TASKS; i++)
        weight += l->weight[i];
    return rig_loss_of(l) / weight;
}

/* n floats of the device (mem_free). */
static inline float *rig_floats(struct train *t, struct kern_ptr p, size_t n) {
    float *out = mem_must((n + 1) * sizeof *out);
    CHECK_EQ(t->ops->get(t->k, out, p, n * sizeof *out, NULL), 0);
    return out;
}

/* The sum of the gradients of the samples so far, when the tree has one. */
static inline float *rig_grad(struct train *t) {
    CHECK_EQ(t->tree.depth, 1);
    return rig_floats(t, t->params.grad[t->tree.stack[0]], t->params.floats);
}

/* |a - b| / |b| of a parameter. */
static inline double rig_off(const struct param *p, const float *a, const float *b) {
    double diff = 0, norm = 0;
    for (size_t i = p->at; i < p->at + p->n; i++) {
        double d = (double)a[i] - (double)b[i];
        diff += d * d;
        norm += (double)b[i] * (double)b[i];
    }
    return norm > 0 ? sqrt(diff / norm) : diff > 0 ? 1e30 : 0;
}

#endif
