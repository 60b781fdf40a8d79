/* base64.h - base64 (RFC 4648 section 4), strict. Thread: any. */
#ifndef API_WIRE_BASE64_H
#define API_WIRE_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"

/* Text -> bytes, given to the caller (mem_free; NULL when there are none). Only the standard
 * alphabet, padded to a multiple of four, no blanks, no bits behind the end. 0; E_FORMAT with *at =
 * index of the character at fault; E_NOMEM. */
int base64_decode(const char *text, size_t len, uint8_t **bytes, size_t *n, size_t *at);

/* Appends. buf's errors. */
int base64_encode(struct buf *out, const uint8_t *bytes, size_t n);

#endif
