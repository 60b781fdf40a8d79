/* peer.h - who is at the other end of a connection: its address, without the port.
 *
 * Peers share what is scarce (watch.h). Who has an IPv6 address has 2^64 of them, so all of a /64
 * are one peer. An IPv4 address that came in over IPv6 is that IPv4 address. Thread: any.
 */
#ifndef SERVER_HTTP_PEER_H
#define SERVER_HTTP_PEER_H

#include <stdint.h>
#include <sys/socket.h>

enum { PEER_TEXT = 46 };

struct peer {
    uint8_t at[16]; /* IPv4: the last four bytes, behind ::ffff; all zero: not known */
};

struct peer peer_of(const struct sockaddr *addr, socklen_t len); /* NULL is legal */
int peer_is_same(const struct peer *a, const struct peer *b);    /* 0: or it is not known */
/* "127.0.0.1", "2001:db8::1"; "-" when it is not known. */
void peer_write(const struct peer *p, char out[PEER_TEXT]);

#endif
