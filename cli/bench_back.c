/* bench_back.c - times of the operations of training: see bench_back.h.
 *
 * A figure is the median, with the quarters around it. There and back take turns run by run, so
 * that a machine's moods hit both. A way back's share is the median of its rate by that of the way
 * there, and has a bar: 80 % for a product, 50 % for attention. The peak is what a product that
 * stays in the caches has here. Operations without products are in time alone.
 *
 * One thread of a CPU is measured by what the processor spent on it, whoever else works there.
 * Several threads wait for each other, and other devices for nobody, so theirs goes by the clock on
 * the wall.
 */
#include "cli/bench_back.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/runs.h"
#include "kernels/base/cgroup.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/kern.h"

struct bench_back {
    const struct kern_ops *ops;
    struct kern *k;
    int is_json, repeat, threads, has_wall;
    double peak; /* GFLOP/s */
    struct runs ways[3], shares[2];
    int *n_printed;
};

static uint64_t now_ns(const struct bench_back *b) {
    struct timespec t;
    if (b->has_wall) return clock_ns();
    must(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int back_run(const struct bench_back *b, const struct back_stage *s, back_run_fn *run,
                    double *seconds, struct err *e) {
    uint64_t start = now_ns(b);
    run(s);
    int rc = b->ops->sync(b->k, e);
    *seconds = (double)(now_ns(b) - start + 1) / 1e9;
    return rc;
}

/* Each way in turn, for a while. */
static int measure_case(struct bench_back *b, const struct back_case *c, struct err *e) {
    struct back_stage *s = NULL;
    int rc = back_stage_open(b->ops, b->k, c, &s, e);
    double spent = 0, most = 0.03 * b->repeat;
    b->ways[0].n = b->ways[1].n = b->ways[2].n = b->shares[0].n = b->shares[1].n = 0;
    for (int i = -1; !rc && i < RUNS_MAX && (i < b->repeat || spent < most); i++) {
        double there = 0, t = 0;
        for (int way = 0; way < 3 && c->run[way] && !rc; way++) {
            rc = back_run(b, s, c->run[way], &t, e);
            if (i < 0) continue; /* the first one isn't counted */
            spent += t;
            runs_add(&b->ways[way], t);
            if (way) runs_add(&b->shares[way - 1], there / t * c->back_flop / (c->flop + 1e-9));
            if (!way) there = t;
        }
    }
    back_stage_close(s);
    return rc;
}

/* Of products of some sizes that stay in the caches, the fastest. */
static int find_peak(struct bench_back *b, struct err *e) {
    static const int sizes[][3] = {
        {96, 64, 256}, {192, 128, 256}, {384, 256, 256}, {384, 512, 512}};
    static const int wide[] = {8192, 8192, 8192}; /* of a card */
    int is_cpu = !strcmp(b->ops->name, "cpu") || !strcmp(b->ops->name, "ref"), rc = 0;
    struct back_case all[BACK_CASES];
    const struct train_form form = {.tower = {1, 1, 1, 1}, .text = {1, 1, 1, 1}};
    (void)back_cases(&form, all);
    for (size_t i = 0; i < (is_cpu ? ARRAY_LEN(sizes) : 1) && !rc; i++) {
        const int *n = is_cpu ? sizes[i] : wide;
        struct back_case c = all[0];
        c.m = n[0], c.n = n[1], c.k = n[2];
        c.run[1] = c.run[2] = NULL;
        rc = measure_case(b, &c, e);
        double rate = 2e-9 * n[0] * n[1] * n[2] / runs_part(&b->ways[0], 0.25);
        if (!rc && rate > b->peak) b->peak = rate;
    }
    return rc;
}

/* ---- what is printed ---- */

/* "  84.1 (82..86)" of a way's rate. */
static void print_rate(struct runs *r, double flop) {
    printf(" %7.1f (%.0f..%.0f)", flop / runs_part(r, 0.5) / 1e9, flop / runs_part(r, 0.75) / 1e9,
           flop / runs_part(r, 0.25) / 1e9);
}

static void print_text(struct bench_back *b, const struct back_case *c) {
    static const char *const words[][2] = {{"dX", "dW"}, {"back", ""}};
    const char *const *word = words[c->run[2] == NULL];
    printf("  %-30s", c->name);
    if (!(c->flop > 0)) {
        printf(" %9.1f us, %9.1f us back\n", 1e6 * runs_part(&b->ways[0], 0.5),
               1e6 * runs_part(&b->ways[1], 0.5));
        return;
    }
    print_rate(&b->ways[0], c->flop);
    printf(" %3.0f %% of peak", 100 * c->flop / runs_part(&b->ways[0], 0.5) / 1e9 / b->peak);
    for (int way = 1; way < 3 && c->run[way]; way++) {
        printf("; %s", word[way - 1]);
        print_rate(&b->ways[way], c->back_flop);
        printf(" %3.0f %% (bar %d)", 100 * runs_part(&b->shares[way - 1], 0.5), c->bar);
    }
    putchar('\n');
}

static void print_json(struct bench_back *b, const struct back_case *c) {
    static const char *const words[][2] = {{"dx", "dw"}, {"back", ""}};
    printf("%s{\"operation\":\"%s\",\"threads\":%d,\"peak_gflops\":%.2f,\"forward_s\":%.9f",
           *b->n_printed ? ",\n " : "[", c->name, b->threads, b->peak, runs_part(&b->ways[0], 0.5));
    if (c->flop > 0)
        printf(",\"forward_gflops\":%.2f", c->flop / runs_part(&b->ways[0], 0.5) / 1e9);
    for (int way = 1; way < 3 && c->run[way]; way++) {
        const char *word = words[c->run[2] == NULL][way - 1];
        double t = runs_part(&b->ways[way], 0.5);
        printf(",\"%s_s\":%.9f", word, t);
        if (c->flop > 0)
            printf(",\"%s_gflops\":%.2f,\"%s_share\":%.4f,\"%s_bar\":%.2f", word,
                   c->back_flop / t / 1e9, word, runs_part(&b->shares[way - 1], 0.5), word,
                   c->bar / 100.0);
    }
    putchar('}');
}

/* ---- all of it ---- */

static int one_table(struct bench_back *b, const struct kern_config *cfg,
                     const struct train_form *form, struct err *e) {
    struct back_case cases[BACK_CASES];
    int n = back_cases(form, cases), rc = b->ops->open(cfg, &b->k, e);
    if (!rc) rc = find_peak(b, e);
    if (!rc && !b->is_json)
        printf("operations, %s: GFLOP/s (quarters), peak %.1f in the caches, by %s\n",
               b->ops->describe(b->k), b->peak, b->has_wall ? "the clock" : "processor time");
    for (int i = 0; i < n && !rc; i++) {
        rc = measure_case(b, &cases[i], e);
        if (rc) break;
        (b->is_json ? print_json : print_text)(b, &cases[i]);
        ++*b->n_printed;
        (void)fflush(stdout);
    }
    b->ops->close(b->k);
    b->k = NULL;
    b->peak = 0;
    return rc;
}

int bench_back(const struct config *cfg, const struct train_form *form, int *n_printed,
               struct err *e) {
    struct kern_choice choice;
    int rc =
        kern_choose(cfg->device ? cfg->device : "auto", config_engine(cfg, "").plugin, &choice, e);
    if (rc) return rc;
    if (!choice.ops->train)
        return err_set(e, E_UNSUPPORTED, "backend %s can't train", choice.ops->name);
    int is_cpu = !strcmp(choice.ops->name, "cpu");
    int threads = cfg->threads ? (int)cfg->threads : cgroup_processors();
    struct bench_back *b = mem_must(sizeof *b);
    b->ops = choice.ops;
    b->is_json = cfg->is_json != 0;
    b->repeat = (int)cfg->repeat;
    b->n_printed = n_printed;
    for (int pass = is_cpu ? 0 : 1; pass < 2 && !rc; pass++) {
        b->threads = pass ? threads : 1;
        b->has_wall = !is_cpu || b->threads > 1;
        if (pass && is_cpu && threads == 1) break;
        const struct kern_config device = {.device = choice.device,
                                           .threads = b->threads,
                                           .isa = cfg->isa,
                                           .memory_max = (uint64_t)cfg->memory_mib << 20};
        rc = one_table(b, &device, form, e);
    }
    mem_free(b);
    return rc;
}
