/* test_branch.c - branches are started once, hold their slots as long as a leaf below them is not
 * done, and show each row the tokens in front of it. Held against a plain count over the whole
 * tree. */
#include "engine/run/branch.h"

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/check.h"
#include "tests/unit/engine/run/run_rig.h"

enum { ALL = RIG_GRID * RIG_GRID };
static const struct rig_sizes SIZES = {100, 4000, 1, 512, 0};

/* A job about all places, its slots promised, and what each slot holds. */
struct stage {
    struct rig r;
    struct eng_picture *picture;
    struct eng_job *j;
    struct rows rows;
    int32_t token[4200];
    uint8_t has_left[ALL];
};

static void open_stage(struct stage *s) {
    struct eng_point points[ALL];
    memset(s, 0, sizeof *s);
    rig_all_points(points);
    rig_open(&s->r, RIG_DIGITS, &SIZES);
    s->picture = rig_picture(1);
    s->j = rig_job(
        &s->r, &(struct eng_ask){
                   .pictures = &s->picture, .n_pictures = 1, .points = points, .n_points = ALL});
    rows_init(&s->rows, 512, 64, 1, &s->r.kinds, NULL, NULL);
    CHECK(s->j->tree.n_branches > 16);
    CHECK(kv_promise(&s->r.kv, s->j->tree.branch_tokens));
}

static void close_stage(struct stage *s) {
    kv_release(&s->r.kv, s->j->tree.branch_tokens);
    CHECK_EQ(kv_used(&s->r.kv), 0);
    rows_clear(&s->rows);
    eng_job_put(s->j);
    job_put(s->j);
    eng_picture_put(s->picture);
    rig_close(&s->r);
}

/* The rows of a branch: its tokens, at their positions, with the path from the stem as keys. */
static void put(struct stage *s, int32_t branch) {
    const struct tree_branch *b = &s->j->tree.branches[branch];
    const struct model_pass *p = &s->rows.pass;
    rows_begin(&s->rows);
    rows_open_group(&s->rows, -1);
    branch_put(s->j, branch, &s->rows);
    CHECK_EQ(p->rows, b->n);
    for (int32_t i = 0; i < b->n; i++) {
        CHECK_EQ(p->src[i], b->ids[i]);
        CHECK_EQ(p->pos[i], s->j->questions->stem_tokens + b->depth + i);
        CHECK_EQ(p->tail_off[i + 1] - p->tail_off[i], b->depth + i + 1);
        CHECK_EQ(p->tail[p->tail_off[i + 1] - 1], p->slot[i]); /* itself, last */
        s->token[p->slot[i]] = p->src[i];
    }
}

/* All that a leaf is missing, and nothing of what it has. */
static int32_t start_all(struct stage *s, int32_t leaf) {
    int32_t rows = 0, want = branch_missing_rows(s->j, leaf), used = kv_used(&s->r.kv), b;
    while ((b = branch_missing(s->j, leaf)) >= 0) {
        branch_start(s->j, b, &s->r.kv);
        rows += s->j->tree.branches[b].n;
    }
    CHECK_EQ(rows, want);
    CHECK_EQ(kv_used(&s->r.kv), used + rows);
    CHECK_EQ(branch_missing_rows(s->j, leaf), 0);
    return rows;
}

static int is_above(const struct eng_job *j, int32_t branch, int32_t leaf) {
    int32_t b = j->tree.leaves[leaf].up;
    while (b >= 0 && b != branch)
        b = j->tree.branches[b].up;
    return b == branch;
}

/* Slots of the branches that are started and have a leaf below that is not done. */
static int32_t count_held(const struct stage *s) {
    int32_t n = 0;
    for (int32_t b = 0; b < s->j->tree.n_branches; b++) {
        int is_needed = 0;
        for (int32_t i = 0; i < ALL; i++)
            is_needed |= !s->has_left[i] && is_above(s->j, b, i);
        if (is_needed && s->j->branch_left[b] >= 0) n += s->j->tree.branches[b].n;
    }
    return n;
}

static int32_t stirred(int i, int step) { return (i * step + 11) % ALL; }

TEST(branch_starts_each_once_and_shows_the_whole_path) {
    static struct stage s;
    open_stage(&s);
    const struct tree *t = &s.j->tree;
    struct eng_point points[ALL];
    int32_t rows = 0, slots[64];
    rig_all_points(points);
    for (int i = 0; i < ALL; i++)
        rows += start_all(&s, stirred(i, 37));
    CHECK_EQ(rows, t->branch_tokens);
    for (int32_t b = 0; b < t->n_branches; b++)
        put(&s, b);
    for (int32_t i = 0; i < ALL; i++) {
        const struct eng_point *at = &points[s.j->leaf_point[i]];
        const struct tree_text *text = &s.r.texts[at->y * RIG_GRID + at->x];
        int32_t n = branch_slots(s.j, t->leaves[i].up, slots);
        CHECK_EQ(n, t->leaves[i].depth);
        for (int32_t k = 0; k < n; k++)
            CHECK_EQ(s.token[slots[k]], text->ids[k]);
    }
    CHECK_EQ(branch_slots(s.j, -1, slots), 0);
    branch_drop(s.j, &s.r.kv);
    close_stage(&s);
}

TEST(branch_is_held_while_a_leaf_below_is_not_done) {
    static struct stage s;
    open_stage(&s);
    for (int i = 0; i < ALL; i++)
        start_all(&s, stirred(i, 37));
    for (int i = 0; i < ALL; i++) {
        int32_t leaf = stirred(i, 101);
        CHECK_EQ(kv_used(&s.r.kv), count_held(&s));
        branch_leave(s.j, leaf, &s.r.kv);
        s.has_left[leaf] = 1;
    }
    CHECK_EQ(kv_used(&s.r.kv), 0);
    close_stage(&s);
}

/* A job that ends in the middle: some branches are not started, some are done, the rest goes
 * back. */
TEST(branch_drop_gives_back_what_is_held) {
    static struct stage s;
    for (int n = 0; n < 40; n += 7) {
        open_stage(&s);
        for (int i = 0; i < n; i++)
            start_all(&s, stirred(i, 37));
        for (int i = 0; i < n / 2; i++) {
            branch_leave(s.j, stirred(i, 37), &s.r.kv);
            s.has_left[stirred(i, 37)] = 1;
        }
        CHECK_EQ(kv_used(&s.r.kv), count_held(&s));
        branch_drop(s.j, &s.r.kv);
        CHECK_EQ(kv_used(&s.r.kv), 0);
        close_stage(&s);
    }
}
