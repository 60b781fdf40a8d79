/* test_score.c - texts against right texts, by hand. */
#include "cli/gate/score.h"

#include <string.h>

#include "tests/check.h"

static double words(const char *said, const char *right) {
    return score_words(said, strlen(said), &right, 1);
}
static double boxes(const char *said, const char *right) {
    return score_boxes(said, strlen(said), right);
}

TEST(gate_words) {
    CHECK_NEAR(words("red", "red"), 1, 0);
    CHECK_NEAR(words(" Red. ", "red"), 1, 0);
    CHECK_NEAR(words("blue", "red"), 0, 0);
    CHECK_NEAR(words("", "red"), 0, 0);
    CHECK_NEAR(words("", "?!"), 1, 0); /* nothing was wanted, nothing was said */
    CHECK_NEAR(words("a red ball", "the red ball"), 2.0 * 2 / 6, 1e-12);
    CHECK_NEAR(words("red red red", "red ball"), 2.0 * 1 / 5, 1e-12); /* each counts once */
    CHECK_NEAR(words("\xc3\xa9t\xc3\xa9", "\xc3\xa9t\xc3\xa9"), 1, 0);
    CHECK_NEAR(words("top-left", "top left"), 1, 0);
}

TEST(gate_words_of_several) {
    const char *const right[] = {"a dog", "dog", "puppy"};
    CHECK_NEAR(score_words("dog", 3, right, 3), 1, 0);
    CHECK_NEAR(score_words("the dog", 7, right, 3), 2.0 / 3, 1e-12);
    CHECK_NEAR(score_words("cat", 3, right, 3), 0, 0);
    CHECK_NEAR(score_words("cat", 3, right, 0), 0, 0);
}

TEST(gate_boxes) {
    const char *two = "<p>dog</p> {<10><10><50><50>}<delim>{<60><60><90><90>}";
    CHECK_NEAR(boxes(two, two), 1, 0);
    CHECK_NEAR(boxes("<p>dog</p> {<11><10><50><52>}", two), 2.0 / 3, 1e-12);
    CHECK_NEAR(boxes("{<10><10><50><50>}{<10><10><50><50>}", two), 0.5, 1e-12); /* one, once */
    CHECK_NEAR(boxes("{<10><10><20><20>}", two), 0, 0);
    CHECK_NEAR(boxes("no dog", two), 0, 0);
    CHECK_NEAR(boxes("no dog", "no dog"), 1, 0);
}

TEST(gate_boxes_that_are_none) {
    const char *right = "{<0><0><100><100>}";
    static const char *const bad[] = {"{<0><0><100>}",
                                      "{<0><0><100><101>}",
                                      "{<0><0><100><100>",
                                      "{<><0><100><100>}",
                                      "{<0><0><100><1000>}",
                                      "{",
                                      "{<0>",
                                      "{<0><0><100><100",
                                      "{{{{",
                                      "{<-1><0><100><100>}"};
    CHECK_NEAR(boxes(right, right), 1, 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_NEAR(boxes(bad[i], right), 0, 0);
    CHECK_NEAR(boxes("{<5>{<0><0><100><100>}", right), 1, 0); /* the second begins anew */
}
