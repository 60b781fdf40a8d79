/* test_size.c - engines under a cap of device memory: sizes that are 0 shrink and the answers
 * stay the same; given sizes are refused with the need; below the least, nothing opens and
 * nothing stays. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/picture/picture.h"
#include "engine/unit/unit.h"
#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/engine/eng_rig.h"

static int open_with(struct eng_options o, uint64_t cap, struct eng **e, struct err *err) {
    *err = (struct err){0};
    o.device = eng_rig_backend();
    o.threads = 1;
    o.memory = cap;
    return eng_open(&o, e, err);
}

/* The smallest cap, to 4 KiB, with which it opens. */
static uint64_t least_cap(const char *dir) {
    uint64_t low = 0, high = (uint64_t)1 << 30;
    while (high - low > 4096) {
        uint64_t middle = low + (high - low) / 2;
        struct eng *e = NULL;
        struct err err;
        struct mem_stats before, after;
        mem_stats(&before);
        int rc = open_with((struct eng_options){.model = dir}, middle, &e, &err);
        CHECK(rc == 0 || rc == E_NOMEM);
        CHECK_EQ(rc == 0, e != NULL);
        CHECK_EQ(err.code, rc);
        eng_close(e);
        mem_stats(&after);
        CHECK_EQ(after.live_bytes, before.live_bytes);
        *(rc ? &low : &high) = middle;
    }
    return high;
}

/* Rows and slots are fewer under the cap, and it holds. */
static void check_smaller(const char *dir, uint64_t cap) {
    struct kern_choice c;
    struct unit *roomy, *tight;
    struct kern_stats s;
    struct eng_options o = {.model = dir, .threads = 1};
    CHECK_EQ(kern_choose(eng_rig_backend(), NULL, &c, NULL), 0);
    CHECK_EQ(unit_open(&o, c.ops, &roomy, NULL), 0);
    o.memory = cap;
    CHECK_EQ(unit_open(&o, c.ops, &tight, NULL), 0);
    CHECK(tight->size.rows < roomy->size.rows);
    CHECK(tight->size.range_slots + tight->size.single_slots <
          roomy->size.range_slots + roomy->size.single_slots);
    tight->ops->stats(tight->kern, &s);
    CHECK(s.peak_bytes <= cap);
    unit_close(tight);
    unit_close(roomy);
}

TEST_LIMIT(size_shrinks_to_the_cap_and_answers_the_same, 120) {
    static const char *const dirs[] = {TINY, TINY_DIGITS};
    for (int m = 0; m < 2; m++) {
        uint64_t least = least_cap(dirs[m]);
        struct eng_answer want[ENG_RIG_ALL], got[ENG_RIG_ALL];
        struct eng *roomy = eng_rig_open(&(struct eng_options){.model = dirs[m]}), *tight;
        struct err err;
        struct eng_picture *picture = eng_rig_picture(roomy, 7);
        eng_rig_ask_all(roomy, picture, ENG_MODE, 1, want);
        eng_picture_put(picture);
        CHECK_EQ(open_with((struct eng_options){.model = dirs[m]}, least, &tight, &err), 0);
        if (!strcmp(eng_rig_backend(), "cpu"))
            CHECK_HAS(eng_info(tight)->backend, "weights as stored");
        CHECK_STR(eng_info(tight)->digest, eng_info(roomy)->digest);
        check_smaller(dirs[m], least);
        for (int i = 0; i < 3; i++) { /* more pictures than the pool holds stems */
            picture = eng_rig_picture(tight, 7 + i);
            eng_rig_ask_all(tight, picture, ENG_MODE, 1, got);
            eng_picture_put(picture);
        }
        picture = eng_rig_picture(tight, 7);
        eng_rig_ask_all(tight, picture, ENG_MODE, 1, got);
        CHECK(eng_rig_same(got, want, ENG_RIG_ALL));
        eng_picture_put(picture);
        eng_close(tight);
        eng_close(roomy);
    }
}

static void stats_of_a_host(struct kern *k, struct kern_stats *out) {
    const struct kern_ops *ops;
    CHECK_EQ(kern_find("cpu", &ops, NULL), 0);
    ops->stats(k, out);
    out->found_bytes = out->most_bytes;
    out->most_bytes = 0;
}

/* What is free on a host bounds sizes as a limit does. */
TEST(size_shrinks_to_what_a_host_has) {
    const struct kern_ops *cpu;
    struct unit *u;
    struct err err = {0};
    CHECK_EQ(kern_find("cpu", &cpu, NULL), 0);
    struct kern_ops ops = *cpu;
    ops.stats = stats_of_a_host;
    if (strcmp(eng_rig_backend(), "cpu") != 0) skip("another device");
    struct eng_options o = {.model = TINY, .threads = 1, .memory = least_cap(TINY)};
    int rc = unit_open(&o, &ops, &u, &err);
    if (rc) test_failed(__FILE__, __LINE__, "%s", err.text);
    CHECK_EQ(u->size.rows, unit_rows_least(u));
    unit_close(u);
}

/* What a refusal says would do, does. */
static void check_advice(struct eng_options o, uint64_t cap, const char *text) {
    static const char *const flags[] = {"--weights-as ", "--kv-as ", "--kv-tokens "};
    struct eng_options all = o, *tried = &all;
    int is_together = strstr(text, "together") != NULL, rc;
    for (int i = 0; i < 3; i++) {
        const char *at = strstr(text, flags[i]);
        char word[16];
        struct eng_options one = o;
        struct eng *e = NULL;
        struct err err;
        if (!at) continue;
        CHECK_EQ(sscanf(at + strlen(flags[i]), "%15[a-z0-9]", word), 1);
        if (!is_together) tried = &one;
        if (i == 0) tried->weights_as = word[0] == 'b' ? "bf16" : word[3] == '8' ? "int8" : "int4";
        if (i == 1) tried->kv_as = word[0] == 'b' ? "bf16" : "int8";
        if (i == 2) tried->kv_tokens = atoi(word);
        if (is_together && i < 2) continue;
        rc = open_with(*tried, cap, &e, &err);
        if (rc) test_failed(__FILE__, __LINE__, "%s: then %s", text, err.text);
        eng_close(e);
    }
}

/* What isn't refused before the weights are read opens. */
TEST(size_refuses_before_the_weights_are_read) {
    static const struct eng_options chosen[] = {
        {.model = TINY},
        {.model = TINY, .kv_tokens = 3000},
        {.model = TINY, .kv_as = "bf16", .weights_as = "int4"},
        {.model = TINY, .kv_as = "int8"},
        {.model = TINY, .rows = 300, .lanes = 100},
        {.model = TINY, .adapters = 2, .adapter_rank = 8, .adapter_overlays = 1}};
    for (size_t i = 0; i < ARRAY_LEN(chosen); i++) {
        int opened = 0, refused = 0;
        for (uint64_t cap = 1 << 18; opened < 3; cap = cap / 16 * 17) {
            struct eng *e = NULL;
            struct err err;
            int rc = open_with(chosen[i], cap, &e, &err);
            CHECK(rc == 0 || rc == E_NOMEM);
            if (rc) CHECK_HAS(err.text, "the weights take");
            if (rc) check_advice(chosen[i], cap, err.text);
            rc ? refused++ : opened++;
            eng_close(e);
        }
        CHECK(refused > 3);
    }
}

static int likes_2048(const struct kern *k) { return (void)k, 2048; }

/* Rows that nobody chose are the device's own; they shrink by halves, and lanes with them. */
TEST(size_takes_the_rows_that_the_device_likes) {
    static const struct {
        int rows_max, width, rows, lanes;
    } cases[] = {{0, 0, 2048, 2048},
                 {0, 64, 2048, 64},
                 {0, 3000, 3000, 3000},
                 {600, 0, 600, 600},
                 {4096, 3000, 4096, 3000}};
    struct kern_choice c;
    struct unit *u;
    CHECK_EQ(kern_choose(eng_rig_backend(), NULL, &c, NULL), 0);
    struct kern_ops ops = *c.ops;
    ops.pass_rows = likes_2048;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct eng_options o = {
            .model = TINY, .threads = 1, .rows = cases[i].rows, .lanes = cases[i].lanes};
        CHECK_EQ(unit_open(&o, &ops, &u, NULL), 0);
        CHECK_EQ(u->size.rows, cases[i].rows);
        CHECK_EQ(u->size.lanes, cases[i].lanes);
        unit_close(u);
    }
    int last = 2048, halved = 0;
    for (uint64_t cap = least_cap(TINY) * 32; halved < 2; cap = cap / 8 * 7) {
        struct eng_options o = {.model = TINY, .threads = 1, .memory = cap};
        CHECK_EQ(unit_open(&o, &ops, &u, NULL), 0);
        CHECK(u->size.lanes <= u->size.rows);
        CHECK(u->size.rows == last || u->size.rows == last / 2);
        halved += u->size.rows < last;
        last = u->size.rows;
        unit_close(u);
    }
}

TEST(size_refuses_rows_that_no_question_could_do_with) {
    struct kern_choice c;
    struct unit *u;
    CHECK_EQ(kern_choose(eng_rig_backend(), NULL, &c, NULL), 0);
    CHECK_EQ(unit_open(&(struct eng_options){.model = TINY, .threads = 1}, c.ops, &u, NULL), 0);
    int32_t least = unit_rows_least(u);
    unit_close(u);
    const int32_t few[] = {1, least - 1};
    for (size_t i = 0; i < ARRAY_LEN(few); i++) {
        struct err err = {0};
        struct eng_options o = {.model = TINY, .threads = 1, .rows = few[i]};
        char text[80];
        snprintf(text, sizeof text, "%d rows of a pass are too few: at least %d", few[i], least);
        CHECK_EQ(unit_open(&o, c.ops, &u, &err), E_INVALID);
        CHECK_STR(err.text, text);
    }
    struct eng_options o = {.model = TINY, .threads = 1, .rows = least};
    CHECK_EQ(unit_open(&o, c.ops, &u, NULL), 0);
    CHECK_EQ(u->size.rows, least);
    unit_close(u);
}

TEST(size_says_how_much_is_needed) {
    struct eng *e = NULL;
    struct err err;
    CHECK_EQ(open_with((struct eng_options){.model = TINY}, 1000, &e, &err), E_NOMEM);
    CHECK_HAS(err.text, "the weights take");
    uint64_t least = least_cap(TINY);
    CHECK_EQ(open_with((struct eng_options){.model = TINY}, least - 8192, &e, &err), E_NOMEM);
    CHECK_HAS(err.text, "are needed in all");
    /* What was chosen is not cut down. */
    static const struct eng_options chosen[] = {{.model = TINY, .rows = 4096},
                                                {.model = TINY, .lanes = 4096},
                                                {.model = TINY, .kv_tokens = 1 << 20}};
    for (size_t i = 0; i < ARRAY_LEN(chosen); i++) {
        CHECK_EQ(open_with(chosen[i], least + 8192, &e, &err), E_NOMEM);
        CHECK_HAS(err.text, i == 2 ? "1048576 KV slots" : "4096 rows");
        if (i == 2) CHECK_HAS(err.text, "--kv-tokens");
    }
    CHECK(e == NULL);
}
