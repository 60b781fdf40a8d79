/* accept.h - listening sockets, and the thread that accepts connections from them.
 *
 * Thread: main's.
 */
#ifndef SERVER_ACCEPT_H
#define SERVER_ACCEPT_H

#include "kernels/base/err.h"
#include "server/relay/relay.h"

enum { LISTENERS_MAX = 16 };

struct listeners {
    int fd[LISTENERS_MAX];
    int is_tls[LISTENERS_MAX]; /* TLS is spoken on it; set by whoever added it */
    int n;
};

/* Add a socket that listens on "127.0.0.1:8080", "[::1]:8080" or "localhost:0". E_INVALID: it is no
 * address, or there are LISTENERS_MAX already. E_IO: it can't be listened on. */
int listeners_bind(struct listeners *l, const char *address, struct err *e);
/* Add a listening socket that this process inherited. E_INVALID: it is none, or one too many. */
int listeners_adopt(struct listeners *l, int fd, struct err *e);
/* The i-th as "http://127.0.0.1:8080", or https, with the port that it really has. */
void listeners_url(const struct listeners *l, int i, char *out, size_t size);
void listeners_close(struct listeners *l);

struct acceptor;
struct acceptor *acceptor_start(const struct listeners *l, struct relay *r); /* borrows both */
void acceptor_stop(struct acceptor *a); /* joins the thread; the sockets stay open; NULL is legal */

#endif
