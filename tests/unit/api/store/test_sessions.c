/* The store of games by itself: who may enter, which frames are kept, and that none is lost. */
#include "api/store/sessions.h"

#include <string.h>

#include "tests/check.h"
#include "tests/unit/api/fake_engine.h"

enum { SHOOT = ENG_SHOOT_FRAMES };

static struct eng_picture *frame(struct eng *e, uint8_t shade) {
    uint8_t rgb[3] = {shade, 0, 0};
    struct eng_picture *p;
    CHECK_EQ(eng_picture_new(e, rgb, 1, 1, &p, NULL), 0);
    return p;
}

static void give_back(struct session *s) {
    for (uint32_t i = 0; i < s->n_frames; i++)
        eng_picture_put(s->frames[i]);
}

TEST(sessions_are_entered_by_one_at_a_time) {
    struct sessions *s = sessions_new(2, 0, 60);
    struct session copy;
    const char *const a = "a", *const b = "b", *const c = "c";
    CHECK_EQ(sessions_create(s, 1, 1, a, ENG_SHOOT, SHOOT, ""), 0);
    CHECK_EQ(sessions_create(s, 1, 1, b, ENG_DRIVE, ENG_DRIVE_FRAMES, ""), 0);
    CHECK_EQ(sessions_create(s, 1, 1, c, ENG_DRIVE, ENG_DRIVE_FRAMES, ""), E_BUSY);
    CHECK_EQ(sessions_count(s), 2);
    CHECK_EQ(sessions_enter(s, 1, "nobody", &copy), E_NOT_FOUND);
    CHECK_EQ(sessions_enter(s, 1, a, &copy), 0);
    CHECK_STR(copy.id, a);
    CHECK(copy.game == ENG_SHOOT && copy.prompt_frames == SHOOT && copy.n_frames == 0);
    CHECK_EQ(sessions_enter(s, 1, a, &copy), E_BUSY);
    sessions_leave(s, 1, a);
    CHECK_EQ(sessions_enter(s, 1, a, &copy), 0);
    CHECK_EQ(sessions_forget(s, 1, a), 0); /* while somebody is inside, who finds it gone */
    CHECK_EQ(sessions_forget(s, 1, a), E_NOT_FOUND);
    sessions_leave(s, 1, a);
    CHECK_EQ(sessions_count(s), 1);
    sessions_free(s);
}

TEST(sessions_keep_the_newest_frames_oldest_first) {
    struct eng *e = fake_open(2);
    struct sessions *s = sessions_new(2, 0, 60);
    struct eng_picture *frames[6];
    struct session copy;
    const char *const id = "a";
    CHECK_EQ(sessions_create(s, 1, 1, id, ENG_SHOOT, SHOOT, ""), 0);
    for (int i = 0; i < 6; i++) {
        frames[i] = frame(e, (uint8_t)i);
        sessions_see(s, 1, id, frames[i]);
        sessions_see(s, 1, "nobody", frames[i]);
        int n = i + 1 < SHOOT ? i + 1 : SHOOT - 1;
        CHECK_EQ(sessions_enter(s, 1, id, &copy), 0);
        CHECK_EQ(copy.n_frames, n);
        for (int k = 0; k < n; k++)
            CHECK(copy.frames[k] == frames[i + 1 - n + k]);
        give_back(&copy);
        sessions_leave(s, 1, id);
    }
    for (int i = 0; i < 6; i++)
        eng_picture_put(frames[i]);
    CHECK_EQ(fake_pictures(e), SHOOT - 1); /* the store's */
    sessions_free(s);
    fake_close(e);
}

/* One owner, as all are who have no key, but two places that pay. */
TEST(sessions_are_counted_against_a_payer) {
    struct sessions *s = sessions_new(4, 2, 60);
    struct session copy;
    CHECK_EQ(sessions_create(s, 0, 1, "a", ENG_SHOOT, SHOOT, ""), 0);
    CHECK_EQ(sessions_create(s, 0, 1, "b", ENG_SHOOT, SHOOT, ""), 0);
    CHECK_EQ(sessions_create(s, 0, 1, "c", ENG_SHOOT, SHOOT, ""), E_TOO_BIG);
    CHECK_EQ(sessions_create(s, 0, 2, "d", ENG_SHOOT, SHOOT, ""), 0);
    CHECK_EQ(sessions_enter(s, 0, "a", &copy), 0); /* from wherever its owner asks */
    give_back(&copy);
    sessions_leave(s, 0, "a");
    CHECK_EQ(sessions_forget(s, 0, "a"), 0);
    CHECK_EQ(sessions_create(s, 0, 1, "c", ENG_SHOOT, SHOOT, ""), 0);
    sessions_free(s);
}

TEST(sessions_are_an_owners) {
    struct sessions *s = sessions_new(3, 2, 60);
    struct session copy;
    CHECK_EQ(sessions_create(s, 1, 1, "a", ENG_SHOOT, SHOOT, ""), 0);
    CHECK_EQ(sessions_create(s, 1, 1, "b", ENG_SHOOT, SHOOT, ""), 0);
    CHECK_EQ(sessions_create(s, 1, 1, "c", ENG_SHOOT, SHOOT, ""), E_TOO_BIG);
    CHECK_EQ(sessions_create(s, 2, 2, "d", ENG_SHOOT, SHOOT, ""), 0);
    CHECK_EQ(sessions_create(s, 2, 2, "e", ENG_SHOOT, SHOOT, ""), E_BUSY);
    CHECK_EQ(sessions_enter(s, 2, "a", &copy), E_NOT_FOUND);
    CHECK_EQ(sessions_forget(s, 2, "a"), E_NOT_FOUND);
    CHECK_EQ(sessions_forget(s, 1, "a"), 0);
    CHECK_EQ(sessions_count(s), 2);
    sessions_free(s);
}
