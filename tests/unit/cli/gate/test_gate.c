/* test_gate.c - what rows say together. */
#include "cli/gate/gate.h"

#include <stdio.h>
#include <string.h>

#include "tests/check.h"

static struct gate_row row(enum sample_task task, uint32_t n, double p_worse, double p_better) {
    return (struct gate_row){.task = task,
                             .available = n,
                             .result = {.n = n,
                                        .clusters = n,
                                        .before = 40,
                                        .after = 50,
                                        .p_worse = p_worse,
                                        .p_better = p_better}};
}

/* A gate of one task and two rows of the battery, the first of which may be worse. */
static struct gate_report report(struct gate_row of_data, double battery_worse) {
    struct gate_report r = {.items = of_data.result.n, .n = {1, 2}};
    r.rows[GATE_DATA][0] = of_data;
    r.rows[GATE_BATTERY][0] = row(SAMPLE_MASK, 64, battery_worse, 1);
    r.rows[GATE_BATTERY][1] = row(SAMPLE_VQA, 192, 1, 1);
    gate_decide(&r);
    return r;
}

TEST(gate_decides) {
    struct gate_report r = report(row(SAMPLE_REFER, 100, 1, 0.001), 1);
    CHECK_EQ(r.decision, GATE_BETTER);
    CHECK_HAS(r.why, "refer is better: p_at_05 was 40.00 and is 50.00");
    r = report(row(SAMPLE_REFER, 100, 1, 0.2), 1);
    CHECK_EQ(r.decision, GATE_NOT_WORSE);
    r = report(row(SAMPLE_REFER, 100, 0.001, 1), 1);
    CHECK_EQ(r.decision, GATE_WORSE);
    CHECK_EQ(r.rows[GATE_DATA][0].decision, GATE_WORSE);
}

TEST(gate_battery_can_refuse) {
    struct gate_report r = report(row(SAMPLE_REFER, 100, 1, 0.001), 0.001);
    CHECK_EQ(r.decision, GATE_WORSE);
    CHECK_HAS(r.why, "the battery's mask is worse");
    CHECK_EQ(r.rows[GATE_DATA][0].decision, GATE_BETTER); /* and still said */
    r = report(row(SAMPLE_REFER, 100, 1, 0.001), 0.02);   /* of two rows: over 0.0125 */
    CHECK_EQ(r.decision, GATE_BETTER);
}

TEST(gate_needs_enough) {
    struct gate_report r = report(row(SAMPLE_REFER, GATE_ITEMS_MIN - 1, 1, 0.001), 1);
    CHECK_EQ(r.decision, GATE_NOT_DECIDED);
    CHECK_HAS(r.why, "29 questions were kept apart to judge by; 30 are needed");
    r = report(row(SAMPLE_REFER, GATE_ITEMS_MIN, 1, 0.001), 1);
    CHECK_EQ(r.decision, GATE_BETTER);
    struct gate_row few = row(SAMPLE_REFER, 100, 0.001, 1); /* of seven pictures */
    few.result.clusters = GATE_PICTURES_MIN - 1;
    r = report(few, 1);
    CHECK_EQ(r.decision, GATE_NOT_DECIDED);
    CHECK_EQ(r.rows[GATE_DATA][0].decision, GATE_NOT_DECIDED);
}

TEST(gate_chance_decides_nothing) {
    struct gate_report r = {.items = 100, .n = {1, 1}};
    r.rows[GATE_DATA][0] = row(SAMPLE_REFER, 100, 1, 1);
    r.rows[GATE_BATTERY][0] = row(SAMPLE_VQA, 192, 0.0001, 1);
    r.rows[GATE_BATTERY][0].at_chance = 1;
    gate_decide(&r);
    CHECK_EQ(r.decision, GATE_NOT_WORSE);
    CHECK_EQ(r.rows[GATE_BATTERY][0].decision, GATE_NOT_DECIDED);
}

TEST(gate_report_is_a_table) {
    struct gate_report r = report(row(SAMPLE_REFER, 100, 1, 0.001), 1);
    struct buf b;
    buf_init(&b, 1 << 16);
    gate_table(&r, &b);
    CHECK_HAS((const char *)b.p, "| refer | p_at_05 | 100, 100 | 40.00 | 50.00 | ");
    CHECK_HAS((const char *)b.p, "| mask, battery | ciou | 64, 64 |");
    buf_clear(&b);
}
