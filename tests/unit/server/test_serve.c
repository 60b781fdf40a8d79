/* test_serve.c - the whole life of a server, with a real (tiny) model and a fake API: what it tells
 * its supervisor and when, what happens to requests at its end, and what it says when it can't
 * start.
 *
 * serve() wants to be called before other threads exist. So the signals are blocked before the
 * test's own thread, which is its client and its supervisor, is started.
 */
#include "server/serve.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "server/accept.h"
#include "tests/check.h"
#include "tests/unit/server/fake_api.h"
#include "tests/unit/server/http/http_rig.h"

#define TINY   "tests/golden/tiny"
#define SECOND UINT64_C(1000000000)

struct rig {
    int notify; /* what the server tells systemd comes here */
    int port;
    const char *path; /* of the socket behind `notify` */
    void (*visit)(struct rig *g);
    pthread_t visitor;
};

/* The next message that is no sign of life. */
static void expect_message(struct rig *g, const char *want) {
    char text[600];
    do {
        ssize_t n = recv(g->notify, text, sizeof(text) - 1, 0);
        CHECK(n > 0);
        text[n] = '\0';
    } while (strcmp(text, "WATCHDOG=1") == 0);
    CHECK_STR(text, want);
}

static void *run_visit(void *ud) {
    struct rig *g = ud;
    g->visit(g);
    return NULL;
}

/* A free port, which `visit` gets; the server listens on it. */
static int run(void (*visit)(struct rig *g), unsigned drain_s) {
    char path[64], address[64], url[128];
    struct rig g = {.path = path, .visit = visit};
    struct listeners l = {.n = 0};
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct timeval patience = {30, 0};
    snprintf(path, sizeof(path), "/tmp/lammd-serve-%ld", (long)getpid());
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    g.notify = socket(AF_UNIX, SOCK_DGRAM, 0);
    CHECK_EQ(bind(g.notify, (struct sockaddr *)&at, sizeof(at)), 0);
    setsockopt(g.notify, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setenv("NOTIFY_SOCKET", path, 1);
    CHECK_EQ(listeners_bind(&l, "127.0.0.1:0", NULL), 0);
    listeners_url(&l, 0, url, sizeof(url));
    listeners_close(&l);
    g.port = (int)strtol(strrchr(url, ':') + 1, NULL, 10);
    snprintf(address, sizeof(address), "127.0.0.1:%d", g.port);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    CHECK_EQ(pthread_create(&g.visitor, NULL, run_visit, &g), 0);
    const char *const listen[] = {address};
    const struct serve_options o = {
        .listen = listen,
        .n_listen = 1,
        .engine = {.model = TINY, .threads = 1},
        .http = {.connections = 8,
                 .workers = 1,
                 .bodies_max = 100,
                 .limits = {60 * SECOND, 60 * SECOND, 60 * SECOND, 60 * SECOND}},
        .drain_s = drain_s};
    struct err e = {0};
    log_set_level(LOG_LEVEL_ERROR);
    int status = serve(&o, &e);
    pthread_join(g.visitor, NULL);
    close(g.notify);
    unlink(path);
    return status;
}

static void send_signal(int signal) { kill(getpid(), signal); }

static void visit_and_stop(struct rig *g) {
    char text[RIG_TEXT];
    expect_message(g, "READY=1\nSTATUS=serving tiny");
    int idle = rig_connect(g->port), busy = rig_connect(g->port);
    rig_ask(idle, RIG_GET("/reply"), "hello", text);
    send_signal(SIGHUP); /* nothing happens */
    rig_ask(idle, RIG_GET("/reply"), "hello", text);
    rig_send(busy, RIG_GET("/wait"));
    struct api_call *call = fake_call(fake_last(), 2);
    FAKE_WAIT(fake_steps(call) == 1);
    send_signal(SIGTERM);
    expect_message(g, "STOPPING=1");
    rig_closed(idle);
    fake_finish(call);
    rig_read(busy, "done", text);
    CHECK_HAS(text, "HTTP/1.1 200 ");
    rig_closed(busy);
    close(idle);
    close(busy);
}

TEST(serve_lets_running_requests_finish) { CHECK_EQ(run(visit_and_stop, 60), 0); }

static void visit_and_wait(struct rig *g) {
    char text[RIG_TEXT];
    expect_message(g, "READY=1\nSTATUS=serving tiny");
    int fd = rig_connect(g->port);
    rig_send(fd, RIG_GET("/wait"));
    FAKE_WAIT(fake_steps(fake_call(fake_last(), 0)) == 1);
    send_signal(SIGINT);
    rig_read(fd, "draining", text);
    CHECK_HAS(text, "HTTP/1.1 503 ");
    close(fd);
}

TEST(serve_ends_what_is_left_at_the_deadline) { CHECK_EQ(run(visit_and_wait, 0), 0); }

static void visit_and_hurry(struct rig *g) {
    char text[RIG_TEXT];
    expect_message(g, "READY=1\nSTATUS=serving tiny");
    int fd = rig_connect(g->port);
    rig_send(fd, RIG_GET("/wait"));
    FAKE_WAIT(fake_steps(fake_call(fake_last(), 0)) == 1);
    send_signal(SIGTERM);
    expect_message(g, "STOPPING=1");
    FAKE_WAIT(fake_counts(fake_last()).draining == 1);
    send_signal(SIGTERM); /* once more: the minute is not waited for */
    rig_read(fd, "draining", text);
    CHECK_HAS(text, "HTTP/1.1 503 ");
    close(fd);
}

TEST(serve_hurries_at_a_second_signal) { CHECK_EQ(run(visit_and_hurry, 60), 0); }

/* What can't start says why, the taken port before the model is looked at, and leaves nothing open.
 */
TEST(serve_says_why_it_can_not_start) {
    struct listeners l = {.n = 0}, again = {.n = 0};
    char url[128];
    CHECK_EQ(listeners_bind(&l, "127.0.0.1:0", NULL), 0);
    listeners_url(&l, 0, url, sizeof(url));
    const char *const listen[] = {url + strlen("http://")};
    const struct serve_options o = {.listen = listen,
                                    .n_listen = 1,
                                    .engine = {.model = "tests/golden/nowhere", .threads = 1},
                                    .http = {.connections = 8, .workers = 1}};
    struct err e = {0};
    CHECK_EQ(serve(&o, &e), E_IO);
    CHECK_HAS(e.text, "Address already in use");
    listeners_close(&l);
    e = (struct err){0};
    CHECK(serve(&o, &e) < 0);
    CHECK_HAS(e.text, "tests/golden/nowhere");
    struct serve_options bad = o;
    bad.engine.model = TINY;
    bad.http.workers = HTTP_WORKERS_MAX + 1;
    e = (struct err){0};
    CHECK_EQ(serve(&bad, &e), E_INVALID);
    CHECK_EQ(listeners_bind(&again, listen[0], NULL), 0);
    listeners_close(&again);
}
