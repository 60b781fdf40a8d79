/* sse.c - the frame of server-sent events. What is in the frame is the endpoint's business.
 * Thread: any. */
#include "api/wire/sse.h"

void sse_begin(struct buf *out, const char *event) { buf_printf(out, "event: %s\ndata: ", event); }

void sse_data(struct buf *out) { buf_str(out, "data: "); }

void sse_end(struct buf *out) { buf_str(out, "\n\n"); }

void sse_ping(struct buf *out) { buf_str(out, ": ping\n\n"); }
