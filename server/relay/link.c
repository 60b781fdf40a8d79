/* link.c - see link.h.
 *
 * TRAPS: a TLS session may want to write in order to read, and the other way round; then the link
 * waits for both. libmicrohttpd closes its end with bytes of the client unread: ours then fails to
 * write with EPIPE, but the answer can still be read from it. It may also miss that the client
 * ended: it takes a short read for all there is, and its epoll doesn't tell of an end that came
 * with the last bytes again. So a link whose client has ended is over soon after nothing moves.
 */
#include "server/relay/link.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

enum { TURNS = 8, LINGER_S = 30, LINGER_SILENT_S = 5, STUCK_S = 30, GONE_S = 1 };
enum { WAIT_READ = TLS_WAIT_READ, WAIT_WRITE = TLS_WAIT_WRITE, BROKEN = TLS_OVER };

struct link *link_new(int outer, struct tls_session *tls, const struct sockaddr *from,
                      socklen_t from_len) {
    struct link *l = from_len <= sizeof(l->from) ? mem_try(sizeof(*l)) : NULL;
    if (!l) {
        tls_session_free(tls);
        close(outer);
        return NULL;
    }
    l->outer = outer;
    l->inner = l->leaving = -1;
    l->tls = tls;
    l->state = LINK_SHAKING;
    l->outer_want = EPOLLIN;
    l->state_ns = l->moved_ns = clock_ns();
    memcpy(&l->from, from, from_len);
    l->from_len = from_len;
    buf_init(&l->up.held, LINK_PIECE + 4096);
    buf_init(&l->down.held, LINK_PIECE);
    return l;
}

void link_free(struct link *l) {
    if (l->inner >= 0) close(l->inner);
    if (l->leaving >= 0) close(l->leaving);
    tls_session_free(l->tls);
    close(l->outer);
    buf_clear(&l->up.held);
    buf_clear(&l->down.held);
    mem_free(l);
}

void link_open(struct link *l, int inner, uint64_t now) {
    l->inner = inner;
    l->state = LINK_OPEN;
    l->state_ns = l->moved_ns = now;
}

/* ---- sockets: bytes, 0 for the end, WAIT_READ, WAIT_WRITE, BROKEN ---- */

static long socket_result(ssize_t n, long wait) {
    if (n >= 0) return n;
    return errno == EAGAIN || errno == EINTR ? wait : BROKEN;
}

static long outer_read(struct link *l, void *to, size_t max) {
    return l->tls ? tls_read(l->tls, to, max)
                  : socket_result(recv(l->outer, to, max, 0), WAIT_READ);
}

static long outer_write(struct link *l, const void *from, size_t n) {
    return l->tls ? tls_write(l->tls, from, n)
                  : socket_result(send(l->outer, from, n, MSG_NOSIGNAL), WAIT_WRITE);
}

static unsigned link_wanted(long wait) { return wait == WAIT_READ ? EPOLLIN : EPOLLOUT; }

/* ---- pipes ---- */

static size_t pending(const struct pipe *p) { return p->held.len - p->done; }

static void drop(struct pipe *p) {
    buf_clear(&p->held);
    p->done = 0;
}

static void took(struct link *l, struct pipe *p, long n, uint64_t now) {
    p->done += (size_t)n;
    l->moved_ns = now;
    if (p->done == p->held.len) drop(p);
}

/* Client to libmicrohttpd. 1: something moved; 0: it waits; -1: the link is over. */
static int move_up(struct link *l, uint8_t *scratch, uint64_t now) {
    struct pipe *p = &l->up;
    if (pending(p)) {
        long n = socket_result(send(l->inner, p->held.p + p->done, pending(p), MSG_NOSIGNAL),
                               WAIT_WRITE);
        if (n == WAIT_WRITE) {
            l->inner_want |= EPOLLOUT;
            l->outer_want |= EPOLLRDHUP; /* nothing is read now, but its end must be seen */
            return 0;
        }
        if (n > 0)
            took(l, p, n, now);
        else {
            p->is_broken = 1;
            drop(p);
        }
        return 1;
    }
    if (p->has_ended) return 0;
    long n = outer_read(l, scratch, LINK_PIECE);
    if (n == WAIT_READ || n == WAIT_WRITE) {
        l->outer_want |= link_wanted(n);
        return 0;
    }
    if (n == BROKEN) return -1;
    l->moved_ns = now;
    if (n == 0) {
        p->has_ended = 1;
        if (l->inner >= 0) shutdown(l->inner, SHUT_WR);
    } else if (!p->is_broken && framing_feed(&l->framing, scratch, (size_t)n, &p->held)) {
        return -1;
    }
    return 1;
}

/* libmicrohttpd's end is closed, and the client has everything. */
static void linger(struct link *l, uint64_t now) {
    if (l->tls) tls_end(l->tls);
    shutdown(l->outer, SHUT_WR);
    l->leaving = l->inner;
    l->inner = -1;
    l->up.is_broken = 1;
    drop(&l->up);
    l->state = LINK_LINGERING;
    l->state_ns = l->moved_ns = now;
}

/* libmicrohttpd to client; as move_up. */
static int move_down(struct link *l, uint8_t *scratch, uint64_t now) {
    struct pipe *p = &l->down;
    if (pending(p)) {
        long n = outer_write(l, p->held.p + p->done, pending(p));
        if (n == WAIT_READ || n == WAIT_WRITE) {
            l->outer_want |= link_wanted(n);
            return 0;
        }
        if (n <= 0) return -1;
        took(l, p, n, now);
        return 1;
    }
    if (p->has_ended) {
        linger(l, now);
        return 1;
    }
    long n = socket_result(recv(l->inner, scratch, LINK_PIECE, 0), WAIT_READ);
    if (n == WAIT_READ) {
        l->inner_want |= EPOLLIN;
        return 0;
    }
    if (n > 0) return buf_add(&p->held, scratch, (size_t)n) ? -1 : 1;
    p->has_ended = 1;
    return 1;
}

/* ---- steps ---- */

static enum link_fate shake(struct link *l) {
    int rc = l->tls ? tls_handshake(l->tls) : 0;
    if (rc == 0) return LINK_SHAKEN;
    l->outer_want = link_wanted(rc);
    return rc == BROKEN ? LINK_OVER : LINK_WAIT;
}

enum link_fate link_step(struct link *l, uint8_t *scratch, uint64_t now) {
    if (l->state == LINK_SHAKING) return shake(l);
    for (int turn = 0; turn < TURNS; turn++) {
        l->outer_want = l->inner_want = 0;
        int up = move_up(l, scratch, now);
        int down = up >= 0 && l->state == LINK_OPEN ? move_down(l, scratch, now) : 0;
        if (up < 0 || down < 0) return LINK_OVER;
        if (l->state == LINK_LINGERING && l->up.has_ended) return LINK_OVER;
        if (!up && !down) return LINK_WAIT;
    }
    return LINK_AGAIN;
}

int link_is_late(const struct link *l, uint64_t now, uint64_t shake_ns) {
    uint64_t in_state = now - l->state_ns, silent = now - l->moved_ns;
    switch (l->state) {
    case LINK_SHAKING: return in_state > shake_ns;
    case LINK_LINGERING: return in_state > LINGER_S * CLOCK_S || silent > LINGER_SILENT_S * CLOCK_S;
    default: /* libmicrohttpd's side has deadlines of its own, until one of them is closed */
        if (l->up.has_ended && silent > GONE_S * CLOCK_S) return 1;
        return l->down.has_ended && silent > STUCK_S * CLOCK_S;
    }
}
