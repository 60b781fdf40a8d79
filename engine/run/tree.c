/* tree.c - texts in ascending order become a tree in one sweep.
 *
 * Neighbours in the order share the longest prefixes. So the common prefixes of neighbours are all
 * the branches there are. The sweep keeps a stack of the branches above the latest text, the
 * deepest on top. A text that shares `next` tokens with its successor is handled so:
 *   next is deeper than the top   -> a new branch is opened, and the text hangs under it.
 *   next is not deeper            -> the text hangs under the top. Then branches deeper than `next`
 *                                    are closed. Closing to a depth inside a branch cuts it in two.
 * Every tail keeps at least one token, so a text shares all but its last token at most.
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

/* Tokens that two texts share, at least one being left to the tail of each. */
static int32_t common(const struct tree_text *a, const struct tree_text *b) {
    int32_t n = (a->n < b->n ? a->n : b->n) - 1, i = 0;
    while (i < n && a->ids[i] == b->ids[i])
        i++;
    return i;
}

struct sweep {
    struct tree *t;
    int32_t *stack; /* branches, the deepest last */
    int32_t n;
};

/* During the sweep, `n` of a branch is where it ends, counted from the stem. */
static int32_t end_of(const struct sweep *s, int32_t i) {
    return i < 0 ? 0 : s->t->branches[s->stack[i]].n;
}

static void open_branch(struct sweep *s, const int32_t *ids, int32_t end) {
    struct tree_branch *r = &s->t->branches[s->t->n_branches];
    *r = (struct tree_branch){.ids = ids, .n = end, .up = s->n ? s->stack[s->n - 1] : -1};
    s->stack[s->n++] = s->t->n_branches++;
}

static void close_to(struct sweep *s, int32_t depth) {
    while (end_of(s, s->n - 1) > depth) {
        int32_t branch = s->stack[--s->n];
        if (end_of(s, s->n - 1) >= depth) continue;
        open_branch(s, s->t->branches[branch].ids, depth); /* its front half */
        s->t->branches[branch].up = s->stack[s->n - 1];
    }
}

/* Each branch knows where it ends and what is above it. Cut out the tokens that are its own. */
static void tree_settle(struct tree *t) {
    for (int32_t i = 0; i < t->n_branches; i++) /* first, while `n` still means the end */
        t->branches[i].depth = t->branches[i].up < 0 ? 0 : t->branches[t->branches[i].up].n;
    for (int32_t i = 0; i < t->n_branches; i++) {
        struct tree_branch *r = &t->branches[i];
        r->ids += r->depth;
        r->n -= r->depth;
        r->slot0 = t->branch_tokens;
        t->branch_tokens += r->n;
        if (r->up >= 0) t->branches[r->up].children++;
    }
    for (int32_t i = 0; i < t->n_leaves; i++) {
        struct tree_leaf *leaf = &t->leaves[i];
        if (leaf->up >= 0) t->branches[leaf->up].children++;
        if (leaf->n > t->tail_max) t->tail_max = leaf->n;
        t->tail_tokens += leaf->n;
    }
}

int tree_build(struct tree *t, struct arena *mem, const struct tree_text *texts, int32_t n,
               const int32_t *order, int is_flat) {
    must(n > 0);
    *t = (struct tree){.n_leaves = n};
    t->branches = arena_take(mem, (size_t)n * sizeof t->branches[0]); /* n - 1 at most */
    t->leaves = arena_take(mem, (size_t)n * sizeof t->leaves[0]);
    struct sweep s = {.t = t, .stack = arena_take(mem, (size_t)n * sizeof s.stack[0])};
    if (!t->branches || !t->leaves || !s.stack) return E_NOMEM;
    for (int32_t i = 0; i < n; i++) {
        const struct tree_text *text = &texts[order[i]];
        must(text->n > 0);
        int32_t next = 0;
        if (i + 1 < n) {
            must(tree_compare(text, &texts[order[i + 1]]) < 0);
            if (!is_flat) next = common(text, &texts[order[i + 1]]);
        }
        if (next > end_of(&s, s.n - 1)) open_branch(&s, text->ids, next);
        int32_t depth = end_of(&s, s.n - 1);
        t->leaves[order[i]] = (struct tree_leaf){
            .ids = text->ids + depth,
            .n = text->n - depth,
            .up = s.n ? s.stack[s.n - 1] : -1,
            .depth = depth,
        };
        close_to(&s, next);
    }
    tree_settle(t);
    return 0;
}
