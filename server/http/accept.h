/* accept.h - listening sockets and the thread that accepts from them.
 *
 * Thread: main's. */
#ifndef SERVER_HTTP_ACCEPT_H
#define SERVER_HTTP_ACCEPT_H

#include "kernels/base/err.h"
#include "server/http/http.h"

enum { LISTENERS_MAX = 16 };

struct listeners {
    int fd[LISTENERS_MAX];
    int n;
};

/* Add a socket bound to "127.0.0.1:8080", "[::1]:8080", "localhost:0". E_INVALID, E_IO. */
int listeners_bind(struct listeners *l, const char *address, struct err *e);
/* Add a listening socket that was inherited. E_INVALID when it is none. */
int listeners_adopt(struct listeners *l, int fd, struct err *e);
/* "http://127.0.0.1:8080" of the i-th. */
void listeners_url(const struct listeners *l, int i, char *out, size_t size);
void listeners_close(struct listeners *l);

struct acceptor;
struct acceptor *acceptor_start(const struct listeners *l, struct http *h); /* borrows both */
void acceptor_stop(struct acceptor *a); /* joins the thread; the sockets stay open; NULL is legal */

#endif
