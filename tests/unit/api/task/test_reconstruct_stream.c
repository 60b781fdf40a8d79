/* POST /v1/reconstruct as an event stream: everything once, in bounded pieces, and its ends. */
#include "kernels/base/mem.h"
#include "tests/unit/api/task/recon.h"

static int has_event(const char *stream, const char *name, int n) {
    json_t *e = rig_event(stream, name, n);
    json_decref(e);
    return e != NULL;
}

static json_t *field(const char *stream, const char *name, int n, const char *key) {
    json_t *e = rig_event(stream, name, n), *v = json_incref(json_object_get(e, key));
    json_decref(e);
    return v;
}

TEST(reconstruct_stream_paints_everything_once) {
    struct recon s;
    recon_open(&s);
    struct rig_request q = recon_raw(&s, "uncertainty=true&compare=true", "text/event-stream");
    rig_begin(&s.r, &q);
    CHECK_EQ(s.r.step, API_STREAM);
    CHECK_STR(s.r.reply->content_type, "text/event-stream");
    CHECK_STR(rig_header(&s.r, "Cache-Control"), "no-store");
    char *all = rig_read_all(&s.r, 100);
    json_t *start = rig_event(all, "start", 0);
    recon_check_url(json_string_value(json_object_get(start, "original")), s.truth, G, G);
    CHECK_EQ(json_integer_value(json_object_get(start, "coarsest")), 16);
    size_t stride = json_array_size(json_object_get(start, "fields"));
    CHECK_EQ(stride, 10);
    uint8_t painted[G * G * 3] = {0};
    int times[G * G] = {0}, events = 0;
    json_t *values;
    for (; (values = field(all, "pixels", events, "values")) != NULL; events++) {
        for (size_t i = 0; i < json_array_size(values); i += stride) {
            int v[5];
            for (size_t k = 0; k < 5; k++)
                v[k] = (int)json_integer_value(json_array_get(values, i + k));
            int at = v[1] * G + v[0];
            times[at]++;
            for (int c = 0; c < 3; c++)
                painted[3 * at + c] = (uint8_t)v[2 + c];
        }
        json_decref(values);
    }
    CHECK_EQ(events, 11); /* 1024 answers in passes of 100 */
    CHECK_EQ(s.r.wakes, 11);
    for (int i = 0; i < G * G; i++)
        CHECK_EQ(times[i], 1);
    CHECK_MEM(painted, s.said, sizeof(painted));
    json_t *compare = field(all, "done", 0, "compare");
    CHECK(json_number_value(json_object_get(compare, "mae_levels")) > 0);
    CHECK(!has_event(all, "done", 1) && !has_event(all, "error", 0));
    CHECK_HAS(api_call_summary(s.r.call), "answers=1024");
    json_decref(compare);
    json_decref(start);
    mem_free(all);
    recon_close(&s);
}

TEST(reconstruct_stream_of_a_fast_engine_comes_in_bounded_events) {
    struct recon s;
    recon_open(&s);
    struct rig_request q = recon_raw(&s, "", "text/event-stream");
    fake_answer_at_once(s.r.eng, 1);
    rig_begin(&s.r, &q);
    CHECK_EQ(s.r.step, API_STREAM);
    char *all = rig_read_all(&s.r, 0);
    json_t *second = field(all, "pixels", 1, "values");
    CHECK_EQ(json_array_size(second), 512 * 5);
    CHECK(!has_event(all, "pixels", 2) && has_event(all, "done", 0));
    json_decref(second);
    mem_free(all);
    s.r.call = (api_call_free(s.r.call), NULL);
    recon_close(&s);
}

TEST(reconstruct_stream_that_fails_says_so) {
    struct recon s;
    recon_open(&s);
    struct rig_request q = recon_raw(&s, "", "text/event-stream");
    rig_begin(&s.r, &q);
    fake_answer(s.r.eng, 7);
    fake_fail(s.r.eng, E_DEVICE);
    char *all = rig_read_all(&s.r, 0);
    json_t *error = rig_event(all, "error", 0);
    CHECK_EQ(json_integer_value(json_object_get(error, "status")), 503);
    CHECK(has_event(all, "pixels", 0) && !has_event(all, "done", 0));
    CHECK(!strstr(all, "0x") && !strstr(all, "/a/path"));
    json_decref(error);
    mem_free(all);
    recon_close(&s);
}

TEST(reconstruct_stream_fault_before_the_head_is_a_plain_problem) {
    struct recon s;
    recon_open(&s);
    recon_send(&s, "width=33", "text/event-stream");
    rig_check_problem(&s.r, 400, "invalid_parameter", "width", NULL);
    fake_refuse(s.r.eng, E_BUSY);
    recon_send(&s, "", "text/event-stream");
    rig_check_problem(&s.r, 503, "queue_full", NULL, NULL);
    recon_close(&s);
}

TEST(reconstruct_stream_read_says_when_there_is_nothing) {
    struct recon s;
    recon_open(&s);
    struct rig_request q = recon_raw(&s, "", "text/event-stream");
    rig_begin(&s.r, &q);
    char piece[8192];
    CHECK(api_call_read(s.r.call, piece, sizeof(piece)) > 0);
    while (api_call_read(s.r.call, piece, sizeof(piece)) > 0) {}
    CHECK_EQ(api_call_read(s.r.call, piece, sizeof(piece)), 0);
    CHECK_EQ(api_call_read(s.r.call, piece, 0), 0);
    api_call_cancel(s.r.call);
    CHECK_EQ(api_call_read(s.r.call, piece, sizeof(piece)), API_BROKEN);
    recon_close(&s);
}
