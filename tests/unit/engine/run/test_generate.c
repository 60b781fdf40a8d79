/* test_generate.c - choosing tokens and spelling their text, with probabilities made up. */
#include "engine/run/generate.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "tests/unit/engine/text_rig.h"

/* A job that generates text, without an engine around it. */
struct talk {
    struct sptok *tok;
    struct kinds *kinds;
    struct eng_job job;
    struct job_text text;
    float *probs;
    int32_t best, *by_prob;
};

static void open_talk(struct talk *t, const struct eng_generate *how) {
    struct err e = {0};
    memset(t, 0, sizeof *t);
    t->tok = text_open(MINI_TOKENIZER);
    if (kinds_new(t->tok, sptok_size(t->tok) + 3, &t->kinds, &e))
        test_failed(__FILE__, __LINE__, "%s", e.text);
    struct job_text *s = &t->text;
    size_t n = how->max_tokens;
    s->how = *how;
    s->cap = generate_text_cap(t->kinds, how->max_tokens);
    s->ids = mem_must(n * sizeof s->ids[0]);
    s->tokens = mem_must(n * sizeof s->tokens[0]);
    s->utf8 = mem_must(s->cap);
    s->scratch = mem_must(s->cap);
    t->job.text = s;
    t->probs = mem_must((size_t)t->kinds->n_text * sizeof t->probs[0]);
    t->by_prob = mem_must((size_t)t->kinds->n_text * sizeof t->by_prob[0]);
}

static void close_talk(struct talk *t) {
    void *all[] = {t->text.ids,     t->text.tokens, t->text.utf8,
                   t->text.scratch, t->probs,       t->by_prob};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        mem_free(all[i]);
    kinds_free(t->kinds);
    sptok_close(t->tok);
}

/* The model is sure of this token. */
static int32_t feed(struct talk *t, int32_t id) {
    for (int i = 0; i < t->kinds->n_text; i++)
        t->probs[i] = 0;
    t->probs[id] = 1;
    t->best = id;
    struct rows_result r = {&t->best, t->probs, t->kinds->n_text};
    return generate_next(t->kinds, &t->job, r, t->by_prob);
}

static int32_t byte_piece(const struct talk *t, int byte) {
    for (int32_t i = 0; i < sptok_size(t->tok); i++)
        if (sptok_byte(t->tok, i) == byte) return i;
    return -1;
}

static void check_text(const struct talk *t, const char *text) {
    CHECK_EQ(t->text.len, strlen(text));
    CHECK_MEM(t->text.utf8, text, strlen(text));
}

TEST(generate_shows_complete_characters) {
    struct talk t;
    open_talk(&t, &(struct eng_generate){.max_tokens = 20});
    int32_t ids[4];
    size_t n;
    CHECK_EQ(sptok_encode(t.tok, "dog", 3, SPTOK_PREFIX, ids, 4, &n, NULL), 0);
    CHECK_EQ(n, 1);
    CHECK_EQ(feed(&t, ids[0]), ids[0]);
    check_text(&t, "dog"); /* without the dummy space */
    CHECK_EQ(feed(&t, ids[0]), ids[0]);
    check_text(&t, "dog dog");
    static const unsigned char euro[] = {0xe2, 0x82, 0xac};
    for (int i = 0; i < 3; i++) {
        CHECK(feed(&t, byte_piece(&t, euro[i])) >= 0);
        check_text(&t, i < 2 ? "dog dog" : "dog dog\xe2\x82\xac");
    }
    feed(&t, byte_piece(&t, 0xc3)); /* begun, and never ended */
    check_text(&t, "dog dog\xe2\x82\xac");
    feed(&t, byte_piece(&t, 'x'));
    check_text(&t, "dog dog\xe2\x82\xac\xef\xbf\xbdx");
    feed(&t, byte_piece(&t, 0xf0));
    check_text(&t, "dog dog\xe2\x82\xac\xef\xbf\xbdx");
    CHECK_EQ(feed(&t, sptok_eos(t.tok)), -1); /* at the end what is left is shown as it is */
    check_text(&t, "dog dog\xe2\x82\xac\xef\xbf\xbdx\xef\xbf\xbd");
    CHECK_EQ(t.text.finish, ENG_STOPPED);
    CHECK_EQ(t.job.n_answers, 8);
    CHECK_EQ(t.text.tokens[1].end, 7);
    close_talk(&t);
}

TEST(generate_has_no_nul) {
    struct talk t;
    open_talk(&t, &(struct eng_generate){.max_tokens = 4});
    feed(&t, byte_piece(&t, 'a'));
    feed(&t, byte_piece(&t, 0));
    feed(&t, byte_piece(&t, 0));
    feed(&t, byte_piece(&t, 'b'));
    check_text(&t, "a  b");
    close_talk(&t);
}

TEST(generate_is_cut_at_its_length) {
    struct talk t;
    open_talk(&t, &(struct eng_generate){.max_tokens = 2});
    CHECK_EQ(feed(&t, 300), 300);
    CHECK_EQ(t.text.finish, ENG_GOES_ON);
    CHECK_EQ(feed(&t, 301), -1);
    CHECK_EQ(t.text.finish, ENG_CUT);
    CHECK_EQ(t.job.n_answers, 2);
    close_talk(&t);
    open_talk(&t, &(struct eng_generate){.max_tokens = 2});
    CHECK_EQ(feed(&t, sptok_eos(t.tok)), -1); /* an empty answer */
    CHECK_EQ(t.job.n_answers, 0);
    check_text(&t, "");
    close_talk(&t);
}

TEST(generate_reports_the_likeliest) {
    struct talk t;
    open_talk(&t, &(struct eng_generate){.max_tokens = 4});
    static const float p[] = {0.05f, 0.4f, 0.1f, 0.1f, 0.2f, 0.15f};
    for (int i = 0; i < 6; i++)
        t.probs[400 + i] = p[i];
    t.best = 401;
    struct rows_result r = {&t.best, t.probs, t.kinds->n_text};
    CHECK_EQ(generate_next(t.kinds, &t.job, r, t.by_prob), 401);
    /* a tie: the lower id first */
    static const int32_t want[] = {401, 404, 405, 402, 403, 400, 0, 1, 2};
    const struct eng_token *k = &t.text.tokens[0];
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        CHECK_EQ(k->top[i], want[i]);
    for (int i = 0; i < 6; i++)
        CHECK_NEAR(k->top_logprob[i], log((double)t.probs[want[i]]), 1e-6);
    CHECK(k->top[ENG_TOP - 1] >= 0);
    CHECK_NEAR(k->logprob, log(0.4), 1e-6);
    close_talk(&t);
}

/* Sampled as often as they should be, among those alone that together have top_p, which is counted
 * behind the temperature: a low one leaves fewer tokens, a high one more. */
TEST(generate_samples_by_probability) {
    enum { SAMPLES = 4000 };
    static const float p[] = {0.5f, 0.3f, 0.15f, 0.05f};
    static const struct {
        float temperature, top_p;
        double want[4];
    } cases[] = {
        {1, 1, {0.5, 0.3, 0.15, 0.05}},
        {1, 0, {0.5, 0.3, 0.15, 0.05}}, /* 0 is 1 */
        {1, 0.7f, {0.625, 0.375, 0, 0}},
        {1, 0.1f, {1, 0, 0, 0}},
        {0.5f, 1, {0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365}},
        {0.5f, 0.6f, {1, 0, 0, 0}},             /* 0.25 / 0.365 have it; at 1 it takes two */
        {2, 0.8f, {0.4306, 0.3335, 0.2359, 0}}, /* roots; at 1 it takes two */
    };
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        struct talk t;
        int count[4] = {0};
        open_talk(&t, &(struct eng_generate){.max_tokens = 1,
                                             .temperature = cases[c].temperature,
                                             .top_p = cases[c].top_p});
        for (int i = 0; i < 4; i++)
            t.probs[500 + 7 * i] = p[i];
        t.best = 500;
        struct rows_result r = {&t.best, t.probs, t.kinds->n_text};
        for (int i = 0; i < SAMPLES; i++) {
            t.text.how.seed = (uint64_t)i;
            t.text.n = t.job.n_answers = 0;
            t.text.len = 0;
            t.text.finish = ENG_GOES_ON;
            (void)generate_next(t.kinds, &t.job, r, t.by_prob);
            int32_t id = t.text.ids[0];
            CHECK(id >= 500 && id <= 521 && (id - 500) % 7 == 0);
            count[(id - 500) / 7]++;
        }
        for (int i = 0; i < 4; i++) { /* five deviations of a count */
            double sd = sqrt(cases[c].want[i] * (1 - cases[c].want[i]) / SAMPLES);
            CHECK_NEAR((double)count[i] / SAMPLES, cases[c].want[i], 5 * sd + 1e-9);
        }
        close_talk(&t);
    }
}

TEST(generate_scores_a_choice) {
    struct talk t;
    open_talk(&t, &(struct eng_generate){.max_tokens = 1});
    int n = t.kinds->n_text;
    float *rows = mem_must(3 * (size_t)n * sizeof rows[0]);
    int32_t ids[] = {300, 301};
    rows[300] = 0.5f;
    rows[n + 301] = 0.25f;
    rows[2 * n + sptok_eos(t.tok)] = 0.125f;
    struct rows_result r = {&t.best, rows, n};
    CHECK_NEAR(generate_score(t.kinds, ids, 2, r), log(0.5 * 0.25 * 0.125), 1e-9);
    rows[n + 301] = 0; /* an underflow is very unlikely, not impossible */
    double low = generate_score(t.kinds, ids, 2, r);
    CHECK(isfinite(low) && low < -80);
    mem_free(rows);
    close_talk(&t);
}
