/* sse.h - writing server-sent events (HTML standard, section 9.2) into a buffer.
 *
 *     sse_begin(b, "pixels"); buf_printf(b, "{...}"); sse_end(b);
 *
 * The data between begin and end is one line. Thread: its owner's.
 */
#ifndef API_WIRE_SSE_H
#define API_WIRE_SSE_H

#include "kernels/base/buf.h"

#define SSE_CONTENT_TYPE "text/event-stream"

void sse_begin(struct buf *out, const char *event);
void sse_data(struct buf *out); /* the same without a name */
void sse_end(struct buf *out);
void sse_ping(struct buf *out); /* a comment: keeps proxies from cutting a silent stream */

#endif
