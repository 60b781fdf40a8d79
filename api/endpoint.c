/* endpoint.c - see endpoint.h. Thread: the worker that steps the call. */
#include "api/endpoint.h"

#include <string.h>

#include "api/ask.h"
#include "api/stream.h"
#include "api/wire/accept.h"
#include "api/wire/sse.h"
#include "kernels/base/mem.h"

enum { MODEL_BYTES_MAX = 200 };

const struct media media_json = {
    .types = {"application/json"},
    .refusal = "the answer comes as application/json, which is not in Accept"};
const struct media media_json_or_events = {
    .types = {"application/json", SSE_CONTENT_TYPE},
    .refusal = "the answer comes as application/json or text/event-stream; neither is in Accept"};

int endpoint_pick(struct api_call *c, const struct media *media) {
    c->media = accept_pick(c->in.accept, media->types);
    if (c->media < 0 && media->refusal)
        return problem_set(&c->problem, PROBLEM_NOT_ACCEPTABLE, NULL, "%s", media->refusal);
    if (c->media < 0) return problem_set(&c->problem, PROBLEM_NOT_ACCEPTABLE, NULL, NULL);
    c->stream.is_wanted = strcmp(media->types[c->media], SSE_CONTENT_TYPE) == 0;
    return 0;
}

int endpoint_open_input(struct api_call *c, struct input *in) {
    if (!c->texts) c->texts = arena_new(CALL_TEXT_BYTES_MAX);
    if (!c->texts) return problem_set(&c->problem, PROBLEM_NO_MEMORY, NULL, NULL);
    *in = (struct input){.from = &c->in,
                         .wants = c->route->endpoint->wants,
                         .picture_max = c->api->opt.picture_max,
                         .picture_folder = c->api->opt.picture_folder,
                         .texts = c->texts,
                         .problem = &c->problem};
    return input_open(in);
}

/* Who answers is settled here, once, for all that the call will ask. */
static int endpoint_read_model(struct api_call *c, struct input *in) {
    const char *model = NULL;
    if (!in->wants->has_model) return 0;
    return input_text(in, "model", MODEL_BYTES_MAX, &model) ? -1 : call_pick(c, model);
}

static int read_request(struct api_call *c, const struct endpoint *e) {
    struct input in = {0};
    int rc = endpoint_open_input(c, &in);
    if (!rc) rc = endpoint_read_model(c, &in);
    if (!rc && e->read) rc = e->read(c, &in);
    if (!rc) rc = call_pictures(c, &in);
    input_close(&in);
    return rc;
}

/* All that comes before the engine's answer. 0; 1: the answer is known; or -1 with the problem. */
static int endpoint_begin(struct api_call *c, const struct endpoint *e) {
    if (e->state_size && !(c->state = mem_try(e->state_size)))
        return problem_set(&c->problem, PROBLEM_NO_MEMORY, NULL, NULL);
    c->state_clear = e->clear;
    if (e->enter && e->enter(c)) return -1;
    if (e->media && endpoint_pick(c, e->media)) return -1;
    int rc = e->wants ? read_request(c, e) : 0;
    if (rc) return rc;
    c->wakes_each_pass = c->stream.is_wanted;
    return e->ask ? e->ask(c) : 0;
}

static int endpoint_give_up(struct api_call *c, const struct endpoint *e) {
    return e->excuse && e->excuse(c) ? e->answer(c) : call_fail(c);
}

/* Whoever answered says so. A name that a header can't hold stands in the JSON alone. */
static void say_model(struct api_call *c) {
    const char *name = c->model.name;
    size_t n = 0;
    while (name[n] > ' ' && name[n] < 0x7f)
        n++;
    if (n && !name[n] && c->reply.status < 400) call_header(c, "X-Lammd-Model", name);
}

static int go_on(struct api_call *c, const struct endpoint *e) {
    if (c->route->pace != API_WATCH && !atomic_load(&c->api->has_engine))
        return call_fail_as(c, api_trouble(c->api));
    if (!c->is_begun) {
        c->is_begun = 1;
        int rc = endpoint_begin(c, e);
        if (rc) return rc > 0 ? e->answer(c) : endpoint_give_up(c, e);
        if (c->stream.is_wanted) {
            if (e->first) e->first(c);
            return stream_begin(c, e->next);
        }
    }
    int outcome = 1;
    if (e->outcome)
        outcome = e->outcome(c);
    else if (e->ask)
        outcome = call_outcome(c);
    if (outcome < 0) return endpoint_give_up(c, e);
    return outcome ? e->answer(c) : API_WAIT;
}

/* A stream that has begun: `next` tells what came of it. */
static int endpoint_step_stream(struct api_call *c) {
    if (!atomic_load(&c->cancelled)) (void)c->route->endpoint->outcome(c);
    return API_STREAM;
}

enum api_step api_call_step(struct api_call *c) {
    int is_cancelled = atomic_load(&c->cancelled);
    if (c->stream.next) return (enum api_step)endpoint_step_stream(c);
    uint64_t failures = mem_thread_failures();
    int step = is_cancelled ? call_fail_as(c, PROBLEM_CANCELLED) : go_on(c, c->route->endpoint);
    int is_blamed = step == API_REPLY && c->reply.status >= 400 && c->reply.status < 500;
    /* A parser without memory says that what it parsed is wrong. */
    if (is_blamed && !is_cancelled && mem_thread_failures() != failures)
        step = call_fail_as(c, PROBLEM_NO_MEMORY);
    if (step != API_WAIT) say_model(c);
    if (step == API_REPLY) call_clear_state(c);
    return (enum api_step)step;
}
