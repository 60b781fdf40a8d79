/* test_grammar.c - every legal answer is one way through the tries and every way is a legal answer,
 * with whole numbers as tokens and with single digits; unfit tokenizers are refused by the text. */
#include "engine/answer/grammar.h"
#include "tests/unit/engine/text_rig.h"

static struct grammar *compile(const struct sptok *t, const struct grammar_spec *s) {
    struct grammar *g;
    struct err e = {0};
    if (grammar_new(t, s, &g, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return g;
}

/* From a field's root along the tokens of `text`; the leaf's value. */
static int walk(const struct grammar *g, const struct sptok *t, int field, const char *text,
                int flags) {
    int32_t ids[16], at = g->fields[field].root;
    size_t n;
    struct err e = {0};
    CHECK_EQ(sptok_encode(t, text, strlen(text), flags, ids, 16, &n, &e), 0);
    CHECK((int)n <= g->depth_max);
    for (size_t i = 0; i < n; i++) {
        const struct grammar_node *node = &g->nodes[at];
        int k = 0;
        while (k < node->edges && g->edges[node->edge0 + k].token != ids[i])
            k++;
        CHECK(k < node->edges);
        at = g->edges[node->edge0 + k].node;
    }
    CHECK_EQ(g->nodes[at].edges, 0);
    CHECK_EQ(g->nodes[at].value_lo, g->nodes[at].value_hi);
    return g->nodes[at].value_lo;
}

/* Below `at`: counts leaves, and checks bounds, order, columns and that parents bound children. */
static int leaves(const struct grammar *g, int32_t at, int depth) {
    const struct grammar_node *n = &g->nodes[at];
    CHECK(depth <= g->depth_max && n->value_lo <= n->value_hi);
    CHECK_EQ(n->set >= 0, n->edges > 1);
    if (!n->edges) return 1;
    int sum = 0, lo = 256, hi = -1;
    for (int k = 0; k < n->edges; k++) {
        const struct grammar_edge *edge = &g->edges[n->edge0 + k];
        const struct grammar_node *child = &g->nodes[edge->node];
        CHECK(k == 0 || edge[-1].token < edge->token);
        if (n->set >= 0) {
            CHECK_EQ(g->col_off[n->set + 1] - g->col_off[n->set], n->edges);
            CHECK_EQ(g->head_ids[g->cols[g->col_off[n->set] + k]], edge->token);
        }
        if (child->value_lo < lo) lo = child->value_lo;
        if (child->value_hi > hi) hi = child->value_hi;
        sum += leaves(g, edge->node, depth + 1);
    }
    CHECK(lo == n->value_lo && hi == n->value_hi);
    return sum;
}

static void check_grammar(const struct sptok *t, const struct grammar_spec *s) {
    struct grammar *g = compile(t, s);
    CHECK_EQ(g->n_fields, s->n_fields);
    for (int f = 0; f < s->n_fields; f++) {
        int values = s->fields[f].values;
        CHECK_EQ(leaves(g, g->fields[f].root, 0), values);
        for (int v = 0; v < values; v++) {
            char text[16];
            snprintf(text, sizeof text, "%d%s", v, s->fields[f].behind);
            CHECK_EQ(walk(g, t, f, text, f == 0 && !s->lead[0] ? SPTOK_PREFIX : 0), v);
        }
    }
    for (int i = 1; i < g->n_head; i++)
        CHECK(g->head_ids[i - 1] < g->head_ids[i]);
    CHECK_EQ(g->feed_max, g->n_lead + s->n_fields * g->depth_max);
    grammar_free(g);
}

static void check_all(const char *tokenizer) {
    struct sptok *t = text_open(tokenizer);
    check_grammar(t, &grammar_colour);
    check_grammar(t, &grammar_drive);
    check_grammar(t, &grammar_box);
    check_grammar(t, &grammar_bit);
    check_grammar(t, &grammar_shoot);
    struct grammar *g = compile(t, &grammar_colour);
    CHECK_EQ(g->n_lead, 1);
    CHECK_STR(sptok_piece(t, g->lead[0]), "\xe2\x96\x81[");
    grammar_free(g);
    g = compile(t, &grammar_bit); /* one choice, at the dummy space or behind it */
    CHECK_EQ(g->n_lead, 0);
    CHECK_EQ(g->n_head, 2);
    CHECK_EQ(g->n_sets, 1);
    grammar_free(g);
    sptok_close(t);
}

TEST(grammar_of_whole_numbers) {
    check_all(MINI_TOKENIZER);
    check_all("tests/golden/tiny/tokenizer.model");
}
TEST(grammar_of_single_digits) { check_all(DIGITS_TOKENIZER); }

/* "_0" and "_1" may be a piece or two, and one of each. */
TEST(grammar_of_bits_with_their_space) {
    for (int joined = 0; joined < 4; joined++) {
        struct buf b;
        struct sptok *t;
        struct err e = {0};
        proto_special(&b, 0);
        if (joined & 1)
            proto_piece(&b,
                        "\xe2\x96\x81"
                        "0",
                        -1, PIECE_NORMAL);
        if (joined & 2)
            proto_piece(&b,
                        "\xe2\x96\x81"
                        "1",
                        -2, PIECE_NORMAL);
        proto_piece(&b, "\xe2\x96\x81", -100, PIECE_NORMAL);
        proto_piece(&b, "0", -100, PIECE_NORMAL);
        proto_piece(&b, "1", -100, PIECE_NORMAL);
        proto_specs(&b, 2, 0, 0);
        CHECK_EQ(sptok_parse(b.p, b.len, &t, &e), 0);
        struct grammar *g = compile(t, &grammar_bit);
        const struct grammar_node *root = &g->nodes[g->fields[0].root];
        CHECK_EQ(root->edges, joined == 0 ? 1 : 2); /* the space alone is forced */
        CHECK_EQ(g->n_sets, 1);
        CHECK_EQ(g->depth_max, joined == 3 ? 1 : 2);
        check_grammar(t, &grammar_bit);
        grammar_free(g);
        sptok_close(t);
        buf_clear(&b);
    }
}

TEST(grammar_refuses_an_ambiguous_spelling) {
    static const struct grammar_spec bare = {
        "[", 1, {{21, ""}}}; /* is "1" the beginning of "10"? */
    struct sptok *t = text_open(DIGITS_TOKENIZER);
    struct grammar *g;
    struct err e = {0};
    CHECK_EQ(grammar_new(t, &bare, &g, &e), E_UNSUPPORTED);
    CHECK_HAS(e.text, "beginning");
    sptok_close(t);
}

/* LLaMA-2's way: a first digit of 3..9 has at most one more, "25" leaves 0..5, "0" and "26"
 * nothing. */
TEST(grammar_digits_know_the_bounds) {
    struct sptok *t = text_open(DIGITS_TOKENIZER);
    struct grammar *g = compile(t, &grammar_colour);
    CHECK_EQ(g->n_head, 12); /* ten digits, comma, bracket */
    CHECK_EQ(g->depth_max, 4);
    static const struct {
        const char *begin;
        int edges, lo, hi;
    } at[] = {{"", 10, 0, 255},  {"0", 1, 0, 0},      {"1", 11, 1, 199},
              {"2", 11, 2, 255}, {"3", 11, 3, 39},    {"25", 7, 25, 255},
              {"26", 1, 26, 26}, {"19", 11, 19, 199}, {"255", 1, 255, 255}};
    for (size_t i = 0; i < ARRAY_LEN(at); i++) {
        int32_t node = g->fields[0].root;
        for (const char *p = at[i].begin; *p; p++) {
            const char digit[] = {*p, '\0'};
            int k = 0;
            while (strcmp(sptok_piece(t, g->edges[g->nodes[node].edge0 + k].token), digit) != 0)
                CHECK(++k < g->nodes[node].edges);
            node = g->edges[g->nodes[node].edge0 + k].node;
        }
        CHECK_EQ(g->nodes[node].edges, at[i].edges);
        CHECK_EQ(g->nodes[node].value_lo, at[i].lo);
        CHECK_EQ(g->nodes[node].value_hi, at[i].hi);
    }
    grammar_free(g);
    sptok_close(t);
}

/* ---- tokenizers that won't do ---- */

static void unfit(struct buf *b, const char *words) {
    struct sptok *t;
    struct err e = {0};
    CHECK_EQ(sptok_parse(b->p, b->len, &t, &e), 0);
    struct grammar *g = (struct grammar *)(void *)b;
    CHECK_EQ(grammar_new(t, &grammar_colour, &g, &e), E_UNSUPPORTED);
    CHECK(g == NULL);
    CHECK_HAS(e.text, words);
    sptok_close(t);
    buf_clear(b);
}

static void add_singles(struct buf *b, const char *chars) {
    proto_piece(b, "\xe2\x96\x81", -100, PIECE_NORMAL);
    for (const char *p = chars; *p; p++)
        proto_piece(b, (const char[]){*p, '\0'}, -100, PIECE_NORMAL);
}

TEST(grammar_refuses_an_unfit_tokenizer) {
    struct buf b;
    proto_special(&b, 0); /* knows no 7 */
    add_singles(&b, "012345689[],");
    proto_specs(&b, 2, 0, 0);
    unfit(&b, "can't spell");
    proto_special(&b, 0); /* joins across the comma: "1,2" is one piece */
    proto_piece(&b, "1,", -2, PIECE_NORMAL);
    proto_piece(&b, "1,2", -1, PIECE_NORMAL);
    add_singles(&b, "0123456789[],");
    proto_specs(&b, 2, 0, 0);
    unfit(&b, "one after the other");
    proto_special(&b, 0); /* swallows the bracket in front: "[1" is one piece */
    proto_piece(&b, "[1", -1, PIECE_NORMAL);
    add_singles(&b, "0123456789[],");
    proto_specs(&b, 2, 0, 0);
    unfit(&b, "one after the other");
}

TEST(grammar_out_of_memory) {
    struct sptok *t = text_open(DIGITS_TOKENIZER);
    for (uint64_t i = 1;; i++) {
        struct grammar *g = NULL;
        struct err e = {0};
        mem_fail_at(i);
        int rc = grammar_new(t, &grammar_colour, &g, &e);
        mem_fail_at(0);
        if (!rc) {
            CHECK(i > 8);
            grammar_free(g);
            break;
        }
        CHECK_EQ(rc, E_NOMEM);
        CHECK(g == NULL);
        if (i > 200) i += i / 4; /* thousands of encodings, all alike */
    }
    sptok_close(t);
}
