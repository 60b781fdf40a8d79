/* bench_mix.c - `lammd bench mix`: how well tasks share the machine, as ratios within one run.
 *
 * act       one-shot CarRacing questions with one new frame each: alone, and beside whole pictures
 *           that never stop. The bar: the p99 beside them is at most 1.5 times the p99 alone plus
 *           one pass.
 * masks     whole-grid masks of eight sentences about a picture: one after the other, and at once.
 * pictures  eight whole pictures: one after the other, and at once.
 *
 * adapters  with --adapter DIR, as often as there are to be: acts by the base beside whole pictures
 *           by the base, and acts by each adapter in turn beside whole pictures by the others. The
 *           bar: the p99 with them is at most 1.2 times the p99 without. Nothing else is measured.
 *
 * What is compared is measured in turns, --repeat of them, so that noise of the machine meets both.
 * Frames and pictures are drawn by code, each a new one. Latency runs from before the frame is
 * prepared until the answer is there. No turn begins after the first minute. With --quick only act
 * is measured. --limit N: N acts where else there are 40.
 */
#include <stdio.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/places.h"
#include "cli/runs.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

enum { FRAME = 96, PICTURE = 256, ACTS = 40, BULK = 2, BULK_MAX = 3, TOGETHER = 8, MINUTE_S = 60 };

struct mix {
    const struct config *cfg;
    struct eng *eng;
    uint32_t places, drawn; /* questions of a whole picture; pictures made so far */
    struct eng_point *points;
    uint8_t *rgb;
    struct eng_picture *last; /* frame */
    struct eng_job *bulk[BULK_MAX];
    int n_bulk;
    struct runs act[2]; /* alone, beside whole pictures */
    struct eng_adapter *adapters[ENG_ADAPTERS_MAX];
    int n_adapters, is_with, turn;   /* is_with: they are asked, and whose turn it is */
    struct runs with[2];             /* acts as `act`, by adapters */
    struct runs pass;                /* mean of a turn, beside whole pictures */
    struct runs mask[2], picture[2]; /* eight of them: in turn, at once */
    uint64_t bulk_done;              /* places answered beside acts */
    double bulk_s;
    int turns;
};

static double since(uint64_t start) { return (double)(clock_ns() - start) / 1e9; }

/* A new picture: a soft ground, a disc that moves, grain. */
static int bench_mix_draw(struct mix *m, int side, struct eng_picture **out, struct err *e) {
    uint32_t k = m->drawn++;
    int cx = side / 4 + (int)(k * 3 % (uint32_t)(side / 2)), cy = side / 2, r = side / 6;
    for (int y = 0; y < side; y++) {
        for (int x = 0; x < side; x++) {
            uint8_t *p = m->rgb + 3 * (y * side + x);
            int grain = (int)(rng_u64(k, (uint64_t)(y * side + x)) % 8);
            int inside = (x - cx) * (x - cx) + (y - cy) * (y - cy) < r * r;
            p[0] = (uint8_t)((inside ? 200 : 60 + x * 90 / side) + grain);
            p[1] = (uint8_t)((inside ? 40 : 110 + y * 90 / side) + grain);
            p[2] = (uint8_t)((inside ? 30 : 70) + grain);
        }
    }
    return eng_picture_new(m->eng, m->rgb, side, side, out, e);
}

static int bench_mix_finish(struct eng_job *job, struct err *e) {
    (void)eng_job_wait(job, UINT32_MAX, UINT64_MAX);
    int rc = eng_job_state(job) == ENG_DONE
                 ? 0
                 : err_set(e, E_INTERNAL, "a job failed: %s", eng_job_error(job)->text);
    eng_job_put(job);
    return rc;
}

/* Whom the next job asks: the adapters one after the other, or the base. */
static struct eng_adapter *next_adapter(struct mix *m) {
    return m->is_with ? m->adapters[m->turn++ % m->n_adapters] : NULL;
}

/* Every place of a picture: of its pixels, or of a sentence's mask. */
static int submit_whole(struct mix *m, struct eng_picture *picture, const char *sentence,
                        struct eng_job **job, struct err *e) {
    const struct eng_ask ask = {.task = sentence ? ENG_SEGMENT : ENG_PIXELS,
                                .pictures = &picture,
                                .n_pictures = 1,
                                .adapter = next_adapter(m),
                                .text = sentence,
                                .points = m->points,
                                .n_points = m->places,
                                .urgency = sentence ? ENG_MASK : ENG_PICTURE};
    return eng_submit(m->eng, &ask, job, e);
}

/* ---- act ---- */

/* Keep whole pictures running: each that has ended is followed by a new one. */
static int keep_busy(struct mix *m, struct err *e) {
    for (int i = 0; i < m->n_bulk; i++) {
        if (m->bulk[i] && eng_job_state(m->bulk[i]) < ENG_DONE) continue;
        if (m->bulk[i]) {
            struct eng_job *ended = m->bulk[i];
            m->bulk[i] = NULL;
            m->bulk_done += m->places;
            int rc = bench_mix_finish(ended, e);
            if (rc) return rc;
        }
        struct eng_picture *picture = NULL;
        int rc = bench_mix_draw(m, PICTURE, &picture, e);
        if (rc == 0) rc = submit_whole(m, picture, NULL, &m->bulk[i], e);
        eng_picture_put(picture);
        if (rc) return rc;
    }
    return 0;
}

static void stop_busy(struct mix *m) {
    for (int i = 0; i < m->n_bulk; i++) {
        uint32_t n = 0;
        if (m->bulk[i]) (void)eng_job_answers(m->bulk[i], &n);
        m->bulk_done += n;
        eng_job_put(m->bulk[i]); /* cancels */
        m->bulk[i] = NULL;
    }
}

static int bench_mix_act(struct mix *m, struct runs *to, struct err *e) {
    struct eng_picture *frame = NULL;
    struct eng_job *job = NULL;
    uint64_t start = clock_ns();
    int rc = bench_mix_draw(m, FRAME, &frame, e);
    if (rc) return rc;
    struct eng_picture *frames[ENG_DRIVE_FRAMES] = {m->last ? m->last : frame, frame};
    const struct eng_ask ask = {.task = ENG_DRIVE,
                                .pictures = frames,
                                .n_pictures = ENG_DRIVE_FRAMES,
                                .adapter = next_adapter(m),
                                .urgency = ENG_ACT};
    rc = eng_submit(m->eng, &ask, &job, e);
    if (rc == 0) rc = bench_mix_finish(job, e);
    if (rc == 0 && to) runs_add(to, since(start));
    eng_picture_put(m->last);
    m->last = frame;
    return rc;
}

/* Pauses as a game does between its frames, so that an act may come at any moment of a pass. */
static int acts(struct mix *m, int is_busy, int count, int keep, struct err *e) {
    int rc = 0;
    for (int i = 0; rc == 0 && i < count; i++) {
        if (is_busy) rc = keep_busy(m, e);
        struct timespec pause = {0, (long)(rng_u64(5, m->drawn) % 20000000)};
        nanosleep(&pause, NULL);
        struct runs *to = m->is_with ? m->with : m->act;
        if (rc == 0) rc = bench_mix_act(m, keep ? &to[is_busy] : NULL, e);
    }
    return rc;
}

static int turn_of_acts(struct mix *m, int keep, struct err *e) {
    int most = m->cfg->limit ? (int)m->cfg->limit : ACTS;
    int count = keep || most < 4 ? most : 4, rc = acts(m, 0, count, keep, e);
    struct eng_stats before, after;
    if (rc == 0) rc = keep_busy(m, e);
    eng_stats(m->eng, &before);
    uint64_t start = clock_ns();
    if (rc == 0) rc = acts(m, 1, count, keep, e);
    eng_stats(m->eng, &after);
    if (keep && after.passes > before.passes)
        runs_add(&m->pass, (double)(after.pass_ns - before.pass_ns) / 1e9 /
                               (double)(after.passes - before.passes));
    if (keep) m->bulk_s += since(start);
    stop_busy(m);
    if (!keep) m->bulk_done = 0;
    return rc;
}

/* ---- eight at once ---- */

/* Eight masks of one picture, or eight pictures; at once, or one after the other. */
static int eight(struct mix *m, int masks, int at_once, struct runs *to, struct err *e) {
    static const char *const sentences[TOGETHER] = {
        "the red circle",         "the ground",        "the thing on the left", "all red things",
        "the thing on the right", "the biggest thing", "the smallest thing",    "the blue square"};
    struct eng_picture *picture[TOGETHER] = {0};
    struct eng_job *job[TOGETHER] = {0};
    int rc = 0;
    for (int i = 0; rc == 0 && i < (masks ? 1 : TOGETHER); i++)
        rc = bench_mix_draw(m, PICTURE, &picture[i], e);
    uint64_t start = clock_ns();
    for (int i = 0; rc == 0 && i < TOGETHER; i++) {
        rc = submit_whole(m, picture[masks ? 0 : i], masks ? sentences[i] : NULL, &job[i], e);
        if (rc == 0 && !at_once) {
            rc = bench_mix_finish(job[i], e);
            job[i] = NULL;
        }
    }
    for (int i = 0; i < TOGETHER; i++) {
        if (job[i] && rc == 0)
            rc = bench_mix_finish(job[i], e);
        else
            eng_job_put(job[i]);
    }
    if (rc == 0) runs_add(to, since(start));
    for (int i = 0; i < TOGETHER; i++)
        eng_picture_put(picture[i]);
    return rc;
}

static int one_turn(struct mix *m, int keep, struct err *e) {
    int rc = turn_of_acts(m, keep, e);
    if (rc == 0 && m->n_adapters) {
        m->is_with = 1;
        rc = turn_of_acts(m, keep, e);
        m->is_with = 0;
        m->turns += rc == 0 && keep;
        return rc;
    }
    if (!keep) return rc;
    for (int k = 0; rc == 0 && k < 2 && !m->cfg->is_quick; k++) {
        rc = eight(m, 1, k, &m->mask[k], e);
        if (rc == 0) rc = eight(m, 0, k, &m->picture[k], e);
    }
    m->turns += rc == 0;
    return rc;
}

/* ---- figures ---- */

static void print_eight(const char *what, struct runs r[2], uint32_t places) {
    double turn = runs_part(&r[0], 0.5), once = runs_part(&r[1], 0.5);
    printf(
        "  eight %-9s in turn %8.1f ms, at once %8.1f ms: %.2f times as fast; %.2f a second, %.0f "
        "places a second\n",
        what, turn * 1e3, once * 1e3, turn / once, TOGETHER / once, TOGETHER * places / once);
}

static void bench_mix_print(struct mix *m) {
    const struct eng_info *info = eng_info(m->eng);
    double alone = runs_part(&m->act[0], 0.99), beside = runs_part(&m->act[1], 0.99);
    double pass = runs_part(&m->pass, 0.5), bar = 1.5 * alone + pass;
    printf("%s on %s: %d turns, %u places\n", info->name, info->backend, m->turns, m->places);
    for (int k = 0; k < 2; k++)
        printf("  act %-26s p50 %7.2f ms   p99 %7.2f ms   most %7.2f ms   (%d)\n",
               k ? "beside whole pictures" : "alone", runs_part(&m->act[k], 0.5) * 1e3,
               runs_part(&m->act[k], 0.99) * 1e3, runs_part(&m->act[k], 1) * 1e3, m->act[k].n);
    printf("  a pass beside whole pictures    %7.2f ms; they go on at %.0f places a second\n",
           pass * 1e3, (double)m->bulk_done / m->bulk_s);
    printf("  the bar, 1.5 x p99 + a pass     %7.2f ms: %s (%.2f of it)\n", bar * 1e3,
           beside <= bar ? "held" : "MISSED", beside / bar);
    if (m->cfg->is_quick) return;
    print_eight("masks", m->mask, m->places);
    print_eight("pictures", m->picture, m->places);
}

static void print_with(struct mix *m) {
    static const char *const names[2] = {"alone", "beside whole pictures"};
    const struct eng_info *info = eng_info(m->eng);
    printf("%s on %s: %d turns, %d adapters\n", info->name, info->backend, m->turns, m->n_adapters);
    for (int k = 0; k < 2; k++) {
        double without = runs_part(&m->act[k], 0.99), with = runs_part(&m->with[k], 0.99);
        printf("  act %-22s by the base: p50 %7.2f ms   p99 %7.2f ms   (%d)\n", names[k],
               runs_part(&m->act[k], 0.5) * 1e3, without * 1e3, m->act[k].n);
        printf("  %26s by %2d adapters: p50 %5.2f ms   p99 %7.2f ms   (%d)\n", "", m->n_adapters,
               runs_part(&m->with[k], 0.5) * 1e3, with * 1e3, m->with[k].n);
        printf("  %26s the bar, 1.2 x p99: %s (%.2f times; p50 %.2f times)\n", "",
               with <= 1.2 * without ? "held" : "MISSED", with / without,
               runs_part(&m->with[k], 0.5) / runs_part(&m->act[k], 0.5));
    }
}

static void bench_mix_print_json(struct mix *m) {
    static const char *const names[2] = {"alone", "beside"};
    double alone = runs_part(&m->act[0], 0.99), pass = runs_part(&m->pass, 0.5);
    printf("{\"turns\":%d,\"places\":%u", m->turns, m->places);
    for (int k = 0; k < 2; k++)
        printf(",\"act_%s\":{\"n\":%d,\"p50_s\":%.6f,\"p99_s\":%.6f,\"most_s\":%.6f}", names[k],
               m->act[k].n, runs_part(&m->act[k], 0.5), runs_part(&m->act[k], 0.99),
               runs_part(&m->act[k], 1));
    for (int k = 0; k < 2 && m->n_adapters; k++)
        printf(",\"adapters_%s\":{\"n\":%d,\"p50_s\":%.6f,\"p99_s\":%.6f}", names[k], m->with[k].n,
               runs_part(&m->with[k], 0.5), runs_part(&m->with[k], 0.99));
    printf(",\"pass_s\":%.6f,\"bar_s\":%.6f,\"bulk_places_per_second\":%.1f", pass,
           1.5 * alone + pass, (double)m->bulk_done / m->bulk_s);
    if (m->cfg->is_quick || m->n_adapters) {
        puts("}");
        return;
    }
    printf(",\"masks\":{\"in_turn_s\":%.6f,\"at_once_s\":%.6f}", runs_part(&m->mask[0], 0.5),
           runs_part(&m->mask[1], 0.5));
    printf(",\"pictures\":{\"in_turn_s\":%.6f,\"at_once_s\":%.6f}}\n",
           runs_part(&m->picture[0], 0.5), runs_part(&m->picture[1], 0.5));
}

/* Waits until all of them are loaded. */
static int load_adapters(struct mix *m, struct err *e) {
    for (int i = 0; i < m->cfg->with.n; i++) {
        struct eng_adapter *a;
        int rc = eng_adapter_load(m->eng, m->cfg->with.at[i], NULL, NULL, &a, e);
        if (rc) return rc;
        m->adapters[m->n_adapters++] = a;
        while (eng_adapter_state(a) < ENG_DONE)
            nanosleep(&(struct timespec){0, 1000000}, NULL);
        if (eng_adapter_state(a) == ENG_FAILED)
            return err_set(e, eng_adapter_error(a)->code, "%s", eng_adapter_error(a)->text);
    }
    return 0;
}

static int bench_mix_run(struct mix *m, struct err *e) {
    uint32_t grid = (uint32_t)eng_info(m->eng)->grid;
    m->places = grid * grid;
    m->points = places_of((int)grid);
    int rc = one_turn(m, 0, e); /* starts threads and touches pages: it is not counted */
    uint64_t start = clock_ns();
    for (int i = 0; rc == 0 && i < m->cfg->repeat && (i == 0 || since(start) < MINUTE_S); i++)
        rc = one_turn(m, 1, e);
    if (rc == 0 && m->cfg->is_json)
        bench_mix_print_json(m);
    else if (rc == 0)
        m->n_adapters ? print_with(m) : bench_mix_print(m);
    return rc;
}

int cmd_bench_mix(const struct config *cfg) {
    struct err e = {0};
    char path[4096];
    struct eng_options opt = config_engine(cfg, config_model(cfg, path));
    struct mix *m = mem_must(sizeof(*m));
    m->cfg = cfg;
    m->rgb = mem_must((size_t)PICTURE * PICTURE * 3);
    m->n_bulk = cfg->with.n ? BULK_MAX : BULK; /* so that four adapters meet in a pass */
    opt.adapters = opt.adapter_overlays = cfg->with.n;
    int rc = eng_open(&opt, &m->eng, &e);
    if (rc == 0) rc = load_adapters(m, &e);
    if (rc == 0) rc = bench_mix_run(m, &e);
    stop_busy(m);
    eng_picture_put(m->last);
    for (int i = 0; i < m->n_adapters; i++)
        eng_adapter_put(m->adapters[i]);
    eng_close(m->eng);
    mem_free(m->points);
    mem_free(m->rgb);
    mem_free(m);
    return rc ? cmd_fail(&e) : 0;
}
