/* cpu.c - opening the CPU backend: instruction set, workers, memory, the table.
 *
 * Device memory is host memory here; put, get and copy are memcpy, nothing is queued, sync has
 * nothing to wait for. Without a limit from above, what was free at open is one: a model that is
 * too large for the machine is refused, before the system ends this process or another one for it.
 * Thread: the one that owns the `struct kern`; workers come and go inside calls.
 */
#include "kernels/cpu/cpu.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/cgroup.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/cpu/cpu_kern.h"

static const struct cpu_isa *const isas[] = {
#if defined(__x86_64__)
    &cpu_isa_avx512,     &cpu_isa_avx2,
#endif
    &cpu_isa_portable,
#if defined(__x86_64__)
    &cpu_isa_avx512bf16, &cpu_isa_amx, /* other results: for those alone who ask for them */
#endif
};

static const struct cpu_dots *const dots[] = {
#if defined(__x86_64__)
    &cpu_dots_amx8,     &cpu_dots_vnni, &cpu_dots_avx512, &cpu_dots_avx2,
#endif
    &cpu_dots_portable,
};

/* Is it the name up to the "+"? */
static int cpu_is_named(const char *name, const char *known) {
    size_t n = strcspn(name, "+");
    return strlen(known) == n && !strncmp(name, known, n);
}

static int find_isa(const char *name, const struct cpu_isa **out, struct err *e) {
    int is_auto = !name || cpu_is_named(name, "auto");
    for (size_t i = 0; i < ARRAY_LEN(isas); i++) {
        if (!is_auto && !cpu_is_named(name, isas[i]->name)) continue;
        if (isas[i]->is_here()) {
            *out = isas[i];
            return 0;
        }
        if (!is_auto)
            return err_set(e, E_UNSUPPORTED, "this processor has no %s: auto takes what it has",
                           name);
    }
    return err_set(e, E_NOT_FOUND, "no instruction set \"%s\"", name ? name : "auto");
}

/* What stands behind the "+"; else the instruction set's own, where it was asked for and has some;
 * else the first that is here. */
static int find_dots(const char *name, const struct cpu_dots **out, struct err *e) {
    const char *plus = name ? strchr(name, '+') : NULL;
    *out = NULL;
    for (size_t i = 0; i < ARRAY_LEN(dots); i++) {
        int is_it =
            plus ? !strcmp(plus + 1, dots[i]->name) : name && cpu_is_named(name, dots[i]->name);
        if (is_it) *out = dots[i];
    }
    if (plus && !*out) return err_set(e, E_NOT_FOUND, "no products in 8 bits \"%s\"", plus + 1);
    for (size_t i = 0; i < ARRAY_LEN(dots) && !*out; i++)
        if (dots[i]->is_here()) *out = dots[i];
    return (*out)->is_here() ? 0
                             : err_set(e, E_UNSUPPORTED, "this processor has no %s", (*out)->name);
}

/* Scratch that a new device begins with: enough that the passes of a small model never make it
 * grow. */
enum { SHARED_FLOATS = 1 << 20, PRIVATE_FLOATS = 1 << 18, ANGLE_FLOATS = 1 << 20 };

/* Bytes that the host could give to a newcomer, and the control group to this process, but for a
 * sixteenth; 0: they don't say. */
static uint64_t host_free(void) {
    char line[128];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    while (f && kib == 0 && fgets(line, sizeof line, f))
        (void)sscanf(line, "MemAvailable: %llu kB", &kib);
    if (f) (void)fclose(f);
    struct cgroup group;
    cgroup_read(NULL, NULL, &group);
    uint64_t bytes = (uint64_t)kib * 1024;
    int is_limited = group.memory_left < UINT64_MAX;
    if (is_limited && (!bytes || group.memory_left < bytes)) bytes = group.memory_left;
    return bytes / 16 * 15;
}

static int cpu_score(void) { return 10; }

static int cpu_open(const struct kern_config *cfg, struct kern **out, struct err *e) {
    *out = NULL;
    const struct cpu_isa *isa = NULL;
    const struct cpu_dots *dots_fit = NULL;
    int rc = find_isa(cfg->isa, &isa, e);
    if (!rc) rc = find_dots(cfg->isa, &dots_fit, e);
    if (rc) return rc;
    if (cfg->device != 0) return err_set(e, E_NOT_FOUND, "there is no CPU number %d", cfg->device);
    if (cfg->threads < 0) return err_set(e, E_INVALID, "%d threads", cfg->threads);
    struct kern *k = mem_must(sizeof *k);
    k->isa = isa;
    k->dots = dots_fit;
    k->memory_max = cfg->memory_max;
    k->blocks.most_bytes = cfg->memory_max ? cfg->memory_max : host_free();
    k->pool = pool_new(cfg->threads, isa->begin, isa->end);
    if (cfg->profile) pool_watch(k->pool);
    int n = pool_threads(k->pool);
    k->private = mem_must((size_t)n * sizeof *k->private);
    cpu_scratch(k, &k->shared, SHARED_FLOATS);
    for (int i = 0; i < n; i++)
        cpu_scratch(k, &k->private[i], PRIVATE_FLOATS);
    cpu_scratch(k, &k->angles, ANGLE_FLOATS);
    snprintf(k->text, sizeof k->text, "%s, %d thread%s", isa->name, n, n == 1 ? "" : "s");
    *out = k;
    return 0;
}

static void cpu_close(struct kern *k) {
    if (!k) return;
    int n = pool_threads(k->pool);
    pool_free(k->pool);
    blocks_clear(&k->blocks);
    for (int i = 0; i < n; i++)
        mem_free(k->private[i].p);
    mem_free(k->private);
    mem_free(k->shared.p);
    mem_free(k->angles.p);
    mem_free(k);
}

static const char *cpu_describe(const struct kern *k) { return k->text; }

static enum kern_dtype cpu_pool_dtype(const struct kern *k) {
    (void)k;
    return KERN_F32;
}

static int cpu_takes_pool(const struct kern *k, enum kern_dtype type) {
    return (void)k, cpu_kern_takes(type);
}

/* As fast as more: docs/benchmarks.md. */
static int cpu_pass_rows(const struct kern *k) { return (void)k, 512; }
static int cpu_tile_rows(const struct kern *k) { return (void)k, 1; }
static int cpu_products(const struct kern *k, int i, char *text, size_t n) {
    return (void)k, (void)i, (void)text, (void)n, 0;
}
static int cpu_pass_pictures(const struct kern *k) { return (void)k, 1; }
static enum kern_dtype cpu_x_dtype(const struct kern *k, const struct kern_mat *m) {
    return (void)k, (void)m, KERN_F32;
}

/* ---- memory ---- */

int cpu_no_memory(const struct kern *k, size_t bytes, struct err *e) {
    const double mib = 1024.0 * 1024.0;
    double need = (double)bytes / mib, held = (double)k->blocks.live_bytes / mib;
    double most = (double)k->blocks.most_bytes / mib;
    if (!k->blocks.most_bytes)
        return err_set(e, E_NOMEM, "cpu: no memory for %.1f MiB beside %.1f MiB", need, held);
    return err_set(e, E_NOMEM, "cpu: no memory for %.1f MiB beside %.1f MiB: %s %.1f MiB", need,
                   held, k->memory_max ? "allowed are" : "there were", most);
}

static int cpu_alloc(struct kern *k, size_t bytes, struct kern_ptr *out, struct err *e) {
    out->addr = blocks_take(&k->blocks, bytes);
    return out->addr ? 0 : cpu_no_memory(k, bytes, e);
}

static void cpu_free(struct kern *k, struct kern_ptr p) { blocks_give(&k->blocks, p.addr); }

static void cpu_put(struct kern *k, struct kern_ptr dst, const void *src, size_t bytes) {
    (void)k;
    if (bytes) memcpy(dst.addr, src, bytes);
}

static int cpu_get(struct kern *k, void *dst, struct kern_ptr src, size_t bytes, struct err *e) {
    (void)k, (void)e;
    if (bytes) memcpy(dst, src.addr, bytes);
    return 0;
}

static void cpu_copy(struct kern *k, struct kern_ptr dst, struct kern_ptr src, size_t bytes) {
    (void)k;
    if (bytes) memmove(dst.addr, src.addr, bytes);
}

float *cpu_scratch(struct kern *k, struct cpu_scratch *s, size_t floats) {
    if (s->floats < floats) {
        mem_free(s->p);
        s->p = mem_must(floats * sizeof *s->p);
        s->floats = floats;
        k->scratch_grown++;
    }
    return s->p;
}

/* ---- order ---- */

static void cpu_pass(struct kern *k, uint64_t key, kern_issue_fn *issue, void *ud) {
    (void)k, (void)key;
    issue(ud);
}
static int cpu_sync(struct kern *k, struct err *e) {
    (void)k, (void)e;
    return 0;
}
static void cpu_stats(struct kern *k, struct kern_stats *out) {
    *out = (struct kern_stats){.ops = k->ops,
                               .flops = k->flops,
                               .live_bytes = k->blocks.live_bytes,
                               .peak_bytes = k->blocks.peak_bytes,
                               .most_bytes = k->memory_max,
                               .found_bytes = k->memory_max ? 0 : k->blocks.most_bytes,
                               .allocations = k->blocks.allocations + k->scratch_grown,
                               .wait_ns = pool_wait_ns(k->pool)};
}

/* What was issued has been done: the clock will do. */
static void cpu_mark(struct kern *k, int i) { k->marks[i] = clock_ns(); }

static int cpu_marked(struct kern *k, int n, uint64_t *ns, struct err *e) {
    (void)e;
    for (int i = 0; i + 1 < n; i++)
        ns[i] = k->marks[i + 1] - k->marks[i];
    return 0;
}

void cpu_count(struct kern *k, uint64_t multiply_adds) {
    k->ops++;
    k->flops += 2 * multiply_adds;
}

/* ---- rows on threads ---- */

enum { WORTH_A_THREAD = 16384 }; /* floats */

struct rows_job {
    cpu_rows_fn *fn;
    const void *args;
    int rows, chunk;
};

static void run_chunk(void *ctx, int task, int thread) {
    (void)thread;
    const struct rows_job *j = ctx;
    int row0 = task * j->chunk, row1 = row0 + j->chunk;
    j->fn(j->args, row0, row1 < j->rows ? row1 : j->rows);
}

void cpu_rows(struct kern *k, int rows, int cost, cpu_rows_fn *fn, const void *args) {
    cpu_count(k, 0);
    int chunk = WORTH_A_THREAD / (cost > 0 ? cost : 1);
    if (chunk < 1) chunk = 1;
    struct rows_job j = {fn, args, rows, chunk};
    pool_run(k->pool, (rows + chunk - 1) / chunk, run_chunk, &j);
}

static struct kern_mat_form cpu_form(const char *name) {
    const struct cpu_isa *isa = NULL;
    if (find_isa(name, &isa, NULL)) (void)find_isa(NULL, &isa, NULL);
    uint64_t own = SHARED_FLOATS + PRIVATE_FLOATS + ANGLE_FLOATS;
    return (struct kern_mat_form){.n_step = isa->nr,
                                  .back_step = isa->nr,
                                  .k_16bit = isa->tile_pairs ? 0 : CPU_WIDE,
                                  .own_bytes = own * sizeof(float)};
}

static const struct kern_train_ops cpu_train = {.size = sizeof(struct kern_train_ops),
                                                .mat_set = cpu_mat_set,
                                                .zero = cpu_zero,
                                                .gemm_dx = cpu_gemm_dx,
                                                .gemm_dw = cpu_gemm_dw,
                                                .colsum = cpu_colsum,
                                                .layernorm_back = cpu_layernorm_back,
                                                .rmsnorm_back = cpu_rmsnorm_back,
                                                .gelu = cpu_gelu,
                                                .gelu_back = cpu_gelu_back,
                                                .swiglu_back = cpu_swiglu_back,
                                                .dropout = cpu_dropout,
                                                .convert = cpu_convert,
                                                .attn_full_back = cpu_attn_full_back,
                                                .attn_tree_back = cpu_attn_tree_back,
                                                .rope_back = cpu_rope_back,
                                                .embed_back = cpu_embed_back,
                                                .gather_back = cpu_gather_back,
                                                .xent = cpu_xent,
                                                .expect = cpu_expect,
                                                .axpy = cpu_axpy,
                                                .lerp = cpu_lerp,
                                                .sumsq = cpu_sumsq,
                                                .adamw = cpu_adamw,
                                                .form = cpu_form};

const struct kern_ops kern_cpu = {.abi = KERN_ABI,
                                  .size = sizeof(struct kern_ops),
                                  .name = "cpu",
                                  .train = &cpu_train,
                                  .peak = cpu_peak,
                                  .score = cpu_score,
                                  .open = cpu_open,
                                  .close = cpu_close,
                                  .describe = cpu_describe,
                                  .pool_dtype = cpu_pool_dtype,
                                  .takes_pool = cpu_takes_pool,
                                  .pass_rows = cpu_pass_rows,
                                  .tile_rows = cpu_tile_rows,
                                  .pass_pictures = cpu_pass_pictures,
                                  .alloc = cpu_alloc,
                                  .free = cpu_free,
                                  .put = cpu_put,
                                  .get = cpu_get,
                                  .copy = cpu_copy,
                                  .mat_new = cpu_mat_new,
                                  .mat_free = cpu_mat_free,
                                  .mat_bytes = cpu_mat_bytes,
                                  .mat_describe = cpu_mat_describe,
                                  .x_dtype = cpu_x_dtype,
                                  .products = cpu_products,
                                  .pass = cpu_pass,
                                  .sync = cpu_sync,
                                  .stats = cpu_stats,
                                  .mark = cpu_mark,
                                  .marked = cpu_marked,
                                  .gemm = cpu_gemm,
                                  .layernorm = cpu_layernorm,
                                  .rmsnorm = cpu_rmsnorm,
                                  .swiglu = cpu_swiglu,
                                  .patchify = cpu_patchify,
                                  .add_pos = cpu_add_pos,
                                  .embed = cpu_embed,
                                  .gather = cpu_gather,
                                  .rope = cpu_rope,
                                  .attn_full = cpu_attn_full,
                                  .attn_tree = cpu_attn_tree,
                                  .pick = cpu_pick};
