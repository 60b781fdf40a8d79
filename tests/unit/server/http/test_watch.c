/* test_watch.c - the watcher over socket pairs: who is cut, when, and who is not. Time is made: the
 * test moves the begin of a phase back instead of waiting, and the watcher sees it at its next
 * scan. */
#include "server/http/watch.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "kernels/base/err.h"
#include "server/http/req.h"
#include "tests/check.h"
#include "tests/unit/server/fake_api.h"

#define SECOND UINT64_C(1000000000)
enum { CAP = 4, HEADER_S = 100, BODY_S = 200, REQUEST_S = 300, IDLE_S = 400 };

struct rig {
    struct desk desk; /* the first member: rig_of */
    struct api *api;
    struct watch *watch;
    atomic_int resumed;
};

static struct rig *rig_of(struct req *r) { return (struct rig *)(void *)r->desk; }
static void wake(void *ud) { req_signal(ud); }
static void on_suspend(struct req *r) { watch_suspended(r->conn); }

static void on_resume(struct req *r) {
    watch_resumed(r->conn);
    atomic_fetch_add(&rig_of(r)->resumed, 1);
}

static void rig_open(struct rig *g) {
    static const struct watch_limits limits = {.header_ns = HEADER_S * SECOND,
                                               .body_ns = BODY_S * SECOND,
                                               .request_ns = REQUEST_S * SECOND,
                                               .idle_ns = IDLE_S * SECOND};
    memset(g, 0, sizeof(*g));
    CHECK_EQ(api_new(NULL, NULL, &g->api, NULL), 0);
    g->desk.suspend = on_suspend;
    g->desk.resume = on_resume;
    desk_open(&g->desk, g->api, 1, 8);
    CHECK_EQ(watch_open(&g->desk, &limits, CAP, &g->watch, NULL), 0);
}

static void rig_close(struct rig *g) {
    watch_close(g->watch);
    desk_close(&g->desk);
    api_free(g->api);
}

/* A connection in the table, and its client's end. */
struct pair {
    struct conn *conn;
    int fd, client;
};

static struct pair pair_open(struct rig *g) {
    int fd[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    struct pair p = {watch_add(g->watch, fd[0], NULL, CAP), fd[0], fd[1]};
    CHECK(p.conn != NULL && watch_begin(g->watch, fd[0]) == p.conn);
    return p;
}

static void pair_close(struct pair *p) {
    watch_remove(p->conn);
    close(p->fd);
    close(p->client);
}

/* The connection has been doing what it does for so long. */
static void pass_time(struct rig *g, struct pair *p, uint64_t ns) {
    pthread_mutex_lock(&g->desk.mu);
    p->conn->since_ns -= ns;
    if (p->conn->req) p->conn->req->parked_ns -= ns;
    pthread_mutex_unlock(&g->desk.mu);
}

static int is_cut(struct pair *p) {
    struct pollfd at = {.fd = p->client, .events = POLLRDHUP};
    return poll(&at, 1, 0) > 0 && (at.revents & POLLRDHUP);
}

/* Two of the watcher's scans. */
static void let_it_scan(void) { nanosleep(&(struct timespec){0, 600000000}, NULL); }

TEST(watch_has_so_many_rows) {
    struct rig g;
    struct pair p[CAP];
    rig_open(&g);
    for (int i = 0; i < CAP; i++)
        p[i] = pair_open(&g);
    CHECK(watch_add(g.watch, 1000, NULL, CAP) == NULL);
    CHECK(watch_begin(g.watch, 1000) == NULL);
    CHECK_EQ(watch_count(g.watch).connections, CAP);
    CHECK_EQ(watch_count(g.watch).requests, 0);
    pair_close(&p[1]);
    CHECK_EQ(watch_count(g.watch).connections, CAP - 1);
    p[1] = pair_open(&g);
    struct req *r = req_new(&g.desk, "/");
    watch_enter(p[1].conn, WATCH_BODY, r);
    CHECK_EQ(watch_count(g.watch).requests, 1);
    watch_enter(p[1].conn, WATCH_IDLE, NULL);
    CHECK_EQ(watch_count(g.watch).requests, 0);
    req_over(r);
    for (int i = 0; i < CAP; i++)
        pair_close(&p[i]);
    rig_close(&g);
}

/* Each phase has its limit: below it the connection lives, beyond it it is cut. */
TEST(watch_cuts_what_takes_too_long) {
    static const struct {
        enum watch_phase phase;
        uint64_t limit_s;
    } all[] = {{WATCH_IDLE, IDLE_S}, {WATCH_HEADERS, HEADER_S}, {WATCH_SEND, BODY_S}};
    enum { N = ARRAY_LEN(all) };
    struct rig g;
    struct pair p[N];
    rig_open(&g);
    for (int i = 0; i < N; i++) {
        p[i] = pair_open(&g);
        watch_enter(p[i].conn, all[i].phase, NULL);
        pass_time(&g, &p[i], (all[i].limit_s - 3) * SECOND);
    }
    let_it_scan();
    for (int i = 0; i < N; i++)
        CHECK(!is_cut(&p[i]));
    for (int i = 0; i < N; i++)
        pass_time(&g, &p[i], 4 * SECOND);
    for (int i = 0; i < N; i++)
        FAKE_WAIT(is_cut(&p[i]));
    for (int i = 0; i < N; i++)
        pair_close(&p[i]);
    rig_close(&g);
}

/* A file may take as long as it goes on; time in which we don't take it isn't its client's. */
TEST(watch_lets_a_file_take_its_time) {
    struct rig g;
    rig_open(&g);
    for (int how = 0; how < 2; how++) {
        struct pair p = pair_open(&g);
        watch_enter(p.conn, how ? WATCH_SEND : WATCH_BODY, NULL);
        watch_long(p.conn);
        for (int i = 0; i < 2; i++) { /* each of a window's length, and more */
            watch_bytes(p.conn, 20 * WATCH_LONG_RATE);
            pass_time(&g, &p, 2 * BODY_S * SECOND);
            let_it_scan();
            CHECK(!is_cut(&p));
        }
        watch_bytes(p.conn, 10 * WATCH_LONG_RATE);
        pass_time(&g, &p, 16 * SECOND);
        FAKE_WAIT(is_cut(&p));
        pair_close(&p);
    }
    rig_close(&g);
}

TEST(watch_begins_anew_with_each_phase) {
    struct rig g;
    rig_open(&g);
    struct pair p = pair_open(&g); /* it begins with headers */
    pass_time(&g, &p, (HEADER_S - 1) * SECOND);
    watch_enter(p.conn, WATCH_SEND, NULL);
    watch_enter(p.conn, WATCH_HEADERS, NULL);
    pass_time(&g, &p, (HEADER_S - 3) * SECOND);
    let_it_scan();
    CHECK(!is_cut(&p));
    pair_close(&p);
    rig_close(&g);
}

/* After five seconds a body must come at 1 KiB a second; and it has a limit in all. */
TEST(watch_wants_a_body_at_some_speed) {
    struct rig g;
    struct pair p[3];
    rig_open(&g);
    for (int i = 0; i < 3; i++) {
        p[i] = pair_open(&g);
        watch_enter(p[i].conn, WATCH_BODY, NULL);
        pass_time(&g, &p[i], 4 * SECOND);
    }
    let_it_scan(); /* none has sent anything, but all have some time yet */
    for (int i = 0; i < 3; i++)
        CHECK(!is_cut(&p[i]));
    watch_bytes(p[0].conn, 9000); /* 14 seconds: 9 KiB are due */
    watch_bytes(p[1].conn, 20000);
    watch_bytes(p[2].conn, 1 << 30);
    pass_time(&g, &p[0], 11 * SECOND);
    pass_time(&g, &p[1], 10 * SECOND);
    pass_time(&g, &p[2], BODY_S * SECOND);
    FAKE_WAIT(is_cut(&p[0]));
    FAKE_WAIT(is_cut(&p[2]));
    CHECK(!is_cut(&p[1]));
    for (int i = 0; i < 3; i++)
        pair_close(&p[i]);
    rig_close(&g);
}

/* So does the body of a request that is refused, in the same time as before; and its client reads
 * why before the connection is cut. */
TEST(watch_tells_who_does_not_send_the_rest) {
    struct rig g;
    char text[100];
    rig_open(&g);
    struct pair p = pair_open(&g);
    struct req *r = req_new(&g.desk, "/");
    buf_str(&r->last_words, "HTTP/1.1 413 ");
    watch_enter(p.conn, WATCH_BODY, r);
    pass_time(&g, &p, 10 * SECOND);
    watch_bytes(p.conn, 20000);
    watch_enter(p.conn, WATCH_DISCARD, r);
    let_it_scan();
    CHECK(!is_cut(&p));
    pass_time(&g, &p, 20 * SECOND);
    FAKE_WAIT(is_cut(&p));
    ssize_t n = recv(p.client, text, sizeof(text), 0);
    CHECK_EQ(n, 13);
    CHECK_MEM(text, "HTTP/1.1 413 ", 13);
    CHECK_EQ(recv(p.client, text, sizeof(text), 0), 0);
    watch_enter(p.conn, WATCH_IDLE, NULL);
    req_over(r);
    pair_close(&p);
    rig_close(&g);
}

/* libmicrohttpd closes a socket without a word when it has no memory for it. Nothing stays. */
TEST(watch_forgets_what_never_begins) {
    struct rig g;
    rig_open(&g);
    struct conn *last = NULL;
    for (int i = 0; i < CAP - 1; i++) {
        last = watch_add(g.watch, 1000 + i, NULL, CAP - 1);
        CHECK(last != NULL);
    }
    CHECK(watch_add(g.watch, 1000 + CAP, NULL, CAP - 1) == NULL);
    CHECK(watch_add(g.watch, 1000, NULL, CAP - 1) != NULL); /* the number is the kernel's again */
    CHECK_EQ(watch_count(g.watch).connections, CAP - 1);
    for (int i = 0; i < 2; i++) {
        struct conn *c = watch_begin(g.watch, 1000 + i);
        CHECK(c && c->fd == 1000 + i);
        watch_remove(c);
    }
    CHECK_EQ(watch_count(g.watch).connections, 1);
    struct pair p = pair_open(&g);
    pthread_mutex_lock(&g.desk.mu);
    CHECK_EQ(last->fd, 1000 + CAP - 2);
    last->since_ns -= 11 * SECOND;
    pthread_mutex_unlock(&g.desk.mu);
    FAKE_WAIT(watch_count(g.watch).connections == 1);
    CHECK(!is_cut(&p));
    pair_close(&p);
    rig_close(&g);
}

TEST(watch_books_bodies) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000001)};
    struct peer one = peer_of((struct sockaddr *)&at);
    struct rig g;
    struct conn *c[3];
    rig_open(&g);
    for (int i = 0; i < 3; i++) {
        c[i] = watch_add(g.watch, 1000 + i, i < 2 ? &one : NULL, CAP);
        CHECK(watch_begin(g.watch, 1000 + i) == c[i]);
    }
    CHECK_EQ(watch_book(c[0], 400, 500, 1000), 0);
    CHECK_EQ(watch_book(c[1], 101, 500, 1000), E_BUSY); /* more than its peer's share */
    CHECK_EQ(watch_book(c[1], 100, 500, 1000), 0);
    CHECK_EQ(watch_book(c[0], 401, 500, 1000), E_BUSY);
    CHECK_EQ(watch_count(g.watch).booked, 500);
    CHECK_EQ(watch_book(c[2], 501, 600, 1000), E_BUSY); /* more than there is */
    CHECK_EQ(watch_book(c[2], 500, 600, 1000), 0);
    CHECK_EQ(watch_book(c[0], 0, 0, 0), 0);
    CHECK_EQ(watch_count(g.watch).booked, 600);
    for (int i = 0; i < 3; i++)
        watch_remove(c[i]);
    CHECK_EQ(watch_count(g.watch).booked, 0);
    rig_close(&g);
}

/* A request for `path`, parked at that stage. */
static struct req *park(struct rig *g, struct pair *p, const char *path, enum req_stage stage) {
    struct req *r = req_new(&g->desk, path);
    int status;
    r->conn = p->conn;
    r->route = api_route("GET", path, &r->input.arg, &status, &r->allow);
    r->input.request_id = "test";
    CHECK_EQ(api_call_new(g->api, r->route, &r->input, wake, r, &r->call, NULL), 0);
    watch_enter(p->conn, WATCH_WORK, r);
    CHECK_EQ(req_work(r), 0);
    FAKE_WAIT(req_view(r).stage == stage && fake_steps(r->call) > 0);
    while (req_park(r) == 0) {}
    return r;
}

static void end(struct rig *g, struct pair *p, struct req *r) {
    int freed = fake_counts(g->api).freed;
    watch_enter(p->conn, WATCH_IDLE, NULL);
    req_over(r);
    FAKE_WAIT(fake_counts(g->api).freed > freed);
    pair_close(p);
}

TEST(watch_sees_a_client_leave) {
    struct rig g;
    rig_open(&g);
    for (int how = 0; how < 2; how++) {
        struct pair p = pair_open(&g);
        struct req *r = park(&g, &p, "/stream", REQ_STREAMING);
        int resumed = atomic_load(&g.resumed);
        for (int i = 0; i < 2; i++) { /* whether it is parked for the first time or again */
            fake_wake(r->call);
            CHECK_EQ(atomic_load(&g.resumed), ++resumed);
            CHECK_EQ(req_park(r), 1);
        }
        if (how)
            shutdown(p.client, SHUT_WR); /* can't be told from leaving */
        else
            close(p.client);
        FAKE_WAIT(atomic_load(&g.resumed) == resumed + 1);
        CHECK(req_view(r).is_gone);
        CHECK_EQ(fake_counts(g.api).cancelled, how + 1);
        if (!how) p.client = dup(p.fd);
        end(&g, &p, r);
    }
    rig_close(&g);
}

/* It is libmicrohttpd's business then; but it is seen as soon as the request is parked. */
TEST(watch_does_not_see_a_client_leave_that_is_not_parked) {
    struct rig g;
    rig_open(&g);
    struct pair p = pair_open(&g);
    struct req *r = park(&g, &p, "/stream", REQ_STREAMING);
    int resumed = atomic_load(&g.resumed);
    fake_wake(r->call);
    CHECK_EQ(atomic_load(&g.resumed), resumed + 1);
    shutdown(p.client, SHUT_WR);
    let_it_scan();
    CHECK(!req_view(r).is_gone);
    CHECK_EQ(fake_counts(g.api).cancelled, 0);
    CHECK_EQ(req_park(r), 1);
    FAKE_WAIT(req_view(r).is_gone);
    FAKE_WAIT(atomic_load(&g.resumed) == resumed + 2);
    end(&g, &p, r);
    rig_close(&g);
}

/* A late event of a row's old connection does not hit the new one: they differ by serial number. */
TEST(watch_tells_a_rows_connections_apart) {
    struct rig g;
    rig_open(&g);
    struct pair old = pair_open(&g);
    watch_suspended(old.conn);
    watch_remove(old.conn); /* its socket is still watched: as if its event were on its way */
    struct pair p = pair_open(&g);
    CHECK(p.conn == old.conn);
    struct req *r = park(&g, &p, "/wait", REQ_WORKING);
    close(old.client);
    let_it_scan();
    CHECK_EQ(atomic_load(&g.resumed), 0);
    close(p.client);
    FAKE_WAIT(atomic_load(&g.resumed) == 1);
    p.client = dup(p.fd);
    close(old.fd);
    end(&g, &p, r);
    rig_close(&g);
}

TEST(watch_ends_late_requests) {
    struct rig g;
    rig_open(&g);
    struct pair p = pair_open(&g);
    struct req *r = park(&g, &p, "/wait", REQ_WORKING);
    pass_time(&g, &p, (REQUEST_S - 3) * SECOND);
    let_it_scan();
    CHECK_EQ(atomic_load(&g.resumed), 0);
    pass_time(&g, &p, 4 * SECOND);
    FAKE_WAIT(atomic_load(&g.resumed) == 1);
    CHECK(req_view(r).is_late && !req_view(r).is_gone);
    CHECK_EQ(fake_counts(g.api).expired, 1);
    /* A stream may end itself in the ten seconds that follow; then it is given up. */
    while (req_park(r) == 0) {}
    let_it_scan();
    CHECK_EQ(atomic_load(&g.resumed), 1);
    pass_time(&g, &p, 10 * SECOND);
    FAKE_WAIT(atomic_load(&g.resumed) == 2);
    CHECK(req_view(r).is_gone);
    /* One that is not parked, because its client does not read, is cut. */
    FAKE_WAIT(is_cut(&p));
    end(&g, &p, r);
    rig_close(&g);
}

TEST(watch_wakes_silent_streams) {
    struct rig g;
    rig_open(&g);
    struct pair p = pair_open(&g);
    struct req *r = park(&g, &p, "/stream", REQ_STREAMING);
    int resumed = atomic_load(&g.resumed);
    pass_time(&g, &p, 13 * SECOND);
    let_it_scan();
    CHECK_EQ(atomic_load(&g.resumed), resumed);
    pass_time(&g, &p, 3 * SECOND);
    FAKE_WAIT(atomic_load(&g.resumed) == resumed + 1);
    CHECK(!req_view(r).is_gone && !req_view(r).is_late);
    while (req_park(r) == 0) {}
    let_it_scan(); /* its silence begins anew */
    CHECK_EQ(atomic_load(&g.resumed), resumed + 1);
    fake_wake(r->call);
    FAKE_WAIT(atomic_load(&g.resumed) == resumed + 2);
    end(&g, &p, r);
    rig_close(&g);
}

TEST(watch_drains) {
    struct rig g;
    rig_open(&g);
    struct pair idle = pair_open(&g), busy = pair_open(&g);
    watch_enter(idle.conn, WATCH_IDLE, NULL);
    struct req *r = park(&g, &busy, "/wait", REQ_WORKING);
    watch_drain(g.watch);
    CHECK(is_cut(&idle));
    let_it_scan();
    CHECK(!is_cut(&busy));
    CHECK_EQ(atomic_load(&g.resumed), 0);
    fake_finish(r->call);
    FAKE_WAIT(atomic_load(&g.resumed) == 1);
    watch_enter(busy.conn, WATCH_IDLE, NULL); /* when it becomes idle */
    CHECK(is_cut(&busy));
    pair_close(&idle);
    end(&g, &busy, r);
    rig_close(&g);
}

TEST(watch_drains_who_has_asked_last) {
    struct rig g;
    char byte;
    rig_open(&g);
    struct pair p = pair_open(&g);
    watch_enter(p.conn, WATCH_IDLE, NULL);
    CHECK_EQ(send(p.client, "G", 1, 0), 1);
    CHECK_EQ(watch_count(g.watch).requests, 0);
    watch_drain(g.watch);
    let_it_scan();
    CHECK(!is_cut(&p));
    CHECK_EQ(watch_count(g.watch).requests, 1); /* so that the end waits for it */
    CHECK_EQ(recv(p.conn->fd, &byte, 1, 0), 1);
    FAKE_WAIT(is_cut(&p)); /* it was read, and nothing came of it */
    pair_close(&p);
    rig_close(&g);
}

TEST(watch_cancels) {
    struct rig g;
    struct buf words;
    rig_open(&g);
    buf_init(&words, 16);
    buf_str(&words, "ending");
    for (int as_gone = 0; as_gone < 2; as_gone++) {
        struct pair p = pair_open(&g), other = pair_open(&g);
        struct req *r = park(&g, &p, "/wait", REQ_WORKING);
        watch_cancel(g.watch, as_gone ? NULL : &words);
        CHECK_EQ(atomic_load(&g.resumed), as_gone + 1);
        CHECK_EQ(req_view(r).is_gone, as_gone);
        CHECK_EQ(req_view(r).is_late, !as_gone);
        CHECK(!is_cut(&other));
        pair_close(&other);
        end(&g, &p, r);
    }
    CHECK_EQ(fake_counts(g.api).cancelled, 1);
    CHECK_EQ(fake_counts(g.api).expired, 1);
    buf_clear(&words);
    rig_close(&g);
}

/* What is still coming in is answered once, and cut. */
TEST(watch_cancels_half_a_request) {
    static const enum watch_phase phases[] = {WATCH_HEADERS, WATCH_BODY, WATCH_DISCARD};
    struct rig g;
    struct buf words;
    rig_open(&g);
    buf_init(&words, 16);
    buf_str(&words, "ending");
    for (size_t i = 0; i < ARRAY_LEN(phases); i++) {
        char got[16] = "";
        struct pair p = pair_open(&g);
        struct req *r = req_new(&g.desk, "/");
        buf_str(&r->last_words, "refused");
        watch_enter(p.conn, phases[i], r);
        watch_cancel(g.watch, NULL);
        CHECK(!is_cut(&p));
        watch_cancel(g.watch, &words);
        watch_cancel(g.watch, &words);
        CHECK(is_cut(&p));
        CHECK(recv(p.client, got, sizeof(got) - 1, MSG_DONTWAIT) > 0);
        CHECK_STR(got, phases[i] == WATCH_DISCARD ? "refused" : "ending");
        watch_enter(p.conn, WATCH_IDLE, NULL);
        req_over(r);
        pair_close(&p);
    }
    buf_clear(&words);
    rig_close(&g);
}
