/* relay.c - see relay.h: the thread, its epoll, and the list of links. */
#include "server/relay/relay.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "server/relay/link.h"

enum { EVENTS = 256, TICK_MS = 500, SHAKE_BUDGET_MS = 5, LAST_MS = 2000, DONE_MS = 50, INNER = 1 };

struct relay {
    struct relay_options opt;
    struct http *http;
    struct tls *tls;
    pthread_t thread;
    int poll, bell;
    pthread_mutex_t mu;
    struct link *fresh;          /* guarded by mu: added, and not yet seen by the thread */
    int is_draining, is_closing; /* guarded by mu */
    struct link *first, *last;   /* the thread's own from here on */
    int n_links;
    uint64_t close_ns; /* when it ends, whatever is left */
    uint8_t scratch[LINK_PIECE];
};

/* ---- the list ---- */

static void list_push(struct relay *r, struct link *l) {
    l->next = NULL;
    l->prev = r->last;
    *(r->last ? &r->last->next : &r->first) = l;
    r->last = l;
    r->n_links++;
}

static void unwatch_inner(struct relay *r, struct link *l) {
    int fd = l->inner >= 0 ? l->inner : l->leaving;
    if (l->inner_on && fd >= 0) (void)epoll_ctl(r->poll, EPOLL_CTL_DEL, fd, NULL);
    l->inner_on = 0;
    if (l->leaving >= 0) close(l->leaving);
    l->leaving = -1;
}

/* Closing a socket takes it out of epoll only if nobody has a copy of it; and a child that is being
 * started has copies of all, until it becomes its program. So both are taken out first. */
static void list_drop(struct relay *r, struct link *l) {
    unwatch_inner(r, l);
    if (l->outer_on) (void)epoll_ctl(r->poll, EPOLL_CTL_DEL, l->outer, NULL);
    *(l->prev ? &l->prev->next : &r->first) = l->next;
    *(l->next ? &l->next->prev : &r->last) = l->prev;
    r->n_links--;
    link_free(l);
}

/* ---- epoll ---- */

/* `on`: what is watched now. A socket that nothing is wanted of is taken out, since epoll tells of
 * its end even so. -1: the kernel has no memory. */
static int watch(struct relay *r, int fd, unsigned *on, unsigned want, struct link *l, int side) {
    if (fd < 0 || *on == want) return 0;
    struct epoll_event ev = {.events = want, .data.u64 = (uint64_t)(uintptr_t)l | (unsigned)side};
    int op = !want ? EPOLL_CTL_DEL : *on ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(r->poll, op, fd, &ev)) return -1;
    *on = want;
    return 0;
}

/* Its end for libmicrohttpd. 0, or -1: the link is over. */
static int connect_inside(struct relay *r, struct link *l) {
    int ends[2] = {-1, -1};
    pthread_mutex_lock(&r->mu);
    int rc =
        r->is_draining || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends);
    if (!rc) http_add(r->http, ends[1], (const struct sockaddr *)&l->from, l->from_len);
    pthread_mutex_unlock(&r->mu);
    if (rc) return -1;
    link_open(l, ends[0], clock_ns());
    return 0;
}

/* 1: it has more to do. */
static int relay_step(struct relay *r, struct link *l) {
    enum link_fate fate = link_step(l, r->scratch, clock_ns());
    if (fate == LINK_SHAKEN)
        fate = connect_inside(r, l) ? LINK_OVER : link_step(l, r->scratch, clock_ns());
    if (l->leaving >= 0) unwatch_inner(r, l);
    if (fate == LINK_AGAIN) {
        /* asked for both: epoll brings it again at once, behind the others */
        l->outer_want |= EPOLLIN | EPOLLOUT;
    }
    if (fate == LINK_OVER || watch(r, l->outer, &l->outer_on, l->outer_want, l, 0) ||
        watch(r, l->inner, &l->inner_on, l->inner_want, l, INNER)) {
        list_drop(r, l);
        return 0;
    }
    return fate == LINK_AGAIN;
}

/* ---- the thread ---- */

static void relay_make_room(struct relay *r) {
    for (struct link *l = r->first; l; l = l->next) {
        if (l->state != LINK_LINGERING) continue;
        list_drop(r, l);
        return;
    }
}

static void take_fresh(struct relay *r) {
    uint64_t rings;
    (void)!read(r->bell, &rings, sizeof(rings));
    pthread_mutex_lock(&r->mu);
    struct link *fresh = r->fresh;
    r->fresh = NULL;
    if (r->is_closing && !r->close_ns) r->close_ns = clock_ns() + LAST_MS * CLOCK_MS;
    pthread_mutex_unlock(&r->mu);
    while (fresh) {
        struct link *l = fresh;
        fresh = l->next;
        if (r->n_links >= r->opt.connections) relay_make_room(r);
        list_push(r, l);
        if (r->n_links > r->opt.connections)
            list_drop(r, l);
        else
            (void)relay_step(r, l);
    }
}

/* At the end, a client that has its answer and is silent needs no more time. */
static int is_done(const struct relay *r, const struct link *l, uint64_t now) {
    return r->close_ns && l->state == LINK_LINGERING && now - l->moved_ns > DONE_MS * CLOCK_MS;
}

static void drop_late(struct relay *r, uint64_t now) {
    for (struct link *l = r->first, *next; l; l = next) {
        next = l->next;
        if (link_is_late(l, now, r->opt.shake_ns) || is_done(r, l, now)) list_drop(r, l);
    }
}

static struct link *link_of(const struct epoll_event *ev) {
    return (struct link *)(uintptr_t)(ev->data.u64 & ~(uint64_t)INNER);
}

/* A link may have two events in one round, and be over after the first. */
static void forget(struct epoll_event *events, int n, const struct link *l) {
    for (int i = 0; i < n; i++) {
        if (events[i].data.u64 && link_of(&events[i]) == l) events[i].data.u64 = 0;
    }
}

static void serve_event(struct relay *r, struct epoll_event *ev, int n_behind) {
    struct link *l = link_of(ev);
    int is_gone = !(ev->data.u64 & INNER) && (ev->events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP));
    forget(ev + 1, n_behind, l);
    if (is_gone)
        list_drop(r, l);
    else
        (void)relay_step(r, l);
}

/* One round: who is open first, then handshakes for as long as the budget lasts. Those that are
 * left are told again by the next round. */
static void serve_round(struct relay *r, struct epoll_event *events, int n) {
    for (int i = 0; i < n; i++) {
        if (events[i].data.u64 == 0) continue;
        if (link_of(&events[i])->state != LINK_SHAKING) {
            serve_event(r, &events[i], n - i - 1);
            events[i].data.u64 = 0;
        }
    }
    uint64_t end = clock_ns() + SHAKE_BUDGET_MS * CLOCK_MS;
    for (int i = 0; i < n && clock_ns() < end; i++) {
        if (events[i].data.u64) serve_event(r, &events[i], n - i - 1);
    }
}

static void *relay_run(void *ud) {
    struct relay *r = ud;
    struct epoll_event events[EVENTS];
    uint64_t tick_ns = clock_ns();
    for (;;) {
        int n = epoll_wait(r->poll, events, EVENTS, r->close_ns ? DONE_MS : TICK_MS);
        int is_rung = 0;
        for (int i = 0; i < n; i++)
            is_rung |= events[i].data.u64 == 0;
        serve_round(r, events, n > 0 ? n : 0);
        if (is_rung) take_fresh(r);
        uint64_t now = clock_ns();
        if (r->close_ns || now - tick_ns > TICK_MS * CLOCK_MS) {
            drop_late(r, now);
            tick_ns = now;
        }
        if (r->close_ns && (!r->first || now > r->close_ns)) return NULL;
    }
}

/* ---- the door ---- */

int relay_open(const struct relay_options *opt, struct http *http, struct relay **out,
               struct err *e) {
    struct tls *tls = NULL;
    if (opt->tls && tls_open(opt->tls, &tls, e)) return e->code;
    struct relay *r = mem_must(sizeof(*r));
    r->opt = *opt;
    r->http = http;
    r->tls = tls;
    pthread_mutex_init(&r->mu, NULL);
    r->poll = epoll_create1(EPOLL_CLOEXEC);
    r->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 0};
    must(r->poll >= 0 && r->bell >= 0 && epoll_ctl(r->poll, EPOLL_CTL_ADD, r->bell, &ev) == 0);
    must(pthread_create(&r->thread, NULL, relay_run, r) == 0);
    *out = r;
    return 0;
}

static void ring(struct relay *r) {
    uint64_t one = 1;
    (void)!write(r->bell, &one, sizeof(one));
}

void relay_add(struct relay *r, int fd, const struct sockaddr *from, socklen_t len, int is_tls) {
    struct tls_session *session = is_tls ? tls_session(r->tls, fd) : NULL;
    if (is_tls && !session) {
        close(fd);
        return;
    }
    struct link *l = link_new(fd, session, from, len);
    if (!l) return;
    pthread_mutex_lock(&r->mu);
    l->next = r->fresh;
    r->fresh = l;
    pthread_mutex_unlock(&r->mu);
    ring(r);
}

int relay_reload(struct relay *r, struct err *e) { return r && r->tls ? tls_reload(r->tls, e) : 0; }

void relay_drain(struct relay *r) {
    pthread_mutex_lock(&r->mu);
    r->is_draining = 1;
    pthread_mutex_unlock(&r->mu);
}

void relay_close(struct relay *r) {
    if (!r) return;
    pthread_mutex_lock(&r->mu);
    r->is_draining = r->is_closing = 1;
    pthread_mutex_unlock(&r->mu);
    ring(r);
    pthread_join(r->thread, NULL);
    while (r->first)
        list_drop(r, r->first);
    for (struct link *l = r->fresh, *next; l; l = next) {
        next = l->next;
        link_free(l);
    }
    close(r->poll);
    close(r->bell);
    tls_close(r->tls);
    pthread_mutex_destroy(&r->mu);
    mem_free(r);
}
