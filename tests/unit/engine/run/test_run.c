/* test_run.c - the run room over a fake network: answers depend on the prompt and on nothing
 * else. */
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/check.h"
#include "tests/unit/engine/run/run_rig.h"

enum { ALL = RIG_GRID * RIG_GRID };
static const struct rig_sizes ROOMY = {2000, 20000, 300, 1024, 8};

/* Everything at once through one job: all places in a stirred order. */
static void run_alone(enum rig_grammar kind, const struct rig_sizes *z, enum eng_estimate estimate,
                      int distribution) {
    struct rig r;
    struct eng_point points[ALL];
    rig_all_points(points);
    rig_open(&r, kind, z);
    struct eng_picture *picture = rig_picture(5);
    struct eng_ask ask = {.pictures = &picture,
                          .n_pictures = 1,
                          .points = points,
                          .n_points = ALL,
                          .estimate = estimate,
                          .distribution = distribution,
                          .urgency = ENG_PICTURE};
    struct eng_job *j = rig_submit(&r, &ask);
    rig_finish(&r);
    rig_check_job(&r, j, 5, &ask);
    eng_job_put(j);
    eng_picture_put(picture);
    rig_check_empty(&r);
    rig_close(&r);
}

TEST(run_mode_of_every_grammar) {
    for (int kind = RIG_DIGITS; kind <= RIG_DEEP; kind++)
        run_alone((enum rig_grammar)kind, &ROOMY, ENG_MODE, 0);
}

TEST(run_estimates_of_every_grammar_that_fits) {
    for (int kind = RIG_DIGITS; kind <= RIG_PAIRS; kind++) {
        run_alone((enum rig_grammar)kind, &ROOMY, ENG_MODE, 1);
        run_alone((enum rig_grammar)kind, &ROOMY, ENG_MEDIAN, 0);
        run_alone((enum rig_grammar)kind, &ROOMY, ENG_MEAN, 1);
    }
}

TEST(run_narrow_engines_give_the_same) {
    const struct rig_sizes sizes[] = {
        {80, 100, 1, 64, 0}, /* one lane, no cache */
        {80, 140, 7, 64, 1}, /* lanes wait for slots */
        {160, 20000, 300, 64, 2},
        {2000, 400, 300, 1024, 8},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        run_alone(RIG_DIGITS, &sizes[i], ENG_MODE, 0);
        run_alone(RIG_WHOLE, &sizes[i], ENG_MEDIAN, 0);
        run_alone(RIG_DIGITS, &sizes[i], ENG_MEAN, 0);
    }
}

/* More open nodes than may be held: the greedy value is the same, the rest is a distribution. */
TEST(run_holds_no_more_nodes_than_it_may) {
    struct rig r;
    struct eng_point points[ALL];
    rig_all_points(points);
    rig_open(&r, RIG_DEEP, &ROOMY);
    CHECK_EQ(r.questions.explore_max, LANE_EXPLORE_MAX);
    struct eng_picture *picture = rig_picture(5);
    struct eng_ask ask = {.pictures = &picture,
                          .n_pictures = 1,
                          .points = points,
                          .n_points = ALL,
                          .distribution = 1};
    struct eng_job *j = rig_submit(&r, &ask);
    rig_finish(&r);
    uint32_t n;
    const struct eng_answer *a = eng_job_answers(j, &n);
    CHECK_EQ(n, ALL);
    for (uint32_t i = 0; i < n; i++) {
        struct eng_answer want;
        const struct eng_point *at = &points[a[i].point];
        rig_answer(&r, 5, at->x, at->y, ENG_MODE, 0, &want);
        for (int c = 0; c < 3; c++) {
            CHECK_EQ(a[i].rgb[c], want.rgb[c]);
            CHECK(a[i].prob[c] > 0 && a[i].prob[c] <= 1);
        }
    }
    eng_job_put(j);
    eng_picture_put(picture);
    rig_check_empty(&r);
    rig_close(&r);
}

/* Rows behind the prompt: what a level needs, and of the chosen value what was not explored. */
TEST(run_feeds_no_row_twice) {
    static const enum eng_estimate estimates[] = {ENG_MODE, ENG_MODE, ENG_MEDIAN, ENG_MEAN};
    for (int kind = RIG_DIGITS; kind <= RIG_PAIRS; kind++)
        for (int k = 0; k < 4; k++) {
            struct rig r;
            struct eng_point points[ALL];
            rig_all_points(points);
            rig_open(&r, (enum rig_grammar)kind, &ROOMY);
            struct eng_picture *picture = rig_picture(9);
            struct eng_ask ask = {.pictures = &picture,
                                  .n_pictures = 1,
                                  .points = points,
                                  .n_points = ALL,
                                  .estimate = estimates[k],
                                  .distribution = k == 1};
            struct eng_job *j = rig_submit(&r, &ask);
            uint64_t want =
                (uint64_t)(r.questions.stem_tokens + j->tree.branch_tokens + j->tree.tail_tokens);
            for (int i = 0; i < ALL; i++) {
                struct eng_answer a;
                want +=
                    (uint64_t)rig_answer(&r, 9, points[i].x, points[i].y, estimates[k], k == 1, &a);
            }
            CHECK(j->cost >= want);
            rig_finish(&r);
            CHECK_EQ(r.rows, want);
            eng_job_put(j);
            eng_picture_put(picture);
            rig_close(&r);
        }
}

/* A branch gives its slots back as soon as nothing is left below it. */
TEST(run_branches_are_given_back) {
    struct rig r;
    struct eng_point points[ALL];
    for (int i = 0; i < ALL; i++) /* row by row, one lane at a time */
        points[i] = (struct eng_point){(uint16_t)(i % RIG_GRID), (uint16_t)(i / RIG_GRID)};
    const struct rig_sizes one = {200, 400, 1, 128, 0};
    rig_open(&r, RIG_DIGITS, &one);
    struct eng_picture *picture = rig_picture(9);
    struct eng_ask ask = {.pictures = &picture, .n_pictures = 1, .points = points, .n_points = ALL};
    struct eng_job *j = rig_submit(&r, &ask);
    int32_t most = 0;
    while (!sched_is_idle(&r.sched)) {
        rig_turn(&r, 1);
        int32_t taken = r.kv.single_slots - r.kv.n_stack;
        if (taken > most) most = taken;
    }
    rig_check_job(&r, j, 9, &ask);
    /* "1" of rows 1, 10 .. 15 stays; beside it one row and one column's first digit */
    CHECK(most <= j->lane_slots + 6);
    CHECK(j->tree.branch_tokens > 40);
    eng_job_put(j);
    eng_picture_put(picture);
    rig_close(&r);
}

TEST(run_every_token_is_computed_once) {
    struct rig r;
    struct eng_point points[ALL];
    rig_all_points(points);
    rig_open(&r, RIG_WHOLE, &ROOMY);
    struct eng_picture *picture = rig_picture(1);
    struct eng_ask ask = {.pictures = &picture, .n_pictures = 1, .points = points, .n_points = ALL};
    struct eng_job *j = rig_submit(&r, &ask);
    uint64_t prompt =
        (uint64_t)(r.questions.stem_tokens + j->tree.branch_tokens + j->tree.tail_tokens);
    rig_finish(&r);
    /* the lead, then a value and its comma, twice; the third value is not fed */
    CHECK_EQ(r.rows, prompt + ALL * 5);
    struct eng_job_stats s;
    eng_job_stats(j, &s);
    CHECK_EQ(s.rows, r.rows);
    uint64_t alone = 0;
    for (int i = 0; i < ALL; i++)
        alone += (uint64_t)(r.questions.stem_tokens + r.texts[i].n + 5);
    CHECK_EQ(s.rows_plain, alone);
    CHECK_EQ(s.stem_cached, 0);
    CHECK_EQ(s.stem_tokens, r.questions.stem_tokens);
    CHECK(s.queued_ns <= s.first_ns && s.first_ns <= s.end_ns && s.first_ns > 0);
    eng_job_put(j);
    /* warm: the stem costs nothing, and the picture is not encoded again */
    uint64_t before = r.rows;
    j = rig_submit(&r, &ask);
    rig_finish(&r);
    rig_check_job(&r, j, 1, &ask);
    CHECK_EQ(r.rows - before, prompt - (uint64_t)r.questions.stem_tokens + ALL * 5);
    CHECK_EQ(r.seen, 1);
    eng_job_stats(j, &s);
    CHECK_EQ(s.stem_cached, r.questions.stem_tokens);
    eng_job_put(j);
    eng_picture_put(picture);
    rig_check_empty(&r);
    rig_close(&r);
}

/* Its pictures, its stem and each answer are off its cost as soon as they are behind it, with what
 * the answer didn't need. */
TEST(run_a_cost_retires_as_the_job_gets_on) {
    struct rig r;
    struct eng_point points[ALL];
    rig_all_points(points);
    const struct rig_sizes narrow = {300, 400, 1, 128, 2};
    rig_open(&r, RIG_DIGITS, &narrow);
    r.questions.picture_rows = 1000;
    struct eng_picture *picture = rig_picture(9);
    struct eng_ask ask = {.pictures = &picture, .n_pictures = 1, .points = points, .n_points = ALL};
    for (int is_warm = 0; is_warm < 2; is_warm++) {
        struct eng_job *j = rig_submit(&r, &ask);
        uint64_t answers = (uint64_t)j->answer_rows * ALL, before = r.sched.retired;
        uint64_t first =
            j->cost - answers - (uint64_t)(j->tree.branch_tokens + j->tree.tail_tokens);
        uint64_t lane = (uint64_t)(j->answer_rows + j->tree.tail_max), turns = 0;
        while (!sched_is_idle(&r.sched)) {
            uint64_t retired = j->retired;
            rig_turn(&r, 1);
            CHECK(j->retired <= j->cost);
            /* The last turn brings what one lane had left, no heap of rows. */
            CHECK(j->n_answers < ALL || j->cost - retired <= 2 * lane);
            uint64_t part = answers * j->n_answers / ALL;
            if (turns++ > 2) CHECK(j->retired + lane >= part + first);
        }
        CHECK_EQ(j->retired, j->cost);
        CHECK_EQ(r.sched.retired - before, j->cost);
        eng_job_put(j);
    }
    eng_picture_put(picture);
    rig_close(&r);
}

/* With room, a cold job's stem, branches and lanes share its first pass. */
TEST(run_lanes_start_with_their_stem) {
    struct rig r;
    rig_open(&r, RIG_WHOLE, &ROOMY);
    struct eng_picture *picture = rig_picture(1);
    struct eng_ask ask = {.pictures = &picture,
                          .n_pictures = 1,
                          .points = (struct eng_point[]){{3, 4}},
                          .n_points = 1};
    struct eng_job *j = rig_submit(&r, &ask);
    rig_finish(&r);
    rig_check_job(&r, j, 1, &ask);
    CHECK_EQ(r.passes, 3);
    eng_job_put(j);
    eng_picture_put(picture);
    rig_close(&r);
}

TEST(run_duplicates_are_answered_once_and_copied) {
    struct rig r;
    struct eng_point points[] = {{3, 4}, {1, 1}, {3, 4}, {3, 4}, {1, 1}};
    rig_open(&r, RIG_DIGITS, &ROOMY);
    struct eng_picture *picture = rig_picture(1);
    struct eng_ask ask = {.pictures = &picture, .n_pictures = 1, .points = points, .n_points = 5};
    struct eng_job *j = rig_submit(&r, &ask);
    CHECK_EQ(j->tree.n_leaves, 2);
    rig_finish(&r);
    rig_check_job(&r, j, 1, &ask);
    eng_job_put(j);
    eng_picture_put(picture);
    rig_close(&r);
}

TEST(run_two_cold_jobs_of_one_picture_share_the_prefill) {
    struct rig r;
    struct eng_point points[ALL];
    rig_all_points(points);
    rig_open(&r, RIG_WHOLE, &ROOMY);
    struct eng_picture *picture = rig_picture(1);
    struct eng_ask ask = {.pictures = &picture, .n_pictures = 1, .points = points, .n_points = 10};
    struct eng_job *a = rig_submit(&r, &ask), *b = rig_submit(&r, &ask);
    rig_finish(&r);
    CHECK_EQ(r.seen, 1);
    CHECK_EQ(r.stems.counts.misses, 1);
    CHECK_EQ(r.stems.counts.hits, 1);
    rig_check_job(&r, a, 1, &ask);
    rig_check_job(&r, b, 1, &ask);
    eng_job_put(a);
    eng_job_put(b);
    eng_picture_put(picture);
    rig_close(&r);
}

static int32_t roll(uint64_t *dice, int32_t n) {
    return (int32_t)(rng_u64(test_seed(), (*dice)++) % (uint64_t)n);
}

/* Too late, cancelled, or of a batch and in the way of others. */
static void check_ended(const struct eng_job *j, int is_doomed) {
    int code = eng_job_error(j)->code;
    if (eng_job_state(j) == ENG_FAILED && j->urgency == ENG_BATCH && code == E_BUSY) return;
    CHECK(is_doomed);
    CHECK_EQ(code, eng_job_state(j) == ENG_FAILED ? E_TIMEOUT : E_CANCELLED);
}

/* Jobs of all kinds come at random to engines of all sizes; some are cancelled, some are late. */
static void run_crowd(uint64_t seed) {
    enum { JOBS = 40, PICTURES = 5 };
    uint64_t dice = seed * 100000;
#define ROLL(n) roll(&dice, n)
    struct rig_sizes z = {75 + ROLL(400), 150 + ROLL(1500), 1 + ROLL(60), 64 + ROLL(300), ROLL(4)};
    struct rig r;
    rig_open(&r, (enum rig_grammar)ROLL(3), &z);
    struct eng_picture *pictures[PICTURES];
    struct eng_job *jobs[JOBS];
    struct eng_ask asks[JOBS];
    struct eng_point *points = mem_must(JOBS * 100 * sizeof points[0]);
    int which[JOBS], is_doomed[JOBS];
    for (int i = 0; i < PICTURES; i++)
        pictures[i] = rig_picture(i);
    for (int i = 0; i < JOBS; i++) {
        which[i] = ROLL(PICTURES);
        is_doomed[i] = ROLL(4) == 0;
        asks[i] = (struct eng_ask){.pictures = &pictures[which[i]],
                                   .n_pictures = 1,
                                   .points = points + i * 100,
                                   .n_points = 1 + (uint32_t)ROLL(ROLL(3) ? 12 : 100),
                                   .estimate = (enum eng_estimate)ROLL(3),
                                   .distribution = ROLL(2),
                                   .urgency = (enum eng_class)ROLL(ENG_CLASSES)};
        if (is_doomed[i] && ROLL(2)) asks[i].deadline_ns = 2;
        for (uint32_t k = 0; k < asks[i].n_points; k++)
            points[i * 100 + (int)k] =
                (struct eng_point){(uint16_t)ROLL(RIG_GRID), (uint16_t)ROLL(RIG_GRID)};
        jobs[i] = rig_submit(&r, &asks[i]);
        for (int turns = ROLL(6); turns > 0; turns--)
            rig_turn(&r, 1);
        if (is_doomed[i] && !asks[i].deadline_ns) eng_job_cancel(jobs[i]);
        if (ROLL(5) == 0) rig_turn(&r, 2); /* every deadline has passed */
    }
    rig_turn(&r, 2);
    rig_finish(&r);
    for (int i = 0; i < JOBS; i++) {
        enum eng_state state = eng_job_state(jobs[i]);
        if (state == ENG_DONE)
            rig_check_job(&r, jobs[i], which[i], &asks[i]);
        else
            check_ended(jobs[i], is_doomed[i]);
        eng_job_put(jobs[i]);
    }
    for (int i = 0; i < PICTURES; i++)
        eng_picture_put(pictures[i]);
    rig_check_empty(&r);
    CHECK(r.most_rows <= r.batch.rows.max);
    rig_close(&r);
    mem_free(points);
#undef ROLL
}

TEST_LIMIT(run_crowds, 60) {
    for (int seed = 0; seed < test_count(12, 400); seed++)
        run_crowd((uint64_t)seed);
}
