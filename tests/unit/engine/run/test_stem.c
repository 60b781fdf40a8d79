/* test_stem.c - finding, pinning, sharing and evicting stems, with numbers only. */
#include <stdio.h>

#include "engine/run/stem.h"
#include "kernels/base/rng.h"
#include "tests/check.h"

enum { I = 16, PICTURE = 2 + I, TEXT = 3, LEN = PICTURE + TEXT };

/* BOS <Img> picture | three tokens of a task */
static const int32_t TASK_A[] = {1, 7, -1, 20, 21, 22}, TASK_B[] = {1, 7, -1, 30, 31, 32};

static struct stem_key key(char *digest, int picture, const int32_t *ids) {
    (void)snprintf(digest, STEM_DIGEST, "%064d", picture);
    return (struct stem_key){{digest}, ids, 6, I, 0, NULL};
}

static struct stem_part *take(struct stems *s, int picture, const int32_t *ids, int32_t *cached) {
    char digest[STEM_DIGEST];
    struct stem_key k = key(digest, picture, ids);
    return stem_take(s, &k, cached);
}

/* As if passes had run until the chain is whole. */
static int fill(struct stem_part *text) {
    struct stem_part *p;
    int chunks = 0;
    for (; (p = stem_next(text)) != NULL; chunks++) {
        if (!stem_is_ready(p)) p->feat = 0;
        p->planned += stem_chunk(p);
        stem_settle(p);
    }
    return chunks;
}

TEST(stem_is_found_again) {
    struct kv kv;
    struct stems s;
    int32_t cached;
    kv_init(&kv, 100, 1, stem_parts_max(4, 2));
    stem_init(&s, &kv, 4, 2);
    struct stem_part *a = take(&s, 1, TASK_A, &cached);
    CHECK(a && cached == 0);
    CHECK_EQ(a->start, PICTURE);
    CHECK_EQ(a->up->start, 0);
    CHECK(stem_next(a) == a->up);                            /* the picture first */
    struct stem_part *shared = take(&s, 1, TASK_A, &cached); /* while still cold */
    CHECK(shared == a);
    CHECK_EQ(fill(a), 2);
    CHECK_EQ(a->up->feat, -1);
    CHECK_EQ(kv_used(&kv), LEN);
    stem_give(&s, a);
    CHECK_EQ(stem_cached_slots(&s), 0);
    stem_give(&s, shared);
    CHECK_EQ(stem_cached_slots(&s), LEN);
    CHECK(take(&s, 1, TASK_A, &cached) == a);
    CHECK_EQ(cached, LEN);
    CHECK(stem_next(a) == NULL);
    CHECK_EQ(s.counts.hits, 2);
    CHECK_EQ(s.counts.misses, 1);
    stem_clear(&s);
    kv_clear(&kv);
}

TEST(stem_of_another_task_shares_the_picture) {
    struct kv kv;
    struct stems s;
    int32_t cached;
    kv_init(&kv, 100, 1, stem_parts_max(4, 2));
    stem_init(&s, &kv, 4, 2);
    struct stem_part *a = take(&s, 1, TASK_A, &cached);
    fill(a);
    struct stem_part *b = take(&s, 1, TASK_B, &cached);
    CHECK(b != a && b->up == a->up);
    CHECK_EQ(cached, PICTURE);
    CHECK_EQ(kv_used(&kv), PICTURE + 2 * TEXT);
    CHECK(stem_next(b) == b);
    struct stem_part *other = take(&s, 2, TASK_A, &cached);
    CHECK(other->up != a->up);
    CHECK_EQ(cached, 0);
    stem_clear(&s);
    kv_clear(&kv);
}

TEST(stem_source_rows) {
    struct kv kv;
    struct stems s;
    int32_t cached;
    kv_init(&kv, 100, 1, stem_parts_max(4, 2));
    stem_init(&s, &kv, 4, 2);
    struct stem_part *a = take(&s, 1, TASK_A, &cached);
    a->up->feat = 3;
    CHECK_EQ(stem_src(a->up, 0), 1);
    CHECK_EQ(stem_src(a->up, 1), 7);
    CHECK_EQ(stem_src(a->up, 2), ~(3 * I));
    CHECK_EQ(stem_src(a->up, PICTURE - 1), ~(3 * I + I - 1));
    CHECK_EQ(stem_src(a, 0), 20);
    CHECK(stem_holds_feat(&s, 3) && !stem_holds_feat(&s, 0));
    stem_clear(&s);
    kv_clear(&kv);
}

TEST(stem_half_filled_is_not_kept) {
    struct kv kv;
    struct stems s;
    int32_t cached;
    kv_init(&kv, 100, 1, stem_parts_max(4, 2));
    stem_init(&s, &kv, 4, 2);
    struct stem_part *a = take(&s, 1, TASK_A, &cached);
    a->up->feat = 0;
    a->up->planned = a->up->done = 5;
    stem_give(&s, a);
    CHECK_EQ(kv_used(&kv), 0);
    CHECK_EQ(s.counts.evicted, 0);
    CHECK(!stem_holds_feat(&s, 0));
    stem_clear(&s);
    kv_clear(&kv);
}

TEST(stem_evicts_the_least_recently_used) {
    struct kv kv;
    struct stems s;
    int32_t cached;
    kv_init(&kv, 2 * LEN, 1, stem_parts_max(4, 8));
    stem_init(&s, &kv, 4, 8);
    for (int picture = 1; picture <= 2; picture++) {
        struct stem_part *p = take(&s, picture, TASK_A, &cached);
        fill(p);
        stem_give(&s, p);
    }
    struct stem_part *first = take(&s, 1, TASK_A, &cached);
    CHECK_EQ(cached, LEN);
    stem_give(&s, first); /* now picture 2 is the older one */
    struct stem_part *third = take(&s, 3, TASK_A, &cached);
    CHECK(third);
    CHECK_EQ(s.counts.evicted, 1);
    CHECK(take(&s, 1, TASK_A, &cached));
    CHECK_EQ(cached, LEN);
    CHECK(!take(&s, 2, TASK_A, &cached)); /* both others are pinned */
    stem_clear(&s);
    kv_clear(&kv);
}

TEST(stem_cache_is_bounded_by_pictures) {
    struct kv kv;
    struct stems s;
    int32_t cached;
    for (int most = 0; most < 3; most++) {
        kv_init(&kv, 1000, 1, stem_parts_max(4, most));
        stem_init(&s, &kv, 4, most ? most : -1);
        for (int picture = 0; picture < 6; picture++) {
            struct stem_part *a = take(&s, picture, TASK_A, &cached);
            struct stem_part *b = take(&s, picture, TASK_B, &cached);
            fill(a);
            fill(b);
            stem_give(&s, a);
            stem_give(&s, b);
        }
        CHECK_EQ(stem_cached_slots(&s), most * (LEN + TEXT));
        CHECK_EQ(kv_used(&kv), most * (LEN + TEXT));
        stem_clear(&s);
        kv_clear(&kv);
    }
}

/* A cached picture part in the middle leaves no gap for another task's text: it has to go. */
TEST(stem_that_fits_an_empty_region_is_always_served) {
    struct kv kv;
    struct stems s;
    int32_t cached, front;
    kv_init(&kv, LEN + 2, 1, stem_parts_max(4, 8) + 1);
    stem_init(&s, &kv, 4, 8);
    CHECK(kv_range_take(&kv, 2, &front));
    struct stem_part *a = take(&s, 1, TASK_A, &cached);
    fill(a);
    stem_give(&s, a);
    kv_range_give(&kv, front, 2); /* gaps of 2, and of 3 once the text is evicted */
    int32_t wide[] = {1, 7, -1, 40, 41, 42, 43, 44};
    char digest[STEM_DIGEST];
    struct stem_key k = key(digest, 1, wide);
    k.n_ids = 8;
    CHECK_EQ(stem_len(&k), LEN + 2);
    struct stem_part *b = stem_take(&s, &k, &cached);
    CHECK(b);
    CHECK_EQ(cached, 0);
    CHECK_EQ(kv_used(&kv), LEN + 2);
    stem_give(&s, b);
    CHECK_EQ(kv_used(&kv), 0);
    stem_clear(&s);
    kv_clear(&kv);
}

/* ---- several pictures ---- */

/* Two frames, a third, a text; and a text without any picture. */
static const int32_t GAME[] = {1, 7, -1, 8, -1, 9, -1, 30}, TALK[] = {1, 5, 6};

static struct stem_part *take_game(struct stems *s, const int *frames, int32_t *cached) {
    char digest[3][STEM_DIGEST];
    struct stem_key k = {.ids = GAME, .n_ids = 8, .image_tokens = I};
    for (int i = 0; i < 3; i++) {
        (void)snprintf(digest[i], STEM_DIGEST, "%064d", frames[i]);
        k.digests[i] = digest[i];
    }
    CHECK(stem_is_legal(&k));
    CHECK_EQ(stem_len(&k), 3 * I + 5);
    return stem_take(s, &k, cached);
}

TEST(stem_of_several_pictures) {
    struct kv kv;
    struct stems s;
    int32_t cached;
    kv_init(&kv, 400, 1, stem_parts_max(4, 4));
    stem_init(&s, &kv, 4, 4);
    struct stem_part *parts[STEM_PARTS];
    struct stem_part *a = take_game(&s, (int[]){1, 2, 3}, &cached);
    CHECK_EQ(cached, 0);
    CHECK_EQ(stem_chain(a, parts), 4);
    CHECK(parts[3] == a && a->image_tokens == 0 && a->start == 3 * I + 4);
    CHECK_EQ(parts[1]->start, 2 + I);
    CHECK(stem_next_picture(a) == parts[0] && stem_next(a) == parts[0]);
    parts[0]->feat = 2;
    CHECK(stem_is_ready(parts[0]) &&
          stem_next_picture(a) == parts[1]); /* the next is looked at already */
    CHECK_EQ(stem_src(parts[0], 2), ~(2 * I));
    for (int i = 0; i < 3; i++)
        parts[i]->feat = i;
    CHECK(stem_next_picture(a) == NULL);
    CHECK_EQ(stem_src(parts[1], 0), 8);
    CHECK_EQ(stem_src(parts[2], I), ~(2 * I + I - 1));
    fill(a);
    stem_give(&s, a);
    /* The same beginning is found again, the same frame at another place is not. */
    struct stem_part *b = take_game(&s, (int[]){1, 2, 4}, &cached);
    CHECK_EQ(cached, 3 + 2 * I);
    CHECK(b->up->up == parts[1]);
    stem_give(&s, b);
    b = take_game(&s, (int[]){2, 3, 4}, &cached);
    CHECK_EQ(cached, 0);
    stem_give(&s, b);
    stem_clear(&s);
    kv_clear(&kv);
}

TEST(stem_without_a_picture_and_of_nothing_else) {
    struct kv kv;
    struct stems s;
    int32_t cached;
    kv_init(&kv, 100, 1, stem_parts_max(2, 2));
    stem_init(&s, &kv, 2, 2);
    struct stem_key talk = {.ids = TALK, .n_ids = 3, .image_tokens = I};
    struct stem_part *a = stem_take(&s, &talk, &cached);
    CHECK(a && !a->up && stem_is_ready(a) && !stem_next_picture(a));
    CHECK_EQ(stem_src(a, 2), 6);
    stem_give(&s, a);
    struct stem_key bare = {{"f"}, TASK_A, 3, I, 0, NULL}; /* its picture ends the chain */
    a = stem_take(&s, &bare, &cached);
    CHECK(a && !a->up && !stem_is_ready(a));
    CHECK_EQ(a->len, 2 + I);
    stem_give(&s, a);
    static int32_t many[2 * ENG_PICTURES_MAX + 4], wide[STEM_IDS_MAX + 1];
    for (int i = 0; i < 2 * ENG_PICTURES_MAX + 2; i++)
        many[i] = i % 2 ? -1 : 3;
    struct stem_key k = {.ids = many, .n_ids = 2 * ENG_PICTURES_MAX, .image_tokens = I};
    for (int i = 0; i < ENG_PICTURES_MAX; i++)
        k.digests[i] = "f";
    CHECK(stem_is_legal(&k));
    struct stem_key long_text = {.ids = wide, .n_ids = STEM_IDS_MAX, .image_tokens = I};
    CHECK(stem_is_legal(&long_text));
    long_text.n_ids++;
    CHECK(!stem_is_legal(&long_text));
    stem_clear(&s);
    kv_clear(&kv);
}

/* Games and pictures in a region that is too small for them all. */
TEST(stem_chains_keep_the_books) {
    enum { HELD = 4 };
    struct kv kv;
    struct stems s;
    struct stem_part *held[HELD] = {0};
    int refused = 0;
    kv_init(&kv, 3 * (3 * I + 5), 1, stem_parts_max(HELD, 2));
    stem_init(&s, &kv, HELD, 2);
    for (uint64_t round = 0; round < 5000; round++) {
        uint64_t r = rng_u64(test_seed() + 9, round);
        int h = (int)(r % HELD), n_held = 0;
        int32_t cached, used = 0;
        for (int i = 0; i < HELD; i++)
            n_held += held[i] != NULL;
        if (held[h]) {
            if (r & 1 << 20) fill(held[h]);
            stem_give(&s, held[h]);
            held[h] = NULL;
        } else {
            int frames[3] = {(int)(r >> 8) % 3, (int)(r >> 12) % 3, (int)(r >> 16) % 3};
            held[h] =
                r & 1 << 24 ? take_game(&s, frames, &cached) : take(&s, frames[0], TASK_A, &cached);
            CHECK(held[h] || n_held > 0); /* with nothing pinned there always is room */
            refused += !held[h];
        }
        for (int32_t i = 0; i < s.n_parts; i++) {
            const struct stem_part *p = &s.parts[i];
            int32_t kids = 0;
            for (int32_t k = 0; k < s.n_parts; k++)
                kids += s.parts[k].len > 0 && s.parts[k].up == p;
            used += p->len;
            if (p->len) CHECK_EQ(kids, p->kids);
            if (p->len && p->users == 0) CHECK_EQ(p->done, p->len);
            if (p->len && p->up) CHECK(p->up->len > 0 && p->up->users >= p->users);
        }
        CHECK_EQ(used, kv_used(&kv));
    }
    CHECK(refused > 0);
    stem_clear(&s);
    kv_clear(&kv);
}

TEST(stem_random_use_keeps_the_books) {
    enum { HELD = 6 };
    struct kv kv;
    struct stems s;
    struct stem_part *held[HELD] = {0};
    kv_init(&kv, 5 * LEN, 1, stem_parts_max(HELD, 3));
    stem_init(&s, &kv, HELD, 3);
    for (uint64_t round = 0; round < 5000; round++) {
        uint64_t r = rng_u64(test_seed(), round);
        int h = (int)(r % HELD);
        int32_t cached;
        if (held[h]) {
            if (r & 1 << 20) fill(held[h]);
            stem_give(&s, held[h]);
            held[h] = NULL;
        } else {
            held[h] = take(&s, (int)(r >> 8) % 7, r & 1 << 16 ? TASK_A : TASK_B, &cached);
        }
        int32_t used = 0;
        for (int32_t i = 0; i < s.n_parts; i++) {
            const struct stem_part *p = &s.parts[i];
            used += p->len;
            if (p->len && p->users == 0) CHECK_EQ(p->done, p->len);
            if (p->len && p->up) CHECK(p->up->len > 0 && p->up->users >= p->users);
        }
        CHECK_EQ(used, kv_used(&kv));
    }
    stem_clear(&s);
    kv_clear(&kv);
}

/* What another model filled is not found, nor what is another owner's; and an owner with much in
 * the cache pushes out its own. */
TEST(stem_is_an_owners_and_a_models) {
    struct kv kv;
    struct stems s;
    int32_t cached;
    char digest[STEM_DIGEST];
    kv_init(&kv, 3 * LEN, 1, stem_parts_max(4, 4));
    stem_init(&s, &kv, 4, 4);
    struct stem_key k = key(digest, 1, TASK_A);
    k.owner = 1;
    struct stem_part *a = stem_take(&s, &k, &cached);
    fill(a);
    stem_give(&s, a);
    stem_give(&s, stem_take(&s, &k, &cached));
    CHECK_EQ(cached, LEN);
    k.owner = 2;
    for (int picture = 1; picture < 6; picture++) {
        char name[STEM_DIGEST];
        struct stem_key other = key(name, picture, TASK_A);
        other.owner = 2;
        struct stem_part *b = stem_take(&s, &other, &cached);
        CHECK(b);
        CHECK_EQ(cached, 0);
        fill(b);
        stem_give(&s, b);
    }
    k.owner = 1;
    stem_give(&s, stem_take(&s, &k, &cached));
    CHECK_EQ(cached, LEN);
    k.model = "an adapter's";
    a = stem_take(&s, &k, &cached);
    CHECK_EQ(cached, 0);
    fill(a);
    stem_give(&s, a);
    stem_give(&s, stem_take(&s, &k, &cached));
    CHECK_EQ(cached, LEN);
    k.model = NULL;
    stem_filled_by(&s, "another model");
    a = stem_take(&s, &k, &cached);
    CHECK_EQ(cached, 0);
    stem_give(&s, a);
    k.model = "an adapter's"; /* which doesn't hang on the name of the base */
    stem_give(&s, stem_take(&s, &k, &cached));
    CHECK_EQ(cached, LEN);
    stem_clear(&s);
    kv_clear(&kv);
}
