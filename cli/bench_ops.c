/* bench_ops.c - `lammd bench ops`: where the time goes, and how far from the machine's limit.
 *
 * First answers in text, one after the other, as others measure language models: *prompt* is the
 * rows of a new picture and its question through the decoder, a second, up to the first token and
 * without the vision tower; *generation* is the tokens behind the first one, a second. An answer
 * that ends early is followed by others, until there are as many tokens as were to be.
 *
 * Then an engine whose operations are timed gets a new picture with all its places, a mask of it,
 * an act and an answer, --repeat times, and its table is printed (kernels/profile.c): what each
 * operation computes and moves in a second, against what the machine does at best, measured beside
 * it. With --json it is the answers alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/bench_photo.h"
#include "cli/cmd.h"
#include "cli/places.h"
#include "cli/runs.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

enum { TOKENS = 64, MOST_ASKS = 64 };
static const char question[] = "what is in the picture?";

struct ops_bench {
    const struct config *cfg;
    struct eng *eng;
    struct bench_photo photo;
    struct runs prompt, first, generation; /* rows a second, seconds, tokens a second */
    uint64_t prompt_rows;
    uint32_t tokens; /* of a run */
};

/* Submits, waits and gives the ended job. */
static int ops_ask(struct ops_bench *b, const struct eng_ask *a, struct eng_job **out,
                   struct err *e) {
    int rc = eng_submit(b->eng, a, out, e);
    if (rc) return rc;
    while (eng_job_wait(*out, UINT32_MAX, UINT64_MAX) == E_TIMEOUT)
        ;
    if (eng_job_state(*out) == ENG_DONE) return 0;
    rc = err_set(e, E_INTERNAL, "a job failed: %s", eng_job_error(*out)->text);
    eng_job_put(*out);
    return rc;
}

static double seconds(uint64_t from, uint64_t to) { return (double)(to - from) / 1e9; }

/* ---- answers in text ---- */

static int ask_text(struct ops_bench *b, struct eng_picture *picture, uint32_t most, uint64_t seed,
                    struct eng_job **out, struct err *e) {
    const struct eng_ask a = {
        .task = ENG_VQA,
        .pictures = &picture,
        .n_pictures = 1,
        .text = question,
        .generate = {.max_tokens = most, .may_be_shorter = 1, .temperature = 1, .seed = seed},
        .urgency = ENG_ANSWER};
    return ops_ask(b, &a, out, e);
}

static int run_prompt(struct ops_bench *b, struct eng_picture *picture, struct err *e) {
    struct eng_job *job = NULL;
    struct eng_job_stats s;
    int rc = ask_text(b, picture, 1, 1, &job, e);
    if (rc) return rc;
    eng_job_stats(job, &s);
    double all = seconds(s.queued_ns, s.first_ns), vision = (double)s.vision_ns / 1e9;
    b->prompt_rows = s.rows;
    runs_add(&b->first, all);
    if (all > vision) runs_add(&b->prompt, (double)s.rows / (all - vision));
    eng_job_put(job);
    return 0;
}

static int run_generation(struct ops_bench *b, struct eng_picture *picture, struct err *e) {
    uint32_t most = b->cfg->limit && b->cfg->limit < TOKENS ? (uint32_t)b->cfg->limit : TOKENS;
    double spent = 0;
    b->tokens = 0;
    for (uint64_t seed = 1; b->tokens < most && seed <= MOST_ASKS; seed++) {
        struct eng_job *job = NULL;
        struct eng_job_stats s;
        int rc = ask_text(b, picture, most, seed, &job, e);
        if (rc) return rc;
        uint32_t n = 0;
        (void)eng_job_tokens(job, &n);
        eng_job_stats(job, &s);
        if (n > 1) b->tokens += n - 1, spent += seconds(s.first_ns, s.end_ns);
        eng_job_put(job);
    }
    if (spent > 0) runs_add(&b->generation, b->tokens / spent);
    return 0;
}

static int run_text(struct ops_bench *b, struct err *e) {
    struct eng_picture *picture = NULL;
    int rc = bench_photo_new(&b->photo, b->eng, &picture, e);
    if (rc) return rc;
    rc = run_prompt(b, picture, e);
    if (!rc) rc = run_generation(b, picture, e);
    eng_picture_put(picture);
    return rc;
}

/* ---- what is timed by operations ---- */

static int ops_ask_places(struct ops_bench *b, struct eng_picture *picture, const char *sentence,
                          struct err *e) {
    int grid = eng_info(b->eng)->grid;
    struct eng_job *job = NULL;
    uint32_t all = (uint32_t)(grid * grid);
    struct eng_point *points = places_of(grid);
    const struct eng_ask a = {
        .task = sentence ? ENG_SEGMENT : ENG_PIXELS,
        .pictures = &picture,
        .n_pictures = 1,
        .text = sentence,
        .points = points,
        .n_points = b->cfg->limit && b->cfg->limit < all ? (uint32_t)b->cfg->limit : all,
        .urgency = sentence ? ENG_MASK : ENG_PICTURE};
    int rc = ops_ask(b, &a, &job, e);
    if (!rc) eng_job_put(job);
    mem_free(points);
    return rc;
}

/* Of a known frame and a new one. A model too small for the prompt has none. */
static int ask_act(struct ops_bench *b, struct eng_picture *known, struct err *e) {
    struct eng_picture *frames[ENG_DRIVE_FRAMES] = {known};
    struct eng_job *job = NULL;
    int rc = bench_photo_new(&b->photo, b->eng, &frames[1], e);
    if (rc) return rc;
    rc = ops_ask(b,
                 &(struct eng_ask){.task = ENG_DRIVE,
                                   .pictures = frames,
                                   .n_pictures = ENG_DRIVE_FRAMES,
                                   .urgency = ENG_ACT},
                 &job, e);
    if (!rc) eng_job_put(job);
    eng_picture_put(frames[1]);
    if (rc != E_TOO_BIG) return rc;
    *e = (struct err){0};
    return 0;
}

static int run_all(struct ops_bench *b, struct err *e) {
    struct eng_picture *picture = NULL;
    int rc = bench_photo_new(&b->photo, b->eng, &picture, e);
    if (rc) return rc;
    rc = ops_ask_places(b, picture, NULL, e);
    if (!rc) rc = ops_ask_places(b, picture, "the red circle", e);
    if (!rc) rc = ask_act(b, picture, e);
    if (!rc) rc = run_generation(b, picture, e);
    eng_picture_put(picture);
    return rc;
}

/* ---- one engine after the other ---- */

static int open_one(struct ops_bench *b, const char *profile, struct err *e) {
    char path[4096];
    struct eng_options opt = config_engine(b->cfg, config_model(b->cfg, path));
    opt.profile = profile;
    return eng_open(&opt, &b->eng, e);
}

static void ops_print_rate(const char *name, struct runs *r, const char *unit, double by) {
    if (!r->n) return;
    double m = runs_part(r, 0.5) * by;
    printf("  %-32s %9.1f %s   (%.1f .. %.1f)\n", name, m, unit, r->at[0] * by,
           r->at[r->n - 1] * by);
}

static void ops_print_text(struct ops_bench *b) {
    const struct eng_info *info = eng_info(b->eng);
    printf("%s on %s\none answer at a time, %d runs: a prompt of %llu rows, %u tokens\n",
           info->name, info->backend, b->first.n, (unsigned long long)b->prompt_rows, b->tokens);
    ops_print_rate("prompt", &b->prompt, "tokens/s", 1);
    ops_print_rate("until the first token", &b->first, "ms", 1e3);
    ops_print_rate("generation", &b->generation, "tokens/s", 1);
}

static void ops_print_json(struct ops_bench *b) {
    printf("{\"prompt_rows\":%llu,\"prompt_tokens_per_second\":%.3f,\"first_token_s\":%.6f,"
           "\"tokens\":%u,\"tokens_per_second\":%.3f}\n",
           (unsigned long long)b->prompt_rows, runs_part(&b->prompt, 0.5),
           runs_part(&b->first, 0.5), b->tokens, runs_part(&b->generation, 0.5));
}

static int measure_text(struct ops_bench *b, struct err *e) {
    int rc = open_one(b, NULL, e);
    for (int run = -1; !rc && run < (int)b->cfg->repeat; run++) {
        rc = run_text(b, e); /* the first wakes threads and pages, and is not counted */
        if (run < 0) b->prompt.n = b->first.n = b->generation.n = 0;
    }
    if (!rc) (b->cfg->is_json ? ops_print_json : ops_print_text)(b);
    (void)fflush(stdout);
    eng_close(b->eng);
    b->eng = NULL;
    return rc;
}

static void print_file(FILE *f) {
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
        (void)fwrite(part, 1, n, stdout);
}

/* The table is written when the engine is closed. */
static int measure_ops(struct ops_bench *b, struct err *e) {
    char path[] = "/tmp/lammd-ops-XXXXXX";
    int fd = b->cfg->profile ? -1 : mkstemp(path);
    if (!b->cfg->profile && fd < 0) return err_set(e, E_IO, "%s: no file for a table", path);
    const char *table = b->cfg->profile ? b->cfg->profile : path;
    int rc = open_one(b, table, e);
    for (int run = 0; !rc && run < (int)b->cfg->repeat; run++)
        rc = run_all(b, e);
    eng_close(b->eng);
    FILE *f = rc ? NULL : fopen(table, "re");
    if (f) {
        printf("\nwhat a new picture, a mask, an act and an answer take, %d times:\n\n",
               (int)b->cfg->repeat);
        print_file(f);
        (void)fclose(f);
    }
    if (fd >= 0) {
        (void)close(fd);
        (void)unlink(path);
    }
    return rc;
}

int cmd_bench_ops(const struct config *cfg) {
    struct err e = {0};
    struct ops_bench *b = mem_must(sizeof *b);
    b->cfg = cfg;
    int rc = bench_photo_open(&b->photo, cfg->rest.n == 2 ? cfg->rest.at[1] : NULL, &e);
    if (!rc) rc = measure_text(b, &e);
    if (!rc && !cfg->is_json) rc = measure_ops(b, &e);
    mem_free(b->photo.rgb);
    mem_free(b);
    return rc ? cmd_fail(&e) : 0;
}
