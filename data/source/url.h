/* url.h - pictures inside of a line: data:image/png;base64,... or image/jpeg. Thread: any. */
#ifndef DATA_SOURCE_URL_H
#define DATA_SOURCE_URL_H

#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

int url_is(const char *text); /* does it begin with "data:"? */
/* E_FORMAT: not such a URL, or not base64 to the letter (padding included). */
int url_check(const char *text, struct err *e);
/* Its bytes, appended. The URL must be one that url_check took. buf's errors. */
int url_decode(const char *text, struct buf *out);

#endif
