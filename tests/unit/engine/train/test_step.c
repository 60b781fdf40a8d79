/* test_step.c - steps of descent: they lower the loss, and nothing else than what is said changes
 * weights. */
#include "tests/unit/engine/train/train_rig.h"

static void descend(const struct train_options *o, double least) {
    struct train *t = rig_open(o, 2);
    struct rig_sample *r = mem_must(2 * sizeof *r);
    double first = 0, last = 0;
    rig_mixed(&r[0], 3);
    rig_mixed(&r[1], 11);
    for (int i = 0; i < 20; i++) {
        rig_add(t, &r[0].s, NULL);
        rig_add(t, &r[1].s, NULL);
        struct train_result result = rig_step(t);
        CHECK(!result.is_skipped);
        CHECK(result.norm > 0);
        last = rig_mean(&result.loss);
        if (!i) first = last;
    }
    CHECK_EQ(train_steps(t), 20);
    if (!(last < least * first)) printf("%s: %g -> %g\n", o->device, first, last);
    CHECK(last < least * first);
    train_close(t);
    mem_free(r);
}

TEST(step_twenty_of_all_weights_lower_the_loss) {
    struct train_options o = rig_options("cpu");
    descend(&o, 0.5);
}

TEST(step_twenty_of_a_lora_lower_the_loss) {
    struct train_options o = rig_lora("cpu");
    o.rate.peak = o.rate.end = 1e-2;
    descend(&o, 0.7);
}

/* The default model ends a box with tokens of its own ("99>}"). */
TEST(step_moves_the_boxes_of_the_default_model) {
    struct train_options o = rig_lora("cpu");
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_loss first, last;
    o.model = "models/lamm-mini";
    o.rows = 600;
    o.box_l1 = 5;
    o.box_giou = 2;
    o.rate.peak = o.rate.end = 3e-3;
    rig_empty(r, 2);
    rig_talk(r, SAMPLE_REFER, 1, "[refer] give me the location of a dog", "{<62><63><100><99>}");
    rig_talk(r, SAMPLE_REFER, 1, "[refer] give me the location of a cat", "{<0><3><40><41>}");
    struct train *t = rig_open(&o, 1);
    CHECK_EQ(train_judge(t, &r->s, &first, NULL), 0);
    CHECK(first.box > 0);
    for (int i = 0; i < 3; i++) {
        rig_add(t, &r->s, NULL);
        (void)rig_step(t);
    }
    CHECK_EQ(train_judge(t, &r->s, &last, NULL), 0);
    if (!(last.box < first.box)) printf("%g -> %g\n", first.box, last.box);
    CHECK(last.box < first.box);
    train_close(t);
    mem_free(r);
}

/* ---- what changes weights, and what doesn't ---- */

struct small {
    struct train *t;
    struct rig_sample *r;
    struct train_loss loss;
};

static struct small small_open(const struct train_options *o, int samples) {
    struct small s = {.t = rig_open(o, samples), .r = mem_must(sizeof *s.r)};
    rig_mixed(s.r, 4);
    s.r->s.n_talks = 3;
    return s;
}

static void small_close(struct small *s) {
    train_close(s->t);
    mem_free(s->r);
}

static float *masters(struct train *t) { return rig_floats(t, t->params.value, t->params.floats); }

TEST(step_judging_advances_nothing) {
    struct train_options o = rig_lora("cpu");
    o.lora.dropout = 0.3f;
    struct small s = small_open(&o, 2), other = small_open(&o, 2);
    size_t bytes = s.t->params.floats * sizeof(float);
    for (int i = 0; i < 2; i++) {
        struct train_loss a, b;
        for (int k = 0; k < 2; k++) {
            CHECK_EQ(train_judge(s.t, &s.r->s, &a, NULL), 0);
            rig_add(s.t, &s.r->s, NULL);
            CHECK_EQ(train_judge(s.t, &s.r->s, &b, NULL), 0);
            CHECK(a.sum[SAMPLE_PIXELS] == b.sum[SAMPLE_PIXELS]); /* nothing falls out of it, too */
            rig_add(other.t, &s.r->s, NULL);
        }
        (void)rig_step(s.t);
        (void)rig_step(other.t);
    }
    float *a = masters(s.t), *b = masters(other.t);
    CHECK_MEM(a, b, bytes);
    mem_free(a);
    mem_free(b);
    small_close(&s);
    small_close(&other);
}

/* Breaks the model: a weight that every loss goes through isn't finite. */
static void poison(struct train *t, float value) {
    const struct param *p = params_find(&t->params, "model.norm.weight");
    t->ops->put(t->k, kern_at(t->params.value, p->at * sizeof value), &value, sizeof value);
    params_settle(t);
}

TEST(step_without_a_finite_loss_is_skipped_and_ten_are_the_end) {
    struct train_options o = rig_options("cpu");
    struct small s = small_open(&o, 1);
    struct train_result result;
    struct err e = {0};
    size_t bytes = s.t->params.floats * sizeof(float);
    poison(s.t, NAN);
    for (int i = 0; i < 9; i++) {
        rig_add(s.t, &s.r->s, NULL);
        CHECK(rig_step(s.t).is_skipped);
    }
    poison(s.t, 1); /* it is well again, and the counting begins anew */
    float *before = masters(s.t);
    rig_add(s.t, &s.r->s, NULL);
    CHECK(!rig_step(s.t).is_skipped);
    float *after = masters(s.t);
    CHECK(memcmp(before, after, bytes) != 0);
    CHECK_EQ(s.t->updates, 1);
    poison(s.t, INFINITY);
    for (int i = 0; i < 10; i++) {
        rig_add(s.t, &s.r->s, NULL);
        CHECK_EQ(train_step(s.t, &result, &e), i < 9 ? 0 : E_FORMAT);
        CHECK(result.is_skipped);
    }
    CHECK_HAS(e.text, "diverged");
    CHECK_EQ(train_steps(s.t), 20);
    mem_free(before);
    mem_free(after);
    small_close(&s);
}

TEST(step_of_skipped_samples_changes_nothing) {
    struct train_options o = rig_options("cpu");
    struct small s = small_open(&o, 2);
    size_t bytes = s.t->params.floats * sizeof(float);
    float *before = masters(s.t);
    for (int i = 0; i < 12; i++) { /* not ten in a row that diverged */
        CHECK_EQ(train_add(s.t, NULL, &s.loss, NULL), 0);
        CHECK_EQ(train_add(s.t, NULL, &s.loss, NULL), 0);
        CHECK(rig_step(s.t).is_skipped);
    }
    float *after = masters(s.t);
    CHECK_MEM(before, after, bytes);
    mem_free(before);
    mem_free(after);
    small_close(&s);
}

TEST(step_wants_its_number_of_samples) {
    struct train_options o = rig_options("cpu");
    struct small s = small_open(&o, 2);
    struct train_result result;
    struct err e = {0}, more = {0};
    rig_add(s.t, &s.r->s, NULL);
    CHECK_EQ(train_step(s.t, &result, &e), E_INVALID);
    CHECK_HAS(e.text, "2 samples, not 1");
    rig_add(s.t, &s.r->s, NULL);
    CHECK_EQ(train_add(s.t, &s.r->s, &s.loss, &more), E_INVALID);
    (void)rig_step(s.t);
    small_close(&s);
}

TEST(step_rate_warms_up_and_falls) {
    struct train_options o = rig_lora("cpu");
    o.rate = (struct train_rate){.start = 1, .peak = 3, .end = 1, .warmup = 2, .steps = 4};
    struct small s = small_open(&o, 1);
    double want[] = {1, 2, 2, 1 + (1 - sqrt(0.5)), 1, 1};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        CHECK_EQ(train_add(s.t, NULL, &s.loss, NULL), 0);
        CHECK_NEAR(rig_step(s.t).rate, want[i], 1e-12);
    }
    small_close(&s);
}

/* One update by hand: clipping, decay of matrices alone, the tower's rate, the average. */
TEST(step_updates_as_adamw_says) {
    struct train_options o = rig_options("cpu");
    o.clip = 0.5;
    o.decay = 0.1;
    o.tower_rate = 0.25;
    o.average = 0.75;
    struct small s = small_open(&o, 1);
    struct params *p = &s.t->params;
    rig_add(s.t, &s.r->s, &s.loss);
    float *before = masters(s.t), *grad = rig_grad(s.t);
    struct train_result result = rig_step(s.t);
    float *after = masters(s.t), *average = rig_floats(s.t, p->average, p->floats);
    double weight = s.loss.weight[SAMPLE_PIXELS], sum = 0;
    for (size_t i = 0; i < p->floats; i++)
        sum += (double)grad[i] * (double)grad[i];
    CHECK_NEAR(result.norm, sqrt(sum) / weight, 1e-6 * result.norm);
    CHECK(result.norm > o.clip);
    for (int i = 0; i < p->n; i++) {
        const struct param *at = &p->at[i];
        double rate = o.rate.peak * (at->is_tower ? 0.25 : 1);
        CHECK_EQ(at->is_tower, !strncmp(at->name, "vis", 3) || !strncmp(at->name, "ln_", 3));
        CHECK_EQ(at->decays, at->ndim > 1);
        for (size_t k = at->at; k < at->at + at->n; k++) {
            double g = (double)grad[k] / weight * o.clip / result.norm;
            double step = fabs(g) > 0 ? g / (fabs(g) + 1e-8) : 0, was = (double)before[k];
            double want = was * (1 - rate * (at->decays ? o.decay : 0)) - rate * step;
            CHECK_NEAR((double)after[k], want, 2e-7 * (1 + fabs(was)));
            CHECK_NEAR(average[k], 0.75 * was + 0.25 * (double)after[k], 2e-7 * (1 + fabs(was)));
        }
    }
    void *all[] = {before, grad, after, average};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        mem_free(all[i]);
    small_close(&s);
}

TEST(step_judges_by_the_average_when_it_is_used) {
    struct train_options o = rig_options("cpu");
    o.average = 0.5;
    struct small s = small_open(&o, 1);
    struct train_loss first, newest, average, again;
    struct err e = {0};
    CHECK_EQ(train_judge(s.t, &s.r->s, &first, &e), 0);
    rig_add(s.t, &s.r->s, NULL);
    (void)rig_step(s.t);
    CHECK_EQ(train_judge(s.t, &s.r->s, &newest, &e), 0);
    CHECK_EQ(train_use_average(s.t, 1, &e), 0);
    CHECK_EQ(train_judge(s.t, &s.r->s, &average, &e), 0);
    CHECK_EQ(train_add(s.t, &s.r->s, &again, &e), E_INVALID);
    e = (struct err){0};
    CHECK_EQ(train_use_average(s.t, 0, &e), 0);
    CHECK_EQ(train_judge(s.t, &s.r->s, &again, &e), 0);
    CHECK(rig_mean(&again) == rig_mean(&newest));
    CHECK(rig_mean(&newest) < rig_mean(&average));
    CHECK(rig_mean(&average) < rig_mean(&first));
    small_close(&s);
}
