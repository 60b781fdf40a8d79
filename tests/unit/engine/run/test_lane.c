/* test_lane.c - one lane at a time, driven by hand: what it writes, what it holds, and what it
 * answers when the picks are made up. */
#include "engine/run/lane.h"

#include "engine/run/branch.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/check.h"
#include "tests/unit/engine/run/run_rig.h"

enum { ALL = RIG_GRID * RIG_GRID, ROWS = 256, SLOTS = 4000, WORDS = 200, EOS = 3 };
static const struct rig_sizes SIZES = {100, SLOTS, 1, ROWS, 0};

/* A job, lanes for it, and the token and position that each slot holds. */
struct stage {
    struct rig r;
    struct kinds kinds; /* the rig's, with a vocabulary */
    struct lanes lanes;
    struct rows rows;
    struct eng_picture *picture;
    struct eng_job *j;
    int32_t token[SLOTS + 100], pos[SLOTS + 100];
    int32_t passes, fed;
    uint64_t dice;
};

static void open_stage(struct stage *s, enum rig_grammar grammar, enum kind kind,
                       enum eng_estimate estimate, int distribution) {
    struct eng_point points[ALL];
    memset(s, 0, sizeof *s);
    rig_all_points(points);
    rig_open(&s->r, grammar, &SIZES);
    s->kinds = s->r.kinds;
    s->kinds.n_text = WORDS;
    s->kinds.eos = EOS;
    s->r.questions.kind = kind;
    lane_init(&s->lanes, &s->kinds, &s->r.kv, 3, LANE_CHOICE_MAX + 1);
    rows_init(&s->rows, ROWS, 64 + s->r.g.feed_max + LANE_EXPLORE_MAX, 1, &s->kinds, NULL, NULL);
    s->picture = rig_picture(1);
    s->j = rig_job(&s->r, &(struct eng_ask){.pictures = &s->picture,
                                            .n_pictures = 1,
                                            .points = points,
                                            .n_points = ALL,
                                            .estimate = estimate,
                                            .distribution = distribution});
    CHECK(kv_promise(&s->r.kv, s->j->tree.branch_tokens + 3 * s->j->lane_slots));
}

static void close_stage(struct stage *s) {
    branch_drop(s->j, &s->r.kv);
    kv_release(&s->r.kv, s->j->tree.branch_tokens + 3 * s->j->lane_slots);
    CHECK_EQ(kv_used(&s->r.kv), 0);
    CHECK_EQ(s->lanes.n_busy, 0);
    rows_clear(&s->rows);
    lane_clear(&s->lanes);
    eng_job_put(s->j);
    job_put(s->j);
    eng_picture_put(s->picture);
    rig_close(&s->r);
}

/* A lane of that leaf, everything above it started. */
static struct lane *start(struct stage *s, int32_t leaf) {
    const struct tree *t = &s->j->tree;
    int32_t branch, rows = lane_first_rows(&s->lanes, s->j, leaf);
    while ((branch = branch_missing(s->j, leaf)) >= 0) {
        const struct tree_branch *b = &t->branches[branch];
        branch_start(s->j, branch, &s->r.kv);
        for (int32_t i = 0; i < b->n; i++) {
            s->token[s->j->branch_slot[b->slot0 + i]] = b->ids[i];
            s->pos[s->j->branch_slot[b->slot0 + i]] = s->j->questions->stem_tokens + b->depth + i;
        }
    }
    s->passes = s->fed = 0;
    struct lane *l = lane_new(&s->lanes, s->j, leaf);
    CHECK(l != NULL);
    CHECK_EQ(lane_rows(l), rows);
    CHECK_EQ(lane_text_picks(l), lane_first_text_picks(s->j, leaf));
    return l;
}

/* Its next rows. Each attends to the positions behind the stem in order, itself last. */
static void put(struct stage *s, struct lane *l) {
    const struct model_pass *p = &s->rows.pass;
    int32_t want = lane_rows(l), text = lane_text_picks(l), stem = s->j->questions->stem_tokens;
    CHECK(want > 0);
    rows_begin(&s->rows);
    s->rows.numbers.has_probs = s->j->distribution;
    s->rows.text.has_probs = 1;
    rows_open_group(&s->rows, -1);
    lane_put(&s->lanes, l, &s->rows);
    rows_close_group(&s->rows);
    rows_end(&s->rows);
    CHECK_EQ(p->rows, want);
    CHECK_EQ(s->rows.text.n, text);
    for (int32_t i = 0; i < p->rows; i++) {
        s->token[p->slot[i]] = p->src[i];
        s->pos[p->slot[i]] = p->pos[i];
    }
    for (int32_t i = 0; i < p->rows; i++) {
        int32_t n = p->tail_off[i + 1] - p->tail_off[i];
        const int32_t *keys = p->tail + p->tail_off[i];
        CHECK_EQ(n, p->pos[i] - stem + 1);
        CHECK_EQ(keys[n - 1], p->slot[i]);
        for (int32_t k = 0; k < n; k++)
            CHECK_EQ(s->pos[keys[k]], stem + k);
    }
    s->passes++;
    s->fed += p->rows;
}

static int32_t held(const struct lane *l) {
    int32_t n = l->n_path;
    for (int32_t i = 0; i < l->n_fed; i++)
        n += l->nodes[i].slot >= 0;
    return n;
}

/* Probabilities by dice, which `sharpness` draws apart; the likeliest is the pick. */
static void roll(struct stage *s, double sharpness) {
    const struct model_pass *p = &s->rows.pass;
    for (int32_t i = 0; i < p->picks; i++) {
        int32_t set = p->pick_set[i], n = p->col_off[set + 1] - p->col_off[set];
        float *probs = s->rows.numbers.probs + (size_t)i * (size_t)s->rows.numbers.ldp;
        double sum = 0;
        p->best[i] = 0;
        for (int32_t k = 0; k < n; k++) {
            probs[k] = (float)exp(sharpness * (double)rng_uniform(test_seed(), s->dice++));
            if (probs[k] > probs[p->best[i]]) p->best[i] = k;
            sum += (double)probs[k];
        }
        for (int32_t k = 0; k < n; k++)
            probs[k] = (float)((double)probs[k] / sum);
    }
}

/* The edges that spell v below a node, into `edges`; how many, or -1. */
static int spell(const struct grammar *g, int32_t node, int v, int32_t *edges) {
    const struct grammar_node *at = &g->nodes[node];
    if (at->edges == 0) return at->value_lo == v ? 0 : -1;
    for (int32_t i = 0; i < at->edges; i++) {
        int n = spell(g, g->edges[at->edge0 + i].node, v, edges + 1);
        edges[0] = at->edge0 + i;
        if (n >= 0) return n + 1;
    }
    return -1;
}

/* What the path holds in the end is the tail and the beginning of the answer, up to the last
 * number's. */
static void check_path(const struct stage *s, const struct lane *l) {
    const struct grammar *g = &s->r.g;
    const struct tree_leaf *leaf = &s->j->tree.leaves[l->leaf];
    int32_t want[128], edges[16], least = 0;
    int32_t n = 0;
    for (int32_t i = 0; i < leaf->n; i++)
        want[n++] = leaf->ids[i];
    for (int i = 0; i < g->n_lead; i++)
        want[n++] = g->lead[i];
    for (int f = 0; f < g->n_fields; f++) {
        least = n; /* all fields but the last one are fed to their end */
        int k = spell(g, g->fields[f].root, l->answer.value[f], edges);
        CHECK(k > 0);
        for (int i = 0; i < k; i++)
            want[n++] = g->edges[edges[i]].token;
    }
    CHECK(l->n_path >= least && l->n_path <= n);
    for (int32_t i = 0; i < l->n_path; i++) {
        CHECK_EQ(s->token[l->path[i]], want[i]);
        CHECK_EQ(s->pos[l->path[i]], s->j->questions->stem_tokens + leaf->depth + i);
    }
}

/* ---- numbers, greedy ---- */

/* Pick what leads to the wanted value. */
static void aim(struct stage *s, const struct lane *l, const uint8_t *want) {
    const struct grammar *g = &s->r.g;
    int32_t edges[16];
    CHECK_EQ(s->rows.pass.picks, 1);
    CHECK(spell(g, l->node, want[l->field], edges) > 0);
    s->rows.pass.best[0] = edges[0] - g->nodes[l->node].edge0;
}

TEST(lane_answers_what_is_picked) {
    static const uint8_t colours[][3] = {{0, 0, 0},    {255, 255, 255}, {7, 25, 26},
                                         {1, 10, 100}, {250, 199, 2},   {16, 31, 240}};
    for (int grammar = RIG_DIGITS; grammar <= RIG_DEEP; grammar++) {
        static struct stage s;
        open_stage(&s, (enum rig_grammar)grammar, KIND_COLOUR, ENG_MODE, 0);
        for (size_t i = 0; i < ARRAY_LEN(colours); i++) {
            int32_t before = kv_used(&s.r.kv), branches = branch_missing_rows(s.j, (int32_t)i);
            struct lane *l = start(&s, (int32_t)i);
            do {
                put(&s, l);
                CHECK(held(l) == s.fed && s.fed <= s.j->lane_slots);
                aim(&s, l, colours[i]);
            } while (!lane_advance(&s.lanes, l, &s.rows));
            CHECK_MEM(l->answer.value, colours[i], 3);
            check_path(&s, l);
            if (grammar == RIG_WHOLE) CHECK_EQ(s.passes, 3);
            lane_free(&s.lanes, l);
            CHECK_EQ(kv_used(&s.r.kv), before + branches);
        }
        close_stage(&s);
    }
}

/* ---- numbers with their distribution ---- */

/* No row is fed twice, no more is held than was promised, and the chosen value stays on the
 * path. */
TEST(lane_explores_within_its_slots) {
    static const enum eng_estimate estimates[] = {ENG_MODE, ENG_MEDIAN, ENG_MEAN};
    static const double sharpness[] = {0, 3, 12};
    for (int grammar = RIG_DIGITS; grammar <= RIG_DEEP; grammar++)
        for (int c = 0; c < 9; c++) {
            static struct stage s;
            int32_t most_nodes = 0;
            open_stage(&s, (enum rig_grammar)grammar, KIND_COLOUR, estimates[c / 3], 1);
            s.dice = (uint64_t)(grammar * 9 + c) << 32;
            for (int32_t leaf = 0; leaf < 8; leaf++) {
                struct lane *l = start(&s, leaf);
                do {
                    put(&s, l);
                    CHECK(held(l) <= s.j->lane_slots);
                    if (l->n_nodes > most_nodes) most_nodes = l->n_nodes;
                    roll(&s, sharpness[c % 3]);
                } while (!lane_advance(&s.lanes, l, &s.rows));
                check_path(&s, l);
                for (int f = 0; f < 3; f++) {
                    /* A mean may be a value that was left out. */
                    CHECK(l->answer.prob[f] > 0 || estimates[c / 3] == ENG_MEAN);
                    CHECK(l->answer.prob[f] <= 1);
                    CHECK(l->answer.entropy[f] >= 0 && l->answer.entropy[f] <= 8);
                }
                lane_free(&s.lanes, l);
            }
            CHECK(most_nodes <= lane_explore_max(&s.r.g));
            CHECK((most_nodes > 0) == (grammar != RIG_WHOLE));
            close_stage(&s);
        }
}

/* The same answers, of numbers of one token and of several, but for the error that is stated. */
TEST(lane_states_its_error_as_calibrated) {
    static const enum rig_grammar grammars[] = {RIG_WHOLE, RIG_DIGITS};
    for (size_t i = 0; i < ARRAY_LEN(grammars); i++) {
        struct eng_answer plain = {0};
        for (int half = 0; half < 2; half++) {
            static struct stage s;
            open_stage(&s, grammars[i], KIND_COLOUR, ENG_MEDIAN, 1);
            s.dice = (uint64_t)i << 32;
            lane_clear(&s.lanes);
            if (half) kinds_calibrate(&s.kinds, KIND_COLOUR, 0.5);
            lane_init(&s.lanes, &s.kinds, &s.r.kv, 3, LANE_CHOICE_MAX + 1);
            struct lane *l = start(&s, 0);
            do {
                put(&s, l);
                roll(&s, 3);
            } while (!lane_advance(&s.lanes, l, &s.rows));
            if (!half) plain = l->answer;
            CHECK_MEM(l->answer.value, plain.value, 3);
            CHECK_MEM(l->answer.entropy, plain.entropy, sizeof plain.entropy);
            for (int f = 0; f < 3; f++) {
                CHECK(plain.mean_abs[f] > 1);
                CHECK_NEAR(l->answer.mean_abs[f], plain.mean_abs[f] * (half ? 0.5f : 1), 1e-5);
            }
            lane_free(&s.lanes, l);
            close_stage(&s);
        }
    }
}

TEST(lane_knows_what_exploring_takes) {
    static const struct {
        enum rig_grammar grammar;
        int32_t most;
    } want[] = {{RIG_DIGITS, 9 + 16}, {RIG_WHOLE, 0}, {RIG_PAIRS, 32}, {RIG_DEEP, 64}};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        struct rig r;
        rig_open(&r, want[i].grammar, &SIZES);
        CHECK_EQ(lane_explore_max(&r.g), want[i].most);
        CHECK(lane_can_walk(&r.g));
        struct grammar deep = r.g;
        deep.depth_max = LANE_DEPTH_MAX + 1;
        CHECK(!lane_can_walk(&deep));
        rig_close(&r);
    }
}

/* ---- choices ---- */

/* Every row is a pick of text, and the answer is the likelihood of the tail's tokens and the
 * end. */
TEST(lane_scores_a_choice_in_one_pass) {
    static struct stage s;
    open_stage(&s, RIG_WHOLE, KIND_CHOICE, ENG_MODE, 0);
    struct lane *l = start(&s, 5);
    const struct tree_leaf *leaf = &s.j->tree.leaves[5];
    CHECK_EQ(lane_text_picks(l), leaf->n);
    put(&s, l);
    CHECK_EQ(s.rows.pass.rows, leaf->n);
    double want = 0;
    for (int32_t i = 0; i < leaf->n; i++) {
        float *probs = s.rows.text.probs + i * WORDS;
        int32_t next = i + 1 < leaf->n ? leaf->ids[i + 1] : EOS;
        for (int k = 0; k < WORDS; k++)
            probs[k] = 0.25f;
        probs[next] = 0.5f / (float)(i + 1);
        want += log((double)probs[next]);
    }
    CHECK(lane_advance(&s.lanes, l, &s.rows));
    CHECK_NEAR(l->answer.logprob, want, 1e-5);
    lane_free(&s.lanes, l);
    close_stage(&s);
}

TEST(lane_runs_out_when_all_are_busy) {
    static struct stage s;
    open_stage(&s, RIG_WHOLE, KIND_COLOUR, ENG_MODE, 0);
    struct lane *l[3];
    for (int i = 0; i < 3; i++)
        l[i] = start(&s, i);
    CHECK_EQ(s.lanes.n_busy, 3);
    CHECK(!lane_new(&s.lanes, s.j, 3));
    put(&s, l[1]);
    CHECK(l[1]->n_path > 0);
    lane_free(&s.lanes, l[1]);
    l[1] = lane_new(&s.lanes, s.j, 3);
    CHECK(l[1] && l[1]->n_path == 0 && l[1]->leaf == 3); /* nothing is left of the one before */
    for (int i = 0; i < 3; i++)
        lane_free(&s.lanes, l[i]);
    close_stage(&s);
}
