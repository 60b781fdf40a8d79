/* json_write.h - plain JSON out: a few helpers over struct buf. Answers are streams of numbers and
 * need no tree. Thread: its owner's. */
#ifndef API_WIRE_JSON_WRITE_H
#define API_WIRE_JSON_WRITE_H

#include "kernels/base/buf.h"

/* "text" with everything escaped that must be; bytes that are not UTF-8 become U+FFFD. buf's
 * errors. */
int json_write_str(struct buf *out, const char *s);
int json_write_text(struct buf *out, const char *s, size_t len); /* may hold NUL */
/* "data:image/png;base64,..." */
int json_write_png(struct buf *out, const uint8_t *png, size_t len);

#endif
