/* watch.h - the table of open connections, and the thread that looks after them.
 *
 * The table is the only count of connections and of the bytes of their bodies. A connection has a
 * row from when it is accepted. libmicrohttpd begins with it a little later, or closes it without a
 * word when memory is short: a row that is not begun in BEGIN_S is free again.
 *
 * libmicrohttpd 0.9.75 does not see that a client left while its connection is suspended. It has no
 * deadline but one for inactivity, and would serve a client that sends a byte a second for ever. So
 * the table has every connection, with what it is doing and since when, and the watcher
 * 1. cuts connections that take too long for what they are doing, and files that come or go too
 *    slowly;
 * 2. takes requests out of the park when their client left (EPOLLRDHUP) or when they are late;
 * 3. wakes streams that have been silent, so that they can send a sign of life.
 * 4. sees clients that leave in the middle of a file: where the last bytes and the end come at
 *    once, libmicrohttpd sees but the bytes.
 * A client that shuts down only its sending side counts as gone: the two can't be told apart.
 */
#ifndef SERVER_HTTP_WATCH_H
#define SERVER_HTTP_WATCH_H

#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"
#include "server/http/peer.h"

struct desk;
struct req;
struct watch;

enum watch_phase {
    WATCH_IDLE,    /* waiting for a request */
    WATCH_HEADERS, /* reading the headers of a request */
    WATCH_BODY,    /* reading its body */
    WATCH_DISCARD, /* reading the rest of a body that is refused: as a body */
    WATCH_WORK,    /* until there is an answer, or until its stream has ended */
    WATCH_SEND     /* a whole answer */
};

enum { WATCH_LONG_RATE = 16 << 10 }; /* bytes a second */

struct watch_limits { /* nanoseconds */
    uint64_t header_ns, body_ns, request_ns, idle_ns;
};

struct conn {
    struct watch *watch;
    int fd;           /* -1: a free row */
    int is_begun;     /* libmicrohttpd has it, and says before it closes the socket */
    int is_own;       /* the server's own, to see whether the loop turns (pulse.h): never counted */
    struct peer from; /* at the other end */
    struct peer asker; /* whose request it is: a trusted proxy says for whom it asks */
    uint32_t serial;
    size_t booked; /* bytes, for a body */
    enum watch_phase phase;
    uint64_t since_ns, bytes;
    int is_long;     /* a file comes or goes: watch_long */
    int is_at_end;   /* its client has nothing more to send, as it seems */
    struct req *req; /* NULL when idle */
    int is_cut;
};

/* `cap`: connections at most. The desk's lock guards the table. E_IO; memory is must-succeed. */
int watch_open(struct desk *desk, const struct watch_limits *limits, int cap, struct watch **out,
               struct err *e);
void watch_close(struct watch *w); /* the table is empty by then */

/* Acceptor: a row for an accepted socket. NULL: there are `max` connections already. */
struct conn *watch_add(struct watch *w, int fd, const struct peer *peer, int max);
struct conn *watch_add_own(struct watch *w, int fd); /* NULL: the table is full */
/* Loop: libmicrohttpd begins with the connection on that socket. NULL: the table is full. */
struct conn *watch_begin(struct watch *w, int fd);
void watch_remove(struct conn *c);
/* What the connection does from now on, for which request. From WATCH_BODY to WATCH_DISCARD its
 * time goes on. */
void watch_enter(struct conn *c, enum watch_phase phase, struct req *r);
/* The same, unless it does so already. */
void watch_enter_once(struct conn *c, enum watch_phase phase, struct req *r);
/* What it receives or sends now is a file: that may take as long as it goes on at WATCH_LONG_RATE.
 * Until the next watch_enter. */
void watch_long(struct conn *c);
/* The request on it is this one's. */
void watch_asker(struct conn *c, const struct peer *p);
void watch_bytes(struct conn *c, uint64_t n); /* more of a body arrived, or of a file was sent */
/* Loop, in WATCH_DISCARD: send the request's last words, and cut the connection. */
void watch_refuse(struct conn *c);
void watch_suspended(struct conn *c); /* with the lock: from now on, see its client leave */
void watch_resumed(struct conn *c);   /* libmicrohttpd sees it again */

/* Book `bytes` for the body of the connection, in place of what it had. E_BUSY: all together would
 * have more than `max`, or its peer, if known, more than `of_peer`; then it keeps what it had. */
int watch_book(struct conn *c, size_t bytes, size_t of_peer, size_t max);

struct watch_count {
    int connections, requests;
    size_t booked; /* bytes of bodies */
};
struct watch_count watch_count(struct watch *w);
/* Idle connections are closed, now and when they become idle. One whose client has asked already,
 * though nobody has read it yet, counts as a request from now on and is answered. */
void watch_drain(struct watch *w);
/* Take every request out of the park, late. One that is still coming in is answered by `words`, a
 * whole answer, and cut. NULL: all are treated as if their clients had left. */
void watch_cancel(struct watch *w, const struct buf *words);

#endif
