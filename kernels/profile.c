/* profile.c - a device that computes nothing itself: it passes each operation on to another one and
 * sets a mark (kern_ops.mark) behind it.
 *
 *     put   mark  rmsnorm  mark  gemm  mark  rope  mark  ...  get
 *            0             1           2           3           the times between are read here
 *
 * Products are told apart by the shape of their matrix, so that a table says which part of a layer
 * the time goes to. Nothing waits: a GPU runs ahead of the host as it does without us, and the
 * times are read where the caller waits anyway, in get and sync, or where there are no marks left.
 * What comes between two operations and is none - a put, a copy, a rest - has a mark behind it, and
 * counts for nobody. The gap between two operations of a pass counts with the second one: so the
 * sum is what passes take on the device. pass stays here: no mark can be set in a pass that
 * is recorded, so a device that would record passes ("+graphs") runs them as they are issued, and
 * gaps are as large as they are then. Written to kern_config.profile when it is closed. Thread: the
 * owner's.
 *
 * The operations of training are passed on alike. This table is constant, and what the device can
 * do is known when it is opened. So the table always has them, and to call one that the device
 * lacks is a bug.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/kern.h"
#include "kernels/moved.h"

enum { LINES = 96, NAME = 40, NOBODY = -1 };

/* What an operation did, beside taking time. */
struct work {
    uint64_t flops, bytes, wait_ns;
};

struct line {
    char name[NAME];
    uint64_t calls, ns, least_ns;
    struct work work;
};

/* What lies between the mark before and this one. */
struct mark {
    int line; /* NOBODY: no operation */
    struct work work;
};

struct kern {
    const struct kern_ops *ops; /* of the device that computes */
    struct kern *k;
    FILE *file;
    struct line
        lines[LINES]; /* in the order of their first calls; the last one takes what is over */
    int n;
    struct mark marks[KERN_MARKS]; /* that are set and not yet read */
    int n_marks;
    int is_marked; /* nothing was issued behind the last one */
    uint64_t ns[KERN_MARKS];
    uint64_t callers[KERN_MARKS]; /* the caller's own marks: clock_ns, after waiting */
    char text[128];
};

struct kern_mat {
    struct kern_mat *mat;
    int n, k;
    uint64_t bytes;
};

static int profile_score(void) { return 1; } /* never chosen by itself */

static int profile_open(const struct kern_config *cfg, struct kern **out, struct err *e) {
    *out = NULL;
    if (!cfg->inner || !cfg->profile) return err_set(e, E_INVALID, "profile: of which device?");
    struct kern *p = mem_must(sizeof *p);
    p->ops = cfg->inner;
    p->file = fopen(cfg->profile, "we");
    int rc = p->file ? p->ops->open(cfg, &p->k, e)
                     : err_set(e, E_IO, "profile: %s: %s", cfg->profile, strerror(errno));
    if (rc) {
        if (p->file) (void)fclose(p->file);
        mem_free(p);
        return rc;
    }
    (void)snprintf(p->text, sizeof p->text, "%s: %.80s, each operation timed", p->ops->name,
                   p->ops->describe(p->k));
    *out = p;
    return 0;
}

/* ---- the table ---- */

static int by_time(const void *a, const void *b) {
    const struct line *x = a, *y = b;
    return x->ns < y->ns ? 1 : x->ns > y->ns ? -1 : 0;
}

static int line_of(struct kern *p, const char *name) {
    for (int i = 0; i < p->n; i++)
        if (!strcmp(p->lines[i].name, name)) return i;
    if (p->n == LINES) return LINES - 1;
    struct line *l = &p->lines[p->n++];
    (void)snprintf(l->name, sizeof l->name, "%s", p->n == LINES ? "others" : name);
    l->least_ns = UINT64_MAX;
    return p->n - 1;
}

/* Add up what the marks say; they may be set anew then. A lost device says nothing: its loss is
 * reported by the caller's own sync or get. */
static void read_marks(struct kern *p) {
    int n = p->n_marks;
    p->n_marks = p->is_marked = 0;
    if (n < 2 || p->ops->marked(p->k, n, p->ns, NULL)) return;
    for (int i = 1; i < n; i++) {
        const struct mark *m = &p->marks[i];
        if (m->line == NOBODY) continue;
        struct line *l = &p->lines[m->line];
        uint64_t ns = p->ns[i - 1];
        l->calls++;
        l->ns += ns;
        l->work.flops += m->work.flops;
        l->work.bytes += m->work.bytes;
        l->work.wait_ns += m->work.wait_ns;
        if (ns < l->least_ns) l->least_ns = ns;
    }
}

static void set_mark(struct kern *p, int line, struct work work) {
    p->marks[p->n_marks] = (struct mark){line, work};
    p->ops->mark(p->k, p->n_marks++);
    p->is_marked = 1;
}

/* `part` of `whole` in per cent, or a dash: nobody knows the whole. */
static void print_share(struct buf *b, double part, double whole) {
    if (whole > 0)
        (void)buf_printf(b, " %.1f %% |", 100 * part / whole);
    else
        (void)buf_str(b, " - |");
}

static void profile_print_line(struct buf *b, const struct line *l, uint64_t all,
                               const struct kern_peak *peak) {
    double s = (double)l->ns / 1e9, flops = s > 0 ? (double)l->work.flops / s : 0;
    double bytes = s > 0 ? (double)l->work.bytes / s : 0;
    (void)buf_printf(b, "| %s | %llu | %.1f |", l->name, (unsigned long long)l->calls, s * 1e3);
    print_share(b, (double)l->ns, (double)all);
    (void)buf_printf(b, " %.1f |", (double)l->least_ns / 1e3);
    if (l->work.flops) {
        (void)buf_printf(b, " %.0f |", flops / 1e9);
        print_share(b, flops, peak->flops);
    } else {
        (void)buf_str(b, " - | - |");
    }
    (void)buf_printf(b, " %.1f |", bytes / 1e9);
    print_share(b, bytes, peak->memory);
    print_share(b, (double)l->work.wait_ns, (double)l->ns * peak->threads);
    (void)buf_str(b, "\n");
}

static void profile_print_table(struct kern *p, struct buf *b) {
    uint64_t all = 0;
    for (int i = 0; i < p->n; i++)
        all += p->lines[i].ns;
    qsort(p->lines, (size_t)p->n, sizeof p->lines[0], by_time);
    struct kern_peak peak = {0};
    if (p->ops->peak) p->ops->peak(p->k, &peak);
    (void)buf_str(b, "| operation | calls | ms | share | least, us | GFLOP/s | of peak | GB/s | "
                     "of memory's | waiting |\n|---|---|---|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < p->n; i++)
        if (p->lines[i].calls)
            profile_print_line(b, &p->lines[i], all, &peak); /* 0: the device was lost */
    (void)buf_printf(b, "\n%s: %.1f ms of operations\n", p->text, (double)all / 1e6);
    if (p->ops->peak)
        (void)buf_printf(b,
                         "Peak, measured here by all threads: %.0f GFLOP/s of f32 multiply-adds "
                         "in registers, %.1f GB/s read from memory.\n",
                         peak.flops / 1e9, peak.memory / 1e9);
    (void)buf_str(
        b, "Times are from mark to mark in the order of the operations, without waiting between "
           "them; passes ran as they were issued. Bytes are operands, each once; more than memory "
           "gives comes from caches. Waiting is the threads' time without a task while another "
           "one had one.\n");
}

static void profile_close(struct kern *p) {
    if (!p) return;
    struct buf b;
    read_marks(p);
    buf_init(&b, 1 << 20);
    profile_print_table(p, &b);
    (void)fwrite(b.p, 1, b.len, p->file);
    (void)fclose(p->file);
    buf_clear(&b);
    p->ops->close(p->k);
    mem_free(p);
}

/* ---- passed on ---- */

/* Before an operation: what was counted so far. */
static struct work begin_line(struct kern *p) {
    struct kern_stats s;
    if (p->n_marks + (p->is_marked ? 1 : 2) > KERN_MARKS) read_marks(p);
    if (!p->is_marked) set_mark(p, NOBODY, (struct work){0});
    p->ops->stats(p->k, &s);
    return (struct work){.flops = s.flops, .wait_ns = s.wait_ns};
}

/* Behind it; `bytes` were moved. */
static void end_line(struct kern *p, struct work before, uint64_t bytes, const char *name) {
    struct kern_stats s;
    p->ops->stats(p->k, &s);
    set_mark(p, line_of(p, name),
             (struct work){s.flops - before.flops, bytes, s.wait_ns - before.wait_ns});
}

/* What is issued now is no operation. */
static struct kern *unmarked(struct kern *p) {
    p->is_marked = 0;
    return p->k;
}

static const char *profile_describe(const struct kern *p) { return p->text; }
static int profile_alloc(struct kern *p, size_t bytes, struct kern_ptr *out, struct err *e) {
    return p->ops->alloc(unmarked(p), bytes, out, e);
}
static void profile_free(struct kern *p, struct kern_ptr at) { p->ops->free(unmarked(p), at); }
static void profile_put(struct kern *p, struct kern_ptr dst, const void *src, size_t bytes) {
    p->ops->put(unmarked(p), dst, src, bytes);
}
static int profile_get(struct kern *p, void *dst, struct kern_ptr src, size_t bytes,
                       struct err *e) {
    int rc = p->ops->get(unmarked(p), dst, src, bytes, e);
    read_marks(p);
    return rc;
}
static void profile_copy(struct kern *p, struct kern_ptr dst, struct kern_ptr src, size_t bytes) {
    p->ops->copy(unmarked(p), dst, src, bytes);
}
static enum kern_dtype profile_pool_dtype(const struct kern *p) { return p->ops->pool_dtype(p->k); }
static int profile_takes_pool(const struct kern *p, enum kern_dtype type) {
    return p->ops->takes_pool(p->k, type);
}
static int profile_pass_rows(const struct kern *p) { return p->ops->pass_rows(p->k); }
static int profile_tile_rows(const struct kern *p) { return p->ops->tile_rows(p->k); }
static int profile_pass_pictures(const struct kern *p) { return p->ops->pass_pictures(p->k); }
static void profile_pass(struct kern *p, uint64_t key, kern_issue_fn *issue, void *ud) {
    (void)p, (void)key;
    issue(ud);
}
static int profile_sync(struct kern *p, struct err *e) {
    int rc = p->ops->sync(p->k, e);
    read_marks(p);
    return rc;
}
static void profile_stats(struct kern *p, struct kern_stats *out) { p->ops->stats(p->k, out); }

/* A caller's marks would take ours: they wait, and the clock serves them. */
static void profile_mark(struct kern *p, int i) {
    (void)profile_sync(p, NULL);
    p->callers[i] = clock_ns();
}
static int profile_marked(struct kern *p, int n, uint64_t *ns, struct err *e) {
    for (int i = 0; i + 1 < n; i++)
        ns[i] = p->callers[i + 1] - p->callers[i];
    return profile_sync(p, e);
}

static int profile_mat_new(struct kern *p, const struct kern_mat_src *src, struct kern_mat **out,
                           struct err *e) {
    *out = NULL;
    struct kern_mat *m = mem_try(sizeof *m);
    if (!m) return err_set(e, E_NOMEM, "profile: no memory for a note");
    int rc = p->ops->mat_new(unmarked(p), src, &m->mat, e);
    if (rc) {
        mem_free(m);
        return rc;
    }
    for (int i = 0; i < src->n_parts; i++)
        m->n += src->parts[i].n;
    m->k = src->k;
    m->bytes = p->ops->mat_bytes(p->k, src);
    *out = m;
    return 0;
}

static void profile_mat_free(struct kern *p, struct kern_mat *m) {
    if (!m) return;
    p->ops->mat_free(unmarked(p), m->mat);
    mem_free(m);
}

static uint64_t profile_mat_bytes(const struct kern *p, const struct kern_mat_src *src) {
    return p->ops->mat_bytes(p->k, src);
}

static int profile_products(const struct kern *p, int i, char *text, size_t n) {
    return p->ops->products(p->k, i, text, n);
}
static int profile_mat_describe(const struct kern *p, const struct kern_mat *m, char *text,
                                size_t n) {
    return p->ops->mat_describe(p->k, m->mat, text, n);
}

static enum kern_dtype profile_x_dtype(const struct kern *p, const struct kern_mat *m) {
    return p->ops->x_dtype(p->k, m->mat);
}

static void profile_gemm(struct kern *p, const struct kern_gemm *a) {
    char name[NAME];
    struct kern_gemm inner = *a;
    (void)snprintf(name, sizeof name, "gemm %d -> %d", kern_gemm_k(a, a->w->k),
                   kern_gemm_n(a, a->w->n));
    inner.w = a->w->mat;
    struct work before = begin_line(p);
    p->ops->gemm(p->k, &inner);
    end_line(p, before, moved_gemm(a, a->w->n, a->w->k, a->w->bytes), name);
}

#define PASS_ON(op, args)                                            \
    static void profile_##op(struct kern *p, const struct args *a) { \
        struct work before = begin_line(p);                          \
        p->ops->op(p->k, a);                                         \
        end_line(p, before, moved_##op(a), #op);                     \
    }
PASS_ON(layernorm, kern_norm)
PASS_ON(rmsnorm, kern_norm)
PASS_ON(swiglu, kern_swiglu)
PASS_ON(patchify, kern_patchify)
PASS_ON(add_pos, kern_add_pos)
PASS_ON(embed, kern_embed)
PASS_ON(gather, kern_gather)
PASS_ON(rope, kern_rope)
PASS_ON(attn_full, kern_attn_full)
PASS_ON(attn_tree, kern_attn_tree)
PASS_ON(pick, kern_pick)

/* ---- training ---- */

static const struct kern_train_ops *train_of(const struct kern *p) {
    must(p->ops->train);
    return p->ops->train;
}

static void profile_zero(struct kern *p, struct kern_ptr at, size_t bytes) {
    const struct kern_train_ops *train = train_of(p);
    struct work before = begin_line(p);
    train->zero(p->k, at, bytes);
    end_line(p, before, 0, "zero");
}

static void profile_mat_set(struct kern *p, const struct kern_mat_set *a) {
    const struct kern_train_ops *train = train_of(p);
    struct kern_mat_set inner = *a;
    inner.w = a->w->mat;
    struct work before = begin_line(p);
    train->mat_set(p->k, &inner);
    end_line(p, before, 0, "mat_set");
}

static void profile_gemm_dx(struct kern *p, const struct kern_gemm_dx *a) {
    const struct kern_train_ops *train = train_of(p);
    char name[NAME];
    struct kern_gemm_dx inner = *a;
    (void)snprintf(name, sizeof name, "gemm_dx %d <- %d", a->w->k, a->w->n);
    inner.w = a->w->mat;
    struct work before = begin_line(p);
    train->gemm_dx(p->k, &inner);
    end_line(p, before, 0, name);
}

static void profile_gemm_dw(struct kern *p, const struct kern_gemm_dw *a) {
    const struct kern_train_ops *train = train_of(p);
    char name[NAME];
    (void)snprintf(name, sizeof name, "gemm_dw %d x %d", a->n, a->k);
    struct work before = begin_line(p);
    train->gemm_dw(p->k, a);
    end_line(p, before, 0, name);
}

#define PASS_ON_TRAIN(op, args)                                      \
    static void profile_##op(struct kern *p, const struct args *a) { \
        const struct kern_train_ops *train = train_of(p);            \
        struct work before = begin_line(p);                          \
        train->op(p->k, a);                                          \
        end_line(p, before, 0, #op);                                 \
    }
PASS_ON_TRAIN(colsum, kern_colsum)
PASS_ON_TRAIN(layernorm_back, kern_norm_back)
PASS_ON_TRAIN(rmsnorm_back, kern_norm_back)
PASS_ON_TRAIN(gelu, kern_gelu)
PASS_ON_TRAIN(gelu_back, kern_gelu)
PASS_ON_TRAIN(swiglu_back, kern_swiglu_back)
PASS_ON_TRAIN(dropout, kern_dropout)
PASS_ON_TRAIN(convert, kern_convert)
PASS_ON_TRAIN(attn_full_back, kern_attn_full_back)
PASS_ON_TRAIN(attn_tree_back, kern_attn_tree_back)
PASS_ON_TRAIN(rope_back, kern_rope_back)
PASS_ON_TRAIN(embed_back, kern_embed_back)
PASS_ON_TRAIN(gather_back, kern_gather_back)
PASS_ON_TRAIN(xent, kern_xent)
PASS_ON_TRAIN(expect, kern_expect)
PASS_ON_TRAIN(axpy, kern_axpy)
PASS_ON_TRAIN(lerp, kern_lerp)
PASS_ON_TRAIN(sumsq, kern_sumsq)
PASS_ON_TRAIN(adamw, kern_adamw)

/* Nobody counts by this table: which device is inside isn't known before open. */
static struct kern_mat_form profile_form(const char *isa) {
    (void)isa;
    return (struct kern_mat_form){0};
}

static const struct kern_train_ops profile_train = {
    .size = sizeof(struct kern_train_ops),
    .mat_set = profile_mat_set,
    .zero = profile_zero,
    .gemm_dx = profile_gemm_dx,
    .gemm_dw = profile_gemm_dw,
    .colsum = profile_colsum,
    .layernorm_back = profile_layernorm_back,
    .rmsnorm_back = profile_rmsnorm_back,
    .gelu = profile_gelu,
    .gelu_back = profile_gelu_back,
    .swiglu_back = profile_swiglu_back,
    .dropout = profile_dropout,
    .convert = profile_convert,
    .attn_full_back = profile_attn_full_back,
    .attn_tree_back = profile_attn_tree_back,
    .rope_back = profile_rope_back,
    .embed_back = profile_embed_back,
    .gather_back = profile_gather_back,
    .xent = profile_xent,
    .expect = profile_expect,
    .axpy = profile_axpy,
    .lerp = profile_lerp,
    .sumsq = profile_sumsq,
    .adamw = profile_adamw,
    .form = profile_form,
};

const struct kern_ops kern_profile = {.abi = KERN_ABI,
                                      .size = sizeof(struct kern_ops),
                                      .name = "profile",
                                      .train = &profile_train,
                                      .score = profile_score,
                                      .open = profile_open,
                                      .close = profile_close,
                                      .describe = profile_describe,
                                      .pool_dtype = profile_pool_dtype,
                                      .takes_pool = profile_takes_pool,
                                      .pass_rows = profile_pass_rows,
                                      .tile_rows = profile_tile_rows,
                                      .pass_pictures = profile_pass_pictures,
                                      .alloc = profile_alloc,
                                      .free = profile_free,
                                      .put = profile_put,
                                      .get = profile_get,
                                      .copy = profile_copy,
                                      .mat_new = profile_mat_new,
                                      .mat_free = profile_mat_free,
                                      .mat_bytes = profile_mat_bytes,
                                      .mat_describe = profile_mat_describe,
                                      .x_dtype = profile_x_dtype,
                                      .products = profile_products,
                                      .pass = profile_pass,
                                      .sync = profile_sync,
                                      .stats = profile_stats,
                                      .mark = profile_mark,
                                      .marked = profile_marked,
                                      .gemm = profile_gemm,
                                      .layernorm = profile_layernorm,
                                      .rmsnorm = profile_rmsnorm,
                                      .swiglu = profile_swiglu,
                                      .patchify = profile_patchify,
                                      .add_pos = profile_add_pos,
                                      .embed = profile_embed,
                                      .gather = profile_gather,
                                      .rope = profile_rope,
                                      .attn_full = profile_attn_full,
                                      .attn_tree = profile_attn_tree,
                                      .pick = profile_pick};
