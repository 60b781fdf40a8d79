/* The one table of errors, and the one writer. */
#include "api/wire/problem.h"
#include "tests/unit/api/rig.h"

TEST(problem_every_row_is_complete_and_unique) {
    size_t n;
    const struct problem_row *t = problem_table(&n);
    for (size_t i = 0; i < n; i++) {
        CHECK(t[i].status >= 400 && t[i].status <= 504);
        CHECK(t[i].title[0] && t[i].detail[0] && t[i].type[0]);
        CHECK(strlen(t[i].detail) < sizeof(((struct problem *)0)->detail));
        for (size_t k = 0; k < i; k++)
            CHECK(strcmp(t[i].code, t[k].code) != 0);
        struct buf b;
        buf_init(&b, 4096);
        CHECK_EQ(api_problem(t[i].code, NULL, "req-1", &b), t[i].status);
        json_t *root = json_loadb((char *)b.p, b.len, 0, NULL);
        CHECK(root != NULL);
        CHECK_STR(json_string_value(json_object_get(root, "detail")), t[i].detail);
        CHECK(json_is_null(json_object_get(json_object_get(root, "error"), "param")));
        json_decref(root);
        buf_clear(&b);
    }
}

TEST(problem_first_one_wins) {
    struct problem p = {0};
    CHECK_EQ(problem_set(&p, "not_found", "x", "first %d", 1), -1);
    CHECK_EQ(problem_set(&p, "queue_full", "y", "second"), -1);
    CHECK_STR(p.row->code, "not_found");
    CHECK_STR(p.param, "x");
    CHECK_STR(p.detail, "first 1");
}

TEST(problem_text_of_a_client_is_escaped) {
    struct buf b;
    buf_init(&b, 4096);
    CHECK_EQ(api_problem("not_found", "a\"b\\c\r\n{\"fake\":1}\x01\xff", "r\"1", &b), 404);
    json_t *root = json_loadb((char *)b.p, b.len, 0, NULL);
    CHECK(root != NULL);
    CHECK_STR(json_string_value(json_object_get(root, "instance")), "r\"1");
    CHECK(json_object_get(root, "fake") == NULL);
    json_decref(root);
    buf_clear(&b);
}

TEST(problem_of_every_engine_code) {
    static const struct {
        int code;
        const char *word;
    } pairs[] = {
        {E_BUSY, "queue_full"},        {E_TOO_BIG, "too_much_work"}, {E_NOMEM, "no_memory"},
        {E_DEVICE, "device_lost"},     {E_TIMEOUT, "deadline"},      {E_CANCELLED, "draining"},
        {E_INVALID, "internal_error"}, {E_IO, "internal_error"},     {-999, "internal_error"}};
    for (unsigned i = 0; i < ARRAY_LEN(pairs); i++)
        CHECK_STR(problem_code_of(pairs[i].code), pairs[i].word);
}
