/* test_progress.c - times for people. */
#include "cli/batch/progress.h"
#include "kernels/base/err.h"
#include "tests/check.h"

TEST(progress_says_times) {
    static const struct {
        double seconds;
        const char *text;
    } rows[] = {{0, "0 s"},          {59.4, "59 s"},      {59.6, "1 min 0 s"},
                {250, "4 min 10 s"}, {3600, "1 h 0 min"}, {90000, "25 h 0 min"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[40];
        progress_time(rows[i].seconds, text, sizeof(text));
        CHECK_STR(text, rows[i].text);
    }
}
