/* attn.c - attention, inside a picture and over the prompt tree.
 *
 * Both are the same work on a block of rows and one head: scores against shared keys as a product
 * with the packed transpose of the keys, softmax, product with the packed values. The tree adds
 * each row's own keys behind the shared ones:
 *
 *     scores of a row:  [ shared keys | own keys | -inf up to a multiple of 16 ]
 *
 * Rows that go along a path of the tree one after the other meet its keys as a panel, too.
 *
 * Invariant: the bits of a row depend on its list of keys alone, not on how the list is cut into
 * shared and own. A score is one chain of multiply-adds over the head in either part, one softmax
 * runs over the whole line, and one chain adds up the values, shared then own, in list order.
 *
 * Keys and values shared by a group are packed once per group and head, before the rows are handed
 * out: (panels of keys, K, nr) and (panels of the head, keys, nr). Inside pictures both may be
 * pairs of bf16 (isa.h), and so are then rows and exponentials that meet them; over the tree they
 * are not, as own keys would have no partners. Pools of bf16 and int8 are widened on the way,
 * shared tokens while they are packed and own ones few at a time; from there on they are floats.
 *
 * A group of one row isn't packed: attn_line.c.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/attn_line.h"

enum {
    ASK_ROWS = 12,          /* of a product, between two times that own keys are asked for */
    SLICE_FLOATS = 1 << 18, /* half of a second cache of 2 MiB */
    OWN_BYTES = 64 << 10,   /* of a block's own keys and values: see tree_block_rows */
    PATH_ROWS = 4,          /* for which a panel of their own keys pays */
};

/* Shared keys and values of one group and head, packed. */
struct packed {
    float *keys, *values;
    int n, n_padded; /* keys; rounded up to whole panels */
};

static size_t packed_floats(const struct cpu_isa *isa, int n, int K) {
    return (size_t)cpu_round_up(n, isa->nr) * (size_t)K +
           (size_t)n * (size_t)cpu_round_up(K, isa->nr);
}

static struct packed packed_at(const struct cpu_isa *isa, float *p, int n, int K) {
    int padded = cpu_round_up(n, isa->nr);
    return (struct packed){p, p + (size_t)padded * (size_t)K, n, padded};
}

/* Keys and values of n tokens, `ld` floats from one to the next, as those from number `at` on. */
static void pack_tokens(const struct cpu_isa *isa, const struct packed *to, int at, int n,
                        const float *key, const float *value, int ld, int K) {
    size_t nr = (size_t)isa->nr;
    isa->panels(n, K, value, ld, to->values + (size_t)at * nr, nr * (size_t)to->n);
    while (n > 0) { /* as far as a panel of keys goes */
        int in = at % isa->nr, part = isa->nr - in < n ? isa->nr - in : n;
        isa->transpose(part, K, key, ld, to->keys + (size_t)(at - in) * (size_t)K + in, isa->nr);
        key += (size_t)part * (size_t)ld;
        at += part;
        n -= part;
    }
}

static void pack_end(const struct cpu_isa *isa, const struct packed *to, int K) {
    for (int at = to->n; at < to->n_padded; at++)
        for (int i = 0; i < K; i++)
            to->keys[(at / isa->nr * K + i) * isa->nr + at % isa->nr] = 0;
}

/* Scores of m rows against the shared keys, into lines of `ld` floats; behind the last key of a
 * line there are up to nr - 1 worthless ones, which the caller overwrites. */
static void score_shared(const struct cpu_isa *isa, const struct packed *p, int m, const float *q,
                         int ldq, int K, float scale, float *s, int ld) {
    struct tile_end end = {.scale = scale};
    for (int at = 0; at < p->n_padded; at += isa->nr)
        isa->tile(m, K, q, ldq, p->keys + (size_t)at * (size_t)K, isa->nr, s + at, ld, isa->nr,
                  &end);
}

static void add_shared(const struct cpu_isa *isa, const struct packed *p, int m, const float *s,
                       int ld, int K, float *y, int ldy) {
    struct tile_end end = {.scale = 1.0f};
    for (int i = 0; i < K; i += isa->nr)
        isa->tile(m, p->n, s, ld, p->values + (size_t)i * (size_t)p->n, isa->nr, y + i, ldy,
                  K - i < isa->nr ? K - i : isa->nr, &end);
}

/* Lines for a block of rows, for each thread, and `more` floats behind them. */
static void reserve_lines(struct kern *k, int ld, size_t more) {
    for (int i = 0; i < pool_threads(k->pool); i++)
        cpu_scratch(k, &k->private[i], (size_t)ROW_BLOCK * (size_t)ld + more);
}

/* ---- inside pictures ---- */

struct full_job {
    struct kern *k;
    const struct kern_attn_full *a;
    float *shared;
    size_t stride; /* floats of one (image, head) */
    int blocks;
};

static struct packed full_packed(const struct full_job *j, int at) {
    return packed_at(j->k->isa, j->shared + (size_t)at * j->stride, j->a->tokens, j->a->head_size);
}

static void full_pack(void *ctx, int task, int thread) {
    const struct full_job *j = ctx;
    const struct kern_attn_full *a = j->a;
    struct packed p = full_packed(j, task);
    size_t w = (size_t)(a->heads * a->head_size);
    const float *k = cpu_f32(a->qkv) + (size_t)(task / a->heads * a->tokens) * (size_t)a->ld + w +
                     (size_t)(task % a->heads * a->head_size);
    if (j->k->isa->tile_pairs) {
        float *room = j->k->private[thread].p;
        cpu_pairs_turn(j->k->isa, a->tokens, a->head_size, k, a->ld, p.keys, room);
        cpu_pairs_panels(j->k->isa, a->tokens, a->head_size, k + w, a->ld, p.values, room);
        return;
    }
    pack_tokens(j->k->isa, &p, 0, a->tokens, k, k + w, a->ld, a->head_size);
    pack_end(j->k->isa, &p, a->head_size);
}

/* As score_shared and add_shared, by pairs: rows go through `room`, m * cpu_pairs(K) floats, and
 * the lines of s that are added are pairs. */
static void score_pairs(const struct cpu_isa *isa, const struct packed *p, int m, const float *q,
                        int ldq, int K, float scale, float *s, int ld, float *room) {
    struct tile_end end = {.scale = scale};
    int places = cpu_pairs(K);
    for (size_t i = 0; i < (size_t)m; i++)
        isa->pair_line(K, q + i * (size_t)ldq, room + i * (size_t)places);
    for (int at = 0; at < p->n_padded; at += isa->nr)
        isa->tile_pairs(m, places, room, places, p->keys + (size_t)at * (size_t)places, isa->nr,
                        s + at, ld, isa->nr, &end);
}

static void add_pairs(const struct cpu_isa *isa, const struct packed *p, int m, const float *s,
                      int ld, int K, float *y, int ldy) {
    struct tile_end end = {.scale = 1.0f};
    int places = cpu_pairs(p->n);
    for (int i = 0; i < K; i += isa->nr)
        isa->tile_pairs(m, places, s, ld, p->values + (size_t)i * (size_t)places, isa->nr, y + i,
                        ldy, K - i < isa->nr ? K - i : isa->nr, &end);
}

static void full_rows(void *ctx, int task, int thread) {
    const struct full_job *j = ctx;
    const struct kern_attn_full *a = j->a;
    const struct cpu_isa *isa = j->k->isa;
    int at = task / j->blocks, row0 = task % j->blocks * ROW_BLOCK, K = a->head_size;
    int m = a->tokens - row0 < ROW_BLOCK ? a->tokens - row0 : ROW_BLOCK;
    struct packed p = full_packed(j, at);
    float *s = j->k->private[thread].p;
    int ld = cpu_line_floats(isa, p.n, 0);
    size_t row = (size_t)(at / a->heads * a->tokens + row0), col = (size_t)(at % a->heads * K);
    float *y = cpu_f32(a->y) + row * (size_t)a->ldy + col;
    const float *q = cpu_f32(a->qkv) + row * (size_t)a->ld + col;
    if (isa->tile_pairs)
        score_pairs(isa, &p, m, q, a->ld, K, a->scale, s, ld, s + (size_t)ROW_BLOCK * (size_t)ld);
    else
        score_shared(isa, &p, m, q, a->ld, K, a->scale, s, ld);
    float sum[ROW_BLOCK];
    for (int i = 0; i < m; i++)
        sum[i] = cpu_line_end(isa->tile_pairs ? isa->exp_sum_pairs : isa->exp_sum,
                              s + (size_t)i * (size_t)ld, p.n,
                              cpu_lse_at(a->lse, row + (size_t)i, a->heads, at % a->heads));
    if (isa->tile_pairs)
        add_pairs(isa, &p, m, s, ld, K, y, a->ldy);
    else
        add_shared(isa, &p, m, s, ld, K, y, a->ldy);
    for (int i = 0; i < m; i++)
        isa->scale(K, y + (size_t)i * (size_t)a->ldy, 1.0f / sum[i]);
}

void cpu_attn_full(struct kern *k, const struct kern_attn_full *a) {
    must(a->y_dtype == KERN_F32);
    int n = a->images * a->heads;
    cpu_count(k,
              2 * (uint64_t)n * (uint64_t)a->tokens * (uint64_t)a->tokens * (uint64_t)a->head_size);
    if (n == 0 || a->tokens == 0) return;
    struct full_job j = {k, a, NULL, packed_floats(k->isa, a->tokens, a->head_size),
                         (a->tokens + ROW_BLOCK - 1) / ROW_BLOCK};
    j.shared = cpu_scratch(k, &k->shared, (size_t)n * j.stride);
    size_t room = ((size_t)a->tokens + ROW_BLOCK) * (size_t)(a->head_size + 1);
    reserve_lines(k, cpu_line_floats(k->isa, a->tokens, 0), k->isa->tile_pairs ? room : 0);
    pool_run(k->pool, n, full_pack, &j);
    pool_run(k->pool, n * j.blocks, full_rows, &j);
}

/* ---- over the tree ---- */

struct tree_job {
    struct kern *k;
    const struct kern_attn_tree *a;
    float *shared;
    size_t w;      /* H*K */
    int from, end; /* the groups of this slice, see cpu_attn_tree */
    int block;     /* rows of its blocks */
    int blocks;    /* of all its rows */
    int lone;      /* heads of a task of a group of one row */
};

static int is_lone(const struct kern_attn_tree *a, int group) { return a->groups[group].rows == 1; }

/* Floats that a group's packed keys and values take. */
static size_t group_floats(const struct tree_job *j, int g) {
    const struct kern_attn_tree *a = j->a;
    if (is_lone(a, g)) return 0;
    return packed_floats(j->k->isa, cpu_group_keys(a, &a->groups[g]), a->head_size) *
           (size_t)a->heads;
}

/* Where the packed keys of a group and head begin; found by walking the slice's groups before
 * it. */
static struct packed tree_packed(const struct tree_job *j, int group, int head) {
    const struct kern_attn_tree *a = j->a;
    float *p = j->shared;
    for (int g = j->from; g < group; g++)
        p += group_floats(j, g);
    int n = cpu_group_keys(a, &a->groups[group]);
    return packed_at(j->k->isa, p + packed_floats(j->k->isa, n, a->head_size) * (size_t)head, n,
                     a->head_size);
}

/* As pack_tokens, from slots of a narrow pool, few at a time through `room` of 2 * CPU_LINES
 * heads. */
static void pack_narrow(const struct tree_job *j, const struct packed *to, int at, int n,
                        size_t slot, int head, float *room) {
    int K = j->a->head_size;
    float *values = room + (size_t)CPU_LINES * (size_t)K;
    for (int t = 0; t < n; t += CPU_LINES) {
        int part = n - t < CPU_LINES ? n - t : CPU_LINES;
        for (int i = 0; i < part; i++, slot++) {
            (void)cpu_pool_line(j->k->isa, j->a, j->a->pool_k, slot, head, room + i * K);
            (void)cpu_pool_line(j->k->isa, j->a, j->a->pool_v, slot, head, values + i * K);
        }
        pack_tokens(j->k->isa, to, at + t, part, room, values, K, K);
    }
}

static void tree_pack(void *ctx, int task, int thread) {
    const struct tree_job *j = ctx;
    const struct kern_attn_tree *a = j->a;
    int group = j->from + task / a->heads, head = task % a->heads, at = 0;
    if (is_lone(a, group)) return;
    const struct kern_attn_group *g = &a->groups[group];
    struct packed p = tree_packed(j, group, head);
    for (int i = 0; i < g->spans; i++) {
        const struct kern_attn_span *span = &a->spans[g->span0 + i];
        size_t slot = (size_t)span->slot, from = slot * j->w + (size_t)(head * a->head_size);
        if (a->pool_dtype == KERN_F32)
            pack_tokens(j->k->isa, &p, at, span->len, cpu_f32(a->pool_k) + from,
                        cpu_f32(a->pool_v) + from, (int)j->w, a->head_size);
        else
            pack_narrow(j, &p, at, span->len, slot, head, j->k->private[thread].p);
        at += span->len;
    }
    pack_end(j->k->isa, &p, a->head_size);
}

/* The own keys or values of a row and head: slots, the head, and room for twice CPU_LINES or a
 * panel of heads. */
struct own_head {
    const struct cpu_own *own;
    int head;
    float *room;
};

/* The next few of them, from number `at` on. */
static int own_lines(const struct tree_job *j, const struct own_head *o, int at,
                     struct kern_ptr pool, const float **lines) {
    int n = o->own->n - at < CPU_LINES ? o->own->n - at : CPU_LINES;
    for (int i = 0; i < n; i++)
        lines[i] = cpu_pool_line(j->k->isa, j->a, pool, cpu_own_slot(o->own, at + i), o->head,
                                 o->room + i * j->a->head_size);
    return n;
}

/* Scores of a row's own keys. */
static void score_own(const struct tree_job *j, const struct own_head *o, const float *q,
                      float *s) {
    const float *lines[CPU_LINES];
    for (int at = 0; at < o->own->n; at += CPU_LINES) {
        int n = own_lines(j, o, at, j->a->pool_k, lines);
        j->k->isa->score_lines(n, j->a->head_size, q, lines, j->a->scale, s + at);
    }
}

/* With how many of its keys a row begins as the one before it does. */
static int own_same(const struct cpu_own *o, const struct cpu_own *before) {
    int n = 0, most = o->n < before->n ? o->n : before->n;
    if (!o->list) return most;
    while (n < most && o->list[n] == before->list[n])
        n++;
    return n;
}

/* The own keys of a block's rows, for a head. */
struct block {
    int head, m;
    struct cpu_own own[ROW_BLOCK];
    int same[ROW_BLOCK]; /* 0 for the first */
};

static struct block block_own(const struct kern_attn_tree *a, const struct kern_attn_group *g,
                              int head, int row0, int m) {
    struct block b = {.head = head, .m = m};
    for (int i = 0; i < m; i++) {
        b.own[i] = cpu_own(a, g, row0 + i);
        b.same[i] = i ? own_same(&b.own[i], &b.own[i - 1]) : 0;
    }
    return b;
}

/* Scores of m rows against the keys of the last one, of which each sees the first few. Behind those
 * its scores are worthless. */
static void score_path(const struct tree_job *j, const struct own_head *last, int m, const float *q,
                       float *s, int ld) {
    const struct cpu_isa *isa = j->k->isa;
    int K = j->a->head_size, n = last->own->n, nr = isa->nr;
    float *panel = last->room + (size_t)nr * (size_t)K;
    struct tile_end end = {.scale = j->a->scale};
    for (int at = 0; at < n; at += nr) {
        for (int i = 0; i < nr; i++) { /* of the last key as many as are wanting */
            float *to = last->room + i * K;
            size_t slot = cpu_own_slot(last->own, at + i < n ? at + i : n - 1);
            const float *key = cpu_pool_line(isa, j->a, j->a->pool_k, slot, last->head, to);
            if (key != to) memcpy(to, key, (size_t)K * sizeof *to);
        }
        isa->transpose(nr, K, last->room, K, panel, nr);
        isa->tile(m, K, q, j->a->ldq, panel, nr, s + at, ld, nr, &end);
    }
}

/* Scores of a block's rows against their own keys. Where rows go along a path of the tree each has
 * the keys of the one before, then others. */
static void score_rows(const struct tree_job *j, const struct block *b, const float *q, float *s,
                       int ld, float *room) {
    size_t ldq = (size_t)j->a->ldq, lds = (size_t)ld;
    for (int i = 0; i < b->m;) {
        int from = i++;
        while (i < b->m && b->same[i] == b->own[i - 1].n)
            i++;
        struct own_head last = {&b->own[i - 1], b->head, room};
        if (i - from >= PATH_ROWS) {
            score_path(j, &last, i - from, q + (size_t)from * ldq, s + (size_t)from * lds, ld);
            continue;
        }
        for (size_t r = (size_t)from; r < (size_t)i; r++)
            score_own(j, &(struct own_head){&b->own[r], b->head, room}, q + r * ldq, s + r * lds);
    }
}

/* Its own values, weighted, on top of the shared ones. */
static void add_own(const struct tree_job *j, const struct own_head *o, const float *prob,
                    float *y) {
    const float *lines[CPU_LINES];
    for (int at = 0; at < o->own->n; at += CPU_LINES) {
        int n = own_lines(j, o, at, j->a->pool_v, lines);
        j->k->isa->add_lines(n, j->a->head_size, lines, prob + at, y);
    }
}

/* Ask for the own keys or values of rows [i, end), but those that the row before has, too. They lie
 * about in memory, and come to the second cache while something is computed. Always inline: gcc
 * takes a function that does nothing else for one without effect, and leaves its calls out. */
static inline __attribute__((always_inline)) void
ask_own(const struct tree_job *j, const struct block *b, int i, int end, struct kern_ptr pool) {
    const struct kern_attn_tree *a = j->a;
    if (!b->own->list) return; /* side by side, and mostly the same of all rows */
    size_t bytes = kern_head_bytes(a->pool_dtype, a->head_size), slot = bytes * (size_t)a->heads;
    const char *first = pool.addr + (size_t)b->head * bytes;
    for (; i < end; i++)
        for (int at = b->same[i]; at < b->own[i].n; at++)
            for (size_t line = 0; line < bytes; line += CACHE_LINE)
                __builtin_prefetch(first + (size_t)b->own[i].list[at] * slot + line, 0, 2);
}

/* Scores against the shared keys. Own ones are asked for meanwhile, in the first three quarters of
 * the time: the last ones take as long as the first to come. */
static void score_and_ask(const struct tree_job *j, const struct block *b, const struct packed *p,
                          const float *q, float *s, int ld) {
    const struct kern_attn_tree *a = j->a;
    const struct cpu_isa *isa = j->k->isa;
    struct tile_end end = {.scale = a->scale};
    int m = b->m, steps = p->n_padded / isa->nr * ((m + ASK_ROWS - 1) / ASK_ROWS), step = 0;
    for (int at = 0, asked = 0; at < p->n_padded; at += isa->nr)
        for (int i = 0; i < m; i += ASK_ROWS) {
            int to = m * ++step * 4 / (3 * steps);
            if (to > m) to = m;
            ask_own(j, b, asked, to, a->pool_k);
            asked = to;
            isa->tile(m - i < ASK_ROWS ? m - i : ASK_ROWS, a->head_size,
                      q + (size_t)i * (size_t)a->ldq, a->ldq,
                      p->keys + (size_t)at * (size_t)a->head_size, isa->nr,
                      s + (size_t)i * (size_t)ld + at, ld, isa->nr, &end);
        }
}

static void tree_block(const struct tree_job *j, int group, int head, int row0, int m, float *s) {
    const struct kern_attn_tree *a = j->a;
    const struct cpu_isa *isa = j->k->isa;
    struct packed p = tree_packed(j, group, head);
    struct block b = block_own(a, &a->groups[group], head, row0, m);
    int K = a->head_size, own_most = 0;
    for (int i = 0; i < m; i++)
        own_most = b.own[i].n > own_most ? b.own[i].n : own_most;
    int ld = cpu_line_floats(isa, p.n, own_most);
    size_t col = (size_t)(head * K);
    const float *q = cpu_f32(a->q) + (size_t)row0 * (size_t)a->ldq + col;
    float *room = s + (size_t)ROW_BLOCK * (size_t)ld;
    float *y = cpu_f32(a->y) + (size_t)row0 * (size_t)a->ldy + col, sum[ROW_BLOCK];
    score_and_ask(j, &b, &p, q, s, ld);
    score_rows(j, &b, q, s + p.n, ld, room);
    for (int i = 0; i < m; i++) {
        ask_own(j, &b, i, i + 1, a->pool_v);
        sum[i] = cpu_line_end(isa->exp_sum, s + (size_t)i * (size_t)ld, p.n + b.own[i].n,
                              cpu_lse_at(a->lse, (size_t)(row0 + i), a->heads, head));
    }
    add_shared(isa, &p, m, s, ld, K, y, a->ldy);
    for (int i = 0; i < m; i++) {
        float *to = y + (size_t)i * (size_t)a->ldy;
        add_own(j, &(struct own_head){&b.own[i], head, room}, s + (size_t)i * (size_t)ld + p.n, to);
        isa->scale(K, to, 1.0f / sum[i]);
    }
}

static void tree_rows(void *ctx, int task, int thread) {
    const struct tree_job *j = ctx;
    const struct kern_attn_tree *a = j->a;
    /* A slot's heads are neighbours, which its next head gains from. But the packed keys of all
     * heads and many own ones would push each other out of the second cache. */
    int is_by_head = j->block < ROW_BLOCK;
    int head = is_by_head ? task / j->blocks : task % a->heads;
    int block = is_by_head ? task % j->blocks : task / a->heads;
    for (int g = j->from; g < j->end; g++) {
        int rows = a->groups[g].rows, blocks = (rows + j->block - 1) / j->block;
        if (block >= blocks) {
            block -= blocks;
            continue;
        }
        int from = block * j->block, m = rows - from < j->block ? rows - from : j->block;
        if (!is_lone(a, g))
            tree_block(j, g, head, a->groups[g].row0 + from, m, j->k->private[thread].p);
        else if (head % j->lone == 0)
            cpu_lone(j->k->isa, a, &a->groups[g], head,
                     a->heads - head < j->lone ? a->heads - head : j->lone,
                     j->k->private[thread].p);
        return;
    }
}

/* Rows of a block, of which each has so many listed keys that the one before hasn't: fewer, where
 * all of a head's would push each other out of the second cache before they are used. A head's lie
 * at the same place of each slot, so they have to share a part of it. */
static int tree_block_rows(const struct kern_attn_tree *a, int listed) {
    size_t row = 2 * (size_t)listed * kern_head_bytes(a->pool_dtype, a->head_size);
    int rows = ROW_BLOCK;
    while (rows > ROW_BLOCK / 4 && (size_t)rows * row > OWN_BYTES)
        rows /= 2;
    return rows;
}

/* Scores of the longest line of the slice; its blocks of rows are cut and counted. */
static int attn_measure(struct tree_job *j, uint64_t *products) {
    int line = 0, listed = 0, rows = 0;
    for (int i = j->from; i < j->end; i++) {
        const struct kern_attn_group *g = &j->a->groups[i];
        int n = cpu_group_keys(j->a, g), own = 0;
        struct cpu_own before = {0};
        for (int r = 0; r < g->rows; r++) {
            struct cpu_own o = cpu_own(j->a, g, g->row0 + r);
            *products += (uint64_t)(n + o.n);
            own = o.n > own ? o.n : own;
            if (o.list) listed += o.n - own_same(&o, &before);
            before = o;
        }
        rows += g->rows;
        int need = cpu_line_floats(j->k->isa, n, own);
        line = need > line ? need : line;
    }
    j->block = tree_block_rows(j->a, rows ? listed / rows : 0);
    j->blocks = 0;
    for (int i = j->from; i < j->end; i++)
        j->blocks += (j->a->groups[i].rows + j->block - 1) / j->block;
    return line;
}

/* Slice by slice of groups: as many as the threads' caches have room for packed, one at least. So
 * what was packed is still there when rows meet it, and the scratch has to grow only where a single
 * stem is longer than it. */
void cpu_attn_tree(struct kern *k, const struct kern_attn_tree *a) {
    must(cpu_kern_takes(a->pool_dtype) && a->y_dtype == KERN_F32);
    struct tree_job j = {.k = k, .a = a, .w = (size_t)(a->heads * a->head_size)};
    int threads = pool_threads(k->pool), fair = (a->heads + threads - 1) / threads;
    j.lone = fair < CPU_LONE_HEADS ? fair : CPU_LONE_HEADS;
    uint64_t products = 0;
    size_t most = (size_t)threads * SLICE_FLOATS;
    if (most > k->shared.floats) most = k->shared.floats;
    while (j.end < a->n_groups) {
        size_t floats = 0, more;
        j.from = j.end;
        do {
            floats += group_floats(&j, j.end++);
            more = j.end < a->n_groups ? group_floats(&j, j.end) : 0;
        } while (j.end < a->n_groups && floats + more <= most);
        int line = attn_measure(&j, &products);
        if (j.blocks == 0) continue;
        j.shared = cpu_scratch(k, &k->shared, floats);
        size_t most_lines = (size_t)(k->isa->nr > CPU_LINES ? k->isa->nr : CPU_LINES);
        reserve_lines(k, line, 2 * most_lines * (size_t)a->head_size);
        if (floats) pool_run(k->pool, (j.end - j.from) * a->heads, tree_pack, &j);
        pool_run(k->pool, j.blocks * a->heads, tree_rows, &j);
    }
    cpu_count(k, 2 * products * j.w);
}
