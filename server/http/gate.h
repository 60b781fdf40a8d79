/* gate.h - is this request what HTTP/1.1 allows, and meant for us? The first look at every request.
 *
 * libmicrohttpd 0.9.75 accepts what invites request smuggling (both Content-Length and
 * Transfer-Encoding, doubled lengths, odd header names, folded lines); the gate refuses it, and the
 * connection is closed. It also keeps out what only a browser under a stranger's control sends: a
 * Host name that isn't ours (DNS rebinding), an Origin that isn't the page's own.
 * A pure function over borrowed bytes; never allocates. Thread: any.
 */
#ifndef SERVER_HTTP_GATE_H
#define SERVER_HTTP_GATE_H

#include <stddef.h>

#include "api/api.h"

enum { GATE_HEADERS_MAX = 64, GATE_TARGET_MAX = 4096 };

struct gate_header {
    const char *name, *value;
    size_t name_len, value_len;
};

struct gate_request {
    const char *method, *version;
    const char *target; /* as it came, before any decoding */
    const struct gate_header *headers;
    size_t n_headers;         /* more than GATE_HEADERS_MAX are refused unread */
    const char *const *hosts; /* Host names besides localhost and addresses, without port */
    size_t n_hosts;
};

struct gate_verdict {
    enum problem_code code; /* PROBLEM_NONE: come in */
    const char *detail;     /* what to do; NULL: the code's own text */
};

struct gate_verdict gate_check(const struct gate_request *q);

#endif
