/* loop.h - what the files of the HTTP loop share. libmicrohttpd calls http.c, which asks intake.c
 * while a request comes in and answer.c while its answer goes out.
 *
 * Thread: the HTTP loop's, libmicrohttpd's only thread. The counters are read by any.
 */
#ifndef SERVER_HTTP_LOOP_H
#define SERVER_HTTP_LOOP_H

#include <microhttpd.h>
#include <stdatomic.h>

#include "server/http/http.h"
#include "server/http/req.h"

struct http {
    struct desk desk; /* the first member: http_of */
    struct watch *watch;
    struct MHD_Daemon *daemon;
    struct http_options opt;
    struct MHD_Response *sorry; /* when there is no memory for any other */
    struct buf ending; /* a whole answer, for those whose requests are not here at the end */
    atomic_int is_draining;
    atomic_ullong connections_total, shed, gate_refused, cancelled;
};

static inline struct http *http_of(struct req *r) { return (struct http *)(void *)r->desk; }

/* All return what libmicrohttpd's callback must return: MHD_NO closes the connection. */

/* intake.c: the headers are here; more of the body is here (*n becomes 0, or stays when the request
 * was parked instead); the body has ended. */
enum MHD_Result intake_begin(struct req *r, const char *method, const char *version);
enum MHD_Result intake_body(struct req *r, const char *bytes, size_t *n);
enum MHD_Result intake_end(struct req *r);

/* answer.c: answer with a problem, without a call; `is_last`: and close the connection. */
enum MHD_Result answer_problem(struct req *r, enum problem_code code, const char *detail,
                               int is_last);
/* The same, whole, for a socket that libmicrohttpd doesn't have or can't write to now. Its bytes
 * are added to `out`, which goes bad without memory. Any thread. */
void answer_text(enum problem_code code, const char *detail, const char *id, struct buf *out);
/* There is no memory for an answer of its own. */
enum MHD_Result answer_sorry(struct http *h, struct MHD_Connection *mhd);
/* The call is at work: send its answer, or park the request until there is one. */
enum MHD_Result answer_call(struct req *r);

#endif
