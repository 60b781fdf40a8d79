/* Which of our types does a client like most? RFC 9110 section 12.5.1. */
#include "api/wire/accept.h"

#include <stddef.h>
#include <stdio.h>

#include "tests/check.h"

TEST(accept_picks_what_is_liked_most) {
    static const char *const types[] = {"image/png", "application/json", "text/event-stream", NULL};
    static const struct {
        const char *accept;
        int wanted;
    } cases[] = {{NULL, 0},
                 {"", 0},
                 {"*/*", 0},
                 {"application/json", 1},
                 {"APPLICATION/JSON", 1},
                 {"text/event-stream, application/json;q=0.9", 2},
                 {"text/event-stream;q=0.5, application/json;q=0.9", 1},
                 {"image/*", 0},
                 {"image/*;q=0.1, text/*", 2},
                 {"*/*;q=0.1, application/*", 1},
                 {"*/*, image/png;q=0", 1}, /* itself counts more than any */
                 {"application/json ; charset=x ; q=1", 1},
                 {"application/json;q=0", -1},
                 {"application/json;q=0.000, text/html", -1},
                 {"text/html", -1},
                 {"application/jsonx", -1},
                 {"image/webp, image/avif", -1},
                 {"application/json;q=nonsense", -1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int got = accept_pick(cases[i].accept, types);
        if (got != cases[i].wanted) printf("Accept: %s\n", cases[i].accept);
        CHECK_EQ(got, cases[i].wanted);
    }
}

TEST(accept_of_one_type) {
    static const char *const types[] = {"application/json", NULL};
    CHECK_EQ(accept_pick("text/html, application/json", types), 0);
    CHECK_EQ(accept_pick("text/html", types), -1);
}
