/* test_engine_mini.c - the proof on the default model, all 4,096 places of a picture.
 *
 * A loop that runs each full prompt alone, every width, one thread and two, a cold and a warm
 * cache, a job of another picture beside it: the same answers, bit by bit. (test_engine.c shows the
 * same on the small models for every estimate.) Between kinds of vector code sums round
 * differently, so that each is held to itself, and how far they agree is printed.
 */
#include <stdio.h>

#include "engine/engine.h"
#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/engine/eng_rig.h"

enum { GRID = 64, ALL = GRID * GRID };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SLOW = 1 }; /* ten minutes for what takes half of one */
#else
enum { SLOW = 0 };
#endif

static struct eng *open_mini(struct eng_options opt) {
    struct eng *e;
    struct err err = {0};
    opt.model = MINI;
    if (!opt.device) opt.device = eng_rig_backend();
    int rc = eng_open(&opt, &e, &err);
    if (strcmp(opt.device, "cuda") == 0 && (rc == E_NOT_FOUND || rc == E_UNSUPPORTED))
        skip("%s", err.text);
    if (rc) test_failed(__FILE__, __LINE__, "%s", err.text);
    CHECK_EQ(eng_info(e)->grid, GRID);
    return e;
}

static struct eng_job *submit_all(struct eng *e, struct eng_picture *picture, int distribution) {
    static struct eng_point points[ALL];
    for (int i = 0; i < ALL; i++)
        points[i] = (struct eng_point){(uint16_t)(i % GRID), (uint16_t)(i / GRID)};
    struct eng_ask ask = {.pictures = &picture,
                          .n_pictures = 1,
                          .points = points,
                          .n_points = ALL,
                          .distribution = distribution,
                          .urgency = ENG_PICTURE};
    struct eng_job *j;
    CHECK_EQ(eng_submit(e, &ask, &j, NULL), 0);
    return j;
}

/* Waits for the job, sorts its answers by place and puts it. */
static void collect(struct eng_job *j, struct eng_answer *by_place) {
    uint32_t n = 0;
    while (eng_job_state(j) < ENG_DONE) {
        CHECK_EQ(eng_job_wait(j, n, UINT64_MAX), 0);
        (void)eng_job_answers(j, &n);
    }
    CHECK_EQ(eng_job_state(j), ENG_DONE);
    const struct eng_answer *a = eng_job_answers(j, &n);
    CHECK_EQ(n, ALL);
    for (int i = 0; i < ALL; i++)
        by_place[a[i].point] = a[i];
    eng_job_put(j);
}

static void ask_all(struct eng_options opt, int n, struct eng_answer *by_place) {
    struct eng *e = open_mini(opt);
    struct eng_picture *picture = eng_rig_picture(e, n);
    collect(submit_all(e, picture, 1), by_place);
    eng_picture_put(picture);
    eng_close(e);
}

TEST_LIMIT(engine_mini_equals_the_plain_loop, 600) {
    struct eng_answer *a = mem_must(ALL * sizeof *a);
    ask_all((struct eng_options){.threads = 2}, 3, a);
    struct plain *p = plain_open(MINI, 3);
    for (int i = 0; i < ALL; i += SLOW ? 61 : test_count(31, 1)) {
        uint8_t rgb[3];
        plain_mode(p, i % GRID, i / GRID, rgb);
        if (memcmp(rgb, a[i].rgb, 3) != 0)
            test_failed(__FILE__, __LINE__, "place %d: %d,%d,%d alone, %d,%d,%d in the crowd", i,
                        rgb[0], rgb[1], rgb[2], a[i].rgb[0], a[i].rgb[1], a[i].rgb[2]);
    }
    plain_close(p);
    mem_free(a);
}

/* Cold, then warm, then beside a job of another picture: so many rounds of these three. */
static void check_same(struct eng_options opt, const struct eng_answer *want, int rounds) {
    struct eng_answer *got = mem_must(ALL * sizeof *got);
    struct eng *e = open_mini(opt);
    struct eng_picture *picture = eng_rig_picture(e, 3), *other = eng_rig_picture(e, 4);
    for (int round = 0; round < rounds; round++) {
        struct eng_job *beside = round == 2 ? submit_all(e, other, 0) : NULL;
        collect(submit_all(e, picture, 1), got);
        CHECK(eng_rig_same(got, want, ALL));
        eng_job_put(beside);
    }
    struct eng_stats s;
    eng_rig_idle(e, &s);
    CHECK_EQ(s.allocations_in_step, 0);
    CHECK_EQ(s.kv_used, 0);
    CHECK_EQ(s.lanes, 0);
    eng_picture_put(picture);
    eng_picture_put(other);
    eng_close(e);
    mem_free(got);
}

TEST_LIMIT(engine_mini_is_the_same_always, 600) {
    static const struct eng_options ways[] = {{.threads = 2},
                                              {.threads = 2, .lanes = 7},
                                              {.threads = 1, .lanes = 1},
                                              {.threads = 2, .lanes = 64},
                                              {.threads = 1, .lanes = 4096}};
    struct eng_answer *want = mem_must(ALL * sizeof *want);
    ask_all((struct eng_options){.threads = 1, .lanes = 64}, 3, want);
    for (int i = 0; i < (SLOW ? 1 : test_count(2, ARRAY_LEN(ways))); i++)
        check_same(ways[i], want, i == 0 ? 3 : test_count(1, 3));
    mem_free(want);
}

/* Is the first channel that differs one where either value was about as likely? */
static int is_near_tie(const struct eng_answer *a, const struct eng_answer *b) {
    int c = 0;
    while (a->rgb[c] == b->rgb[c])
        c++;
    return fabsf(a->prob[c] - b->prob[c]) <= 0.02f;
}

/* The GPU against the CPU: the same answers but for near ties, which are counted; and held to
 * itself at every width. */
TEST_LIMIT(engine_mini_cuda, 600) {
    static const char *const modes[] = {"strict", "flat", "tile"};
    struct eng_answer *want = mem_must(ALL * sizeof *want), *a = mem_must(ALL * sizeof *a);
    ask_all((struct eng_options){.device = "cuda", .isa = "strict"}, 3, a); /* skips early */
    ask_all((struct eng_options){.threads = 0}, 3, want);
    for (int m = 0; m < 3; m++) {
        struct eng_options opt = {.device = "cuda", .isa = modes[m]};
        ask_all(opt, 3, a);
        int ties = 0;
        for (int i = 0; i < ALL; i++) {
            if (!memcmp(a[i].rgb, want[i].rgb, 3)) continue;
            ties++;
            if (!is_near_tie(&a[i], &want[i]))
                test_failed(__FILE__, __LINE__, "%s: place %d: %d,%d,%d, not %d,%d,%d", modes[m], i,
                            a[i].rgb[0], a[i].rgb[1], a[i].rgb[2], want[i].rgb[0], want[i].rgb[1],
                            want[i].rgb[2]);
        }
        printf("cuda %s: %d of %d answers differ from the CPU's, all near ties\n", modes[m], ties,
               ALL);
        for (int width = 64; width <= 4096; width *= 64) {
            opt.lanes = width;
            check_same(opt, a, 3);
        }
    }
    mem_free(want);
    mem_free(a);
}

TEST_LIMIT(engine_mini_on_every_kind_of_vector_code, 600) {
    static const char *const isas[] = {"portable", "avx2", "avx512"};
    struct eng_answer *first = mem_must(ALL * sizeof *first), *a = mem_must(ALL * sizeof *a);
    for (int k = 0; k < (SLOW ? 0 : 3); k++) {
        struct eng *e;
        struct eng_options opt = {.model = MINI, .device = "cpu", .isa = isas[k], .threads = 2};
        struct err err = {0};
        if (eng_open(&opt, &e, &err)) {
            printf("%s: %s\n", isas[k], err.text);
            continue;
        }
        eng_close(e);
        ask_all(opt, 3, k ? a : first);
        if (k == 0) continue;
        int same = 0;
        for (int i = 0; i < ALL; i++)
            same += memcmp(first[i].rgb, a[i].rgb, 3) == 0;
        printf("%s and portable: %d of %d answers equal\n", isas[k], same, ALL);
        CHECK(same > ALL - ALL / 50); /* apart only where two choices are all but tied */
        opt.lanes = 4096;
        check_same(opt, a, test_count(0, 3));
    }
    mem_free(first);
    mem_free(a);
}
