/* The boxes in a text of the model, whatever else the model writes. */
#include "api/task/boxes.h"
#include "tests/check.h"

static void check(const char *text, int n, const char *phrase, const int *last) {
    struct boxes b = {.text = text, .len = strlen(text)};
    struct box_named found;
    int count = 0;
    while (boxes_next(&b, &found))
        count++;
    CHECK_EQ(count, n);
    if (!n) return;
    if (phrase) {
        CHECK_EQ(found.phrase_len, strlen(phrase));
        CHECK_MEM(found.phrase, phrase, found.phrase_len);
    } else {
        CHECK(found.phrase == NULL);
    }
    for (int k = 0; k < 4; k++)
        CHECK_EQ(found.percent[k], last[k]);
}

TEST(boxes_by_hand) {
    const int box[] = {1, 2, 30, 100};
    check("<p>a dog</p> {<1><2><30><100>}", 1, "a dog", box);
    check("a <p> big dog </p>{<1><2><30><100>} on grass", 1, "big dog", box);
    check("<p>dogs</p> {<5><5><9><9>}<delim>{<1><2><30><100>}", 2, "dogs", box);
    check("<p>dogs</p> {<5><5><9><9>} <delim> {<1><2><30><100>}.", 2, "dogs", box);
    check("<p>a</p> {<0><0><0><0>} and <p>b</p> {<1><2><30><100>}", 2, "b", box);
    check("<p>a</p> of which {<1><2><30><100>}", 1, NULL, box); /* not right behind it */
    check("{<1><2><30><100>}", 1, NULL, box);
    check("{<30><100><1><2>}", 1, NULL, box); /* in order */
    check("{{<1><2><30><100>}", 1, NULL, box);
    check("<p></p> {<1><2><30><100>}", 1, "", box);
    check("<p>\xc3\xa4</p>{<1><2><30><100>}", 1, "\xc3\xa4", box);
}

TEST(boxes_that_are_none) {
    static const char *const texts[] = {"",
                                        "a dog",
                                        "{",
                                        "{<1>",
                                        "{<1><2><3>}",
                                        "{<1><2><3><101>}",
                                        "{<1><2><3><99999>}",
                                        "{<1><2><3><4>",
                                        "{<1><2><3><>}",
                                        "{<1><2><3><-4>}",
                                        "{<1> <2><3><4>}",
                                        "<p>never closed {<1><2><3>",
                                        "<delim><delim>",
                                        "</p>"};
    for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        check(texts[i], 0, NULL, NULL);
}
