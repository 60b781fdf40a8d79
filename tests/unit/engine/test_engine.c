/* test_engine.c - the proof: a tree, a cache and a crowd answer like one full prompt at a time. */
#include "engine/engine.h"

#include <stdio.h>

#include "engine/answer/estimate.h"
#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/engine/eng_rig.h"

static const char *const models[] = {TINY, TINY_DIGITS};

TEST_LIMIT(engine_equals_the_plain_loop, 60) {
    for (int m = 0; m < 2; m++) {
        struct eng *e = eng_rig_open(&(struct eng_options){.model = models[m]});
        struct plain *p = plain_open(models[m], 3);
        struct eng_picture *picture = eng_rig_picture(e, 3);
        struct eng_answer a[ENG_RIG_ALL];
        eng_rig_ask_all(e, picture, ENG_MODE, 0, a);
        for (int i = 0; i < ENG_RIG_ALL; i++) {
            uint8_t rgb[3];
            plain_mode(p, i % ENG_RIG_GRID, i / ENG_RIG_GRID, rgb);
            CHECK(memcmp(rgb, a[i].rgb, 3) == 0);
        }
        eng_picture_put(picture);
        plain_close(p);
        eng_close(e);
    }
}

/* The oracle's answers, from a network in another language. With digits the oracle leaves nothing
 * out, so a median on the edge may fall on the other side. */
static void check_golden(const char *dir, const char *kind, enum eng_estimate estimate, int least) {
    struct eng *e = eng_rig_open(&(struct eng_options){.model = dir});
    struct eng_picture *picture = eng_rig_picture(e, 0);
    struct eng_answer a[ENG_RIG_ALL];
    eng_rig_ask_all(e, picture, estimate, 0, a);
    char path[256];
    (void)snprintf(path, sizeof path, "%s/answers-%s.txt", dir, kind);
    FILE *f = fopen(path, "r");
    CHECK(f);
    int x, y, r, g, b, n = 0, same = 0;
    for (; fscanf(f, "%d %d %d %d %d", &x, &y, &r, &g, &b) == 5; n++) {
        const uint8_t *rgb = a[y * ENG_RIG_GRID + x].rgb;
        same += rgb[0] == r && rgb[1] == g && rgb[2] == b;
    }
    fclose(f);
    CHECK_EQ(n, ENG_RIG_ALL);
    if (same < least) printf("%s %s: %d of %d\n", dir, kind, same, n);
    CHECK(same >= least);
    eng_picture_put(picture);
    eng_close(e);
}

TEST_LIMIT(engine_equals_the_oracle, 60) {
    check_golden(TINY, "mode", ENG_MODE, ENG_RIG_ALL);
    check_golden(TINY_DIGITS, "mode", ENG_MODE, ENG_RIG_ALL);
    check_golden(TINY, "median", ENG_MEDIAN, ENG_RIG_ALL);
    check_golden(TINY, "mean", ENG_MEAN, ENG_RIG_ALL);
}

/* ---- the same bits under all circumstances ---- */

struct circumstances {
    const char *dir;
    enum eng_estimate estimate;
    int distribution;
    struct eng_answer want[ENG_RIG_ALL];
};

/* Ask cold, warm, and beside another job of another picture. */
static void check_same(const struct circumstances *c, struct eng_options opt) {
    struct eng_answer got[ENG_RIG_ALL], other[ENG_RIG_ALL];
    opt.model = c->dir;
    struct eng *e = eng_rig_open(&opt);
    struct eng_picture *picture = eng_rig_picture(e, 7), *second = eng_rig_picture(e, 8);
    for (int round = 0; round < 2; round++) {
        eng_rig_ask_all(e, picture, c->estimate, c->distribution, got);
        CHECK(eng_rig_same(got, c->want, ENG_RIG_ALL));
    }
    struct eng_ask ask = {.pictures = &second,
                          .n_pictures = 1,
                          .points = eng_rig_points(),
                          .n_points = ENG_RIG_ALL,
                          .estimate = ENG_MEDIAN,
                          .urgency = ENG_PICTURE};
    struct eng_job *beside;
    CHECK_EQ(eng_submit(e, &ask, &beside, NULL), 0);
    eng_rig_ask_all(e, picture, c->estimate, c->distribution, got);
    CHECK(eng_rig_same(got, c->want, ENG_RIG_ALL));
    eng_rig_collect(beside, ask.points, ask.n_points, other);
    CHECK(!eng_rig_same(other, c->want, ENG_RIG_ALL));
    eng_job_put(beside);
    eng_picture_put(picture);
    eng_picture_put(second);
    eng_close(e);
}

static void check_circumstances(const char *dir, enum eng_estimate estimate, int distribution) {
    static struct circumstances c;
    c = (struct circumstances){.dir = dir, .estimate = estimate, .distribution = distribution};
    struct eng *e = eng_rig_open(&(struct eng_options){.model = dir});
    struct eng_picture *picture = eng_rig_picture(e, 7);
    eng_rig_ask_all(e, picture, estimate, distribution, c.want);
    int least = eng_limit_rows(e, 1);
    eng_picture_put(picture);
    eng_close(e);
    check_same(&c, (struct eng_options){.lanes = 1});
    check_same(&c, (struct eng_options){.lanes = 7, .threads = 2});
    check_same(&c, (struct eng_options){.lanes = 64, .rows = least}); /* as few as can be */
    check_same(&c, (struct eng_options){.lanes = 4096, .rows = 8192, .threads = 2});
    check_same(&c, (struct eng_options){.kv_tokens = 220, .cached_images = -1});
}

TEST_LIMIT(engine_mode_is_the_same_always, 120) {
    check_circumstances(TINY, ENG_MODE, 0);
    check_circumstances(TINY_DIGITS, ENG_MODE, 0);
}

/* The limit of a pass's rows, changed between jobs and in the middle of one. */
static void check_limit(struct eng *e, struct eng_picture *picture, int limit,
                        const struct eng_answer *want) {
    struct eng_answer got[ENG_RIG_ALL];
    struct eng_stats before, after;
    eng_rig_idle(e, &before);
    int rows = eng_limit_rows(e, limit);
    eng_rig_ask_all(e, picture, ENG_MEDIAN, 1, got);
    eng_rig_idle(e, &after);
    CHECK(eng_rig_same(got, want, ENG_RIG_ALL));
    uint64_t passes = after.passes - before.passes, done = after.rows - before.rows;
    CHECK(done <= passes * (uint64_t)rows);
    CHECK(done > passes * (uint64_t)rows / 2); /* and full ones, but for a few */
}

TEST_LIMIT(engine_answers_the_same_at_every_limit_of_rows, 120) {
    static const int limits[] = {64, 1024, 100, 512, 0};
    for (int m = 0; m < 2; m++) {
        struct eng *e =
            eng_rig_open(&(struct eng_options){.model = models[m], .rows = 1024, .threads = 2});
        struct eng_picture *picture = eng_rig_picture(e, 7);
        struct eng_answer want[ENG_RIG_ALL], got[ENG_RIG_ALL];
        eng_rig_ask_all(e, picture, ENG_MEDIAN, 1, want);
        for (size_t i = 0; i < ARRAY_LEN(limits); i++)
            check_limit(e, picture, limits[i], want);
        struct eng_ask ask = {.pictures = &picture,
                              .n_pictures = 1,
                              .points = eng_rig_points(),
                              .n_points = ENG_RIG_ALL,
                              .estimate = ENG_MEDIAN,
                              .distribution = 1,
                              .urgency = ENG_PICTURE};
        struct eng_job *j;
        CHECK_EQ(eng_submit(e, &ask, &j, NULL), 0);
        for (uint32_t n = 0; eng_job_state(j) < ENG_DONE; (void)eng_job_answers(j, &n)) {
            (void)eng_limit_rows(e, n % 2 ? 64 : 1024);
            CHECK_EQ(eng_job_wait(j, n, UINT64_MAX), 0);
        }
        eng_rig_collect(j, ask.points, ask.n_points, got);
        CHECK(eng_rig_same(got, want, ENG_RIG_ALL));
        eng_job_put(j);
        eng_picture_put(picture);
        eng_close(e);
    }
}

TEST(engine_limit_of_rows_keeps_within_what_was_opened) {
    char two[64];
    (void)snprintf(two, sizeof two, "%s,%s", eng_rig_backend(), eng_rig_backend());
    struct eng *e = eng_rig_open(
        &(struct eng_options){.model = TINY, .device = two, .rows = 300, .threads = 2});
    CHECK_EQ(eng_limit_rows(e, 200), 200);
    CHECK_EQ(eng_limit_rows(e, 301), 300);
    CHECK_EQ(eng_limit_rows(e, 0), 300);
    int least = eng_limit_rows(e, 1); /* what one question needs */
    CHECK(least > 1 && least < 200);
    eng_close(e);
}

TEST_LIMIT(engine_estimates_are_the_same_always, 120) {
    check_circumstances(TINY, ENG_MEDIAN, 1);
    check_circumstances(TINY_DIGITS, ENG_MEAN, 1);
}

/* A place alone is answered like one among all. */
TEST_LIMIT(engine_places_alone, 60) {
    for (int m = 0; m < 2; m++) {
        struct eng *e = eng_rig_open(&(struct eng_options){.model = models[m]});
        struct eng_picture *picture = eng_rig_picture(e, 7);
        struct eng_answer all[ENG_RIG_ALL], one[ENG_RIG_ALL];
        eng_rig_ask_all(e, picture, ENG_MODE, 1, all);
        for (int i = 0; i < ENG_RIG_ALL; i += 11) {
            struct eng_point at = {(uint16_t)(i % ENG_RIG_GRID), (uint16_t)(i / ENG_RIG_GRID)};
            struct eng_job *j;
            struct eng_ask ask = {.pictures = &picture,
                                  .n_pictures = 1,
                                  .points = &at,
                                  .n_points = 1,
                                  .distribution = 1};
            CHECK_EQ(eng_submit(e, &ask, &j, NULL), 0);
            eng_rig_collect(j, &at, 1, one);
            CHECK(eng_rig_same(&one[i], &all[i], 1));
            eng_job_put(j);
        }
        eng_picture_put(picture);
        eng_close(e);
    }
}

/* A pool with room for two pictures sees five in turn: evicted stems come back with the same
 * bits. */
TEST_LIMIT(engine_evicts_and_recomputes, 60) {
    for (int m = 0; m < 2; m++) {
        struct eng *roomy = eng_rig_open(&(struct eng_options){.model = models[m]});
        struct eng *tight =
            eng_rig_open(&(struct eng_options){.model = models[m], .kv_tokens = 200});
        struct eng_answer want[5][ENG_RIG_ALL], got[ENG_RIG_ALL];
        for (int round = 0; round < 3; round++) {
            for (int n = 0; n < 5; n++) {
                struct eng *e = round ? tight : roomy;
                struct eng_picture *picture = eng_rig_picture(e, n + 1);
                eng_rig_ask_all(e, picture, ENG_MODE, 0, round ? got : want[n]);
                if (round) CHECK(eng_rig_same(got, want[n], ENG_RIG_ALL));
                eng_picture_put(picture);
            }
        }
        struct eng_stats s;
        eng_stats(tight, &s);
        CHECK(s.stem_evicted >= 5);
        CHECK(s.stem_misses >= 9);
        CHECK_EQ(s.pictures, 5); /* features outlive the stem that was made from them */
        eng_stats(roomy, &s);
        CHECK_EQ(s.stem_evicted, 0);
        CHECK_EQ(s.pictures, 5);
        eng_close(roomy);
        eng_close(tight);
    }
}

/* ---- distributions ---- */

static void check_distribution(const char *dir, int x, int y, enum eng_estimate estimate) {
    struct eng *e = eng_rig_open(&(struct eng_options){.model = dir});
    struct plain *p = plain_open(dir, 4);
    struct eng_picture *picture = eng_rig_picture(e, 4);
    struct eng_point at = {(uint16_t)x, (uint16_t)y};
    struct eng_ask ask = {.pictures = &picture,
                          .n_pictures = 1,
                          .points = &at,
                          .n_points = 1,
                          .estimate = estimate,
                          .distribution = 1};
    struct eng_job *j;
    struct eng_answer by_place[ENG_RIG_ALL];
    CHECK_EQ(eng_submit(e, &ask, &j, NULL), 0);
    eng_rig_collect(j, &at, 1, by_place);
    const struct eng_answer *a = &by_place[y * ENG_RIG_GRID + x];
    uint8_t mode[3];
    plain_mode(p, x, y, mode);
    for (int c = 0; c < 3; c++) {
        double d[256], whole[256], off = 0;
        plain_channel(p, x, y, a->rgb, c, 1, d);
        plain_channel(p, x, y, a->rgb, c, 0, whole);
        int v = estimate == ENG_MEDIAN ? estimate_median(d)
                : estimate == ENG_MEAN ? estimate_mean(d)
                                       : mode[c];
        CHECK_EQ(a->rgb[c], v);
        CHECK_NEAR(a->prob[c], d[v], 1e-4);
        CHECK_NEAR(a->entropy[c], estimate_entropy(d), 1e-3);
        CHECK_NEAR(a->mean_abs[c], estimate_mean_abs(d, v), 1e-2);
        for (int k = 0; k < 256; k++)
            off += fabs(d[k] - whole[k]) / 2;
        CHECK(off < 25.0 / 512); /* what may be left out at most */
    }
    eng_job_put(j);
    eng_picture_put(picture);
    plain_close(p);
    eng_close(e);
}

TEST_LIMIT(engine_distributions_equal_all_continuations, 120) {
    for (int m = 0; m < 2; m++) {
        check_distribution(models[m], 3, 12, ENG_MEDIAN);
        check_distribution(models[m], 15, 0, ENG_MEAN);
        check_distribution(models[m], 8, 8, ENG_MODE);
    }
}
