/* base64.h - base64 (RFC 4648 sections 4 and 5), as programs write it. Thread: any. */
#ifndef API_WIRE_BASE64_H
#define API_WIRE_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"

/* Text -> bytes, given to the caller (mem_free; NULL when there are none). Either alphabet, with
 * or without padding; blanks, tabs and line ends are passed over wherever they are. No other
 * character, none behind the padding, no bits behind the end. 0; E_FORMAT with *at = index of the
 * character at fault, or of the last digit when the end is; E_NOMEM. */
int base64_decode(const char *text, size_t len, uint8_t **bytes, size_t *n, size_t *at);

/* Appends. buf's errors. */
int base64_encode(struct buf *out, const uint8_t *bytes, size_t n);

#endif
