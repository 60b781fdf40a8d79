/* test_report.c - sums by group, and where the report's numbers go. */
#include "cli/eval/eval.h"

#include <stdio.h>

#include "kernels/base/mem.h"
#include "tests/check.h"

TEST(eval_groups_add_up) {
    struct eval_groups *g = mem_must(sizeof(*g));
    const double one[2] = {1, 0.5};
    eval_count(g, "b", one, 2);
    eval_count(g, "a", one, 2);
    eval_count(g, "b", one, 2);
    eval_count(g, NULL, one, 2);
    CHECK_EQ(g->n, 2);
    CHECK_STR(g->at[0].name, "b");
    CHECK_EQ(g->at[0].n, 2);
    CHECK_NEAR(g->at[0].sum[1], 1, 0);
    CHECK_EQ(g->all.n, 4);
    CHECK_NEAR(g->all.sum[0], 4, 0);
    mem_free(g);
}

TEST(eval_groups_beyond_the_last_are_others) {
    static char names[EVAL_GROUPS + 5][8];
    struct eval_groups *g = mem_must(sizeof(*g));
    const double one = 1;
    for (int i = 0; i < EVAL_GROUPS + 5; i++) {
        snprintf(names[i], sizeof(names[i]), "%d", i);
        eval_count(g, names[i], &one, 1);
    }
    CHECK_EQ(g->n, EVAL_GROUPS);
    CHECK_STR(g->at[EVAL_GROUPS - 2].name, "254");
    CHECK_STR(g->at[EVAL_GROUPS - 1].name, "other");
    CHECK_EQ(g->at[EVAL_GROUPS - 1].n, 6);
    CHECK_EQ(g->all.n, EVAL_GROUPS + 5);
    mem_free(g);
}

TEST(eval_items_come_in_any_order) {
    struct eval v = {.items = json_array(), .report = json_object()};
    eval_item(&v, 2, json_integer(22));
    eval_item(&v, 0, json_integer(20));
    CHECK_EQ(json_array_size(v.items), 3);
    CHECK_EQ(json_integer_value(json_array_get(v.items, 2)), 22);
    CHECK_EQ(json_integer_value(json_array_get(v.items, 0)), 20);
    CHECK(json_is_null(json_array_get(v.items, 1)));
    eval_set(v.report, "x", 1.23456789);
    CHECK_NEAR(json_real_value(json_object_get(v.report, "x")), 1.2346, 1e-12);
    json_decref(v.items);
    json_decref(v.report);
}
