/* adapter_rig.h - adapters for the fixture model: those that peft made, and folders with an overlay
 * and a card. */
#ifndef TESTS_UNIT_ENGINE_ADAPTER_RIG_H
#define TESTS_UNIT_ENGINE_ADAPTER_RIG_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/files/adapter.h"
#include "engine/files/newfile.h"
#include "engine/files/st_write.h"
#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/engine/eng_rig.h"

#define PEFT_GOLDEN "tests/golden/peft/"

static inline void adapter_rig_wait(const struct eng_adapter *a) {
    for (int i = 0; i < 60000 && eng_adapter_state(a) < ENG_DONE; i++)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    CHECK(eng_adapter_state(a) >= ENG_DONE);
}

/* Loaded, or the test fails. */
static inline struct eng_adapter *adapter_rig_load(struct eng *e, const char *folder) {
    struct eng_adapter *a = NULL;
    struct err err = {0};
    if (eng_adapter_load(e, folder, NULL, NULL, &a, &err))
        test_failed(__FILE__, __LINE__, "%s", err.text);
    adapter_rig_wait(a);
    CHECK_EQ(eng_adapter_state(a), ENG_DONE);
    return a;
}

/* ---- folders ---- */

struct adapter_rig {
    char path[64];
};

static inline const char *adapter_rig_file(const struct adapter_rig *f, const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    return path;
}

static inline int adapter_rig_fill(void *ud, size_t i, uint64_t at, void *to, size_t n,
                                   struct err *e) {
    const struct st_tensor *const *from = ud;
    float *x = to;
    (void)e;
    st_floats(from[i], at / 4, x, n / 4);
    for (size_t k = 0; k < n / 4; k++)
        x[k] *= 1.25f;
    return 0;
}

/* The model's own tensors of these names, a quarter larger. */
static inline void adapter_rig_overlay(const struct adapter_rig *f, const char *prefix) {
    struct st *st;
    CHECK_EQ(st_open(TINY "/model.safetensors", &st, NULL), 0);
    struct st_tensor *tensors = mem_must(st_count(st) * sizeof *tensors);
    const struct st_tensor **from = mem_must(st_count(st) * sizeof *from);
    size_t n = 0;
    for (size_t i = 0; i < st_count(st); i++) {
        const struct st_tensor *t = st_at(st, i);
        if (strncmp(t->name, prefix, strlen(prefix))) continue;
        from[n] = t;
        tensors[n] = *t;
        tensors[n++].dtype = ST_F32;
    }
    CHECK(n > 0);
    struct st_new file = {tensors, n, NULL, 0, adapter_rig_fill, (void *)from};
    CHECK_EQ(st_write(adapter_rig_file(f, ADAPTER_OVERLAY), &file, NULL), 0);
    mem_free(tensors);
    mem_free(from);
    st_close(st);
}

static inline void adapter_rig_copy(const struct adapter_rig *f, const char *golden) {
    char command[512];
    snprintf(command, sizeof command,
             "cp " PEFT_GOLDEN "%s/" PEFT_CONFIG " " PEFT_GOLDEN "%s/" PEFT_MODEL " %s", golden,
             golden, f->path);
    CHECK_EQ(system(command), 0);
}

/* For the model of this digest. */
static inline void adapter_rig_card(const struct adapter_rig *f, const char *base, int has_lora) {
    struct adapter_card c = {.program = "test"};
    struct peft_sizes sizes = {2, 64, 160};
    struct peft *peft = NULL;
    struct st *overlay = NULL;
    char *text;
    size_t len;
    snprintf(c.base, sizeof c.base, "%s", base);
    if (has_lora) CHECK_EQ(peft_open(f->path, &sizes, &peft, NULL), 0);
    (void)st_open(adapter_rig_file(f, ADAPTER_OVERLAY), &overlay, NULL);
    CHECK_EQ(adapter_vision_digest(base, overlay, c.vision, NULL), 0);
    CHECK_EQ(adapter_text_digest(base, peft, c.text, NULL), 0);
    CHECK_EQ(adapter_print_card(&c, &text, &len, NULL), 0);
    CHECK_EQ(newfile_write(adapter_rig_file(f, ADAPTER_CARD), text, len, NULL), 0);
    mem_free(text);
    peft_close(peft);
    st_close(overlay);
}

/* A folder with a LoRA of peft's (NULL: none), an overlay of the tensors that begin with `prefix`
 * (NULL: none), and a card, for the model of this digest. */
static inline struct adapter_rig adapter_rig_new(const char *base, const char *golden,
                                                 const char *prefix) {
    struct adapter_rig f = {"/tmp/adapter-XXXXXX"};
    CHECK(mkdtemp(f.path) != NULL);
    if (golden) adapter_rig_copy(&f, golden);
    if (prefix) adapter_rig_overlay(&f, prefix);
    adapter_rig_card(&f, base, golden != NULL);
    return f;
}

static inline void adapter_rig_drop(const struct adapter_rig *f) {
    static const char *const names[] = {PEFT_CONFIG, PEFT_MODEL, ADAPTER_OVERLAY, ADAPTER_CARD};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unlink(adapter_rig_file(f, names[i]));
    CHECK_EQ(rmdir(f->path), 0);
}

#endif
