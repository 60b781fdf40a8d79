/* gate.json is taken as it is promised, and in no other way. */
#include "api/store/verdict.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/check.h"

#define ROW_FIELDS                                                                               \
    "\"task\":\"refer\",\"metric\":\"P@0.5\",\"higher_is_better\":true,\"n\":64,\"before\":0.4," \
    "\"after\":0.6,\"difference\":0.2,\"low\":0.1,\"high\":0.3,\"decision\":\"better\""
#define ROW "{" ROW_FIELDS "}"
/* What `lammd train` says beyond that. */
#define MORE "{\"at_chance\":false,\"p_worse\":0.25," ROW_FIELDS "}"
#define GATE(decision, tasks)                                                     \
    "{\"version\":1,\"decision\":\"" decision "\",\"items\":64,\"tasks\":[" tasks \
    "],\"battery\":[],\"why\":\"because\"}"

TEST(verdict_reads_each_decision) {
    static const char *const texts[] = {GATE("better", ROW), GATE("not_worse", MORE),
                                        GATE("worse", ROW "," ROW), GATE("not_decided", "")};
    for (int i = 0; i < 4; i++) {
        struct verdict g;
        struct err e = {0};
        CHECK_EQ(verdict_parse(texts[i], strlen(texts[i]), &g, &e), 0);
        CHECK_EQ(g.decision, i);
        CHECK_STR(g.why, "because");
        CHECK(g.root);
        verdict_clear(&g);
        CHECK(!g.root);
    }
}

static void refuse(const char *text, const char *piece) {
    struct verdict g;
    struct err e = {0};
    CHECK_EQ(verdict_parse(text, strlen(text), &g, &e), E_FORMAT);
    CHECK_HAS(e.text, piece);
    CHECK(!g.root);
}

/* `from` of a good gate becomes `to`. */
static void refuse_with(const char *from, const char *to, const char *piece) {
    static const char good[] = GATE("better", ROW);
    char text[2000];
    const char *at = strstr(good, from);
    CHECK(at);
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
    refuse(text, piece);
}

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

TEST(verdict_says_what_was_judged) {
    static const char text[] =
        "{\"version\":1,\"decision\":\"better\",\"items\":64,\"tasks\":[],\"battery\":[],"
        "\"why\":\"because\",\"judged_by\":{\"base\":\"" HEX64 "\",\"adapter\":\"" HEX64
        "\",\"battery_seed\":18,\"validation\":[{\"digest\":\"" HEX64 "\",\"share\":0.2}]}}";
    struct verdict g;
    struct err e = {0};
    CHECK_EQ(verdict_parse(text, sizeof(text) - 1, &g, &e), 0);
    CHECK_STR(g.adapter, HEX64);
    verdict_clear(&g);
    CHECK_EQ(verdict_parse(GATE("better", ""), strlen(GATE("better", "")), &g, &e), 0);
    CHECK_STR(g.adapter, "");
    verdict_clear(&g);
}

TEST(verdict_names_what_is_wrong_with_what_was_judged) {
    static const char *const cases[][2] = {
        {"7", "judged_by: it must be an object"},
        {"{\"base\":\"x\"}", "base must be a digest"},
        {"{\"adapter\":7}", "adapter must be a digest"},
        {"{\"battery_seed\":0.5}", "battery_seed"},
        {"{\"who\":1}", "who is not known"},
        {"{\"validation\":{}}", "validation must be a list"},
        {"{\"validation\":[7]}", "validation[0]: it must be an object"},
        {"{\"validation\":[{\"digest\":\"" HEX64 "\"}]}", "share must be a number"},
        {"{\"validation\":[{\"digest\":\"x\",\"share\":1}]}", "digest must be"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char to[300];
        snprintf(to, sizeof(to), "\"battery\":[],\"judged_by\":%s", cases[i][0]);
        refuse_with("\"battery\":[]", to, cases[i][1]);
    }
}

TEST(verdict_names_the_field_that_is_wrong) {
    refuse("", "JSON");
    refuse("[]", "object");
    refuse_with("\"version\":1", "\"version\":2", "version");
    refuse_with("\"items\":64", "\"items\":-1", "items");
    refuse_with("\"items\":64", "\"items\":1.5", "items");
    refuse_with("\"because\"", "7", "why");
    refuse_with("\"battery\":[]", "\"battery\":{}", "battery");
    refuse_with("\"battery\":[]", "\"battery\":[7]", "battery[0]");
    refuse_with("\"battery\":[]", "\"battery\":[],\"more\":\"x\"", "more must");
    refuse_with("\"n\":64", "\"n\":\"64\"", "tasks[0]: n must");
    refuse_with("\"low\":0.1", "\"low\":null", "tasks[0]: low");
    refuse_with("\"low\":0.1", "\"low\":0.1,\"more\":null", "tasks[0]: more must");
    refuse_with("\"higher_is_better\":true", "\"higher_is_better\":1", "higher_is_better");
    refuse_with("\"decision\":\"better\",\"items\"", "\"decision\":\"great\",\"items\"",
                "decision");
    refuse_with("\"task\":\"refer\"", "\"task\":7", "tasks[0]: task");
}

TEST(verdict_has_limits) {
    struct verdict g;
    struct err e = {0};
    char *text = calloc(1, VERDICT_BYTES_MAX + 2);
    memset(text, ' ', VERDICT_BYTES_MAX + 1);
    CHECK_EQ(verdict_parse(text, VERDICT_BYTES_MAX + 1, &g, &e), E_TOO_BIG);
    e = (struct err){0};
    memset(text, '[', 1000);
    CHECK_EQ(verdict_parse(text, 1000, &g, &e), E_TOO_BIG);
    free(text);
    e = (struct err){0};
    CHECK_EQ(verdict_read("/tmp", &g, &e), E_NOT_FOUND);
}
