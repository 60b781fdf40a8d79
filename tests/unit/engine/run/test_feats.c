/* test_feats.c - entries of features: found again, held while needed, the oldest given away. */
#include "engine/run/feats.h"

#include <stdio.h>

#include "tests/check.h"

static struct stem_part *take(struct stems *s, const char *digest) {
    static const int32_t ids[] = {1, -1, 2};
    int32_t cached;
    struct stem_key k = {{digest}, ids, 3, 4, 0, NULL};
    struct stem_part *text = stem_take(s, &k, &cached);
    CHECK(text);
    return text;
}

TEST(feats_are_found_held_and_given_away) {
    struct kv kv;
    struct stems s;
    struct feats f;
    int is_filled;
    kv_init(&kv, 100, 1, stem_parts_max(4, 4));
    stem_init(&s, &kv, 4, 4);
    feats_init(&f, 2);
    struct stem_part *a = take(&s, "a"), *b = take(&s, "b"), *c = take(&s, "c");
    a->up->feat = feats_take(&f, &s, 0, NULL, "a", &is_filled);
    CHECK(a->up->feat >= 0 && !is_filled);
    CHECK_EQ(feats_take(&f, &s, 0, NULL, "a", &is_filled), a->up->feat);
    CHECK(is_filled);
    b->up->feat = feats_take(&f, &s, 0, NULL, "b", &is_filled);
    CHECK(b->up->feat >= 0 && b->up->feat != a->up->feat && !is_filled);
    CHECK_EQ(feats_take(&f, &s, 0, NULL, "c", &is_filled), -1); /* both are held */
    int32_t was = a->up->feat;
    a->up->feat = -1; /* filled: let go of, and still known */
    CHECK_EQ(feats_take(&f, &s, 0, NULL, "a", &is_filled), was);
    CHECK(is_filled);
    c->up->feat = feats_take(&f, &s, 0, NULL, "c", &is_filled);
    CHECK_EQ(c->up->feat, was);
    CHECK(!is_filled);
    b->up->feat = c->up->feat = -1;
    CHECK_EQ(feats_take(&f, &s, 0, NULL, "a", &is_filled), 1 - was); /* b's is the older one */
    CHECK(!is_filled);
    feats_clear(&f);
    stem_clear(&s);
    kv_clear(&kv);
}

/* Who fills all entries pushes out its own; another owner's stay, and are found by it alone. */
TEST(feats_are_an_owners) {
    struct kv kv;
    struct stems s;
    struct feats f;
    int is_filled;
    char name[8];
    kv_init(&kv, 100, 1, stem_parts_max(4, 4));
    stem_init(&s, &kv, 4, 4);
    feats_init(&f, 4);
    int32_t mine = feats_take(&f, &s, 1, NULL, "mine", &is_filled);
    for (int i = 0; i < 9; i++) {
        snprintf(name, sizeof(name), "%d", i);
        CHECK(feats_take(&f, &s, 2, NULL, name, &is_filled) != mine && !is_filled);
    }
    CHECK(feats_take(&f, &s, 2, NULL, "mine", &is_filled) != mine && !is_filled);
    CHECK_EQ(feats_take(&f, &s, 1, NULL, "mine", &is_filled), mine);
    CHECK(is_filled);
    CHECK(feats_take(&f, &s, 1, "an overlay's", "mine", &is_filled) != mine && !is_filled);
    CHECK_EQ(feats_take(&f, &s, 1, NULL, "mine", &is_filled), mine);
    CHECK(is_filled);
    feats_made_by(&f, "another tower");
    (void)feats_take(&f, &s, 1, NULL, "mine", &is_filled);
    CHECK(!is_filled);
    (void)feats_take(&f, &s, 1, NULL, "mine", &is_filled);
    CHECK(is_filled);
    feats_clear(&f);
    stem_clear(&s);
    kv_clear(&kv);
}
