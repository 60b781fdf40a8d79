/* The API as a whole: which options it takes, and what they are when nobody says. */
#include "api/state.h"

#include "tests/unit/api/rig.h"

TEST(state_options_are_checked) {
    static const struct api_options bad[] = {{.stored_images = -1},
                                             {.stored_images = API_IMAGES_MAX + 1},
                                             {.sessions = -1},
                                             {.sessions = API_SESSIONS_MAX + 1},
                                             {.pixels_max = 1ull << 40}};
    struct eng *eng = fake_open(4);
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct api *a;
        struct err e = {0};
        CHECK_EQ(api_new(&bad[i], eng, &a, &e), E_INVALID);
        CHECK(a == NULL && e.text[0]);
    }
    fake_close(eng);
}

TEST(state_options_have_defaults) {
    struct rig r;
    rig_open(&r, 4);
    const struct api_options *o = &r.api->opt;
    CHECK(o->json_max == 16 << 20 && o->picture_max == 12 << 20 && o->pixels_max == 16000000);
    CHECK_EQ(o->costly_max, 4000000);
    CHECK(o->stored_images == 64 && o->image_ttl_s == 3600);
    CHECK(o->sessions == 64 && o->session_ttl_s == 600);
    CHECK(r.api->born_s > 1700000000);
    rig_close(&r);
}
