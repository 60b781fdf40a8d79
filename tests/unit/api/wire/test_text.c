/* Text that came from outside: what is a character, what is a control, how long is it. */
#include "api/wire/text.h"

#include "tests/check.h"

static void check(const char *text, size_t characters, size_t control_at, size_t bad_at,
                  int is_blank) {
    size_t len = strlen(text);
    struct text_look look = text_look(text, len);
    CHECK_EQ(look.characters, characters);
    CHECK_EQ(look.control_at, control_at == SIZE_MAX ? len : control_at);
    CHECK_EQ(look.bad_at, bad_at == SIZE_MAX ? len : bad_at);
    CHECK_EQ(look.is_blank, is_blank);
}

TEST(text_look_counts_and_finds) {
    check("", 0, SIZE_MAX, SIZE_MAX, 1);
    check("   ", 3, SIZE_MAX, SIZE_MAX, 1);
    check(" a ", 3, SIZE_MAX, SIZE_MAX, 0);
    check("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", 8, SIZE_MAX, SIZE_MAX, 0);
    check("a\nb\t", 4, 1, SIZE_MAX, 0);
    check("ab\x7f", 3, 2, SIZE_MAX, 0);
    check("a\xc2\x85", 2, 1, SIZE_MAX, 0); /* C1 */
    check("a\xc2\xa0", 2, SIZE_MAX, SIZE_MAX, 0);
}

TEST(text_look_refuses_what_is_no_utf8) {
    static const char *const bad[] = {"a\xff",
                                      "a\x80",
                                      "a\xc3",
                                      "a\xc0\x80",
                                      "a\xe0\x80\x80",
                                      "a\xed\xa0\x80",
                                      "a\xe2\x82",
                                      "a\xf0\x8f\x80\x80",
                                      "a\xf4\x90\x80\x80",
                                      "a\xf5\x80\x80\x80"};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        check(bad[i], 1, SIZE_MAX, 1, 0);
}

/* A character is never read beyond the end. */
TEST(text_char_stays_inside) {
    static const char euro[] = "\xe2\x82\xac";
    CHECK_EQ(text_char(euro, 3), 3);
    CHECK_EQ(text_char(euro, 2), 0);
    CHECK_EQ(text_char(euro, 1), 0);
    CHECK_EQ(text_char(euro, 0), 0);
}
