/* profile.c - a device that computes nothing itself: it passes each operation on to another one and takes the
 * time until that one has done it.
 *
 * Products are told apart by the shape of their matrix, so that a table says which part of a layer the time goes to.
 * Waiting after each operation keeps a GPU from running ahead: the sum is more than a pass takes, its shares
 * and rates are what is wanted. For the same reason begin and end stay here: what is waited for can't be recorded.
 * Written to kern_config.profile when it is closed. Thread: the owner's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/kern.h"

enum { LINES = 48, NAME = 40 };

struct line {
    char name[NAME];
    uint64_t calls, ns, least_ns, flops;
};

struct kern {
    const struct kern_ops *ops; /* of the device that computes */
    struct kern *k;
    FILE *file;
    struct line
        lines[LINES]; /* in the order of their first calls; the last one takes what is over */
    int n;
    char text[128];
};

struct kern_mat {
    struct kern_mat *mat;
    int n, k;
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

static void print_table(struct kern *p, struct buf *b) {
    uint64_t all = 0;
    for (int i = 0; i < p->n; i++)
        all += p->lines[i].ns;
    qsort(p->lines, (size_t)p->n, sizeof p->lines[0], by_time);
    (void)buf_str(
        b, "| operation | calls | ms | share | least, us | GFLOP/s |\n|---|---|---|---|---|---|\n");
    for (int i = 0; i < p->n; i++) {
        const struct line *l = &p->lines[i];
        (void)buf_printf(b, "| %s | %llu | %.1f | %.1f %% | %.1f | %.0f |\n", l->name,
                         (unsigned long long)l->calls, (double)l->ns / 1e6,
                         all ? 100.0 * (double)l->ns / (double)all : 0, (double)l->least_ns / 1e3,
                         l->ns ? (double)l->flops / (double)l->ns : 0);
    }
    (void)buf_printf(b, "\n%s: %.1f ms of operations\n", p->text, (double)all / 1e6);
}

static void profile_close(struct kern *p) {
    if (!p) return;
    struct buf b;
    buf_init(&b, 1 << 20);
    print_table(p, &b);
    (void)fwrite(b.p, 1, b.len, p->file);
    (void)fclose(p->file);
    buf_clear(&b);
    p->ops->close(p->k);
    mem_free(p);
}

static struct line *line_of(struct kern *p, const char *name) {
    for (int i = 0; i < p->n; i++)
        if (!strcmp(p->lines[i].name, name)) return &p->lines[i];
    if (p->n == LINES) return &p->lines[LINES - 1];
    struct line *l = &p->lines[p->n++];
    (void)snprintf(l->name, sizeof l->name, "%s", p->n == LINES ? "others" : name);
    l->least_ns = UINT64_MAX;
    return l;
}

struct start {
    uint64_t ns, flops;
};

static struct start begin_line(struct kern *p) {
    struct kern_stats s;
    (void)p->ops->sync(p->k, NULL); /* what was put is not the operation's */
    p->ops->stats(p->k, &s);
    return (struct start){clock_ns(), s.flops};
}

static void end_line(struct kern *p, struct start t, const char *name) {
    struct kern_stats s;
    (void)p->ops->sync(p->k, NULL); /* a lost device is reported by the caller's own sync or get */
    uint64_t ns = clock_ns() - t.ns;
    p->ops->stats(p->k, &s);
    struct line *l = line_of(p, name);
    l->calls++;
    l->ns += ns;
    l->flops += s.flops - t.flops;
    if (ns < l->least_ns) l->least_ns = ns;
}

/* ---- passed on ---- */

static const char *profile_describe(const struct kern *p) { return p->text; }
static int profile_alloc(struct kern *p, size_t bytes, struct kern_ptr *out, struct err *e) {
    return p->ops->alloc(p->k, bytes, out, e);
}
static void profile_free(struct kern *p, struct kern_ptr at) { p->ops->free(p->k, at); }
static void profile_put(struct kern *p, struct kern_ptr dst, const void *src, size_t bytes) {
    p->ops->put(p->k, dst, src, bytes);
}
static int profile_get(struct kern *p, void *dst, struct kern_ptr src, size_t bytes,
                       struct err *e) {
    return p->ops->get(p->k, dst, src, bytes, e);
}
static void profile_copy(struct kern *p, struct kern_ptr dst, struct kern_ptr src, size_t bytes) {
    p->ops->copy(p->k, dst, src, bytes);
}
static enum kern_dtype profile_pool_dtype(const struct kern *p) { return p->ops->pool_dtype(p->k); }
static int profile_pass_rows(const struct kern *p) { return p->ops->pass_rows(p->k); }
static void profile_begin(struct kern *p, uint64_t key) { (void)p, (void)key; }
static int profile_end(struct kern *p) {
    (void)p;
    return 0;
}
static int profile_sync(struct kern *p, struct err *e) { return p->ops->sync(p->k, e); }
static void profile_stats(struct kern *p, struct kern_stats *out) { p->ops->stats(p->k, out); }

static int profile_mat_new(struct kern *p, const struct kern_mat_src *src, struct kern_mat **out,
                           struct err *e) {
    *out = NULL;
    struct kern_mat *m = mem_try(sizeof *m);
    if (!m) return err_set(e, E_NOMEM, "profile: no memory for a note");
    int rc = p->ops->mat_new(p->k, src, &m->mat, e);
    if (rc) {
        mem_free(m);
        return rc;
    }
    for (int i = 0; i < src->n_parts; i++)
        m->n += src->parts[i].n;
    m->k = src->k;
    *out = m;
    return 0;
}

static void profile_mat_free(struct kern *p, struct kern_mat *m) {
    if (!m) return;
    p->ops->mat_free(p->k, m->mat);
    mem_free(m);
}

static int profile_mat_describe(const struct kern *p, const struct kern_mat *m, char *text,
                                size_t n) {
    return p->ops->mat_describe(p->k, m->mat, text, n);
}

static void profile_gemm(struct kern *p, const struct kern_gemm *a) {
    char name[NAME];
    struct kern_gemm inner = *a;
    (void)snprintf(name, sizeof name, "gemm %d -> %d", a->w->k, a->w->n);
    inner.w = a->w->mat;
    struct start t = begin_line(p);
    p->ops->gemm(p->k, &inner);
    end_line(p, t, name);
}

#define PASS_ON(op, args)                                            \
    static void profile_##op(struct kern *p, const struct args *a) { \
        struct start t = begin_line(p);                              \
        p->ops->op(p->k, a);                                         \
        end_line(p, t, #op);                                         \
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

const struct kern_ops kern_profile = {.abi = KERN_ABI,
                                      .size = sizeof(struct kern_ops),
                                      .name = "profile",
                                      .score = profile_score,
                                      .open = profile_open,
                                      .close = profile_close,
                                      .describe = profile_describe,
                                      .pool_dtype = profile_pool_dtype,
                                      .pass_rows = profile_pass_rows,
                                      .alloc = profile_alloc,
                                      .free = profile_free,
                                      .put = profile_put,
                                      .get = profile_get,
                                      .copy = profile_copy,
                                      .mat_new = profile_mat_new,
                                      .mat_free = profile_mat_free,
                                      .mat_describe = profile_mat_describe,
                                      .begin = profile_begin,
                                      .end = profile_end,
                                      .sync = profile_sync,
                                      .stats = profile_stats,
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
