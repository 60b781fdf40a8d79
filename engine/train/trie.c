/* trie.c - talks become a trie, and the trie a pass.
 *
 * A run is a stretch of nodes without a fork. The first run, long ones, and those that lie too deep
 * below the latest of these are anchors: a group each, whose rows see themselves in order and all
 * that is above as spans. The other runs behind an anchor are one group: what the anchor sees, and
 * the anchor, is theirs in full, and what lies between is in their tails. So a question of a few
 * tokens costs no group, and a long answer no tail.
 */
#include "engine/train/internal.h"

enum {
    TRIE_LONG = 32,     /* rows of a run that is an anchor anyhow */
    TRIE_TAIL_MAX = 96, /* most slots in a tail */
    TRIE_SPANS = 64     /* spans for each row that may be, on average */
};

struct trie_run {
    int32_t node0, n;
    int32_t up;     /* the run above; -1: none */
    int32_t anchor; /* the anchor above; -1: none */
    int32_t tail;   /* rows from the anchor above to its end; 0: it is an anchor */
    int32_t row0;
};

static int trie_no_memory(struct err *e) { return err_set(e, E_NOMEM, "no memory for a sample"); }

int trie_init(struct trie *t, struct arena *mem, int32_t nodes_max, int32_t longest,
              struct err *e) {
    size_t n = (size_t)nodes_max * sizeof(int32_t);
    *t = (struct trie){.max = nodes_max};
    t->id = arena_take(mem, n);
    t->pos = arena_take(mem, n);
    t->up = arena_take(mem, n);
    t->kids = arena_take(mem, n);
    t->row = arena_take(mem, n);
    t->path = arena_take(mem, (size_t)longest * sizeof(int32_t));
    return t->id && t->pos && t->up && t->kids && t->row && t->path ? 0 : trie_no_memory(e);
}

int trie_add(struct trie *t, const int32_t *ids, int32_t n, int32_t same, struct err *e) {
    for (int32_t i = same; i < n; i++) {
        int32_t up = i ? t->path[i - 1] : -1, node = t->n;
        if (node == t->max)
            return err_set(e, E_TOO_BIG, "the sample takes over %d rows: give it fewer talks",
                           t->max);
        t->id[node] = ids[i];
        t->pos[node] = i;
        t->up[node] = up;
        if (up >= 0) t->kids[up]++;
        t->path[i] = t->n++;
    }
    return 0;
}

/* ---- runs ---- */

static void find_runs(struct trie *t, int32_t *run_of) {
    for (int32_t i = 0; i < t->n; i++) {
        if (i && t->up[i] == i - 1 && t->kids[i - 1] == 1) {
            t->runs[t->n_runs - 1].n++;
        } else {
            int32_t up = t->up[i] < 0 ? -1 : run_of[t->up[i]];
            t->runs[t->n_runs++] = (struct trie_run){.node0 = i, .n = 1, .up = up};
        }
        run_of[i] = t->n_runs - 1;
    }
    for (int32_t i = 0; i < t->n_runs; i++) {
        struct trie_run *r = &t->runs[i];
        const struct trie_run *up = r->up < 0 ? NULL : &t->runs[r->up];
        r->anchor = !up ? -1 : up->tail ? up->anchor : r->up;
        int32_t tail = (up ? up->tail : 0) + r->n;
        r->tail = !up || r->n >= TRIE_LONG || tail > TRIE_TAIL_MAX ? 0 : tail;
    }
}

/* ---- rows ---- */

struct layout { /* of rows: where the next ones go */
    struct trie *t;
    struct mix *x;
    int32_t *chain; /* (runs) */
    int32_t spans_max, tails_max, tails;
};

static void put_rows(struct layout *l, struct trie_run *r) {
    struct mix *x = l->x;
    r->row0 = x->rows;
    for (int32_t i = 0; i < r->n; i++) {
        int32_t node = r->node0 + i, row = x->rows++;
        l->t->row[node] = row;
        x->src[row] = l->t->id[node];
        x->pos[row] = l->t->pos[node];
        x->slot[row] = row;
        x->tail_off[row + 1] = l->tails;
    }
}

/* The runs from the first to `last` as spans of the group that begins; neighbours are one span. */
static int put_spans(struct layout *l, int32_t last, struct kern_attn_group *g) {
    int32_t n = 0;
    for (int32_t r = last; r >= 0; r = l->t->runs[r].up)
        l->chain[n++] = r;
    g->span0 = l->x->n_spans;
    while (n-- > 0) {
        const struct trie_run *r = &l->t->runs[l->chain[n]];
        struct kern_attn_span *top = g->spans ? &l->x->spans[l->x->n_spans - 1] : NULL;
        if (top && top->slot + top->len == r->row0) {
            top->len += r->n;
            continue;
        }
        if (l->x->n_spans == l->spans_max) return 0;
        l->x->spans[l->x->n_spans++] = (struct kern_attn_span){r->row0, r->n};
        g->spans++;
    }
    return 1;
}

/* Each row of a short run sees what is above it behind the anchor, and itself. */
static void put_tails(struct layout *l, const struct trie_run *r) {
    struct mix *x = l->x;
    int32_t above[TRIE_TAIL_MAX], n = 0;
    for (int32_t up = r->up; l->t->runs[up].tail; up = l->t->runs[up].up)
        for (int32_t i = l->t->runs[up].n - 1; i >= 0; i--)
            above[n++] = l->t->runs[up].row0 + i;
    must(n + r->n == r->tail);
    for (int32_t i = 0; i < r->n; i++) {
        must(l->tails + n + i + 1 <= l->tails_max);
        for (int32_t k = n - 1; k >= 0; k--)
            x->tail[l->tails++] = above[k];
        for (int32_t k = 0; k <= i; k++)
            x->tail[l->tails++] = r->row0 + k;
        x->tail_off[r->row0 + i + 1] = l->tails;
    }
}

/* An anchor, and the short runs behind it. */
static int put_anchor(struct layout *l, int32_t a) {
    struct mix *x = l->x;
    struct kern_attn_group *g = &x->groups[x->n_groups++];
    *g = (struct kern_attn_group){.row0 = x->rows, .own_slot = x->rows};
    if (!put_spans(l, l->t->runs[a].up, g)) return 0;
    put_rows(l, &l->t->runs[a]);
    g->rows = x->rows - g->row0;
    g = &x->groups[x->n_groups];
    *g = (struct kern_attn_group){.row0 = x->rows, .own_slot = -1};
    for (int32_t i = a + 1; i < l->t->n_runs; i++) {
        struct trie_run *r = &l->t->runs[i];
        if (r->anchor != a || !r->tail) continue;
        put_rows(l, r);
        put_tails(l, r);
    }
    g->rows = x->rows - g->row0;
    if (!g->rows) return 1;
    x->n_groups++;
    return put_spans(l, a, g);
}

/* ---- the tails the other way round ---- */

static int put_users(struct mix *x, struct arena *mem, struct err *e) {
    int32_t rows = x->rows, n = x->tail_off[rows];
    int32_t *count = arena_take(mem, ((size_t)rows + 1) * sizeof *count);
    x->user_slot = arena_take(mem, (size_t)rows * sizeof *x->user_slot);
    x->user_off = arena_take(mem, ((size_t)rows + 1) * sizeof *x->user_off);
    x->user = arena_take(mem, ((size_t)n + 1) * sizeof *x->user);
    if (!count || !x->user_slot || !x->user_off || !x->user) return trie_no_memory(e);
    for (int32_t i = 0; i < n; i++)
        count[x->tail[i]]++;
    int32_t at = 0;
    for (int32_t slot = 0; slot < rows; slot++) {
        int32_t users = count[slot];
        count[slot] = at; /* from now on: where its next user goes */
        if (!users) continue;
        x->user_slot[x->n_users] = slot;
        x->user_off[x->n_users++] = at;
        at += users;
    }
    x->user_off[x->n_users] = at;
    for (int32_t row = 0; row < rows; row++)
        for (int32_t i = x->tail_off[row]; i < x->tail_off[row + 1]; i++)
            x->user[count[x->tail[i]]++] = row;
    return 0;
}

/* The slots of all tails together. */
static int32_t count_tails(const struct trie *t) {
    int32_t n = 0;
    for (int32_t i = 0; i < t->n_runs; i++) {
        const struct trie_run *r = &t->runs[i];
        if (r->tail) n += r->n * (r->tail - r->n) + r->n * (r->n + 1) / 2;
    }
    return n;
}

int trie_lay(struct trie *t, struct mix *x, struct arena *mem, struct err *e) {
    size_t n = (size_t)t->n, i32 = sizeof(int32_t);
    int32_t *run_of = arena_take(mem, n * i32);
    t->runs = arena_take(mem, n * sizeof *t->runs);
    struct layout l = {.t = t, .x = x, .spans_max = (int32_t)n * TRIE_SPANS};
    if (!run_of || !t->runs) return trie_no_memory(e);
    find_runs(t, run_of);
    l.tails_max = count_tails(t);
    l.chain = arena_take(mem, (size_t)t->n_runs * i32);
    x->src = arena_take(mem, n * i32);
    x->pos = arena_take(mem, n * i32);
    x->slot = arena_take(mem, n * i32);
    x->tail_off = arena_take(mem, (n + 1) * i32);
    x->tail = arena_take(mem, ((size_t)l.tails_max + 1) * i32);
    x->groups = arena_take(mem, (2 * (size_t)t->n_runs + 1) * sizeof *x->groups);
    x->spans = arena_take(mem, (size_t)l.spans_max * sizeof *x->spans);
    if (!l.chain || !x->src || !x->pos || !x->slot || !x->tail_off || !x->tail || !x->groups ||
        !x->spans)
        return trie_no_memory(e);
    for (int32_t i = 0; i < t->n_runs; i++)
        if (!t->runs[i].tail && !put_anchor(&l, i))
            return err_set(e, E_TOO_BIG, "the talks fork too often: give the sample fewer of them");
    must(x->rows == t->n && l.tails == l.tails_max);
    return put_users(x, mem, e);
}
