/* bench_beside.c - `lammd bench mix --train`: does a game wait behind a run of `lammd train`?
 *
 * One-shot CarRacing questions with one new frame each are asked while a run is at work beside this
 * process (neighbour.h), and while it stands still, in turns: --repeat of them, so that noise of
 * the machine meets both. The bar: the p99 beside it is at most twice the p99 alone, as the middle
 * of the turns' ratios; least and most of them say how sure that is. --limit N: N acts of each kind
 * in a turn, where else there are 40. Latency runs from before the frame is prepared until the
 * answer is there. No turn begins after the first minute.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/cmd.h"
#include "cli/neighbour.h"
#include "cli/runs.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

enum { BESIDE_SIDE = 96, BESIDE_ACTS = 40, BESIDE_MINUTE_S = 60 };

struct bench_beside {
    const struct config *cfg;
    struct eng *eng;
    struct neighbour *run;
    uint64_t drawn; /* frames so far, each another one */
    uint8_t rgb[BESIDE_SIDE * BESIDE_SIDE * 3];
    struct eng_picture *last;    /* frame */
    struct runs all[2], turn[2]; /* alone, beside it: seconds of all acts, of this turn's */
    struct runs ratio;           /* p99 beside by p99 alone, of each turn */
    long steps;                  /* of the run, while acts were asked beside it */
    double seconds;              /* that this took */
    int turns;
};

static int beside_frame(struct bench_beside *b, struct eng_picture **out, struct err *e) {
    uint64_t k = b->drawn++;
    for (size_t i = 0; i < sizeof(b->rgb); i++)
        b->rgb[i] = (uint8_t)(90 + i / sizeof(b->rgb) * 60 + rng_u64(k, i) % 24);
    return eng_picture_new(b->eng, b->rgb, BESIDE_SIDE, BESIDE_SIDE, out, e);
}

static int beside_act(struct bench_beside *b, struct runs *to, struct err *e) {
    struct eng_picture *frame = NULL;
    struct eng_job *job = NULL;
    uint64_t start = clock_ns();
    int rc = beside_frame(b, &frame, e);
    if (rc) return rc;
    struct eng_picture *frames[ENG_DRIVE_FRAMES] = {b->last ? b->last : frame, frame};
    const struct eng_ask ask = {
        .task = ENG_DRIVE, .pictures = frames, .n_pictures = ENG_DRIVE_FRAMES, .urgency = ENG_ACT};
    rc = eng_submit(b->eng, &ask, &job, e);
    if (rc == 0) (void)eng_job_wait(job, UINT32_MAX, UINT64_MAX);
    if (rc == 0 && eng_job_state(job) != ENG_DONE)
        rc = err_set(e, E_INTERNAL, "an act failed: %s", eng_job_error(job)->text);
    if (rc == 0) runs_add(to, (double)(clock_ns() - start) / 1e9);
    eng_job_put(job);
    eng_picture_put(b->last);
    b->last = frame;
    return rc;
}

/* Pauses as a game does between its frames. */
static int beside_acts(struct bench_beside *b, int count, int is_beside, struct err *e) {
    int rc = 0;
    for (int i = 0; rc == 0 && i < count; i++) {
        struct timespec pause = {0, (long)(rng_u64(5, b->drawn) % 20000000)};
        nanosleep(&pause, NULL);
        rc = beside_act(b, &b->turn[is_beside], e);
    }
    for (int i = 0; i < b->turn[is_beside].n; i++)
        runs_add(&b->all[is_beside], b->turn[is_beside].at[i]);
    return rc;
}

static int beside_turn(struct bench_beside *b, struct err *e) {
    int count = b->cfg->limit ? (int)b->cfg->limit : BESIDE_ACTS;
    b->turn[0].n = b->turn[1].n = 0;
    int rc = beside_acts(b, count, 0, e);
    long steps = neighbour_steps(b->run);
    uint64_t start = clock_ns();
    neighbour_go(b->run);
    if (rc == 0) rc = beside_acts(b, count, 1, e);
    neighbour_pause(b->run);
    if (rc) return rc;
    b->seconds += (double)(clock_ns() - start) / 1e9;
    b->steps += neighbour_steps(b->run) - steps;
    runs_add(&b->ratio, runs_part(&b->turn[1], 0.99) / runs_part(&b->turn[0], 0.99));
    b->turns++;
    return 0;
}

static void beside_print(struct bench_beside *b) {
    static const char *const names[2] = {"alone", "beside lammd train"};
    const struct eng_info *info = eng_info(b->eng);
    double middle = runs_part(&b->ratio, 0.5);
    printf("%s on %s: %d turns\n", info->name, info->backend, b->turns);
    for (int k = 0; k < 2; k++)
        printf("  act %-20s p50 %7.2f ms   p99 %7.2f ms   most %7.2f ms   (%d)\n", names[k],
               runs_part(&b->all[k], 0.5) * 1e3, runs_part(&b->all[k], 0.99) * 1e3,
               runs_part(&b->all[k], 1) * 1e3, b->all[k].n);
    printf("  p99 beside by p99 alone: %.2f (turns: %.2f .. %.2f); the bar, 2: %s\n", middle,
           runs_part(&b->ratio, 0), runs_part(&b->ratio, 1), middle <= 2 ? "held" : "MISSED");
    printf("  the run made %ld steps in %.1f s of that\n", b->steps, b->seconds);
}

static void beside_print_json(struct bench_beside *b) {
    static const char *const names[2] = {"alone", "beside"};
    printf("{\"turns\":%d", b->turns);
    for (int k = 0; k < 2; k++)
        printf(",\"act_%s\":{\"n\":%d,\"p50_s\":%.6f,\"p99_s\":%.6f,\"most_s\":%.6f}", names[k],
               b->all[k].n, runs_part(&b->all[k], 0.5), runs_part(&b->all[k], 0.99),
               runs_part(&b->all[k], 1));
    printf(",\"ratio\":%.4f,\"ratio_least\":%.4f,\"ratio_most\":%.4f,\"steps\":%ld,\"seconds\":%."
           "3f}\n",
           runs_part(&b->ratio, 0.5), runs_part(&b->ratio, 0), runs_part(&b->ratio, 1), b->steps,
           b->seconds);
}

static int beside_run(struct bench_beside *b, struct err *e) {
    uint64_t start = clock_ns();
    int rc = 0;
    for (int i = 0; rc == 0 && i < 4; i++) /* starts threads and touches pages: not counted */
        rc = beside_act(b, &b->turn[0], e);
    for (int i = 0; rc == 0 && i < b->cfg->repeat; i++) {
        if (i && clock_ns() - start > BESIDE_MINUTE_S * CLOCK_S) break;
        rc = beside_turn(b, e);
    }
    if (rc == 0) b->cfg->is_json ? beside_print_json(b) : beside_print(b);
    return rc;
}

int cmd_bench_beside(const struct config *cfg) {
    struct err e = {0};
    char path[4096];
    struct eng_options opt = config_engine(cfg, config_model(cfg, path));
    struct bench_beside *b = mem_must(sizeof(*b));
    b->cfg = cfg;
    int rc = neighbour_start(opt.model, cfg->data.n ? cfg->data.at[0] : NULL, &b->run, &e);
    if (rc == 0) rc = eng_open(&opt, &b->eng, &e);
    if (rc == 0) rc = beside_run(b, &e);
    eng_picture_put(b->last);
    eng_close(b->eng);
    neighbour_end(b->run);
    mem_free(b);
    return rc ? cmd_fail(&e) : 0;
}
