/* stream.c - a reply that comes in events, read piece by piece.
 *
 * Events are made when the reader asks for bytes, straight from what the engine has ready, so a
 * slow reader costs nothing but its connection. Thread: wherever the server reads (api.h), one at a
 * time.
 */
#include "api/stream.h"

#include <stdio.h>
#include <string.h>

#include "api/wire/sse.h"
#include "kernels/base/clock.h"

static const uint64_t ping_after_ns = 15ull * 1000 * 1000 * 1000;

int stream_begin(struct api_call *c, void (*next)(struct api_call *c)) {
    if (c->body.bad) return call_fail_as(c, PROBLEM_NO_MEMORY);
    c->stream.next = next;
    c->stream.last_ns = clock_ns();
    c->reply = (struct api_reply){.status = 200, .content_type = SSE_CONTENT_TYPE};
    call_header(c, "Cache-Control", "no-store");
    call_header(c, "X-Accel-Buffering", "no");
    call_header(c, "Vary", "Accept");
    return API_STREAM;
}

void stream_problem(struct api_call *c, const char *event) {
    if (event)
        sse_begin(&c->body, event);
    else
        sse_data(&c->body);
    if (problem_write(&c->problem, c->request_id, &c->body) == 0) c->body.len--; /* its line end */
    sse_end(&c->body);
    snprintf(c->summary, sizeof(c->summary), "problem=%s", problem_row(c->problem.code)->code);
}

static void refill(struct api_call *c) {
    c->body.len = c->stream.read_at = 0;
    c->stream.next(c);
    if (c->body.len == 0 && !c->stream.ended && clock_ns() - c->stream.last_ns >= ping_after_ns)
        sse_ping(&c->body);
}

long api_call_read(struct api_call *c, char *to, size_t max) {
    struct stream *s = &c->stream;
    if (max == 0) return 0;
    if (!s->next) return API_END;
    if (atomic_load(&c->cancelled)) return API_BROKEN;
    if (s->read_at == c->body.len && s->ended) return API_END;
    if (s->read_at == c->body.len && s->is_due) {
        s->is_due = 0;
        return API_STEP;
    }
    if (s->read_at == c->body.len) refill(c);
    if (c->body.bad) return API_BROKEN;
    size_t n = c->body.len - s->read_at;
    if (n == 0) return 0;
    if (n > max) n = max;
    memcpy(to, c->body.p + s->read_at, n);
    s->read_at += n;
    s->last_ns = clock_ns();
    return (long)n;
}
