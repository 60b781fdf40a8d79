/* test_http.c - requests over loopback to an API that does what the test says (fake_api.h): what is
 * answered, when, and what happens to those that are refused, late, left or cancelled. */
#include "server/http/http.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "server/http/req.h"
#include "tests/check.h"
#include "tests/unit/server/fake_api.h"
#include "tests/unit/server/http/http_rig.h"

#define SECOND UINT64_C(1000000000)

struct rig {
    struct api *api;
    struct http *http;
    char text[RIG_TEXT]; /* the last answer */
};

static void rig_open_with(struct rig *g, struct http_options opt) {
    opt.limits = (struct watch_limits){.header_ns = 60 * SECOND,
                                       .body_ns = 60 * SECOND,
                                       .request_ns = opt.limits.request_ns ? opt.limits.request_ns
                                                                           : 60 * SECOND,
                                       .idle_ns = 60 * SECOND};
    log_set_level(LOG_LEVEL_ERROR);
    CHECK_EQ(api_new(NULL, NULL, &g->api, NULL), 0);
    CHECK_EQ(http_open(&opt, g->api, &g->http, NULL), 0);
}

static void rig_open(struct rig *g) {
    rig_open_with(g, (struct http_options){.connections = 8, .workers = 2, .bodies_max = 4000});
}

static void rig_end(struct rig *g) {
    http_close(g->http);
    api_free(g->api); /* fails unless every call was freed */
}

static int client_of(struct rig *g) {
    int client, server;
    rig_pair(&client, &server);
    http_add(g->http, server, NULL, 0);
    return client;
}

/* The status line of an answer to this request, on a connection of its own. */
static const char *ask(struct rig *g, const char *request) {
    int fd = client_of(g);
    rig_send(fd, request);
    rig_read(fd, "\r\n\r\n", g->text);
    close(fd);
    return g->text;
}

TEST(http_answers_and_keeps_the_connection) {
    struct rig g;
    rig_open(&g);
    int fd = client_of(&g);
    for (int i = 0; i < 3; i++) {
        rig_ask(fd, RIG_GET("/reply"), "\r\n\r\nhello", g.text);
        CHECK_HAS(g.text, "HTTP/1.1 200 OK\r\n");
        CHECK_HAS(g.text, "X-Fake: yes\r\n");
        CHECK_HAS(g.text, "X-Request-Id: r-");
        CHECK(!strstr(g.text, "Connection: close"));
    }
    rig_ask(fd, "GET /reply HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: my-1\r\n\r\n", "hello",
            g.text);
    CHECK_HAS(g.text, "X-Request-Id: my-1\r\n");
    rig_ask(fd, "GET /reply HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: not/plain\r\n\r\n",
            "hello", g.text);
    CHECK_HAS(g.text, "X-Request-Id: r-");
    FAKE_WAIT(fake_counts(g.api).counted == 5);
    CHECK_EQ(fake_counts(g.api).last_status, 200);
    close(fd);
    rig_end(&g);
}

TEST(http_parks_until_there_is_an_answer) {
    struct rig g;
    rig_open(&g);
    int fd = client_of(&g);
    rig_send(fd, RIG_GET("/wait"));
    struct api_call *call = fake_call(g.api, 0);
    FAKE_WAIT(fake_steps(call) == 1);
    CHECK_EQ(http_requests(g.http), 1);
    char c;
    CHECK(recv(fd, &c, 1, MSG_DONTWAIT) < 0);
    fake_finish(call);
    rig_read(fd, "\r\n\r\ndone", g.text);
    CHECK_HAS(g.text, "HTTP/1.1 200 OK\r\n");
    FAKE_WAIT(http_requests(g.http) == 0);
    close(fd);
    rig_end(&g);
}

TEST(http_streams_piece_by_piece) {
    struct rig g;
    rig_open(&g);
    int fd = client_of(&g);
    rig_ask(fd, RIG_GET("/stream"), "\r\n\r\n", g.text);
    CHECK_HAS(g.text, "Transfer-Encoding: chunked\r\n");
    struct api_call *call = fake_call(g.api, 0);
    fake_say(call, "one");
    rig_read(fd, "3\r\none\r\n", g.text);
    CHECK_HAS(g.text, "one");
    fake_say(call, "two");
    rig_read(fd, "3\r\ntwo\r\n", g.text);
    fake_finish(call);
    rig_read(fd, "0\r\n\r\n", g.text);
    CHECK_STR(g.text, "0\r\n\r\n");
    rig_ask(fd, RIG_GET("/reply"), "hello", g.text); /* and the connection goes on */
    close(fd);
    rig_end(&g);
}

/* A worker steps it, and meanwhile nobody reads. */
TEST(http_steps_a_stream_that_has_more_to_ask) {
    struct rig g;
    rig_open(&g);
    int fd = client_of(&g), left = client_of(&g);
    rig_ask(fd, RIG_GET("/steps"), "\r\n\r\n", g.text);
    struct api_call *call = fake_call(g.api, 0);
    CHECK_EQ(fake_steps(call), 1);
    fake_say(call, "one");
    rig_read(fd, "3\r\none\r\n", g.text); /* the first step counts */
    fake_hold(g.api, 1);
    fake_say(call, "two");
    FAKE_WAIT(fake_counts(g.api).held == 1);
    fake_wake(call); /* what comes meanwhile is not lost */
    fake_say(call, "three");
    fake_hold(g.api, 0);
    rig_read(fd, "8\r\ntwothree\r\n", g.text);
    CHECK_EQ(fake_steps(call), 2);
    rig_ask(left, RIG_GET("/steps"), "\r\n\r\n", g.text); /* this one leaves during a step */
    struct api_call *other = fake_call(g.api, 1);
    fake_say(other, "one");
    rig_read(left, "3\r\none\r\n", g.text);
    fake_hold(g.api, 1);
    fake_say(other, "two");
    FAKE_WAIT(fake_counts(g.api).held == 1);
    close(left);
    FAKE_WAIT(fake_counts(g.api).cancelled == 1);
    fake_hold(g.api, 0);
    FAKE_WAIT(fake_counts(g.api).freed == 1);
    fake_finish(call);
    rig_read(fd, "0\r\n\r\n", g.text);
    close(fd);
    rig_end(&g);
}

TEST(http_reads_bodies) {
    static const char parts[] =
        "--xx\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--xx\r\n"
        "Content-Disposition: form-data; name=\"b\"\r\n\r\n2\r\n--xx--\r\n";
    struct rig g;
    rig_open(&g);
    int fd = client_of(&g);
    rig_ask(fd, RIG_POST("/echo") "Content-Length: 5\r\n\r\nhallo", "\r\n\r\nhallo", g.text);
    char form[1000];
    snprintf(form, sizeof(form),
             "%sContent-Type: multipart/form-data; boundary=xx\r\nContent-Length: "
             "%zu\r\n\r\n%s",
             RIG_POST("/echo"), strlen(parts), parts);
    rig_ask(fd, form, "\r\n\r\na=1\nb=2\n", g.text);
    rig_ask(fd, RIG_POST("/echo") "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n", g.text);
    rig_ask(fd, "hi", "\r\n\r\nhi", g.text);
    FAKE_WAIT(fake_server_stats(g.api).body_bytes == 0); /* the budget has all back */
    close(fd);
    rig_end(&g);
}

TEST(http_refuses) {
    static const struct {
        const char *request, *want;
    } all[] = {
        {RIG_GET("/nowhere"), "HTTP/1.1 404 "},
        {RIG_POST("/reply") "\r\n", "HTTP/1.1 405 "},
        {RIG_GET("/rep%zz"), "HTTP/1.1 400 "},
        {"GET /reply HTTP/1.1\r\nHost: elsewhere\r\n\r\n", "HTTP/1.1 403 "},
        {"GET /reply HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
         "Transfer-Encoding: chunked\r\n\r\n",
         "HTTP/1.1 400 "},
        {RIG_POST("/echo") "Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n", "HTTP/1.1 413 "},
        {RIG_POST("/echo") "Content-Type: multipart/form-data\r\nContent-Length: 1\r\n\r\nx",
         "HTTP/1.1 400 "}};
    struct rig g;
    rig_open(&g);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        const char *got = ask(&g, all[i].request);
        if (strncmp(got, all[i].want, strlen(all[i].want)) != 0) printf("%s\n", all[i].request);
        CHECK_MEM(got, all[i].want, strlen(all[i].want));
        if (i == 1) CHECK_HAS(got, "Allow: GET\r\n");
        CHECK_HAS(got, "Content-Type: application/problem+json\r\n");
    }
    CHECK_EQ(fake_counts(g.api).calls, 0);
    CHECK_EQ(fake_server_stats(g.api).gate_refused_total, 2);
    rig_end(&g);
}

/* Some clients send {} with a GET. The connection goes on behind it. */
TEST(http_throws_away_a_body_that_nobody_wants) {
    static const char *const all[] = {
        "GET /reply HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: 2\r\n\r\n{}",
        "GET /reply HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data\r\n"
        "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"};
    struct rig g;
    rig_open(&g);
    int fd = client_of(&g);
    for (int i = 0; i < 4; i++) {
        rig_send(fd, all[i % 2]);
        rig_read(fd, "hello", g.text);
        CHECK_HAS(g.text, "HTTP/1.1 200 ");
    }
    CHECK_EQ(fake_server_stats(g.api).body_bytes, 0);
    close(fd);
    rig_end(&g);
}

/* A client that sends its whole body first reads the answer, not a reset. */
TEST(http_reads_a_refused_body_to_its_end) {
    struct rig g;
    rig_open(&g);
    int fd = client_of(&g);
    char *body = mem_must(3000001);
    memset(body, 'x', 3000000);
    rig_send(fd, RIG_POST("/nowhere") "Content-Length: 3000000\r\n\r\n");
    rig_send(fd, body);
    rig_read(fd, "not_found", g.text);
    CHECK_HAS(g.text, "HTTP/1.1 404 ");
    /* The same when only the body shows that it is too long. */
    close(fd);
    fd = client_of(&g);
    rig_send(fd, RIG_POST("/echo") "Transfer-Encoding: chunked\r\n\r\n2DC6C0\r\n");
    rig_send(fd, body);
    rig_send(fd, "\r\n0\r\n\r\n");
    rig_read(fd, "body_too_large", g.text);
    CHECK_HAS(g.text, "HTTP/1.1 413 ");
    mem_free(body);
    close(fd);
    rig_end(&g);
}

/* Bodies are taken out of one budget, as they come: what is only announced takes nothing. */
TEST(http_holds_so_many_bytes_of_bodies) {
    struct rig g;
    char bytes[1000], request[1200];
    memset(bytes, 'x', sizeof(bytes) - 1);
    bytes[sizeof(bytes) - 1] = '\0';
    snprintf(request, sizeof(request), "%sContent-Length: 1000\r\n\r\n%s", RIG_POST("/echo"),
             bytes);
    rig_open_with(&g, (struct http_options){.connections = 8, .workers = 1, .bodies_max = 1500});
    int slow[4], first;
    for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
        slow[i] = client_of(&g);
        rig_send(slow[i], i % 2 ? RIG_POST("/echo") "Content-Length: 1000\r\n\r\n"
                                : RIG_POST("/echo") "Transfer-Encoding: chunked\r\n\r\n");
    }
    first = client_of(&g);
    rig_send(first, request);
    FAKE_WAIT(fake_server_stats(g.api).body_bytes == 1000);
    CHECK_HAS(ask(&g, RIG_POST("/echo") "Content-Length: 5\r\n\r\nhallo"), "HTTP/1.1 200 ");
    int second = client_of(&g);
    rig_send(second, request);
    rig_send(second, "x"); /* the body ends */
    rig_read(second, "no_memory", g.text);
    CHECK_HAS(g.text, "HTTP/1.1 503 ");
    CHECK_HAS(g.text, "Retry-After: 2\r\n");
    FAKE_WAIT(fake_server_stats(g.api).body_bytes == 1000);
    rig_send(first, "y");
    rig_read(first, "xxy", g.text);
    CHECK_HAS(g.text, "HTTP/1.1 200 ");
    FAKE_WAIT(fake_server_stats(g.api).body_bytes == 0);
    for (size_t i = 0; i < ARRAY_LEN(slow); i++)
        close(slow[i]);
    close(first);
    close(second);
    rig_end(&g);
}

/* Health needs no worker: it is told while all of them are held, and their queue is full. */
TEST(http_tells_its_health_without_a_worker) {
    struct rig g;
    int fd[DESK_QUICK_MAX + 4];
    rig_open_with(&g, (struct http_options){.connections = 100, .workers = 1, .bodies_max = 4000});
    fake_hold(g.api, 1);
    for (size_t i = 0; i < ARRAY_LEN(fd); i++) {
        fd[i] = client_of(&g);
        rig_send(fd[i], i < 2 ? RIG_GET("/reply") : RIG_GET("/quick"));
        if (i < 3) FAKE_WAIT(fake_counts(g.api).calls == (int)i + 1);
        if (i == 2) FAKE_WAIT(fake_counts(g.api).held == 2);
    }
    for (int i = 0; i < 3; i++) {
        CHECK_HAS(ask(&g, RIG_GET("/watch")), "HTTP/1.1 200 ");
        CHECK_HAS(ask(&g, "HEAD /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"), "HTTP/1.1 404 ");
    }
    /* One quick request is at work, DESK_QUICK_MAX wait; the next is refused at once. */
    rig_read(fd[ARRAY_LEN(fd) - 1], "queue_full", g.text);
    CHECK_HAS(g.text, "HTTP/1.1 503 ");
    fake_hold(g.api, 0);
    for (size_t i = 0; i + 1 < ARRAY_LEN(fd); i++) {
        rig_read(fd[i], "hello", g.text);
        CHECK_HAS(g.text, "HTTP/1.1 200 ");
    }
    for (size_t i = 0; i < ARRAY_LEN(fd); i++)
        close(fd[i]);
    rig_end(&g);
}

/* A refusal that needs no body waits for its end all the same, or a client that sends it first
 * would read a reset instead. */
TEST(http_refuses_after_the_body) {
    static const struct {
        const char *head, *want;
    } all[] = {{"POST /echo HTTP/1.1\r\nHost: elsewhere\r\n", "HTTP/1.1 403 "},
               {RIG_POST("/echo") "Content-Encoding: gzip\r\n", "HTTP/1.1 415 "},
               {RIG_POST("/echo"), "HTTP/1.1 413 "}};
    struct rig g;
    rig_open(&g);
    char *body = mem_must(1000001);
    memset(body, 'x', 1000000);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        int fd = client_of(&g);
        char c;
        rig_send(fd, all[i].head);
        rig_send(fd, "Content-Length: 2000000\r\n\r\n");
        rig_send(fd, body);
        nanosleep(&(struct timespec){0, 50000000}, NULL);
        CHECK(recv(fd, &c, 1, MSG_DONTWAIT) < 0);
        rig_send(fd, body);
        rig_read(fd, "\r\n\r\n", g.text);
        CHECK_MEM(g.text, all[i].want, strlen(all[i].want));
        CHECK_HAS(g.text, "Connection: close\r\n");
        close(fd);
    }
    mem_free(body);
    rig_end(&g);
}

TEST(http_has_room_for_so_many_connections) {
    struct rig g;
    rig_open_with(&g, (struct http_options){.connections = 2, .workers = 1, .bodies_max = 100});
    int fd[2] = {client_of(&g), client_of(&g)};
    for (int i = 0; i < 2; i++)
        rig_ask(fd[i], RIG_GET("/reply"), "hello", g.text);
    CHECK_HAS(ask(&g, ""), "HTTP/1.1 503 ");
    CHECK_HAS(g.text, "Connection: close\r\n");
    CHECK_EQ(fake_server_stats(g.api).shed_total, 1);
    CHECK_EQ(fake_server_stats(g.api).connections_total, 3);
    close(fd[0]);
    FAKE_WAIT(fake_server_stats(g.api).connections == 1);
    CHECK_HAS(ask(&g, RIG_GET("/reply")), "HTTP/1.1 200 ");
    close(fd[1]);
    rig_end(&g);
}

TEST(http_ends_what_takes_too_long) {
    struct rig g;
    rig_open_with(&g, (struct http_options){.connections = 8,
                                            .workers = 1,
                                            .bodies_max = 100,
                                            .limits.request_ns = SECOND / 2});
    int fd = client_of(&g);
    rig_send(fd, RIG_GET("/wait"));
    rig_read(fd, "deadline", g.text);
    CHECK_HAS(g.text, "HTTP/1.1 504 ");
    CHECK_HAS(g.text, "Connection: close\r\n");
    close(fd);
    FAKE_WAIT(fake_counts(g.api).freed == 1);
    CHECK_EQ(fake_counts(g.api).expired, 1);
    rig_end(&g);
}

TEST(http_stops_the_work_of_a_client_that_left) {
    struct rig g;
    rig_open(&g);
    static const char *const requests[2] = {RIG_GET("/wait"), RIG_GET("/stream")};
    for (int i = 0; i < 2; i++) {
        int fd = client_of(&g);
        rig_send(fd, requests[i]);
        FAKE_WAIT(fake_steps(fake_call(g.api, i)) == 1);
        close(fd);
        FAKE_WAIT(fake_counts(g.api).freed == i + 1);
        CHECK_EQ(fake_counts(g.api).cancelled, i + 1);
        FAKE_WAIT(fake_counts(g.api).last_status == 499);
    }
    FAKE_WAIT(fake_server_stats(g.api).cancelled_total == 2);
    rig_end(&g);
}

/* libmicrohttpd closes what its reader of content ends, and must not leave it lying. An older
 * connection that stays is what hides it from the loop (http.c). */
TEST(http_is_done_with_a_connection_whose_stream_ends_it) {
    struct rig g;
    rig_open(&g);
    int stays = client_of(&g), left = client_of(&g), old = client_of(&g);
    rig_ask(stays, RIG_GET("/reply"), "hello", g.text);
    rig_ask(left, RIG_GET("/stream"), "\r\n\r\n", g.text);
    rig_ask(old, "GET /stream HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n",
            "\r\n\r\n", g.text);
    CHECK(!strstr(g.text, "chunked"));
    CHECK_EQ(fake_server_stats(g.api).connections, 3);
    close(left); /* the reader ends with an error */
    fake_finish(fake_call(g.api, 2));
    rig_closed(old); /* for HTTP/1.0 the end of the stream is that of the connection */
    FAKE_WAIT(fake_server_stats(g.api).connections == 1);
    rig_ask(stays, RIG_GET("/reply"), "hello", g.text);
    close(stays);
    close(old);
    rig_end(&g);
}

TEST(http_drains) {
    struct rig g;
    rig_open(&g);
    int idle = client_of(&g), busy = client_of(&g);
    rig_ask(idle, RIG_GET("/reply"), "hello", g.text);
    rig_send(busy, RIG_GET("/wait"));
    struct api_call *call = fake_call(g.api, 1);
    FAKE_WAIT(fake_steps(call) == 1 && http_requests(g.http) == 1);
    http_drain(g.http);
    rig_closed(idle);
    CHECK_EQ(http_requests(g.http), 1);
    fake_finish(call);
    rig_read(busy, "done", g.text);
    CHECK_HAS(g.text, "HTTP/1.1 200 ");
    CHECK_HAS(g.text, "Connection: close\r\n");
    rig_closed(busy);
    FAKE_WAIT(http_requests(g.http) == 0);
    close(idle);
    close(busy);
    rig_end(&g);
}

TEST(http_cancels_what_is_left) {
    struct rig g;
    rig_open(&g);
    int waits = client_of(&g), streams = client_of(&g);
    rig_send(waits, RIG_GET("/wait"));
    FAKE_WAIT(fake_steps(fake_call(g.api, 0)) == 1);
    rig_ask(streams, RIG_GET("/stream"), "\r\n\r\n", g.text);
    http_drain(g.http);
    while (http_requests(g.http)) { /* one that is not parked yet is met by the next call */
        http_cancel(g.http);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    rig_read(waits, "draining", g.text);
    CHECK_HAS(g.text, "HTTP/1.1 503 ");
    rig_read(streams, NULL, g.text);
    CHECK_STR(g.text, "0\r\n\r\n"); /* the stream has ended itself */
    CHECK_EQ(fake_counts(g.api).expired, 2);
    close(waits);
    close(streams);
    rig_end(&g);
}

/* http_close while all kinds of requests are open: it returns, and every call is freed. */
TEST(http_closes_at_any_moment) {
    static const char *const requests[] = {"", "GET /re", RIG_GET("/wait"), RIG_GET("/stream"),
                                           RIG_POST("/echo") "Content-Length: 9\r\n\r\nabc"};
    for (int round = 0; round < 3; round++) {
        struct rig g;
        int fd[ARRAY_LEN(requests)];
        rig_open(&g);
        for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
            fd[i] = client_of(&g);
            rig_send(fd[i], requests[i]);
        }
        CHECK_HAS(ask(&g, RIG_GET("/reply")), "HTTP/1.1 200 "); /* the loop has them all by now */
        if (round) FAKE_WAIT(fake_counts(g.api).calls == 3);
        if (round == 2) FAKE_WAIT(fake_counts(g.api).steps == 3);
        rig_end(&g);
        for (size_t i = 0; i < ARRAY_LEN(requests); i++)
            close(fd[i]);
    }
}

TEST(http_options_have_bounds) {
    static const struct http_options wrong[] = {
        {.connections = 0, .workers = 1},
        {.connections = HTTP_CONNECTIONS_MAX + 1, .workers = 1},
        {.connections = 1, .workers = 0},
        {.connections = 1, .workers = HTTP_WORKERS_MAX + 1}};
    struct http *h = NULL;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        CHECK_EQ(http_open(&wrong[i], NULL, &h, NULL), E_INVALID);
    CHECK(h == NULL);
    http_close(h);
}

/* ---- who asks ---- */

static struct sockaddr_in from(const char *address) {
    struct sockaddr_in a = {.sin_family = AF_INET};
    CHECK_EQ(inet_pton(AF_INET, address, &a.sin_addr), 1);
    return a;
}

/* The answer to a request that comes from that address, as far as the acceptor knows. */
static const char *ask_from(struct rig *g, const char *address, const char *request) {
    struct sockaddr_in a = from(address);
    int client, server;
    rig_pair(&client, &server);
    http_add(g->http, server, (struct sockaddr *)&a, sizeof(a));
    rig_send(client, request);
    rig_read(client, ".\n", g->text);
    close(client);
    return g->text;
}

#define WHO(header) "GET /who HTTP/1.1\r\nHost: localhost\r\n" header "Connection: close\r\n\r\n"

TEST(http_believes_its_proxies_and_turns_others_away) {
    struct peer_net net;
    struct rig g;
    CHECK_EQ(peer_net_read("10.0.0.0/8", &net, NULL), 0);
    rig_open_with(&g, (struct http_options){.connections = 8,
                                            .workers = 2,
                                            .bodies_max = 4000,
                                            .callers = {.proxies = &net, .n_proxies = 1}});
    CHECK_HAS(ask_from(&g, "10.0.0.1", WHO("X-Forwarded-For: 203.0.113.9\r\n")),
              "key= peer=203.0.113.9 scopes=18.");
    CHECK_HAS(
        ask_from(&g, "10.0.0.1",
                 WHO("X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 203.0.113.9, 10.1.1.1\r\n")),
        "peer=203.0.113.9 ");
    CHECK_HAS(ask_from(&g, "10.0.0.1", WHO("")), "peer=10.0.0.1 ");
    CHECK_HAS(ask_from(&g, "127.0.0.1", WHO("X-Forwarded-For: 203.0.113.9\r\n")),
              "peer=this-machine ");
    CHECK_HAS(ask_from(&g, "192.0.2.1", WHO("")), "HTTP/1.1 403 Forbidden");
    CHECK_HAS(g.text, "only the proxy in front");
    CHECK_EQ(fake_counts(g.api).calls, 4);
    rig_end(&g);
}

TEST(http_tells_a_caller_that_has_too_much) {
    struct rig g;
    rig_open(&g);
    fake_visits(g.api, 1);
    int fd = client_of(&g);
    rig_send(fd, RIG_GET("/wait"));
    struct api_call *call = fake_call(g.api, 0);
    FAKE_WAIT(fake_steps(call) == 1);
    CHECK_HAS(ask(&g, RIG_GET("/reply")), "HTTP/1.1 429 ");
    CHECK_HAS(g.text, "RateLimit-Policy: \"requests\";q=1\r\n");
    CHECK_HAS(g.text, "RateLimit: \"requests\";r=0\r\n");
    CHECK_HAS(g.text, "Retry-After: ");
    CHECK_HAS(ask(&g, RIG_POST("/echo") "Content-Length: 4\r\n\r\nbody"), "HTTP/1.1 429 ");
    fake_finish(call);
    rig_read(fd, "done", g.text);
    CHECK_HAS(ask(&g, RIG_GET("/reply")), "HTTP/1.1 200 "); /* it is answered: it has left */
    close(fd);
    rig_end(&g);
}

TEST(http_has_no_administrators_on_tcp_without_keys) {
    struct rig g;
    rig_open(&g);
    CHECK_HAS(ask(&g, RIG_POST("/act") "\r\n"), "HTTP/1.1 401 ");
    CHECK_HAS(g.text, "WWW-Authenticate: Bearer realm=\"lammd\"\r\n");
    struct sockaddr_un admin = peer_unix(PEER_ADMIN);
    int client, server;
    rig_pair(&client, &server);
    http_add(g.http, server, (struct sockaddr *)&admin, sizeof(admin));
    rig_send(client, RIG_POST("/act") "\r\n");
    rig_read(client, "hello", g.text);
    CHECK_HAS(g.text, "HTTP/1.1 200 ");
    close(client);
    rig_end(&g);
}
