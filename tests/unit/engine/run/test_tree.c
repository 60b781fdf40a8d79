/* test_tree.c - a tree spells every text again, shares what can be shared, and keeps tails. */
#include <stdlib.h>

#include "engine/run/tree.h"
#include "kernels/base/err.h"
#include "kernels/base/rng.h"
#include "tests/check.h"

enum { TEXTS = 300, LEN = 12 };

static int by_text(const void *a, const void *b, void *texts) {
    const struct tree_text *t = texts;
    return tree_compare(&t[*(const int32_t *)a], &t[*(const int32_t *)b]);
}

/* Texts of few different tokens, so that many begin alike; sorted, and without doubles. */
static int32_t make(struct tree_text *texts, int32_t *ids, int32_t *order, int32_t n, int letters,
                    uint64_t seed) {
    int32_t kept = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t *to = ids + kept * LEN;
        struct tree_text t = {to, 1 + (int32_t)(rng_u64(seed, (uint64_t)i * 100) % LEN)};
        for (int32_t k = 0; k < t.n; k++)
            to[k] =
                (int32_t)(rng_u64(seed, (uint64_t)i * 100 + 1 + (uint64_t)k) % (uint64_t)letters);
        int is_new = 1;
        for (int32_t k = 0; k < kept; k++)
            is_new &= tree_compare(&texts[k], &t) != 0;
        if (!is_new) continue;
        order[kept] = kept;
        texts[kept++] = t;
    }
    qsort_r(order, (size_t)kept, sizeof order[0], by_text, texts);
    return kept;
}

/* The leaf's text, from the stem on. */
static int32_t read_leaf(const struct tree *t, int32_t leaf, int32_t *ids) {
    const struct tree_leaf *l = &t->leaves[leaf];
    for (int32_t i = 0; i < l->n; i++)
        ids[l->depth + i] = l->ids[i];
    for (int32_t r = l->up; r >= 0; r = t->branches[r].up)
        for (int32_t i = 0; i < t->branches[r].n; i++)
            ids[t->branches[r].depth + i] = t->branches[r].ids[i];
    return l->depth + l->n;
}

/* Distinct prefixes that no tail needs: what a perfect tree stores. */
static int32_t least_rows(const struct tree_text *texts, int32_t n) {
    int32_t rows = 0;
    for (int32_t i = 0; i < n; i++) {
        for (int32_t k = 0; k < texts[i].n - 1; k++) {
            int is_new = 1;
            for (int32_t j = 0; j < i && is_new; j++)
                is_new = texts[j].n - 1 <= k ||
                         memcmp(texts[j].ids, texts[i].ids, (size_t)(k + 1) * 4) != 0;
            rows += is_new;
        }
        rows++; /* the last token is the leaf's own */
    }
    return rows;
}

static void check_tree(int32_t n, int letters, uint64_t seed) {
    static int32_t ids[TEXTS * LEN], order[TEXTS], again[LEN];
    static struct tree_text texts[TEXTS];
    static uint8_t used[TEXTS];
    struct tree t;
    struct arena *mem = arena_new(1 << 22);
    n = make(texts, ids, order, n, letters, seed);
    CHECK_EQ(tree_build(&t, mem, texts, n, order, 0), 0);
    CHECK(t.n_branches < n);
    int32_t tails = 0, shared = 0;
    memset(used, 0, sizeof used);
    for (int32_t i = 0; i < n; i++) {
        CHECK(t.leaves[i].n > 0);
        CHECK_EQ(read_leaf(&t, i, again), texts[i].n);
        CHECK(memcmp(again, texts[i].ids, (size_t)texts[i].n * 4) == 0);
        tails += t.leaves[i].n;
        if (t.leaves[i].up >= 0) used[t.leaves[i].up]++;
    }
    for (int32_t r = 0; r < t.n_branches; r++) {
        CHECK(t.branches[r].n > 0);
        CHECK_EQ(t.branches[r].slot0, shared);
        shared += t.branches[r].n;
        if (t.branches[r].up >= 0) used[t.branches[r].up]++;
    }
    for (int32_t r = 0; r < t.n_branches; r++) {
        CHECK(used[r] >= 2); /* else it would be no branch */
        CHECK_EQ(t.branches[r].children, used[r]);
    }
    CHECK_EQ(t.branch_tokens, shared);
    CHECK_EQ(t.tail_tokens, tails);
    CHECK_EQ(shared + tails, least_rows(texts, n));
    arena_free(mem);
}

TEST(tree_spells_and_shares) {
    for (uint64_t seed = 0; seed < 60; seed++)
        check_tree(1 + (int32_t)(seed * 5), 2 + (int)(seed % 5), test_seed() * 1000 + seed);
}

TEST(tree_of_one_text_is_all_tail) {
    int32_t ids[] = {5, 6, 7}, order[] = {0};
    struct tree_text text = {ids, 3};
    struct tree t;
    struct arena *mem = arena_new(1 << 16);
    CHECK_EQ(tree_build(&t, mem, &text, 1, order, 0), 0);
    CHECK_EQ(t.n_branches, 0);
    CHECK_EQ(t.leaves[0].n, 3);
    CHECK_EQ(t.leaves[0].up, -1);
    CHECK_EQ(t.tail_max, 3);
    arena_free(mem);
}

TEST(tree_keeps_a_tail_where_one_text_begins_another) {
    int32_t ids[] = {1, 2, 3, 4}, order[] = {0, 1};
    struct tree_text texts[] = {{ids, 2}, {ids, 4}};
    struct tree t;
    struct arena *mem = arena_new(1 << 16);
    CHECK_EQ(tree_build(&t, mem, texts, 2, order, 0), 0);
    CHECK_EQ(t.n_branches, 1);
    CHECK_EQ(t.branch_tokens, 1);
    CHECK_EQ(t.leaves[0].n, 1);
    CHECK_EQ(t.leaves[1].n, 3);
    arena_free(mem);
}

TEST(tree_without_memory) {
    int32_t ids[] = {5, 6, 7}, order[] = {0};
    struct tree_text text = {ids, 3};
    struct tree t;
    struct arena *mem = arena_new(16); /* a cap that nothing fits under */
    CHECK_EQ(tree_build(&t, mem, &text, 1, order, 0), E_NOMEM);
    arena_free(mem);
}
