/* test_plan.c - what `lammd train --plan --json` says, as jobs/ reads it. */
#include <string.h>

#include "jobs/state.h"
#include "tests/check.h"

static struct plan read_plan(const char *text) {
    struct plan p;
    CHECK_EQ(plan_read(text, strlen(text), &p), 0);
    return p;
}

TEST(plan_is_read) {
    struct plan p = read_plan("{\"status\":\"fits\",\"text\":\"\",\"stages\":["
                              "{\"memory\":{\"weights\":9,\"together\":30},\"available\":40},"
                              "{\"memory\":{\"together\":20},\"available\":null}]}");
    CHECK(p.takes == 30 && p.lacks == 0);
    CHECK_STR(p.text, "");
    p = read_plan("{\"text\":\"too much\",\"stages\":["
                  "{\"memory\":{\"together\":30},\"available\":29},"
                  "{\"memory\":{\"together\":25},\"available\":20},"
                  "{\"memory\":{\"together\":50},\"available\":60}]}");
    CHECK(p.takes == 50 && p.lacks == 5);
    CHECK_STR(p.text, "too much");
    p = read_plan("{\"stages\":[]}");
    CHECK(p.takes == 0 && p.lacks == 0);
    p = read_plan("{\"text\":7,\"stages\":[7,{\"memory\":[]},{\"memory\":{\"together\":-1}},"
                  "{\"memory\":{\"together\":1.5},\"available\":0}]}");
    CHECK(p.takes == 0 && p.lacks == 0);
}

TEST(plan_is_none) {
    static const char *const bad[] = {
        "",
        "  together  78.0 MiB",
        "[]",
        "{}",
        "{\"stages\"",
        "{\"stages\":{}}",
        "[[[[[[[[[",
        "{\"stages\":[[[[[[[[[[[]]]]]]]]]]]}",
    };
    struct plan p;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_EQ(plan_read(bad[i], strlen(bad[i]), &p), E_FORMAT);
}
