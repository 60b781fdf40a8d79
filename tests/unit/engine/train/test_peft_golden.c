/* test_peft_golden.c - peft's own adapters and answers, recorded by
 * tools/oracle/make_peft_golden.py.
 *
 * What peft saved is read, taken in, and goes out as the same numbers under the same names; and a
 * model into which it was merged answers as peft's forward does. tests/peft/run.py does the same
 * with a peft that is installed.
 */
#include "tests/unit/engine/model/model_rig.h"
#include "tests/unit/engine/train/files_rig.h"

#define GOLDEN "tests/golden/peft/"

/* ---- a base model in f32, so that merging rounds nothing else ---- */

static int fill_wide(void *ud, size_t i, uint64_t at, void *to, size_t n, struct err *e) {
    (void)e;
    st_floats(st_at(ud, i), at / 4, to, n / 4);
    return 0;
}

static struct rig_place wide_base(void) {
    struct rig_place p = rig_place();
    struct st *st;
    char command[400];
    CHECK_EQ(st_open(RIG_MODEL "/model.safetensors", &st, NULL), 0);
    struct st_tensor *tensors = mem_must(st_count(st) * sizeof *tensors);
    for (size_t i = 0; i < st_count(st); i++) {
        tensors[i] = *st_at(st, i);
        tensors[i].dtype = ST_F32;
    }
    struct st_new file = {tensors, st_count(st), NULL, 0, fill_wide, st};
    CHECK_EQ(st_write(rig_in(&p, "model.safetensors"), &file, NULL), 0);
    snprintf(command, sizeof command,
             "cp " RIG_MODEL "/config.json " RIG_MODEL "/tokenizer.model %s", p.folder);
    CHECK_EQ(system(command), 0);
    mem_free(tensors);
    st_close(st);
    return p;
}

/* ---- answers ---- */

/* The largest difference of the model's probabilities from peft's. */
static double differ(const char *backend, const char *model, const char *golden) {
    struct rig r;
    struct rig_pass p;
    struct gold g;
    int n;
    char path[128];
    snprintf(path, sizeof path, GOLDEN "%s/answers.safetensors", golden);
    CHECK_EQ(gold_open(&g, path, NULL), 0);
    const int32_t *ids = gold_ids(&g, &n);
    const struct st_tensor *want = st_find(g.st, "probs");
    rig_open(&r, backend, model);
    rig_ready(&r, RIG_ROWS, 512);
    rig_begin(&r, &p);
    for (int i = 0; i < n; i++) {
        rig_row(&p, ids[i], i, i);
        rig_pick(&p, i);
    }
    rig_group(&p, 0, 0, 0);
    float *probs = rig_run(&r, &p);
    double worst = 0;
    int vocab = model_config(r.m)->text.vocab_size;
    CHECK_EQ(want->elements, (uint64_t)(n * vocab));
    for (int i = 0; i < n * vocab; i++) {
        double d = fabs((double)probs[i] - (double)((const float *)want->data)[i]);
        if (!(d <= worst)) worst = d;
    }
    mem_free(probs);
    st_close(g.st);
    rig_close(&r);
    return worst;
}

/* ---- the same numbers again ---- */

static void check_same_adapter(const char *golden, const char *folder) {
    char paths[2][160];
    struct peft_config c[2];
    struct st *st[2];
    for (int i = 0; i < 2; i++) {
        char text[8192];
        snprintf(paths[i], sizeof paths[i], "%s/" PEFT_CONFIG, i ? folder : golden);
        FILE *f = fopen(paths[i], "rb");
        CHECK(f != NULL);
        size_t n = fread(text, 1, sizeof text, f);
        fclose(f);
        CHECK_EQ(peft_parse_config(text, n, &c[i], NULL), 0);
        snprintf(paths[i], sizeof paths[i], "%s/" PEFT_MODEL, i ? folder : golden);
        CHECK_EQ(st_open(paths[i], &st[i], NULL), 0);
    }
    CHECK(c[0].r == c[1].r && c[0].is_rslora == c[1].is_rslora && c[0].places == c[1].places);
    CHECK_NEAR(peft_scale(&c[0]), peft_scale(&c[1]), 0);
    CHECK_NEAR(c[0].dropout, c[1].dropout, 1e-8);
    CHECK_EQ(st_count(st[0]), st_count(st[1]));
    for (size_t i = 0; i < st_count(st[0]); i++) {
        const struct st_tensor *a = st_at(st[0], i), *b = st_at(st[1], i);
        CHECK_STR(a->name, b->name);
        CHECK_STR(a->dtype_name, b->dtype_name);
        CHECK_MEM(a->shape, b->shape, sizeof a->shape);
        CHECK_MEM(a->data, b->data, a->bytes);
    }
    st_close(st[0]);
    st_close(st[1]);
}

static void check_golden(const char *golden, struct train_lora lora) {
    struct rig_place base = wide_base(), merged = rig_place(), adapter = rig_place();
    struct train_options o = rig_options();
    char folder[128];
    struct err e = {0};
    snprintf(folder, sizeof folder, GOLDEN "%s", golden);
    o.model = base.folder;
    o.connector = 0;
    o.lora = lora;
    struct train *t = learner_open(&o);
    if (train_import_adapter(t, folder, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    CHECK_EQ(train_export_model(t, merged.folder, NULL, &e), 0);
    CHECK_EQ(train_export_adapter(t, adapter.folder, NULL, NULL, &e), 0);
    train_close(t);
    check_same_adapter(folder, adapter.folder);
    double bare = differ("ref", base.folder, golden);
    double ref = differ("ref", merged.folder, golden), cpu = differ("cpu", merged.folder, golden);
    printf("peft %s: merged %.1e (ref), %.1e (cpu) from peft's forward; the base alone %.2f\n",
           golden, ref, cpu, bare);
    CHECK(ref <= 1e-5 && cpu <= 1e-5);
    CHECK(bare > 0.1);
    rig_drop_folder(base.folder);
    rig_drop_folder(merged.folder);
    rig_drop_folder(adapter.folder);
}

TEST(train_peft_golden_plain) {
    check_golden("plain",
                 (struct train_lora){
                     .r = 4, .alpha = 8, .dropout = 0.05f, .targets = TRAIN_LORA_Q | TRAIN_LORA_V});
}
TEST(train_peft_golden_rslora_everywhere) {
    check_golden("rslora", (struct train_lora){.r = 3, .alpha = 2, .is_rslora = 1, .targets = 127});
}

/* A pattern that chose one layer: read, but no train has such a LoRA. */
TEST(train_peft_golden_pattern) {
    struct peft *p;
    struct peft_sizes sizes = {2, 64, 160};
    CHECK_EQ(peft_open(GOLDEN "pattern", &sizes, &p, NULL), 0);
    CHECK_EQ(p->n_pairs, 2);
    CHECK(p->pairs[PEFT_PLACES + PEFT_Q].a && p->pairs[PEFT_PLACES + PEFT_K].b);
    peft_close(p);
    struct train_options o = rig_options();
    o.lora = (struct train_lora){.r = 2, .alpha = 4, .targets = TRAIN_LORA_Q | TRAIN_LORA_K};
    struct train *t = learner_open(&o);
    struct err e = {0};
    CHECK_EQ(train_import_adapter(t, GOLDEN "pattern", &e), E_FORMAT);
    CHECK_HAS(e.text, "layer 0, self_attn.q_proj: it has no LoRA there");
    train_close(t);
}
