/* watch.h - the table of open connections, and the thread that looks after them.
 *
 * libmicrohttpd 0.9.75 doesn't see a client leave while its connection is suspended, knows no
 * deadline but inactivity, and would keep a client that sends a byte a second for ever. So every
 * connection is in this table with what it is doing and since when; the watcher cuts those that
 * take too long, tells parked requests that their client left (EPOLLRDHUP) or that they are late,
 * and wakes silent streams so that they can say they are alive. A client that shuts down only its
 * sending side counts as gone: the two can't be told apart.
 */
#ifndef SERVER_HTTP_WATCH_H
#define SERVER_HTTP_WATCH_H

#include <pthread.h>
#include <stdint.h>

struct desk;
struct req;
struct watch;

enum watch_phase {
    WATCH_IDLE,    /* waiting for a request */
    WATCH_HEADERS, /* of a request */
    WATCH_BODY,
    WATCH_DISCARD, /* of a body that is refused */
    WATCH_WORK,    /* until there is an answer, or its stream has ended */
    WATCH_SEND
};

struct watch_limits { /* nanoseconds */
    uint64_t header_ns, body_ns, request_ns, idle_ns;
};

struct conn {
    struct watch *watch;
    int fd; /* -1: a free row */
    uint32_t serial;
    enum watch_phase phase;
    uint64_t since_ns, bytes;
    struct req *req; /* NULL when idle */
    int is_cut;
};

/* `cap`: most connections. The desk's lock guards the table. Must-succeed but for E_IO. */
struct err;
int watch_open(struct desk *desk, const struct watch_limits *limits, int cap, struct watch **out,
               struct err *e);
void watch_close(struct watch *w); /* the table is empty by then */

struct conn *watch_add(struct watch *w, int fd); /* NULL when the table is full */
void watch_remove(struct conn *c);
/* What the connection does from now on, for which request. */
void watch_enter(struct conn *c, enum watch_phase phase, struct req *r);
void watch_bytes(struct conn *c, uint64_t n); /* more of a body arrived */
void watch_suspended(struct conn *c);         /* with the lock: look out for its leaving */
void watch_resumed(struct conn *c);

struct watch_count {
    int connections, requests;
};
struct watch_count watch_count(struct watch *w);
/* Idle connections are closed, now and when they become idle. */
void watch_drain(struct watch *w);
/* Take every request out of the park: late, or as if its client had left. */
void watch_cancel(struct watch *w, int as_gone);

#endif
