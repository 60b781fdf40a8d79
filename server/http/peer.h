/* peer.h - where a request comes from: an address, or a socket of this machine.
 *
 * Addresses are kept as those of IPv6; one of IPv4 is ::ffff:a.b.c.d. A proxy that is trusted says
 * in X-Forwarded-For whom it asks for. That list is read from its end: the first address that is no
 * trusted proxy is the one which a trusted proxy has seen with its own eyes; what stands before it
 * may be invented. Pure functions. Thread: any.
 */
#ifndef SERVER_HTTP_PEER_H
#define SERVER_HTTP_PEER_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "kernels/base/err.h"

enum peer_kind { PEER_UNIX, PEER_ADMIN, PEER_ADDRESS };
enum { PEER_TEXT = 48, PEERS_TRUSTED_MAX = 8 };

struct peer {
    enum peer_kind kind;
    uint8_t at[16];
};

struct peer_net { /* 192.0.2.0/24, 2001:db8::/32 */
    uint8_t at[16];
    int bits; /* of the 128 */
};

/* The address that libmicrohttpd is told of a connection to a unix socket: which kind it is. */
struct sockaddr_un peer_unix(enum peer_kind kind);
/* NULL: PEER_UNIX. */
struct peer peer_of(const struct sockaddr *a);
int peer_is_loopback(const struct peer *p); /* a unix socket, too */

/* "192.0.2.0/24", or an address alone. E_INVALID. */
int peer_net_read(const char *text, struct peer_net *out, struct err *e);
int peer_is_in(const struct peer *p, const struct peer_net *nets, int n);

/* Whom a proxy asks for, from one field of X-Forwarded-For: moves *p. 1: the field's first address
 * is a trusted proxy's, too, so the field before it counts. 0: *p is who asks. */
int peer_forward(struct peer *p, const char *field, const struct peer_net *nets, int n);

/* "192.0.2.7", "2001:db8::7", "unix", "admin-socket". */
void peer_text(const struct peer *p, char out[PEER_TEXT]);
/* Are they one for what is shared out? Of IPv6 a site is one; sockets of this machine are none. */
int peer_is_same(const struct peer *a, const struct peer *b);
/* The same, but of IPv6 the net of a site, "2001:db8:0:7::/64". */
void peer_group_text(const struct peer *p, char out[PEER_TEXT]);
/* Who is counted as one: the same, but "this-machine" for all of it but the admin socket. */
void peer_payer_text(const struct peer *p, char out[PEER_TEXT]);

#endif
