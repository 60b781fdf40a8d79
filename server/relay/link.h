/* link.h - one connection that is relayed: the client's socket outside, libmicrohttpd's inside.
 *
 * Bytes that come in pass the TLS session, if there is one, and the framing reader; bytes that go
 * out pass the session alone. What one side sends is read only when the other has taken what came
 * before, so a link holds at most LINK_PIECE bytes in each direction, and none while it is idle.
 *
 *     SHAKING -> OPEN -> LINGERING -> over          plain ones begin with OPEN
 *
 * When libmicrohttpd closes its end, the client gets what was still on its way, then the end of the
 * stream. Its own bytes are then read and thrown away for a while: were the socket closed with
 * bytes unread, the client would see a reset, and not the answer that told it to stop sending.
 * When the client ends its side, libmicrohttpd is told; when it is gone, both are closed.
 * Thread: the relay's.
 */
#ifndef SERVER_RELAY_LINK_H
#define SERVER_RELAY_LINK_H

#include <stdint.h>
#include <sys/socket.h>

#include "kernels/base/buf.h"
#include "server/http/framing.h"
#include "server/relay/tls.h"

enum { LINK_PIECE = 32 << 10 };

enum link_state { LINK_SHAKING, LINK_OPEN, LINK_LINGERING };

/* One direction: what was read and not yet written. */
struct pipe {
    struct buf held;
    size_t done;   /* bytes of `held` that have been written */
    int has_ended; /* its source ended */
    int is_broken; /* its sink takes nothing more: what still comes is thrown away */
};

struct link {
    struct link *next, *prev; /* the relay's list, in the order of their beginning */
    enum link_state state;
    int outer, inner;                /* sockets that don't block; inner is -1 unless OPEN */
    int leaving;                     /* what was the inner one: the relay closes it; or -1 */
    unsigned outer_on, inner_on;     /* what epoll watches of them; the relay's */
    unsigned outer_want, inner_want; /* what it is to watch: EPOLLIN, EPOLLOUT; EPOLLRDHUP: its
                                        end means that the client is gone */
    struct tls_session *tls;         /* NULL: plain */
    struct framing framing;
    struct pipe up, down; /* towards libmicrohttpd, towards the client */
    uint64_t state_ns;    /* since when it is in its state */
    uint64_t moved_ns;    /* when the last bytes moved */
    struct sockaddr_storage from;
    socklen_t from_len;
};

enum link_fate {
    LINK_WAIT,   /* until a socket is ready for what is wanted */
    LINK_AGAIN,  /* there is more to do at once; others first */
    LINK_SHAKEN, /* the handshake is done: it wants its inner socket (link_open) */
    LINK_OVER    /* free it */
};

/* A connection that was accepted; `tls` as in the struct. Owns both from now on. NULL: no memory;
 * then they are closed. */
struct link *link_new(int outer, struct tls_session *tls, const struct sockaddr *from,
                      socklen_t from_len);
void link_open(struct link *l, int inner, uint64_t now); /* owns it */
/* Move what can be moved without waiting. `scratch`: LINK_PIECE bytes. */
enum link_fate link_step(struct link *l, uint8_t *scratch, uint64_t now);
/* Did it take too long? `shake_ns`: for a handshake. */
int link_is_late(const struct link *l, uint64_t now, uint64_t shake_ns);
void link_free(struct link *l); /* closes its sockets */

#endif
