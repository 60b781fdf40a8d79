/* http.h - HTTP/1.1 on connections that somebody else accepted.
 *
 *     http_open(&opt, api, &h, &e);
 *     http_add(h, fd, addr, len);                        // from the relay's thread
 *     http_drain(h);                                     // accept no more before this
 *     while (http_requests(h) && there_is_time()) ...
 *     http_cancel(h);                                    // what is left
 *     http_close(h);
 *
 * One libmicrohttpd loop without a listening socket (http.c), workers that step the API's calls
 * (req.h), and a watcher that looks after clients which leave or are slow (watch.h). Only http.c,
 * intake.c and answer.c know libmicrohttpd. Thread: main's; http_add: the relay's.
 */
#ifndef SERVER_HTTP_HTTP_H
#define SERVER_HTTP_HTTP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "api/api.h"
#include "server/http/caller.h"
#include "server/http/origin.h"
#include "server/http/watch.h"

struct http;

enum { HTTP_CONNECTIONS_MAX = 65536, HTTP_WORKERS_MAX = 64 };

struct http_options {
    int connections, workers; /* 1 up to what is above */
    size_t bodies_max;        /* bytes of all bodies that are held at once */
    struct spool *spool; /* for routes that take files, borrowed until http_close; NULL: they are
                            refused */
    struct watch_limits limits;
    struct origin_rules origins; /* borrowed until http_close */
    struct caller_rules callers; /* what it points to is borrowed, too */
    int is_verbose;              /* log requests outside /v1 and the debug level, too */
};

/* E_INVALID: what http_open would say of the options, before anything is loaded. */
int http_check(const struct http_options *opt, struct err *e);
/* Borrows the API until http_close. E_INVALID (the options), E_IO. */
int http_open(const struct http_options *opt, struct api *api, struct http **out, struct err *e);
/* Takes the socket. Over the limit it is answered with 503 and closed. Where proxies are trusted,
 * others than these and this machine are answered with 403. */
void http_add(struct http *h, int fd, const struct sockaddr *addr, socklen_t len);
/* Takes a socket of the server's own (pulse.h), which is counted nowhere and never cut. Main's. */
void http_add_own(struct http *h, int fd);
/* From now on every answer is the last of its connection, and idle connections are closed. */
void http_drain(struct http *h);
int http_requests(struct http *h); /* how many are not over yet */
/* Requests that wait are answered with 503, and so are those that are not all here; streams end
 * with an error event. A request that is busy at this moment is met by the next call: repeat it
 * until none is left. */
void http_cancel(struct http *h);
void http_close(struct http *h); /* drops what is left; NULL is legal */

#endif
