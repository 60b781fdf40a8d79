/* watch.c - see watch.h.
 *
 * The table is an array: to scan a thousand rows four times a second costs nothing. Requests are
 * collected under the lock and released after it (req.h), a handful at a time. An event carries a
 * row and a serial number, so that one which comes late does not hit the row's next connection.
 */
#include "server/http/watch.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "kernels/base/err.h"
#include "kernels/base/mem.h"
#include "server/http/req.h"

enum { TICK_MS = 250, EVENTS = 64, HANDFUL = 64 };
static const uint64_t begin_ns = 10 * CLOCK_S, rate_grace_ns = 5 * CLOCK_S, ping_ns = 15 * CLOCK_S;
static const uint64_t last_words_ns = 10 * CLOCK_S; /* in which a late stream may end itself */
static const uint64_t body_bytes_per_s = 1024;
static const uint64_t window_ns = 15 * CLOCK_S; /* in which a file's speed is looked at */

struct watch {
    struct desk *desk;
    struct watch_limits limits;
    int epoll, stop; /* stop: an eventfd */
    pthread_t thread;
    int cap;
    uint32_t serial;
    int is_draining; /* lock */
    struct conn *rows;
    int *free_rows; /* (cap) stack */
    int n_free, n_own;
};

struct handful {
    struct req *req[HANDFUL];
    enum req_why why[HANDFUL];
    int n;
};

static void lock(struct watch *w) { pthread_mutex_lock(&w->desk->mu); }
static void unlock(struct watch *w) { pthread_mutex_unlock(&w->desk->mu); }

/* ---- the watcher ---- */

static void watch_cut(struct conn *c) {
    if (c->is_cut) return;
    c->is_cut = 1;
    shutdown(c->fd, SHUT_RDWR);
}

/* With the lock: the row is free. */
static void watch_drop(struct conn *c) {
    struct watch *w = c->watch;
    w->n_own -= c->is_own;
    c->fd = -1;
    c->req = NULL;
    c->booked = 0;
    w->free_rows[w->n_free++] = (int)(c - w->rows);
}

/* With the lock: the client has not sent the rest of its request in time, so an answer goes out
 * now. libmicrohttpd has written nothing on this connection while it reads a request. */
static void watch_say(struct conn *c, const struct buf *words) {
    if (c->is_cut) return;
    (void)send(c->fd, words->p, words->len, MSG_DONTWAIT | MSG_NOSIGNAL);
    watch_cut(c);
}

/* The answer that it would get. */
static void watch_refuse_it(struct conn *c) { watch_say(c, &c->req->last_words); }

static void watch_take(struct handful *h, struct req *r, enum req_why why) {
    if (!req_take(r, why)) return;
    h->req[h->n] = r;
    h->why[h->n++] = why;
}

/* How long its client waits for us, or we for it. A stream that follows something may go on; what
 * counts is how long its client doesn't take what there is. */
static uint64_t work_age(const struct conn *c, uint64_t now) {
    const struct req *r = c->req;
    if (!r->is_following || r->stage != REQ_STREAMING || !r->parked_ns) return now - c->since_ns;
    return r->is_parked ? 0 : now - r->parked_ns;
}

static void look_at_work(struct watch *w, struct conn *c, uint64_t now, struct handful *h) {
    struct req *r = c->req;
    uint64_t age = work_age(c, now), limit = w->limits.request_ns;
    if (age > limit + last_words_ns) {
        if (r->is_parked)
            watch_take(h, r, REQ_GONE);
        else
            watch_cut(c);
    } else if (age > limit && !r->is_late) {
        watch_take(h, r, REQ_LATE);
    } else if (r->stage == REQ_STREAMING && r->is_parked && now - r->parked_ns > ping_ns) {
        watch_take(h, r, REQ_LOOK);
    }
}

/* A file: each window of time has to bring its share. */
static int is_file_slow(struct conn *c, uint64_t now, uint64_t age) {
    int is_ours = c->req && c->req->is_parked; /* it is we who don't take more */
    if (age < window_ns && !is_ours) return 0;
    int is_slow = !is_ours && c->bytes < window_ns / CLOCK_S * WATCH_LONG_RATE;
    c->bytes = 0;
    c->since_ns = now;
    return is_slow;
}

/* The client of a file that is on its way has closed, and all that it sent was read: seen twice, so
 * that the loop had time to take it. */
static int is_left(struct conn *c) {
    char byte;
    int was = c->is_at_end;
    c->is_at_end = c->is_long && recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
    return was && c->is_at_end;
}

/* A body that takes too long, or comes too slowly. */
static int is_slow(const struct watch *w, struct conn *c, uint64_t now, uint64_t age) {
    if (c->is_long) return is_file_slow(c, now, age);
    if (age > w->limits.body_ns) return 1;
    return age > rate_grace_ns && c->bytes < (age - rate_grace_ns) / CLOCK_S * body_bytes_per_s;
}

/* Has its client said something that nobody has read yet? */
static int is_asking(const struct conn *c) {
    int bytes = 0;
    return ioctl(c->fd, FIONREAD, &bytes) == 0 && bytes > 0;
}

static void look_at(struct watch *w, struct conn *c, uint64_t now, struct handful *h) {
    uint64_t age = now - c->since_ns;
    if (!c->is_begun) {
        if (age > begin_ns) watch_drop(c);
        return;
    }
    if (c->is_own) return;
    switch (c->phase) {
    case WATCH_IDLE:
        if (age > w->limits.idle_ns || (w->is_draining && !is_asking(c))) watch_cut(c);
        break;
    case WATCH_HEADERS:
        if (age > w->limits.header_ns) watch_cut(c);
        break;
    case WATCH_BODY:
        if (is_slow(w, c, now, age) || is_left(c)) watch_cut(c);
        break;
    case WATCH_DISCARD:
        if (is_slow(w, c, now, age)) watch_refuse_it(c);
        break;
    case WATCH_WORK: look_at_work(w, c, now, h); break;
    case WATCH_SEND:
        if (c->is_long ? is_file_slow(c, now, age) : age > w->limits.body_ns) watch_cut(c);
        break;
    }
}

static void release(const struct handful *h) {
    for (int i = 0; i < h->n; i++)
        req_release(h->req[i], h->why[i]);
}

static void scan(struct watch *w) {
    for (int at = 0; at < w->cap;) {
        struct handful h = {.n = 0};
        lock(w);
        uint64_t now = clock_ns(); /* under the lock, so that no phase has begun after it */
        for (; at < w->cap && h.n < HANDFUL; at++) {
            if (w->rows[at].fd >= 0) look_at(w, &w->rows[at], now, &h);
        }
        unlock(w);
        release(&h);
    }
}

static void left(struct watch *w, const struct epoll_event *events, int n) {
    struct handful h = {.n = 0};
    lock(w);
    for (int i = 0; i < n; i++) {
        uint64_t key = events[i].data.u64;
        if (key == UINT64_MAX) continue;
        struct conn *c = &w->rows[key & 0xffffffffu];
        if (c->fd >= 0 && c->serial == key >> 32 && c->req) watch_take(&h, c->req, REQ_GONE);
    }
    unlock(w);
    release(&h);
}

static void *watch_run(void *ud) {
    struct watch *w = ud;
    uint64_t scanned_ns = 0;
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(w->epoll, events, EVENTS, TICK_MS);
        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 == UINT64_MAX) return NULL;
        }
        if (n > 0) left(w, events, n);
        if (clock_ns() - scanned_ns < TICK_MS * CLOCK_MS / 2) continue;
        scan(w);
        scanned_ns = clock_ns();
    }
}

int watch_open(struct desk *desk, const struct watch_limits *limits, int cap, struct watch **out,
               struct err *e) {
    struct watch *w = mem_must(sizeof(*w));
    w->desk = desk;
    w->limits = *limits;
    w->cap = cap;
    w->rows = mem_must((size_t)cap * sizeof(*w->rows));
    w->free_rows = mem_must((size_t)cap * sizeof(*w->free_rows));
    for (int i = 0; i < cap; i++) {
        w->rows[i] = (struct conn){.watch = w, .fd = -1};
        w->free_rows[w->n_free++] = cap - 1 - i;
    }
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = UINT64_MAX};
    if (w->epoll < 0 || w->stop < 0 || epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->stop, &event)) {
        err_set(e, E_IO, "epoll: %s", strerror(errno));
        if (w->epoll >= 0) close(w->epoll);
        if (w->stop >= 0) close(w->stop);
        mem_free(w->free_rows);
        mem_free(w->rows);
        mem_free(w);
        return E_IO;
    }
    must(pthread_create(&w->thread, NULL, watch_run, w) == 0);
    *out = w;
    return 0;
}

void watch_close(struct watch *w) {
    uint64_t one = 1;
    must(write(w->stop, &one, sizeof(one)) == sizeof(one));
    pthread_join(w->thread, NULL);
    close(w->epoll);
    close(w->stop);
    mem_free(w->free_rows);
    mem_free(w->rows);
    mem_free(w);
}

/* ---- the table ---- */

/* With the lock: the row of a socket that libmicrohttpd has not begun with. */
static struct conn *find_new(struct watch *w, int fd) {
    for (int i = 0; i < w->cap; i++)
        if (w->rows[i].fd == fd && !w->rows[i].is_begun) return &w->rows[i];
    return NULL;
}

/* With the lock. */
static struct conn *take_row(struct watch *w, int fd) {
    if (!w->n_free) return NULL;
    struct conn *c = &w->rows[w->free_rows[--w->n_free]];
    *c = (struct conn){.watch = w,
                       .fd = fd,
                       .serial = ++w->serial,
                       .phase = WATCH_HEADERS,
                       .since_ns = clock_ns()};
    return c;
}

struct conn *watch_add(struct watch *w, int fd, const struct peer *peer, int max) {
    lock(w);
    /* The kernel gave the number anew, so the socket that had it is closed. */
    struct conn *c = find_new(w, fd);
    if (c) watch_drop(c);
    c = w->cap - w->n_free - w->n_own < max ? take_row(w, fd) : NULL;
    if (c && peer) c->from = c->asker = *peer;
    unlock(w);
    return c;
}

struct conn *watch_add_own(struct watch *w, int fd) {
    lock(w);
    struct conn *c = find_new(w, fd);
    if (c) watch_drop(c);
    c = take_row(w, fd);
    if (c) {
        c->is_own = 1;
        w->n_own++;
    }
    unlock(w);
    return c;
}

struct conn *watch_begin(struct watch *w, int fd) {
    lock(w);
    struct conn *c = find_new(w, fd);
    if (!c) c = take_row(w, fd);
    if (c) {
        c->is_begun = 1;
        c->since_ns = clock_ns();
        if (w->is_draining && !c->is_own && !is_asking(c)) watch_cut(c);
    }
    unlock(w);
    return c;
}

void watch_remove(struct conn *c) {
    struct watch *w = c->watch;
    lock(w);
    watch_drop(c);
    unlock(w);
}

void watch_enter(struct conn *c, enum watch_phase phase, struct req *r) {
    lock(c->watch);
    if (phase != WATCH_DISCARD || c->phase != WATCH_BODY) {
        c->since_ns = clock_ns();
        c->bytes = 0;
    }
    c->phase = phase;
    c->req = r;
    c->is_long = c->is_at_end = 0;
    if (phase == WATCH_IDLE && c->watch->is_draining && !c->is_own) watch_cut(c);
    unlock(c->watch);
}

void watch_enter_once(struct conn *c, enum watch_phase phase, struct req *r) {
    if (c->phase != phase) watch_enter(c, phase, r); /* only the loop writes it */
}

void watch_long(struct conn *c) {
    lock(c->watch);
    c->is_long = 1;
    unlock(c->watch);
}

void watch_refuse(struct conn *c) {
    lock(c->watch);
    watch_refuse_it(c);
    unlock(c->watch);
}

void watch_bytes(struct conn *c, uint64_t n) {
    lock(c->watch);
    c->bytes += n;
    c->is_at_end = 0;
    unlock(c->watch);
}

void watch_suspended(struct conn *c) {
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT,
                                .data.u64 =
                                    (uint64_t)c->serial << 32 | (uint32_t)(c - c->watch->rows)};
    /* If the kernel has no memory for it, the deadline still holds. */
    (void)epoll_ctl(c->watch->epoll, EPOLL_CTL_ADD, c->fd, &event);
}

void watch_resumed(struct conn *c) { (void)epoll_ctl(c->watch->epoll, EPOLL_CTL_DEL, c->fd, NULL); }

void watch_asker(struct conn *c, const struct peer *p) {
    lock(c->watch);
    c->asker = *p;
    unlock(c->watch);
}

int watch_book(struct conn *c, size_t bytes, size_t of_peer, size_t max) {
    struct watch *w = c->watch;
    size_t all = bytes, peers = bytes; /* with the new booking */
    lock(w);
    for (int i = 0; i < w->cap; i++) {
        const struct conn *other = &w->rows[i];
        if (other == c || !other->booked) continue;
        all += other->booked;
        if (peer_is_same(&other->asker, &c->asker)) peers += other->booked;
    }
    int rc = bytes > c->booked && (all > max || peers > of_peer) ? E_BUSY : 0;
    if (!rc) c->booked = bytes;
    unlock(w);
    return rc;
}

struct watch_count watch_count(struct watch *w) {
    struct watch_count n = {0};
    lock(w);
    n.connections = w->cap - w->n_free - w->n_own;
    for (int i = 0; i < w->cap; i++) {
        const struct conn *c = &w->rows[i];
        n.requests += c->fd >= 0 && !c->is_own && (c->req || (w->is_draining && is_asking(c)));
        n.booked += c->booked;
    }
    unlock(w);
    return n;
}

void watch_drain(struct watch *w) {
    lock(w);
    w->is_draining = 1;
    for (int i = 0; i < w->cap; i++) {
        struct conn *c = &w->rows[i];
        if (c->fd >= 0 && c->is_begun && !c->req && !c->is_own && !is_asking(c)) watch_cut(c);
    }
    unlock(w);
}

/* With the lock: what is still coming in will not come in time. */
static void say_late(struct conn *c, const struct buf *words) {
    if (c->phase == WATCH_HEADERS || c->phase == WATCH_BODY) watch_say(c, words);
    if (c->phase == WATCH_DISCARD) watch_refuse_it(c);
}

void watch_cancel(struct watch *w, const struct buf *words) {
    enum req_why why = words ? REQ_LATE : REQ_GONE;
    for (int at = 0; at < w->cap;) {
        struct handful h = {.n = 0};
        lock(w);
        for (; at < w->cap && h.n < HANDFUL; at++) {
            struct conn *c = &w->rows[at];
            struct req *r = c->fd >= 0 ? c->req : NULL;
            if (!r) continue;
            if (!words || !r->is_late) watch_take(&h, r, why);
            if (words && !r->is_late && !c->is_own) say_late(c, words);
        }
        unlock(w);
        release(&h);
    }
}
