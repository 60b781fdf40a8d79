/* test_questions.c - questions in each public format, told apart by their fields. */
#include "data/questions.h"

#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/data/rig.h"

static int open_text(const char *text, int64_t limit, struct questions *q, struct err *e) {
    struct rig r;
    rig_open(&r);
    *e = (struct err){0};
    int rc = questions_open(rig_file(&r, "q.json", text), limit, q, e);
    rig_close(&r); /* what was read is borrowed from the tree, not from the file */
    return rc;
}

/* The first question of `text`, which has `n` of that set. */
static const struct question *first(const char *text, enum question_set set, uint32_t n,
                                    struct questions *q) {
    struct err e;
    CHECK_EQ(open_text(text, 0, q, &e), 0);
    CHECK_EQ(q->set, set);
    CHECK_EQ(q->n, n);
    return &q->at[0];
}

TEST(questions_of_gqa) {
    struct questions q;
    const struct question *at = first(
        "{\"7\": {\"imageId\": \"12\", \"question\": \"red?\", \"answer\": \" Yes\","
        " \"types\": {\"structural\": \"verify\"}}, \"8\": {\"imageId\": \"13\", \"question\":"
        " \"what?\", \"answer\": \"cup\"}}",
        SET_GQA, 2, &q);
    CHECK_STR(at->file, "12");
    CHECK_STR(at->text, "red?");
    CHECK_STR(at->type, "verify");
    CHECK_STR(at->answers[0], "yes"); /* plain */
    CHECK(q.at[1].type == NULL && at->choices == NULL);
    questions_close(&q);
    at = first("[{\"image\": \"a.png\", \"question\": \"x\", \"answer\": \"y\", \"type\": \"z\"}]",
               SET_GQA, 1, &q);
    CHECK_STR(at->type, "z");
    questions_close(&q);
}

TEST(questions_of_lines) {
    struct questions q;
    const struct question *at = first(
        "{\"image\": \"a.jpg\", \"caption\": \"it is red\", \"label\": 1, \"relation\": \"is\"}\n"
        "{\"image\": \"a.jpg\", \"caption\": \"it is blue\", \"label\": 0}\n",
        SET_VSR, 2, &q);
    CHECK_STR(at->text, "it is red");
    CHECK_STR(at->type, "is");
    CHECK_STR(at->answers[0], "true");
    CHECK_STR(q.at[1].answers[0], "false");
    questions_close(&q);
    /* One line alone is an object, like GQA's dictionary. */
    at = first("{\"img\": \"img/1.png\", \"text\": \"ha\", \"label\": 1}", SET_HM, 1, &q);
    CHECK_STR(at->file, "img/1.png");
    CHECK_STR(at->answers[0], "yes");
    questions_close(&q);
}

TEST(questions_of_vizwiz) {
    struct questions q;
    const struct question *at = first(
        "[{\"image\": \"a\", \"question\": \"x\", \"answer_type\": \"other\","
        " \"answers\": [{\"answer\": \"Red\"}, {\"answer\": \"red \"}, {\"answer\": \"blue\"}]}]",
        SET_VIZWIZ, 1, &q);
    CHECK_EQ(at->n, 3);
    CHECK_STR(at->answers[0], "red");
    CHECK_STR(at->answers[1], "red");
    CHECK_STR(at->type, "other");
    questions_close(&q);
}

TEST(questions_with_choices) {
    struct questions q;
    const struct question *at = first(
        "[{\"image\": \"a\", \"question\": \"x\", \"choices\": [\"No\", \"Yes\"], \"answer\": 1},"
        " {\"image_id\": \"9\", \"question\": \"x\", \"choices\": [\"a\", \"b\"], \"answer\": "
        "\"a\"}]",
        SET_CHOICES, 2, &q);
    CHECK_EQ(at->right, 1);
    CHECK_EQ(at->n_choices, 2);
    CHECK_STR(at->choices[1], "Yes"); /* as it is */
    CHECK_STR(at->answers[0], "yes");
    CHECK_EQ(q.at[1].right, 0);
    CHECK_STR(q.at[1].file, "9/image.png"); /* IconQA's folder */
    questions_close(&q);
}

TEST(questions_with_names) {
    struct questions q;
    const struct question *at =
        first("[{\"image\": \"a\", \"names\": [\"Hat\", \"cap\"], \"type\": \"k\"},"
              " {\"image\": \"b\", \"names\": [\"cup\"], \"question\": \"what?\"}]",
              SET_NAMES, 2, &q);
    CHECK_EQ(at->n, 2);
    CHECK_STR(at->answers[0], "hat");
    CHECK_STR(at->answers[1], "cap");
    CHECK_STR(at->type, "k");
    CHECK(!at->text && at->n_choices == 0); /* a caption is wanted */
    CHECK_STR(q.at[1].text, "what?");
    questions_close(&q);
}

TEST(questions_limit) {
    static const char text[] = "[{\"image\": \"a\", \"question\": \"x\", \"answer\": \"y\"},"
                               " {\"image\": 3}]";
    struct questions q;
    struct err e;
    CHECK_EQ(open_text(text, 1, &q, &e), 0); /* the second isn't looked at */
    CHECK_EQ(q.n, 1);
    questions_close(&q);
    CHECK_EQ(open_text(text, 0, &q, &e), E_FORMAT);
    CHECK_HAS(e.text, "[1]: \"image\" must be a text");
    questions_close(&q);
}

TEST(questions_say_what_is_wrong) {
    static const char *const wrong[][2] = {
        {"[]", "no question"},
        {"[3]", "[0]: must be an object"},
        {"[{\"image\": \"a\", \"caption\": \"x\", \"label\": 2}]", "\"label\" is 2, not in 0 .. 1"},
        {"[{\"image\": \"a\", \"question\": \"x\", \"answers\": []}]", "not empty"},
        {"[{\"image\": \"a\", \"question\": \"x\", \"choices\": [\"a\"], \"answer\": 0}]",
         "2 .. 64"},
        {"[{\"image\": \"a\", \"names\": []}]", "not empty"},
        {"[{\"image\": \"a\", \"names\": [\"a\", \"\"]}]", "texts that are not empty"},
        {"[{\"image\": \"a\", \"names\": [\"a\"], \"question\": 3}]",
         "\"question\" must be a text"},
        {"[{\"image\": \"a\", \"question\": \"x\", \"choices\": [\"a\", 1], \"answer\": 0}]",
         "texts"},
        {"[{\"image\": \"a\", \"question\": \"x\", \"choices\": [\"a\", \"b\"], \"answer\": 2}]",
         "none of the choices"},
        {"[{\"image\": \"a\", \"question\": \"x\", \"choices\": [\"a\", \"b\"], \"answer\": "
         "\"c\"}]",
         "none of the choices"},
        {"[{\"image\": \"../a\", \"question\": \"x\", \"answer\": \"b\"}]",
         "below the pictures' folder"},
        {"[{\"image\": \"a\", \"question\": \"\", \"answer\": \"b\"}]",
         "\"question\" must be a text"}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct questions q;
        struct err e;
        CHECK_EQ(open_text(wrong[i][0], 0, &q, &e), E_FORMAT);
        CHECK_HAS(e.text, wrong[i][1]);
        questions_close(&q);
    }
}

static const char *plain(const char *text, char *to) {
    questions_plain(text, strlen(text), to);
    return to;
}

TEST(questions_compare_answers_plain) {
    char to[64];
    CHECK_STR(plain("  Yes \n", to), "yes");
    CHECK_STR(plain("<unk>A <unk>Red Cup", to), "a red cup");
    CHECK_STR(plain("<unk> ", to), "");
    CHECK_STR(plain("\xc3\x84", to), "\xc3\x84"); /* letters beyond ASCII stay as they are */
    CHECK_STR(plain("yes.", to), "yes.");         /* exact: a full stop is no white space */
}
