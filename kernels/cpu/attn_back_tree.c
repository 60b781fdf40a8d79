/* attn_back_tree.c - the way back through attention over the prompt tree.
 *
 * A task is a head: it goes over the groups and their rows in order, so it owns its columns of dq,
 * dk and dv, and every sum has one order. What a group shares - the spans, and the rows themselves
 * where they see each other (own_slot) - is one list of keys, gathered once and met by blocks of
 * rows, with the part that a row doesn't see cut off. Its dk and dv are added to the pools' when
 * the group is done. Tails are short: they are met row by row, slot by slot. As rows come in order
 * and a head belongs to one thread, nobody has to look up which rows use a slot.
 *
 * A row's dq is one chain over its keys, in their order, whichever of these they are: its bits
 * depend on the list alone, as those of y do. `scale` comes last.
 *
 * A held row and head has ds_j += weight (p_j - share_j), share_j = exp(s_j - held) where the slot
 * is one of the held, 0 elsewhere. The first part is a delta that is smaller by weight; the second
 * is found for all of them beforehand, and subtracted where the key turns up.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/attn_back.h"

struct tree_back_job {
    struct kern *k;
    const struct kern_attn_tree_back *a;
    size_t w;    /* H*K */
    int n_held;  /* entries of hold_slots */
    float *held; /* (heads, n_held): weight share_j */
};

/* One group on its way, in one head. */
struct tree_group {
    const struct tree_back_job *j;
    const struct kern_attn_group *g;
    int head, spans;      /* keys in the spans; those of own rows follow */
    struct back_keys all; /* of the whole group */
    float *dk, *dv;       /* (all.n, K) */
    float *rows;          /* room of a packed block */
    float *s, *ds;        /* (a step of keys, BACK_LINE) */
    float *dq_t;          /* (K, BACK_ROWS) */
};

/* ---- held rows ---- */

static int is_held(const struct kern_attn_hold *h, int head) {
    return head < 32 && h->heads >> head & 1;
}

/* The first hold of a row that isn't before `row`. */
static int first_hold(const struct kern_attn_tree_back *a, int row) {
    int low = 0, high = a->n_holds;
    while (low < high) {
        int mid = low + (high - low) / 2;
        if (a->holds[mid].row < row)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The scores of the held slots become shares; log of the sum of their exponentials. */
static float hold_shares(const struct tree_back_job *j, const struct kern_attn_hold *h, int head,
                         float *share) {
    const struct kern_attn_tree *f = &j->a->fwd;
    size_t col = (size_t)head * (size_t)f->head_size;
    const float *q = cpu_f32(f->q) + (size_t)h->row * (size_t)f->ldq + col, *lines[CPU_LINES];
    for (int at = 0; at < h->n; at += CPU_LINES) {
        int n = h->n - at < CPU_LINES ? h->n - at : CPU_LINES;
        for (int i = 0; i < n; i++)
            lines[i] =
                cpu_f32(f->pool_k) + (size_t)cpu_i32(j->a->hold_slots)[h->at + at + i] * j->w + col;
        j->k->isa->score_lines(n, f->head_size, q, lines, f->scale, share + at);
    }
    int padded = cpu_round_up(h->n, CPU_PAD);
    for (int i = h->n; i < padded; i++)
        share[i] = -INFINITY;
    float max, sum = j->k->isa->exp_sum(padded, share, &max);
    j->k->isa->scale(h->n, share, h->weight / sum);
    return max + logf(sum);
}

static void tree_hold(void *ctx, int task, int thread) {
    const struct tree_back_job *j = ctx;
    const struct kern_attn_hold *h = &j->a->holds[task];
    float *share = j->k->private[thread].p;
    double loss = 0;
    must(h->n > 0);
    for (int head = 0; head < j->a->fwd.heads; head++) {
        if (!is_held(h, head)) continue;
        size_t at = (size_t)h->row * (size_t)j->a->fwd.heads + (size_t)head;
        float held = hold_shares(j, h, head, share);
        loss += (double)h->weight * ((double)cpu_f32(j->a->fwd.lse)[at] - (double)held);
        memcpy(j->held + (size_t)head * (size_t)j->n_held + h->at, share,
               (size_t)h->n * sizeof *share);
    }
    cpu_f32(j->a->hold_loss)[task] = (float)loss;
}

/* Which of the group's keys a slot is; -1: it stands in a tail. */
static int key_of(const struct tree_group *t, int32_t slot) {
    const struct kern_attn_span *span = t->j->a->fwd.spans + t->g->span0;
    for (int i = 0, at = 0; i < t->g->spans; at += span[i++].len)
        if (slot >= span[i].slot && slot < span[i].slot + span[i].len)
            return at + (slot - span[i].slot);
    int own = slot - t->g->own_slot;
    return t->g->own_slot >= 0 && own >= 0 && own < t->g->rows ? t->spans + own : -1;
}

/* Take the held shares off a block's ds: keys [from, from + n), rows [row0, row0 + m). */
static void hold_block(const struct tree_group *t, int from, int n, int row0, int m) {
    const struct kern_attn_tree_back *a = t->j->a;
    const float *share = t->j->held + (size_t)t->head * (size_t)t->j->n_held;
    for (int h = first_hold(a, row0); h < a->n_holds && a->holds[h].row < row0 + m; h++) {
        const struct kern_attn_hold *hold = &a->holds[h];
        for (int i = hold->at; is_held(hold, t->head) && i < hold->at + hold->n; i++) {
            int key = key_of(t, cpu_i32(a->hold_slots)[i]) - from;
            if (key >= 0 && key < n)
                t->ds[(size_t)key * BACK_LINE + (size_t)(hold->row - row0)] -= share[i];
        }
    }
}

/* The held share of a slot in a row's tail. */
static float hold_share(const struct tree_back_job *j, int head, int row, int32_t slot) {
    const struct kern_attn_tree_back *a = j->a;
    int h = first_hold(a, row);
    if (h == a->n_holds || a->holds[h].row != row || !is_held(&a->holds[h], head)) return 0;
    for (int i = a->holds[h].at; i < a->holds[h].at + a->holds[h].n; i++)
        if (cpu_i32(a->hold_slots)[i] == slot)
            return j->held[(size_t)head * (size_t)j->n_held + (size_t)i];
    return 0;
}

/* ---- tails ---- */

/* A row and its place in the block that it is packed in. */
struct tree_row {
    int row;
    const float *q, *dy;
    float *dq, lse, delta;
};

/* n <= CPU_LINES slots of a row's tail. */
static void tail_some(const struct tree_group *t, const struct tree_row *r, const int32_t *slots,
                      int n) {
    const struct kern_attn_tree *f = &t->j->a->fwd;
    const struct cpu_isa *isa = t->j->k->isa;
    const float *keys[CPU_LINES], *values[CPU_LINES];
    float *dk[CPU_LINES], *dv[CPU_LINES];
    float p[CPU_PAD] = {0}, ds[CPU_PAD] = {0}, lse[CPU_PAD], delta[CPU_PAD];
    for (int i = 0; i < CPU_PAD; i++)
        lse[i] = r->lse, delta[i] = r->delta;
    for (int i = 0; i < n; i++) {
        size_t at = (size_t)slots[i] * t->j->w + (size_t)t->head * (size_t)f->head_size;
        keys[i] = cpu_f32(f->pool_k) + at;
        values[i] = cpu_f32(f->pool_v) + at;
        dk[i] = cpu_f32(t->j->a->dk) + at;
        dv[i] = cpu_f32(t->j->a->dv) + at;
    }
    isa->score_lines(n, f->head_size, r->q, keys, f->scale, p);
    isa->score_lines(n, f->head_size, r->dy, values, 1.0f, ds);
    isa->attn_slopes(1, CPU_PAD, lse, delta, p, ds, CPU_PAD);
    for (int i = 0; i < n; i++) {
        if (t->j->a->n_holds) ds[i] -= hold_share(t->j, t->head, r->row, slots[i]);
    }
    isa->add_lines(n, f->head_size, keys, ds, r->dq);
    isa->scale(CPU_PAD, ds, f->scale);
    isa->spread(n, f->head_size, dk, ds, r->q);
    isa->spread(n, f->head_size, dv, p, r->dy);
}

static void tail_rows(const struct tree_group *t, const struct back_src *src,
                      const struct back_rows *rows, int row0, float *dq) {
    const struct kern_attn_tree *f = &t->j->a->fwd;
    const int32_t *off = cpu_i32(f->tail_off) + row0;
    for (size_t i = 0; i < (size_t)rows->m; i++) {
        struct tree_row r = {row0 + (int)i,
                             src->q + i * (size_t)src->ldq,
                             src->dy + i * (size_t)src->lddy,
                             dq + i * (size_t)t->j->a->lddq,
                             rows->lse[i],
                             rows->delta[i]};
        for (int at = off[i]; at < off[i + 1]; at += CPU_LINES)
            tail_some(t, &r, cpu_i32(f->tail) + at,
                      off[i + 1] - at < CPU_LINES ? off[i + 1] - at : CPU_LINES);
    }
}

/* ---- groups ---- */

/* Own rows see the keys up to their own: what a block's rows don't see of keys [from, from + n)
 * gets no weight. `seen` keys belong to the first row. */
static void cut_unseen(const struct tree_group *t, int from, int n, int seen, int m) {
    for (int i = seen > from ? seen - from : 0; i < n; i++)
        for (int c = 0; c <= from + i - seen && c < m; c++)
            t->s[(size_t)i * BACK_LINE + (size_t)c] = -INFINITY;
}

static struct back_src tree_src(const struct tree_group *t, int row0) {
    const struct kern_attn_tree *f = &t->j->a->fwd;
    size_t row = (size_t)row0, col = (size_t)t->head * (size_t)f->head_size;
    return (struct back_src){.q = cpu_f32(f->q) + row * (size_t)f->ldq + col,
                             .ldq = f->ldq,
                             .dy = cpu_f32(t->j->a->dy) + row * (size_t)t->j->a->lddy + col,
                             .lddy = t->j->a->lddy,
                             .y = cpu_f32(f->y) + row * (size_t)f->ldy + col,
                             .ldy = f->ldy,
                             .lse = cpu_f32(f->lse) + row * (size_t)f->heads + (size_t)t->head,
                             .ld_lse = f->heads};
}

static void tree_rows_back(const struct tree_group *t, int row0, int m) {
    const struct kern_attn_tree_back *a = t->j->a;
    const struct cpu_isa *isa = t->j->k->isa;
    int K = a->fwd.head_size, is_own = t->g->own_slot >= 0;
    int seen = t->spans + (is_own ? row0 - t->g->row0 + 1 : 0); /* by the first row */
    int keys = is_own ? seen + m - 1 : seen, step = back_keys_step(isa, keys);
    struct back_src src = tree_src(t, row0);
    struct back_rows rows = back_rows_at(isa, t->rows, m, K);
    back_rows_pack(isa, &rows, &src, K, NULL);
    for (int h = first_hold(a, row0); h < a->n_holds && a->holds[h].row < row0 + m; h++)
        if (is_held(&a->holds[h], t->head))
            rows.delta[a->holds[h].row - row0] -= a->holds[h].weight;
    float *dq = cpu_f32(a->dq) + (size_t)row0 * (size_t)a->lddq + (size_t)t->head * (size_t)K;
    for (int i = 0; keys == 0 && i < m; i++)
        memset(dq + (size_t)i * (size_t)a->lddq, 0, (size_t)K * sizeof *dq);
    for (int from = 0; from < keys; from += step) {
        struct back_keys part =
            back_keys_part(&t->all, from, keys - from < step ? keys - from : step, K);
        size_t at = (size_t)from * (size_t)K;
        struct back_sums sums = {.dk = t->dk + at,
                                 .dv = t->dv + at,
                                 .ld = K,
                                 .go_on_keys = 1,
                                 .dk_scale = 1.0f,
                                 .dq_t = t->dq_t,
                                 .ld_q = BACK_ROWS,
                                 .go_on_rows = from > 0,
                                 .dq_scale = 1.0f};
        back_scores(isa, K, a->fwd.scale, &part, &rows, t->s, t->ds);
        if (is_own) cut_unseen(t, from, part.n, seen, m);
        back_slopes(isa, &part, &rows, t->s, t->ds, NULL);
        hold_block(t, from, part.n, row0, m);
        back_add(isa, K, &part, &rows, t->s, t->ds, t->ds, &sums);
    }
    if (keys > 0) isa->transpose(K, m, t->dq_t, BACK_ROWS, dq, a->lddq);
    if (!is_own) tail_rows(t, &src, &rows, row0, dq);
    for (int i = 0; i < m; i++)
        isa->scale(K, dq + (size_t)i * (size_t)a->lddq, a->fwd.scale);
}

/* The slot of each of a group's keys, one after the other: begin with at = 0. */
struct key_walk {
    int at, span, in_span;
};

static size_t next_slot(const struct tree_group *t, struct key_walk *w) {
    const struct kern_attn_span *span = t->j->a->fwd.spans + t->g->span0;
    int own = w->at++ - t->spans;
    if (own >= 0) return (size_t)(t->g->own_slot + own);
    while (w->in_span == span[w->span].len)
        w->span++, w->in_span = 0;
    return (size_t)(span[w->span].slot + w->in_span++);
}

static void group_gather(const struct tree_group *t) {
    const struct kern_attn_tree *f = &t->j->a->fwd;
    size_t K = (size_t)f->head_size, col = (size_t)t->head * K;
    struct key_walk w = {0};
    for (size_t i = 0; i < (size_t)t->all.n; i++) {
        size_t from = next_slot(t, &w) * t->j->w + col;
        memcpy(t->all.k + i * K, cpu_f32(f->pool_k) + from, K * sizeof(float));
        memcpy(t->all.v + i * K, cpu_f32(f->pool_v) + from, K * sizeof(float));
    }
    back_keys_turn(t->j->k->isa, &t->all, f->head_size);
    memset(t->dk, 0, (size_t)t->all.n * K * sizeof *t->dk);
    memset(t->dv, 0, (size_t)t->all.n * K * sizeof *t->dv);
}

static void group_give(const struct tree_group *t) {
    int K = t->j->a->fwd.head_size;
    size_t col = (size_t)t->head * (size_t)K;
    struct key_walk w = {0};
    for (size_t i = 0; i < (size_t)t->all.n; i++) {
        size_t to = next_slot(t, &w) * t->j->w + col;
        t->j->k->isa->axpy(K, t->j->a->fwd.scale, t->dk + i * (size_t)K, cpu_f32(t->j->a->dk) + to);
        t->j->k->isa->axpy(K, 1.0f, t->dv + i * (size_t)K, cpu_f32(t->j->a->dv) + to);
    }
}

static int span_keys(const struct kern_attn_tree *f, const struct kern_attn_group *g) {
    int n = 0;
    for (int i = 0; i < g->spans; i++)
        n += f->spans[g->span0 + i].len;
    return n;
}

/* Keys of a group; and floats that it needs. */
static int keys_of_group(const struct kern_attn_tree *f, const struct kern_attn_group *g) {
    return span_keys(f, g) + (g->own_slot >= 0 ? g->rows : 0);
}

static size_t room_of_group(const struct cpu_isa *isa, int keys, int K) {
    size_t lines = 2 * BACK_LINE * (size_t)(BACK_KEYS + isa->mr);
    return back_keys_floats(keys, K) + 2 * (size_t)keys * (size_t)K + back_rows_floats(isa, K) +
           lines + BACK_ROWS * (size_t)K;
}

static void tree_head(void *ctx, int head, int thread) {
    const struct tree_back_job *j = ctx;
    const struct kern_attn_tree *f = &j->a->fwd;
    int K = f->head_size;
    for (const struct kern_attn_group *g = f->groups; g < f->groups + f->n_groups; g++) {
        int n = keys_of_group(f, g);
        struct tree_group t = {.j = j, .g = g, .head = head, .spans = span_keys(f, g)};
        float *room = j->k->private[thread].p;
        t.all = back_keys_at(room, n, K);
        t.dk = room + back_keys_floats(n, K);
        t.dv = t.dk + (size_t)n * (size_t)K;
        t.rows = t.dv + (size_t)n * (size_t)K;
        t.s = t.rows + back_rows_floats(j->k->isa, K);
        t.ds = t.s + BACK_LINE * (size_t)(BACK_KEYS + j->k->isa->mr);
        t.dq_t = t.ds + BACK_LINE * (size_t)(BACK_KEYS + j->k->isa->mr);
        group_gather(&t);
        for (int at = 0; at < g->rows; at += BACK_ROWS)
            tree_rows_back(&t, g->row0 + at, g->rows - at < BACK_ROWS ? g->rows - at : BACK_ROWS);
        group_give(&t);
    }
}

/* Pairs of a row and a key. */
static uint64_t tree_pairs(const struct kern_attn_tree *f) {
    uint64_t pairs = 0;
    for (int i = 0; i < f->n_groups; i++) {
        const struct kern_attn_group *g = &f->groups[i];
        uint64_t rows = (uint64_t)g->rows;
        pairs += rows * (uint64_t)span_keys(f, g);
        const int32_t *off = cpu_i32(f->tail_off);
        pairs += g->own_slot >= 0 ? rows * (rows + 1) / 2
                                  : (uint64_t)(off[g->row0 + g->rows] - off[g->row0]);
    }
    return pairs;
}

void cpu_attn_tree_back(struct kern *k, const struct kern_attn_tree_back *a) {
    const struct kern_attn_tree *f = &a->fwd;
    struct tree_back_job j = {.k = k, .a = a, .w = (size_t)f->heads * (size_t)f->head_size};
    size_t need = 0;
    must(f->pool_dtype == KERN_F32 && (f->lse.addr || !f->rows));
    cpu_count(k, 5 * tree_pairs(f) * j.w);
    for (int i = 0; i < f->n_groups; i++) {
        size_t more = room_of_group(k->isa, keys_of_group(f, &f->groups[i]), f->head_size);
        if (more > need) need = more;
    }
    for (int i = 0; i < a->n_holds; i++) {
        const struct kern_attn_hold *h = &a->holds[i];
        if (h->at + h->n > j.n_held) j.n_held = h->at + h->n;
        if ((size_t)cpu_round_up(h->n, CPU_PAD) > need) need = (size_t)cpu_round_up(h->n, CPU_PAD);
    }
    for (int i = 0; i < pool_threads(k->pool); i++)
        cpu_scratch(k, &k->private[i], need);
    j.held = cpu_scratch(k, &k->shared, (size_t)f->heads * (size_t)j.n_held);
    pool_run(k->pool, a->n_holds, tree_hold, &j);
    pool_run(k->pool, f->heads, tree_head, &j);
}
