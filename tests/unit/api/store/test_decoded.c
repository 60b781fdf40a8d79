/* Pictures by the bytes they came as: found by all that decides what becomes of them, by their
 * owner alone, and bounded in bytes. */
#include "api/store/decoded.h"

#include <stdio.h>
#include <string.h>

#include "tests/check.h"
#include "tests/unit/api/fake_engine.h"

static const struct decoded_how usual = {.pixels_max = 100, .costly_max = 50};

static struct eng_picture *picture(struct eng *e, uint8_t shade) {
    uint8_t rgb[3] = {shade, 0, 0};
    struct eng_picture *p;
    CHECK_EQ(eng_picture_new(e, rgb, 1, 1, &p, NULL), 0);
    return p;
}

static struct eng_picture *find(struct decoded *s, uint64_t owner, const struct decoded_how *how,
                                const char *bytes, char *key) {
    return decoded_find(s, owner, how, (const uint8_t *)bytes, strlen(bytes), key);
}

/* As a request does it: 1 when the picture had to be made. */
static int ask(struct decoded *s, struct eng *e, uint64_t owner, const char *bytes) {
    char key[DECODED_KEY_BYTES];
    struct eng_picture *p = find(s, owner, &usual, bytes, key);
    int is_new = !p;
    if (is_new) {
        p = picture(e, (uint8_t)bytes[0]);
        decoded_keep(s, owner, key, p);
    }
    eng_picture_put(p);
    return is_new;
}

TEST(decoded_are_found_by_bytes_owner_and_how) {
    static const struct decoded_how others[] = {
        {99, 50, 0, 0}, {100, 49, 0, 0}, {100, 50, 1, 0}, {100, 50, 0, 1}};
    struct eng *e = fake_open(2);
    struct decoded *s = decoded_new(1 << 20);
    char key[DECODED_KEY_BYTES];
    CHECK_EQ(ask(s, e, 1, "one"), 1);
    CHECK_EQ(ask(s, e, 1, "one"), 0);
    CHECK_EQ(ask(s, e, 1, "onf"), 1);
    CHECK_EQ(ask(s, e, 1, ""), 1);
    CHECK_EQ(ask(s, e, 2, "one"), 1);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        CHECK(!find(s, 1, &others[i], "one", key) && strlen(key) == 64);
    struct decoded_stats n;
    decoded_stats(s, &n);
    CHECK(n.hits == 1 && n.misses == 8 && n.pictures == 4);
    CHECK_EQ(fake_pictures(e), 4);
    decoded_free(s);
    CHECK_EQ(fake_pictures(e), 0);
    fake_close(e);
}

/* Who was used last stays; what is larger than all together isn't kept; one key is kept once. */
TEST(decoded_stay_within_their_bytes) {
    struct eng *e = fake_open(2);
    struct eng_picture *p = picture(e, 7);
    size_t one = eng_picture_bytes(p);
    struct decoded *s = decoded_new(3 * one + one / 2);
    struct decoded_stats n;
    static const char *const names[] = {"a", "b", "c"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        CHECK_EQ(ask(s, e, 1, names[i]), 1);
    CHECK_EQ(ask(s, e, 1, "a"), 0);
    CHECK_EQ(ask(s, e, 2, "d"), 1); /* in place of "b" */
    CHECK_EQ(ask(s, e, 1, "a"), 0);
    CHECK_EQ(ask(s, e, 1, "c"), 0);
    decoded_stats(s, &n);
    CHECK(n.pictures == 3 && n.bytes == 3 * one);
    CHECK_EQ(ask(s, e, 1, "b"), 1);
    decoded_keep(s, 1, "key", p);
    decoded_keep(s, 1, "key", p);
    decoded_keep(s, 1, "", p); /* SHA-256 had no memory */
    decoded_stats(s, &n);
    CHECK(n.pictures == 3 && n.bytes == 3 * one);
    CHECK_EQ(fake_pictures(e), 3); /* among them p, which is kept */
    decoded_free(s);
    s = decoded_new(one - 1);
    decoded_keep(s, 1, "key", p);
    decoded_stats(s, &n);
    CHECK(n.pictures == 0 && n.bytes == 0);
    decoded_free(s);
    eng_picture_put(p);
    CHECK_EQ(fake_pictures(e), 0);
    fake_close(e);
}

/* However small the pictures are, there is an end to their number. */
TEST(decoded_have_a_number) {
    struct eng *e = fake_open(2);
    struct decoded *s = decoded_new((size_t)1 << 30);
    struct eng_picture *p = picture(e, 7);
    struct decoded_stats n;
    for (int i = 0; i < 1030; i++) {
        char key[8];
        snprintf(key, sizeof(key), "%d", i);
        decoded_keep(s, 1, key, p);
    }
    decoded_stats(s, &n);
    CHECK(n.pictures == 1024 && n.bytes == 1024 * eng_picture_bytes(p));
    eng_picture_put(p);
    decoded_free(s);
    CHECK_EQ(fake_pictures(e), 0);
    fake_close(e);
}

TEST(decoded_without_room_keeps_nothing) {
    struct eng *e = fake_open(2);
    struct decoded_stats n;
    struct decoded *s = decoded_new(0);
    CHECK(!s);
    CHECK_EQ(ask(s, e, 1, "one"), 1);
    CHECK_EQ(ask(s, e, 1, "one"), 1);
    decoded_stats(s, &n);
    CHECK(n.hits == 0 && n.misses == 0 && n.bytes == 0);
    decoded_free(s);
    CHECK_EQ(fake_pictures(e), 0);
    fake_close(e);
}
