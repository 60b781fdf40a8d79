/* test_lines.c - lines of questions and of answers, and the set of their names. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "batch/idset.h"
#include "batch/question.h"
#include "batch/record.h"
#include "batch/text.h"
#include "kernels/base/utf8.h"
#include "tests/check.h"

TEST(question_is_read) {
    static const char text[] = "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/vqa\","
                               "\"body\":{\"image\":\"file:1.jpg\",\"n\":9007199254740993}}";
    struct question q;
    struct err e = {0};
    CHECK_EQ(question_read(text, sizeof(text) - 1, NULL, &q, &e), 0);
    CHECK_STR(q.custom_id, "a");
    CHECK_STR(q.route->path, "/v1/vqa");
    CHECK_STR((const char *)q.body.p, "{\"image\":\"file:1.jpg\",\"n\":9007199254740993}");
    question_clear(&q);
}

TEST(question_says_what_is_wrong) {
    static const struct {
        const char *text, *id, *why;
    } rows[] = {
        {"", "", "no JSON"},
        {"{}", "", "custom_id is missing"},
        {"{\"custom_id\":7}", "", "custom_id is missing, or no text"},
        {"{\"custom_id\":\"a\\nb\"}", "", "without control characters"},
        {"{\"custom_id\":\"a\",\"custom_id\":\"b\"}", "", "duplicate"},
        {"{\"custom_id\":\"a\"}", "a", "method must be \"POST\""},
        {"{\"custom_id\":\"a\",\"method\":\"POST\"}", "a", "url is missing"},
        {"{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/metrics\"}", "a", "\"/metrics\""},
        {"{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/act/sessions/1\"}", "a",
         "no call"},
        {"{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/vqa\"}", "a", "body is missing"},
        {"{\"custom_id\":\"a\",\"priority\":1}", "a", "\"priority\" is no field"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct question q;
        struct err e = {0};
        CHECK_EQ(question_read(rows[i].text, strlen(rows[i].text), NULL, &q, &e), E_FORMAT);
        CHECK_HAS(e.text, rows[i].why);
        CHECK_STR(q.custom_id, rows[i].id);
        question_clear(&q);
    }
}

/* What is said of a line is UTF-8, wherever a name of it is cut. */
TEST(question_cuts_no_character) {
    static const char *const forms[] = {"{\"custom_id\":\"a\",\"%s\":1}",
                                        "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"%s\"}"};
    for (size_t n = 30; n < 62; n++)
        for (size_t i = 0; i < 4; i++) {
            char name[80], line[200];
            struct question q;
            struct err e = {0};
            snprintf(name, sizeof(name), "%.*s\xc3\xa9", (int)n,
                     "/v1/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
            snprintf(line, sizeof(line), forms[i % 2], name);
            CHECK_EQ(question_read(line, strlen(line), i < 2 ? NULL : "/v1/vqa", &q, &e), E_FORMAT);
            CHECK(utf8_is_plain(e.text));
            question_clear(&q);
        }
}

TEST(text_is_json_whatever_it_holds) {
    json_t *v = text_json("x\xc3 y"), *fine = text_json("\xc3\xa9");
    CHECK_STR(json_string_value(v), "x? y");
    CHECK_STR(json_string_value(fine), "\xc3\xa9");
    json_decref(v);
    json_decref(fine);
}

TEST(question_bounds_brackets) {
    char deep[200];
    struct question q;
    struct err e = {0};
    memset(deep, '[', sizeof(deep));
    CHECK_EQ(question_read(deep, sizeof(deep), NULL, &q, &e), E_FORMAT);
    CHECK_HAS(e.text, "too many brackets");
    question_clear(&q);
}

TEST(record_line_is_read) {
    static const char good[] = "{\"custom_id\":\"a\",\"fingerprint\":\"fp_1\","
                               "\"response\":{\"status_code\":200,\"body\":{}},\"error\":null}";
    static const char fault[] =
        "{\"custom_id\":\"b\",\"fingerprint\":\"fp_1\",\"response\":null,\"error\":{}}";
    struct record_line line;
    CHECK_EQ(record_read_line(good, sizeof(good) - 1, &line), 0);
    CHECK_STR(line.custom_id, "a");
    CHECK_STR(line.print, "fp_1");
    CHECK_EQ(line.is_answer, 1);
    CHECK_EQ(record_read_line(fault, sizeof(fault) - 1, &line), 0);
    CHECK_EQ(line.is_answer, 0);
    CHECK_EQ(record_read_line(good, sizeof(good) - 3, &line), E_FORMAT);
    CHECK_EQ(record_read_line("{\"custom_id\":\"a\"}", 17, &line), E_FORMAT);
    CHECK_EQ(record_read_line("[]", 2, &line), E_FORMAT);
}

TEST(idset_keeps_what_it_was_told) {
    enum { MANY = 5000 };
    struct idset *s = idset_new();
    char id[32];
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(id, sizeof(id), "picture %u", i);
        struct idset_entry *entry = idset_at(s, id);
        CHECK(entry->line == 0 && !entry->is_done);
        entry->line = i + 1;
        entry->is_done = (int)(i % 2);
    }
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(id, sizeof(id), "picture %u", i);
        struct idset_entry *entry = idset_at(s, id);
        CHECK_STR(entry->id, id);
        CHECK(entry->line == i + 1 && entry->is_done == (int)(i % 2));
    }
    idset_free(s);
}
