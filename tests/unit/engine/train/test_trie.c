/* test_trie.c - whatever talks share, each row sees its own past, in order, and nothing else. */
#include <stdlib.h>

#include "tests/unit/engine/train/train_rig.h"

enum { TALKS = 40, LONG = 400, ROWS = TALKS * LONG };

struct talks {
    int32_t ids[TALKS][LONG];
    int32_t n[TALKS];
    int count;
};

static int by_ids(const void *a, const void *b, void *ud) {
    const struct talks *t = ud;
    int x = *(const int *)a, y = *(const int *)b;
    for (int i = 0; i < t->n[x] && i < t->n[y]; i++)
        if (t->ids[x][i] != t->ids[y][i]) return t->ids[x][i] < t->ids[y][i] ? -1 : 1;
    return t->n[x] != t->n[y] ? t->n[x] - t->n[y] : x - y;
}

/* Talks that begin as another one does, up to some place, and go on alone, shortly or long. */
static void make_talks(struct talks *t, uint64_t seed) {
    t->count = 1 + (int)(rng_u64(seed, 0) % TALKS);
    for (int i = 0; i < t->count; i++) {
        uint64_t s = rng_u64(seed, (uint64_t)i + 1);
        int from = i ? (int)(rng_u64(s, 0) % (uint64_t)i) : 0;
        int same = i ? 1 + (int)(rng_u64(s, 1) % (uint64_t)t->n[from]) : 0;
        int more = (int)(rng_u64(s, 2) % (rng_u64(s, 3) % 3 ? 8 : 150));
        if (!i) more += 2;
        if (same + more > LONG) more = LONG - same;
        memcpy(t->ids[i], t->ids[from], (size_t)same * sizeof(int32_t));
        for (int k = same; k < same + more; k++)
            t->ids[i][k] = (int32_t)(rng_u64(s, (uint64_t)(k + 10)) % 3) - 1;
        t->n[i] = same + more;
        t->ids[i][0] = 1;
    }
}

/* The slots that a row sees, in order. */
static int keys_of(const struct mix *x, int row, int32_t *keys) {
    int n = 0, g = 0;
    while (row >= x->groups[g].row0 + x->groups[g].rows)
        g++;
    const struct kern_attn_group *at = &x->groups[g];
    for (int s = at->span0; s < at->span0 + at->spans; s++)
        for (int k = 0; k < x->spans[s].len; k++)
            keys[n++] = x->spans[s].slot + k;
    for (int k = at->row0; at->own_slot >= 0 && k <= row; k++)
        keys[n++] = at->own_slot + k - at->row0;
    if (at->own_slot >= 0) CHECK_EQ(x->tail_off[row], x->tail_off[row + 1]);
    for (int k = x->tail_off[row]; k < x->tail_off[row + 1]; k++)
        keys[n++] = x->tail[k];
    return n;
}

static void check_talk(const struct trie *trie, const struct mix *x, const int32_t *path,
                       const int32_t *ids, int n) {
    int32_t keys[LONG];
    for (int i = 0; i < n; i++) {
        int row = trie->row[path[i]];
        CHECK_EQ(x->src[row], ids[i]);
        CHECK_EQ(x->pos[row], i);
        CHECK_EQ(x->slot[row], row);
        CHECK_EQ(keys_of(x, row, keys), i + 1);
        for (int k = 0; k <= i; k++)
            CHECK_EQ(keys[k], trie->row[path[k]]);
    }
}

static void check_users(const struct mix *x) {
    int at = 0, last = -1;
    for (int u = 0; u < x->n_users; u++) {
        int slot = x->user_slot[u];
        CHECK(slot > last);
        last = slot;
        CHECK_EQ(x->user_off[u], at);
        for (int row = 0; row < x->rows; row++)
            for (int k = x->tail_off[row]; k < x->tail_off[row + 1]; k++)
                if (x->tail[k] == slot) CHECK_EQ(x->user[at++], row);
        CHECK(at > x->user_off[u]);
    }
    CHECK_EQ(x->user_off[x->n_users], at);
    CHECK_EQ(x->tail_off[x->rows], at);
}

static void check_seed(uint64_t seed) {
    struct talks *t = mem_must(sizeof *t);
    struct arena *mem = arena_new(1 << 28);
    struct mix x = {0};
    struct trie trie;
    int order[TALKS], row = 0;
    int32_t *paths = mem_must(ROWS * sizeof *paths);
    make_talks(t, seed);
    for (int i = 0; i < t->count; i++)
        order[i] = i;
    qsort_r(order, (size_t)t->count, sizeof *order, by_ids, t);
    CHECK_EQ(trie_init(&trie, mem, ROWS, LONG, NULL), 0);
    for (int i = 0; i < t->count; i++) {
        int same = 0, last = i ? order[i - 1] : 0, talk = order[i];
        while (i && same < t->n[last] && same < t->n[talk] &&
               t->ids[last][same] == t->ids[talk][same])
            same++;
        CHECK_EQ(trie_add(&trie, t->ids[talk], t->n[talk], same, NULL), 0);
        memcpy(paths + talk * LONG, trie.path, (size_t)t->n[talk] * sizeof *paths);
    }
    CHECK_EQ(trie_lay(&trie, &x, mem, NULL), 0);
    CHECK_EQ(x.rows, trie.n);
    for (int g = 0; g < x.n_groups; row += x.groups[g++].rows)
        CHECK_EQ(x.groups[g].row0, row);
    CHECK_EQ(row, x.rows);
    for (int i = 0; i < t->count; i++)
        check_talk(&trie, &x, paths + i * LONG, t->ids[i], t->n[i]);
    check_users(&x);
    arena_free(mem);
    mem_free(paths);
    mem_free(t);
}

TEST(trie_rows_see_their_past_in_order) {
    int n = test_count(30, 1000);
    for (int i = 0; i < n; i++)
        check_seed(test_seed() + (uint64_t)i);
}

TEST(trie_says_when_rows_are_too_many) {
    struct arena *mem = arena_new(1 << 20);
    struct trie trie;
    struct err e = {0};
    int32_t ids[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    CHECK_EQ(trie_init(&trie, mem, 8, 8, NULL), 0);
    CHECK_EQ(trie_add(&trie, ids, 8, 0, &e), 0);
    ids[7] = 9;
    CHECK_EQ(trie_add(&trie, ids, 8, 7, &e), E_TOO_BIG);
    CHECK_HAS(e.text, "fewer talks");
    arena_free(mem);
}
