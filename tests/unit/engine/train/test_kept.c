/* test_kept.c - what is kept for the way back in 16 bits: who keeps so, and that the gradient is
 * that of 32 but for the rounding. Every backend can be made to. */
#include <unistd.h>

#include "engine/files/st_write.h"
#include "tests/unit/engine/train/train_rig.h"

static const struct kept_types in_f32, in_16bit = {KERN_BF16, KERN_BF16};

/* A train that keeps so, whatever its backend would. */
static struct train *open_keeping(const struct train_options *o, struct kept_types kept) {
    struct train *t = rig_open(o, 1);
    const struct model_config *c = model_config(t->m);
    size_t bytes = buffers_lay(&t->o, c, kept, (struct kern_ptr){0}, &t->b);
    t->ops->free(t->k, t->room);
    CHECK_EQ(t->ops->alloc(t->k, bytes, &t->room, NULL), 0);
    (void)buffers_lay(&t->o, c, kept, t->room, &t->b);
    return t;
}

/* The loss of held attention is told by the way back: with recompute 2 from rounded rows. */
static void check_judged(const struct train_loss *judged, const struct train_loss *loss,
                         int is_rounded) {
    CHECK_MEM(judged->sum, loss->sum, sizeof loss->sum);
    CHECK(judged->box == loss->box);
    CHECK_NEAR(judged->hold, loss->hold, is_rounded ? 2e-2 * loss->hold : 0);
}

/* Judged before, which leaves no trace. */
static float *gradient_keeping(const struct train_options *o, struct kept_types kept,
                               const struct sample *s, struct train_loss *loss) {
    struct train *t = open_keeping(o, kept);
    struct train_loss judged;
    int is_rounded = kept.text != KERN_F32 && o->recompute == 2;
    CHECK_EQ(train_judge(t, s, &judged, NULL), 0);
    rig_add(t, s, loss);
    if (o->lora.dropout == 0) check_judged(&judged, loss, is_rounded);
    CHECK_EQ(o->hold > 0, loss->hold > 0);
    float *g = rig_grad(t);
    train_close(t);
    return g;
}

/* The parameter whose gradient is off most. */
static double most_off(const struct train_options *o, const float *got, const float *want) {
    struct train *t = rig_open(o, 1);
    double most = 0;
    for (int i = 0; i < t->params.n; i++) {
        double off = rig_off(&t->params.at[i], got, want);
        if (off > most) {
            most = off;
            printf("%s %s, recompute %d: %s off by %.4f\n", o->device, o->isa ? o->isa : "",
                   o->recompute, t->params.at[i].name, off);
        }
    }
    train_close(t);
    return most;
}
static size_t gradient_bytes(const struct train_options *o) {
    struct train *t = rig_open(o, 1);
    size_t bytes = t->params.floats * sizeof(float);
    train_close(t);
    return bytes;
}

/* Of all weights; of a LoRA on every matrix, with dropout; of one on q and v with the tower, boxes
 * and held attention. */
static struct train_options learning(const char *backend, int which) {
    struct train_options o = which ? rig_lora(backend) : rig_options(backend);
    if (which == 1) o.lora.dropout = 0.25f;
    if (which < 2) return o;
    o.lora.targets = TRAIN_LORA_Q | TRAIN_LORA_V;
    o.tower = 1;
    o.box_l1 = 5;
    o.box_giou = 2;
    o.hold = 0.5f;
    o.hold_layer = 1;
    o.hold_heads = 1;
    return o;
}

/* Of the picture tokens, a few. */
static void hold_refer(struct rig_sample *r) {
    static const uint8_t hold[16] = {[3] = 1, [4] = 1, [7] = 1, [8] = 1};
    for (uint32_t i = 0; i < r->s.n_talks; i++)
        if (r->talks[i].task == SAMPLE_REFER) r->talks[i].hold = hold;
}

/* There is one loss, however little is kept, and recompute 0 is as 1. */
static void compare(struct train_options o, const struct sample *s, double most) {
    struct train_loss f32, loss[3];
    float *want = gradient_keeping(&o, in_f32, s, &f32), *got[3];
    for (o.recompute = 0; o.recompute < 3; o.recompute++) {
        got[o.recompute] = gradient_keeping(&o, in_16bit, s, &loss[o.recompute]);
        CHECK(most_off(&o, got[o.recompute], want) < most);
    }
    o.recompute = 0;
    CHECK_MEM(got[0], got[1], gradient_bytes(&o));
    for (int r = 0; r < 3; r++) {
        CHECK_MEM(loss[0].sum, loss[r].sum, sizeof loss[r].sum);
        CHECK_NEAR(rig_loss_of(&loss[r]), rig_loss_of(&f32), 1e-2 * rig_loss_of(&f32));
        mem_free(got[r]);
    }
    mem_free(want);
}

TEST_LIMIT(kept_in_16_bits_gives_the_gradient, 120) {
    struct rig_sample *r = mem_must(sizeof *r);
    rig_mixed(r, 5);
    hold_refer(r);
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++)
        for (int which = 0; which < 3; which++)
            compare(learning(rig_backends[i], which), &r->s, 0.1);
    mem_free(r);
}

/* ---- what lies there from before ---- */

/* Not a number, in any of its types. */
static void poison(struct train *t, struct kept_types kept) {
    struct buffers b = {0};
    size_t bytes = buffers_lay(&t->o, model_config(t->m), kept, (struct kern_ptr){0}, &b);
    char *all = mem_must(bytes);
    memset(all, 0xff, bytes);
    t->ops->put(t->k, t->room, all, bytes);
    mem_free(all);
}

/* Buffers are zeros when they are new, and later hold what another sample left. Nobody reads what
 * he hasn't written: the gradient is the same whatever was there. Nor does it matter that the
 * sample has no row less than there is room for. */
static void compare_poisoned(struct train_options o, struct kept_types kept,
                             const struct sample *s) {
    struct train_loss clean, loss;
    float *want = gradient_keeping(&o, kept, s, &clean);
    CHECK((int)clean.rows < o.rows);
    o.rows = (int)clean.rows;
    struct train *t = open_keeping(&o, kept);
    poison(t, kept);
    CHECK_EQ(train_judge(t, s, &loss, NULL), 0);
    poison(t, kept);
    rig_add(t, s, &loss);
    CHECK_MEM(loss.sum, clean.sum, sizeof loss.sum);
    CHECK(loss.box == clean.box && loss.hold == clean.hold);
    float *got = rig_grad(t);
    CHECK_MEM(got, want, t->params.floats * sizeof *got);
    train_close(t);
    mem_free(got);
    mem_free(want);
}

TEST_LIMIT(kept_gradient_is_the_same_whatever_lay_there, 120) {
    struct rig_sample *r = mem_must(sizeof *r);
    rig_mixed(r, 5);
    hold_refer(r);
    for (int i = 0; i < 18; i++) {
        struct train_options o = learning("cpu", i % 3);
        o.recompute = i / 3 % 3;
        compare_poisoned(o, i < 9 ? in_f32 : in_16bit, &r->s);
    }
    mem_free(r);
}

/* Talks alike in much: what a card is emulated with takes its time. */
static void small(struct rig_sample *r) {
    rig_empty(r, 5);
    r->s.n_pictures = 1;
    rig_talk(r, SAMPLE_PIXELS, 1, "[reconstruct] loc: [3,4] rgb:", "[31,6,108]");
    rig_talk(r, SAMPLE_REFER, 1, "[refer] a dog", "{<12><3><100><99>}");
    hold_refer(r);
}

/* At most twice as far from the truth as the same products are with all kept in f32, or as f32 that
 * is rounded by itself. */
static void check_honest(const struct train_options *o, const float *got, const float *f32,
                         const float *truth) {
    struct train *t = rig_open(o, 1);
    int n_off = 0;
    double sum = 0, plain = 0;
    for (int i = 0; i < t->params.n; i++) {
        double off = rig_off(&t->params.at[i], got, truth);
        double fair = rig_off(&t->params.at[i], f32, truth);
        if (off > 2 * fair + 0.05)
            n_off++, printf("%s off by %.4f, not %.4f\n", t->params.at[i].name, off, fair);
        sum += off;
        plain += fair;
    }
    printf("%s, recompute %d: off by %.4f on average, %.4f with f32 kept\n", o->isa, o->recompute,
           sum / t->params.n, plain / t->params.n);
    CHECK_EQ(n_off, 0);
    train_close(t);
}

static void on_a_card(const char *isa, int which) {
    const struct kern_ops *ops;
    if (kern_find("cuda", &ops, NULL) || !ops->score()) skip("no CUDA device");
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_loss loss;
    small(r);
    struct train_options o = learning("ref", which);
    o.pictures = 1;
    float *truth = gradient_keeping(&o, in_f32, &r->s, &loss);
    o.device = "cuda";
    o.isa = isa;
    float *f32 = gradient_keeping(&o, in_f32, &r->s, &loss);
    for (o.recompute = 0; o.recompute <= 2; o.recompute += 2) {
        float *got = gradient_keeping(&o, in_16bit, &r->s, &loss);
        check_honest(&o, got, f32, truth);
        mem_free(got);
    }
    mem_free(truth);
    mem_free(f32);
    mem_free(r);
}
TEST_LIMIT(kept_in_16_bits_gives_the_gradient_kept_cuda_tile, 300) { on_a_card("tile", 2); }
TEST_LIMIT(kept_in_16_bits_gives_the_gradient_kept_cuda_flat, 300) { on_a_card("flat", 0); }

TEST_LIMIT(kept_gradient_is_the_same_whatever_lay_there_kept_cuda, 300) {
    const struct kern_ops *ops;
    if (kern_find("cuda", &ops, NULL) || !ops->score()) skip("no CUDA device");
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_options o = learning("cuda", 2);
    small(r);
    o.pictures = 1;
    for (o.recompute = 0; o.recompute <= 2; o.recompute += 2)
        compare_poisoned(o, in_16bit, &r->s);
    mem_free(r);
}

/* 16 bits where weights have them and products round to them; not on a processor, in no mode. */
TEST(kept_types_are_those_of_products) {
    struct train_options o = rig_options("cpu");
    static const char *const isas[] = {NULL, "avx512bf16"};
    const struct kern_ops *ops;
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++) {
        CHECK_EQ(kern_find(rig_backends[i], &ops, NULL), 0);
        for (size_t k = 0; k < ARRAY_LEN(isas); k++) {
            o.isa = isas[k];
            struct kept_types kept = kept_types(&o, ops);
            CHECK(kept.tower == KERN_F32 && kept.text == KERN_F32);
        }
    }
}

TEST(kept_types_of_a_card_kept_cuda) {
    const struct kern_ops *ops;
    if (kern_find("cuda", &ops, NULL)) skip("no plugin");
    struct train_options o = rig_options("cuda"), strict = o, lora = rig_lora("cuda");
    strict.isa = "strict";
    struct kept_types kept = kept_types(&o, ops);
    CHECK(kept.tower == KERN_BF16 && kept.text == KERN_BF16);
    kept = kept_types(&strict, ops);
    CHECK(kept.tower == KERN_F32 && kept.text == KERN_F32);
    kept = kept_types(&lora, ops);
    CHECK(kept.tower == KERN_F32 && kept.text == KERN_BF16);
}

static struct kern_mat_form card_form(const char *isa) {
    (void)isa;
    return (struct kern_mat_form){.n_step = 1, .step_16bit = 8, .keeps_16bit = 1};
}

/* Of a file that has q and down of a layer alone, the latter in that type. */
static enum kern_dtype kept_beside(enum st_dtype down) {
    static const struct kern_train_ops train = {.size = sizeof train, .form = card_form};
    static const float zeros[4];
    const struct kern_ops card = {.name = "card", .train = &train};
    char folder[] = "/tmp/kept-XXXXXX", path[64];
    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    const struct st_tensor two[] = {{.name = "model.layers.0.self_attn.q_proj.weight",
                                     .dtype = ST_BF16,
                                     .ndim = 2,
                                     .shape = {2, 2},
                                     .data = zeros},
                                    {.name = "model.layers.0.mlp.down_proj.weight",
                                     .dtype = down,
                                     .ndim = 2,
                                     .shape = {2, 2},
                                     .data = zeros}};
    CHECK_EQ(st_write(path, &(struct st_new){.tensors = two, .n = 2}, NULL), 0);
    const struct train_options o = {.model = folder, .connector = 1};
    enum kern_dtype kept = kept_types(&o, &card).text;
    CHECK(unlink(path) == 0 && rmdir(folder) == 0);
    return kept;
}

/* Products by f32 weights round nothing, and where they are beside others all count as f32. */
TEST(kept_types_are_f32_where_any_matrix_is) {
    CHECK_EQ(kept_beside(ST_BF16), KERN_BF16);
    CHECK_EQ(kept_beside(ST_F32), KERN_F32);
}
