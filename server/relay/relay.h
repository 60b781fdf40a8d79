/* relay.h - what stands between the acceptor and libmicrohttpd: TLS, and a strict look at framing.
 *
 *     relay_open(&opt, http, &r, &e);
 *     relay_add(r, fd, addr, len, is_tls);            // from the acceptor's thread
 *     relay_drain(r);                                 // accept no more before this
 *     http_close(http);
 *     relay_close(r);
 *
 * Each connection gets a pair of sockets. libmicrohttpd has one end and speaks plain HTTP on it;
 * the other end is here, beside the client's socket (link.h). One thread moves the bytes of all of
 * them. Connections that are open come before handshakes, which cost most, so that a flood of those
 * doesn't hold up answers. Thread: main's, unless told otherwise.
 */
#ifndef SERVER_RELAY_RELAY_H
#define SERVER_RELAY_RELAY_H

#include <stdint.h>
#include <sys/socket.h>

#include "kernels/base/err.h"
#include "server/http/http.h"
#include "server/relay/tls.h"

struct relay;

struct relay_options {
    int connections;   /* links at once; the oldest that lingers makes room, more are closed */
    uint64_t shake_ns; /* that a TLS handshake may take */
    const struct tls_options *tls; /* NULL: no TLS; borrowed until relay_close */
};

/* Borrows `http` until relay_drain. E_INVALID: what is wrong with the TLS files. */
int relay_open(const struct relay_options *opt, struct http *http, struct relay **out,
               struct err *e);
/* Takes the socket, which must not block. Thread: any. */
void relay_add(struct relay *r, int fd, const struct sockaddr *from, socklen_t len, int is_tls);
/* Read certificate and key again. On an error everything stays as it was. 0 without TLS, or with r
 * NULL. Thread: any. */
int relay_reload(struct relay *r, struct err *e);
void relay_drain(struct relay *r); /* from here on nothing is handed to `http` */
void relay_close(
    struct relay *r); /* gives clients a moment to read what they have; NULL is legal */

#endif
