/* test_look.c - a file of questions is looked at: what is broken is told, with its line. */
#include "batch/look.h"

#include <stdio.h>
#include <string.h>

#include "tests/check.h"

#define ASK(id, url) \
    "{\"custom_id\":\"" id "\",\"method\":\"POST\",\"url\":\"" url "\",\"body\":{}}\n"

static int go_on(void *ud) {
    (void)ud;
    return 0;
}

static int stop(void *ud) {
    (void)ud;
    return 1;
}

static int look(const char *text, size_t len, const char *endpoint, struct look *out) {
    FILE *f = tmpfile();
    CHECK(f && fwrite(text, 1, len, f) == len && fflush(f) == 0);
    rewind(f);
    int rc = look_at(fileno(f), endpoint, go_on, NULL, out, NULL);
    fclose(f);
    return rc;
}

TEST(look_tells_what_is_broken) {
    static const struct {
        const char *text, *endpoint, *said; /* "": nothing is */
        int total, broken, is_good;
    } rows[] = {
        {ASK("a", "/v1/vqa") ASK("b", "/v1/refer"), "*", "", 2, 0, 1},
        {ASK("a", "/v1/vqa") "\n  \n" ASK("b", "/v1/refer"), "/v1/vqa", "\"line\":4", 2, 1, 1},
        {ASK("a", "/v1/vqa") ASK("a", "/v1/vqa"), "/v1/vqa", "duplicate_custom_id", 2, 1, 1},
        {"x\n" ASK("a", "/v1/vqa"), "*", "\"line\":1", 2, 1, 1},
        {"x\n", "*", "invalid_line", 1, 1, 0},
        {"", "*", "empty_file", 0, 0, 0},
        {"\n \n", "*", "empty_file", 0, 0, 0},
        {"{\"custom_id\":\"a\",\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\xc3\xa9\":1}", "*",
         "xx\\\" is no field", 1, 1, 0},
        {ASK("a", "/v1/files"), "*", "no call with one answer", 1, 1, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct look l;
        CHECK_EQ(look(rows[i].text, strlen(rows[i].text), rows[i].endpoint, &l), 0);
        CHECK_EQ(l.total, rows[i].total);
        CHECK_EQ(l.broken, rows[i].broken);
        CHECK_EQ(l.is_good, rows[i].is_good);
        CHECK_EQ(l.errors.len > 0, *rows[i].said != '\0');
        if (l.errors.len) CHECK_HAS((const char *)l.errors.p, rows[i].said);
        buf_clear(&l.errors);
    }
}

TEST(look_has_bounds) {
    struct look l;
    struct buf many;
    buf_init(&many, 1 << 20);
    for (int i = 0; i <= LOOK_LINES_MAX; i++)
        buf_str(&many, "x\n");
    CHECK_EQ(look((const char *)many.p, many.len, "*", &l), 0);
    CHECK_EQ(l.is_good, 0);
    CHECK_HAS((const char *)l.errors.p, "too_many_lines");
    CHECK_HAS((const char *)l.errors.p, "more_lines");
    buf_clear(&l.errors);
    buf_clear(&many);
}

TEST(look_can_be_stopped) {
    struct look l;
    FILE *f = tmpfile();
    CHECK(f != NULL);
    for (int i = 0; i < 40000; i++)
        fputs(ASK("a", "/v1/vqa"), f);
    CHECK_EQ(fflush(f), 0);
    rewind(f);
    CHECK_EQ(look_at(fileno(f), "*", stop, NULL, &l, NULL), E_CANCELLED);
    buf_clear(&l.errors);
    fclose(f);
}
