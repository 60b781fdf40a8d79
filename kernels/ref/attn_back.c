/* attn_back.c - the way back through attention. A row and head has the keys k_j and values v_j in
 * list order, and left y and lse behind. With s_j = scale * (q . k_j) and p_j = exp(s_j - lse)
 *
 *     ds_j = p_j (dy . v_j - dy . y),      dq = scale sum_j ds_j k_j,
 *     dk_j = scale sum ds_j q,  dv_j = sum p_j dy    over the rows that see key j, ascending
 *
 * A held row (kern_attn_hold) has more: held = log of the sum of exp(s_j) over the keys that it
 * shall look at, and ds_j += weight (p_j - [j is one of them] exp(s_j - held)).
 *
 * Nothing here allocates, so nothing is kept: each row is walked for dq, and each slot of the tree,
 * where it is seen first, for dk and dv. That asks of every row whether it sees the slot.
 */
#include <math.h>

#include "kernels/ref/ref.h"

/* One row and head, on its way back. */
struct row {
    const float *q, *dy;
    int size;
    double scale, lse, dy_y; /* dy . y */
    const int32_t *held_slots;
    int n_held; /* 0: nobody holds it */
    double held, weight;
};

/* What a row and head have to do with one of their keys. */
struct pair {
    double p, ds;
};

/* The sums of one key and head. */
struct key_sums {
    double dk[REF_HEAD_MAX], dv[REF_HEAD_MAX];
};

static double dot(const float *a, const float *b, int n) {
    double sum = 0;
    for (int c = 0; c < n; c++)
        sum += (double)a[c] * (double)b[c];
    return sum;
}

/* `slot` is -1 where there are no slots, and nothing is held. */
static struct pair pair_of(const struct row *r, const float *key, const float *value, int slot) {
    double s = r->scale * dot(r->q, key, r->size), p = exp(s - r->lse);
    struct pair pair = {p, p * (dot(r->dy, value, r->size) - r->dy_y)};
    if (!r->n_held) return pair;
    pair.ds += r->weight * p;
    for (int i = 0; i < r->n_held; i++)
        if (r->held_slots[i] == slot) pair.ds -= r->weight * exp(s - r->held);
    return pair;
}

static void key_add(struct key_sums *sums, const struct row *r, struct pair pair) {
    for (int c = 0; c < r->size; c++) {
        sums->dk[c] += r->scale * pair.ds * (double)r->q[c];
        sums->dv[c] += pair.p * (double)r->dy[c];
    }
}

static void key_give(const struct key_sums *sums, int size, float *dk, float *dv, int accumulate) {
    for (int c = 0; c < size; c++) {
        ref_give(&dk[c], sums->dk[c], accumulate);
        ref_give(&dv[c], sums->dv[c], accumulate);
    }
}

/* ---- inside a picture ---- */

/* Head `head` of row i. */
static struct row full_row(const struct kern_attn_full_back *a, size_t i, int head) {
    const struct kern_attn_full *f = &a->fwd;
    size_t at = (size_t)head * (size_t)f->head_size;
    struct row r = {.size = f->head_size, .scale = (double)f->scale};
    r.q = ref_f32(f->qkv) + i * (size_t)f->ld + at;
    r.dy = ref_f32(a->dy) + i * (size_t)a->lddy + at;
    r.lse = (double)ref_f32(f->lse)[i * (size_t)f->heads + (size_t)head];
    r.dy_y = dot(r.dy, ref_f32(f->y) + i * (size_t)f->ldy + at, r.size);
    return r;
}

/* dq of one row, and dk and dv of it as a key, in one head; `first` is the picture's first row. */
static void full_back(const struct kern_attn_full_back *a, size_t first, size_t i, int head) {
    const struct kern_attn_full *f = &a->fwd;
    size_t width = (size_t)f->heads * (size_t)f->head_size, ld = (size_t)f->ld;
    size_t at = (size_t)head * (size_t)f->head_size;
    const float *k = ref_f32(f->qkv) + width + at, *v = k + width;
    float *dqkv = ref_f32(a->dqkv) + i * (size_t)a->lddqkv + at;
    struct row own = full_row(a, i, head);
    struct key_sums sums = {0};
    double dq[REF_HEAD_MAX] = {0};
    for (size_t j = first; j < first + (size_t)f->tokens; j++) {
        struct pair mine = pair_of(&own, k + j * ld, v + j * ld, -1);
        for (int c = 0; c < own.size; c++)
            dq[c] += own.scale * mine.ds * (double)k[j * ld + (size_t)c];
        struct row other = full_row(a, j, head);
        key_add(&sums, &other, pair_of(&other, k + i * ld, v + i * ld, -1));
    }
    for (int c = 0; c < own.size; c++)
        dqkv[c] = (float)dq[c];
    key_give(&sums, own.size, dqkv + width, dqkv + 2 * width, 0);
}

void ref_attn_full_back(struct kern *k, const struct kern_attn_full_back *a) {
    const struct kern_attn_full *f = &a->fwd;
    size_t rows = (size_t)f->images * (size_t)f->tokens;
    must(f->head_size <= REF_HEAD_MAX && (f->lse.addr || !rows));
    for (size_t i = 0; i < rows; i++) {
        for (int head = 0; head < f->heads; head++)
            full_back(a, i - i % (size_t)f->tokens, i, head);
    }
    ref_count(k, 5 * rows * (uint64_t)f->tokens * (uint64_t)f->heads * (uint64_t)f->head_size);
}

/* ---- over the tree ---- */

/* A row of the pass and its group. */
struct place {
    const struct kern_attn_group *group;
    int row;
};

/* The slot of a row's j-th key; -1 behind the last one. */
static int tree_key(const struct kern_attn_tree *a, struct place at, int j) {
    const struct kern_attn_group *g = at.group;
    for (int s = g->span0; s < g->span0 + g->spans; s++) {
        if (j < a->spans[s].len) return a->spans[s].slot + j;
        j -= a->spans[s].len;
    }
    if (g->own_slot >= 0) return j <= at.row - g->row0 ? g->own_slot + j : -1;
    const int32_t *off = ref_i32(a->tail_off) + at.row;
    return j < off[1] - off[0] ? ref_i32(a->tail)[off[0] + j] : -1;
}

static int tree_sees(const struct kern_attn_tree *a, struct place at, int slot) {
    const struct kern_attn_group *g = at.group;
    for (int s = g->span0; s < g->span0 + g->spans; s++)
        if (slot >= a->spans[s].slot && slot < a->spans[s].slot + a->spans[s].len) return 1;
    if (g->own_slot >= 0) return slot >= g->own_slot && slot <= g->own_slot + at.row - g->row0;
    const int32_t *off = ref_i32(a->tail_off) + at.row;
    for (int t = off[0]; t < off[1]; t++)
        if (ref_i32(a->tail)[t] == slot) return 1;
    return 0;
}

/* The next row of the pass; group NULL behind the last one. To begin: {a->groups, -1}. */
static struct place tree_next(const struct kern_attn_tree *a, struct place at) {
    at.row++;
    for (; at.group < a->groups + a->n_groups; at.group++)
        if (at.row < at.group->row0 + at.group->rows) return at;
    return (struct place){NULL, at.row};
}

/* Head `head` of a row, and what holds it. */
static struct row tree_row(const struct kern_attn_tree_back *a, int row, int head) {
    const struct kern_attn_tree *f = &a->fwd;
    size_t i = (size_t)row, at = (size_t)head * (size_t)f->head_size;
    size_t width = (size_t)f->heads * (size_t)f->head_size;
    struct row r = {.size = f->head_size, .scale = (double)f->scale};
    r.q = ref_f32(f->q) + i * (size_t)f->ldq + at;
    r.dy = ref_f32(a->dy) + i * (size_t)a->lddy + at;
    r.lse = (double)ref_f32(f->lse)[i * (size_t)f->heads + (size_t)head];
    r.dy_y = dot(r.dy, ref_f32(f->y) + i * (size_t)f->ldy + at, r.size);
    for (int h = 0; h < a->n_holds; h++) {
        const struct kern_attn_hold *hold = &a->holds[h];
        if (hold->row != row || head >= 32 || !(hold->heads >> head & 1)) continue;
        must(hold->n > 0);
        r.held_slots = ref_i32(a->hold_slots) + hold->at;
        r.n_held = hold->n;
        r.weight = (double)hold->weight;
    }
    double top = -INFINITY, sum = 0;
    for (int walk = 0; walk < 2; walk++) {
        for (int j = 0; j < r.n_held; j++) {
            const float *key = ref_f32(f->pool_k) + (size_t)r.held_slots[j] * width + at;
            double s = r.scale * dot(r.q, key, r.size);
            if (walk) sum += exp(s - top);
            if (s > top) top = s;
        }
    }
    if (r.n_held) r.held = top + log(sum);
    return r;
}

static void tree_row_back(const struct kern_attn_tree_back *a, struct place at, int head) {
    const struct kern_attn_tree *f = &a->fwd;
    size_t width = (size_t)f->heads * (size_t)f->head_size;
    size_t from = (size_t)head * (size_t)f->head_size;
    struct row r = tree_row(a, at.row, head);
    double dq[REF_HEAD_MAX] = {0};
    for (int j = 0, slot; (slot = tree_key(f, at, j)) >= 0; j++) {
        const float *key = ref_f32(f->pool_k) + (size_t)slot * width + from;
        const float *value = ref_f32(f->pool_v) + (size_t)slot * width + from;
        struct pair pair = pair_of(&r, key, value, slot);
        for (int c = 0; c < r.size; c++)
            dq[c] += r.scale * pair.ds * (double)key[c];
    }
    for (int c = 0; c < r.size; c++)
        ref_f32(a->dq)[(size_t)at.row * (size_t)a->lddq + from + (size_t)c] = (float)dq[c];
}

/* A slot's dk and dv in one head; `first` is the first row that sees it. Returns how many do. */
static uint64_t tree_slot_back(const struct kern_attn_tree_back *a, struct place first, int slot,
                               int head) {
    const struct kern_attn_tree *f = &a->fwd;
    size_t from = ((size_t)slot * (size_t)f->heads + (size_t)head) * (size_t)f->head_size;
    const float *key = ref_f32(f->pool_k) + from, *value = ref_f32(f->pool_v) + from;
    struct key_sums sums = {0};
    uint64_t rows = 0;
    for (struct place at = first; at.group; at = tree_next(f, at)) {
        if (!tree_sees(f, at, slot)) continue;
        struct row r = tree_row(a, at.row, head);
        key_add(&sums, &r, pair_of(&r, key, value, slot));
        rows++;
    }
    key_give(&sums, f->head_size, ref_f32(a->dk) + from, ref_f32(a->dv) + from, 1);
    return rows;
}

static int tree_is_first(const struct kern_attn_tree *a, struct place at, int slot) {
    struct place before = tree_next(a, (struct place){a->groups, -1});
    for (; before.row < at.row; before = tree_next(a, before))
        if (tree_sees(a, before, slot)) return 0;
    return 1;
}

static void tree_losses(const struct kern_attn_tree_back *a) {
    for (int h = 0; h < a->n_holds; h++) {
        double loss = 0;
        for (int head = 0; head < a->fwd.heads; head++) {
            struct row r = tree_row(a, a->holds[h].row, head);
            if (r.n_held) loss += r.weight * (r.lse - r.held);
        }
        ref_f32(a->hold_loss)[h] = (float)loss;
    }
}

void ref_attn_tree_back(struct kern *k, const struct kern_attn_tree_back *a) {
    const struct kern_attn_tree *f = &a->fwd;
    uint64_t pairs = 0;
    must(f->pool_dtype == KERN_F32 && f->head_size <= REF_HEAD_MAX && (f->lse.addr || !f->rows));
    struct place at = tree_next(f, (struct place){f->groups, -1});
    for (; at.group; at = tree_next(f, at)) {
        for (int head = 0; head < f->heads; head++)
            tree_row_back(a, at, head);
        for (int j = 0, slot; (slot = tree_key(f, at, j)) >= 0; j++) {
            if (!tree_is_first(f, at, slot)) continue;
            for (int head = 0; head < f->heads; head++)
                pairs += tree_slot_back(a, at, slot, head);
        }
    }
    tree_losses(a);
    ref_count(k, 5 * pairs * (uint64_t)f->head_size);
}
