/* bench.h - what the programs that measure the processor's operations begin with. */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kernels/kern.h"

/* Seconds that this thread has computed for. */
static inline double bench_cpu_s(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline int bench_by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The n figures in order: the least is the first, the median figures[n / 2]. */
static inline void bench_sort(double *figures, size_t n) {
    qsort(figures, n, sizeof *figures, bench_by_value);
}

/* The processor with one thread and that instruction set (NULL: the best), which is printed. Ends
 * the program where there is none. */
static inline struct kern *bench_open(const char *isa, const struct kern_ops **ops) {
    struct kern_config cfg = {.threads = 1, .isa = isa};
    struct kern *k;
    struct err e = {0};
    if (kern_find("cpu", ops, &e) || (*ops)->open(&cfg, &k, &e)) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    printf("%s\n", (*ops)->describe(k));
    return k;
}

#endif
