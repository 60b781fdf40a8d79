/* Games played frame by frame, without a socket: kept frames, one step at a time, lost sessions. */
#include <stdio.h>

#include "kernels/base/mem.h"
#include "tests/unit/api/rig.h"

static void open_rig(struct rig *r) {
    rig_open(r, 8);
    fake_values(r->eng, 8, 10, 14, 0);
}

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

/* Begins one; its path. */
static void begin(struct rig *r, const char *game, char to[80]) {
    rig_send_jsonf(r, "/v1/act/sessions", "{\"game\":\"%s\"}", game);
    CHECK_EQ(r->reply->status, 201);
    snprintf(to, 80, "%s", rig_header(r, "Location"));
    json_t *root = rig_json(r);
    CHECK_EQ(strlen(json_string_value(json_object_get(root, "id"))), 32);
    CHECK_HAS(to, json_string_value(json_object_get(root, "id")));
    json_decref(root);
}

static struct rig_request step_with(const char *at, const struct buf *png, const char *query) {
    return (struct rig_request){
        .path = at, .type = "image/png", .query = query, .body = png->p, .len = png->len};
}

static void close_session(struct rig *r, const char *at) {
    rig_send(r, &(struct rig_request){.method = "DELETE", .path = at});
}

TEST(session_keeps_frames_and_repeats_the_oldest) {
    struct rig r;
    char at[80];
    struct eng_picture *seen[6];
    open_rig(&r);
    fake_values(r.eng, 1, 0, 0, 0);
    begin(&r, "space_invaders", at);
    for (int i = 0; i < 6; i++) {
        struct buf png;
        rig_png(&png, 10, 6);
        struct rig_request q = step_with(at, &png, "");
        rig_send(&r, &q);
        CHECK_EQ(r.reply->status, 200);
        const struct eng_ask *ask = fake_asked(r.eng);
        CHECK_EQ(ask->n_pictures, 4);
        seen[i] = ask->pictures[3];
        for (int k = 0; k < 4; k++) {
            int which = i - 3 + k < 0 ? 0 : i - 3 + k;
            CHECK(ask->pictures[k] == seen[which]);
        }
        buf_clear(&png);
    }
    close_session(&r, at);
    CHECK_EQ(r.reply->status, 204);
    close_session(&r, at);
    rig_check_problem(&r, 404, "session_not_found", NULL, "expired");
    rig_close(&r);
}

TEST(session_takes_frames_in_each_form) {
    struct rig r;
    char at[80];
    open_rig(&r);
    begin(&r, "car_racing", at);
    char *url = rig_data_url(10, 6);
    rig_send_jsonf(&r, at, "{\"frame\":\"%s\",\"deadline_ms\":1000,\"probability\":true}", url);
    CHECK_EQ(r.reply->status, 200);
    struct buf png;
    rig_png(&png, 10, 6);
    struct api_field form = {"frame", NULL, png.p, png.len};
    rig_send(&r, &(struct rig_request){
                     .path = at, .type = "multipart/form-data", .form = &form, .n_form = 1});
    CHECK_EQ(r.reply->status, 200);
    rig_send_jsonf(&r, at, "{\"deadline_ms\":1000}");
    rig_check_problem(&r, 400, "missing_picture", "frame", NULL);
    struct rig_request q = step_with(at, &png, "deadline_ms=0");
    rig_send(&r, &q);
    rig_check_problem(&r, 400, "invalid_parameter", "deadline_ms", NULL);
    struct buf other;
    rig_png(&other, 6, 10);
    q = step_with(at, &other, "");
    rig_send(&r, &q);
    rig_check_problem(&r, 400, "invalid_parameter", "frame", "one size");
    q = step_with(at, &png, ""); /* a refused step harms nothing */
    rig_send(&r, &q);
    CHECK_EQ(r.reply->status, 200);
    buf_clear(&other);
    buf_clear(&png);
    mem_free(url);
    rig_close(&r);
}

/* The same sequence gets the same answer, and its frame counts once; an old one is refused. */
TEST(session_retries_count_once) {
    struct rig r;
    char at[80], first[400];
    struct buf png;
    open_rig(&r);
    rig_png(&png, 10, 6);
    begin(&r, "car_racing", at);
    struct rig_request q = step_with(at, &png, "sequence=7");
    rig_send(&r, &q);
    CHECK_EQ(r.reply->status, 200);
    snprintf(first, sizeof(first), "%.*s", (int)r.reply->body_len, (const char *)r.reply->body);
    fake_values(r.eng, 20, 10, 10, 0); /* the model would say something else now */
    fake_refuse(r.eng, E_BUSY);        /* and isn't asked */
    for (int i = 0; i < 3; i++) {
        rig_send(&r, &q);
        CHECK_EQ(r.reply->status, 200);
        CHECK_EQ(r.reply->body_len, strlen(first));
        CHECK_MEM(r.reply->body, first, strlen(first));
        CHECK_HAS(api_call_summary(r.call), "again=1");
    }
    q.query = "sequence=6";
    rig_send(&r, &q);
    rig_check_problem(&r, 409, "step_is_old", "sequence", "higher sequence");
    q.query = "sequence=9";
    rig_send(&r, &q); /* a failed one is not remembered */
    rig_check_problem(&r, 503, "queue_full", NULL, NULL);
    fake_refuse(r.eng, 0);
    rig_send(&r, &q);
    CHECK_EQ(r.reply->status, 200);
    CHECK(memcmp(r.reply->body, first, strlen(first)) != 0);
    const struct eng_ask *ask = fake_asked(r.eng);
    CHECK(ask->n_pictures == 2 && ask->pictures[0] != ask->pictures[1]);
    q.query = "sequence=8";
    rig_send(&r, &q);
    rig_check_problem(&r, 409, "step_is_old", NULL, NULL);
    q.query = "default={\"steering\":0.5,\"gas\":0.1,\"brake\":0}&sequence=10";
    fake_refuse(r.eng, E_BUSY);
    rig_send(&r, &q);
    check_late(&r);
    fake_refuse(r.eng, 0);
    rig_send(&r, &q); /* a late answer is an answer */
    CHECK_EQ(r.reply->status, 200);
    q.query = "";
    rig_send(&r, &q); /* without a number each step is new */
    CHECK_EQ(r.reply->status, 200);
    q.query = "sequence=-1";
    rig_send(&r, &q);
    rig_check_problem(&r, 400, "invalid_parameter", "sequence", "from 0 up");
    q.query = "sequence=11";
    rig_starve(&r, &q);
    close_session(&r, at);
    q.query = "sequence=11";
    rig_send(&r, &q);
    rig_check_problem(&r, 404, "session_not_found", NULL, NULL);
    buf_clear(&png);
    rig_close(&r);
}

/* The rig holds one call; these need two. */
static void ignore(void *ud) { (void)ud; }

static struct api_call *call_of(struct rig *r, const char *at, const struct buf *png) {
    struct api_input in = {
        .content_type = "image/png", .request_id = "req-2", .body = png->p, .body_len = png->len};
    struct api_call *c;
    const char *allow;
    int status;
    const struct api_route *route = api_route("POST", at, &in.arg, &status, &allow);
    CHECK_EQ(api_call_new(r->api, route, &in, ignore, NULL, &c, NULL), 0);
    return c;
}

TEST(session_one_step_at_a_time) {
    struct rig r;
    char at[80];
    struct buf png;
    open_rig(&r);
    rig_png(&png, 10, 6);
    begin(&r, "car_racing", at);
    struct api_call *first = call_of(&r, at, &png), *second = call_of(&r, at, &png);
    CHECK_EQ(api_call_step(first), API_WAIT);
    CHECK_EQ(api_call_step(second), API_REPLY);
    CHECK_EQ(api_call_reply(second)->status, 409);
    api_call_free(second);
    fake_answer(r.eng, 1);
    CHECK_EQ(api_call_step(first), API_REPLY);
    CHECK_EQ(api_call_reply(first)->status, 200);
    second = call_of(&r, at, &png); /* before the first is freed */
    CHECK_EQ(api_call_step(second), API_WAIT);
    api_call_free(first);
    struct api_call *third = call_of(&r, at, &png);
    CHECK_EQ(api_call_step(third), API_REPLY); /* the first's end frees nothing of the second's */
    CHECK_EQ(api_call_reply(third)->status, 409);
    api_call_free(third);
    api_call_free(second); /* the client left */
    second = call_of(&r, at, &png);
    CHECK_EQ(api_call_step(second), API_WAIT);
    close_session(&r, at); /* while a step is on its way */
    CHECK_EQ(r.reply->status, 204);
    fake_answer_all(r.eng);
    CHECK_EQ(api_call_step(second), API_REPLY);
    CHECK_EQ(api_call_reply(second)->status, 200);
    api_call_free(second);
    buf_clear(&png);
    rig_close(&r);
}

TEST(session_late_step_counts_as_seen_and_a_failed_one_does_not) {
    struct rig r;
    char at[80];
    struct buf png;
    open_rig(&r);
    rig_png(&png, 10, 6);
    begin(&r, "car_racing", at);
    struct rig_request q = step_with(at, &png, "");
    fake_refuse(r.eng, E_BUSY);
    rig_send(&r, &q);
    rig_check_problem(&r, 503, "queue_full", NULL, NULL);
    fake_refuse(r.eng, 0);
    int before = fake_pictures(r.eng);
    q.query = "default={\"steering\":0.5,\"gas\":0.1,\"brake\":0}";
    fake_refuse(r.eng, E_BUSY);
    rig_send(&r, &q);
    check_late(&r);
    api_call_free(r.call);
    r.call = NULL;
    CHECK_EQ(fake_pictures(r.eng), before); /* the failed call's frame is gone, this one is kept */
    CHECK_EQ(fake_pictures(r.eng), 1);
    buf_clear(&png);
    rig_close(&r);
}

TEST(sessions_are_bounded_and_expire) {
    struct rig r;
    char at[80], last[80];
    rig_open_with(&r, 8, &(struct api_options){.sessions = 2, .session_ttl_s = 1000});
    begin(&r, "car_racing", at);
    begin(&r, "car_racing", last);
    CHECK(strcmp(at, last) != 0);
    rig_send_json(&r, "/v1/act/sessions", "{\"game\":\"car_racing\"}");
    rig_check_problem(&r, 503, "too_many_sessions", NULL, "DELETE");
    close_session(&r, at);
    begin(&r, "car_racing", at);
    rig_close(&r);
}

TEST(session_bad_input) {
    struct rig r;
    open_rig(&r);
    rig_send_json(&r, "/v1/act/sessions", "{}");
    rig_check_problem(&r, 400, "missing_parameter", "game", NULL);
    rig_send_json(&r, "/v1/act/sessions", "{\"game\":\"chess\"}");
    rig_check_problem(&r, 400, "invalid_parameter", "game", "car_racing or space_invaders");
    rig_send_json(&r, "/v1/act/sessions", "{\"game\":\"car_racing\",\"frames\":[]}");
    rig_check_problem(&r, 400, "unknown_parameter", NULL, "known are: game");
    rig_send(&r, &(struct rig_request){
                     .path = "/v1/act/sessions", .type = "text/plain", .body = "x", .len = 1});
    rig_check_problem(&r, 415, "unsupported_media_type", NULL,
                      "must be multipart/form-data or application/json");
    struct api_field form[] = {{"game", NULL, (const uint8_t *)"car_racing", 10},
                               {"speed", NULL, (const uint8_t *)"1", 1}};
    struct rig_request filled = {
        .path = "/v1/act/sessions", .type = "multipart/form-data", .form = form, .n_form = 1};
    rig_send(&r, &filled);
    CHECK_EQ(r.reply->status, 201);
    filled.n_form = 2;
    rig_send(&r, &filled);
    rig_check_problem(&r, 400, "unknown_parameter", "speed", "known are: game");
    rig_send(&r, &(struct rig_request){.path = "/v1/act/sessions", .query = "game=car_racing"});
    CHECK_EQ(r.reply->status, 201);
    struct buf png;
    rig_png(&png, 8, 8);
    struct rig_request q = step_with("/v1/act/sessions/0123", &png, "");
    rig_send(&r, &q);
    rig_check_problem(&r, 404, "session_not_found", NULL, NULL);
    api_set_draining(r.api);
    rig_send_json(&r, "/v1/act/sessions", "{\"game\":\"car_racing\"}");
    rig_check_problem(&r, 503, "draining", NULL, NULL);
    buf_clear(&png);
    rig_close(&r);
}

TEST(session_every_failing_allocation) {
    struct rig r;
    char at[80];
    struct buf png;
    open_rig(&r);
    rig_png(&png, 10, 6);
    begin(&r, "car_racing", at);
    struct rig_request q = step_with(at, &png, "");
    rig_starve(&r, &q);
    buf_clear(&png);
    rig_close(&r);
}
