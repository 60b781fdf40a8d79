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
    int is_tls[LISTENERS_MAX];    /* TLS is spoken on it; set by whoever added it */
    int is_admin[LISTENERS_MAX];  /* who can connect to it may do everything */
    int is_shared[LISTENERS_MAX]; /* somebody else keeps it open: who waits there waits for him */
    const char *path;             /* of the admin socket that was made here; NULL: none */
    int n;
};

/* Add a socket that listens on "127.0.0.1:8080", "[::1]:8080" or "localhost:0". E_INVALID: it is no
 * address, or there are LISTENERS_MAX already. E_IO: it can't be listened on. */
int listeners_bind(struct listeners *l, const char *address, struct err *e);
/* Add a listening socket that this process inherited. `is_admin`: see above; it must be a unix
 * socket then. E_INVALID: it is none, or one too many. */
int listeners_adopt(struct listeners *l, int fd, int is_admin, struct err *e);
/* Add a unix socket for administrators, of mode 0600; a path that nobody listens on any more is
 * taken over. `path` is borrowed until listeners_close, which removes it. Before other threads are
 * started, since it sets the umask for a moment. E_INVALID, E_IO. */
int listeners_bind_admin(struct listeners *l, const char *path, struct err *e);
/* Can only this machine connect to the i-th? */
int listeners_is_local(const struct listeners *l, int i);
/* The i-th as "http://127.0.0.1:8080", or https, with the port that it really has, or as
 * "unix:PATH". */
void listeners_url(const struct listeners *l, int i, char *out, size_t size);
void listeners_close(struct listeners *l);

struct acceptor;
struct acceptor *acceptor_start(const struct listeners *l, struct relay *r); /* borrows both */
/* Who waits at a socket that is ours alone is let in first: it would be reset when that is closed.
 * Joins the thread; the sockets stay open. NULL is legal. */
void acceptor_stop(struct acceptor *a);

#endif
