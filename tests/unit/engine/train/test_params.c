/* test_params.c - the list of what learns, and its places. */
#include "tests/unit/engine/train/train_rig.h"

static void check_places(const struct params *p) {
    size_t floats = 0, groups = 0;
    for (int i = 0; i < p->n; i++) {
        const struct param *at = &p->at[i];
        size_t n = 1;
        for (int k = 0; k < at->ndim; k++)
            n *= (size_t)at->shape[k];
        CHECK_EQ(at->n, n);
        floats += n;
        for (int k = 0; k < i; k++)
            CHECK(at->at >= p->at[k].at + p->at[k].n || p->at[k].at >= at->at + n);
        int homes = 0;
        for (int g = 0; g < p->n_groups; g++) {
            const struct param_group *group = &p->groups[g];
            if (at->at < group->at || at->at + n > group->at + group->n) continue;
            CHECK_EQ(group->decays, at->decays);
            CHECK_EQ(group->is_tower, at->is_tower);
            CHECK_EQ(group->is_dense, at->is_dense);
            homes++;
        }
        CHECK_EQ(homes, 1);
        CHECK(params_find(p, at->name) == at);
    }
    for (int g = 0; g < p->n_groups; g++)
        groups += p->groups[g].n;
    CHECK_EQ(floats, p->floats);
    CHECK_EQ(groups, p->floats);
}

TEST(params_lie_side_by_side_in_groups) {
    struct model_config c;
    CHECK_EQ(model_read_config(RIG_TINY, &c, NULL), 0);
    for (int i = 0; i < 12; i++) {
        struct train_options o = i % 3 == 1 ? rig_lora("cpu") : rig_options("cpu");
        if (i % 3 == 2) o.text = TRAIN_TEXT_FROZEN;
        o.tower = i / 3 % 2;
        o.connector = i / 6;
        o.dense[i % TRAIN_DENSE] = (float)(i % 2);
        struct params p;
        CHECK_EQ(params_list(&p, &c, &o, NULL), 0);
        check_places(&p);
        if (o.text == TRAIN_TEXT_FULL) { /* one product for what is one matrix */
            const struct params_layer *l = &p.map.layers[1];
            CHECK_EQ(p.at[l->k].at, p.at[l->q].at + p.at[l->q].n);
            CHECK_EQ(p.at[l->v].at, p.at[l->k].at + p.at[l->k].n);
            CHECK_EQ(p.at[l->up].at, p.at[l->gate].at + p.at[l->gate].n);
        }
        if (o.text == TRAIN_TEXT_LORA) {
            const struct param *b = params_find(&p, "model.layers.1.mlp.down_proj.lora_B.weight");
            CHECK(b && b->is_lora && b->decays);
            CHECK_NEAR(b->scale, 3, 1e-6);
            CHECK_EQ(b->shape[0], 64);
            CHECK_EQ(b->shape[1], 4);
        }
        params_clear(&p);
    }
}

TEST(params_of_a_lora_are_scaled_by_its_rank) {
    CHECK_NEAR(params_scale(&(struct train_lora){.r = 16, .alpha = 8}), 0.5, 1e-7);
    CHECK_NEAR(params_scale(&(struct train_lora){.r = 16, .alpha = 8, .is_rslora = 1}), 2, 1e-7);
}

/* A new LoRA changes nothing, and its A depends on the seed alone. */
TEST(params_of_a_new_lora_change_nothing) {
    struct train_options with = rig_lora("cpu"), without = with;
    struct rig_sample *r = mem_must(sizeof *r);
    struct train *t[3];
    struct train_loss a, b;
    rig_mixed(r, 3);
    without.text = TRAIN_TEXT_FROZEN;
    CHECK_EQ(train_open(&with, 1, &t[0], NULL), 0);
    with.tower = 1;
    CHECK_EQ(train_open(&with, 1, &t[1], NULL), 0);
    CHECK_EQ(train_open(&without, 1, &t[2], NULL), 0);
    CHECK_EQ(train_judge(t[0], &r->s, &a, NULL), 0);
    CHECK_EQ(train_judge(t[2], &r->s, &b, NULL), 0);
    CHECK(rig_mean(&a) == rig_mean(&b));
    const char *name = "model.layers.0.self_attn.q_proj.lora_A.weight";
    const struct param *p = params_find(&t[0]->params, name), *q = params_find(&t[1]->params, name);
    float *x = rig_floats(t[0], kern_at(t[0]->params.value, p->at * sizeof(float)), p->n);
    float *y = rig_floats(t[1], kern_at(t[1]->params.value, q->at * sizeof(float)), q->n);
    CHECK_MEM(x, y, p->n * sizeof *x);
    CHECK(x[0] != x[1]);
    for (int i = 0; i < 3; i++)
        train_close(t[i]);
    mem_free(x);
    mem_free(y);
    mem_free(r);
}
