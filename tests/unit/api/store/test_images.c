/* The store of pictures by itself: one reference each, known by digest, least recently used out. */
#include "api/store/images.h"

#include "tests/check.h"
#include "tests/unit/api/fake_engine.h"

static struct eng_picture *picture(struct eng *e, uint8_t shade) {
    uint8_t rgb[3] = {shade, 0, 0};
    struct eng_picture *p;
    CHECK_EQ(eng_picture_new(e, rgb, 1, 1, &p, NULL), 0);
    return p;
}

static int is_there(struct images *s, const struct eng_picture *p) {
    struct eng_picture *found = images_find(s, 1, eng_picture_digest(p));
    CHECK(!found || found == p);
    eng_picture_put(found);
    return found != NULL;
}

TEST(images_hold_one_reference_each) {
    struct eng *e = fake_open(2);
    struct images *s = images_new(2, 0, 60);
    struct eng_picture *a = picture(e, 1), *b = picture(e, 2), *c = picture(e, 3);
    CHECK_EQ(images_put(s, 1, 1, eng_picture_digest(a), a), 0);
    CHECK_EQ(images_put(s, 1, 1, eng_picture_digest(a), a), 0);
    CHECK_EQ(images_put(s, 1, 1, eng_picture_digest(b), b), 0);
    CHECK_EQ(images_count(s), 2);
    CHECK(is_there(s, a)); /* which is a use of it */
    CHECK_EQ(images_put(s, 1, 1, eng_picture_digest(c), c), 0);
    CHECK(is_there(s, a) && !is_there(s, b) && is_there(s, c));
    CHECK_EQ(images_forget(s, 1, eng_picture_digest(a)), 0);
    CHECK_EQ(images_forget(s, 1, eng_picture_digest(a)), E_NOT_FOUND);
    CHECK_EQ(images_count(s), 1);
    eng_picture_put(a);
    eng_picture_put(b);
    eng_picture_put(c);
    CHECK_EQ(fake_pictures(e), 1); /* the store's */
    images_free(s);
    CHECK_EQ(fake_pictures(e), 0);
    fake_close(e);
}

/* One owner, as all are who have no key: a payer's pictures push out his own alone. */
TEST(images_are_counted_against_a_payer) {
    struct eng *e = fake_open(2);
    struct images *s = images_new(3, 2, 60);
    struct eng_picture *p = picture(e, 1), *found;
    CHECK_EQ(images_put(s, 0, 1, "a", p), 0);
    for (int i = 0; i < 5; i++) {
        char id[8] = {(char)('p' + i), 0};
        CHECK_EQ(images_put(s, 0, 2, id, p), 0);
    }
    CHECK_EQ(images_count(s), 3);
    CHECK((found = images_find(s, 0, "a")) != NULL);
    eng_picture_put(found);
    CHECK_EQ(images_put(s, 0, 3, "c", p), E_BUSY);
    eng_picture_put(p);
    images_free(s);
    CHECK_EQ(fake_pictures(e), 0);
    fake_close(e);
}

/* Nobody else finds one, forgets one or pushes one out; and an owner has no more than its part. */
TEST(images_are_an_owners) {
    struct eng *e = fake_open(2);
    struct images *s = images_new(3, 2, 60);
    struct eng_picture *p = picture(e, 1);
    CHECK_EQ(images_put(s, 1, 1, "a", p), 0);
    CHECK_EQ(images_put(s, 2, 2, "b", p), 0);
    CHECK(!images_find(s, 2, "a") && !images_find(s, 1, "b"));
    CHECK_EQ(images_forget(s, 2, "a"), E_NOT_FOUND);
    for (int i = 0; i < 5; i++) {
        char id[8] = {(char)('p' + i), 0};
        CHECK_EQ(images_put(s, 2, 2, id, p), 0); /* its own oldest goes */
    }
    CHECK_EQ(images_count(s), 3);
    CHECK_EQ(images_put(s, 3, 3, "c", p), E_BUSY); /* it is full, and nothing is the third one's */
    CHECK_EQ(images_put(s, 1, 1, "d", p), 0);      /* in place of its own */
    CHECK(!images_find(s, 1, "a"));
    CHECK_EQ(images_count(s), 3);
    eng_picture_put(p);
    images_free(s);
    CHECK_EQ(fake_pictures(e), 0);
    fake_close(e);
}
