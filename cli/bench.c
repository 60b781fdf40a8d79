/* bench.c - `lammd bench pix4096`: how fast all questions about one picture are answered. The other
 * measurement, `mix`, is in bench_mix.c.
 *
 * A cold job pays for the vision tower, the stem and the answers. A warm job finds the stem in the
 * cache. Each cold run changes one pixel of the picture, so that nothing is cached. Decoding and
 * resizing the photo is measured apart. Then a mask is asked for at every place of the same
 * picture: its features are cached, its sentence is new. The widths show what packing is worth: the
 * same job with fewer questions in flight. The useful-token ratio is the number of rows that a loop
 * over whole prompts would compute, over the number that was computed. Figures are the median of
 * the runs, with the least and the most.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "cli/cmd.h"
#include "cli/places.h"
#include "cli/runs.h"
#include "data/files.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

enum { SIDE = 480 };
static const int widths[] = {64, 256, 1024, 4096};

struct bench {
    const struct config *cfg;
    struct eng *eng;
    uint8_t *rgb; /* (h, w, 3) */
    int w, h;
    struct runs prepare, cold, cold_first, warm, warm_first, see, mask; /* seconds */
    struct eng_job_stats last;                                          /* of a cold job */
    double open_s; /* weights to the device, buffers, prompts */
    uint32_t n;
};

static double middle(struct runs *r) { return runs_part(r, 0.5); }

/* The picture when none is given: soft gradients, a disc and grain. */
static void draw(uint8_t *rgb) {
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < SIDE; x++) {
            int disc = (x - 200) * (x - 200) + (y - 260) * (y - 260) < 110 * 110;
            int grain = (int)(rng_u64(7, (uint64_t)(y * SIDE + x)) % 16);
            uint8_t *p = rgb + 3 * (y * SIDE + x);
            p[0] = (uint8_t)((disc ? 190 : x / 3) + grain);
            p[1] = (uint8_t)((disc ? 90 : y / 3) + grain);
            p[2] = (uint8_t)((disc ? 40 : 120 - x / 8) + grain);
        }
    }
}

/* All questions about `picture`, once; or, with a sentence, its whole mask. */
static int ask(struct bench *b, struct eng_picture *picture, const char *sentence,
               struct runs *total, struct runs *first, struct err *e) {
    int grid = eng_info(b->eng)->grid;
    b->n = (uint32_t)grid * (uint32_t)grid;
    struct eng_point *points = places_of(grid);
    struct eng_ask a = {.task = sentence ? ENG_SEGMENT : ENG_PIXELS,
                        .pictures = &picture,
                        .n_pictures = 1,
                        .text = sentence,
                        .points = points,
                        .n_points = b->n,
                        .estimate = sentence ? ENG_MODE : (enum eng_estimate)b->cfg->estimate,
                        .urgency = sentence ? ENG_MASK : ENG_PICTURE};
    struct eng_job *job = NULL;
    int rc = eng_submit(b->eng, &a, &job, e);
    mem_free(points);
    if (rc) return rc;
    (void)eng_job_wait(job, b->n, UINT64_MAX);
    eng_job_stats(job, &b->last);
    if (eng_job_state(job) != ENG_DONE)
        rc = err_set(e, E_INTERNAL, "a job failed: %s", eng_job_error(job)->text);
    runs_add(total, (double)(b->last.end_ns - b->last.queued_ns) / 1e9);
    if (first) runs_add(first, (double)(b->last.first_ns - b->last.queued_ns) / 1e9);
    eng_job_put(job);
    return rc;
}

static int one_run(struct bench *b, int run, struct err *e) {
    struct eng_picture *picture = NULL;
    b->rgb[0] = (uint8_t)run;
    b->rgb[1] = (uint8_t)(run >> 8);
    uint64_t start = clock_ns();
    int rc = eng_picture_new(b->eng, b->rgb, b->w, b->h, &picture, e);
    if (rc) return rc;
    runs_add(&b->prepare, (double)(clock_ns() - start) / 1e9);
    rc = ask(b, picture, NULL, &b->cold, &b->cold_first, e);
    struct eng_job_stats cold = b->last;
    if (rc == 0) runs_add(&b->see, (double)cold.see_ns / 1e9);
    if (rc == 0) rc = ask(b, picture, NULL, &b->warm, &b->warm_first, e);
    if (rc == 0) rc = ask(b, picture, "the red circle", &b->mask, NULL, e);
    b->last = cold;
    eng_picture_put(picture);
    return rc;
}

static void forget(struct bench *b) {
    b->prepare.n = b->cold.n = b->cold_first.n = b->warm.n = b->warm_first.n = b->see.n =
        b->mask.n = 0;
}

static int measure(struct bench *b, int width, struct err *e) {
    struct config cfg = *b->cfg;
    char path[4096];
    if (width) cfg.lanes = width;
    struct eng_options opt = config_engine(&cfg, config_model(&cfg, path));
    uint64_t start = clock_ns();
    if (eng_open(&opt, &b->eng, e)) return e->code;
    b->open_s = (double)(clock_ns() - start) / 1e9;
    forget(b);
    int rc = 0;
    for (int run = -1; rc == 0 && run < (int)cfg.repeat; run++) {
        rc = one_run(b, run, e); /* the first starts threads and touches pages: it is not counted */
        if (run < 0) forget(b);
    }
    return rc;
}

static void print_ms(const char *name, struct runs *r) {
    double m = middle(r);
    printf("  %-30s %9.1f ms   (%.1f .. %.1f)\n", name, m * 1e3, r->at[0] * 1e3,
           r->at[r->n - 1] * 1e3);
}

static void print_main(struct bench *b) {
    const struct eng_info *info = eng_info(b->eng);
    printf("%s on %s: %u questions, %s, %d runs\n", info->name, info->backend, b->n,
           eng_estimate_words[b->cfg->estimate], b->cold.n);
    printf("  %-30s %9.1f ms   (%.2f M parameters)\n", "opening", b->open_s * 1e3,
           (double)info->parameters / 1e6);
    print_ms("resize and digest", &b->prepare);
    print_ms("cold job", &b->cold);
    print_ms("  of it the vision tower", &b->see);
    print_ms("  until the first pixel", &b->cold_first);
    print_ms("warm job", &b->warm);
    print_ms("  until the first pixel", &b->warm_first);
    print_ms("whole mask, picture known", &b->mask);
    printf("  %-30s %9.1f     (%llu rows, a loop of full prompts: %llu)\n", "useful-token ratio",
           (double)b->last.rows_plain / (double)b->last.rows, (unsigned long long)b->last.rows,
           (unsigned long long)b->last.rows_plain);
}

static void print_json(struct bench *b, int width, const char *before) {
    printf("%s{\"lanes\":%d,\"open_s\":%.6f,\"prepare_s\":%.6f,\"cold_s\":%.6f,\"see_s\":%.6f,"
           "\"cold_first_s\":%.6f,\"mask_s\":%.6f,"
           "\"warm_s\":%.6f,\"warm_first_s\":%.6f,\"pixels_per_second\":%.1f,\"rows\":%llu,"
           "\"rows_plain\":%llu}",
           before, width, b->open_s, middle(&b->prepare), middle(&b->cold), middle(&b->see),
           middle(&b->cold_first), middle(&b->mask), middle(&b->warm), middle(&b->warm_first),
           b->n / middle(&b->cold), (unsigned long long)b->last.rows,
           (unsigned long long)b->last.rows_plain);
}

/* The default width in full, then each other width in a line. */
static int run(struct bench *b, struct err *e) {
    int is_json = b->cfg->is_json != 0;
    for (size_t i = 0; i <= ARRAY_LEN(widths); i++) {
        int width = i ? widths[i - 1] : 0;
        if (i && b->cfg->is_quick) break;
        int rc = measure(b, width, e);
        if (rc == 0 && is_json) print_json(b, width, i ? ",\n " : "[");
        if (rc == 0 && !is_json && i == 0) print_main(b);
        if (rc == 0 && !is_json && i > 0)
            printf("  %4d lanes: cold %9.1f ms, warm %9.1f ms, %8.0f pixels/s cold\n", width,
                   middle(&b->cold) * 1e3, middle(&b->warm) * 1e3, b->n / middle(&b->cold));
        eng_close(b->eng);
        b->eng = NULL;
        if (rc) return rc;
    }
    if (is_json) puts("]");
    return 0;
}

void cmd_bench_arguments(FILE *to) {
    fputs("Measurements:\n"
          "  pix4096      every pixel of one picture: PHOTO, or one that is drawn\n"
          "  mix          actions of a game beside whole pictures; masks and pictures together\n",
          to);
}

int cmd_bench(const struct config *cfg) {
    int n = cfg->rest.n;
    if (n == 1 && strcmp(cfg->rest.at[0], "mix") == 0) return cmd_bench_mix(cfg);
    if (n < 1 || n > 2 || strcmp(cfg->rest.at[0], "pix4096") != 0) return cmd_misused(CMD_BENCH);
    struct bench *b = mem_must(sizeof(*b));
    b->cfg = cfg;
    struct err e = {0};
    int rc = 0;
    if (n == 2) {
        rc = file_picture(cfg->rest.at[1], &b->rgb, &b->w, &b->h, &e);
    } else {
        b->w = b->h = SIDE;
        b->rgb = mem_must((size_t)SIDE * SIDE * 3);
        draw(b->rgb);
    }
    if (rc == 0) rc = run(b, &e);
    mem_free(b->rgb);
    mem_free(b);
    return rc ? cmd_fail(&e) : 0;
}
