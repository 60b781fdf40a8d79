/* The one table of errors, and the one writer. */
#include "api/wire/problem.h"

#include <stdio.h>

#include "api/static.h"
#include "tests/unit/api/rig.h"

TEST(problem_every_row_is_complete_and_unique) {
    for (enum problem_code code = PROBLEM_NONE + 1; code < PROBLEM_CODES; code++) {
        const struct problem_row *row = problem_row(code);
        CHECK(row->code && row->title && row->detail && row->type);
        CHECK(row->status >= 400 && row->status <= 504);
        CHECK(row->title[0] && row->detail[0] && row->type[0]);
        CHECK(strlen(row->detail) < sizeof(((struct problem *)0)->detail));
        for (enum problem_code k = PROBLEM_NONE + 1; k < code; k++)
            CHECK(strcmp(row->code, problem_row(k)->code) != 0);
        struct buf b;
        buf_init(&b, 4096);
        CHECK_EQ(api_problem(code, NULL, "req-1", &b), row->status);
        json_t *root = json_loadb((char *)b.p, b.len, 0, NULL);
        CHECK(root != NULL);
        CHECK_STR(json_string_value(json_object_get(root, "detail")), row->detail);
        CHECK(json_is_null(json_object_get(json_object_get(root, "error"), "param")));
        json_decref(root);
        buf_clear(&b);
    }
}

/* The list of words in openapi.yaml, one a line, is the table's. */
TEST(problem_codes_are_those_of_the_contract) {
    const struct api_static *f = api_static_table;
    while (f->path && strcmp(f->path, "/openapi.yaml") != 0)
        f++;
    CHECK(f->path);
    static const char head[] = "            code:\n              enum:\n",
                      dash[] = "                - ";
    const char *at = memmem(f->bytes, f->len, head, strlen(head));
    CHECK(at);
    at += strlen(head);
    enum problem_code code = PROBLEM_NONE + 1;
    for (; strncmp(at, dash, strlen(dash)) == 0; code++) {
        char word[40];
        CHECK(code < PROBLEM_CODES && sscanf(at + strlen(dash), "%39s", word) == 1);
        CHECK_STR(word, problem_row(code)->code);
        at = strchr(at, '\n') + 1;
    }
    CHECK_EQ(code, PROBLEM_CODES);
}

TEST(problem_first_one_wins) {
    struct problem p = {0};
    CHECK_EQ(problem_set(&p, PROBLEM_NOT_FOUND, "x", "first %d", 1), -1);
    CHECK_EQ(problem_set(&p, PROBLEM_QUEUE_FULL, "y", "second"), -1);
    CHECK_EQ(p.code, PROBLEM_NOT_FOUND);
    CHECK_STR(p.param, "x");
    CHECK_STR(p.detail, "first 1");
}

TEST(problem_text_of_a_client_is_escaped) {
    struct buf b;
    buf_init(&b, 4096);
    CHECK_EQ(api_problem(PROBLEM_NOT_FOUND, "a\"b\\c\r\n{\"fake\":1}\x01\xff", "r\"1", &b), 404);
    json_t *root = json_loadb((char *)b.p, b.len, 0, NULL);
    CHECK(root != NULL);
    CHECK_STR(json_string_value(json_object_get(root, "instance")), "r\"1");
    CHECK(json_object_get(root, "fake") == NULL);
    json_decref(root);
    buf_clear(&b);
}

TEST(problem_of_every_engine_code) {
    static const struct {
        int status;
        enum problem_code code;
    } pairs[] = {{E_BUSY, PROBLEM_QUEUE_FULL},        {E_TOO_BIG, PROBLEM_TOO_MUCH_WORK},
                 {E_NOMEM, PROBLEM_NO_MEMORY},        {E_DEVICE, PROBLEM_DEVICE_LOST},
                 {E_TIMEOUT, PROBLEM_DEADLINE},       {E_CANCELLED, PROBLEM_DRAINING},
                 {E_INVALID, PROBLEM_INTERNAL_ERROR}, {E_IO, PROBLEM_INTERNAL_ERROR},
                 {-999, PROBLEM_INTERNAL_ERROR}};
    for (unsigned i = 0; i < ARRAY_LEN(pairs); i++)
        CHECK_EQ(problem_code_of(pairs[i].status), pairs[i].code);
}
