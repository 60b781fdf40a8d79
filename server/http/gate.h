/* gate.h - is a request legal HTTP/1.1, and meant for this server? The first look at every request.
 *
 * libmicrohttpd 0.9.75 accepts what makes request smuggling possible: Content-Length together with
 * Transfer-Encoding, a length that comes twice, odd header names, folded lines. The gate refuses
 * all of that, and the connection is closed. It also refuses what only a browser under a stranger's
 * control sends: see origin.h. A load balancer may ask for health by HTTP/1.0 without a Host. A
 * pure function over borrowed bytes; it never allocates. Thread: any.
 */
#ifndef SERVER_HTTP_GATE_H
#define SERVER_HTTP_GATE_H

#include <stddef.h>

#include "api/api.h"
#include "server/http/origin.h"

enum { GATE_HEADERS_MAX = 64, GATE_TARGET_MAX = 4096 };

struct gate_header {
    const char *name, *value;
    size_t name_len, value_len;
};

struct gate_request {
    const char *method, *version;
    const char *target; /* as it came, before any decoding */
    const struct gate_header *headers;
    size_t n_headers; /* more than GATE_HEADERS_MAX are refused unread */
    struct origin_rules rules;
};

struct gate_verdict {
    enum problem_code code; /* PROBLEM_NONE: the request may come in */
    const char *detail;     /* its text; NULL: the problem's usual one */
};

struct gate_verdict gate_check(const struct gate_request *q);

#endif
