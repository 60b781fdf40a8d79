/* tree.c - texts in ascending order become a tree in one sweep.
 *
 * Neighbours in the order share the longest prefixes, so the common prefixes of neighbours are all
 * the inner nodes there are. The sweep keeps the runs that the latest text ends in on a stack,
 * shallow below deep. Next to a text that shares `next` tokens with its successor:
 *   deeper than the top   -> a new run is opened, and the text hangs under it;
 *   not deeper            -> the text hangs under the top, then runs deeper than `next` are closed.
 *                            Closing to a depth that lies inside a run cuts the run in two.
 * A tail must keep a token, so what a text shares is capped at all but its last one.
 * Linear in the number of tokens.
 */
#include "engine/run/tree.h"

#include <stdlib.h>

#include "kernels/base/err.h"

int tree_compare(const struct tree_text *a, const struct tree_text *b) {
    for (int32_t i = 0; i < a->n && i < b->n; i++)
        if (a->ids[i] != b->ids[i]) return a->ids[i] < b->ids[i] ? -1 : 1;
    return (a->n > b->n) - (a->n < b->n);
}

static int by_text(const void *a, const void *b, void *texts) {
    const struct tree_text *t = texts;
    return tree_compare(&t[*(const int32_t *)a], &t[*(const int32_t *)b]);
}

void tree_sort(const struct tree_text *texts, int32_t *order, int32_t n) {
    qsort_r(order, (size_t)n, sizeof order[0], by_text, (void *)(uintptr_t)texts);
}

/* Tokens that two texts share and that no tail needs. */
static int32_t common(const struct tree_text *a, const struct tree_text *b) {
    int32_t n = (a->n < b->n ? a->n : b->n) - 1, i = 0;
    while (i < n && a->ids[i] == b->ids[i])
        i++;
    return i;
}

struct sweep {
    struct tree *t;
    int32_t *stack; /* runs, the deepest last */
    int32_t n;
};

/* While the sweep runs, `n` of a run is where it ends, counted from the stem. */
static int32_t end_of(const struct sweep *s, int32_t i) {
    return i < 0 ? 0 : s->t->runs[s->stack[i]].n;
}

static void open_run(struct sweep *s, const int32_t *ids, int32_t end) {
    struct tree_run *r = &s->t->runs[s->t->n_runs];
    *r = (struct tree_run){.ids = ids, .n = end, .up = s->n ? s->stack[s->n - 1] : -1};
    s->stack[s->n++] = s->t->n_runs++;
}

static void close_to(struct sweep *s, int32_t depth) {
    while (end_of(s, s->n - 1) > depth) {
        int32_t run = s->stack[--s->n];
        if (end_of(s, s->n - 1) >= depth) continue;
        open_run(s, s->t->runs[run].ids, depth); /* its front half becomes a run of its own */
        s->t->runs[run].up = s->stack[s->n - 1];
    }
}

/* Runs know where they end and what is above them: give each its own part of the text. */
static void settle(struct tree *t) {
    for (int32_t i = 0; i < t->n_runs; i++) /* all begins first: `n` still means the end here */
        t->runs[i].depth = t->runs[i].up < 0 ? 0 : t->runs[t->runs[i].up].n;
    for (int32_t i = 0; i < t->n_runs; i++) {
        struct tree_run *r = &t->runs[i];
        r->ids += r->depth;
        r->n -= r->depth;
        r->slot0 = t->run_tokens;
        t->run_tokens += r->n;
        if (r->up >= 0) t->runs[r->up].children++;
    }
    for (int32_t i = 0; i < t->n_leaves; i++) {
        struct tree_leaf *leaf = &t->leaves[i];
        int32_t above = 0;
        for (int32_t up = leaf->up; up >= 0; up = t->runs[up].up)
            above++;
        if (above > t->path_runs_max) t->path_runs_max = above;
        if (leaf->up >= 0) t->runs[leaf->up].children++;
        if (leaf->n > t->tail_max) t->tail_max = leaf->n;
        t->tail_tokens += leaf->n;
    }
}

int tree_build(struct tree *t, struct arena *mem, const struct tree_text *texts, int32_t n,
               const int32_t *order, int is_flat) {
    must(n > 0);
    *t = (struct tree){.n_leaves = n};
    t->runs = arena_take(mem, (size_t)n * sizeof t->runs[0]); /* n - 1 inner nodes at most */
    t->leaves = arena_take(mem, (size_t)n * sizeof t->leaves[0]);
    struct sweep s = {.t = t, .stack = arena_take(mem, (size_t)n * sizeof s.stack[0])};
    if (!t->runs || !t->leaves || !s.stack) return E_NOMEM;
    for (int32_t i = 0; i < n; i++) {
        const struct tree_text *text = &texts[order[i]];
        must(text->n > 0);
        int32_t next = 0;
        if (i + 1 < n) {
            must(tree_compare(text, &texts[order[i + 1]]) < 0);
            if (!is_flat) next = common(text, &texts[order[i + 1]]);
        }
        if (next > end_of(&s, s.n - 1)) open_run(&s, text->ids, next);
        int32_t depth = end_of(&s, s.n - 1);
        t->leaves[order[i]] = (struct tree_leaf){
            .ids = text->ids + depth,
            .n = text->n - depth,
            .up = s.n ? s.stack[s.n - 1] : -1,
            .depth = depth,
        };
        close_to(&s, next);
    }
    settle(t);
    return 0;
}
