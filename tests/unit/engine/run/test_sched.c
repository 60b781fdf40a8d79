/* test_sched.c - who runs when: order, shares, ageing, deadlines. */
#include "kernels/base/err.h"
#include "tests/check.h"
#include "tests/unit/engine/run/run_rig.h"

enum { ALL = RIG_GRID * RIG_GRID, RIG_PIECE = 8 /* rows of a lane's, at most */ };
static const struct rig_sizes ROOMY = {4000, 20000, 300, 128, 8};

struct stage {
    struct rig r;
    struct eng_picture *picture[40];
    struct eng_point points[ALL];
};

static void open_stage(struct stage *s, enum rig_grammar kind, const struct rig_sizes *z) {
    rig_open(&s->r, kind, z);
    rig_all_points(s->points);
    for (int i = 0; i < 40; i++)
        s->picture[i] = rig_picture(i);
}

static void close_stage(struct stage *s) {
    rig_finish(&s->r);
    rig_check_empty(&s->r);
    rig_close(&s->r);
    for (int i = 0; i < 40; i++)
        eng_picture_put(s->picture[i]);
}

static struct eng_job *ask(struct stage *s, int picture, uint32_t n, enum eng_class class) {
    return rig_submit(&s->r, &(struct eng_ask){.pictures = &s->picture[picture],
                                               .n_pictures = 1,
                                               .points = s->points,
                                               .n_points = n,
                                               .urgency = class});
}

/* First come, first served inside a class; and no class keeps another one out. */
TEST(sched_runs_no_more_jobs_than_it_may) {
    enum { PER_CLASS = SCHED_OF_CLASS + 3 };
    static const struct {
        enum eng_class class;
        int running;
    } crowd[] = {{ENG_PICTURE, SCHED_OF_CLASS},
                 {ENG_ANSWER, SCHED_RUNNING - SCHED_FOR_ACT - SCHED_FOR_NEW - SCHED_OF_CLASS},
                 {ENG_MASK, 0},
                 {ENG_ACT, SCHED_FOR_ACT}};
    static struct stage s;
    struct eng_job *j[ARRAY_LEN(crowd)][PER_CLASS];
    const struct rig_sizes large = {8000, 20000, 300, 128, 8};
    open_stage(&s, RIG_DIGITS, &large);
    for (size_t k = 0; k < ARRAY_LEN(crowd); k++) {
        for (int i = 0; i < PER_CLASS; i++)
            j[k][i] = ask(&s, i, 40, crowd[k].class);
        rig_turn(&s.r, 1);
        for (int i = 0; i < PER_CLASS; i++)
            CHECK_EQ(eng_job_state(j[k][i]), i < crowd[k].running ? ENG_RUNNING : ENG_WAITING);
    }
    rig_finish(&s.r);
    for (size_t k = 0; k < ARRAY_LEN(crowd); k++)
        for (int i = 0; i < PER_CLASS; i++)
            eng_job_put(j[k][i]);
    close_stage(&s);
}

TEST(sched_act_joins_the_very_next_pass) {
    static struct stage s;
    open_stage(&s, RIG_WHOLE, &ROOMY);
    struct eng_job *busy = ask(&s, 0, ALL, ENG_PICTURE), *more = ask(&s, 1, ALL, ENG_PICTURE);
    for (int i = 0; i < 8; i++)
        rig_turn(&s.r, 1);
    struct eng_job *act = ask(&s, 0, 1, ENG_ACT); /* of a picture that is known */
    rig_turn(&s.r, 1);
    rig_turn(&s.r, 1);
    CHECK_EQ(eng_job_state(act), ENG_RUNNING);
    rig_turn(&s.r, 1);
    CHECK_EQ(eng_job_state(act), ENG_DONE); /* three picks, three passes */
    CHECK_EQ(eng_job_state(busy), ENG_RUNNING);
    eng_job_put(act);
    eng_job_put(busy);
    eng_job_put(more);
    close_stage(&s);
}

/* Where products have tiles of 256 rows, those beside an action fill one: no more of them, and no
 * fewer. */
TEST(sched_rows_beside_act_fill_the_tile) {
    enum { TILE = 256, ACT = 40, GONE = 8 };
    static struct stage s;
    const struct rig_sizes wide = {4000, 20000, 400, 512, 8};
    open_stage(&s, RIG_DIGITS, &wide);
    s.r.sched.tile = TILE;
    struct eng_job *busy = ask(&s, 0, ALL, ENG_PICTURE), *more = ask(&s, 1, ALL, ENG_MASK);
    for (int i = 0; i < 8; i++)
        rig_turn(&s.r, 1);
    struct eng_job *act = ask(&s, 2, ACT, ENG_ACT);
    int turns = 0, tiles = 0;
    while (eng_job_state(act) < ENG_DONE) {
        uint64_t before = s.r.rows, own = act->rows;
        rig_turn(&s.r, 1);
        uint64_t all = s.r.rows - before;
        own = act->rows - own;
        uint64_t room = own % TILE ? TILE - own % TILE : own ? 0 : TILE;
        if (room < SCHED_BESIDE_ACT) room = SCHED_BESIDE_ACT;
        CHECK(all - own <= room + STEM_CHUNK); /* one piece of work */
        tiles += own < TILE - SCHED_BESIDE_ACT && all > TILE - GONE;
        CHECK(++turns < 40);
    }
    CHECK(tiles > 2);
    rig_finish(&s.r);
    eng_job_put(act);
    eng_job_put(busy);
    eng_job_put(more);
    close_stage(&s);
}

/* Also where actions have pieces of work enough to take all of a pass. */
TEST(sched_rows_beside_many_acts_are_kept) {
    enum { ACTS = 12, ROWS = 160 };
    static struct stage s;
    struct eng_job *act[ACTS];
    const struct rig_sizes narrow = {4000, 20000, 400, ROWS, 8};
    open_stage(&s, RIG_DIGITS, &narrow);
    s.r.sched.tile = 256;
    struct eng_job *busy = ask(&s, 0, ALL, ENG_PICTURE), *more = ask(&s, 1, ALL, ENG_MASK);
    for (int i = 0; i < 8; i++)
        rig_turn(&s.r, 1);
    for (int i = 0; i < ACTS; i++)
        act[i] = ask(&s, 2 + i, 40, ENG_ACT);
    int turns = 0, whole = 0;
    for (int left = ACTS; left > 0 && eng_job_state(busy) < ENG_DONE;) {
        uint64_t before = busy->rows + more->rows, all = s.r.rows;
        rig_turn(&s.r, 1);
        uint64_t others = busy->rows + more->rows - before;
        int is_whole = s.r.rows - all > ROWS - RIG_PIECE; /* else they have no more work */
        CHECK(!is_whole || others >= SCHED_BESIDE_ACT - RIG_PIECE);
        whole += is_whole;
        left = 0;
        for (int i = 0; i < ACTS; i++)
            left += eng_job_state(act[i]) < ENG_DONE;
        CHECK(++turns < 200);
    }
    CHECK(whole > 20);
    for (int i = 0; i < ACTS; i++)
        eng_job_put(act[i]);
    eng_job_put(busy);
    eng_job_put(more);
    close_stage(&s);
}

/* While an action is on its way passes are short; both get on, and after it passes are long
 * again. */
TEST(sched_passes_are_short_beside_act) {
    static struct stage s;
    const struct rig_sizes wide = {4000, 20000, 400, 512, 8};
    open_stage(&s, RIG_DIGITS, &wide);
    struct eng_job *busy = ask(&s, 0, ALL, ENG_PICTURE), *more = ask(&s, 1, ALL, ENG_MASK);
    for (int i = 0; i < 8; i++)
        rig_turn(&s.r, 1);
    s.r.most_rows = 0;
    rig_turn(&s.r, 1);
    CHECK(s.r.most_rows > SCHED_BESIDE_ACT + SCHED_QUANTUM);
    struct eng_job *act = ask(&s, 2, 2, ENG_ACT);
    int turns = 0;
    while (eng_job_state(act) < ENG_DONE) {
        uint64_t before = s.r.rows, own = act->rows;
        rig_turn(&s.r, 1);
        CHECK(s.r.rows - before - (act->rows - own) <=
              SCHED_BESIDE_ACT + STEM_CHUNK);       /* one piece of work */
        CHECK(s.r.rows - before > act->rows - own); /* the others are not left out */
        CHECK(++turns < 20);
    }
    s.r.most_rows = 0;
    struct eng_job *late = ask(&s, 3, ALL, ENG_PICTURE);
    rig_finish(&s.r);
    CHECK(s.r.most_rows > SCHED_BESIDE_ACT + SCHED_QUANTUM);
    eng_job_put(late);
    eng_job_put(act);
    eng_job_put(busy);
    eng_job_put(more);
    close_stage(&s);
}

static uint64_t rows(const struct eng_job *j) {
    struct eng_job_stats s;
    eng_job_stats(j, &s);
    return s.rows;
}

TEST(sched_classes_share_by_weight) {
    static struct stage s;
    open_stage(&s, RIG_DIGITS, &ROOMY);
    struct eng_job *picture = ask(&s, 0, ALL, ENG_PICTURE), *text = ask(&s, 2, ALL, ENG_ANSWER);
    struct eng_job *mask = ask(&s, 1, ALL, ENG_MASK);
    for (int i = 0; i < 25; i++)
        rig_turn(&s.r, 1);
    CHECK(eng_job_state(mask) == ENG_RUNNING); /* all had work to do until now */
    double m = (double)rows(mask), p = (double)rows(picture), t = (double)rows(text);
    CHECK_NEAR(m / p, 2, 0.3);
    CHECK_NEAR(t / p, 2, 0.3);
    CHECK(p > 0);
    eng_job_put(picture);
    eng_job_put(text);
    eng_job_put(mask);
    close_stage(&s);
}

TEST(sched_jobs_of_a_class_share_evenly) {
    static struct stage s;
    open_stage(&s, RIG_DIGITS, &ROOMY);
    struct eng_job *first = ask(&s, 0, ALL, ENG_PICTURE);
    for (int i = 0; i < 10; i++)
        rig_turn(&s.r, 1);
    uint64_t head_start = rows(first);
    struct eng_job *second = ask(&s, 1, ALL, ENG_PICTURE);
    for (int i = 0; i < 15; i++)
        rig_turn(&s.r, 1);
    CHECK(eng_job_state(first) == ENG_RUNNING && eng_job_state(second) == ENG_RUNNING);
    CHECK_NEAR((double)rows(second) / (double)(rows(first) - head_start), 1, 0.15);
    eng_job_put(first);
    eng_job_put(second);
    close_stage(&s);
}

/* Passes until a few questions about a picture that is known are answered. */
static int passes_of_a_few(struct stage *s) {
    struct eng_job *few = ask(s, 0, 5, ENG_PICTURE);
    int passes = 0;
    for (; eng_job_state(few) < ENG_DONE; passes++)
        rig_turn(&s->r, 1);
    CHECK_EQ(eng_job_state(few), ENG_DONE);
    eng_job_put(few);
    return passes;
}

/* Who asks little waits for little, however much another has in front of it. */
TEST(sched_a_small_job_is_not_held_up_by_large_ones) {
    static struct stage s;
    open_stage(&s, RIG_DIGITS, &ROOMY);
    struct eng_job *large[3];
    passes_of_a_few(&s); /* sees the picture */
    int alone = passes_of_a_few(&s);
    for (int i = 0; i < 3; i++)
        large[i] = ask(&s, 1 + i, ALL, ENG_PICTURE);
    for (int i = 0; i < 8; i++)
        rig_turn(&s.r, 1);
    int beside = passes_of_a_few(&s);
    CHECK(beside <= alone + 2);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(eng_job_state(large[i]), ENG_RUNNING);
        eng_job_put(large[i]);
    }
    close_stage(&s);
}

/* Small jobs keep coming, two at a time; a large one has to get in among them. */
TEST(sched_a_large_job_is_not_starved_by_small_ones) {
    static struct stage s;
    const struct rig_sizes tight = {4000, 150, 300, 128, 8};
    open_stage(&s, RIG_DIGITS, &tight);
    struct eng_job *small[200] = {0}, *large = NULL;
    int n = 0, started = -1;
    for (int turn = 0; turn < 400 && started < 0; turn++) {
        if (n < 200 && s.r.sched.n_running < 6) small[n] = ask(&s, 0, 3, ENG_PICTURE), n++;
        if (n < 200 && s.r.sched.n_running < 6) small[n] = ask(&s, 0, 3, ENG_PICTURE), n++;
        if (turn == 4) large = ask(&s, 1, ALL, ENG_PICTURE);
        rig_turn(&s.r, 1);
        if (large && eng_job_state(large) != ENG_WAITING) started = n;
    }
    CHECK(started > 0);
    CHECK(started < 4 * SCHED_SKIPS);
    rig_finish(&s.r);
    CHECK_EQ(eng_job_state(large), ENG_DONE);
    eng_job_put(large);
    for (int i = 0; i < n; i++)
        eng_job_put(small[i]);
    close_stage(&s);
}

/* A running job with all the slots hands them over when an aged one waits, long before its end. */
TEST(sched_running_jobs_make_room_for_an_aged_one) {
    static struct stage s;
    const struct rig_sizes tight = {4000, 300, 300, 128, 8};
    open_stage(&s, RIG_DIGITS, &tight);
    struct eng_job *greedy = ask(&s, 0, ALL, ENG_PICTURE);
    struct eng_job *small[SCHED_SKIPS + 1];
    for (int i = 0; i < 5; i++)
        rig_turn(&s.r, 1);
    struct eng_job *late = ask(&s, 1, ALL, ENG_PICTURE);
    late->passed_over = 1;             /* as if it had waited since start ... */
    s.r.sched.admitted += SCHED_SKIPS; /* ... while others went past */
    for (int i = 0; i <= SCHED_SKIPS; i++)
        small[i] = ask(&s, 0, 1, ENG_PICTURE);
    for (int turn = 0; turn < 20 && eng_job_state(late) == ENG_WAITING; turn++) {
        CHECK_EQ(eng_job_state(small[0]), ENG_WAITING); /* nobody passes it any more */
        rig_turn(&s.r, 1);
    }
    CHECK_EQ(eng_job_state(late), ENG_RUNNING);
    CHECK_EQ(eng_job_state(greedy), ENG_RUNNING);
    CHECK(greedy->next_leaf < ALL * 3 / 4);
    for (int i = 0; i <= SCHED_SKIPS; i++)
        eng_job_put(small[i]);
    eng_job_put(late);
    eng_job_put(greedy);
    close_stage(&s);
}

TEST(sched_act_passes_even_an_aged_job) {
    static struct stage s;
    const struct rig_sizes one = {RIG_IMAGE_TOKENS + 4, 300, 300, 128, 8}; /* a single stem */
    open_stage(&s, RIG_WHOLE, &one);
    struct eng_job *first = ask(&s, 0, ALL, ENG_PICTURE);
    rig_turn(&s.r, 1);
    struct eng_job *aged = ask(&s, 1, 1, ENG_PICTURE); /* another picture: has to wait */
    aged->passed_over = 1;
    s.r.sched.admitted += SCHED_SKIPS;
    struct eng_job *act = ask(&s, 0, 1, ENG_ACT), *same = ask(&s, 0, 1, ENG_PICTURE);
    rig_turn(&s.r, 1);
    CHECK_EQ(eng_job_state(aged), ENG_WAITING);
    CHECK_EQ(eng_job_state(act), ENG_RUNNING);
    CHECK_EQ(eng_job_state(same), ENG_WAITING);
    rig_finish(&s.r);
    CHECK_EQ(eng_job_state(aged), ENG_DONE);
    eng_job_put(first);
    eng_job_put(aged);
    eng_job_put(act);
    eng_job_put(same);
    close_stage(&s);
}

TEST(sched_ends_what_is_cancelled_or_late) {
    static struct stage s;
    open_stage(&s, RIG_DIGITS, &ROOMY);
    struct eng_job *j[4];
    for (int i = 0; i < 4; i++)
        j[i] = rig_submit(&s.r, &(struct eng_ask){.pictures = &s.picture[i],
                                                  .n_pictures = 1,
                                                  .points = s.points,
                                                  .n_points = ALL,
                                                  .deadline_ns = i == 0 ? 100 : 0});
    for (int i = 0; i < 4; i++)
        rig_turn(&s.r, 99);
    eng_job_cancel(j[1]);
    CHECK_EQ(eng_job_state(j[1]), ENG_RUNNING); /* seen between passes */
    rig_turn(&s.r, 100);
    CHECK_EQ(eng_job_state(j[0]), ENG_FAILED);
    CHECK_EQ(eng_job_error(j[0])->code, E_TIMEOUT);
    CHECK_EQ(eng_job_state(j[1]), ENG_CANCELLED);
    CHECK_EQ(eng_job_error(j[1])->code, E_CANCELLED);
    CHECK_EQ(eng_job_state(j[2]), ENG_RUNNING);
    CHECK_EQ(eng_job_error(j[2])->code, 0);
    eng_job_put(j[2]); /* nobody listens any more */
    rig_turn(&s.r, 100);
    CHECK_EQ(s.r.sched.n_running, 1);
    CHECK_EQ(s.r.sched.cancelled, 2);
    sched_end_all(&s.r.sched, E_DEVICE, "lost");
    sched_announce(&s.r.sched);
    CHECK_EQ(eng_job_state(j[3]), ENG_FAILED);
    CHECK_EQ(eng_job_error(j[3])->code, E_DEVICE);
    CHECK_STR(eng_job_error(j[3])->text, "lost");
    eng_job_put(j[0]);
    eng_job_put(j[1]);
    eng_job_put(j[3]);
    close_stage(&s);
}

/* Cancelled in the middle of its prefill: another job of the same picture goes on with it. */
TEST(sched_a_shared_prefill_survives_the_one_who_began_it) {
    static struct stage s;
    const struct rig_sizes slow = {4000, 20000, 300, 64, 8}; /* one chunk a pass */
    open_stage(&s, RIG_WHOLE, &slow);
    struct eng_job *a = ask(&s, 3, 1, ENG_PICTURE), *b = ask(&s, 3, 1, ENG_PICTURE);
    rig_turn(&s.r, 1);
    eng_job_put(a);
    rig_finish(&s.r);
    CHECK_EQ(eng_job_state(b), ENG_DONE);
    rig_check_job(&s.r, b, 3, &(struct eng_ask){.points = s.points, .n_points = 1});
    CHECK_EQ(s.r.seen, 1);
    eng_job_put(b);
    close_stage(&s);
}

/* ---- owners ---- */

static struct eng_job *ask_of(struct stage *s, uint64_t owner, int picture, uint32_t n,
                              enum eng_class class) {
    return rig_submit(&s->r, &(struct eng_ask){.pictures = &s->picture[picture],
                                               .n_pictures = 1,
                                               .points = s->points,
                                               .n_points = n,
                                               .urgency = class,
                                               .owner = owner});
}

/* Rows are shared among owners, not among jobs: one with five jobs gets no more than one with one,
 * and an owner's classes share what is the owner's. */
TEST(sched_owners_share_evenly) {
    static struct stage s;
    open_stage(&s, RIG_DIGITS, &ROOMY);
    struct eng_job *many[5], *one = ask_of(&s, 2, 9, ALL, ENG_PICTURE);
    for (int i = 0; i < 5; i++)
        many[i] = ask_of(&s, 1, i, ALL, i < 2 ? ENG_MASK : ENG_PICTURE);
    for (int i = 0; i < 20; i++)
        rig_turn(&s.r, 1);
    uint64_t sum = 0;
    CHECK_EQ(eng_job_state(one), ENG_RUNNING);
    for (int i = 0; i < 5; i++)
        sum += rows(many[i]);
    CHECK_NEAR((double)sum / (double)rows(one), 1, 0.15);
    eng_job_put(one);
    for (int i = 0; i < 5; i++)
        eng_job_put(many[i]);
    close_stage(&s);
}

/* Turns until an owner's only question about a new picture has begun, and until it is answered. */
static void wait_for_one(struct stage *s, uint64_t owner, int picture, int *begun, int *done) {
    struct eng_job *one = ask_of(s, owner, picture, 1, ENG_PICTURE);
    *begun = *done = 0;
    while (eng_job_state(one) < ENG_DONE) {
        rig_turn(&s->r, 1);
        *begun += !rows(one);
        ++*done;
        CHECK(*done < 200);
    }
    CHECK_EQ(eng_job_state(one), ENG_DONE);
    eng_job_put(one);
}

/* Who asks one question waits two turns at most, whatever another owner has in the queue: one job
 * with all places, or so many jobs of all classes that no more of them may run. */
TEST(sched_a_new_owner_waits_two_turns_at_most) {
    enum { FLOOD = 90 };
    static const struct rig_sizes sizes[] = {{8000, 20000, 300, 128, 8}, {8000, 2000, 300, 72, 8}};
    for (int k = 0; k < (int)ARRAY_LEN(sizes); k++) {
        static struct stage s;
        struct eng_job *flood[FLOOD];
        int begun, done, alone;
        open_stage(&s, RIG_DIGITS, &sizes[k]);
        wait_for_one(&s, 2, 37, &begun, &alone);
        for (int n = 1; n <= FLOOD; n = n == 1 ? FLOOD : n + 1) {
            for (int i = 0; i < n; i++)
                flood[i] = ask_of(&s, 1, i % 36, n == 1 ? ALL : 60, (enum eng_class)(i % 3 + 1));
            for (int i = 0; i < 4; i++)
                rig_turn(&s.r, 1);
            CHECK_EQ(eng_job_state(flood[0]), ENG_RUNNING);
            wait_for_one(&s, 2, n == 1 ? 38 : 39, &begun, &done);
            CHECK(begun <= 2);
            CHECK(done <= alone + 2 * 2);
            for (int i = 0; i < n; i++)
                eng_job_put(flood[i]);
            rig_finish(&s.r);
        }
        close_stage(&s);
    }
}

/* More owners than there are shares: all get in and none is lost. */
TEST(sched_has_room_for_any_number_of_owners) {
    enum { MANY = 3 * SHARES };
    static struct stage s;
    struct eng_job *j[MANY];
    open_stage(&s, RIG_DIGITS, &ROOMY);
    for (int i = 0; i < MANY; i++)
        j[i] = ask_of(&s, (uint64_t)i * 7, i % 40, 2, ENG_PICTURE);
    rig_finish(&s.r);
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(eng_job_state(j[i]), ENG_DONE);
        eng_job_put(j[i]);
    }
    for (int i = 0; i < s.r.sched.shares.n; i++)
        CHECK(!s.r.sched.shares.at[i].n_jobs && !s.r.sched.shares.at[i].n_running);
    close_stage(&s);
}

/* What one owner had seen is not there for another: neither rows of its stem nor its features. */
TEST(sched_caches_are_an_owners) {
    static struct stage s;
    open_stage(&s, RIG_DIGITS, &ROOMY);
    static const struct {
        uint64_t owner;
        uint32_t is_cached;
        uint64_t seen;
    } turns[] = {{1, 0, 1}, {1, 1, 1}, {2, 0, 2}, {2, 1, 2}, {1, 1, 2}};
    for (size_t i = 0; i < ARRAY_LEN(turns); i++) {
        struct eng_job *j = ask_of(&s, turns[i].owner, 5, 3, ENG_PICTURE);
        rig_finish(&s.r);
        struct eng_job_stats stats;
        eng_job_stats(j, &stats);
        CHECK_EQ(stats.stem_cached > 0, turns[i].is_cached);
        CHECK_EQ(s.r.seen, turns[i].seen);
        eng_job_put(j);
    }
    close_stage(&s);
}

/* ---- batches ---- */

/* Turns that a job of that class takes beside those that are there. */
static int turns_of(struct stage *s, int picture, enum eng_class class) {
    struct eng_job *j = ask(s, picture, 6, class);
    int turns = 0;
    while (eng_job_state(j) < ENG_DONE) {
        rig_turn(&s->r, 1);
        CHECK(++turns < 100);
    }
    CHECK_EQ(eng_job_state(j), ENG_DONE);
    eng_job_put(j);
    return turns;
}

/* A mask beside any number of a batch's jobs takes the passes that it takes alone, and they get no
 * row meanwhile; when it is through they go on. */
TEST(sched_a_batch_gets_what_nobody_else_wants) {
    enum { MANY = 30 };
    static struct stage s;
    struct eng_job *j[MANY];
    open_stage(&s, RIG_DIGITS, &ROOMY);
    int alone = turns_of(&s, 39, ENG_MASK);
    for (int i = 0; i < MANY; i++)
        j[i] = ask(&s, i, ALL, ENG_BATCH);
    for (int i = 0; i < 8; i++)
        rig_turn(&s.r, 1);
    CHECK_EQ(eng_job_state(j[0]), ENG_RUNNING);
    static const enum eng_class classes[] = {ENG_MASK, ENG_ACT, ENG_ANSWER, ENG_PICTURE};
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        uint64_t before = 0, after = 0, seen = s.r.seen;
        for (int k = 0; k < MANY; k++)
            before += rows(j[k]);
        CHECK_EQ(turns_of(&s, 31 + (int)i, classes[i]), alone);
        for (int k = 0; k < MANY; k++)
            after += rows(j[k]);
        CHECK_EQ(after, before);
        CHECK_EQ(s.r.seen, seen + 1); /* nor is a picture of theirs looked at */
        rig_turn(&s.r, 1);
    }
    rig_finish(&s.r);
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(eng_job_state(j[i]), ENG_DONE);
        eng_job_put(j[i]);
    }
    close_stage(&s);
}

/* Whatever a batch holds that others need, it gives: stems, slots, lanes. */
TEST(sched_a_batch_makes_room) {
    static const struct rig_sizes tight[] = {{RIG_IMAGE_TOKENS + 4, 300, 300, 128, 8},
                                             {4000, 150, 300, 128, 8},
                                             {4000, 20000, 1, 128, 8}};
    for (size_t i = 0; i < ARRAY_LEN(tight); i++) {
        static struct stage s;
        open_stage(&s, RIG_DIGITS, &tight[i]);
        struct eng_job *first = ask(&s, 0, ALL, ENG_BATCH), *second = ask(&s, 1, ALL, ENG_BATCH);
        for (int k = 0; k < 8; k++)
            rig_turn(&s.r, 1);
        CHECK_EQ(eng_job_state(first), ENG_RUNNING);
        (void)turns_of(&s, 2, ENG_ANSWER);
        CHECK_EQ(s.r.sched.failed, 0); /* to make room is no failure */
        rig_finish(&s.r);
        struct eng_job *of[] = {first, second};
        for (int k = 0; k < 2; k++) {
            if (eng_job_state(of[k]) != ENG_DONE) CHECK_EQ(eng_job_error(of[k])->code, E_BUSY);
            eng_job_put(of[k]);
        }
        close_stage(&s);
    }
}

/* What is too large to be admitted keeps nobody out, and others that wait keep a batch out. */
TEST(sched_a_batch_bars_nobody) {
    static struct stage s;
    const struct rig_sizes one = {RIG_IMAGE_TOKENS + 4, 300, 300, 128, 8};
    open_stage(&s, RIG_WHOLE, &one);
    struct eng_job *first = ask(&s, 0, ALL, ENG_PICTURE);
    rig_turn(&s.r, 1);
    struct eng_job *batch = ask(&s, 1, 1, ENG_BATCH);
    batch->passed_over = 1;
    s.r.sched.admitted += SCHED_SKIPS;
    struct eng_job *same = ask(&s, 0, 1, ENG_PICTURE);
    rig_turn(&s.r, 1);
    CHECK_EQ(eng_job_state(batch), ENG_WAITING);
    CHECK_EQ(eng_job_state(same), ENG_RUNNING);
    rig_finish(&s.r);
    CHECK_EQ(eng_job_state(batch), ENG_DONE);
    eng_job_put(first);
    eng_job_put(same);
    eng_job_put(batch);
    close_stage(&s);
}
