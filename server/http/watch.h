/* watch.h - the table of open connections, and the thread that looks after them.
 *
 * libmicrohttpd 0.9.75 does not see that a client left while its connection is suspended. It has no
 * deadline but one for inactivity, and would serve a client that sends a byte a second for ever. So
 * the table has every connection, with what it is doing and since when, and the watcher
 * 1. cuts connections that take too long for what they are doing;
 * 2. takes requests out of the park when their client left (EPOLLRDHUP) or when they are late;
 * 3. wakes streams that have been silent, so that they can send a sign of life.
 * A client that shuts down only its sending side counts as gone: the two can't be told apart.
 */
#ifndef SERVER_HTTP_WATCH_H
#define SERVER_HTTP_WATCH_H

#include <stdint.h>

#include "kernels/base/err.h"
#include "server/http/peer.h"

struct desk;
struct req;
struct watch;

enum watch_phase {
    WATCH_IDLE,    /* waiting for a request */
    WATCH_HEADERS, /* reading the headers of a request */
    WATCH_BODY,    /* reading its body */
    WATCH_DISCARD, /* reading the rest of a body that is refused */
    WATCH_WORK,    /* until there is an answer, or until its stream has ended */
    WATCH_SEND     /* a whole answer */
};

struct watch_limits { /* nanoseconds */
    uint64_t header_ns, body_ns, request_ns, idle_ns;
};

struct conn {
    struct watch *watch;
    int fd; /* -1: a free row */
    struct peer from;
    uint32_t serial;
    enum watch_phase phase;
    uint64_t since_ns, bytes;
    struct req *req; /* NULL when idle */
    int is_cut;
};

/* `cap`: connections at most. The desk's lock guards the table. E_IO; memory is must-succeed. */
int watch_open(struct desk *desk, const struct watch_limits *limits, int cap, struct watch **out,
               struct err *e);
void watch_close(struct watch *w); /* the table is empty by then */

/* NULL when the table is full. `from` NULL: see peer_of. */
struct conn *watch_add(struct watch *w, int fd, const struct sockaddr *from);
void watch_remove(struct conn *c);
/* What the connection does from now on, for which request. */
void watch_enter(struct conn *c, enum watch_phase phase, struct req *r);
void watch_bytes(struct conn *c, uint64_t n); /* more of a body arrived */
void watch_suspended(struct conn *c);         /* with the lock: from now on, see its client leave */
void watch_resumed(struct conn *c);           /* libmicrohttpd sees it again */

struct watch_count {
    int connections, requests;
};
struct watch_count watch_count(struct watch *w);
/* Idle connections are closed, now and when they become idle. */
void watch_drain(struct watch *w);
/* Take every request out of the park: late, or as if its client had left. */
void watch_cancel(struct watch *w, int as_gone);

#endif
