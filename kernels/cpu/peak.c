/* peak.c - what the machine could do at best: products in registers, and reading of memory, by all
 * threads at once. The best of several short slices counts, since what else runs here only takes.
 */
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/cpu/cpu_kern.h"

enum {
    SLICES = 12,
    ROUNDS = 1 << 20,      /* of a slice, of each chain */
    READ_FLOATS = 1 << 26, /* 256 MiB: more than caches hold */
    READ_PIECE = 1 << 20,  /* of a task */
};

struct peak_job {
    const struct cpu_isa *isa;
    const float *memory;
    float *sums; /* a place for each thread, so that nothing is left out as unused */
};

static void peak_compute(void *ctx, int task, int thread) {
    (void)task;
    const struct peak_job *j = ctx;
    j->sums[thread * CPU_PAD] += j->isa->fma_chains(ROUNDS);
}

static void peak_read(void *ctx, int task, int thread) {
    const struct peak_job *j = ctx;
    j->sums[thread * CPU_PAD] += j->isa->sum_all(READ_PIECE, j->memory + (size_t)task * READ_PIECE);
}

/* Seconds of the fastest slice. */
static double best_slice(struct kern *k, int tasks, pool_fn *fn, struct peak_job *j) {
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < SLICES; i++) {
        uint64_t start = clock_ns();
        pool_run(k->pool, tasks, fn, j);
        uint64_t ns = clock_ns() - start;
        if (ns < best) best = ns;
    }
    return (double)best / 1e9;
}

void cpu_peak(struct kern *k, struct kern_peak *out) {
    int threads = pool_threads(k->pool);
    *out = (struct kern_peak){.threads = threads};
    struct peak_job j = {.isa = k->isa,
                         .sums = mem_must((size_t)threads * CPU_PAD * sizeof(float))};
    double flops = (double)threads * ROUNDS * CPU_CHAINS * k->isa->nr * 2;
    out->flops = flops / best_slice(k, threads, peak_compute, &j);
    float *memory = mem_try((size_t)READ_FLOATS * sizeof *memory);
    if (memory) {
        for (size_t i = 0; i < READ_FLOATS; i += 1024)
            memory[i] = 1; /* a page of its own */
        j.memory = memory;
        double bytes = (double)READ_FLOATS * sizeof *memory;
        out->memory = bytes / best_slice(k, READ_FLOATS / READ_PIECE, peak_read, &j);
    }
    mem_free(memory);
    mem_free(j.sums);
}
