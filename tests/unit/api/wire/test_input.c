/* Reading a request from plain bytes: no call, no engine, no API. The same fields in a query, a
 * form and JSON give the same values and the same faults; the first fault wins. */
#include "api/wire/input.h"

#include <string.h>

#include "tests/check.h"

static const char *const known[] = {"width",   "estimate", "compare", "sentence",
                                    "choices", "points",   "seed",    NULL};
static const struct input_wants one_picture = {.picture = "image", .known = known};
static const struct input_wants several = {
    .picture = "frame", .pictures = "frames", .known = known};
static const struct input_wants no_picture = {.known = known};

/* One request being read. */
struct reading {
    struct api_input from;
    struct api_field fields[8];
    struct problem problem;
    struct input in;
};

static void fill(struct reading *r, const struct input_wants *wants) {
    r->problem = (struct problem){0};
    r->in = (struct input){.from = &r->from,
                           .wants = wants,
                           .picture_max = 100,
                           .texts = arena_new(4096),
                           .problem = &r->problem};
}

static int open_json(struct reading *r, const struct input_wants *wants, const char *text) {
    r->from = (struct api_input){.content_type = "application/json; charset=utf-8",
                                 .body = (const uint8_t *)text,
                                 .body_len = strlen(text)};
    fill(r, wants);
    return input_open(&r->in);
}

static struct api_field field(const char *name, const char *value) {
    return (struct api_field){.name = name, .data = (const uint8_t *)value, .len = strlen(value)};
}

/* Pairs of name and value, NULL at the end. */
static int open_form(struct reading *r, const struct input_wants *wants, const char *const *pairs) {
    size_t n = 0;
    for (; pairs[2 * n]; n++)
        r->fields[n] = field(pairs[2 * n], pairs[2 * n + 1]);
    r->from = (struct api_input){
        .content_type = "multipart/form-data; boundary=x", .form = r->fields, .n_form = n};
    fill(r, wants);
    return input_open(&r->in);
}

static int open_raw(struct reading *r, const char *type, const char *body, const char *name,
                    const char *value) {
    if (name) r->fields[0] = field(name, value);
    r->from = (struct api_input){.content_type = type,
                                 .body = (const uint8_t *)body,
                                 .body_len = strlen(body),
                                 .query = r->fields,
                                 .n_query = name != NULL};
    fill(r, &one_picture);
    return input_open(&r->in);
}

static void shut(struct reading *r) {
    arena_free(r->in.texts);
    input_close(&r->in);
}

static void check_fault(struct reading *r, enum problem_code code, const char *param,
                        const char *piece) {
    CHECK_EQ(r->problem.code, code);
    CHECK_STR(r->problem.param, param);
    CHECK_HAS(problem_text(&r->problem), piece);
    shut(r);
}

TEST(input_reads_the_same_by_every_way_in) {
    for (int way = 0; way < 3; way++) {
        struct reading r;
        int width = 1;
        if (way == 0) CHECK_EQ(open_json(&r, &one_picture, "{\"image\":\"Zm9v\",\"width\":7}"), 0);
        if (way == 1)
            CHECK_EQ(open_form(&r, &one_picture,
                               (const char *const[]){"image", "foo", "width", "7", NULL}),
                     0);
        if (way == 2) CHECK_EQ(open_raw(&r, "image/png", "foo", "width", "7"), 0);
        CHECK_EQ(r.in.n_pictures, 1);
        CHECK_STR(r.in.pictures[0].name, "image");
        CHECK_EQ(r.in.pictures[0].len, 3);
        CHECK_MEM(r.in.pictures[0].bytes, "foo", 3);
        CHECK_EQ(input_int(&r.in, "width", 1, 64, &width), 0);
        CHECK_EQ(width, 7);
        CHECK(input_has(&r.in, "width") && !input_has(&r.in, "seed"));
        shut(&r);
    }
}

/* A file that becomes a field has a line break at its end. */
TEST(input_line_ends_are_trimmed) {
    struct reading r;
    const char *text = NULL;
    int width = 1, word = -1;
    static const char *const words[] = {"mode", "median", NULL};
    CHECK_EQ(open_form(&r, &no_picture,
                       (const char *const[]){"sentence", "a b\r\n", "width", "7\n", "estimate",
                                             "median\n\n", NULL}),
             0);
    CHECK_EQ(input_text(&r.in, "sentence", 10, &text), 0);
    CHECK_STR(text, "a b");
    CHECK_EQ(input_int(&r.in, "width", 1, 64, &width), 0);
    CHECK_EQ(input_word(&r.in, "estimate", words, &word), 0);
    CHECK(width == 7 && word == 1);
    shut(&r);
    CHECK_EQ(open_json(&r, &no_picture, "{\"sentence\":\"a b\\n\"}"), 0);
    CHECK_EQ(input_text(&r.in, "sentence", 10, &text), 0);
    CHECK_STR(text, "a b");
    shut(&r);
    CHECK_EQ(open_form(&r, &no_picture, (const char *const[]){"sentence", "a\nb\n", NULL}), 0);
    CHECK_EQ(input_text(&r.in, "sentence", 10, &text), -1);
    check_fault(&r, PROBLEM_INVALID_PARAMETER, "sentence", "control character at byte 1");
    CHECK_EQ(open_form(&r, &no_picture, (const char *const[]){"sentence", "\n", NULL}), 0);
    CHECK_EQ(input_text(&r.in, "sentence", 10, &text), -1);
    check_fault(&r, PROBLEM_INVALID_PARAMETER, "sentence", "is empty");
}

/* Of clients that send null for what they don't mean, whether we know the field or not. */
TEST(input_null_is_absent) {
    struct reading r;
    int width = 5;
    CHECK_EQ(open_json(&r, &no_picture, "{\"width\":null,\"whatever\":null,\"choices\":[null]}"),
             0);
    CHECK_EQ(input_int(&r.in, "width", 1, 64, &width), 0);
    CHECK(width == 5 && !input_has(&r.in, "width") && input_has(&r.in, "choices"));
    shut(&r);
}

TEST(input_absent_fields_stay_as_they_are) {
    struct reading r;
    static const char *const words[] = {"mode", "median", NULL};
    int width = 5, word = 1, flag = 1;
    const char *text = "before";
    json_t *v;
    CHECK_EQ(open_json(&r, &no_picture, "{}"), 0);
    CHECK_EQ(input_int(&r.in, "width", 1, 64, &width), 0);
    CHECK_EQ(input_word(&r.in, "estimate", words, &word), 0);
    CHECK_EQ(input_flag(&r.in, "compare", &flag), 0);
    CHECK_EQ(input_text(&r.in, "sentence", 10, &text), 0);
    CHECK_EQ(input_json(&r.in, "choices", &v), 0);
    CHECK(width == 5 && word == 1 && flag == 1 && v == NULL);
    CHECK_STR(text, "before");
    shut(&r);
}

TEST(input_first_fault_wins) {
    struct reading r;
    int width = 1, flag = 0;
    CHECK_EQ(open_json(&r, &no_picture, "{\"width\":0,\"compare\":1}"), 0);
    CHECK_EQ(input_int(&r.in, "width", 1, 64, &width), -1);
    CHECK_EQ(input_flag(&r.in, "compare", &flag), -1);
    CHECK_STR(r.problem.pointer, "/width");
    check_fault(&r, PROBLEM_INVALID_PARAMETER, "width", "from 1 to 64; got 0");
}

TEST(input_refuses_by_name) {
    struct reading r;
    CHECK_EQ(open_json(&r, &one_picture, "{\"image\":\"Zm9v\",\"height\":1}"), -1);
    check_fault(&r, PROBLEM_UNKNOWN_PARAMETER, "height", "known are: image, width");
    CHECK_EQ(open_raw(&r, "image/png", "foo", "image", "x"), -1);
    check_fault(&r, PROBLEM_INVALID_PARAMETER, "image", "not in the query");
    CHECK_EQ(open_raw(&r, "text/plain", "foo", NULL, NULL), -1);
    check_fault(&r, PROBLEM_UNSUPPORTED_MEDIA_TYPE, "", "got \"text/plain\"");
    CHECK_EQ(open_json(&r, &one_picture, "{}"), -1);
    check_fault(&r, PROBLEM_MISSING_PICTURE, "image", "has no picture");
    CHECK_EQ(open_form(&r, &one_picture, (const char *const[]){"image", "a", "image", "b", NULL}),
             -1);
    check_fault(&r, PROBLEM_TOO_MANY_PICTURES, "image", "exactly one");
    int width;
    CHECK_EQ(open_form(&r, &no_picture, (const char *const[]){"width", "1", "width", "2", NULL}),
             0);
    CHECK_EQ(input_int(&r.in, "width", 1, 64, &width), -1);
    check_fault(&r, PROBLEM_INVALID_PARAMETER, "width", "given twice");
}

TEST(input_of_nothing_is_an_empty_object) {
    struct reading r;
    CHECK_EQ(open_json(&r, &no_picture, ""), 0);
    CHECK(!r.in.root);
    shut(&r);
    CHECK_EQ(open_json(&r, &no_picture, " "), -1);
    CHECK_EQ(r.problem.code, PROBLEM_INVALID_JSON);
    shut(&r);
    CHECK_EQ(open_json(&r, &one_picture, ""), -1);
    check_fault(&r, PROBLEM_MISSING_PICTURE, "image", "no picture");
}

TEST(input_bounds_a_picture) {
    static char long_one[102];
    struct reading r;
    memset(long_one, 'a', sizeof(long_one) - 1);
    CHECK_EQ(open_raw(&r, "image/png", long_one, NULL, NULL), -1);
    check_fault(&r, PROBLEM_PICTURE_TOO_LARGE, "image", "has 101 bytes; at most 100");
    long_one[100] = 0;
    CHECK_EQ(open_raw(&r, "image/png", long_one, NULL, NULL), 0);
    shut(&r);
    CHECK_EQ(open_raw(&r, "image/jpeg", "", NULL, NULL), -1);
    check_fault(&r, PROBLEM_BAD_PICTURE, "image", "empty");
}

TEST(input_takes_several_pictures_in_order) {
    struct reading r;
    CHECK_EQ(open_json(&r, &several, "{\"frames\":[\"Zm9v\",\"data:image/png;base64,YmFy\"]}"), 0);
    CHECK_EQ(r.in.n_pictures, 2);
    CHECK_STR(r.in.pictures[1].name, "frames[1]");
    CHECK_MEM(r.in.pictures[1].bytes, "bar", 3);
    shut(&r);
    CHECK_EQ(open_json(&r, &several, "{\"frames\":[\"Zm9v\",5]}"), -1);
    CHECK_STR(r.problem.pointer, "/frames/1");
    check_fault(&r, PROBLEM_INVALID_PARAMETER, "frames[1]", "got 5");
    CHECK_EQ(open_json(&r, &several, "{\"frames\":[\"http://a/b.png\"]}"), -1);
    check_fault(&r, PROBLEM_UNSUPPORTED_URL, "frames[0]", "never fetched");
}

TEST(input_takes_data_urls_of_any_type) {
    static const char *const heads[] = {"data:image/png;base64,",
                                        "data:image/jpg;base64,",
                                        "DATA:image/JPEG;charset=utf-8;base64,",
                                        "data:image/x-png;name=a.png;Base64,",
                                        "data:application/octet-stream;base64,",
                                        "data:;base64,",
                                        ""};
    for (unsigned i = 0; i < ARRAY_LEN(heads); i++) {
        struct reading r;
        char body[200];
        snprintf(body, sizeof(body), "{\"image\":\"%sYm\\nFy\\n\"}", heads[i]);
        CHECK_EQ(open_json(&r, &one_picture, body), 0);
        CHECK_EQ(r.in.pictures[0].len, 3);
        CHECK_MEM(r.in.pictures[0].bytes, "bar", 3);
        shut(&r);
    }
    static const char *const bad[] = {"data:image/png,YmFy", "data:,", "data:base64,YmFy"};
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct reading r;
        char body[200];
        snprintf(body, sizeof(body), "{\"image\":\"%s\"}", bad[i]);
        CHECK_EQ(open_json(&r, &one_picture, body), -1);
        check_fault(&r, PROBLEM_INVALID_PARAMETER, "image", "has to be in base64");
    }
}

TEST(input_orient_goes_with_pictures) {
    struct reading r;
    CHECK_EQ(open_raw(&r, "image/png", "bar", NULL, NULL), 0);
    CHECK_EQ(r.in.is_stored, 0);
    shut(&r);
    CHECK_EQ(open_raw(&r, "image/png", "bar", "orient", "stored"), 0);
    CHECK_EQ(r.in.is_stored, 1);
    shut(&r);
    CHECK_EQ(open_json(&r, &several, "{\"orient\":\"shown\"}"), 0);
    CHECK_EQ(r.in.is_stored, 0);
    shut(&r);
    CHECK_EQ(open_raw(&r, "image/png", "bar", "orient", "6"), -1);
    check_fault(&r, PROBLEM_INVALID_PARAMETER, "orient", "shown or stored");
    CHECK_EQ(open_json(&r, &no_picture, "{\"orient\":\"shown\"}"), -1);
    check_fault(&r, PROBLEM_UNKNOWN_PARAMETER, "orient", "not a known field");
}

/* What was read outlives the request's bytes, in the arena of whoever asked. */
TEST(input_texts_outlive_the_input) {
    struct reading r;
    char body[] = "{\"sentence\":\"a ball\",\"choices\":[\"yes\",\"no\"]}";
    const char *text = NULL, *const *choices = NULL;
    uint32_t n = 0;
    CHECK_EQ(open_json(&r, &no_picture, body), 0);
    CHECK_EQ(input_text(&r.in, "sentence", 10, &text), 0);
    CHECK_EQ(input_texts(&r.in, "choices", 4, 10, &choices, &n), 0);
    struct arena *texts = r.in.texts;
    input_close(&r.in);
    memset(body, 'x', sizeof(body));
    CHECK_STR(text, "a ball");
    CHECK_EQ(n, 2);
    CHECK_STR(choices[0], "yes");
    CHECK_STR(choices[1], "no");
    arena_free(texts);
}

TEST(input_texts_have_room_or_a_problem) {
    struct reading r;
    const char *text = NULL;
    CHECK_EQ(open_json(&r, &no_picture, "{\"sentence\":\"a ball\"}"), 0);
    arena_free(r.in.texts);
    r.in.texts = arena_new(4);
    CHECK_EQ(input_text(&r.in, "sentence", 10, &text), -1);
    CHECK(text == NULL);
    check_fault(&r, PROBLEM_NO_MEMORY, "", "memory");
}
