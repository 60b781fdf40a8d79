/* teach_rig.h - a teacher for the tiny model: its folder again, with other matrices in the decoder,
 * as tools/oracle/make_train_golden.py makes them. For tests only. */
#ifndef TESTS_UNIT_ENGINE_TRAIN_TEACH_RIG_H
#define TESTS_UNIT_ENGINE_TRAIN_TEACH_RIG_H

#include <unistd.h>

#include "engine/files/st_write.h"
#include "tests/golden/maker.h"
#include "tests/unit/engine/train/train_rig.h"

struct rig_teacher {
    char folder[64];
};

static inline const char *rig_teacher_file(const struct rig_teacher *r, const char *name,
                                           char path[160]) {
    snprintf(path, 160, "%s/%s", r->folder, name);
    return path;
}

static inline void rig_teacher_copy(const struct rig_teacher *r, const char *name) {
    char path[160], from[160];
    static uint8_t bytes[1 << 16];
    snprintf(from, sizeof from, RIG_TINY "/%s", name);
    FILE *in = fopen(from, "rb"), *out = fopen(rig_teacher_file(r, name, path), "wb");
    CHECK(in && out);
    size_t n = fread(bytes, 1, sizeof bytes, in);
    CHECK(n < sizeof bytes && fwrite(bytes, 1, n, out) == n);
    fclose(in);
    fclose(out);
}

static inline struct rig_teacher rig_teacher_make(void) {
    struct rig_teacher r = {"/tmp/teacher-XXXXXX"};
    struct st *st;
    char path[160];
    CHECK(mkdtemp(r.folder) != NULL);
    rig_teacher_copy(&r, "config.json");
    rig_teacher_copy(&r, "tokenizer.model");
    CHECK_EQ(st_open(RIG_TINY "/model.safetensors", &st, NULL), 0);
    size_t n = st_count(st);
    struct st_tensor *tensors = mem_must(n * sizeof *tensors);
    uint8_t **made = mem_must(n * sizeof *made);
    for (size_t i = 0; i < n; i++) {
        const struct st_tensor *t = st_at(st, i);
        tensors[i] = *t;
        made[i] = NULL;
        if (strncmp(t->name, "model.layers.", 13) != 0 || t->ndim != 2) continue;
        struct maker_tensor like = {.dtype = t->dtype,
                                    .ndim = 2,
                                    .shape = {(int)t->shape[0], (int)t->shape[1]},
                                    .std = 1 / sqrt((double)t->shape[1])};
        must(snprintf(like.name, sizeof like.name, "teacher.%s", t->name) < (int)sizeof like.name);
        made[i] = mem_must(maker_bytes(&like));
        maker_fill(&like, made[i]);
        tensors[i].data = made[i];
    }
    struct st_new file = {.tensors = tensors, .n = n};
    CHECK_EQ(st_write(rig_teacher_file(&r, "model.safetensors", path), &file, NULL), 0);
    for (size_t i = 0; i < n; i++)
        mem_free(made[i]);
    mem_free(made);
    mem_free(tensors);
    st_close(st);
    return r;
}

static inline void rig_teacher_drop(const struct rig_teacher *r) {
    static const char *const names[] = {"config.json", "tokenizer.model", "model.safetensors"};
    char path[160];
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        (void)unlink(rig_teacher_file(r, names[i], path));
    CHECK_EQ(rmdir(r->folder), 0);
}

#endif
