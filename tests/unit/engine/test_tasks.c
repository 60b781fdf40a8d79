/* test_tasks.c - every task of docs/model.md section 4.3, held against one prompt at a time through
 * the model (alone.h); alone, all at once, and twice. On the default model, and on those of random
 * weights, which generate more than the end of text but are too short for some prompts.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/engine/alone.h"
#include "tests/unit/engine/eng_rig.h"

enum { PICTURES = 4, PLACES = 48, TOKENS = 12 };

static const char *const choices[] = {"a dog", "yes", "no", "2"};

struct scene {
    struct eng *e;
    struct alone *a;
    struct eng_picture *picture[PICTURES];
    struct eng_point points[PLACES];
};

static void open_scene(struct scene *s, const char *dir) {
    struct err err = {0};
    struct eng_options o = {.model = dir, .device = eng_rig_backend(), .threads = 2};
    if (eng_open(&o, &s->e, &err)) test_failed(__FILE__, __LINE__, "%s", err.text);
    s->a = alone_open(dir);
    for (int i = 0; i < PICTURES; i++) {
        int w, h;
        uint8_t *rgb = eng_rig_pixels(i + 1, &w, &h);
        CHECK_EQ(eng_picture_new(s->e, rgb, w, h, &s->picture[i], NULL), 0);
        alone_see(s->a, rgb, w, h, i);
        mem_free(rgb);
    }
    int grid = eng_info(s->e)->grid;
    for (int i = 0; i < PLACES; i++)
        s->points[i] = (struct eng_point){(uint16_t)(i * 23 % grid), (uint16_t)(i * 41 % grid)};
}

static void close_scene(struct scene *s) {
    for (int i = 0; i < PICTURES; i++)
        eng_picture_put(s->picture[i]);
    alone_close(s->a);
    eng_close(s->e);
}

static struct eng_job *submit(struct scene *s, const struct eng_ask *ask) {
    struct eng_job *j;
    struct err e = {0};
    if (eng_submit(s->e, ask, &j, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return j;
}

static void wait_end(struct eng_job *j) {
    uint32_t seen = 0;
    while (eng_job_state(j) < ENG_DONE) {
        CHECK_EQ(eng_job_wait(j, seen, UINT64_MAX), 0);
        seen = UINT32_MAX; /* for the end */
    }
    if (eng_job_state(j) != ENG_DONE) printf("job: %s\n", eng_job_error(j)->text);
    CHECK_EQ(eng_job_state(j), ENG_DONE);
}

static void prompt_of(const struct scene *s, const struct eng_ask *ask, struct prompt *p) {
    struct err e = {0};
    if (prompt_ask(model_config(s->a->m), s->a->tok, ask, p, &e))
        test_failed(__FILE__, __LINE__, "%s", e.text);
}

/* ---- answers in numbers ---- */

/* `pattern` with n numbers in it, legal 0 .. values-1 each, one greedy pick after the other. */
static void alone_numbers(struct alone *a, const struct prompt *p, const char *pattern, int n,
                          int values, uint8_t *out) {
    char(*texts)[64] = mem_must((size_t)values * sizeof *texts);
    const char **legal = mem_must((size_t)values * sizeof *legal);
    int v[4] = {0};
    for (int f = 0; f < n; f++) {
        for (v[f] = 0; v[f] < values; v[f]++) {
            (void)snprintf(texts[v[f]], sizeof texts[0], pattern, v[0], v[1], v[2], v[3]);
            legal[v[f]] = texts[v[f]];
        }
        v[f] = alone_pick(a, p, legal, values);
        out[f] = (uint8_t)v[f];
    }
    mem_free(texts);
    mem_free(legal);
}

static void check_numbers(struct scene *s, const struct eng_ask *ask, const struct eng_job *j,
                          const char *pattern, int n, int values) {
    struct prompt *p = mem_must(sizeof *p);
    uint8_t want[4] = {0};
    uint32_t ready;
    const struct eng_answer *a = eng_job_answers(j, &ready);
    CHECK_EQ(ready, 1);
    prompt_of(s, ask, p);
    alone_numbers(s->a, p, pattern, n, values, want);
    for (int f = 0; f < n; f++)
        CHECK_EQ(a->value[f], want[f]);
    mem_free(p);
}

static void check_mask(struct scene *s, const struct eng_ask *ask, const struct eng_job *j) {
    static const char *const bits[] = {"0", "1"};
    struct prompt *p = mem_must(sizeof *p);
    uint32_t n;
    const struct eng_answer *a = eng_job_answers(j, &n);
    CHECK_EQ(n, ask->n_points);
    for (uint32_t i = 0; i < n; i++) {
        const struct eng_point *at = &ask->points[a[i].point];
        CHECK_EQ(prompt_mask(model_config(s->a->m), s->a->tok, ask->text, at->x, at->y, p, NULL),
                 0);
        CHECK_EQ(a[i].value[0], alone_pick(s->a, p, bits, 2));
        CHECK(a[i].prob[0] >= 0.5f && a[i].prob[0] <= 1);
    }
    mem_free(p);
}

/* ---- answers in text ---- */

static void check_text(struct scene *s, const struct eng_ask *ask, const struct eng_job *j) {
    struct prompt *p = mem_must(sizeof *p);
    int32_t want[TOKENS];
    uint32_t n;
    size_t len, want_len;
    char text[TOKENS * 64];
    const struct eng_token *t = eng_job_tokens(j, &n);
    prompt_of(s, ask, p);
    int image_tokens = eng_info(s->e)->image_tokens;
    CHECK_EQ(eng_job_prompt_tokens(j), p->n + (int)ask->n_pictures * (image_tokens - 1));
    CHECK_EQ(n, alone_generate(s->a, p, TOKENS, want));
    CHECK_EQ(eng_job_finish(j), n == TOKENS ? ENG_CUT : ENG_STOPPED);
    for (uint32_t i = 0; i < n; i++) {
        CHECK_EQ(t[i].id, want[i]);
        CHECK_EQ(t[i].top[0], want[i]); /* greedy */
        CHECK(t[i].logprob == t[i].top_logprob[0] && t[i].logprob >= t[i].top_logprob[1]);
        CHECK(i == 0 || t[i].end >= t[i - 1].end);
    }
    const char *got = eng_job_text(j, &len);
    CHECK_EQ(sptok_decode(s->a->tok, want, n, text, sizeof text, &want_len, NULL), 0);
    CHECK_EQ(len, want_len);
    CHECK_MEM(got, text, len);
    mem_free(p);
}

static void check_choices(struct scene *s, const struct eng_ask *ask, const struct eng_job *j) {
    struct prompt *p = mem_must(sizeof *p);
    uint32_t n;
    const struct eng_answer *a = eng_job_answers(j, &n);
    CHECK_EQ(n, ask->n_choices);
    prompt_of(s, ask, p);
    for (uint32_t i = 0; i < n; i++) {
        double want = alone_score(s->a, p, ask->choices[a[i].point]);
        CHECK_NEAR(a[i].logprob, want, 1e-3 * fabs(want));
    }
    mem_free(p);
}

/* ---- all of them ---- */

enum {
    MASK,
    BOX,
    DRIVE,
    SHOOT,
    IDENTIFY,
    CAPTION,
    GROUNDING,
    DETECTION,
    VQA,
    CHOICE,
    CHAT,
    TALK,
    TWO,
    PIXELS,
    ASKS
};

static void make_asks(struct scene *s, struct eng_ask *ask) {
    static const struct eng_turn chat[] = {
        {1, "[vqa] what is this?", "a dog"}, {0, "and where?", "left"}, {2, "is it here?", NULL}};
    static const struct eng_turn talk[] = {{0, "hello\nyou", NULL}};
    static const struct eng_turn two[] = {{2, "which one is bigger?", NULL}};
    struct eng_generate brief = {.max_tokens = TOKENS};
    for (int i = 0; i < ASKS; i++)
        ask[i] = (struct eng_ask){
            .pictures = s->picture, .n_pictures = 1, .generate = brief, .urgency = ENG_ANSWER};
    ask[MASK].task = ENG_SEGMENT, ask[MASK].text = "the brown dog on the left";
    ask[MASK].points = s->points, ask[MASK].n_points = PLACES, ask[MASK].urgency = ENG_MASK;
    ask[BOX].task = ENG_REFER, ask[BOX].text = "the red ball";
    ask[DRIVE].task = ENG_DRIVE, ask[DRIVE].n_pictures = 2, ask[DRIVE].urgency = ENG_ACT;
    ask[SHOOT].task = ENG_SHOOT, ask[SHOOT].n_pictures = 4, ask[SHOOT].urgency = ENG_ACT;
    ask[IDENTIFY].task = ENG_IDENTIFY;
    memcpy(ask[IDENTIFY].box, (int[]){3, 0, 100, 77}, sizeof ask->box);
    ask[CAPTION].task = ENG_CAPTION;
    ask[GROUNDING].task = ENG_GROUNDING;
    ask[DETECTION].task = ENG_DETECTION, ask[DETECTION].text = "a dog";
    ask[VQA].task = ENG_VQA, ask[VQA].text = "how many are there?";
    ask[CHOICE].task = ENG_VQA, ask[CHOICE].text = "what is it?";
    ask[CHOICE].choices = choices, ask[CHOICE].n_choices = ARRAY_LEN(choices);
    ask[CHAT].task = ENG_CHAT, ask[CHAT].turns = chat, ask[CHAT].n_turns = 3;
    ask[CHAT].n_pictures = 3;
    ask[TALK].task = ENG_CHAT, ask[TALK].turns = talk, ask[TALK].n_turns = 1;
    ask[TALK].n_pictures = 0;
    ask[TWO].task = ENG_CHAT, ask[TWO].turns = two, ask[TWO].n_turns = 1, ask[TWO].n_pictures = 2;
    ask[PIXELS].points = s->points, ask[PIXELS].n_points = PLACES;
    ask[PIXELS].urgency = ENG_PICTURE;
}

static void check_answer(struct scene *s, int i, const struct eng_ask *ask,
                         const struct eng_job *j) {
    switch (i) {
    case MASK: check_mask(s, ask, j); break;
    case BOX: check_numbers(s, ask, j, "{<%d><%d><%d><%d>}", 4, 101); break;
    case DRIVE: check_numbers(s, ask, j, "[%d,%d,%d]", 3, 21); break;
    case SHOOT: check_numbers(s, ask, j, "%d", 1, 6); break;
    case CHOICE: check_choices(s, ask, j); break;
    case PIXELS: break; /* test_engine_mini.c's */
    default: check_text(s, ask, j);
    }
}

/* Do two jobs of one ask have the same answers, bit by bit? */
static void check_same(const struct eng_job *a, const struct eng_job *b) {
    uint32_t n, m;
    size_t len, len_b;
    const struct eng_answer *x = eng_job_answers(a, &n), *y = eng_job_answers(b, &m);
    CHECK_EQ(n, m);
    for (uint32_t i = 0; i < n; i++) { /* found in another order, maybe */
        uint32_t k = 0;
        while (k < n && y[k].point != x[i].point)
            k++;
        CHECK(k < n);
        CHECK_MEM(x[i].value, y[k].value, sizeof x->value);
        CHECK_MEM(x[i].prob, y[k].prob, sizeof x->prob);
        CHECK(x[i].logprob == y[k].logprob);
    }
    const struct eng_token *t = eng_job_tokens(a, &n), *u = eng_job_tokens(b, &m);
    CHECK_EQ(n, m);
    for (uint32_t i = 0; i < n; i++)
        CHECK(t[i].id == u[i].id && t[i].logprob == u[i].logprob);
    const char *text = eng_job_text(a, &len), *other = eng_job_text(b, &len_b);
    CHECK_EQ(len, len_b);
    CHECK_MEM(text, other, len);
}

/* NULL where the prompt is longer than the model. */
static struct eng_job *try_submit(struct scene *s, const struct eng_ask *ask) {
    struct eng_job *j;
    struct err e = {0};
    int rc = eng_submit(s->e, ask, &j, &e);
    if (rc && rc != E_TOO_BIG) test_failed(__FILE__, __LINE__, "%s", e.text);
    return j;
}

static void check_tasks(const char *dir, int least, uint64_t tokens) {
    struct scene s;
    struct eng_ask ask[ASKS];
    struct eng_job *one[ASKS], *together[ASKS];
    int n = 0;
    open_scene(&s, dir);
    make_asks(&s, ask);
    for (int i = 0; i < ASKS; i++) {
        one[i] = try_submit(&s, &ask[i]);
        if (!one[i]) continue;
        wait_end(one[i]);
        check_answer(&s, i, &ask[i], one[i]);
        n++;
    }
    CHECK(n >= least);
    for (int i = 0; i < ASKS; i++) /* warm, all at once, in passes that mix them */
        together[i] = try_submit(&s, &ask[i]);
    for (int i = 0; i < ASKS; i++) {
        if (!one[i]) continue;
        wait_end(together[i]);
        check_same(one[i], together[i]);
        eng_job_put(one[i]);
        eng_job_put(together[i]);
    }
    struct eng_stats st;
    eng_rig_idle(s.e, &st);
    CHECK_EQ(st.allocations_in_step, 0);
    CHECK_EQ(st.kv_used, 0);
    CHECK(st.pictures <= PICTURES); /* seen once each, wherever they stood */
    CHECK_EQ(st.answers[ENG_SEGMENT], 2 * PLACES);
    CHECK(st.tokens >= tokens);
    close_scene(&s);
}

TEST_LIMIT(tasks_answer_as_one_prompt_alone, 180) { check_tasks(MINI, ASKS, 0); }
TEST_LIMIT(tasks_of_a_random_model, 120) { check_tasks(TINY, 7, 2 * 3 * TOKENS); }
TEST_LIMIT(tasks_of_a_random_model_with_digits, 120) {
    check_tasks(TINY_DIGITS, 6, 2 * 2 * TOKENS);
}

/* A seed gives the same text every time, and some other seed gives another one. */
TEST_LIMIT(tasks_sample_by_seed, 60) {
    struct scene s;
    open_scene(&s, TINY);
    struct eng_job *same[2], *other = NULL;
    struct eng_ask ask = {.task = ENG_IDENTIFY,
                          .pictures = s.picture,
                          .n_pictures = 1,
                          .generate = {.max_tokens = 20, .temperature = 1, .seed = 5}};
    for (int i = 0; i < 2; i++) {
        same[i] = submit(&s, &ask);
        wait_end(same[i]);
    }
    check_same(same[0], same[1]);
    int differs = 0;
    for (int seed = 6; seed < 12 && !differs; seed++) {
        uint32_t n, m;
        ask.generate.seed = (uint64_t)seed;
        other = submit(&s, &ask);
        wait_end(other);
        const struct eng_token *t = eng_job_tokens(same[0], &n), *u = eng_job_tokens(other, &m);
        differs = n != m;
        for (uint32_t i = 0; i < n && !differs; i++)
            differs = t[i].id != u[i].id;
        eng_job_put(other);
    }
    CHECK(differs);
    ask.generate.top_p = 1e-6f; /* nothing but the likeliest */
    other = submit(&s, &ask);
    ask.generate.temperature = 0;
    struct eng_job *greedy = submit(&s, &ask);
    wait_end(other);
    wait_end(greedy);
    check_same(other, greedy);
    eng_job_put(other);
    eng_job_put(greedy);
    eng_job_put(same[0]);
    eng_job_put(same[1]);
    close_scene(&s);
}

static void refuse(struct scene *s, struct eng_ask ask, int code, const char *text) {
    struct eng_job *j;
    struct err e = {0};
    CHECK_EQ(eng_submit(s->e, &ask, &j, &e), code);
    CHECK_EQ(e.code, code);
    CHECK_HAS(e.text, text);
    CHECK(j == NULL);
}

/* The truth may be larger than the grid; the picture is the same. */
TEST(tasks_pictures_with_a_larger_truth) {
    struct eng *e = eng_rig_open(&(struct eng_options){.model = TINY});
    int w, h;
    uint8_t *rgb = eng_rig_pixels(2, &w, &h);
    struct eng_picture *plain = eng_rig_picture(e, 2), *large, *same;
    struct eng_intake *in;
    enum { SIDE = 3 * ENG_RIG_GRID };
    CHECK_EQ(eng_intake_open(e, w, h, 1, SIDE, &in, NULL), 0);
    for (int y = 0; y < h; y++)
        eng_intake_row(in, rgb + 3 * (size_t)(y * w));
    CHECK_EQ(eng_intake_close(in, &large, NULL), 0);
    CHECK_STR(eng_picture_digest(large), eng_picture_digest(plain));
    /* A picture of that size alone is its own truth. */
    CHECK_EQ(eng_intake_open(e, SIDE, SIDE, 1, SIDE, &in, NULL), 0);
    for (int y = 0; y < SIDE; y++)
        eng_intake_row(in, eng_picture_truth(large) + 3 * (size_t)(y * SIDE));
    CHECK_EQ(eng_intake_close(in, &same, NULL), 0);
    CHECK_MEM(eng_picture_truth(same), eng_picture_truth(large), 3 * SIDE * SIDE);
    CHECK_EQ(eng_intake_open(e, w, h, 1, -1, &in, NULL), E_INVALID);
    CHECK_EQ(eng_intake_open(e, w, h, 1, ENG_TRUTH_MAX + 1, &in, NULL), E_INVALID);
    CHECK(!in);
    mem_free(rgb);
    eng_picture_put(plain);
    eng_picture_put(large);
    eng_picture_put(same);
    eng_close(e);
}

TEST(tasks_refuse_bad_asks) {
    struct scene s;
    open_scene(&s, MINI);
    static char long_text[10001];
    memset(long_text, 'a', 10000);
    struct eng_ask ok = {
        .task = ENG_REFER, .pictures = s.picture, .n_pictures = 1, .text = "a dog"};
    struct eng_ask a = ok;
    static const struct {
        const char *text, *why;
        int code;
    } texts[] = {
        {"", "empty", E_INVALID},
        {"   ", "empty", E_INVALID},
        {NULL, "empty", E_INVALID},
        {long_text, "10000 bytes, at most 4000", E_TOO_BIG},
        {"a\ndog", "control character (0x0a)", E_INVALID},
        {"a\x7f", "control character (0x7f)", E_INVALID},
        {"a\xc2\x85", "control character (0x85)", E_INVALID},
        {"a\xff", "not UTF-8", E_INVALID},
        {"a\xed\xa0\x80", "not UTF-8", E_INVALID},
        {"a\xe2\x82", "not UTF-8", E_INVALID},
        {"a [/INST] b", "[/INST]", E_INVALID},
        {"<Img>", "<Img>", E_INVALID},
        {"[vqa] x", "[vqa]", E_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        a.text = texts[i].text;
        for (int t = 0; t < 3; t++) {
            a.task = (enum eng_task[]){ENG_REFER, ENG_SEGMENT, ENG_VQA}[t];
            a.points = s.points, a.n_points = 1;
            refuse(&s, a, texts[i].code, texts[i].why);
        }
    }
    a = ok, a.n_pictures = 0, refuse(&s, a, E_INVALID, "0 pictures, the task takes 1");
    a = ok, a.n_pictures = 2, refuse(&s, a, E_INVALID, "2 pictures");
    a = ok, a.task = ENG_DRIVE, a.text = NULL, refuse(&s, a, E_INVALID, "the task takes 2");
    a = ok, a.task = ENG_SHOOT, a.text = NULL, refuse(&s, a, E_INVALID, "the task takes 4");
    a = ok, a.task = ENG_TASKS, refuse(&s, a, E_INVALID, "no such task");
    a = ok, a.task = ENG_IDENTIFY, refuse(&s, a, E_INVALID, "takes no text");
    a = ok, a.task = ENG_IDENTIFY, a.text = NULL, a.box[0] = 101;
    refuse(&s, a, E_INVALID, "0..100, not 101");
    a.box[0] = 50, a.box[2] = 49, refuse(&s, a, E_INVALID, "ends before it begins");
    a = ok, a.task = ENG_SEGMENT, refuse(&s, a, E_INVALID, "no points");
    a.points = (struct eng_point[]){{64, 0}}, a.n_points = 1;
    refuse(&s, a, E_INVALID, "outside the 64 x 64 grid");
    const char *same[] = {"a", "b", "a"}, *blank[] = {"a", ""}, *many[ENG_CHOICES_MAX + 1];
    a = ok, a.choices = same, a.n_choices = 3, refuse(&s, a, E_INVALID, "has no choices");
    a.task = ENG_VQA, refuse(&s, a, E_INVALID, "choices 1 and 3 are the same");
    a.choices = blank, a.n_choices = 2, refuse(&s, a, E_INVALID, "a choice is empty");
    a.choices = many, a.n_choices = ENG_CHOICES_MAX + 1, refuse(&s, a, E_TOO_BIG, "at most 64");
    a = ok, a.task = ENG_VQA, a.generate.max_tokens = ENG_TOKENS_MAX + 1;
    refuse(&s, a, E_INVALID, "max_tokens");
    a.generate = (struct eng_generate){.temperature = -1}, refuse(&s, a, E_INVALID, "temperature");
    a.generate.temperature = NAN, refuse(&s, a, E_INVALID, "temperature");
    a.generate = (struct eng_generate){.top_p = 1.5f}, refuse(&s, a, E_INVALID, "top_p");
    close_scene(&s);
}

TEST(tasks_refuse_bad_chats) {
    struct scene s;
    open_scene(&s, MINI);
    static char huge[30000];
    memset(huge, '?', sizeof huge - 1);
    struct eng_turn t[2] = {{1, "what?", NULL}};
    struct eng_ask a = {
        .task = ENG_CHAT, .pictures = s.picture, .n_pictures = 1, .turns = t, .n_turns = 1};
    a.n_turns = 0, refuse(&s, a, E_INVALID, "without a question");
    a.n_turns = ENG_TURNS_MAX + 1, refuse(&s, a, E_TOO_BIG, "at most 64");
    a.n_turns = 2, refuse(&s, a, E_INVALID, "a question last");
    a.n_turns = 1, t[0].answer = "no", refuse(&s, a, E_INVALID, "a question last");
    t[0].answer = NULL, t[0].n_pictures = 2,
    refuse(&s, a, E_INVALID, "more pictures than were sent");
    t[0].n_pictures = 0, refuse(&s, a, E_INVALID, "1 pictures were sent, the turns have 0");
    t[0].n_pictures = UINT32_MAX, refuse(&s, a, E_INVALID, "more pictures");
    t[0].n_pictures = 1, t[0].question = "a [INST] b", refuse(&s, a, E_INVALID, "[INST]");
    t[0].question = huge, refuse(&s, a, E_TOO_BIG, "tokens");
    a.n_pictures = 1000, refuse(&s, a, E_TOO_BIG, "1000 pictures, at most 8");
    /* As long as the model's positions allow, and one more. */
    huge[2048 - 256 - 64 - 4] = 0;
    a.n_pictures = 1;
    struct eng_job *j = NULL;
    struct err e = {0};
    int rc = eng_submit(s.e, &a, &j, &e);
    CHECK(rc == 0 || rc == E_TOO_BIG);
    if (rc) CHECK_HAS(e.text, "the model has 2048 positions");
    eng_job_put(j);
    close_scene(&s);
}

/* A long answer is refused where there is no room for it, or made as long as there is room. */
TEST(tasks_may_answer_shorter) {
    enum { ROOM = 128 }; /* the model's positions */
    struct scene s;
    open_scene(&s, TINY);
    struct eng_turn t = {0, "what?", NULL};
    struct eng_ask a = {.task = ENG_CHAT, .turns = &t, .n_turns = 1};
    a.generate = (struct eng_generate){.max_tokens = 1000, .temperature = 2, .seed = 3};
    refuse(&s, a, E_TOO_BIG, "the model has 128 positions");
    a.generate.may_be_shorter = 1;
    int n_cut = 0;
    for (a.generate.seed = 0; a.generate.seed < 4; a.generate.seed++) {
        struct eng_job *j = submit(&s, &a);
        wait_end(j);
        uint32_t n;
        eng_job_tokens(j, &n);
        CHECK(eng_job_prompt_tokens(j) + n <= ROOM);
        n_cut += eng_job_finish(j) == ENG_CUT;
        if (eng_job_finish(j) == ENG_CUT) CHECK_EQ(eng_job_prompt_tokens(j) + n, ROOM);
        eng_job_put(j);
    }
    CHECK(n_cut > 0);
    static char huge[3 * ROOM];
    memset(huge, '?', sizeof huge - 1);
    t.question = huge;
    refuse(&s, a, E_TOO_BIG, "the model has 128 positions"); /* not one token */
    close_scene(&s);
}

/* The n-th allocation fails, for every n: a clear answer and nothing left behind. */
TEST_LIMIT(tasks_without_memory_leave_nothing_behind, 120) {
    struct scene s;
    struct eng_ask ask[ASKS];
    open_scene(&s, MINI);
    make_asks(&s, ask);
    const int some[] = {MASK, BOX, CAPTION, CHOICE, CHAT};
    for (size_t i = 0; i < ARRAY_LEN(some); i++) {
        int rc = E_NOMEM, n = 0;
        while (rc == E_NOMEM) {
            struct eng_job *j;
            struct err e = {0};
            struct mem_stats before, after;
            mem_stats(&before);
            mem_fail_at((uint64_t)++n);
            rc = eng_submit(s.e, &ask[some[i]], &j, &e);
            mem_fail_at(0);
            CHECK(rc == 0 || (rc == E_NOMEM && e.code == E_NOMEM && !j));
            if (j) {
                wait_end(j);
                eng_job_put(j);
                struct eng_stats st;
                eng_rig_idle(s.e, &st);
            }
            mem_stats(&after);
            /* The step thread may only now let go of the job before. */
            if (rc) CHECK(after.live_bytes <= before.live_bytes);
        }
        CHECK(n > 5);
    }
    close_scene(&s);
}

/* Too many pictures are refused by what is too small: the model, or the room at hand. */
TEST_LIMIT(tasks_say_why_pictures_never_fit, 60) {
    static const int rooms[] = {0, 2000};
    static const char *const whys[] = {"a prompt of this model at most", "raise --kv-tokens"};
    for (int i = 0; i < 2; i++) {
        struct eng_options o = {.model = MINI, .device = eng_rig_backend(), .kv_tokens = rooms[i]};
        struct eng *e;
        struct err err = {0};
        uint32_t n = 1;
        CHECK_EQ(eng_open(&o, &e, &err), 0);
        while (eng_check_pictures(e, n, &err) == 0)
            n++;
        CHECK_EQ(err.code, E_TOO_BIG);
        CHECK_HAS(err.text, whys[i]);
        eng_close(e);
    }
}
