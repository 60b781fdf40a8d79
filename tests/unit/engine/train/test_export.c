/* test_export.c - a whole model of a base and what learnt: each number accounted for. */
#include <errno.h>

#include "engine/files/sums.h"
#include "engine/model/model.h"
#include "kernels/base/half.h"
#include "tests/unit/engine/files/broken_disk.h"
#include "tests/unit/engine/train/files_rig.h"

static void export_to(struct train *t, const char *folder) {
    struct err e = {0};
    if (train_export_model(t, folder, "# card\n", &e))
        test_failed(__FILE__, __LINE__, "export: %s", e.text);
}

static struct rig_place free_place(void) {
    struct rig_place p = rig_place();
    CHECK_EQ(rmdir(p.folder), 0);
    return p;
}

static struct st *open_weights(const char *folder) {
    char path[160];
    struct st *st;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    CHECK_EQ(st_open(path, &st, NULL), 0);
    return st;
}

static void check_same_file(const char *folder, const char *base, const char *name) {
    char paths[2][160];
    static uint8_t bytes[2][1 << 20];
    size_t n[2];
    for (int i = 0; i < 2; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/%s", i ? base : folder, name);
        FILE *f = fopen(paths[i], "rb");
        CHECK(f != NULL);
        n[i] = fread(bytes[i], 1, sizeof bytes[i], f);
        fclose(f);
    }
    CHECK_EQ(n[0], n[1]);
    CHECK_MEM(bytes[0], bytes[1], n[0]);
}

static float rounded(double x, enum st_dtype dtype) {
    if (dtype == ST_F32) return (float)x;
    return dtype == ST_BF16 ? half_from_bf16(half_to_bf16((float)x))
                            : half_from_f16(half_to_f16((float)x));
}

/* What the tensor has to be, in double. NULL: the base's own numbers. */
static double *expected(struct train *t, const struct st_tensor *base) {
    const struct param *p = params_find(&t->params, base->name);
    float *value = rig_block(t, t->params.value), *was = mem_must(base->elements * 4 + 1);
    double *x = mem_must(base->elements * sizeof *x + 1);
    char name[2][200];
    st_floats(base, 0, was, (size_t)base->elements);
    for (int i = 0; i < 2; i++)
        snprintf(name[i], sizeof name[i], "%.*s.lora_%c.weight", (int)strlen(base->name) - 7,
                 base->name, i ? 'B' : 'A');
    const struct param *a = params_find(&t->params, name[0]), *b = params_find(&t->params, name[1]);
    for (uint64_t i = 0; i < base->elements; i++) {
        x[i] = p ? (double)value[p->at + i] : (double)was[i];
        if (!a) continue;
        size_t row = i / (uint64_t)a->shape[1], col = i % (uint64_t)a->shape[1];
        for (int64_t j = 0; j < a->shape[0]; j++)
            x[i] += (double)b->scale *
                    (double)value[b->at + row * (size_t)a->shape[0] + (size_t)j] *
                    (double)value[a->at + (size_t)j * (size_t)a->shape[1] + col];
    }
    mem_free(value);
    mem_free(was);
    if (p || a) return x;
    mem_free(x);
    return NULL;
}

/* How many tensors changed. */
static int check_weights(struct train *t, const char *folder, const char *base_folder) {
    struct st *is = open_weights(folder), *base = open_weights(base_folder);
    int changed = 0;
    for (size_t i = 0; i < st_count(base); i++) {
        const struct st_tensor *b = st_at(base, i), *x = st_find(is, b->name);
        CHECK(x && x->dtype == b->dtype && x->ndim == b->ndim);
        const struct param *p = params_find(&t->params, b->name);
        if (p && p->n != b->elements) continue; /* resized positions: told by the parameter */
        CHECK_EQ(x->elements, b->elements);
        double *want = expected(t, b);
        if (!want) CHECK_MEM(x->data, b->data, b->bytes);
        for (uint64_t k = 0; want && k < x->elements; k++) {
            float has;
            st_floats(x, k, &has, 1);
            double slack = 2e-6 * (fabs(want[k]) + 0.01);
            CHECK(has >= rounded(want[k] - slack, x->dtype) &&
                  has <= rounded(want[k] + slack, x->dtype));
        }
        changed += want != NULL;
        mem_free(want);
    }
    st_close(is);
    st_close(base);
    return changed;
}

TEST(train_export_merges_a_lora) {
    struct rig_place p = free_place();
    struct train_options o = rig_options();
    o.lora.targets = TRAIN_LORA_Q | TRAIN_LORA_V | TRAIN_LORA_GATE | TRAIN_LORA_DOWN;
    struct train *t = learner_open(&o);
    rig_stir(t, 1);
    export_to(t, p.folder);
    CHECK_EQ(check_weights(t, p.folder, RIG_MODEL), 2 * 4 + 2); /* and the connector */
    struct sums sums;
    CHECK_EQ(sums_read(p.folder, &sums, NULL), 0);
    CHECK_EQ(sums.n, 3);
    for (int i = 0; i < sums.n; i++)
        CHECK_EQ(sums_check_file(&sums, p.folder, sums.at[i].name, NULL), 0);
    check_same_file(p.folder, RIG_MODEL, "config.json");
    check_same_file(p.folder, RIG_MODEL, "tokenizer.model");
    CHECK(access(rig_in(&p, "README.md"), F_OK) == 0);
    /* It is a model: and answers as the one with the LoRA beside it, but for 16 bits. */
    double judged = rig_judge(t);
    train_close(t);
    o.model = p.folder;
    t = learner_open(&o); /* a new LoRA adds nothing */
    CHECK_NEAR(rig_judge(t), judged, 0.02 * judged);
    train_close(t);
    rig_drop_folder(p.folder);
}

TEST(train_export_of_nothing_learnt_is_the_base) {
    struct rig_place p = free_place();
    struct train_options o = rig_options();
    o.text = TRAIN_TEXT_FULL;
    o.tower = 1;
    struct train *t = learner_open(&o);
    export_to(t, p.folder);
    struct st *is = open_weights(p.folder), *base = open_weights(RIG_MODEL);
    CHECK_EQ(st_count(is), st_count(base));
    for (size_t i = 0; i < st_count(base); i++) {
        const struct st_tensor *b = st_at(base, i), *x = st_at(is, i);
        CHECK_STR(x->name, b->name);
        CHECK_MEM(x->shape, b->shape, sizeof b->shape);
        CHECK_MEM(x->data, b->data, b->bytes);
    }
    st_close(is);
    st_close(base);
    train_close(t);
    rig_drop_folder(p.folder);
}

TEST(train_export_of_everything) {
    struct rig_place p = free_place();
    struct train_options o = rig_options();
    o.text = TRAIN_TEXT_FULL;
    o.tower = 1;
    struct train *t = learner_open(&o);
    rig_stir(t, 1);
    export_to(t, p.folder);
    CHECK_EQ(check_weights(t, p.folder, RIG_MODEL), t->params.n);
    train_close(t);
    rig_drop_folder(p.folder);
}

/* f16; a grid of positions of another size; no ln_vision in the base's file. */
TEST(train_export_of_what_the_base_has_not) {
    struct rig_place p = free_place(), again = free_place();
    struct train_options o = rig_options();
    o.model = RIG_DIGITS;
    o.tower = 1;
    struct train *t = learner_open(&o);
    rig_stir(t, 1);
    export_to(t, p.folder);
    (void)check_weights(t, p.folder, RIG_DIGITS);
    struct st *st = open_weights(p.folder);
    const struct param *ln = params_find(&t->params, "ln_vision.weight");
    const struct param *pos = params_find(&t->params, "visual_encoder.pos_embed");
    const struct st_tensor *x = st_find(st, ln->name), *y = st_find(st, pos->name);
    float *value = rig_block(t, t->params.value);
    CHECK(x && x->dtype == ST_F32 && x->elements == ln->n);
    CHECK_MEM(x->data, value + ln->at, ln->n * sizeof *value);
    CHECK(y && y->dtype == ST_F32 && y->elements == pos->n);
    CHECK_MEM(y->data, value + pos->at, pos->n * sizeof *value);
    mem_free(value);
    st_close(st);
    /* The same by way of the next stage, to which the tower is frozen. */
    CHECK_EQ(train_export_adapter(t, again.folder, NULL, NULL, NULL), 0);
    train_close(t);
    o.tower = 0;
    t = learner_open(&o);
    struct err e = {0};
    CHECK_EQ(train_import_adapter(t, again.folder, &e), 0);
    rig_drop_folder(again.folder);
    export_to(t, again.folder);
    struct st *a = open_weights(p.folder), *b = open_weights(again.folder);
    CHECK_EQ(st_count(a), st_count(b));
    for (size_t i = 0; i < st_count(a); i++) {
        CHECK_STR(st_at(a, i)->name, st_at(b, i)->name);
        CHECK_EQ(st_at(a, i)->bytes, st_at(b, i)->bytes);
        CHECK_MEM(st_at(a, i)->data, st_at(b, i)->data, st_at(a, i)->bytes);
    }
    st_close(a);
    st_close(b);
    train_close(t);
    rig_drop_folder(p.folder);
    rig_drop_folder(again.folder);
}

TEST(train_export_by_the_average) {
    struct rig_place p = free_place();
    struct train_options o = rig_options();
    struct train *t = learner_open(&o);
    rig_stir(t, 1);
    CHECK_EQ(train_use_average(t, 1, NULL), 0);
    export_to(t, p.folder);
    struct st *st = open_weights(p.folder);
    const struct param *bias = params_find(&t->params, "llama_proj.bias");
    float *average = rig_block(t, t->params.average);
    CHECK_MEM(st_find(st, bias->name)->data, average + bias->at, bias->n * sizeof *average);
    mem_free(average);
    st_close(st);
    train_close(t);
    rig_drop_folder(p.folder);
}

TEST(train_export_never_over_the_base) {
    struct rig_place p = free_place();
    struct train_options o = rig_options();
    struct train *t = learner_open(&o);
    export_to(t, p.folder);
    train_close(t);
    o.model = p.folder;
    t = learner_open(&o);
    struct err e = {0};
    CHECK_EQ(train_export_model(t, p.folder, NULL, &e), E_INVALID);
    CHECK_HAS(e.text, "the base model's folder");
    CHECK(access(rig_in(&p, "README.md"), F_OK) == 0);
    train_close(t);
    rig_drop_folder(p.folder);
}

TEST(train_export_on_a_broken_disk) {
    struct rig_place p = free_place();
    struct train_options o = rig_options();
    struct train *t = learner_open(&o);
    struct err e = {0};
    broken_disk(SYS_fsync, 0, EIO);
    CHECK_EQ(train_export_model(t, p.folder, NULL, &e), E_IO);
    CHECK_HAS(e.text, "Input/output error");
    CHECK(access(p.folder, F_OK) != 0);
    train_close(t);
}
