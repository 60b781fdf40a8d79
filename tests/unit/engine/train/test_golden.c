/* test_golden.c - losses and gradients against PyTorch's, which are f64
 * (tools/oracle/make_train_golden.py). */
#include "tests/golden/gold.h"
#include "tests/unit/engine/train/teach_rig.h"

#define GOLD "tests/golden/train/"

/* ---- the talks ---- */

static enum sample_task task_named(const char *name) {
    int i = 0;
    while (strcmp(sample_task_words[i], name) != 0)
        i++;
    return (enum sample_task)i;
}

/* task|weight|pictures|question|answer[|pictures|question|answer] */
static void read_talk(struct rig_sample *r, char *line) {
    char *field[16] = {0}, *at = line;
    int n = 0;
    line[strcspn(line, "\n")] = 0;
    for (char *part; (part = strsep(&at, "|")) != NULL && n < 16;)
        field[n++] = part;
    struct sample_talk *talk =
        rig_talk(r, task_named(field[0]), (uint32_t)(field[2][0] - '0'), field[3], field[4]);
    talk->weight = strtof(field[1], NULL);
    struct sample_turn *turns = r->turns[r->s.n_talks - 1];
    if (n > 5) turns[1] = (struct sample_turn){(uint32_t)(field[5][0] - '0'), field[6], field[7]};
    talk->n_turns = (uint32_t)(n - 2) / 3;
}

struct golden {
    struct rig_sample r;
    char lines[RIG_TALKS][128];
    uint8_t rgb[2][32 * 32 * 3];
    uint8_t hold[16];
    char names[8][128];
    struct sample_thing things[8];
    uint8_t discs[8][16 * 16];
    float features[16 * SAMPLE_FEATURES];
};

/* text|box|x1 y1 x2 y2, or text|disc|x y radius */
static void read_thing(struct golden *g, char *line) {
    uint32_t i = g->r.s.n_things++;
    struct sample_thing *thing = &g->things[i];
    char *at = line, *name = strsep(&at, "|"), *kind = strsep(&at, "|");
    float *v = thing->box;
    thing->text = name;
    int n = sscanf(at, "%f %f %f %f", &v[0], &v[1], &v[2], &v[3]);
    if (n == 4) return;
    CHECK(n == 3 && !strcmp(kind, "disc"));
    for (int p = 0; p < 16 * 16 && v[2] >= 0; p++) {
        float x = (float)(p % 16) - v[0], y = (float)(p / 16) - v[1];
        g->discs[i][p] = x * x + y * y <= v[2] * v[2];
    }
    thing->mask = g->discs[i];
}

static void read_things(struct golden *g) {
    FILE *f = fopen(GOLD "things.txt", "r");
    CHECK(f != NULL);
    for (int n = 0; n < 8 && fgets(g->names[n], sizeof g->names[n], f); n++)
        read_thing(g, g->names[n]);
    fclose(f);
    g->r.s.things = g->things;
}

static void read_golden(struct golden *g, int has_holds) {
    size_t row = 32 * 3;
    rig_empty(&g->r, 0);
    FILE *f = fopen("tests/golden/pictures/32.rgb", "rb");
    CHECK(f && fread(g->rgb[0], 1, sizeof g->rgb[0], f) == sizeof g->rgb[0]);
    fclose(f);
    for (size_t y = 0; y < 32; y++)
        memcpy(g->rgb[1] + y * row, g->rgb[0] + (31 - y) * row, row);
    for (int i = 0; i < 2; i++)
        g->r.pictures[i] = (struct sample_picture){g->rgb[i], 32, 32};
    f = fopen(GOLD "talks.txt", "r");
    CHECK(f != NULL);
    for (int n = 0; fgets(g->lines[n], sizeof g->lines[n], f); n++)
        read_talk(&g->r, g->lines[n]);
    fclose(f);
    read_things(g);
    for (int i = 0; i < 16 * SAMPLE_FEATURES; i++)
        g->features[i] = (float)(i * 37 % 101) / 50 - 1;
    g->r.s.features = g->features;
    for (size_t i = 3; i < 9; i++)
        g->hold[i] = 1;
    for (uint32_t i = 0; has_holds && i < g->r.s.n_talks; i++)
        if (g->r.talks[i].task == SAMPLE_REFER) g->r.talks[i].hold = g->hold;
}

/* ---- comparing ---- */

static double norm_of(const float *v, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    return sqrt(sum);
}

static double gradient_off(const struct st *st, const struct param *p, const float *grad) {
    const struct st_tensor *t = st_find(st, p->name);
    char name[PARAM_NAME_MAX + 8];
    CHECK(t != NULL);
    const float *want = t->data, *got = grad + p->at;
    snprintf(name, sizeof name, "%s.norm", p->name);
    const struct st_tensor *whole = st_find(st, name);
    double diff = 0, norm = norm_of(want, t->elements);
    for (uint64_t i = 0; i < t->elements; i++) {
        size_t at = whole ? (size_t)(rng_u64(maker_seed(p->name), i) % p->n) : (size_t)i;
        diff += pow((double)got[at] - (double)want[i], 2);
    }
    CHECK(whole || t->elements == p->n);
    double off = norm > 0 ? sqrt(diff) / norm : sqrt(diff);
    if (!whole) return off;
    double all = (double)*(const float *)whole->data, off_all = fabs(norm_of(got, p->n) / all - 1);
    return off > off_all ? off : off_all;
}

static void compare_loss(const struct st *st, const char *name, double got) {
    const struct st_tensor *t = st_find(st, name);
    double want = t ? (double)*(const float *)t->data : 0;
    if (!(fabs(got - want) <= 1e-4 * want)) printf("%s: %g, not %g\n", name, got, want);
    CHECK_NEAR(got, want, 1e-4 * want);
}

/* The numbers of LoRAs and of dense heads are those of the generator. */
static void fill_new(struct train *t) {
    for (int i = 0; i < t->params.n; i++) {
        const struct param *p = &t->params.at[i];
        if (!p->is_lora && !p->is_dense) continue;
        struct maker_tensor like = {.dtype = ST_F32,
                                    .ndim = p->ndim,
                                    .shape = {(int)p->shape[0], (int)p->shape[1]},
                                    .std = 0.15};
        must(snprintf(like.name, sizeof like.name, "%s", p->name) < (int)sizeof like.name);
        uint8_t *numbers = mem_must(maker_bytes(&like));
        maker_fill(&like, numbers);
        t->ops->put(t->k, kern_at(t->params.value, p->at * sizeof(float)), numbers,
                    maker_bytes(&like));
        mem_free(numbers);
    }
    params_settle(t);
}

static void compare(const struct train_options *o, const char *path, int has_holds) {
    struct golden *g = mem_must(sizeof *g);
    struct train *t = rig_open(o, 1);
    struct st *st;
    struct train_loss loss;
    char name[64];
    CHECK_EQ(st_open(path, &st, NULL), 0);
    read_golden(g, has_holds);
    fill_new(t);
    rig_add(t, &g->r.s, &loss);
    float *grad = rig_grad(t);
    for (int i = 0; i < SAMPLE_TASKS; i++) {
        snprintf(name, sizeof name, "sum.%s", sample_task_words[i]);
        compare_loss(st, name, loss.sum[i]);
    }
    compare_loss(st, "box", loss.box);
    compare_loss(st, "hold", loss.hold);
    for (int i = 0; i < TRAIN_DENSE; i++) {
        snprintf(name, sizeof name, "dense.%s", train_dense_words[i]);
        compare_loss(st, name, loss.dense[i]);
    }
    double worst = 0;
    for (int i = 0; i < t->params.n; i++) {
        double off = gradient_off(st, &t->params.at[i], grad);
        if (off > 1e-3) printf("%s, %s: %s: %g\n", path, o->device, t->params.at[i].name, off);
        if (!(off <= worst)) worst = off;
    }
    printf("%s, %s: gradients within %.1e\n", path, o->device, worst);
    CHECK(worst <= 1e-3);
    train_close(t);
    st_close(st);
    mem_free(grad);
    mem_free(g);
}

TEST(golden_gradients_of_all_weights) {
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++) {
        struct train_options o = rig_options(rig_backends[i]);
        compare(&o, GOLD "full.safetensors", 0);
    }
}

TEST(golden_gradients_of_loras) {
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++) {
        struct train_options o = rig_lora(rig_backends[i]);
        o.lora.r = 3;
        o.lora.alpha = 6;
        compare(&o, GOLD "lora.safetensors", 0);
    }
}

TEST(golden_gradients_of_soft_numbers_boxes_and_held_attention) {
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++) {
        struct train_options o = rig_options(rig_backends[i]);
        o.soft[SAMPLE_PIXELS] = 2;
        o.soft[SAMPLE_DRIVE] = 0.7f;
        o.box_l1 = 1.5f;
        o.box_giou = 0.75f;
        o.hold = 0.3f;
        o.hold_layer = 1;
        o.hold_heads = 5;
        compare(&o, GOLD "aims.safetensors", 1);
    }
}

TEST(golden_gradients_of_dense_questions) {
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++) {
        struct train_options o = rig_options(rig_backends[i]);
        o.dense[TRAIN_DENSE_INSIDE] = 2;
        o.dense[TRAIN_DENSE_BOX] = 4;
        o.dense[TRAIN_DENSE_COLOUR] = 2;
        o.dense[TRAIN_DENSE_FEATURE] = 3;
        for (o.recompute = 0; o.recompute <= 2; o.recompute++)
            compare(&o, GOLD "dense.safetensors", 0);
    }
}

TEST(golden_gradients_with_a_teacher) {
    struct rig_teacher teacher = rig_teacher_make();
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++) {
        struct train_options o = rig_options(rig_backends[i]);
        o.teacher = teacher.folder;
        o.teach[SAMPLE_PIXELS] = 0.75f;
        o.teach[SAMPLE_REFER] = 1;
        o.teach[SAMPLE_VQA] = 0.25f;
        o.teach_top = 5;
        compare(&o, GOLD "teach.safetensors", 0);
    }
    rig_teacher_drop(&teacher);
}
