/* attn_back.c - the way back through attention: a block of rows and keys, and what pictures make of
 * it. The tree is in attn_back_tree.c.
 *
 * In a picture a task is a block of keys of one head: it goes over all rows, in order, and so owns
 * its dk and dv. What it has for dq goes to a place of its own, and when all are there these are
 * added up in the order of the keys. The cut depends on the number of tokens alone, so the bits are
 * the same for any number of threads.
 */
#include "kernels/cpu/attn_back.h"

#include <math.h>
#include <string.h>

/* ---- a block ---- */

size_t back_rows_floats(const struct cpu_isa *isa, int K) {
    return 2 * BACK_ROWS * ((size_t)K + (size_t)cpu_round_up(K, isa->nr) + 1);
}

struct back_rows back_rows_at(const struct cpu_isa *isa, float *room, int m, int K) {
    size_t turned = BACK_ROWS * (size_t)K, plain = BACK_ROWS * (size_t)cpu_round_up(K, isa->nr);
    struct back_rows r = {.m = m, .q_t = room};
    r.dy_t = r.q_t + turned;
    r.q = r.dy_t + turned;
    r.dy = r.q + plain;
    r.lse = r.dy + plain;
    r.delta = r.lse + BACK_ROWS;
    return r;
}

/* x (m, K) as panels (K, nr) of its rows, with zeros behind m. */
static void turn_rows(const struct cpu_isa *isa, const float *x, int ldx, int m, int K, float *to) {
    for (int at = 0; at < m; at += isa->nr, to += (size_t)isa->nr * (size_t)K) {
        int n = m - at < isa->nr ? m - at : isa->nr;
        if (n < isa->nr) memset(to, 0, (size_t)isa->nr * (size_t)K * sizeof *to);
        isa->transpose(n, K, x + (size_t)at * (size_t)ldx, ldx, to, isa->nr);
    }
}

size_t back_pairs_floats(int K) { return BACK_ROWS * (size_t)(K + 1); }

/* The four packs of pairs. */
static void pack_pairs(const struct cpu_isa *isa, const struct back_rows *to,
                       const struct back_src *from, int K, float *room) {
    cpu_pairs_turn(isa, to->m, K, from->q, from->ldq, to->q_t, room);
    cpu_pairs_turn(isa, to->m, K, from->dy, from->lddy, to->dy_t, room);
    cpu_pairs_panels(isa, to->m, K, from->q, from->ldq, to->q, room);
    cpu_pairs_panels(isa, to->m, K, from->dy, from->lddy, to->dy, room);
}

void back_rows_pack(const struct cpu_isa *isa, const struct back_rows *to,
                    const struct back_src *from, int K, float *room) {
    size_t stride = (size_t)to->m * (size_t)isa->nr;
    turn_rows(isa, from->y, from->ldy, to->m, K, to->q); /* for now */
    turn_rows(isa, from->q, from->ldq, to->m, K, to->q_t);
    turn_rows(isa, from->dy, from->lddy, to->m, K, to->dy_t);
    for (int i = 0; i < to->m; i += isa->nr)
        isa->dot_columns(K, to->dy_t + (size_t)i * (size_t)K, to->q + (size_t)i * (size_t)K,
                         to->delta + i);
    if (to->is_pairs) {
        pack_pairs(isa, to, from, K, room);
    } else {
        isa->panels(to->m, K, from->q, from->ldq, to->q, stride);
        isa->panels(to->m, K, from->dy, from->lddy, to->dy, stride);
    }
    for (int i = 0; i < BACK_ROWS; i++)
        to->lse[i] = i < to->m ? from->lse[(size_t)i * (size_t)from->ld_lse] : INFINITY;
}

size_t back_keys_floats(int n, int K) {
    return (2 * (size_t)n + (size_t)cpu_round_up(n, CPU_PAD)) * (size_t)K;
}

struct back_keys back_keys_at(float *room, int n, int K) {
    size_t floats = (size_t)n * (size_t)K;
    return (struct back_keys){n, cpu_round_up(n, CPU_PAD), room, room + floats, room + 2 * floats};
}

void back_keys_turn(const struct cpu_isa *isa, const struct back_keys *keys, int K) {
    isa->transpose(keys->n, K, keys->k, K, keys->k_t, keys->ld_t);
}

struct back_keys back_keys_part(const struct back_keys *keys, int from, int n, int K) {
    size_t at = (size_t)from * (size_t)K;
    return (struct back_keys){n, keys->ld_t, keys->k + at, keys->v + at, keys->k_t + from};
}

int back_keys_step(const struct cpu_isa *isa, int n) {
    int parts = (n + BACK_KEYS - 1) / BACK_KEYS;
    return parts ? cpu_round_up((n + parts - 1) / parts, isa->mr) : 1;
}

/* What multiplies rows; and places of n along a sum. */
static cpu_tile_fn *rows_tile(const struct cpu_isa *isa, const struct back_rows *rows) {
    return rows->is_pairs ? isa->tile_pairs : isa->tile;
}
static int rows_places(const struct back_rows *rows, int n) {
    return rows->is_pairs ? cpu_pairs(n) : n;
}

void back_scores(const struct cpu_isa *isa, int K, float scale, const struct back_keys *keys,
                 const struct back_rows *rows, float *s, float *dp) {
    struct tile_end scaled = {.scale = scale}, plain = {.scale = 1.0f};
    cpu_tile_fn *tile = rows_tile(isa, rows);
    int nr = isa->nr, places = rows_places(rows, K);
    for (int c = 0; c < rows->m; c += nr) {
        size_t at = (size_t)c * (size_t)places;
        tile(keys->n, places, keys->k, places, rows->q_t + at, nr, s + c, BACK_LINE, nr, &scaled);
        tile(keys->n, places, keys->v, places, rows->dy_t + at, nr, dp + c, BACK_LINE, nr, &plain);
    }
}

void back_slopes(const struct cpu_isa *isa, const struct back_keys *keys,
                 const struct back_rows *rows, float *s, float *dp, float *turned) {
    int m = cpu_round_up(rows->m, isa->nr);
    if (rows->is_pairs)
        isa->attn_slopes_pairs(keys->n, m, rows->lse, rows->delta, s, dp, BACK_LINE, turned);
    else
        isa->attn_slopes(keys->n, m, rows->lse, rows->delta, s, dp, BACK_LINE);
}

void back_add(const struct cpu_isa *isa, int K, const struct back_keys *keys,
              const struct back_rows *rows, const float *p, const float *ds, const float *turned,
              const struct back_sums *to) {
    struct tile_end for_dv = {.scale = 1.0f, .go_on = to->go_on_keys};
    struct tile_end for_dk = {.scale = to->dk_scale, .go_on = to->go_on_keys};
    struct tile_end for_dq = {.scale = to->dq_scale, .go_on = to->go_on_rows};
    cpu_tile_fn *tile = rows_tile(isa, rows);
    int nr = isa->nr, m = rows_places(rows, rows->m), n = rows_places(rows, keys->n);
    for (int c = 0; c < K; c += nr) {
        int cols = K - c < nr ? K - c : nr;
        size_t at = (size_t)c * (size_t)m;
        tile(keys->n, m, p, BACK_LINE, rows->dy + at, nr, to->dv + c, to->ld, cols, &for_dv);
        tile(keys->n, m, ds, BACK_LINE, rows->q + at, nr, to->dk + c, to->ld, cols, &for_dk);
    }
    for (int c = 0; c < rows->m; c += nr)
        tile(K, n, keys->k_t, keys->ld_t, turned + c, BACK_LINE, to->dq_t + c, to->ld_q, nr,
             &for_dq);
}

/* ---- inside pictures ---- */

enum { SLICE_FLOATS = 1 << 22 }; /* of scratch that a slice of pictures and heads may take */

struct full_back_job {
    struct kern *k;
    const struct kern_attn_full_back *a;
    int from;              /* (picture, head) that the slice begins with */
    int row_blocks, step;  /* blocks of rows; keys of a block */
    int key_blocks, ld_q;  /* floats of a row's part of dq from one dimension to the next */
    size_t stride, packed; /* floats of a (picture, head); of a packed block of rows in it */
};

/* A (picture, head) of the slice: its first row and column, its scratch. */
struct full_place {
    size_t row, col;
    float *rows, *parts; /* (row_blocks, packed); (key_blocks, K, ld_q) */
};

static struct full_place full_place(const struct full_back_job *j, int at) {
    const struct kern_attn_full *f = &j->a->fwd;
    int pair = j->from + at;
    float *room = j->k->shared.p + (size_t)at * j->stride;
    return (struct full_place){(size_t)(pair / f->heads) * (size_t)f->tokens,
                               (size_t)(pair % f->heads) * (size_t)f->head_size, room,
                               room + (size_t)j->row_blocks * j->packed};
}

static struct back_rows full_block(const struct full_back_job *j, const struct full_place *p,
                                   int block) {
    int tokens = j->a->fwd.tokens, from = block * BACK_ROWS;
    struct back_rows rows =
        back_rows_at(j->k->isa, p->rows + (size_t)block * j->packed,
                     tokens - from < BACK_ROWS ? tokens - from : BACK_ROWS, j->a->fwd.head_size);
    rows.is_pairs = j->k->isa->tile_pairs != NULL;
    return rows;
}

static void full_back_pack(void *ctx, int task, int thread) {
    const struct full_back_job *j = ctx;
    const struct kern_attn_full *f = &j->a->fwd;
    struct full_place p = full_place(j, task / j->row_blocks);
    int block = task % j->row_blocks;
    size_t row = p.row + (size_t)block * BACK_ROWS, head = p.col / (size_t)f->head_size;
    struct back_src src = {.q = cpu_f32(f->qkv) + row * (size_t)f->ld + p.col,
                           .ldq = f->ld,
                           .dy = cpu_f32(j->a->dy) + row * (size_t)j->a->lddy + p.col,
                           .lddy = j->a->lddy,
                           .y = cpu_f32(f->y) + row * (size_t)f->ldy + p.col,
                           .ldy = f->ldy,
                           .lse = cpu_f32(f->lse) + row * (size_t)f->heads + head,
                           .ld_lse = f->heads};
    struct back_rows rows = full_block(j, &p, block);
    back_rows_pack(j->k->isa, &rows, &src, f->head_size, j->k->private[thread].p);
}

/* Floats that keys and their lines take on their way to pairs. */
static size_t full_spare(const struct full_back_job *j) {
    size_t line = BACK_LINE + (size_t)j->a->fwd.head_size;
    return j->k->isa->tile_pairs ? (size_t)cpu_pairs(j->step) * line : 0;
}

/* Keys and values, `ld` floats apart, as pairs. */
static void pair_keys(const struct cpu_isa *isa, const struct back_keys *to, int K, const float *k,
                      const float *v, int ld, float *room) {
    size_t places = (size_t)cpu_pairs(K);
    for (size_t i = 0; i < (size_t)to->n; i++) {
        isa->pair_line(K, k + i * (size_t)ld, to->k + i * places);
        isa->pair_line(K, v + i * (size_t)ld, to->v + i * places);
    }
    isa->pair_rows(to->n, K, k, ld, room, K);
    isa->transpose(cpu_pairs(to->n), K, room, K, to->k_t, to->ld_t);
}

/* Keys [from, from + n) of a picture and head, out of qkv. `spare`: as full_spare. */
static struct back_keys full_keys(const struct full_back_job *j, const struct full_place *p,
                                  int from, int n, float *room, float *spare) {
    const struct kern_attn_full *f = &j->a->fwd;
    size_t K = (size_t)f->head_size, w = (size_t)f->heads * K;
    struct back_keys keys = back_keys_at(room, n, f->head_size);
    const float *k = cpu_f32(f->qkv) + (p->row + (size_t)from) * (size_t)f->ld + w + p->col;
    if (j->k->isa->tile_pairs) {
        pair_keys(j->k->isa, &keys, f->head_size, k, k + w, f->ld, spare);
        return keys;
    }
    for (size_t i = 0; i < (size_t)n; i++, k += f->ld) {
        memcpy(keys.k + i * K, k, K * sizeof *k);
        memcpy(keys.v + i * K, k + w, K * sizeof *k);
    }
    back_keys_turn(j->k->isa, &keys, f->head_size);
    return keys;
}

static void full_back_keys(void *ctx, int task, int thread) {
    const struct full_back_job *j = ctx;
    const struct kern_attn_full *f = &j->a->fwd;
    const struct cpu_isa *isa = j->k->isa;
    struct full_place p = full_place(j, task / j->key_blocks);
    int block = task % j->key_blocks, from = block * j->step, K = f->head_size;
    int n = f->tokens - from < j->step ? f->tokens - from : j->step;
    float *s = j->k->private[thread].p, *dp = s + (size_t)j->step * BACK_LINE;
    float *room = dp + (size_t)j->step * BACK_LINE, *spare = room + back_keys_floats(j->step, K);
    struct back_keys keys = full_keys(j, &p, from, n, room, spare);
    size_t w = (size_t)f->heads * (size_t)K;
    float *dk = cpu_f32(j->a->dqkv) + (p.row + (size_t)from) * (size_t)j->a->lddqkv + w + p.col;
    float *part = p.parts + (size_t)block * (size_t)K * (size_t)j->ld_q;
    for (int i = 0; i < j->row_blocks; i++) {
        struct back_rows rows = full_block(j, &p, i);
        struct back_sums sums = {.dk = dk,
                                 .dv = dk + w,
                                 .ld = j->a->lddqkv,
                                 .go_on_keys = i > 0,
                                 .dk_scale = i == j->row_blocks - 1 ? f->scale : 1.0f,
                                 .dq_t = part + (size_t)i * BACK_ROWS,
                                 .ld_q = j->ld_q,
                                 .dq_scale = f->scale};
        back_scores(isa, K, f->scale, &keys, &rows, s, dp);
        back_slopes(isa, &keys, &rows, s, dp, spare);
        back_add(isa, K, &keys, &rows, s, dp, rows.is_pairs ? spare : dp, &sums);
    }
}

/* dq of a block of rows: the parts of all blocks of keys. */
static void full_back_rows(void *ctx, int task, int thread) {
    (void)thread;
    const struct full_back_job *j = ctx;
    int K = j->a->fwd.head_size, block = task % j->row_blocks;
    struct full_place p = full_place(j, task / j->row_blocks);
    int m = full_block(j, &p, block).m;
    float *sum = p.parts + (size_t)block * BACK_ROWS;
    size_t ld = (size_t)j->ld_q, part = (size_t)K * ld;
    for (size_t b = 1; b < (size_t)j->key_blocks; b++)
        for (size_t c = 0; c < (size_t)K; c++)
            j->k->isa->axpy(m, 1.0f, sum + b * part + c * ld, sum + c * ld);
    size_t row = p.row + (size_t)block * BACK_ROWS;
    j->k->isa->transpose(K, m, sum, j->ld_q,
                         cpu_f32(j->a->dqkv) + row * (size_t)j->a->lddqkv + p.col, j->a->lddqkv);
}

void cpu_attn_full_back(struct kern *k, const struct kern_attn_full_back *a) {
    const struct kern_attn_full *f = &a->fwd;
    int pairs = f->images * f->heads, K = f->head_size;
    cpu_count(k, 5 * (uint64_t)pairs * (uint64_t)f->tokens * (uint64_t)f->tokens * (uint64_t)K);
    if (pairs == 0 || f->tokens == 0) return;
    must(f->lse.addr);
    struct full_back_job j = {.k = k, .a = a, .step = back_keys_step(k->isa, f->tokens)};
    j.row_blocks = (f->tokens + BACK_ROWS - 1) / BACK_ROWS;
    j.key_blocks = (f->tokens + j.step - 1) / j.step;
    j.ld_q = cpu_round_up(f->tokens, k->isa->nr);
    j.packed = back_rows_floats(k->isa, K);
    j.stride = (size_t)j.row_blocks * j.packed + (size_t)j.key_blocks * (size_t)K * (size_t)j.ld_q;
    size_t slice = SLICE_FLOATS / j.stride > 0 ? SLICE_FLOATS / j.stride : 1;
    if (slice > (size_t)pairs) slice = (size_t)pairs;
    (void)cpu_scratch(k, &k->shared, slice * j.stride);
    size_t need = 2 * (size_t)j.step * BACK_LINE + back_keys_floats(j.step, K) + full_spare(&j);
    if (need < back_pairs_floats(K)) need = back_pairs_floats(K);
    for (int i = 0; i < pool_threads(k->pool); i++)
        cpu_scratch(k, &k->private[i], need);
    for (; j.from < pairs; j.from += (int)slice) {
        int n = pairs - j.from < (int)slice ? pairs - j.from : (int)slice;
        pool_run(k->pool, n * j.row_blocks, full_back_pack, &j);
        pool_run(k->pool, n * j.key_blocks, full_back_keys, &j);
        pool_run(k->pool, n * j.row_blocks, full_back_rows, &j);
    }
}
