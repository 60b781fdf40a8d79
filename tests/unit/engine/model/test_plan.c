/* test_plan.c - plans that can't be are refused, and model_plan_bytes counts what the device is
 * asked for. */
#include "tests/unit/engine/model/model_rig.h"

TEST(model_plans_that_cannot_be) {
    static const struct {
        struct model_plan plan;
        int code;
    } cases[] = {
        {{.rows_max = 0, .picks_max = 1, .kv_slots = 1, .feats_max = 1}, E_INVALID},
        {{.rows_max = 1, .picks_max = -1, .kv_slots = 1, .feats_max = 1}, E_INVALID},
        {{.rows_max = 1, .picks_max = 1, .kv_slots = 0, .feats_max = 1}, E_INVALID},
        {{.rows_max = 1, .picks_max = 1, .kv_slots = 1, .feats_max = 0}, E_INVALID},
        {{.rows_max = 1, .picks_max = 1, .kv_slots = 1, .feats_max = 1, .tails_max = -1},
         E_INVALID},
        {{.rows_max = 1 << 30, .picks_max = 1, .kv_slots = 1, .feats_max = 1}, E_TOO_BIG},
        {{.rows_max = 1, .picks_max = 1, .kv_slots = 2147483647, .feats_max = 1}, E_TOO_BIG},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig r;
        struct err e = {0};
        rig_open(&r, "ref", RIG_TINY);
        CHECK_EQ(model_plan(r.m, &cases[i].plan, &e), cases[i].code);
        CHECK_HAS(e.text, "plan: ");
        rig_close(&r);
    }
    int rc = E_NOMEM; /* memory runs out at every allocation in turn */
    for (uint64_t n = 1; rc; n++) {
        struct rig r;
        struct model_plan plan = {.rows_max = 8, .picks_max = 8, .kv_slots = 8, .feats_max = 1};
        rig_open(&r, "ref", RIG_TINY);
        mem_fail_at(n);
        rc = model_plan(r.m, &plan, NULL);
        mem_fail_at(0);
        CHECK(rc == E_NOMEM || (rc == 0 && n > 5));
        rig_close(&r);
    }
}

/* What is counted beforehand is what is allocated. */
TEST(model_plan_bytes_are_those_of_the_plan) {
    static const struct model_plan plans[] = {
        {.rows_max = 8, .picks_max = 8, .kv_slots = 8, .feats_max = 1},
        {.rows_max = 3, .picks_max = 40, .kv_slots = 1000, .feats_max = 5},
        {.rows_max = 100,
         .picks_max = 1,
         .kv_slots = 70,
         .feats_max = 2,
         .spans_max = 7,
         .tails_max = 9,
         .sets_max = 11,
         .cols_max = 13},
    };
    for (size_t i = 0; i < ARRAY_LEN(plans); i++) {
        struct rig r;
        struct kern_stats before, after;
        struct model_head *h;
        rig_open(&r, "ref", RIG_TINY);
        CHECK_EQ(model_head_new(r.m, (int32_t[]){1, 2, 3}, 3, &h, NULL), 0);
        uint64_t bytes = model_plan_bytes(r.m, &plans[i]);
        struct model_plan less = plans[i];
        less.kv_slots = 0;
        uint64_t pool = bytes - model_plan_bytes(r.m, &less);
        size_t slot = model_slot_bytes(model_config(r.m), r.ops->pool_dtype(r.k));
        CHECK_EQ(pool, slot * (size_t)plans[i].kv_slots);
        r.ops->stats(r.k, &before);
        CHECK_EQ(model_plan(r.m, &plans[i], NULL), 0);
        r.ops->stats(r.k, &after);
        CHECK_EQ(after.live_bytes - before.live_bytes, bytes);
        model_head_free(r.m, h);
        rig_close(&r);
    }
    struct rig r;
    rig_open(&r, "ref", RIG_TINY);
    const struct model_plan huge = {
        .rows_max = 1 << 21, .picks_max = 1, .kv_slots = 1, .feats_max = 1};
    CHECK(model_plan_bytes(r.m, &huge) == UINT64_MAX);
    rig_close(&r);
}
