/* bench.c - `lammd bench pix4096`: how fast all questions of one picture are answered here. The
 * others are in files of their own: bench_mix.c, bench_beside.c, bench_ops.c, bench_train.c.
 *
 * A cold job pays for the vision tower, the stem and the answers; a warm one finds the stem in the
 * cache. Each cold run has another picture (bench_photo.h). Decoding
 * and resizing the photo is measured apart. Then every place of the same picture is asked for a
 * mask: its features are known, the sentence is not. Then a game's action, for the picture and a
 * new frame. All that is done for each number of --rows in one engine, which is opened with the
 * largest. The widths show what packing is worth: the same job with fewer questions in flight. The
 * useful-token ratio is rows that a loop of full prompts would compute over rows that were
 * computed. Figures are the median of the runs, with least and most. What is known is printed at
 * once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "cli/bench_photo.h"
#include "cli/cmd.h"
#include "cli/places.h"
#include "cli/runs.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

enum { ACTS = 3 /* of a run */ };
static const int widths[] = {64, 256, 1024, 4096};

struct bench {
    const struct config *cfg;
    struct eng *eng;
    struct bench_photo photo;
    struct runs prepare, cold, cold_first, warm, warm_first, see, mask, act; /* seconds */
    struct eng_job_stats last;                                               /* of a cold job */
    double open_s; /* weights to the device, buffers, prompts */
    int rows;      /* of a pass, at most */
    uint32_t n;    /* places that are asked */
};

static double middle(struct runs *r) { return runs_part(r, 0.5); }

static int run_job(struct bench *b, const struct eng_ask *a, struct runs *total, struct runs *first,
                   struct err *e) {
    struct eng_job *job = NULL;
    int rc = eng_submit(b->eng, a, &job, e);
    if (rc) return rc;
    (void)eng_job_wait(job, UINT32_MAX, UINT64_MAX);
    eng_job_stats(job, &b->last);
    if (eng_job_state(job) != ENG_DONE)
        rc = err_set(e, E_INTERNAL, "a job failed: %s", eng_job_error(job)->text);
    runs_add(total, (double)(b->last.end_ns - b->last.queued_ns) / 1e9);
    if (first) runs_add(first, (double)(b->last.first_ns - b->last.queued_ns) / 1e9);
    eng_job_put(job);
    return rc;
}

/* All questions of `picture`, once; or, with a sentence, its whole mask. */
static int bench_ask(struct bench *b, struct eng_picture *picture, const char *sentence,
                     struct runs *total, struct runs *first, struct err *e) {
    uint32_t grid = (uint32_t)eng_info(b->eng)->grid, all = grid * grid;
    b->n = b->cfg->limit && b->cfg->limit < all ? (uint32_t)b->cfg->limit : all;
    struct eng_point *points = mem_must(b->n * sizeof(*points));
    for (uint32_t i = 0; i < b->n; i++) {
        uint32_t place = (uint32_t)((uint64_t)i * all / b->n);
        points[i] = (struct eng_point){(uint16_t)(place % grid), (uint16_t)(place / grid)};
    }
    const struct eng_ask a = {.task = sentence ? ENG_SEGMENT : ENG_PIXELS,
                              .pictures = &picture,
                              .n_pictures = 1,
                              .text = sentence,
                              .points = points,
                              .n_points = b->n,
                              .estimate = sentence ? ENG_MODE : (enum eng_estimate)b->cfg->estimate,
                              .urgency = sentence ? ENG_MASK : ENG_PICTURE};
    int rc = run_job(b, &a, total, first, e);
    mem_free(points);
    return rc;
}

static int new_picture(struct bench *b, struct eng_picture **out, struct err *e) {
    uint64_t start = clock_ns();
    int rc = bench_photo_new(&b->photo, b->eng, out, e);
    if (rc == 0) runs_add(&b->prepare, (double)(clock_ns() - start) / 1e9);
    return rc;
}

/* Actions behind a frame that is known. A model too small for the prompt has none. */
static int bench_act(struct bench *b, struct eng_picture *known, struct err *e) {
    int rc = 0;
    int64_t n = b->cfg->limit && b->cfg->limit < ACTS ? b->cfg->limit : ACTS;
    for (int64_t i = 0; rc == 0 && i < n; i++) {
        struct eng_picture *frames[ENG_DRIVE_FRAMES] = {known};
        rc = new_picture(b, &frames[1], e);
        if (rc) break;
        const struct eng_ask a = {.task = ENG_DRIVE,
                                  .pictures = frames,
                                  .n_pictures = ENG_DRIVE_FRAMES,
                                  .urgency = ENG_ACT};
        rc = run_job(b, &a, &b->act, NULL, e);
        eng_picture_put(frames[1]);
    }
    if (rc != E_TOO_BIG) return rc;
    *e = (struct err){0};
    return 0;
}

static int one_run(struct bench *b, struct err *e) {
    struct eng_picture *picture = NULL;
    int rc = new_picture(b, &picture, e);
    if (rc) return rc;
    rc = bench_ask(b, picture, NULL, &b->cold, &b->cold_first, e);
    struct eng_job_stats cold = b->last;
    if (rc == 0) runs_add(&b->see, (double)cold.vision_ns / 1e9);
    if (rc == 0) rc = bench_ask(b, picture, NULL, &b->warm, &b->warm_first, e);
    if (rc == 0) rc = bench_ask(b, picture, "the red circle", &b->mask, NULL, e);
    if (rc == 0) rc = bench_act(b, picture, e);
    b->last = cold;
    eng_picture_put(picture);
    return rc;
}

static void bench_forget(struct bench *b) {
    b->prepare.n = b->cold.n = b->cold_first.n = b->warm.n = b->warm_first.n = b->see.n =
        b->mask.n = b->act.n = 0;
}

/* --repeat runs with passes of at most `rows` rows; 0: as many as were opened with. */
static int bench_measure(struct bench *b, int rows, struct err *e) {
    b->rows = eng_limit_rows(b->eng, rows);
    bench_forget(b);
    int rc = 0;
    for (int run = -1; rc == 0 && run < (int)b->cfg->repeat; run++) {
        rc = one_run(b, e); /* the first wakes threads and pages, and is not counted */
        if (run < 0) bench_forget(b);
    }
    return rc;
}

static void print_ms(const char *name, struct runs *r) {
    double m = middle(r);
    printf("  %-30s %9.1f ms   (%.1f .. %.1f)\n", name, m * 1e3, r->at[0] * 1e3,
           r->at[r->n - 1] * 1e3);
}

static void print_opened(const struct bench *b) {
    const struct eng_info *info = eng_info(b->eng);
    printf("%s on %s\n  %-30s %9.1f ms   (%.2f M parameters)\n", info->name, info->backend,
           "opening", b->open_s * 1e3, (double)info->parameters / 1e6);
}

static void print_main(struct bench *b) {
    printf("%d rows a pass: %u questions, %s, %d runs\n", b->rows, b->n,
           eng_estimate_words[b->cfg->estimate], b->cold.n);
    print_ms("resize and digest", &b->prepare);
    print_ms("cold job", &b->cold);
    print_ms("  of it the vision tower", &b->see);
    print_ms("  until the first pixel", &b->cold_first);
    print_ms("warm job", &b->warm);
    print_ms("  until the first pixel", &b->warm_first);
    print_ms("whole mask, picture known", &b->mask);
    if (b->act.n) print_ms("act, one frame known", &b->act);
    printf("  %-30s %9.1f     (%llu rows, a loop of full prompts: %llu)\n", "useful-token ratio",
           (double)b->last.rows_plain / (double)b->last.rows, (unsigned long long)b->last.rows,
           (unsigned long long)b->last.rows_plain);
}

static void bench_print_json(struct bench *b, int width, const char *before) {
    printf("%s{\"lanes\":%d,\"rows_max\":%d,\"open_s\":%.6f,\"prepare_s\":%.6f,\"cold_s\":%.6f,"
           "\"see_s\":%.6f,\"cold_first_s\":%.6f,\"mask_s\":%.6f,\"act_s\":%.6f,"
           "\"warm_s\":%.6f,\"warm_first_s\":%.6f,\"pixels_per_second\":%.1f,\"rows\":%llu,"
           "\"rows_plain\":%llu}",
           before, width, b->rows, b->open_s, middle(&b->prepare), middle(&b->cold),
           middle(&b->see), middle(&b->cold_first), middle(&b->mask), middle(&b->act),
           middle(&b->warm), middle(&b->warm_first), b->n / middle(&b->cold),
           (unsigned long long)b->last.rows, (unsigned long long)b->last.rows_plain);
}

/* ---- one engine after the other ---- */

static int open_engine(struct bench *b, int width, struct err *e) {
    struct config cfg = *b->cfg;
    char path[4096];
    if (width) cfg.lanes = width;
    struct eng_options opt = config_engine(&cfg, config_model(&cfg, path));
    uint64_t start = clock_ns();
    int rc = eng_open(&opt, &b->eng, e);
    b->open_s = (double)(clock_ns() - start) / 1e9;
    return rc;
}

static void close_engine(struct bench *b) {
    eng_close(b->eng);
    b->eng = NULL;
}

/* The default width in full, with each number of rows. */
static int run_rows(struct bench *b, struct err *e) {
    const struct config_ints *rows = &b->cfg->rows_of;
    int rc = open_engine(b, 0, e);
    if (rc == 0 && !b->cfg->is_json) print_opened(b);
    for (int i = 0; rc == 0 && (i == 0 || i < rows->n); i++) {
        (void)fflush(stdout); /* whoever ends this sees what there was */
        rc = bench_measure(b, rows->n ? (int)rows->at[i] : 0, e);
        if (rc) break;
        if (b->cfg->is_json)
            bench_print_json(b, 0, i ? ",\n " : "[");
        else
            print_main(b);
    }
    close_engine(b);
    return rc;
}

/* Another width in a line. */
static int run_width(struct bench *b, int width, struct err *e) {
    (void)fflush(stdout);
    int rc = open_engine(b, width, e);
    if (rc == 0) rc = bench_measure(b, 0, e);
    if (rc == 0 && b->cfg->is_json)
        bench_print_json(b, width, ",\n ");
    else if (rc == 0)
        printf("  %4d lanes: cold %9.1f ms, warm %9.1f ms, %8.0f pixels/s cold\n", width,
               middle(&b->cold) * 1e3, middle(&b->warm) * 1e3, b->n / middle(&b->cold));
    close_engine(b);
    return rc;
}

static int bench_run(struct bench *b, struct err *e) {
    int rc = run_rows(b, e);
    for (size_t i = 0; rc == 0 && !b->cfg->is_quick && i < ARRAY_LEN(widths); i++)
        rc = run_width(b, widths[i], e);
    if (rc == 0 && b->cfg->is_json) puts("]");
    return rc;
}

void cmd_bench_arguments(FILE *to) {
    fputs("Measurements:\n"
          "  pix4096      every pixel of one picture: PHOTO, or one that is drawn\n"
          "  ops          each operation of a picture, a mask, an act and answers, against the\n"
          "               machine's peak; tokens a second of a prompt and of an answer\n"
          "  mix          actions of a game beside whole pictures; masks and pictures together\n"
          "  train        learning from questions about pixels, packed and one by one,\n"
          "               and each operation alone, there and back\n"
          "  replicas     one, two and three servers behind HAProxy, as deploy/haproxy.cfg or\n"
          "               another FILE like it has them\n",
          to);
}

int cmd_bench(const struct config *cfg) {
    int n = cfg->rest.n, is_mix = n == 1 && strcmp(cfg->rest.at[0], "mix") == 0;
    int is_ops = n >= 1 && n <= 2 && strcmp(cfg->rest.at[0], "ops") == 0;
    int is_train = n == 1 && strcmp(cfg->rest.at[0], "train") == 0;
    int is_replicas = n >= 1 && n <= 2 && strcmp(cfg->rest.at[0], "replicas") == 0;
    if (is_replicas && cfg->rows_of.n == 0) return cmd_bench_replicas(cfg);
    if (is_ops && cfg->rows_of.n <= 1) return cmd_bench_ops(cfg);
    if (is_train && cfg->rows_of.n <= 1) return cmd_bench_train(cfg);
    if (is_mix && cfg->rows_of.n <= 1)
        return cfg->is_beside_train ? cmd_bench_beside(cfg) : cmd_bench_mix(cfg);
    if (is_mix || is_train || is_ops) {
        fprintf(stderr, "lammd: bench %s takes one --rows; pix4096 takes several\n",
                cfg->rest.at[0]);
        return 2;
    }
    if (n < 1 || n > 2 || strcmp(cfg->rest.at[0], "pix4096") != 0) return cmd_misused(CMD_BENCH);
    struct bench *b = mem_must(sizeof(*b));
    b->cfg = cfg;
    struct err e = {0};
    int rc = bench_photo_open(&b->photo, n == 2 ? cfg->rest.at[1] : NULL, &e);
    if (rc == 0) rc = bench_run(b, &e);
    mem_free(b->photo.rgb);
    mem_free(b);
    return rc ? cmd_fail(&e) : 0;
}
