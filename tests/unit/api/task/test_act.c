/* POST /v1/act without a socket: frames in, actions out, deadlines. */
#include <stdio.h>

#include "kernels/base/mem.h"
#include "tests/unit/api/rig.h"

static const char path[] = "/v1/act";

static void open_rig(struct rig *r) {
    rig_open(r, 8);
    fake_values(r->eng, 8, 10, 14, 0);
}

/* `more`: further fields, with a comma in front. */
static void act(struct rig *r, const char *game, int frames, const char *more) {
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < frames; i++) {
        char *url = rig_data_url(10, 6);
        buf_printf(&b, "%s\"%s\"", i ? "," : "", url);
        mem_free(url);
    }
    rig_send_jsonf(r, path, "{\"game\":\"%s\",\"frames\":[%s]%s}", game,
                   b.p ? (const char *)b.p : "", more);
    buf_clear(&b);
}

TEST(act_car_racing) {
    struct rig r;
    open_rig(&r);
    act(&r, "car_racing", 2, ",\"probability\":true");
    CHECK_EQ(r.reply->status, 200);
    const struct eng_ask *ask = fake_asked(r.eng);
    CHECK(ask->task == ENG_DRIVE && ask->urgency == ENG_ACT && ask->n_pictures == 2);
    CHECK(ask->deadline_ns == 0 && ask->distribution);
    json_t *root = rig_json(&r), *action = json_object_get(root, "action");
    CHECK_NEAR(rig_number(action, "steering"), -0.2, 1e-9);
    CHECK_NEAR(rig_number(action, "gas"), 0, 1e-9);
    CHECK_NEAR(rig_number(action, "brake"), 0.4, 1e-9);
    CHECK_STR(json_string_value(json_object_get(root, "text")), "[8,10,14]");
    CHECK_EQ(json_integer_value(json_array_get(json_object_get(root, "values"), 2)), 14);
    CHECK(json_is_false(json_object_get(root, "late")));
    CHECK(rig_number(root, "latency_ms") > 0);
    CHECK_NEAR(rig_number(root, "probability"), 0.125, 1e-6);
    json_decref(root);
    fake_values(r.eng, 20, 3, 0, 0); /* gas and brake are never negative */
    act(&r, "car_racing", 2, "");
    root = rig_json(&r);
    action = json_object_get(root, "action");
    CHECK(rig_number(action, "steering") == 1 && rig_number(action, "gas") == 0);
    CHECK(rig_number(action, "brake") == 0 && !json_object_get(root, "probability"));
    json_decref(root);
    rig_close(&r);
}

TEST(act_space_invaders) {
    struct rig r;
    open_rig(&r);
    fake_values(r.eng, 5, 0, 0, 0);
    act(&r, "space_invaders", 4, "");
    CHECK(fake_asked(r.eng)->task == ENG_SHOOT && fake_asked(r.eng)->n_pictures == 4);
    json_t *root = rig_json(&r), *action = json_object_get(root, "action");
    CHECK_EQ(json_integer_value(json_object_get(action, "id")), 5);
    CHECK_STR(json_string_value(json_object_get(action, "name")), "LEFTFIRE");
    CHECK_STR(json_string_value(json_object_get(root, "text")), "5");
    json_decref(root);
    rig_close(&r);
}

TEST(act_frames_in_a_form_keep_their_order) {
    struct rig r;
    struct buf a, b;
    open_rig(&r);
    rig_png(&a, 10, 6);
    rig_png(&b, 10, 6);
    struct api_field form[] = {
        {"frame", NULL, a.p, a.len},
        {"game", NULL, (const uint8_t *)"car_racing", 10},
        {"frame", NULL, b.p, b.len},
        {"deadline_ms", NULL, (const uint8_t *)"500", 3},
        {"default", NULL, (const uint8_t *)"{\"steering\":0,\"gas\":0,\"brake\":1}", 0}};
    struct rig_request q = {.path = path, .type = "multipart/form-data", .form = form, .n_form = 5};
    form[4].len = strlen((const char *)form[4].data);
    rig_send(&r, &q);
    CHECK_EQ(r.reply->status, 200);
    CHECK(fake_asked(r.eng)->deadline_ns > 0);
    q.form = form + 1;
    q.n_form = 4;
    rig_send(&r, &q);
    rig_check_problem(&r, 400, "invalid_parameter", "frames",
                      "exactly 2 frames, oldest first; got 1");
    buf_clear(&a);
    buf_clear(&b);
    rig_close(&r);
}

/* ---- too late ---- */

static const char with_default[] =
    ",\"deadline_ms\":60000,\"default\":{\"steering\":0.5,\"gas\":0.1,\"brake\":0}";

static void check_late(struct rig *r) {
    CHECK_EQ(r->reply->status, 200);
    json_t *root = rig_json(r), *action = json_object_get(root, "action");
    CHECK(json_is_true(json_object_get(root, "late")));
    CHECK(json_is_null(json_object_get(root, "values")) &&
          json_is_null(json_object_get(root, "text")));
    CHECK_NEAR(rig_number(action, "steering"), 0.5, 1e-9);
    CHECK_NEAR(rig_number(action, "gas"), 0.1, 1e-9);
    CHECK_HAS(api_call_summary(r->call), "late=1");
    json_decref(root);
}

TEST(act_full_queue_gives_the_default) {
    struct rig r;
    open_rig(&r);
    fake_refuse(r.eng, E_BUSY);
    act(&r, "car_racing", 2, with_default);
    check_late(&r);
    act(&r, "car_racing", 2, ",\"deadline_ms\":1000");
    rig_check_problem(&r, 503, "queue_full", NULL, NULL);
    fake_refuse(r.eng, E_DEVICE); /* not late, but lost */
    act(&r, "car_racing", 2, with_default);
    rig_check_problem(&r, 503, "device_lost", NULL, NULL);
    rig_close(&r);
}

TEST(act_missed_deadline_gives_the_default) {
    static char text[4000];
    struct rig r;
    open_rig(&r);
    char *url = rig_data_url(10, 6);
    for (int k = 0; k < 2; k++) {
        snprintf(text, sizeof(text), "{\"game\":\"car_racing\",\"frames\":[\"%s\",\"%s\"]%s}", url,
                 url, k ? ",\"deadline_ms\":60000" : with_default);
        rig_begin(&r,
                  &(struct rig_request){
                      .path = path, .type = "application/json", .body = text, .len = strlen(text)});
        CHECK_EQ(r.step, API_WAIT);
        fake_fail(r.eng, E_TIMEOUT);
        CHECK_EQ(r.wakes, 1);
        rig_step(&r);
        if (k == 0) check_late(&r);
        if (k == 1) rig_check_problem(&r, 504, "deadline", NULL, NULL);
    }
    mem_free(url);
    rig_close(&r);
}

TEST(act_defaults_are_read_strictly) {
    static const char *const good[] = {"5", "\"LEFTFIRE\"", "{\"id\":5}", "{\"name\":\"LEFTFIRE\"}",
                                       "{\"id\":5,\"name\":\"LEFTFIRE\"}"};
    static const char *const bad[] = {"6", "-1", "5.0", "\"JUMP\"", "{}", "[5]", "true"};
    static const char *const bad_driving[] = {"5",
                                              "{}",
                                              "{\"steering\":0,\"gas\":0}",
                                              "{\"steering\":0,\"gas\":-0.1,\"brake\":0}",
                                              "{\"steering\":1.1,\"gas\":0,\"brake\":0}",
                                              "{\"steering\":0,\"gas\":0,\"brake\":\"0\"}",
                                              "{\"steering\":0,\"gas\":0,\"brake\":0,\"horn\":1}"};
    struct rig r;
    char more[200];
    open_rig(&r);
    fake_refuse(r.eng, E_BUSY);
    for (unsigned i = 0; i < ARRAY_LEN(good); i++) {
        snprintf(more, sizeof(more), ",\"default\":%s", good[i]);
        act(&r, "space_invaders", 4, more);
        CHECK_EQ(r.reply->status, 200);
        json_t *root = rig_json(&r);
        CHECK_EQ(json_integer_value(json_object_get(json_object_get(root, "action"), "id")), 5);
        json_decref(root);
    }
    for (unsigned i = 0; i < ARRAY_LEN(bad) + ARRAY_LEN(bad_driving); i++) {
        int k = (int)i - (int)ARRAY_LEN(bad);
        snprintf(more, sizeof(more), ",\"default\":%s", k < 0 ? bad[i] : bad_driving[k]);
        act(&r, k < 0 ? "space_invaders" : "car_racing", k < 0 ? 4 : 2, more);
        rig_check_problem(&r, 400, "invalid_parameter", NULL, "default");
    }
    rig_close(&r);
}

/* In a form a default is JSON text, of whatever kind; quotes are lost on the way from many a
 * shell. */
TEST(act_defaults_in_a_form) {
    static const char *const said[] = {"5",    "\"LEFTFIRE\"", "{\"id\":5}", "LEFTFIRE",
                                       "JUMP", "\xff",         "LEFTFIRE\0"};
    struct rig r;
    struct buf png;
    open_rig(&r);
    fake_refuse(r.eng, E_BUSY);
    rig_png(&png, 10, 6);
    struct api_field form[] = {{"game", NULL, (const uint8_t *)"space_invaders", 14},
                               {"default", NULL, NULL, 0},
                               {"frame", NULL, png.p, png.len},
                               {"frame", NULL, png.p, png.len},
                               {"frame", NULL, png.p, png.len},
                               {"frame", NULL, png.p, png.len}};
    struct rig_request q = {.path = path, .type = "multipart/form-data", .form = form, .n_form = 6};
    for (unsigned i = 0; i < ARRAY_LEN(said); i++) {
        form[1].data = (const uint8_t *)said[i];
        form[1].len = strlen(said[i]) + (i == 6);
        rig_send(&r, &q);
        if (i < 4)
            CHECK_EQ(r.reply->status, 200);
        else
            rig_check_problem(&r, 400, "invalid_parameter", "default",
                              i == 4 ? "LEFTFIRE; got the string \"JUMP\"" : "must be JSON text");
    }
    buf_clear(&png);
    rig_close(&r);
}

/* ---- bad input ---- */

TEST(act_bad_input) {
    struct rig r;
    open_rig(&r);
    fake_values(r.eng, 5, 10, 14, 0); /* legal in both games */
    act(&r, "pong", 2, "");
    rig_check_problem(&r, 400, "invalid_parameter", "game", "car_racing or space_invaders");
    act(&r, "", 2, "");
    rig_check_problem(&r, 400, "invalid_parameter", "game", NULL);
    act(&r, "car_racing", 2, ",\"deadline_ms\":0");
    rig_check_problem(&r, 400, "invalid_parameter", "deadline_ms", "from 1 to 60000; got 0");
    act(&r, "car_racing", 2, ",\"deadline_ms\":60001");
    rig_check_problem(&r, 400, "invalid_parameter", "deadline_ms", NULL);
    for (int n = 0; n <= 8; n++) {
        act(&r, "car_racing", n, "");
        if (n != 2) rig_check_problem(&r, 400, "invalid_parameter", "frames", "exactly 2 frames");
        act(&r, "space_invaders", n, "");
        if (n != 4) rig_check_problem(&r, 400, "invalid_parameter", "frames", "exactly 4 frames");
    }
    act(&r, "car_racing", 9, "");
    rig_check_problem(&r, 400, "too_many_pictures", "frames", "at most 8 pictures");
    act(&r, "car_racing", 1000, "");
    rig_check_problem(&r, 400, "too_many_pictures", "frames", "got 1000");
    act(&r, "car_racing", 2, ",\"frame\":\"x\"");
    rig_check_problem(&r, 400, "unknown_parameter", "frame",
                      "\"frame\" is not a known field; known are: frames, game");
    rig_send_json(&r, path, "{\"frames\":[]}");
    rig_check_problem(&r, 400, "missing_parameter", "game", NULL);
    rig_send_json(&r, path, "{\"game\":\"car_racing\",\"frames\":7}");
    rig_check_problem(&r, 400, "invalid_parameter", "frames", "an array of pictures; got 7");
    rig_send_json(&r, path, "{\"game\":\"car_racing\",\"frames\":[\"http://a/b.png\",\"x\"]}");
    rig_check_problem(&r, 400, "unsupported_url", "frames[0]", NULL);
    char *a = rig_data_url(10, 6), *b = rig_data_url(6, 10);
    rig_send_jsonf(&r, path, "{\"game\":\"car_racing\",\"frames\":[\"%s\",\"%s\"]}", a, b);
    rig_check_problem(&r, 400, "invalid_parameter", "frames", "10 x 6, the next 6 x 10");
    rig_send_jsonf(&r, path, "{\"game\":\"car_racing\",\"frames\":[\"%s\",\"AAAA\"]}", a);
    rig_check_problem(&r, 415, "unsupported_picture", "frames[1]", "picture 2: this is neither");
    rig_send_jsonf(&r, path, "{\"game\":\"car_racing\",\"frames\":[\"%s\",{\"id\":\"%064d\"}]}", a,
                   0);
    rig_check_problem(&r, 404, "image_not_found", "frames[1]", NULL);
    mem_free(a);
    mem_free(b);
    rig_close(&r);
}

TEST(act_every_failing_allocation) {
    struct rig r;
    struct buf png;
    open_rig(&r);
    rig_png(&png, 10, 6);
    struct api_field form[] = {{"frame", NULL, png.p, png.len}, {"frame", NULL, png.p, png.len}};
    rig_starve(&r, &(struct rig_request){.path = path,
                                         .query = "game=car_racing",
                                         .type = "multipart/form-data",
                                         .form = form,
                                         .n_form = 2});
    buf_clear(&png);
    rig_close(&r);
}
