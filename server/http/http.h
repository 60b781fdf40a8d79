/* http.h - HTTP/1.1 on sockets that somebody else accepted.
 *
 * One libmicrohttpd loop without a listening socket of its own, fed by http_add; workers for the
 * API's calls; a watcher for those who leave or dawdle. http.c is the only file, besides form.c,
 * that knows libmicrohttpd.
 *
 * Shutting down: stop accepting, http_drain, wait for http_requests to reach 0, http_cancel what is
 * left, http_close. Thread: main's, but http_add: the acceptor's.
 */
#ifndef SERVER_HTTP_HTTP_H
#define SERVER_HTTP_HTTP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "api/api.h"
#include "server/http/watch.h"

struct http;

enum { HTTP_CONNECTIONS_MAX = 65536, HTTP_WORKERS_MAX = 64 };

struct http_options {
    int connections, workers; /* 1 up to what is above */
    size_t bodies_max;        /* bytes of all bodies that are held at once */
    struct watch_limits limits;
    const char *const *hosts; /* see gate.h; borrowed until http_close */
    size_t n_hosts;
    int is_verbose; /* log every request, not only those to /v1 */
};

/* Borrows the API until http_close. E_INVALID (the options), E_IO. */
int http_open(const struct http_options *opt, struct api *api, struct http **out, struct err *e);
/* Takes the socket. Over the limit it is told 503 and closed. */
void http_add(struct http *h, int fd, const struct sockaddr *addr, socklen_t len);
/* From now on every answer is its connection's last, and idle connections are closed. */
void http_drain(struct http *h);
int http_requests(struct http *h); /* that are not over yet */
void http_cancel(struct http *h);  /* waiting requests are told 503, streams end with an error */
void http_close(struct http *h);   /* drops what is left */

#endif
