/* test_batch.c - what was chosen comes out as groups: chunks first, then the items of each stem
 * side by side, in the order in which they were chosen. */
#include "engine/run/batch.h"

#include "engine/run/branch.h"
#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/engine/run/run_rig.h"

enum { ALL = RIG_GRID * RIG_GRID };
static const struct rig_sizes SIZES = {1000, 4000, 40, 512, 4};

struct stage {
    struct rig r;
    struct eng_picture *picture[2];
    struct eng_job *job[2]; /* one about each picture */
};

static void open_stage(struct stage *s) {
    struct eng_point points[ALL];
    memset(s, 0, sizeof *s);
    rig_all_points(points);
    rig_open(&s->r, RIG_WHOLE, &SIZES);
    for (int i = 0; i < 2; i++) {
        s->picture[i] = rig_picture(i + 1);
        s->job[i] = rig_job(&s->r, &(struct eng_ask){.pictures = &s->picture[i],
                                                     .n_pictures = 1,
                                                     .points = points,
                                                     .n_points = ALL,
                                                     .distribution = i});
        struct eng_job *j = s->job[i];
        struct stem_key key = job_stem(j);
        int32_t cached;
        j->stem = stem_take(&s->r.stems, &key, &cached);
        CHECK(j->stem && j->stem->up && !j->stem->up->up);
        j->stem->up->feat = i;
        CHECK(kv_promise(&s->r.kv, j->tree.branch_tokens + 8 * j->lane_slots));
    }
    batch_begin(&s->r.batch);
}

static void close_stage(struct stage *s) {
    for (int i = 0; i < 2; i++) {
        struct eng_job *j = s->job[i];
        branch_drop(j, &s->r.kv);
        kv_release(&s->r.kv, j->tree.branch_tokens + 8 * j->lane_slots);
        stem_give(&s->r.stems, j->stem);
        eng_job_put(j);
        job_put(j);
        eng_picture_put(s->picture[i]);
    }
    CHECK_EQ(kv_used(&s->r.kv), stem_cached_slots(&s->r.stems));
    rig_close(&s->r);
}

/* Choose all chunks of a job's stem; how many. */
static int choose_stem(struct stage *s, int i) {
    struct stem_part *part;
    int n = 0;
    for (; (part = stem_next(s->job[i]->stem)) != NULL; n++) {
        int32_t left = s->r.batch.rows_left, rows = stem_chunk(part);
        batch_chunk(&s->r.batch, s->job[i], part);
        CHECK_EQ(s->r.batch.rows_left, left - rows);
    }
    return n;
}

/* Choose a lane of a leaf with the branches that it is the first to need. Appends their tokens to
 * `ids`. */
static struct lane *choose_lane(struct stage *s, int i, int32_t leaf, int32_t *ids, int32_t *n) {
    struct batch *b = &s->r.batch;
    struct eng_job *j = s->job[i];
    int32_t left = b->rows_left, chosen = 0, branch;
    while ((branch = branch_missing(j, leaf)) >= 0) {
        const struct tree_branch *t = &j->tree.branches[branch];
        branch_start(j, branch, &s->r.kv);
        batch_branch(b, j, branch);
        for (int32_t k = 0; k < t->n; k++)
            ids[(*n)++] = t->ids[k];
        chosen += t->n;
    }
    struct lane *l = lane_new(&s->r.lanes, j, leaf);
    CHECK(l != NULL);
    for (int32_t k = 0; k < l->n_feed; k++)
        ids[(*n)++] = l->feed[k];
    chosen += lane_rows(l);
    batch_lane(b, l);
    CHECK_EQ(b->rows_left, left - chosen);
    return l;
}

static void check_span(const struct model_pass *p, int32_t i, int32_t slot, int32_t len) {
    CHECK(i < p->n_spans);
    CHECK_EQ(p->spans[i].slot, slot);
    CHECK_EQ(p->spans[i].len, len);
}

/* A group of one chunk attends to the parts above its own and to the front of its own. */
static int32_t check_chunk(const struct stage *s, const struct batch_chunk *c, int32_t group) {
    const struct model_pass *p = &s->r.batch.rows.pass;
    const struct kern_attn_group *g = &p->groups[group];
    const struct stem_part *part = c->part;
    int32_t spans = 0;
    if (part->up) check_span(p, g->span0 + spans++, part->up->slot, part->up->len);
    if (c->from > 0) check_span(p, g->span0 + spans++, part->slot, c->from);
    CHECK_EQ(g->spans, spans);
    CHECK_EQ(g->rows, c->rows);
    CHECK_EQ(g->own_slot, part->slot + c->from);
    CHECK_EQ(c->from % STEM_CHUNK, 0);
    for (int32_t i = 0; i < c->rows; i++) {
        CHECK_EQ(p->slot[g->row0 + i], part->slot + c->from + i);
        CHECK_EQ(p->pos[g->row0 + i], part->start + c->from + i);
        CHECK_EQ(p->src[g->row0 + i], stem_src(part, c->from + i));
    }
    return g->rows;
}

TEST(batch_lays_out_chunks_then_buckets) {
    static struct stage s;
    open_stage(&s);
    struct batch *b = &s.r.batch;
    const struct model_pass *p = &b->rows.pass;
    int32_t ids[2][128], n[2] = {0}, rows = 0;
    struct lane *lanes[5];
    /* In turns; the stems last of all. */
    static const int turn[] = {1, 0, 1, 1, 0};
    static const int32_t leaf[] = {3, 3, 40, 4, 90};
    for (int i = 0; i < 5; i++)
        lanes[i] = choose_lane(&s, turn[i], leaf[i], ids[turn[i]], &n[turn[i]]);
    int chunks = choose_stem(&s, 0) + choose_stem(&s, 1);
    CHECK(chunks > 4);
    CHECK(b->rows.numbers.has_probs && !b->rows.text.has_probs); /* job 1 wants them */
    int32_t chosen = batch_rows(b);
    batch_build(b, &s.r.lanes);
    CHECK_EQ(p->rows, chosen);
    CHECK_EQ(p->n_groups, chunks + 2);
    for (int32_t g = 0; g < chunks; g++) {
        CHECK_EQ(p->groups[g].row0, rows);
        rows += check_chunk(&s, &b->chunks[g], g);
    }
    for (int k = 0; k < 2; k++) { /* job 1 was first to be chosen */
        const struct kern_attn_group *g = &p->groups[chunks + k];
        int i = 1 - k;
        const struct stem_part *text = s.job[i]->stem, *picture = text->up;
        CHECK(g->row0 == rows && g->rows == n[i] && g->own_slot == -1 && g->spans == 2);
        check_span(p, g->span0, picture->slot, picture->len);
        check_span(p, g->span0 + 1, text->slot, text->len);
        CHECK_MEM(p->src + g->row0, ids[i], (size_t)n[i] * sizeof ids[i][0]);
        rows += g->rows;
    }
    CHECK_EQ(rows, p->rows);
    CHECK_EQ(p->picks, 5);
    for (int i = 0; i < 2; i++)
        CHECK(s.job[i]->stem->done == 0 && s.job[i]->stem->bucket >= 0);
    batch_end(b);
    for (int i = 0; i < 2; i++) {
        for (const struct stem_part *part = s.job[i]->stem; part; part = part->up)
            CHECK(part->done == part->len && part->bucket == -1 && part->feat == -1);
    }
    for (int i = 0; i < 5; i++)
        lane_free(&s.r.lanes, lanes[i]);
    close_stage(&s);
}

/* A job with an adapter: its rows are one section behind those of the base, its chunks first. */
TEST(batch_lays_out_a_section_for_each_adapter) {
    static struct stage s;
    open_stage(&s);
    struct batch *b = &s.r.batch;
    const struct model_pass *p = &b->rows.pass;
    int32_t ids[2][128], n[2] = {0};
    struct eng_adapter adapter = {.refs = 2, .berth = 3};
    s.job[0]->adapter = &adapter;
    struct lane *lanes[3] = {choose_lane(&s, 0, 3, ids[0], &n[0]),
                             choose_lane(&s, 1, 3, ids[1], &n[1]),
                             choose_lane(&s, 0, 90, ids[0], &n[0])};
    int chunks[2] = {choose_stem(&s, 0), choose_stem(&s, 1)};
    batch_build(b, &s.r.lanes);
    CHECK_EQ(p->n_sections, 1);
    CHECK_EQ(p->n_groups, chunks[0] + chunks[1] + 2);
    const struct model_section *own = p->sections;
    const struct kern_attn_group *first = &p->groups[chunks[1] + 1];
    CHECK(own->berth == 3 && own->row0 == first->row0 && own->row0 + own->rows == p->rows);
    CHECK_MEM(p->src + own->row0 - n[1], ids[1], (size_t)n[1] * sizeof ids[1][0]);
    CHECK_MEM(p->src + p->rows - n[0], ids[0], (size_t)n[0] * sizeof ids[0][0]);
    for (int i = 0; i < 3; i++)
        CHECK(p->pick_row[i] < p->pick_row[i + 1] || i == 2); /* as section.c wants them */
    batch_end(b);
    batch_begin(b); /* the next pass has none of it */
    s.job[0]->adapter = NULL;
    for (int i = 0; i < 3; i++)
        lane_free(&s.r.lanes, lanes[i]);
    CHECK(p->n_sections == 0 && b->berths == 0);
    close_stage(&s);
}

/* The next pass knows nothing of the one before, and a pass of one chunk is one group. */
TEST(batch_begins_anew) {
    static struct stage s;
    open_stage(&s);
    struct batch *b = &s.r.batch;
    int32_t ids[64], n = 0;
    struct lane *l = choose_lane(&s, 1, 7, ids, &n);
    batch_build(b, &s.r.lanes);
    batch_end(b);
    lane_free(&s.r.lanes, l);
    batch_begin(b);
    CHECK_EQ(b->rows_left, SIZES.rows);
    CHECK_EQ(batch_rows(b), 0);
    CHECK_EQ(b->text_left, ROWS_TEXT_PICKS);
    batch_chunk(b, s.job[0], stem_next(s.job[0]->stem));
    batch_build(b, &s.r.lanes);
    CHECK(b->rows.pass.n_groups == 1 && b->rows.pass.picks == 0);
    CHECK_EQ(b->rows.pass.rows, STEM_CHUNK);
    CHECK(!b->rows.numbers.has_probs);
    CHECK_EQ(s.job[0]->stem->up->planned, STEM_CHUNK);
    CHECK_EQ(s.job[0]->stem->up->done, 0);
    batch_end(b);
    CHECK_EQ(s.job[0]->stem->up->done, STEM_CHUNK);
    close_stage(&s);
}

/* Text has picks of its own, and always wants its probabilities. */
TEST(batch_counts_the_picks_of_text) {
    static struct stage s;
    open_stage(&s);
    struct batch *b = &s.r.batch;
    s.r.questions.kind = KIND_CHOICE;
    int32_t ids[64], n = 0, tail = s.job[0]->tree.leaves[9].n;
    struct lane *l = choose_lane(&s, 0, 9, ids, &n);
    CHECK_EQ(b->text_left, ROWS_TEXT_PICKS - tail);
    CHECK(b->rows.text.has_probs && !b->rows.numbers.has_probs);
    batch_build(b, &s.r.lanes);
    CHECK_EQ(b->rows.pass.picks, tail);
    CHECK_EQ(b->rows.pass.n_sets, s.r.kinds.text_set + 1);
    batch_end(b);
    lane_free(&s.r.lanes, l);
    s.r.questions.kind = KIND_COLOUR;
    close_stage(&s);
}
