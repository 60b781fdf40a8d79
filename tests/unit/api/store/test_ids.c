/* Ids: one for an owner's picture, another for each other owner, none that says what it shows. */
#include "api/store/ids.h"

#include <string.h>

#include "tests/check.h"

TEST(ids_of_pictures) {
    struct ids *s, *again;
    char a[IDS_BYTES], b[IDS_BYTES], c[IDS_BYTES];
    CHECK_EQ(ids_new(NULL, &s, NULL), 0);
    CHECK_EQ(ids_new("", &again, NULL), 0);
    uint64_t me = ids_owner(s, "k3v9"), you = ids_owner(s, "k3v8");
    CHECK(me && you && me != you && ids_owner(s, "") == 0);
    CHECK(ids_owner(again, "k3v9") != me); /* another secret */
    ids_picture(s, me, "digest", a);
    ids_picture(s, me, "digest", b);
    CHECK_STR(a, b);
    CHECK(strlen(a) == 64 && strspn(a, "0123456789abcdef") == 64);
    ids_picture(s, you, "digest", b);
    CHECK(strcmp(a, b) != 0);
    ids_picture(s, me, "digest2", b);
    CHECK(strcmp(a, b) != 0);
    ids_picture(again, me, "digest", b);
    CHECK(strcmp(a, b) != 0);
    CHECK_EQ(ids_session(s, b), 0);
    CHECK_EQ(ids_session(s, c), 0);
    CHECK(strlen(b) == 32 && strspn(b, "0123456789abcdef") == 32 && strcmp(b, c) != 0);
    ids_free(s);
    ids_free(again);
}

TEST(ids_begin_with_the_replica) {
    static const char *const bad[] = {"A", "a-b", "a_b", "abcdefghijklmnopq", " ", "\xc3\xa4"};
    struct ids *s;
    char a[IDS_BYTES];
    CHECK_EQ(ids_new("eu1", &s, NULL), 0);
    ids_picture(s, 0, "digest", a);
    CHECK(strncmp(a, "eu1-", 4) == 0 && strlen(a) == 68);
    CHECK_EQ(ids_session(s, a), 0);
    CHECK(strncmp(a, "eu1-", 4) == 0 && strlen(a) == 36);
    ids_free(s);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_EQ(ids_new(bad[i], &s, NULL), E_INVALID);
}
