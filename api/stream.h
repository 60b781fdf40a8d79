/* stream.h - a reply that comes in events. Thread: as in api.h. */
#ifndef API_STREAM_H
#define API_STREAM_H

#include "api/call.h"

/* `next` puts the next event, if there is one, into the empty c->body, and sets c->stream.ended
 * with the last. What is in c->body now comes first. If `next` sets c->stream.is_due, a worker
 * calls the endpoint's `outcome` before the next event. Returns API_STREAM, or API_REPLY when
 * c->body went bad. */
int stream_begin(struct api_call *c, void (*next)(struct api_call *c));
/* The event of a stream that failed: c->problem. `event` NULL: it has no name. */
void stream_problem(struct api_call *c, const char *event);

#endif
