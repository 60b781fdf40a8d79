/* The skeleton of a call, with a row whose hooks keep a diary: in which order they are called,
 * which fault wins, when a state is given back. */
#include "api/endpoint.h"

#include <stdio.h>
#include <string.h>

#include "api/ask.h"
#include "tests/unit/api/rig.h"

enum { G = 4 };

/* What the hooks note, and what they shall do. One test has a process of its own. */
static struct {
    char diary[200];
    const char *fails;   /* name of the hook that finds a fault */
    int is_excused;      /* `excuse` takes the fault away */
    int outcome;         /* of `outcome` */
    int cleared, opened; /* how often */
} plan;

struct diary {
    int is_dirty;
    char more[100];
};

static int note(struct api_call *c, const char *hook) {
    size_t n = strlen(plan.diary);
    snprintf(plan.diary + n, sizeof(plan.diary) - n, "%s%s", n ? " " : "", hook);
    if (!plan.fails || strcmp(plan.fails, hook) != 0) return 0;
    return problem_set(&c->problem, PROBLEM_DEADLINE, "hook", NULL);
}

static int diary_enter(struct api_call *c) {
    struct diary *d = c->state;
    for (size_t i = 0; i < sizeof(d->more); i++)
        CHECK_EQ(d->more[i], 0);
    CHECK_EQ(d->is_dirty, 0);
    d->is_dirty = 1;
    plan.opened++;
    return note(c, "enter");
}

static int diary_read(struct api_call *c, struct input *in) {
    int width = 0;
    if (input_int(in, "width", 1, 9, &width)) return -1;
    CHECK_EQ(c->n_pictures, 0); /* they come behind the fields */
    return note(c, "read");
}

static int diary_ask(struct api_call *c) {
    CHECK_EQ(c->n_pictures, 1);
    return note(c, "ask");
}

static int diary_outcome(struct api_call *c) { return note(c, "outcome") ? -1 : plan.outcome; }

static int diary_answer(struct api_call *c) {
    note(c, "answer");
    buf_str(&c->body, "{}\n");
    return call_answer(c, 200, "application/json");
}

static int diary_excuse(struct api_call *c) {
    note(c, "excuse");
    if (plan.is_excused) c->problem = (struct problem){0};
    return plan.is_excused;
}

static void diary_first(struct api_call *c) {
    note(c, "first");
    buf_str(&c->body, "data: 1\n\n");
}

static void diary_next(struct api_call *c) {
    note(c, "next");
    buf_str(&c->body, "data: 2\n\n");
    c->stream.ended = 1;
}

static void diary_clear(void *state) {
    CHECK_EQ(((struct diary *)state)->is_dirty, 1);
    plan.cleared++;
}

static const char *const known[] = {"width", NULL};
static const struct input_wants wants = {.picture = "image", .known = known};
static const struct endpoint row = {.wants = &wants,
                                    .media = &media_json_or_events,
                                    .state_size = sizeof(struct diary),
                                    .enter = diary_enter,
                                    .read = diary_read,
                                    .ask = diary_ask,
                                    .outcome = diary_outcome,
                                    .answer = diary_answer,
                                    .excuse = diary_excuse,
                                    .first = diary_first,
                                    .next = diary_next,
                                    .clear = diary_clear};
static const struct api_route route = {"POST", "/diary", "POST", API_ASK, API_WORK, &row};

static void ignore(void *ud) { (void)ud; }

struct request {
    struct rig r;
    struct buf png;
    struct api_field query;
};

static void open_request(struct request *q) {
    rig_open(&q->r, G);
    rig_png(&q->png, G, G);
    memset(&plan, 0, sizeof(plan));
    plan.outcome = 1;
}

static void close_request(struct request *q) {
    buf_clear(&q->png);
    rig_close(&q->r);
}

/* One step of a call to `at`, with a picture of `bytes` bytes (0: none) and width=... in the
 * query. */
static void send_to(struct request *q, const struct api_route *at, const char *accept,
                    const char *width, size_t bytes) {
    q->query = (struct api_field){
        .name = "width", .data = (const uint8_t *)width, .len = width ? strlen(width) : 0};
    struct api_input in = {.request_id = "req-1",
                           .accept = accept,
                           .content_type = "image/png",
                           .body = q->png.p,
                           .body_len = bytes,
                           .query = &q->query,
                           .n_query = width != NULL};
    api_call_free(q->r.call);
    plan.diary[0] = 0;
    plan.cleared = plan.opened = 0;
    CHECK_EQ(api_call_new(q->r.api, at, &in, ignore, NULL, &q->r.call, NULL), 0);
    rig_step(&q->r);
}

static void send(struct request *q, const char *accept, const char *width, size_t bytes) {
    send_to(q, &route, accept, width, bytes);
}

TEST(endpoint_calls_its_hooks_in_order) {
    struct request q;
    open_request(&q);
    send(&q, NULL, "3", q.png.len);
    CHECK_EQ(q.r.step, API_REPLY);
    CHECK_EQ(q.r.reply->status, 200);
    CHECK_STR(plan.diary, "enter read ask outcome answer");
    CHECK_EQ(plan.cleared, 1); /* with the reply, not with the call's end */
    close_request(&q);
    CHECK_EQ(plan.cleared, 1);
}

TEST(endpoint_waits_and_begins_once) {
    struct request q;
    open_request(&q);
    plan.outcome = 0;
    send(&q, NULL, NULL, q.png.len);
    CHECK_EQ(q.r.step, API_WAIT);
    rig_step(&q.r);
    CHECK_EQ(q.r.step, API_WAIT);
    plan.outcome = 1;
    rig_step(&q.r);
    CHECK_EQ(q.r.step, API_REPLY);
    CHECK_STR(plan.diary, "enter read ask outcome outcome outcome answer");
    plan.outcome = 0; /* one that ends while it waits */
    send(&q, NULL, NULL, q.png.len);
    CHECK_EQ(plan.cleared, 0);
    close_request(&q);
    CHECK_EQ(plan.cleared, 1);
}

/* Everything is wrong at once; whatever is mended, the next fault in the row's order shows. */
TEST(endpoint_first_fault_wins) {
    struct request q;
    open_request(&q);
    plan.fails = "enter";
    send(&q, "text/html", "x", 10);
    rig_check_problem(&q.r, 504, "deadline", "hook", NULL);
    CHECK_STR(plan.diary, "enter excuse");
    CHECK_EQ(plan.cleared, 1);
    plan.fails = "ask";
    send(&q, "text/html", "x", 10);
    rig_check_problem(&q.r, 406, "not_acceptable", NULL, "neither is in Accept");
    send(&q, NULL, "x", 0);
    rig_check_problem(&q.r, 422, "bad_picture", "image", "empty"); /* the input as a whole */
    send(&q, NULL, "x", 10);
    rig_check_problem(&q.r, 400, "invalid_parameter", "width", "got x"); /* `read` */
    CHECK_STR(plan.diary, "enter excuse");
    send(&q, NULL, "3", 10);
    rig_check_problem(&q.r, 422, "bad_picture", "image", NULL); /* the picture itself */
    CHECK_STR(plan.diary, "enter read excuse");
    send(&q, NULL, "3", q.png.len);
    rig_check_problem(&q.r, 504, "deadline", "hook", NULL);
    CHECK_STR(plan.diary, "enter read ask excuse");
    plan.fails = "outcome";
    send(&q, NULL, "3", q.png.len);
    rig_check_problem(&q.r, 504, "deadline", "hook", NULL);
    CHECK_STR(plan.diary, "enter read ask outcome excuse");
    CHECK_EQ(plan.cleared, 1);
    close_request(&q);
    CHECK_EQ(plan.cleared, 1);
}

TEST(endpoint_an_excused_fault_is_answered) {
    struct request q;
    open_request(&q);
    plan.is_excused = 1;
    plan.fails = "ask";
    send(&q, NULL, NULL, q.png.len);
    CHECK_EQ(q.r.reply->status, 200);
    CHECK(api_call_problem(q.r.call) == NULL);
    CHECK_STR(plan.diary, "enter read ask excuse answer");
    close_request(&q);
}

TEST(endpoint_streams) {
    struct request q;
    char piece[100];
    open_request(&q);
    send(&q, "text/event-stream", NULL, q.png.len);
    CHECK_EQ(q.r.step, API_STREAM);
    CHECK_STR(plan.diary, "enter read ask first");
    CHECK_EQ(q.r.call->wakes_each_pass, 1);
    CHECK_EQ(api_call_read(q.r.call, piece, sizeof(piece)), 9);
    CHECK_MEM(piece, "data: 1\n\n", 9);
    CHECK_EQ(api_call_read(q.r.call, piece, sizeof(piece)), 9);
    CHECK_EQ(api_call_read(q.r.call, piece, sizeof(piece)), API_END);
    CHECK_STR(plan.diary, "enter read ask first next");
    CHECK_EQ(plan.cleared, 0); /* its events need it */
    close_request(&q);
    CHECK_EQ(plan.cleared, 1);
}

TEST(endpoint_a_cancelled_call_gives_its_state_back) {
    struct request q;
    open_request(&q);
    plan.outcome = 0;
    send(&q, NULL, NULL, q.png.len);
    api_call_cancel(q.r.call);
    rig_step(&q.r);
    CHECK_EQ(q.r.reply->status, 499);
    CHECK_STR(plan.diary, "enter read ask outcome");
    CHECK_EQ(plan.cleared, 1);
    close_request(&q);
}

/* A row may leave out everything but its answer; Accept and body are then nobody's business. */
TEST(endpoint_row_of_an_answer_alone) {
    static const struct endpoint bare = {.answer = diary_answer};
    static const struct api_route at = {"GET", "/bare", "GET", API_ASK, API_WORK, &bare};
    struct request q;
    open_request(&q);
    send_to(&q, &at, "text/html", "x", 0);
    CHECK_EQ(q.r.reply->status, 200);
    CHECK_STR(plan.diary, "answer");
    CHECK_STR(api_call_summary(q.r.call), "");
    CHECK_EQ(api_route_body_max(q.r.api, &at), 0);
    close_request(&q);
}

TEST(endpoint_state_without_memory) {
    struct request q;
    open_request(&q);
    struct api_input in = {.request_id = "req-1"};
    CHECK_EQ(api_call_new(q.r.api, &route, &in, ignore, NULL, &q.r.call, NULL), 0);
    mem_fail_at(1);
    rig_step(&q.r);
    mem_fail_at(0);
    rig_check_problem(&q.r, 503, "no_memory", NULL, NULL);
    CHECK(plan.opened == 0 && plan.cleared == 0);
    close_request(&q);
}

/* Accept picks among a row's own types, best first. */
TEST(endpoint_pick_says_which) {
    static const struct media own = {.types = {"image/png", "application/json"}};
    struct request q;
    open_request(&q);
    struct api_input in = {.request_id = "req-1", .accept = "application/json, image/*;q=0.5"};
    CHECK_EQ(api_call_new(q.r.api, &route, &in, ignore, NULL, &q.r.call, NULL), 0);
    CHECK_EQ(endpoint_pick(q.r.call, &own), 0);
    CHECK_EQ(q.r.call->media, 1);
    CHECK_EQ(q.r.call->stream.is_wanted, 0);
    q.r.call->in.accept = "text/html";
    CHECK_EQ(endpoint_pick(q.r.call, &own), -1);
    CHECK_EQ(q.r.call->problem.code, PROBLEM_NOT_ACCEPTABLE);
    CHECK_HAS(problem_text(&q.r.call->problem), "none of the types");
    close_request(&q);
}
