/* test_open.c - what train_open refuses, what it counts, and what it takes. */
#include "tests/unit/engine/train/train_rig.h"
#include "tests/unit/kernels/emu_rig.h"

static void refuse(const struct train_options *o, int samples, int code, const char *why) {
    struct train *t;
    struct train_memory m;
    struct err e = {0}, plan = {0};
    int rc = train_open(o, samples, &t, &e);
    if (rc != code || !strstr(e.text, why)) printf("%d: %s, not: %s\n", rc, e.text, why);
    CHECK_EQ(rc, code);
    CHECK_HAS(e.text, why);
    CHECK(t == NULL);
    if (code == E_INVALID) CHECK_EQ(train_plan(o, samples, &m, &plan), code);
}

#define REFUSE(field, value, why)                   \
    do {                                            \
        struct train_options bad = rig_lora("cpu"); \
        bad.field = (value);                        \
        refuse(&bad, 4, E_INVALID, why);            \
    } while (0)

TEST(open_refuses_options_by_name) {
    static const struct train_comm three = {.size = 3}, four = {.size = 4, .rank = 4};
    REFUSE(text, (enum train_text)7, "text");
    REFUSE(rate.peak, -1, "rate");
    REFUSE(rate.start, NAN, "rate");
    REFUSE(rate.steps, 0, "rate.steps");
    REFUSE(tower_rate, -1, "tower_rate");
    REFUSE(beta1, 1, "beta1");
    REFUSE(eps, -1, "eps");
    REFUSE(decay, -1, "decay");
    REFUSE(clip, -1, "clip");
    REFUSE(average, 1, "average");
    REFUSE(lora.r, 0, "lora.r");
    REFUSE(lora.r, 513, "lora.r");
    REFUSE(lora.alpha, 0, "lora.alpha");
    REFUSE(lora.dropout, 1, "lora.dropout");
    REFUSE(lora.targets, 0, "lora.targets");
    REFUSE(lora.targets, 128, "lora.targets");
    REFUSE(soft[SAMPLE_PIXELS], -1, "soft");
    REFUSE(box_l1, -1, "box_l1");
    REFUSE(box_giou, NAN, "box_giou");
    REFUSE(hold, -1, "hold");
    REFUSE(hold, 1, "hold_heads");
    REFUSE(dense[TRAIN_DENSE_BOX], -1, "dense_box");
    REFUSE(dense[TRAIN_DENSE_COLOUR], NAN, "dense_colour");
    REFUSE(dense_rate, -1, "dense_rate");
    REFUSE(teach[SAMPLE_VQA], 2, "teach");
    REFUSE(teach_top, 1025, "teach_top");
    REFUSE(recompute, 3, "recompute");
    REFUSE(rows, -1, "rows");
    REFUSE(rows, 65537, "rows");
    REFUSE(pictures, 9, "pictures");
    REFUSE(comm, &three, "power of two");
    REFUSE(comm, &four, "power of two");
    REFUSE(model, NULL, "model");
    struct train_options o = rig_lora("cpu");
    refuse(&o, 0, E_INVALID, "samples");
    o.hold = 1;
    o.hold_heads = 16;
    refuse(&o, 1, E_INVALID, "hold_heads");
    o.hold_heads = 1;
    o.hold_layer = 2;
    refuse(&o, 1, E_INVALID, "hold_layer");
    o = rig_lora("cpu");
    o.text = TRAIN_TEXT_FROZEN;
    o.connector = 0;
    refuse(&o, 1, E_INVALID, "nothing learns");
    o.text = TRAIN_TEXT_LORA;
    o.dense[TRAIN_DENSE_INSIDE] = 1;
    refuse(&o, 1, E_INVALID, "both are frozen");
    static const struct train_comm two = {.size = 2};
    o = rig_lora("cpu");
    o.comm = &two;
    refuse(&o, 3, E_INVALID, "multiple of the number of ranks");
}

TEST(open_refuses_what_is_not_there) {
    struct train_options o = rig_lora("cpu");
    o.model = "tests/golden/none";
    refuse(&o, 1, E_NOT_FOUND, "none");
    o = rig_lora("cpu");
    o.device = "gpu";
    refuse(&o, 1, E_NOT_FOUND, "gpu");
    o = rig_lora("cpu");
    o.model = RIG_DIGITS;
    o.box_l1 = 1;
    refuse(&o, 1, E_UNSUPPORTED, "no token for each number");
    o = rig_options("cpu");
    o.memory = 4 << 20;
    refuse(&o, 1, E_NOMEM, "there are 4");
}

/* What is counted is what is taken: all but notes, and the ends of blocks. */
static void taken_as_planned(const char *device, const char *isa, int has_step) {
    for (int i = 0; i < 8; i++) {
        struct train_options o = i % 2 ? rig_lora(device) : rig_options(device);
        struct train_memory m;
        struct kern_stats s;
        o.isa = isa;
        o.recompute = i / 2 % 3;
        o.average = i < 4 ? 0 : 0.5;
        o.lora.dropout = i < 4 ? 0 : 0.1f;
        o.dense[i % TRAIN_DENSE] = i >= 2;
        o.teacher = i >= 5 ? RIG_TINY : NULL;
        o.teach[SAMPLE_PIXELS] = i >= 5;
        CHECK_EQ(train_plan(&o, 8, &m, NULL), 0);
        struct train *t = rig_open(&o, 8);
        t->ops->stats(t->k, &s);
        CHECK_HAS(m.backend, t->ops->name);
        CHECK_EQ(m.masters, t->params.floats * sizeof(float));
        CHECK_EQ(m.learning, t->params.floats);
        CHECK_EQ(t->params.levels, 3);
        CHECK_EQ(m.gradients, 3 * m.masters);
        CHECK_EQ(m.optimiser, (o.average > 0 ? 3 : 2) * m.masters);
        uint64_t lora = 0;
        for (int k = 0; k < t->params.n; k++)
            lora += t->params.at[k].is_lora || t->params.at[k].is_dense ? t->params.at[k].n : 0;
        CHECK_EQ(m.parameters, model_parameters(t->m) + lora);
        CHECK_EQ(m.total, m.weights + m.masters + m.gradients + m.optimiser + m.activations +
                              m.teacher + m.own);
        CHECK_EQ(m.teacher > 0, i >= 5);
        if (m.teacher) CHECK(s.live_bytes > m.total - m.own - m.teacher);
        uint64_t rest = m.total - m.own - m.weights;
        double off = (double)(s.live_bytes - rest) / (double)m.weights - 1;
        if (fabs(off) > 0.03) printf("%s %d: %g\n", device, i, off);
        CHECK(fabs(off) <= 0.03);
        if (!strcmp(device, "cuda")) CHECK_EQ(s.live_bytes, m.total - m.own); /* it has no notes */
        uint64_t before = s.allocations;
        struct rig_sample *r = mem_must(sizeof *r);
        rig_mixed(r, 1);
        for (int k = 0; k < 8 && has_step; k++) {
            struct train_loss loss;
            CHECK_EQ(train_add(t, k % 3 ? NULL : &r->s, &loss, NULL), 0);
        }
        if (has_step) (void)rig_step(t);
        t->ops->stats(t->k, &s);
        if (s.allocations > before + 4) printf("%d: %d\n", i, (int)(s.allocations - before));
        train_close(t);
        mem_free(r);
    }
}

TEST(open_takes_what_was_planned) {
    taken_as_planned("ref", NULL, 1);
    taken_as_planned("cpu", NULL, 1);
    taken_as_planned("cpu", "portable", 0);
}

/* Frozen weights are there once, in 16 bits. */
TEST(open_takes_what_was_planned_cuda) {
    const struct kern_ops *ops;
    if (kern_find("cuda", &ops, NULL) || !ops->score()) {
        printf("skip: no CUDA device\n");
        exit(TEST_SKIPPED);
    }
    struct train_options o = rig_lora("cuda"), other = rig_lora("ref");
    struct train_memory m, f32;
    CHECK_EQ(train_plan(&o, 8, &m, NULL), 0);
    CHECK_EQ(train_plan(&other, 8, &f32, NULL), 0);
    CHECK(m.weights < f32.weights * 6 / 10); /* LoRAs and vectors are in 32 everywhere */
    taken_as_planned("cuda", NULL, 0);
    taken_as_planned("cuda", "strict", 0);
}

/* ---- a card that fails ---- */

static struct emu_control *emulated(void) {
    const struct kern_ops *ops;
    struct emu_control *card = kern_find("cuda", &ops, NULL) ? NULL : emu_find(ops);
    if (!card) skip("no emulated card");
    return card;
}

/* All that takes memory: a LoRA, dense questions, a teacher. */
static struct train_options taking_all(void) {
    struct train_options o = rig_lora("cuda");
    o.dense[TRAIN_DENSE_INSIDE] = o.dense[TRAIN_DENSE_BOX] = 1;
    o.teacher = RIG_TINY;
    o.teach[SAMPLE_PIXELS] = 1;
    o.is_legal = 1;
    return o;
}

/* Blocks of memory are refused, as where somebody else took them in the meantime: the first ones,
 * and of the others every eleventh. */
TEST_LIMIT(open_without_memory_leaves_nothing_planned_cuda, 120) {
    struct emu_control *card = emulated();
    const struct train_options o = taking_all();
    int before = card->mallocs, n = 0, n_opened = 0;
    do {
        struct train *t;
        struct err e = {0};
        card->refuse[EMU_MALLOC] = n += n < 8 ? 1 : 11;
        int rc = train_open(&o, 4, &t, &e);
        CHECK(!rc || (rc == E_NOMEM && strstr(e.text, "cuda") && !t));
        n_opened += rc == 0;
        train_close(t);
        CHECK_EQ(card->mallocs, before);
    } while (!card->refuse[EMU_MALLOC]);
    card->refuse[EMU_MALLOC] = 0;
    CHECK(n > 100 && n_opened <= 2); /* without cuBLASLt's own, and with all */
}

/* The launch of that number is refused; returns how many there were. */
static int lose_the_card(struct emu_control *card, const struct sample *s, int at) {
    const struct train_options o = taking_all();
    struct train *t = rig_open(&o, 1);
    struct train_result result;
    struct train_loss loss;
    struct err e = {0};
    int before = card->calls[EMU_LAUNCH];
    card->refuse[EMU_LAUNCH] = at;
    CHECK_EQ(train_add(t, s, &loss, &e), at ? E_DEVICE : 0);
    int launches = card->calls[EMU_LAUNCH] - before;
    if (at) {
        CHECK_HAS(e.text, "cuda: device 0: ");
        CHECK_EQ(launches, at); /* nothing came behind it */
        CHECK_EQ(train_judge(t, s, &loss, NULL), E_DEVICE);
        CHECK(train_step(t, &result, NULL) != 0);
    }
    train_close(t);
    return launches;
}

/* A kernel that the card refuses: the sample says so, and so does all that is asked behind it. */
TEST_LIMIT(open_card_that_is_lost_says_so_planned_cuda, 120) {
    struct emu_control *card = emulated();
    struct rig_sample *r = mem_must(sizeof *r);
    int before = card->mallocs;
    rig_mixed(r, 5);
    r->s.n_pictures = 1;
    r->s.n_talks = 2;
    int launches = lose_the_card(card, &r->s, 0);
    for (int i = 0; i < 4; i++)
        (void)lose_the_card(card, &r->s, 1 + i * (launches - 1) / 3);
    CHECK_EQ(card->mallocs, before);
    mem_free(r);
}

/* The paper's model, as recipes/pae-lamm.ini has it in its first stage. */
static struct train_options of_the_paper(void) {
    return (struct train_options){
        .model = "models/shapes/pae-lamm-7b",
        .is_seeded = 1,
        .device = "cpu",
        .connector = 1,
        .text = TRAIN_TEXT_LORA,
        .lora = {.r = 64, .alpha = 16, .targets = TRAIN_LORA_Q | TRAIN_LORA_V},
        .rate = {.peak = 1e-5, .steps = 1},
        .pictures = 1};
}

/* As a GPU keeps matrices (kernels/cuda/plugin.cu), where there is none. */
static struct kern_mat_form card_form(const char *isa) {
    (void)isa;
    return (struct kern_mat_form){
        .n_step = 1, .step_16bit = 8, .keeps_16bit = 1, .own_bytes = 160u << 20};
}

static struct train_memory on_a_card(const struct train_options *o, int samples) {
    static const struct kern_train_ops train = {.size = sizeof train, .form = card_form};
    const struct kern_ops card = {.name = "card", .train = &train};
    struct train_memory m;
    struct model_config c;
    struct params p;
    CHECK_EQ(model_read_config(o->model, &c, NULL), 0);
    CHECK_EQ(params_list(&p, &c, o, NULL), 0);
    CHECK_EQ(plan_count(o, &c, &p, samples, &card, &m, NULL), 0);
    params_clear(&p);
    return m;
}

/* One whose matrices are as its mode has them. */
static struct kern_mat_form form_of_mode(const char *isa) {
    struct kern_mat_form form = card_form(isa);
    if (isa && !strcmp(isa, "strict")) form.step_16bit = form.keeps_16bit = 0;
    return form;
}

TEST(open_counts_a_teacher_in_the_mode_of_its_student) {
    static const struct kern_train_ops train = {.size = sizeof train, .form = form_of_mode};
    const struct kern_ops card = {.name = "card", .train = &train};
    struct train_options o = of_the_paper();
    struct train_memory in_16bit, in_f32;
    CHECK_EQ(open_guest_plan(o.model, &o, &card, &in_16bit, NULL), 0);
    o.isa = "strict";
    CHECK_EQ(open_guest_plan(o.model, &o, &card, &in_f32, NULL), 0);
    CHECK(in_f32.weights > in_16bit.weights * 19 / 10);
}

/* What docs/gpu.md says of memory at 7 billion weights, in decimal GB. */
TEST(open_plans_the_paper_s_model_on_a_card) {
    static const double of_a_row[] = {3.5e6, 3.5e6, 0.52e6}; /* recompute 0, 1, 2; at most */
    struct train_options o = of_the_paper();
    o.rows = 2048;
    struct train_memory one = on_a_card(&o, 1), many = on_a_card(&o, 16);
    double fixed = (double)(one.total - one.activations) / 1e9;
    double of_16 = (double)(many.total - many.activations) / 1e9;
    printf("fixed %.2f GB, with 16 samples a step %.2f\n", fixed, of_16);
    CHECK(fixed > 16 && fixed < 17 && of_16 < 17.5);
    for (int r = 0; r < 3; r++) {
        o.recompute = r;
        o.rows = 2048;
        struct train_memory few = on_a_card(&o, 16);
        o.rows = 4096;
        struct train_memory more = on_a_card(&o, 16);
        double row = (double)(more.activations - few.activations) / 2048;
        printf("recompute %d: %.3f MB a row, %.1f GB with 2,048\n", r, row / 1e6,
               (double)few.total / 1e9);
        CHECK(row < of_a_row[r] && row > of_a_row[r] * 0.8);
    }
    o.tower = 1;
    o.rows = 2048;
    one = on_a_card(&o, 1), many = on_a_card(&o, 16);
    fixed = (double)(one.total - one.activations) / 1e9;
    of_16 = (double)(many.total - many.activations) / 1e9;
    printf("the tower, too: fixed %.2f GB, with 16 samples a step %.2f, in all %.2f\n", fixed,
           of_16, (double)many.total / 1e9);
    CHECK(fixed > 31 && fixed < 33 && many.total < UINT64_C(80000000000));
    o.recompute = 0;
    struct train_memory few = on_a_card(&o, 1);
    o.pictures = 2;
    double picture = (double)(on_a_card(&o, 1).activations - few.activations) / 1e9;
    printf("a picture through a tower that learns: %.2f GB\n", picture);
    CHECK(picture > 1 && picture < 1.4);
}

/* Of 7 billion weights the config alone is there. */
TEST(open_plans_the_paper_s_model) {
    struct train_options o = of_the_paper();
    o.is_seeded = 0;
    struct train_memory m, less;
    struct mem_stats before, after;
    mem_stats(&before);
    CHECK_EQ(train_plan(&o, 16, &m, NULL), 0);
    mem_stats(&after);
    CHECK(after.peak_bytes - before.live_bytes < 4 << 20);
    CHECK(m.parameters > UINT64_C(7700000000) && m.parameters < UINT64_C(7850000000));
    CHECK_EQ(m.learning, 32 * 4 * 64 * 4096 + 4096 * (4 * 1408 + 1)); /* 56.6 million */
    o.recompute = 2;
    CHECK_EQ(train_plan(&o, 16, &less, NULL), 0);
    CHECK(less.activations < m.activations / 3);
    o.tower = 1;
    CHECK_EQ(train_plan(&o, 16, &m, NULL), 0);
    CHECK(m.learning - less.learning > 980000000 && m.learning - less.learning < 995000000);
}
