/* ranks.c - one rank of a run, for run.py: started by mpirun, it does what the word says.
 *
 *     comm_ranks sums     sums, broadcasts, barriers, checked bit for bit; prints "rank N good"
 *     comm_ranks slow     rank 1 is busy for a while before a sum, and rank 0 after one
 *     comm_ranks loop     sums for ever; prints "rank N pid P" first
 *     comm_ranks leave    rank 1 closes and ends well; the others sum on
 *     comm_ranks fail     rank 1 ends with status 3 and closes nothing; the others sum on
 *     comm_ranks quit     rank 1 closes and ends with status 3; the others sum on
 *     comm_ranks learn F  a small model learns two steps of four samples, and is saved as F
 *
 * Every rank can make the numbers of every other one, so each works out the whole tree alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/train/comm.h"
#include "engine/train/train.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

enum { BUSY_S = 12 };

static float number(int rank, size_t i) {
    /* of very different sizes, so that another order gives other bits */
    return rng_normal((uint64_t)rank + 1, i) * (float)(1 << (rng_u64(77, i + (size_t)rank) % 24));
}

/* The tree over ranks from .. from+n-1. */
static float tree_f32(int from, int n, size_t i) {
    return n == 1 ? number(from, i) : tree_f32(from, n / 2, i) + tree_f32(from + n / 2, n / 2, i);
}
static double tree_f64(int from, int n, size_t i) {
    if (n == 1) return (double)number(from, i) / 3;
    return tree_f64(from, n / 2, i) + tree_f64(from + n / 2, n / 2, i);
}

static int check(int is_good, const char *what, const struct train_comm *c, const struct err *e) {
    if (!is_good) fprintf(stderr, "rank %d: %s is wrong: %s\n", c->rank, what, e->text);
    return is_good;
}

static int sums(const struct train_comm *c, size_t n) {
    struct err e = {0};
    float *x = mem_must(n * sizeof *x + 1);
    double *y = mem_must(n * sizeof *y + 1);
    int good = 1;
    for (size_t i = 0; i < n; i++) {
        x[i] = number(c->rank, i);
        y[i] = (double)x[i] / 3;
    }
    good &= check(!c->sum_f32(c->state, x, n, &e), "sum_f32", c, &e);
    good &= check(!c->sum_f64(c->state, y, n, &e), "sum_f64", c, &e);
    for (size_t i = 0; i < n && good; i++) {
        float f = tree_f32(0, c->size, i);
        double d = tree_f64(0, c->size, i);
        good &= check(!memcmp(&x[i], &f, sizeof f) && !memcmp(&y[i], &d, sizeof d), "a bit", c, &e);
    }
    mem_free(x);
    mem_free(y);
    return good;
}

static int broadcasts(const struct train_comm *c, size_t n) {
    struct err e = {0};
    char *bytes = mem_must(n + 1);
    int good = 1;
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(c->rank ? 0 : i * 7 + 1);
    good &= check(!c->broadcast(c->state, bytes, n, &e), "broadcast", c, &e);
    for (size_t i = 0; i < n && good; i++)
        good &= check(bytes[i] == (char)(i * 7 + 1), "a byte", c, &e);
    mem_free(bytes);
    return good && check(!c->barrier(c->state, &e), "barrier", c, &e);
}

static int all_sums(const struct train_comm *c) {
    static const size_t counts[] = {0, 1, 3, 1000, (1 << 18), 600001};
    int good = 1;
    for (size_t i = 0; i < ARRAY_LEN(counts) && good; i++)
        good = sums(c, counts[i]) && broadcasts(c, 5 * counts[i]);
    if (good) printf("rank %d good of %d\n", c->rank, c->size);
    return !good;
}

static void busy(void) { nanosleep(&(struct timespec){.tv_sec = BUSY_S}, NULL); }

static int loop(const struct train_comm *c) {
    struct err e = {0};
    float x[1000] = {1};
    printf("rank %d pid %ld\n", c->rank, (long)getpid());
    fflush(stdout);
    while (!c->sum_f32(c->state, x, ARRAY_LEN(x), &e)) {
        memset(x, 0, sizeof x);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    fprintf(stderr, "%s\n", e.text);
    return 1;
}

/* ---- a model that learns ---- */

/* Sample i of the run; every third is left out. */
static int add(struct train *t, uint64_t i, struct err *e) {
    static uint8_t rgb[32 * 32 * 3];
    for (size_t k = 0; k < sizeof rgb; k++)
        rgb[k] = (uint8_t)rng_u64(i, k);
    struct sample_picture picture = {rgb, 32, 32};
    struct sample_turn turn = {1, "[reconstruct] loc: [3,4] rgb:", "[31,6,108]"};
    struct sample_talk talk = {.turns = &turn, .n_turns = 1, .weight = 1};
    struct sample s = {.pictures = &picture, .n_pictures = 1, .talks = &talk, .n_talks = 1};
    struct train_loss loss;
    return train_add(t, i % 3 == 2 ? NULL : &s, &loss, e);
}

static int two_steps(struct train *t, const struct train_comm *c, struct err *e) {
    enum { SAMPLES = 4 };
    uint64_t share = (uint64_t)(SAMPLES / c->size);
    int rc = 0;
    for (uint64_t step = 0; step < 2 && !rc; step++) {
        struct train_result result;
        for (uint64_t k = 0; k < share && !rc; k++)
            rc = add(t, SAMPLES * step + (uint64_t)c->rank * share + k, e);
        if (!rc) rc = train_step(t, &result, e);
        if (!rc && result.is_skipped) rc = err_set(e, E_INTERNAL, "a step was skipped");
    }
    return rc;
}

static int learn(const struct train_comm *c, const char *file) {
    struct train_options o = {.model = "tests/golden/tiny",
                              .device = "cpu",
                              .threads = 1,
                              .connector = 1,
                              .text = TRAIN_TEXT_LORA,
                              .lora = {.r = 4, .alpha = 4, .dropout = 0.1f, .targets = 127},
                              .rate = {.peak = 1e-2, .steps = 2},
                              .clip = 1,
                              .rows = 256,
                              .pictures = 1,
                              .comm = c};
    struct train *t;
    struct err e = {0};
    int rc = train_open(&o, 4, &t, &e);
    if (!rc) rc = two_steps(t, c, &e);
    if (!rc) rc = train_save(t, file, NULL, &e);
    train_close(t);
    if (rc) fprintf(stderr, "rank %d: %s\n", c->rank, e.text);
    return rc != 0;
}

static int work(struct train_comm *c, const char *word, const char *file) {
    if (!strcmp(word, "learn")) return learn(c, file);
    if (!strcmp(word, "sums")) return all_sums(c);
    if (!strcmp(word, "loop")) return loop(c);
    if (!strcmp(word, "slow")) {
        if (c->rank == 1) busy();
        int good = sums(c, 1000);
        if (c->rank == 0) busy();
        if (good) printf("rank %d good of %d\n", c->rank, c->size);
        return !good;
    }
    if (!sums(c, 1000)) return 1;
    if (c->rank != 1) return loop(c);
    if (!strcmp(word, "fail")) exit(3);
    return strcmp(word, "quit") ? 0 : 3;
}

int main(int argc, char **argv) {
    struct train_comm c;
    struct err e = {0};
    if (argc != 2 && argc != 3) return 2;
    int rc = train_comm_open("mpi", NULL, &c, &e);
    if (rc) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    int status = work(&c, argv[1], argc == 3 ? argv[2] : NULL);
    train_comm_close(&c);
    return status;
}
