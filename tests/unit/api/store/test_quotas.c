/* Quotas: what one caller has is counted, refused and given back, apart from all others. */
#include "api/store/quotas.h"

#include "tests/check.h"

TEST(quotas_count_what_one_caller_has) {
    struct quotas *q =
        quotas_new(&(struct api_limits){.requests = 2, .tokens = 100, .body_bytes = 1000});
    struct account *a, *b, *c;
    CHECK_EQ(quotas_enter(q, "=me", 400, 0, &a), QUOTA_NONE);
    CHECK_EQ(quotas_enter(q, "=me", 601, 0, &b), QUOTA_BODY);
    CHECK(b == NULL);
    CHECK_EQ(quotas_enter(q, "=me", 600, 0, &b), QUOTA_NONE);
    CHECK(a == b);
    CHECK_EQ(quotas_enter(q, "=me", 0, 0, &c), QUOTA_REQUESTS);
    CHECK_EQ(quotas_enter(q, "@me", 9000, 0, &c), QUOTA_NONE); /* what is alone is never too much */
    CHECK(c != a);
    CHECK_EQ(quotas_tokens(q, a, 500), 0);
    CHECK_EQ(quotas_tokens(q, a, 1), E_BUSY);
    CHECK_EQ(quotas_tokens(q, c, 60), 0);
    CHECK_EQ(quotas_tokens(q, a, -500), 0);
    CHECK_EQ(quotas_tokens(q, a, 60), 0);
    CHECK_EQ(quotas_tokens(q, a, 40), 0);
    CHECK_EQ(quotas_tokens(q, a, 1), E_BUSY);
    CHECK_EQ(quotas_tokens(q, a, -100), 0);
    quotas_leave(q, a, 400, 0);
    CHECK_EQ(quotas_enter(q, "=me", 400, 0, &b), QUOTA_NONE); /* the first is answered */
    CHECK(a == b);
    quotas_leave(q, a, 600, 0);
    quotas_leave(q, b, 400, 0);
    quotas_leave(q, c, 9000, 0);
    for (int i = 0; i < 3; i++)
        quotas_end(q, a);
    quotas_end(q, c);
    CHECK_EQ(quotas_enter(q, "=you", 0, 0, &b), QUOTA_NONE); /* in the place of one that is gone */
    CHECK(b == a || b == c);
    quotas_leave(q, b, 0, 0);
    quotas_end(q, b);
    quotas_free(q);
    quotas_free(NULL);
}

TEST(quotas_of_nothing_are_none) {
    struct quotas *q = quotas_new(&(struct api_limits){.requests = 0});
    struct account *a[50];
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(quotas_enter(q, "@me", 1 << 30, 0, &a[i]), QUOTA_NONE);
        CHECK_EQ(quotas_tokens(q, a[i], 1 << 30), 0);
    }
    for (int i = 0; i < 50; i++) {
        quotas_leave(q, a[i], 1 << 30, 0);
        quotas_end(q, a[i]);
    }
    quotas_free(q);
}

TEST(quotas_say_what_there_is_too_much_of) {
    struct quotas *q = quotas_new(&(struct api_limits){.requests = 2, .sessions = 3});
    char policy[API_LIMIT_BYTES], left[API_LIMIT_BYTES], text[API_LIMIT_BYTES];
    quotas_fields(q, QUOTA_REQUESTS, policy, left);
    CHECK_STR(policy, "\"requests\";q=2;qu=\"concurrent-requests\"");
    CHECK_STR(left, "\"requests\";r=0");
    quotas_text(q, QUOTA_SESSIONS, text);
    CHECK_STR(text, "3 games at once");
    quotas_free(q);
}

TEST(quotas_count_uploads) {
    const struct api_limits limits = {.uploads = 2};
    struct quotas *q = quotas_new(&limits);
    struct account *a, *b, *c;
    char text[API_LIMIT_BYTES];
    CHECK_EQ(quotas_enter(q, "=me", 1, 1, &a), QUOTA_NONE);
    CHECK_EQ(quotas_enter(q, "=me", 1, 1, &b), QUOTA_NONE);
    CHECK_EQ(quotas_enter(q, "=me", 1, 1, &c), QUOTA_UPLOADS);
    CHECK_EQ(quotas_enter(q, "=me", 1, 0, &c), QUOTA_NONE); /* what is no upload comes in */
    quotas_leave(q, c, 1, 0);
    quotas_end(q, c);
    quotas_leave(q, a, 1, 1);
    quotas_end(q, a);
    CHECK_EQ(quotas_enter(q, "=me", 1, 1, &a), QUOTA_NONE);
    quotas_text(q, QUOTA_UPLOADS, text);
    CHECK_STR(text, "2 uploads at once");
    quotas_leave(q, a, 1, 1);
    quotas_end(q, a);
    quotas_leave(q, b, 1, 1);
    quotas_end(q, b);
    quotas_free(q);
}

/* Of all tiles one caller may have half; what was refused counts nowhere. */
TEST(quotas_count_tiles) {
    struct quotas *q = quotas_new(&(struct api_limits){.requests = 0});
    struct account *a, *b;
    char text[API_LIMIT_BYTES];
    enum { HALF = QUOTAS_TILES_MAX / 2 };
    CHECK_EQ(quotas_enter(q, "=me", 1, 0, &a), QUOTA_NONE);
    CHECK_EQ(quotas_enter(q, "=you", 1, 0, &b), QUOTA_NONE);
    CHECK_EQ(quotas_tiles(q, a, HALF), QUOTA_NONE);
    CHECK_EQ(quotas_tiles(q, a, 1), QUOTA_TILES);
    CHECK_EQ(quotas_tiles(q, b, HALF - 4), QUOTA_NONE);
    CHECK_EQ(quotas_tiles(q, NULL, 4), QUOTA_NONE);
    CHECK_EQ(quotas_tiles(q, b, 4), QUOTA_REQUESTS);
    CHECK_EQ(quotas_tiles(q, NULL, -4), QUOTA_NONE);
    CHECK_EQ(quotas_tiles(q, b, 4), QUOTA_NONE);
    quotas_text(q, QUOTA_TILES, text);
    CHECK_STR(text, "128 tiles at once");
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(quotas_tiles(q, i ? a : b, -HALF), QUOTA_NONE);
        quotas_leave(q, i ? a : b, 1, 0);
        quotas_end(q, i ? a : b);
    }
    quotas_free(q);
}
