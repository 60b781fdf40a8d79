/* test_adapter.c - what a stage exports, the next one takes in whole, or says why not. */
#include <errno.h>

#include "tests/unit/engine/files/broken_disk.h"
#include "tests/unit/engine/train/files_rig.h"

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
static const struct train_meta meta = {DIGEST, DIGEST, NULL};

static void export_to(struct train *t, const char *folder) {
    struct err e = {0};
    if (train_export_adapter(t, folder, &meta, "# card\n", &e))
        test_failed(__FILE__, __LINE__, "export: %s", e.text);
}
static void import_from(struct train *t, const char *folder) {
    struct err e = {0};
    if (train_import_adapter(t, folder, &e)) test_failed(__FILE__, __LINE__, "import: %s", e.text);
}

/* An empty folder's path, whose name is free. */
static struct rig_place free_place(void) {
    struct rig_place p = rig_place();
    CHECK_EQ(rmdir(p.folder), 0);
    return p;
}

static int has(const struct rig_place *p, const char *name) {
    return access(rig_in(p, name), F_OK) == 0;
}

/* The tensor is the parameter in the newest weights, or in the average. */
static void check_tensor(struct train *t, const struct st_tensor *tensor, const char *name,
                         struct kern_ptr block) {
    const struct param *p = params_find(&t->params, name);
    CHECK(p && tensor && tensor->dtype == ST_F32 && tensor->elements == p->n);
    float *x = rig_block(t, block);
    CHECK_MEM(tensor->data, x + p->at, p->n * sizeof *x);
    mem_free(x);
}

static struct adapter *open_adapter(const struct train *t, const char *folder) {
    const struct model_text *c = &model_config(t->m)->text;
    struct peft_sizes sizes = {c->layers, c->hidden_size, c->intermediate_size};
    struct adapter *a;
    struct err e = {0};
    if (adapter_open(folder, &sizes, model_digest(t->m), &a, &e))
        test_failed(__FILE__, __LINE__, "open: %s", e.text);
    return a;
}

TEST(train_adapter_has_all_files) {
    struct rig_place p = free_place();
    struct train_options o = rig_options();
    o.lora.is_rslora = 1;
    o.lora.dropout = 0.05f;
    o.model = RIG_MODEL "/";
    struct train *t = learner_open(&o);
    rig_stir(t, 1);
    t->steps = 12;
    export_to(t, p.folder);
    CHECK(has(&p, ADAPTER_README));
    struct adapter *a = open_adapter(t, p.folder);
    CHECK(a->has_card && a->peft && a->overlay);
    CHECK(a->peft->c.r == 4 && a->peft->c.is_rslora && a->peft->n_pairs == 4);
    CHECK_NEAR(a->peft->c.alpha, 6, 0);
    CHECK_NEAR(a->peft->c.dropout, 0.05, 1e-7);
    CHECK_STR(a->peft->c.base, "tiny"); /* no path of this machine */
    CHECK_STR(a->card.recipe, DIGEST);
    CHECK(a->card.seed == 7 && a->card.steps == 12);
    for (int layer = 0; layer < 2; layer++)
        for (int is_b = 0; is_b < 2; is_b++) { /* B goes out without the scale */
            char name[PEFT_NAME_MAX];
            const struct peft_pair *pair = &a->peft->pairs[layer * PEFT_PLACES + PEFT_V];
            peft_name(name, layer, PEFT_V, is_b);
            check_tensor(t, is_b ? pair->b : pair->a, name, t->params.value);
        }
    CHECK_EQ(st_count(a->overlay), 2u); /* the connector alone */
    check_tensor(t, st_find(a->overlay, "llama_proj.weight"), "llama_proj.weight", t->params.value);
    adapter_close(a);
    CHECK_EQ(train_use_average(t, 1, NULL), 0);
    export_to(t, p.folder); /* over the earlier one, the average now */
    a = open_adapter(t, p.folder);
    check_tensor(t, st_find(a->overlay, "llama_proj.weight"), "llama_proj.weight",
                 t->params.average);
    adapter_close(a);
    train_close(t);
    rig_drop_folder(p.folder);
}

TEST(train_adapter_is_taken_in) {
    struct rig_place p = free_place();
    struct train_options o = rig_options();
    struct train *a = learner_open(&o), *b = learner_open(&o);
    rig_stir(a, 1);
    export_to(a, p.folder);
    double before = rig_judge(b);
    import_from(b, p.folder);
    CHECK(b->carried == NULL); /* everything learns on */
    float *x = rig_block(a, a->params.value), *y = rig_block(b, b->params.value),
          *z = rig_block(b, b->params.average);
    CHECK_MEM(x, y, a->params.floats * sizeof *x);
    CHECK_MEM(x, z, a->params.floats * sizeof *x);
    CHECK(rig_judge(a) != before);
    CHECK_NEAR(rig_judge(a), rig_judge(b), 0); /* the model reads it */
    mem_free(x);
    mem_free(y);
    mem_free(z);
    train_close(a);
    train_close(b);
    rig_drop_folder(p.folder);
}

/* Stage 2 teaches the tower, stage 3 freezes it as it is, exports and resumes. A card keeps 16 bits
 * for the way back through a tower that learns, and none where it is frozen: by the share `off` the
 * loss may change for that. */
static void check_stages(const char *device, const char *model, double off) {
    struct rig_place two = free_place(), three = free_place(), ckpt = rig_place();
    struct train_options o = rig_options();
    o.device = device;
    o.model = model;
    o.tower = 1;
    struct train *a = learner_open(&o);
    rig_stir(a, 1);
    export_to(a, two.folder);
    o.tower = 0;
    struct train *b = learner_open(&o);
    CHECK(rig_judge(a) != rig_judge(b));
    struct kern_stats before, behind;
    b->ops->stats(b->k, &before);
    import_from(b, two.folder);
    b->ops->stats(b->k, &behind);
    CHECK_EQ(behind.allocations, before.allocations); /* what was counted is all that there is */
    double judged = rig_judge(b);
    CHECK_NEAR(rig_judge(a), judged,
               off * judged); /* the frozen tower is there, every weight of it */
    export_to(b, three.folder);
    struct adapter *x = open_adapter(a, two.folder), *y = open_adapter(a, three.folder);
    CHECK_STR(x->card.vision, y->card.vision); /* nothing got lost on the way */
    CHECK_STR(x->card.text, y->card.text);
    CHECK_EQ(st_count(x->overlay), st_count(y->overlay));
    adapter_close(x);
    adapter_close(y);
    struct err e = {0};
    CHECK_EQ(train_import_adapter(b, two.folder, &e), E_INVALID);
    CHECK_HAS(e.text, "once");
    CHECK_EQ(train_save(b, rig_in(&ckpt, "a.safetensors"), &meta, NULL), 0);
    struct train *c = learner_open(&o);
    e = (struct err){0};
    CHECK_EQ(train_load(c, rig_in(&ckpt, "a.safetensors"), &meta, NULL, 0, NULL, &e), E_FORMAT);
    CHECK_HAS(e.text, "another stage before");
    import_from(c, three.folder);
    CHECK_EQ(train_load(c, rig_in(&ckpt, "a.safetensors"), &meta, NULL, 0, NULL, NULL), 0);
    CHECK_NEAR(rig_judge(c), judged, 0);
    train_close(a);
    train_close(b);
    train_close(c);
    rig_drop_folder(two.folder);
    rig_drop_folder(three.folder);
    rig_drop_folder(ckpt.folder);
}
TEST(train_adapter_carries_a_frozen_tower_ref) { check_stages("ref", RIG_MODEL, 0); }
TEST(train_adapter_carries_a_frozen_tower_cpu) { check_stages("cpu", RIG_MODEL, 0); }
TEST_LIMIT(train_adapter_carries_a_frozen_tower_kept_cuda, 300) {
    const struct kern_ops *ops;
    if (kern_find("cuda", &ops, NULL) || !ops->score()) skip("no CUDA device");
    check_stages("cuda", RIG_MODEL, 0.01);
}
TEST(train_adapter_carries_an_ln_vision_that_the_base_has_not) {
    check_stages("cpu", RIG_DIGITS, 0);
}

TEST(train_adapter_of_a_connector_alone) {
    struct rig_place p = free_place();
    struct train_options o = rig_options();
    o.text = TRAIN_TEXT_FROZEN;
    struct train *a = learner_open(&o);
    rig_stir(a, 1);
    export_to(a, p.folder);
    CHECK(!has(&p, PEFT_CONFIG) && !has(&p, PEFT_MODEL) && has(&p, ADAPTER_OVERLAY));
    o = rig_options(); /* a stage with a LoRA may follow: it begins as a new one */
    struct train *b = learner_open(&o);
    import_from(b, p.folder);
    CHECK_NEAR(rig_judge(a), rig_judge(b), 0);
    train_close(a);
    train_close(b);
    rig_drop_folder(p.folder);
}

TEST(train_adapter_of_a_lora_alone) {
    struct rig_place p = free_place();
    struct train_options o = rig_options();
    o.connector = 0;
    o.lora.targets = 127;
    struct train *t = learner_open(&o);
    rig_stir(t, 1);
    export_to(t, p.folder);
    CHECK(!has(&p, ADAPTER_OVERLAY));
    struct adapter *a = open_adapter(t, p.folder);
    CHECK_EQ(a->peft->n_pairs, 14);
    adapter_close(a);
    train_close(t);
    rig_drop_folder(p.folder);
}

TEST(train_adapter_of_a_whole_decoder_is_none) {
    struct train_options o = rig_options();
    o.text = TRAIN_TEXT_FULL;
    struct train *t = learner_open(&o);
    struct err e = {0};
    CHECK_EQ(train_export_adapter(t, "/tmp/none", NULL, NULL, &e), E_INVALID);
    CHECK_HAS(e.text, "export a model");
    train_close(t);
}

/* ---- what is refused ---- */

static void check_refused(const struct train_options *o, const char *folder, int code,
                          const char *says) {
    struct train *t = learner_open(o);
    struct err e = {0};
    float *before = rig_block(t, t->params.value);
    double judged = rig_judge(t);
    int rc = train_import_adapter(t, folder, &e);
    if (rc != code || !strstr(e.text, says))
        test_failed(__FILE__, __LINE__, "%d, not %d: %s", rc, code, e.text);
    float *behind = rig_block(t, t->params.value);
    CHECK_MEM(before, behind, t->params.floats * sizeof *before);
    CHECK_NEAR(rig_judge(t), judged, 0);
    CHECK(t->carried == NULL);
    mem_free(before);
    mem_free(behind);
    train_close(t);
}

TEST(train_adapter_that_does_not_fit_is_refused) {
    struct rig_place p = free_place();
    struct train_options o = rig_options();
    struct train *t = learner_open(&o);
    export_to(t, p.folder);
    train_close(t);
    o.lora.r = 8;
    check_refused(&o, p.folder, E_FORMAT, "r 4, alpha 6; here it has r 8");
    o = rig_options();
    o.lora.alpha = 16;
    check_refused(&o, p.folder, E_FORMAT, "alpha 16");
    o = rig_options();
    o.lora.is_rslora = 1;
    check_refused(&o, p.folder, E_FORMAT, "rslora");
    o = rig_options();
    o.lora.targets = TRAIN_LORA_Q;
    check_refused(&o, p.folder, E_FORMAT, "layer 0, self_attn.v_proj: there is no LoRA here");
    o.lora.targets = TRAIN_LORA_Q | TRAIN_LORA_V | TRAIN_LORA_UP;
    check_refused(&o, p.folder, E_FORMAT, "layer 0, mlp.up_proj: it has no LoRA there");
    o = rig_options();
    o.text = TRAIN_TEXT_FROZEN;
    check_refused(&o, p.folder, E_INVALID, "doesn't learn by one");
    o = rig_options();
    o.model = RIG_DIGITS;
    check_refused(&o, p.folder, E_FORMAT, "for the base model");
    check_refused(&o, "/tmp/none", E_NOT_FOUND, "/tmp/none");
    t = learner_open(&o);
    t->steps = 1;
    struct err e = {0};
    CHECK_EQ(train_import_adapter(t, p.folder, &e), E_INVALID);
    CHECK_HAS(e.text, "before the first step");
    train_close(t);
    rig_drop_folder(p.folder);
}

/* An overlay alone with one tensor, and a right card. */
static void check_overlay(const char *name, int64_t n, const char *says) {
    struct rig_place p = rig_place();
    struct train_options o = rig_options();
    struct train *t = learner_open(&o);
    float *x = mem_must((size_t)n * sizeof *x);
    struct st_tensor tensor = {.name = name, .dtype = ST_F32, .ndim = 1, .shape = {n}, .data = x};
    struct adapter_card c = {.program = "1"};
    struct st *st;
    char *text;
    size_t len;
    CHECK_EQ(
        st_write(rig_in(&p, ADAPTER_OVERLAY), &(struct st_new){.tensors = &tensor, .n = 1}, NULL),
        0);
    CHECK_EQ(st_open(rig_in(&p, ADAPTER_OVERLAY), &st, NULL), 0);
    snprintf(c.base, sizeof c.base, "%s", model_digest(t->m));
    snprintf(c.text, sizeof c.text, "%s", model_digest(t->m));
    CHECK_EQ(adapter_vision_digest(c.base, st, c.vision, NULL), 0);
    CHECK_EQ(adapter_print_card(&c, &text, &len, NULL), 0);
    FILE *f = fopen(rig_in(&p, ADAPTER_CARD), "wb");
    CHECK(f && fwrite(text, 1, len, f) == len && fclose(f) == 0);
    train_close(t);
    check_refused(&o, p.folder, E_FORMAT, says);
    mem_free(text);
    mem_free(x);
    st_close(st);
    rig_drop_folder(p.folder);
}
TEST(train_adapter_with_an_overlay_of_another_tower) {
    check_overlay("visual_encoder.blocks.9.norm1.weight", 32, "the model has none of that name");
    check_overlay("visual_encoder.blocks.1.norm1.weights", 32, "the model has none of that name");
    check_overlay("visual_encoder.blocks.1.norm1.weight", 31, "another shape than the model's");
}

TEST(train_adapter_on_a_full_disk) {
    struct rig_place p = free_place();
    struct train_options o = rig_options();
    struct train *t = learner_open(&o);
    struct err e = {0};
    rig_stir(t, 1);
    export_to(t, p.folder);
    struct adapter *a = open_adapter(t, p.folder);
    char vision[ADAPTER_DIGEST];
    memcpy(vision, a->card.vision, sizeof vision);
    adapter_close(a);
    rig_stir(t, 2);
    broken_disk(SYS_write, 4096, ENOSPC);
    CHECK_EQ(train_export_adapter(t, p.folder, &meta, NULL, &e), E_IO);
    CHECK_HAS(e.text, "No space left");
    a = open_adapter(t, p.folder); /* the earlier one is whole */
    CHECK_STR(a->card.vision, vision);
    adapter_close(a);
    train_close(t);
    rig_drop_folder(p.folder);
}

/* Each allocation of ours fails once: an error, nothing half done, nothing left. */
TEST(train_adapter_without_memory) {
    struct rig_place p = free_place(), out = free_place();
    struct train_options o = rig_options();
    struct train *t = learner_open(&o);
    export_to(t, p.folder);
    int rc = E_NOMEM, n = 0;
    for (; rc; n++) {
        mem_fail_at((uint64_t)n + 1);
        rc = train_export_adapter(t, out.folder, &meta, NULL, NULL);
        CHECK(rc == 0 || (rc == E_NOMEM && access(out.folder, F_OK) != 0));
    }
    CHECK(n > 8);
    for (rc = E_NOMEM, n = 0; rc; n++) {
        mem_fail_at((uint64_t)n + 1);
        rc = train_import_adapter(t, p.folder, NULL);
        CHECK(rc == 0 || rc == E_NOMEM);
    }
    CHECK(n > 8);
    mem_fail_at(0);
    train_close(t);
    rig_drop_folder(p.folder);
    rig_drop_folder(out.folder);
}
