/* http_client_read.h - the answer to a request, read strictly: the half of http_client.h that sees
 * bytes from outside. Thread: its owner's. */
#ifndef CLI_HTTP_CLIENT_READ_H
#define CLI_HTTP_CLIENT_READ_H

#include "cli/http_client.h"

/* Where the bytes come from: as read(2), -1 with errno. */
typedef long http_client_source_fn(void *ud, void *to, size_t max);

/* Reads one answer to its end. E_IO: it was cut short; E_TIMEOUT; E_FORMAT; E_TOO_BIG. */
int http_client_read(int fd, const struct http_request *q, struct http_reply *r, struct err *e);
/* The same from any source. */
int http_client_read_from(http_client_source_fn *source, void *ud, const struct http_request *q,
                          struct http_reply *r, struct err *e);

#endif
