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
    struct eng_picture *found = images_find(s, eng_picture_digest(p));
    CHECK(!found || found == p);
    eng_picture_put(found);
    return found != NULL;
}

TEST(images_hold_one_reference_each) {
    struct eng *e = fake_open(2);
    struct images *s = images_new(2, 60);
    struct eng_picture *a = picture(e, 1), *b = picture(e, 2), *c = picture(e, 3);
    CHECK_EQ(images_put(s, a), 1);
    CHECK_EQ(images_put(s, a), 0);
    CHECK_EQ(images_put(s, b), 1);
    CHECK_EQ(images_count(s), 2);
    CHECK(is_there(s, a)); /* which is a use of it */
    CHECK_EQ(images_put(s, c), 1);
    CHECK(is_there(s, a) && !is_there(s, b) && is_there(s, c));
    CHECK_EQ(images_forget(s, eng_picture_digest(a)), 0);
    CHECK_EQ(images_forget(s, eng_picture_digest(a)), E_NOT_FOUND);
    CHECK_EQ(images_count(s), 1);
    eng_picture_put(a);
    eng_picture_put(b);
    eng_picture_put(c);
    CHECK_EQ(fake_pictures(e), 1); /* the store's */
    images_free(s);
    CHECK_EQ(fake_pictures(e), 0);
    fake_close(e);
}
