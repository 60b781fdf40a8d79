/* test_bands.c - one picture answered by several devices together: the same bits, and nothing stays
 * behind, however it ends. */
#include <stdatomic.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/kern.h"
#include "tests/check.h"
#include "tests/unit/engine/eng_rig.h"

enum { MANY = 2 * 64 * 32, MOST_UNITS = 3 };

/* Half of lamm-mini's places, some asked twice, in an order that jumps. */
static void many_places(struct eng_point p[MANY]) {
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t k = i * 2654435761u % (MANY / 2 + 7) % (MANY / 2);
        p[i] = (struct eng_point){(uint16_t)(k % 64), (uint16_t)(k / 64)};
    }
}

static struct eng *open_units(int n, const char *dir) {
    const struct kern_ops *ops[MOST_UNITS];
    struct eng *e = NULL;
    struct err err = {0};
    for (int i = 0; i < n; i++)
        CHECK_EQ(kern_find(eng_rig_backend(), &ops[i], NULL), 0);
    struct eng_options o = {.model = dir, .threads = n};
    int rc = eng_open_on(&o, ops, n, &e, &err);
    if (rc) test_failed(__FILE__, __LINE__, "%s", err.text);
    return e;
}

struct told {
    atomic_uint calls, most, backwards;
};

/* What is ready never shrinks, whichever unit found it. */
static void tell(void *ud, struct eng_job *j) {
    struct told *t = ud;
    uint32_t n, most = atomic_load(&t->most);
    (void)eng_job_answers(j, &n);
    if (n < most) atomic_fetch_add(&t->backwards, 1);
    atomic_store(&t->most, n);
    atomic_fetch_add(&t->calls, 1);
}

/* Answers by their point's number. */
static void collect_many(struct eng_job *j, struct eng_answer *to) {
    static uint8_t is_there[MANY];
    uint32_t n;
    eng_rig_wait(j);
    CHECK_EQ(eng_job_state(j), ENG_DONE);
    CHECK_EQ(eng_job_error(j)->code, 0);
    const struct eng_answer *a = eng_job_answers(j, &n);
    CHECK_EQ(n, MANY);
    memset(is_there, 0, sizeof is_there);
    for (uint32_t i = 0; i < n; i++) {
        CHECK(a[i].point < MANY && !is_there[a[i].point]);
        is_there[a[i].point] = 1;
        to[a[i].point] = a[i];
    }
}

/* A picture is answered by all devices that have nothing to do, in the same bits. */
TEST_LIMIT(devices_answer_one_picture_together, 120) {
    static struct eng_point points[MANY];
    static struct eng_answer want[MANY], got[MANY];
    many_places(points);
    for (int units = 1; units <= MOST_UNITS; units++) {
        struct eng *e = open_units(units, MINI);
        struct eng_picture *picture = eng_rig_picture(e, 0);
        struct told told = {0};
        struct eng_job *j;
        struct eng_job_stats s;
        struct eng_ask ask = {.pictures = &picture,
                              .n_pictures = 1,
                              .points = points,
                              .n_points = MANY,
                              .urgency = ENG_PICTURE,
                              .wake = tell,
                              .ud = &told};
        CHECK_EQ(eng_submit(e, &ask, &j, NULL), 0);
        collect_many(j, units == 1 ? want : got);
        if (units > 1) CHECK(eng_rig_same(want, got, MANY));
        eng_job_stats(j, &s);
        CHECK(s.rows > MANY / 2 && s.rows_plain > s.rows && s.first_ns <= s.end_ns && s.vision_ns);
        CHECK(eng_job_cost(j) >= s.rows && eng_job_prompt_tokens(j) > 0);
        CHECK(atomic_load(&told.calls) > 1 && atomic_load(&told.backwards) == 0);
        CHECK(atomic_load(&told.most) <= MANY);
        eng_job_put(j);
        for (int d = 0; d < units; d++)
            CHECK_EQ(eng_rig_seen(e, d), 1);
        eng_picture_put(picture);
        eng_close(e);
    }
}

/* Put before its end, cancelled, too late, refused: nothing stays behind, and no unit goes on. */
TEST_LIMIT(devices_end_all_bands_of_a_job, 120) {
    static struct eng_point points[MANY];
    struct mem_stats before;
    struct eng_stats s;
    struct eng *e = open_units(2, MINI);
    struct eng_picture *picture = eng_rig_picture(e, 0);
    struct eng_ask ask = {
        .pictures = &picture, .n_pictures = 1, .points = points, .n_points = MANY};
    struct eng_job *j;
    many_places(points);
    ask.urgency = ENG_PICTURE;
    mem_stats(&before);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(eng_submit(e, &ask, &j, NULL), 0);
        if (i % 2) (void)eng_job_wait(j, 0, UINT64_MAX);
        if (i >= 2) {
            eng_job_cancel(j);
            eng_rig_wait(j);
            CHECK_EQ(eng_job_state(j), ENG_CANCELLED);
            CHECK_EQ(eng_job_error(j)->code, E_CANCELLED);
        }
        eng_job_put(j);
        eng_rig_idle(e, &s);
    }
    CHECK_EQ(s.jobs_cancelled, 2 * 4);
    ask.deadline_ns = 1;
    struct err err = {0};
    int rc = eng_submit(e, &ask, &j, &err);
    if (!rc) {
        eng_rig_wait(j);
        CHECK_EQ(eng_job_state(j), ENG_FAILED);
        CHECK_EQ(eng_job_error(j)->code, E_TIMEOUT);
        eng_job_put(j);
    } else {
        CHECK_EQ(rc, E_BUSY);
    }
    ask.deadline_ns = 0;
    points[MANY - 1].x = 64;
    CHECK_EQ(eng_submit(e, &ask, &j, &err), E_INVALID);
    CHECK_HAS(err.text, "outside the 64 x 64 grid");
    points[MANY - 1].x = 0;
    ask.n_pictures = 0;
    CHECK_EQ(eng_submit(e, &ask, &j, &err), E_INVALID);
    eng_rig_idle(e, &s);
    eng_rig_memory_back(before.live_bytes);
    eng_picture_put(picture);
    eng_close(e);
}

/* Places of one row can't be cut between rows. */
TEST_LIMIT(devices_leave_one_row_whole, 60) {
    static struct eng_point points[MANY];
    static struct eng_answer got[MANY];
    struct eng *e = open_units(2, MINI);
    struct eng_picture *picture = eng_rig_picture(e, 0);
    struct eng_ask ask = {
        .pictures = &picture, .n_pictures = 1, .points = points, .n_points = MANY};
    struct eng_job *j;
    for (uint32_t i = 0; i < MANY; i++)
        points[i] = (struct eng_point){(uint16_t)(i % 64), 5};
    CHECK_EQ(eng_submit(e, &ask, &j, NULL), 0);
    collect_many(j, got);
    for (uint32_t i = 64; i < MANY; i++)
        CHECK(!memcmp(got[i].rgb, got[i % 64].rgb, 3));
    eng_job_put(j);
    CHECK_EQ(eng_rig_seen(e, 0) + eng_rig_seen(e, 1), 1);
    eng_picture_put(picture);
    eng_close(e);
}

/* A picture isn't shared with another kind of device, which has other bits and another pace. */
TEST_LIMIT(devices_of_two_kinds_answer_apart, 60) {
    static struct eng_point points[MANY];
    static struct eng_answer got[MANY];
    const struct kern_ops *ops;
    struct eng *e = NULL;
    struct eng_job *j;
    CHECK_EQ(kern_find(eng_rig_backend(), &ops, NULL), 0);
    struct kern_ops other = *ops;
    other.name = "another";
    struct eng_options o = {.model = MINI, .threads = 2};
    CHECK_EQ(eng_open_on(&o, (const struct kern_ops *const[]){ops, &other}, 2, &e, NULL), 0);
    struct eng_picture *picture = eng_rig_picture(e, 0);
    struct eng_ask ask = {
        .pictures = &picture, .n_pictures = 1, .points = points, .n_points = MANY};
    many_places(points);
    CHECK_EQ(eng_submit(e, &ask, &j, NULL), 0);
    collect_many(j, got);
    eng_job_put(j);
    CHECK_EQ(eng_rig_seen(e, 0) + eng_rig_seen(e, 1), 1);
    eng_picture_put(picture);
    eng_close(e);
}

/* Two cards of one backend, of the kinds that a test gives them. */
static const struct kern_ops *host;
static _Atomic uint64_t kinds[2];
static void stats_of(struct kern *k, struct kern_stats *out, int card) {
    host->stats(k, out);
    out->bits = atomic_load(&kinds[card]);
}
static void stats_0(struct kern *k, struct kern_stats *out) { stats_of(k, out, 0); }
static void stats_1(struct kern *k, struct kern_stats *out) { stats_of(k, out, 1); }

static void ask_one_place(struct eng *e, int number) {
    struct eng_picture *picture = eng_rig_picture(e, number);
    struct eng_point point = {0, 0};
    struct eng_ask ask = {.pictures = &picture, .n_pictures = 1, .points = &point, .n_points = 1};
    struct eng_job *j;
    CHECK_EQ(eng_submit(e, &ask, &j, NULL), 0);
    eng_rig_wait(j);
    eng_job_put(j);
    eng_picture_put(picture);
}

/* Cards of one backend share a picture while they give the same bits, and no longer. */
TEST_LIMIT(devices_of_one_backend_share_while_they_are_of_one_kind, 120) {
    static const struct {
        uint64_t at_open, then;
        int seen;
    } cases[] = {{7, 7, 2}, {8, 8, 1}, {7, 8, 1}};
    static struct eng_point points[MANY];
    static struct eng_answer got[MANY];
    CHECK_EQ(kern_find(eng_rig_backend(), &host, NULL), 0);
    struct kern_ops card[2] = {*host, *host};
    card[0].stats = stats_0;
    card[1].stats = stats_1;
    many_places(points);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct eng *e = NULL;
        struct eng_job *j;
        struct eng_stats s;
        struct eng_options o = {.model = MINI, .threads = 2};
        atomic_store(&kinds[0], 7);
        atomic_store(&kinds[1], cases[i].at_open);
        CHECK_EQ(eng_open_on(&o, (const struct kern_ops *const[]){&card[0], &card[1]}, 2, &e, NULL),
                 0);
        CHECK_HAS(eng_info(e)->backend, ", products 0000000000000007; ");
        struct eng_picture *picture = eng_rig_picture(e, 0);
        struct eng_ask ask = {
            .pictures = &picture, .n_pictures = 1, .points = points, .n_points = MANY};
        atomic_store(&kinds[1], cases[i].then);
        eng_device_stats(e, 1, &s);
        for (int n = 1; s.bits != cases[i].then;
             n++) { /* until it has a turn in which it says so */
            ask_one_place(e, n);
            eng_device_stats(e, 1, &s);
            CHECK(n < 40);
        }
        eng_rig_idle(e, &s);
        uint64_t before[2] = {eng_rig_seen(e, 0), eng_rig_seen(e, 1)};
        CHECK_EQ(eng_submit(e, &ask, &j, NULL), 0);
        collect_many(j, got);
        eng_job_put(j);
        CHECK_EQ(eng_rig_seen(e, 0) - before[0] + eng_rig_seen(e, 1) - before[1], cases[i].seen);
        eng_picture_put(picture);
        eng_close(e);
    }
}
