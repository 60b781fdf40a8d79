/* test_head.c - heads: made before and after the plan, refused for what is no token, used side by
 * side. */
#include "tests/unit/engine/model/model_rig.h"

TEST(model_heads) {
    struct rig r;
    struct err e = {0};
    struct model_head *h;
    rig_open(&r, "ref", RIG_TINY);
    int vocab = model_config(r.m)->text.vocab_size;
    CHECK_EQ(model_head_new(r.m, (int32_t[]){0, vocab}, 2, &h, &e), E_INVALID);
    CHECK(h == NULL);
    CHECK_EQ(model_head_new(r.m, (int32_t[]){-1}, 1, &h, NULL), E_INVALID);
    CHECK_EQ(model_head_new(r.m, (int32_t[]){1}, 0, &h, NULL), E_INVALID);
    for (uint64_t n = 1; n <= 2; n++) {
        mem_fail_at(n);
        CHECK_EQ(model_head_new(r.m, (int32_t[]){1}, 1, &h, NULL), E_NOMEM);
        mem_fail_at(0);
    }
    /* A head made before the plan, a wider one after it, both in use. */
    struct rig_pass *p = mem_must(sizeof *p);
    CHECK_EQ(model_head_new(r.m, (int32_t[]){9, 5}, 2, &h, NULL), 0);
    struct model_plan plan = {.rows_max = RIG_ROWS, .picks_max = 2, .kv_slots = 64, .feats_max = 1};
    CHECK_EQ(model_plan(r.m, &plan, &e), 0);
    int32_t *ids = mem_must((size_t)vocab * sizeof *ids);
    for (int i = 0; i < vocab; i++)
        ids[i] = i;
    CHECK_EQ(model_head_new(r.m, ids, vocab, &r.head, &e), 0);
    r.ids = r.cols = ids;
    r.col_off[1] = vocab;
    rig_encode(&r, 0);
    struct rig_prompt t = rig_tiny_prompt(&r);
    float *full = rig_plain(&r, p, &t);
    r.col_off[1] = 2;
    p->pick_group.head = h;
    rig_begin(&r, p);
    p->pick_group.head = h;
    rig_chunk(p, &t, 0, t.n, 0);
    rig_pick(p, t.n - 1);
    float *two = rig_run(&r, p);
    CHECK_NEAR(two[0], full[9] / (full[9] + full[5]), 1e-5);
    mem_free(two);
    mem_free(full);
    mem_free(p);
    r.cols = NULL;
    model_head_free(r.m, h);
    rig_close(&r);
}
