/* A reply in events: pieces of any size, silence and its comments, the end, a fault on the way. */
#include "api/stream.h"

#include <string.h>

#include "tests/unit/api/rig.h"

static int events; /* that `next` still has */

static void ignore(void *ud) { (void)ud; }

static void next(struct api_call *c) {
    if (events == 0) return;
    buf_printf(&c->body, "data: %d\n\n", events);
    c->stream.ended = --events == 0;
}

static struct api_call *open_stream(struct rig *r) {
    static const struct api_route route = {.method = "POST", .path = "/x", .allow = "POST"};
    static const struct api_input in = {.request_id = "req-1"};
    rig_open(r, 4);
    CHECK_EQ(api_call_new(r->api, &route, &in, ignore, NULL, &r->call, NULL), 0);
    r->reply = api_call_reply(r->call);
    return r->call;
}

TEST(stream_in_pieces_to_its_end) {
    struct rig r;
    char piece[4], all[100] = "";
    long got;
    struct api_call *c = open_stream(&r);
    events = 2;
    buf_str(&c->body, "data: first\n\n");
    CHECK_EQ(stream_begin(c, next), API_STREAM);
    CHECK_EQ(r.reply->status, 200);
    CHECK_STR(r.reply->content_type, "text/event-stream");
    CHECK_STR(rig_header(&r, "Cache-Control"), "no-store");
    CHECK_STR(rig_header(&r, "Vary"), "Accept");
    while ((got = api_call_read(c, piece, sizeof(piece))) > 0)
        strncat(all, piece, (size_t)got);
    CHECK_EQ(got, API_END);
    CHECK_STR(all, "data: first\n\ndata: 2\n\ndata: 1\n\n");
    CHECK_EQ(api_call_read(c, piece, sizeof(piece)), API_END);
    rig_close(&r);
}

TEST(stream_that_is_silent_says_so_after_a_while) {
    struct rig r;
    char piece[100];
    struct api_call *c = open_stream(&r);
    events = 0;
    CHECK_EQ(stream_begin(c, next), API_STREAM);
    CHECK_EQ(api_call_read(c, piece, sizeof(piece)), 0);
    c->stream.last_ns -= 15ull * 1000 * 1000 * 1000;
    CHECK_EQ(api_call_read(c, piece, sizeof(piece)), 8);
    CHECK_MEM(piece, ": ping\n\n", 8);
    CHECK_EQ(api_call_read(c, piece, sizeof(piece)), 0);
    rig_close(&r);
}

TEST(stream_whose_head_has_no_memory_is_a_problem) {
    struct rig r;
    struct api_call *c = open_stream(&r);
    c->body.bad = E_NOMEM;
    CHECK_EQ(stream_begin(c, next), API_REPLY);
    rig_check_problem(&r, 503, "no_memory", NULL, NULL);
    char piece[10];
    CHECK_EQ(api_call_read(c, piece, sizeof(piece)), API_END);
    rig_close(&r);
}

TEST(stream_breaks_when_an_event_has_no_memory_or_nobody_listens) {
    struct rig r;
    char piece[10];
    struct api_call *c = open_stream(&r);
    events = 0;
    CHECK_EQ(stream_begin(c, next), API_STREAM);
    c->body.bad = E_NOMEM;
    CHECK_EQ(api_call_read(c, piece, sizeof(piece)), API_BROKEN);
    c->body.bad = 0;
    api_call_cancel(c);
    CHECK_EQ(api_call_read(c, piece, sizeof(piece)), API_BROKEN);
    rig_close(&r);
}

TEST(stream_problem_is_one_event_with_or_without_a_name) {
    static const char *const heads[] = {
        "event: error\ndata: {\"type\":\"urn:lammd:problem:deadline\"",
        "data: {\"type\":\"urn:lammd:problem:deadline\""};
    for (int i = 0; i < 2; i++) {
        struct rig r;
        struct api_call *c = open_stream(&r);
        problem_set(&c->problem, PROBLEM_DEADLINE, NULL, NULL);
        stream_problem(c, i ? NULL : "error");
        CHECK(strncmp((const char *)c->body.p, heads[i], strlen(heads[i])) == 0);
        CHECK(strstr((const char *)c->body.p, "\n\n") ==
              (const char *)c->body.p + c->body.len - 2); /* one event */
        CHECK_STR(api_call_summary(c), "problem=deadline");
        rig_close(&r);
    }
}
