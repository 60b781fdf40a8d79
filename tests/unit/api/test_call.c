/* A call's reply: what a fault leaves of it, and that there is one even without memory. */
#include "api/call.h"

#include <string.h>

#include "kernels/base/mem.h"
#include "tests/unit/api/rig.h"

static void ignore(void *ud) { (void)ud; }

/* A call that nobody steps; the rig frees it. */
static struct api_call *open_call(struct rig *r) {
    static const struct api_route route = {.method = "GET", .path = "/x", .allow = "GET"};
    static const struct api_input in = {.request_id = "req-1"};
    rig_open(r, 4);
    CHECK_EQ(api_call_new(r->api, &route, &in, ignore, NULL, &r->call, NULL), 0);
    r->reply = api_call_reply(r->call);
    return r->call;
}

TEST(call_answers) {
    struct rig r;
    struct api_call *c = open_call(&r);
    buf_str(&c->body, "hello");
    call_header(c, "Vary", "Accept");
    call_header_printf(c, "Location", "/v1/%d", 7);
    CHECK_EQ(call_answer(c, 201, "text/plain"), API_REPLY);
    CHECK(r.reply->status == 201 && r.reply->body_len == 5 && !r.reply->is_static);
    CHECK_MEM(r.reply->body, "hello", 5);
    CHECK_STR(rig_header(&r, "Location"), "/v1/7");
    CHECK_STR(rig_header(&r, "Vary"), "Accept");
    CHECK(api_call_problem(c) == NULL);
    rig_close(&r);
}

TEST(call_fault_replaces_what_was_begun) {
    struct rig r;
    struct api_call *c = open_call(&r);
    buf_str(&c->body, "half an answ");
    call_header_printf(c, "Location", "/v1/%d", 7);
    problem_set(&c->problem, PROBLEM_DEADLINE, NULL, NULL);
    CHECK_EQ(call_fail_as(c, PROBLEM_QUEUE_FULL), API_REPLY); /* not what stood there */
    rig_check_problem(&r, 503, "queue_full", NULL, NULL);
    CHECK(rig_header(&r, "Location") == NULL);
    CHECK_STR(rig_header(&r, "Retry-After"), "7"); /* the fake engine's */
    CHECK_STR(api_call_summary(c), "problem=queue_full");
    CHECK_STR(api_call_problem(c), problem_row(PROBLEM_QUEUE_FULL)->detail);
    rig_close(&r);
}

TEST(call_body_that_went_bad_is_no_answer) {
    struct rig r;
    struct api_call *c = open_call(&r);
    buf_str(&c->body, "x");
    c->body.bad = E_NOMEM;
    CHECK_EQ(call_answer(c, 200, "text/plain"), API_REPLY);
    rig_check_problem(&r, 503, "no_memory", NULL, NULL);
    rig_close(&r);
}

TEST(call_last_resort_needs_no_memory) {
    struct rig r;
    struct api_call *c = open_call(&r);
    mem_fail_at(1);
    CHECK_EQ(call_fail_as(c, PROBLEM_NOT_FOUND), API_REPLY);
    mem_fail_at(0);
    CHECK(r.reply->status == 503 && r.reply->is_static);
    json_t *root = rig_json(&r);
    CHECK_NEAR(rig_number(root, "status"), 503, 0);
    json_decref(root);
    rig_close(&r);
}

static void count(void *state) { ++**(int **)state; }

TEST(call_state_is_cleared_once) {
    struct rig r;
    struct api_call *c = open_call(&r);
    int n = 0;
    int **state = mem_must(sizeof(*state));
    *state = &n;
    c->state = state;
    c->state_clear = count;
    call_clear_state(c);
    CHECK(n == 1 && c->state == NULL);
    call_clear_state(c);
    rig_close(&r);
    CHECK_EQ(n, 1);
}
