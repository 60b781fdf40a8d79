/* The API as a whole: which options it takes, and what they are when nobody says. */
#include "api/state.h"

#include "tests/unit/api/rig.h"

TEST(state_options_are_checked) {
    static const struct api_options bad[] = {
        {.stored_images = -1},      {.stored_images = API_IMAGES_MAX + 1},
        {.sessions = -1},           {.sessions = API_SESSIONS_MAX + 1},
        {.pixels_max = 1ull << 40}, {.replica = "no name"}};
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

static int enter(struct rig *r, const char *path, const struct api_caller *who,
                 struct api_visit *visit) {
    const char *arg, *allow;
    int status;
    const struct api_route *route =
        api_route(strcmp(path, "/livez") == 0 ? "GET" : "POST", path, &arg, &status, &allow);
    CHECK(route != NULL);
    return api_enter(r->api, route, who, 0, visit);
}

/* Counted by key, or by address where there is none; neither health nor the admin socket. */
TEST(state_counts_who_is_inside) {
    struct rig r;
    rig_open_with(&r, 4, &(struct api_options){.limits = {.requests = 1}});
    const struct api_caller me = {.key = "k3v9", .peer = "192.0.2.7", .scopes = API_SCOPES_ALL},
                            peer = {.peer = "192.0.2.7", .scopes = API_SCOPES_OPEN},
                            other = {.peer = "192.0.2.8", .scopes = API_SCOPES_OPEN},
                            admin = {.peer = "admin-socket", .scopes = API_SCOPES_ALL};
    struct api_visit v[4], w;
    CHECK_EQ(enter(&r, "/v1/pixels", &me, &v[0]), 0);
    CHECK_EQ(enter(&r, "/v1/pixels", &me, &w), E_BUSY); /* whatever it may do */
    CHECK_HAS(w.why, "one caller may have 1 requests at once");
    CHECK_STR(w.left, "\"requests\";r=0");
    api_visit_end(r.api, &w);
    CHECK_EQ(enter(&r, "/v1/vqa", &peer, &v[1]), 0);
    CHECK_EQ(enter(&r, "/v1/vqa", &peer, &w), E_BUSY);
    CHECK_EQ(enter(&r, "/v1/vqa", &other, &v[2]), 0);
    CHECK_EQ(enter(&r, "/livez", &me, &w), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(enter(&r, "/v1/admin/reload", &admin, &w), 0);
    api_leave(r.api, &v[0]);
    CHECK_EQ(enter(&r, "/v1/pixels", &me, &v[3]), 0); /* though the first is still being freed */
    for (int i = 0; i < 4; i++)
        api_visit_end(r.api, &v[i]);
    rig_close(&r);
}
