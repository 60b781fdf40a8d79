/* files_rig.h - small trains, a sample to learn, and folders: what the tests of a train's files
 * share. For tests only. */
#ifndef TESTS_UNIT_ENGINE_TRAIN_FILES_RIG_H
#define TESTS_UNIT_ENGINE_TRAIN_FILES_RIG_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/files/adapter.h"
#include "engine/files/st_write.h"
#include "engine/train/internal.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/check.h"

#define RIG_MODEL  "tests/golden/tiny"
#define RIG_DIGITS "tests/golden/tiny-digits"

/* A LoRA on q and v, and the connector. */
static inline struct train_options rig_options(void) {
    return (struct train_options){
        .model = RIG_MODEL,
        .device = "ref",
        .connector = 1,
        .text = TRAIN_TEXT_LORA,
        .lora = {.r = 4, .alpha = 6, .targets = TRAIN_LORA_Q | TRAIN_LORA_V},
        .rate = {.peak = 1e-2, .end = 1e-3, .steps = 10},
        .decay = 0.05,
        .average = 0.9,
        .rows = 256,
        .pictures = 1,
        .seed = 7};
}

static inline struct train *learner_open(const struct train_options *o) {
    struct train *t;
    struct err e = {0};
    int rc = train_open(o, 2, &t, &e);
    if (rc) test_failed(__FILE__, __LINE__, "train_open: %s", e.text);
    return t;
}

/* ---- what learns ---- */

static inline float *rig_block(struct train *t, struct kern_ptr block) {
    float *x = mem_must(t->params.floats * sizeof *x + 1);
    CHECK_EQ(t->ops->get(t->k, x, block, t->params.floats * sizeof *x, NULL), 0);
    return x;
}

/* As if it had learnt: every number of every block moves a little, and the model has it. */
static inline void rig_stir(struct train *t, uint64_t seed) {
    const struct kern_ptr blocks[] = {t->params.value, t->params.m, t->params.v, t->params.average};
    for (size_t b = 0; b < ARRAY_LEN(blocks); b++) {
        if (!blocks[b].addr) continue;
        float *x = rig_block(t, blocks[b]);
        for (size_t i = 0; i < t->params.floats; i++)
            x[i] += 0.05f * rng_normal(seed + b, i);
        t->ops->put(t->k, blocks[b], x, t->params.floats * sizeof *x);
        mem_free(x);
    }
    params_settle(t);
}

/* Bit for bit, all blocks. */
static inline void rig_check_same(struct train *a, struct train *b) {
    const struct kern_ptr in_a[] = {a->params.value, a->params.m, a->params.v, a->params.average};
    const struct kern_ptr in_b[] = {b->params.value, b->params.m, b->params.v, b->params.average};
    CHECK_EQ(a->params.floats, b->params.floats);
    for (size_t i = 0; i < ARRAY_LEN(in_a); i++) {
        CHECK_EQ(in_a[i].addr != NULL, in_b[i].addr != NULL);
        if (!in_a[i].addr) continue;
        float *x = rig_block(a, in_a[i]), *y = rig_block(b, in_b[i]);
        CHECK_MEM(x, y, a->params.floats * sizeof *x);
        mem_free(x);
        mem_free(y);
    }
    CHECK_EQ(a->steps, b->steps);
    CHECK_EQ(a->updates, b->updates);
    CHECK_EQ(a->skipped_in_row, b->skipped_in_row);
}

/* ---- a sample ---- */

struct rig_sample {
    uint8_t rgb[40 * 30 * 3];
    struct sample_picture picture;
    struct sample_turn turns[2];
    struct sample_talk talks[2];
    struct sample_thing thing;
    float features[16 * SAMPLE_FEATURES];
    struct sample s;
};
static inline struct rig_sample *rig_sample(uint64_t seed) {
    struct rig_sample *s = mem_must(sizeof *s);
    for (size_t i = 0; i < sizeof s->rgb; i++)
        s->rgb[i] = (uint8_t)rng_u64(seed, i);
    s->picture = (struct sample_picture){s->rgb, 40, 30};
    s->turns[0] = (struct sample_turn){1, "[reconstruct] loc: [3,4] rgb:", "[31,6,108]"};
    s->turns[1] = (struct sample_turn){1, "[reconstruct] loc: [3,5] rgb:", "[200,6,1]"};
    for (int i = 0; i < 2; i++)
        s->talks[i] = (struct sample_talk){.turns = &s->turns[i], .n_turns = 1, .weight = 1};
    s->s =
        (struct sample){.pictures = &s->picture, .n_pictures = 1, .talks = s->talks, .n_talks = 2};
    s->thing = (struct sample_thing){.text = "a dog", .box = {0.25f, 0, 0.75f, 0.5f}};
    s->s.things = &s->thing;
    s->s.n_things = 1;
    for (size_t i = 0; i < ARRAY_LEN(s->features); i++)
        s->features[i] = rng_normal(seed, i);
    s->s.features = s->features;
    return s;
}

static inline double rig_judge(struct train *t) {
    struct rig_sample *s = rig_sample(99);
    struct train_loss loss;
    struct err e = {0};
    if (train_judge(t, &s->s, &loss, &e)) test_failed(__FILE__, __LINE__, "judge: %s", e.text);
    mem_free(s);
    return loss.sum[SAMPLE_PIXELS];
}

/* So many steps of two samples, which are functions of the step. */
static inline void rig_learn(struct train *t, int steps) {
    for (int i = 0; i < steps; i++) {
        struct train_result result;
        struct err e = {0};
        int rc = 0;
        for (uint64_t k = 0; k < 2 && !rc; k++) {
            struct train_loss loss;
            struct rig_sample *s = rig_sample(2 * t->steps + k);
            rc = train_add(t, &s->s, &loss, &e);
            mem_free(s);
        }
        if (!rc) rc = train_step(t, &result, &e);
        if (rc) test_failed(__FILE__, __LINE__, "learn: %s", e.text);
        CHECK(!result.is_skipped);
    }
}

/* ---- folders ---- */

struct rig_place {
    char folder[64];
};
static inline struct rig_place rig_place(void) {
    struct rig_place p = {"/tmp/train-XXXXXX"};
    CHECK(mkdtemp(p.folder) != NULL);
    return p;
}
static inline const char *rig_in(const struct rig_place *p, const char *name) {
    static char paths[4][160];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", p->folder, name);
    return path;
}
/* Takes away the files of all kinds that the tests make, and sees that there are no others. */
static inline void rig_drop_folder(const char *folder) {
    static const char *const names[] = {PEFT_CONFIG,       PEFT_MODEL,          ADAPTER_OVERLAY,
                                        ADAPTER_CARD,      ADAPTER_README,      "config.json",
                                        "tokenizer.model", "model.safetensors", "a.safetensors",
                                        "b.safetensors",   "SHA256SUMS"};
    char path[200];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    CHECK_EQ(rmdir(folder), 0);
}

/* A safetensors file again, with one text changed (NULL: none) and one tensor left out (NULL:
 * none). */
static inline void rig_rewrite(const char *path, const char *key, const char *value,
                               const char *without) {
    static const char *const keys[] = {
        "lammd.checkpoint", "step",   "updates", "skipped_in_row", "seed",    "base", "carried",
        "teacher",          "recipe", "data",    "cursor",         "backend", "isa",  "program"};
    struct st *st;
    CHECK_EQ(st_open(path, &st, NULL), 0);
    struct st_tensor *tensors = mem_must((st_count(st) + 1) * sizeof *tensors);
    struct st_text texts[ARRAY_LEN(keys)];
    struct st_new file = {.tensors = tensors, .texts = texts};
    for (size_t i = 0; i < st_count(st); i++)
        if (!without || strcmp(st_at(st, i)->name, without)) tensors[file.n++] = *st_at(st, i);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *text = key && !strcmp(keys[i], key) ? value : st_text(st, keys[i]);
        if (text) texts[file.n_texts++] = (struct st_text){keys[i], text};
    }
    CHECK_EQ(st_write(path, &file, NULL), 0);
    mem_free(tensors);
    st_close(st);
}

#endif
