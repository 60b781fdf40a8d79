/* bench_train.c - `lammd bench train`: how fast the model learns here.
 *
 * Whole weights learn, with the vision tower and without it, or of a shape whose weights are made
 * from a seed a LoRA as the paper has it, from pictures that are drawn here:
 * steps of one picture with 256, 64 and 16 questions behind it, and with one, which is what a
 * trainer without packing does. A forward pass alone (a judgement), a forward and backward pass,
 * and an update are timed apart; their medians are printed, with the quarters around the rate.
 * Speed counts as a step does: forward and backward, then the update. Behind it come the operations
 * alone (bench_back.h).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/bench_back.h"
#include "cli/cmd.h"
#include "cli/runs.h"
#include "engine/train/train.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/base/num.h"
#include "kernels/base/rng.h"

enum { BENCH_SIDE = 256, QUESTIONS_MAX = 256, TEXT_MAX = 64, ROWS = 4096 };
static const uint32_t packed[] = {256, 64, 16, 1};

struct bench_train {
    const struct config *cfg;
    struct train *t;
    int is_tower, n_printed;
    struct train_memory memory;
    uint8_t rgb[BENCH_SIDE * BENCH_SIDE * 3];
    char texts[QUESTIONS_MAX][2][TEXT_MAX];
    struct sample_turn turns[QUESTIONS_MAX];
    struct sample_talk talks[QUESTIONS_MAX];
    struct runs forward, both, update, step; /* seconds; step: of both and update */
    struct train_form form;
    struct train_loss loss; /* of the last sample */
};

/* A picture and questions of its own for each step. */
static void draw_sample(struct bench_train *b, uint64_t seed, uint32_t n, struct sample *out,
                        struct sample_picture *picture) {
    uint32_t grid = (uint32_t)train_form(b->t)->grid;
    for (size_t i = 0; i < sizeof(b->rgb); i += 8) {
        uint64_t bits = rng_u64(seed, i);
        memcpy(b->rgb + i, &bits, 8);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t bits = rng_u64(seed, (UINT64_C(1) << 40) + i);
        uint32_t place = (uint32_t)((uint64_t)i * grid * grid / n);
        snprintf(b->texts[i][0], TEXT_MAX, "[reconstruct] loc: [%u,%u] rgb:", place / grid,
                 place % grid);
        snprintf(b->texts[i][1], TEXT_MAX, "[%u,%u,%u]", (unsigned)(bits & 255),
                 (unsigned)(bits >> 8 & 255), (unsigned)(bits >> 16 & 255));
        b->turns[i] = (struct sample_turn){
            .n_pictures = 1, .question = b->texts[i][0], .answer = b->texts[i][1]};
        b->talks[i] = (struct sample_talk){
            .turns = &b->turns[i], .n_turns = 1, .task = SAMPLE_PIXELS, .weight = 1};
    }
    *picture = (struct sample_picture){b->rgb, BENCH_SIDE, BENCH_SIDE};
    *out = (struct sample){.pictures = picture, .n_pictures = 1, .talks = b->talks, .n_talks = n};
}

static double seconds_since(uint64_t start) { return (double)(clock_ns() - start) / 1e9; }

static int bench_step(struct bench_train *b, uint64_t seed, uint32_t n, struct err *e) {
    struct sample s;
    struct sample_picture picture;
    struct train_result result;
    draw_sample(b, seed, n, &s, &picture);
    uint64_t start = clock_ns();
    int rc = train_judge(b->t, &s, &b->loss, e);
    runs_add(&b->forward, seconds_since(start));
    start = clock_ns();
    if (rc == 0) rc = train_add(b->t, &s, &b->loss, e);
    runs_add(&b->both, seconds_since(start));
    start = clock_ns();
    if (rc == 0) rc = train_step(b->t, &result, e);
    runs_add(&b->update, seconds_since(start));
    runs_add(&b->step, b->both.at[b->both.n - 1] + b->update.at[b->update.n - 1]);
    return rc;
}

static void print_questions(struct bench_train *b, uint32_t n) {
    double f = runs_part(&b->forward, 0.5), a = runs_part(&b->both, 0.5);
    double u = runs_part(&b->update, 0.5), all = runs_part(&b->step, 0.5);
    double slow = n / runs_part(&b->step, 0.75), fast = n / runs_part(&b->step, 0.25);
    if (b->cfg->is_json)
        printf("%s{\"tower\":%s,\"questions\":%u,\"forward_s\":%.6f,\"both_s\":%.6f,"
               "\"update_s\":%.6f,\"questions_per_second\":%.2f,\"quarters\":[%.2f,%.2f]"
               ",\"rows\":%" PRIu64 ",\"rows_plain\":%" PRIu64 ",\"memory_bytes\":%" PRIu64 "}",
               b->n_printed ? ",\n " : "[", b->is_tower ? "true" : "false", n, f, a, u, n / all,
               slow, fast, b->loss.rows, b->loss.rows_plain, b->memory.total);
    else
        printf("  %3u questions %10.1f a second (%.0f..%.0f)   forward %4.1f %%, backward %4.1f "
               "%%, update %4.1f %% of %7.1f ms\n",
               n, n / all, slow, fast, 100 * f / all, 100 * (a - f) / all, 100 * u / all,
               all * 1e3);
    b->n_printed++;
    (void)fflush(stdout);
}

/* Steps with so many questions; too many for the model is no error. */
static int bench_questions(struct bench_train *b, uint32_t n, struct err *e) {
    struct err why = {0};
    int rc = 0;
    for (int64_t i = -1; rc == 0 && i < b->cfg->repeat; i++) {
        if (i <= 0)
            b->forward.n = b->both.n = b->update.n = b->step.n =
                0; /* the first one isn't counted */
        rc = bench_step(b, (uint64_t)(i + 2), n, &why);
    }
    if (rc == E_TOO_BIG && b->cfg->is_json) return 0;
    if (rc == E_TOO_BIG) return printf("  %3u questions: %s\n", n, why.text) < 0;
    if (rc) return err_set(e, rc, "%s", why.text);
    print_questions(b, n);
    return 0;
}

static void print_head(const struct bench_train *b, const char *model) {
    const struct train_memory *m = &b->memory;
    if (b->cfg->is_json) return;
    printf("%s, %s, tower %s: %.2f of %.2f M\n", model,
           b->cfg->weights ? "a LoRA learns" : "whole weights learn",
           b->is_tower ? "too" : "frozen", (double)m->learning / 1e6, (double)m->parameters / 1e6);
    printf("  memory %.0f MiB: weights %.0f, what learns %.0f, gradients %.0f, moments %.0f, "
           "activations %.0f, %s's own %.0f\n",
           in_mib(m->total), in_mib(m->weights), in_mib(m->masters), in_mib(m->gradients),
           in_mib(m->optimiser), in_mib(m->activations), m->backend, in_mib(m->own));
}

static int bench_tower(struct bench_train *b, int is_tower, struct err *e) {
    char path[4096];
    const char *model = config_model(b->cfg, path);
    const struct eng_options engine = config_engine(b->cfg, model);
    const struct train_options o = {.model = model,
                                    .is_seeded = engine.is_seeded,
                                    .device = engine.device,
                                    .plugin = engine.plugin,
                                    .isa = engine.isa,
                                    .threads = engine.threads,
                                    .memory = engine.memory,
                                    .tower = is_tower,
                                    .connector = 1,
                                    .text = engine.is_seeded ? TRAIN_TEXT_LORA : TRAIN_TEXT_FULL,
                                    .lora = {.r = 64, /* recipes/pae-lamm.ini */
                                             .alpha = 16,
                                             .targets = TRAIN_LORA_Q | TRAIN_LORA_V},
                                    .rate = {.peak = 1e-6, .end = 1e-6, .steps = 1000},
                                    .clip = 1,
                                    .rows = b->cfg->rows ? (int)b->cfg->rows : ROWS,
                                    .pictures = 1,
                                    .seed = engine.is_seeded ? engine.seed : 1};
    b->is_tower = is_tower;
    int rc = train_plan(&o, 1, &b->memory, e);
    if (rc == 0) rc = train_open(&o, 1, &b->t, e);
    if (rc == 0) b->form = *train_form(b->t);
    if (rc == 0) print_head(b, model);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(packed); i++)
        rc = bench_questions(b, packed[i], e);
    train_close(b->t);
    b->t = NULL;
    return rc;
}

int cmd_bench_train(const struct config *cfg) {
    struct err e = {0};
    struct bench_train *b = mem_must(sizeof(*b));
    b->cfg = cfg;
    int is_tower = !cfg->weights; /* the first, and with --quick the only one */
    int rc = bench_tower(b, is_tower, &e);
    if (rc == 0 && !cfg->is_quick) rc = bench_tower(b, !is_tower, &e);
    if (rc == 0 && !cfg->is_quick) rc = bench_back(cfg, &b->form, &b->n_printed, &e);
    if (rc == 0 && cfg->is_json) puts(b->n_printed ? "]" : "[]");
    mem_free(b);
    return rc ? cmd_fail(&e) : 0;
}
