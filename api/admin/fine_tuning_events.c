/* fine_tuning_events.c - GET /v1/fine_tuning/jobs/{id}/events: what a job did, oldest first.
 *
 * As JSON, behind after=. Or, with Accept: text/event-stream, as a stream that goes on until the
 * job is over: each event has its id, so a client that was cut off goes on with Last-Event-ID, or
 * after=. A server that is shutting down ends it; the client comes again. The last event is `end`,
 * with the job. Thread: as in api.h.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/admin/fine_tuning.h"
#include "api/stream.h"
#include "api/wire/json_write.h"
#include "api/wire/sse.h"

enum { STREAMED = 50 };

struct events {
    struct fine_tuning_page page;
    char id[JOBS_ID_BYTES];
    int64_t seq; /* behind which events are wanted */
    struct jobs_watch *watch;
    struct buf *to;
    int n, is_stream;
    int64_t first;
};

static void events_clear(void *state) { jobs_unwatch(((struct events *)state)->watch); }

static int events_read(struct api_call *c, struct input *in) {
    struct events *s = c->state;
    struct jobs_job job;
    struct err e = {0};
    if (fine_tuning_read_page(in, &s->page)) return -1;
    int rc = jobs_get(c->api->jobs, c->in.arg, &job, &e);
    if (rc) return fine_tuning_refuse(c, rc, NULL, &e);
    snprintf(s->id, sizeof(s->id), "%s", c->in.arg);
    const char *header = c->stream.is_wanted ? c->in.last_event_id : NULL;
    const char *after = s->page.after ? s->page.after : header;
    s->seq = after ? fine_tuning_event_seq(s->id, after) : 0;
    if (s->seq < 0)
        return problem_set(&c->problem, PROBLEM_INVALID_PARAMETER,
                           s->page.after ? "after" : "Last-Event-ID",
                           "that is not the id of an event of this job");
    return 0;
}

/* ---- JSON ---- */

static void write_event(const struct events *s, const struct jobs_event *event) {
    struct buf *b = s->to;
    buf_printf(b,
               "{\"object\":\"fine_tuning.job.event\",\"id\":\"ftevent-%s-%" PRId64
               "\",\"created_at\":%" PRId64 ",\"level\":\"%s\",\"type\":\"%s\",\"message\":",
               s->id, event->seq, event->created, event->level, event->type);
    json_write_str(b, event->message);
    buf_printf(b, ",\"data\":%s}", event->data[0] ? event->data : "null");
}

static int fine_tuning_events_add(void *ud, const struct jobs_event *event) {
    struct events *s = ud;
    if (s->is_stream) {
        buf_printf(s->to, "id: ftevent-%s-%" PRId64 "\n", s->id, event->seq);
        sse_begin(s->to, event->type);
    } else if (s->n) {
        buf_char(s->to, ',');
    }
    write_event(s, event);
    if (s->is_stream) sse_end(s->to);
    if (!s->n++) s->first = event->seq;
    s->seq = event->seq;
    return 0;
}

static int events_answer(struct api_call *c) {
    struct events *s = c->state;
    struct err e = {0};
    int more = 0, is_over = 0;
    s->to = &c->body;
    buf_str(&c->body, "{\"object\":\"list\",\"data\":[");
    int rc = jobs_events(c->api->jobs, s->id, s->seq, s->page.limit, fine_tuning_events_add, s,
                         &more, &is_over, &e);
    if (rc) {
        (void)fine_tuning_refuse(c, rc, NULL, &e);
        return call_fail(c);
    }
    buf_printf(&c->body, "],\"has_more\":%s", more ? "true" : "false");
    if (s->n)
        buf_printf(&c->body,
                   ",\"first_id\":\"ftevent-%s-%" PRId64 "\",\"last_id\":\"ftevent-%s-%" PRId64
                   "\"}\n",
                   s->id, s->first, s->id, s->seq);
    else
        buf_str(&c->body, ",\"first_id\":null,\"last_id\":null}\n");
    return call_answer(c, 200, "application/json");
}

/* ---- the stream ---- */

/* Watched before the first look, so that nothing falls between the two. */
static int events_watch(struct api_call *c) {
    struct events *s = c->state;
    struct err e = {0};
    if (!c->stream.is_wanted) return 1;
    s->is_stream = 1;
    if (jobs_watch(c->api->jobs, s->id, c->wake, c->ud, &s->watch, &e))
        return problem_set(&c->problem, PROBLEM_NO_MEMORY, NULL, NULL);
    return 0;
}

static void events_end(struct api_call *c, const struct events *s) {
    struct jobs_job job;
    c->stream.ended = 1;
    if (jobs_get(c->api->jobs, s->id, &job, NULL)) return;
    sse_begin(&c->body, "end");
    fine_tuning_write(c, &job, &c->body);
    sse_end(&c->body);
}

static void events_next(struct api_call *c) {
    struct events *s = c->state;
    struct err e = {0};
    int more = 0, is_over = 0;
    s->to = &c->body;
    if (jobs_events(c->api->jobs, s->id, s->seq, STREAMED, fine_tuning_events_add, s, &more,
                    &is_over, &e)) {
        problem_set(&c->problem, PROBLEM_STATE_UNWRITABLE, NULL, NULL);
        stream_problem(c, "error");
        c->stream.ended = 1;
    } else if (is_over && !more) {
        events_end(c, s);
    } else if (atomic_load(&c->api->draining)) {
        c->stream.ended = 1;
    }
}

const struct endpoint fine_tuning_events_endpoint = {.follows = 1,
                                                     .wants = &fine_tuning_page,
                                                     .media = &media_json_or_events,
                                                     .state_size = sizeof(struct events),
                                                     .enter = fine_tuning_enter,
                                                     .read = events_read,
                                                     .ask = events_watch,
                                                     .answer = events_answer,
                                                     .next = events_next,
                                                     .clear = events_clear};
