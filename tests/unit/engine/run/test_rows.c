/* test_rows.c - the arrays of a pass: groups cover the rows, keys belong to their row, picks of two
 * heads are joined in order, and results are found again. */
#include "engine/run/rows.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/mem.h"
#include "tests/check.h"

/* Two sets of numbers, with 2 and 3 columns, and a vocabulary of 7 of which one is padding. */
enum { MAX = 12, KEYS = 5, STEMS = 2, VOCABULARY = 7 };
static int32_t col_off[] = {0, 2, 5, 11}, cols[] = {0, 3, 1, 2, 4, 0, 1, 2, 3, 4, 5};
static const struct kinds KINDS = {.n_text = VOCABULARY,
                                   .col_off = col_off,
                                   .cols = cols,
                                   .n_number_sets = 2,
                                   .text_set = 2,
                                   .max_number_set = 3};

static const struct model_head *head(int i) {
    static char heads[2];
    return (const struct model_head *)(const void *)&heads[i];
}

static void open_rows(struct rows *r) {
    rows_init(r, MAX, KEYS, STEMS, &KINDS, head(0), head(1));
    rows_begin(r);
}

TEST(rows_of_two_groups) {
    struct rows r;
    open_rows(&r);
    const struct model_pass *p = &r.pass;
    rows_open_group(&r, 40);
    rows_span(&r, 7, 3);
    rows_add(&r, 100, 3, 40);
    rows_add(&r, ~9, 4, 41);
    rows_close_group(&r);
    rows_open_group(&r, -1);
    rows_span(&r, 7, 3);
    rows_span(&r, 20, 2);
    const int32_t above[] = {50, 51}, own[] = {60, 61, 62};
    for (int i = 0; i < 3; i++) {
        rows_add(&r, 200 + i, 7 + i, own[i]);
        rows_keys(&r, above, 2);
        rows_keys(&r, own, i + 1);
    }
    rows_close_group(&r);
    rows_end(&r);
    CHECK(p->rows == 5 && p->n_groups == 2 && p->n_spans == 3 && p->picks == 0);
    const struct kern_attn_group want[] = {
        {.row0 = 0, .rows = 2, .spans = 1, .own_slot = 40},
        {.row0 = 2, .rows = 3, .span0 = 1, .spans = 2, .own_slot = -1}};
    CHECK_MEM(p->groups, want, sizeof want);
    CHECK(p->spans[2].slot == 20 && p->spans[2].len == 2);
    CHECK(p->src[1] == ~9 && p->pos[1] == 4 && p->slot[1] == 41);
    const int32_t off[] = {0, 0, 0, 3, 7, 12},
                  tail[] = {50, 51, 60, 50, 51, 60, 61, 50, 51, 60, 61, 62};
    CHECK_MEM(p->tail_off, off, sizeof off);
    CHECK_MEM(p->tail, tail, sizeof tail);
    rows_clear(&r);
}

static void write_row(struct rows *r, int32_t i) { rows_add(r, 100 + i, i, i); }

/* Numbers and text in turn: each head counts its own picks, the pass has one head behind the
 * other. */
TEST(rows_join_the_picks_of_two_heads) {
    struct rows r;
    open_rows(&r);
    const struct model_pass *p = &r.pass;
    r.text.has_probs = 1;
    rows_open_group(&r, -1);
    write_row(&r, 0);
    CHECK_EQ(rows_pick(&r, 1), 0);
    write_row(&r, 1);
    CHECK_EQ(rows_pick_text(&r), 0);
    write_row(&r, 2);
    write_row(&r, 3);
    CHECK_EQ(rows_pick_text(&r), 1);
    CHECK_EQ(rows_pick(&r, 0), 1); /* two heads at one row */
    write_row(&r, 4);
    CHECK_EQ(rows_pick(&r, 1), 2);
    rows_close_group(&r);
    rows_end(&r);
    const int32_t row[] = {0, 3, 4, 1, 3}, set[] = {1, 0, 1, 2, 2};
    CHECK_EQ(p->picks, 5);
    CHECK_MEM(p->pick_row, row, sizeof row);
    CHECK_MEM(p->pick_set, set, sizeof set);
    CHECK_EQ(p->n_pick_groups, 2);
    const struct model_pick_group *g = p->pick_groups;
    CHECK(g[0].head == head(0) && g[0].pick0 == 0 && g[0].picks == 3 && !g[0].probs);
    CHECK(g[1].head == head(1) && g[1].pick0 == 3 && g[1].picks == 2 && g[1].probs);
    CHECK(g[0].ldp == 3 && g[1].ldp == VOCABULARY);
    CHECK_EQ(p->n_sets, 3);
    for (int i = 0; i < 5; i++)
        p->best[i] = 70 + i;
    for (int i = 0; i < 2 * VOCABULARY; i++)
        g[1].probs[i] = (float)i;
    CHECK_EQ(*rows_result(&r, 0, 1).best, 71);
    CHECK(!rows_result(&r, 0, 1).probs);
    struct rows_result text = rows_result(&r, 1, 1);
    CHECK(*text.best == 74 && text.ldp == VOCABULARY && text.probs[2] == VOCABULARY + 2);
    rows_clear(&r);
}

/* A pass without text does not carry the vocabulary's set, and nothing is left of the pass
 * before. */
TEST(rows_begin_anew) {
    struct rows r;
    open_rows(&r);
    r.text.has_probs = r.numbers.has_probs = 1;
    rows_open_group(&r, -1);
    write_row(&r, 0);
    rows_keys(&r, (int32_t[]){1, 2}, 2);
    CHECK_EQ(rows_pick_text(&r), 0);
    rows_close_group(&r);
    rows_end(&r);
    rows_begin(&r);
    rows_open_group(&r, -1);
    write_row(&r, 5);
    CHECK_EQ(rows_pick(&r, 1), 0);
    rows_close_group(&r);
    rows_end(&r);
    const struct model_pass *p = &r.pass;
    CHECK(p->rows == 1 && p->n_groups == 1 && p->n_spans == 0 && p->picks == 1);
    CHECK(p->n_pick_groups == 1 && p->pick_groups[0].head == head(0) && !p->pick_groups[0].probs);
    CHECK(p->src[0] == 105 && p->tail_off[1] == 0);
    CHECK_EQ(p->n_sets, 2);
    rows_clear(&r);
}

/* What does not fit the sizes of rows_init is a bug, and stops at once. */
TEST(rows_stop_at_their_sizes) {
    enum { GOOD, ROWS, PRIVATE_KEYS, SET, TEXT_PICKS, CASES };
    static int32_t many[ROWS_TEXT_PICKS * ROWS_TEXT_KEYS + MAX * KEYS + 1];
    for (int c = GOOD; c < CASES; c++) {
        fflush(stdout);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            struct rows r;
            (void)signal(SIGABRT, SIG_DFL);
            CHECK(freopen("/dev/null", "w", stderr) != NULL);
            open_rows(&r);
            rows_open_group(&r, -1);
            for (int i = 0; i < MAX + (c == ROWS); i++)
                write_row(&r, i);
            rows_keys(&r, many, (int32_t)ARRAY_LEN(many) - (c != PRIVATE_KEYS));
            rows_pick(&r, c == SET ? KINDS.text_set : KINDS.text_set - 1);
            for (int i = 0; i < ROWS_TEXT_PICKS + (c == TEXT_PICKS); i++)
                rows_pick_text(&r);
            _exit(0);
        }
        int status;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(WIFEXITED(status) ? 0 : WTERMSIG(status), c == GOOD ? 0 : SIGABRT);
    }
}
