/* peft_rig.h - adapter folders to try: a config, and tensors with made numbers. For tests only. */
#ifndef TESTS_UNIT_ENGINE_FILES_PEFT_RIG_H
#define TESTS_UNIT_ENGINE_FILES_PEFT_RIG_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/files/adapter.h"
#include "engine/files/newfile.h"
#include "engine/files/st_write.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

enum { RIG_LAYERS = 2, RIG_WIDTH = 8, RIG_FFN = 12, RIG_R = 2, RIG_TENSORS = 64 };
static const struct peft_sizes rig_sizes = {RIG_LAYERS, RIG_WIDTH, RIG_FFN};

struct rig_folder {
    char path[64];
    struct st_tensor tensors[RIG_TENSORS];
    char names[RIG_TENSORS][128];
    size_t n;
};

static inline const char *rig_file(const struct rig_folder *f, const char *name) {
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    return path;
}

static inline struct rig_folder *rig_folder_new(void) {
    struct rig_folder *f = mem_must(sizeof *f);
    snprintf(f->path, sizeof f->path, "/tmp/adapter-XXXXXX");
    CHECK(mkdtemp(f->path) != NULL);
    return f;
}

static inline void rig_folder_drop(struct rig_folder *f) {
    static const char *const names[] = {PEFT_CONFIG, PEFT_MODEL, ADAPTER_OVERLAY, ADAPTER_CARD,
                                        ADAPTER_README};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unlink(rig_file(f, names[i]));
    CHECK_EQ(rmdir(f->path), 0);
    mem_free(f);
}

static inline struct st_tensor *rig_tensor(struct rig_folder *f, const char *name, int64_t rows,
                                           int64_t cols) {
    CHECK(f->n < RIG_TENSORS);
    snprintf(f->names[f->n], sizeof f->names[0], "%s", name);
    struct st_tensor *t = &f->tensors[f->n];
    *t = (struct st_tensor){.name = f->names[f->n], .dtype = ST_F32, .ndim = 2};
    t->shape[0] = rows;
    t->shape[1] = cols;
    f->n++;
    return t;
}

/* A and B of a place in a layer, or one of them. */
static inline void rig_one(struct rig_folder *f, int layer, enum peft_place place, int is_b) {
    char name[PEFT_NAME_MAX], full[128];
    int n, k;
    peft_shape(&rig_sizes, place, &n, &k);
    peft_name(name, layer, place, is_b);
    snprintf(full, sizeof full, PEFT_PREFIX "%s", name);
    rig_tensor(f, full, is_b ? n : RIG_R, is_b ? RIG_R : k);
}
static inline void rig_pair(struct rig_folder *f, int layer, enum peft_place place) {
    rig_one(f, layer, place, 0);
    rig_one(f, layer, place, 1);
}
static inline void rig_pairs(struct rig_folder *f, unsigned places) {
    for (int i = 0; i < RIG_LAYERS * PEFT_PLACES; i++)
        if (places >> (i % PEFT_PLACES) & 1)
            rig_pair(f, i / PEFT_PLACES, (enum peft_place)(i % PEFT_PLACES));
}

static inline int rig_fill(void *ud, size_t i, uint64_t at, void *to, size_t n, struct err *e) {
    (void)ud;
    (void)e;
    for (size_t k = 0; k < n / 4; k++)
        ((float *)to)[k] = (float)i + (float)(at / 4 + k) / 64;
    return 0;
}

static inline void rig_write_tensors(struct rig_folder *f, const char *name) {
    struct err e = {0};
    struct st_new file = {f->tensors, f->n, NULL, 0, rig_fill, NULL};
    CHECK_EQ(st_write(rig_file(f, name), &file, &e), 0);
    f->n = 0;
}

static inline void rig_write_text(struct rig_folder *f, const char *name, const char *text) {
    CHECK_EQ(newfile_write(rig_file(f, name), text, strlen(text), NULL), 0);
}

#define RIG_CONFIG(more)                                           \
    "{\"peft_type\":\"LORA\",\"task_type\":\"CAUSAL_LM\",\"r\":2," \
    "\"lora_alpha\":4,\"target_modules\":[\"q_proj\",\"v_proj\"]" more "}"

#endif
