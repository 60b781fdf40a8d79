/* The client of lammd's own commands: what it makes of answers, good and bad, in any pieces; and
 * what of addresses and keys. */
#include "cli/http_client.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/http_client_read.h"
#include "tests/check.h"

struct feed {
    const char *at;
    size_t left, piece;
};

static long feed_on(void *ud, void *to, size_t max) {
    struct feed *f = ud;
    size_t n = f->left < f->piece ? f->left : f->piece;
    if (n > max) n = max;
    memcpy(to, f->at, n);
    f->at += n;
    f->left -= n;
    return (long)n;
}

static int read_as(const char *method, const char *answer, size_t piece, struct http_reply *r,
                   struct err *e) {
    struct feed f = {answer, strlen(answer), piece};
    const struct http_request q = {.method = method, .path = "/"};
    *r = (struct http_reply){.status = 0};
    *e = (struct err){0};
    buf_init(&r->body, HTTP_CLIENT_BODY_MAX);
    return http_client_read_from(feed_on, &f, &q, r, e);
}

static void good(const char *method, const char *answer, int status, const char *body) {
    for (size_t piece = 1; piece < 200; piece += 7) {
        struct http_reply r;
        struct err e;
        if (read_as(method, answer, piece, &r, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
        CHECK_EQ(r.status, status);
        CHECK_EQ(r.body.len, strlen(body));
        if (*body) CHECK_STR((const char *)r.body.p, body);
        http_client_drop(&r);
    }
}

TEST(http_client_reads_each_framing) {
    good("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello");
    good("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "");
    good("GET", "HTTP/1.0 404 No\r\n\r\nto the end", 404, "to the end");
    good("GET",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nB;x=1\r\n big world!"
         "\r\n0\r\nA: b\r\n\r\n",
         200, "hello big world!");
    good("GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200,
         "ok");
    good("DELETE", "HTTP/1.1 204 No Content\r\n\r\n", 204, "");
    good("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", 200, "");
}

TEST(http_client_reads_fields) {
    struct http_reply r;
    struct err e;
    CHECK_EQ(read_as("POST",
                     "HTTP/1.1 503 x\r\nContent-Type:  Application/Problem+JSON; a=b \r\n"
                     "location: /v1/x\r\nRETRY-AFTER: 17\r\nContent-Length: 0\r\n\r\n",
                     9, &r, &e),
             0);
    CHECK_STR(r.type, "application/problem+json");
    CHECK_STR(r.location, "/v1/x");
    CHECK_EQ(r.retry_s, 17);
    http_client_drop(&r);
}

TEST(http_client_refuses_what_is_not_http) {
    static const struct {
        const char *answer;
        int code;
    } bad[] = {
        {"", E_IO},
        {"SSH-2.0-OpenSSH_9.2\r\n", E_FORMAT},
        {"HTTP/1.1 200 OK\n\nhello", E_FORMAT},
        {"HTTP/2 200\r\n\r\n", E_FORMAT},
        {"HTTP/1.1 20 OK\r\n\r\n", E_FORMAT},
        {"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", E_FORMAT},
        {"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", E_FORMAT},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", E_IO},
        {"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", E_FORMAT},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", E_FORMAT},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", E_FORMAT},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", E_FORMAT},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", E_FORMAT},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", E_FORMAT},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n123456789\r\n", E_FORMAT},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", E_FORMAT},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", E_IO},
        {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", E_IO}};
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct http_reply r;
        struct err e;
        int rc = read_as("GET", bad[i].answer, 11, &r, &e);
        if (rc != bad[i].code)
            test_failed(__FILE__, __LINE__, "%d (%s), not %d: %s", rc, e.text, bad[i].code,
                        bad[i].answer);
        http_client_drop(&r);
    }
}

TEST(http_client_has_limits) {
    size_t n = 40 << 10;
    char *text = malloc(n + 1);
    struct http_reply r;
    struct err e;
    memset(text, 'x', n);
    memcpy(text, "HTTP/1.1 200 OK\r\nA: ", 20);
    text[n] = '\0';
    CHECK_EQ(read_as("GET", text, 4096, &r, &e), E_TOO_BIG);
    http_client_drop(&r);
    for (size_t i = 17; i + 8 < n; i += 8)
        memcpy(text + i, "A: bcd\r\n", 8);
    CHECK_EQ(read_as("GET", text, 4096, &r, &e), E_TOO_BIG);
    http_client_drop(&r);
    free(text);
    size_t big = HTTP_CLIENT_BODY_MAX + 100;
    text = calloc(1, big + 1);
    memset(text, 'x', big);
    memcpy(text, "HTTP/1.1 200 OK\r\n\r\n", 19);
    CHECK_EQ(read_as("GET", text, 65536, &r, &e), E_TOO_BIG);
    http_client_drop(&r);
    free(text);
}

TEST(http_client_tells_what_the_server_said) {
    struct http_reply r;
    struct err e;
    CHECK_EQ(read_as("GET",
                     "HTTP/1.1 409 x\r\nContent-Type: application/problem+json\r\n\r\n"
                     "{\"detail\":\"it is worse\",\"error\":{\"code\":\"gate_refused\"}}",
                     50, &r, &e),
             0);
    CHECK_EQ(http_client_check(&r, &e), E_INVALID);
    CHECK_STR(e.text, "it is worse (409 gate_refused)");
    http_client_drop(&r);
    CHECK_EQ(read_as("GET", "HTTP/1.1 502 x\r\nContent-Type: text/html\r\n\r\n<h1>", 50, &r, &e),
             0);
    CHECK_EQ(http_client_check(&r, &e), E_INVALID);
    CHECK_HAS(e.text, "502");
    http_client_drop(&r);
}

static int open_url(const char *url, struct http_client *c, struct err *e) {
    *e = (struct err){0};
    return http_client_open(c, url, NULL, NULL, e);
}

TEST(http_client_reads_addresses) {
    static const char *const urls[][3] = {{NULL, "127.0.0.1", "8080"},
                                          {"http://localhost", "localhost", "80"},
                                          {"http://127.0.0.1:9000/", "127.0.0.1", "9000"},
                                          {"http://[::1]:9000", "::1", "9000"},
                                          {"http://[::1]", "::1", "80"}};
    static const char *const bad[] = {
        "localhost:8080",      "http://",     "http://a:",  "http://a:x",
        "http://a:123456",     "http://a/v1", "http://u@a", "http://[::1",
        "http://a:80\r\nX: y", "http://a b",  "ftp://a"};
    struct http_client c;
    struct err e;
    unsetenv("LAMMD_KEY");
    for (unsigned i = 0; i < ARRAY_LEN(urls); i++) {
        CHECK_EQ(open_url(urls[i][0], &c, &e), 0);
        CHECK_STR(c.host, urls[i][1]);
        CHECK_STR(c.port, urls[i][2]);
    }
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_EQ(open_url(bad[i], &c, &e), E_INVALID);
    CHECK_EQ(open_url("https://a", &c, &e), E_UNSUPPORTED);
    CHECK_HAS(e.text, "--admin-socket");
    CHECK_EQ(http_client_open(&c, "http://a", "/s", NULL, NULL), E_INVALID);
}

TEST(http_client_reads_keys) {
    struct http_client c;
    struct err e = {0};
    char path[] = "/tmp/lammd-key-XXXXXX";
    int fd = mkstemp(path);
    CHECK(write(fd, "lammd_abc_0123\nmore\n", 20) == 20);
    close(fd);
    setenv("LAMMD_KEY", "lammd_env_77", 1);
    CHECK_EQ(open_url(NULL, &c, &e), 0);
    CHECK_STR(c.key, "lammd_env_77");
    CHECK_EQ(http_client_open(&c, NULL, NULL, path, &e), 0);
    CHECK_STR(c.key, "lammd_abc_0123");
    CHECK_EQ(http_client_open(&c, NULL, "/run/s", NULL, &e), 0);
    CHECK_STR(c.key, "");
    setenv("LAMMD_KEY", "a\r\nX: y", 1);
    CHECK_EQ(open_url(NULL, &c, &e), E_INVALID);
    unlink(path);
    e = (struct err){0};
    CHECK_EQ(http_client_open(&c, NULL, NULL, path, &e), E_NOT_FOUND);
}

TEST(http_client_writes_segments) {
    struct buf b;
    buf_init(&b, 100);
    http_client_segment(&b, "ft:a b/..%\xc3\xa9");
    CHECK_STR((const char *)b.p, "ft:a%20b%2F..%25%C3%A9");
    buf_clear(&b);
}

/* ---- over a socket ---- */

struct server {
    char path[64];
    int fd;
    char got[4096];
};

static void *serve_once(void *ud) {
    struct server *s = ud;
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    int fd = accept(s->fd, NULL, NULL);
    size_t n = 0;
    while (!strstr(s->got, "tail")) {
        ssize_t more = read(fd, s->got + n, sizeof(s->got) - 1 - n);
        if (more <= 0) break;
        n += (size_t)more;
    }
    CHECK(write(fd, answer, sizeof(answer) - 1) > 0);
    close(fd);
    return NULL;
}

TEST(http_client_asks_by_a_socket) {
    struct server s = {.fd = socket(AF_UNIX, SOCK_STREAM, 0)};
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char file[] = "/tmp/lammd-body-XXXXXX";
    int fd = mkstemp(file);
    CHECK(write(fd, "middle-", 7) == 7);
    close(fd);
    snprintf(s.path, sizeof(s.path), "/tmp/lammd-client-%ld", (long)getpid());
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", s.path);
    CHECK(bind(s.fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(s.fd, 1) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, serve_once, &s) == 0);
    struct http_client c;
    struct http_reply r;
    struct err e = {0};
    CHECK_EQ(http_client_open(&c, NULL, s.path, NULL, &e), 0);
    const struct http_request q = {.method = "POST",
                                   .path = "/v1/x",
                                   .type = "text/plain",
                                   .header = "Last-Event-ID: 7",
                                   .body = "head-",
                                   .len = 5,
                                   .file = file,
                                   .tail = "tail",
                                   .tail_len = 4};
    CHECK_EQ(http_client_ask(&c, &q, &r, &e), 0);
    pthread_join(thread, NULL);
    CHECK_STR((const char *)r.body.p, "ok");
    CHECK_HAS(s.got, "POST /v1/x HTTP/1.1\r\nHost: localhost\r\n");
    CHECK_HAS(s.got, "\r\nContent-Length: 16\r\n");
    CHECK_HAS(s.got, "\r\nLast-Event-ID: 7\r\n");
    CHECK_HAS(s.got, "\r\n\r\nhead-middle-tail");
    http_client_drop(&r);
    close(s.fd);
    unlink(s.path);
    unlink(file);
    CHECK_EQ(http_client_ask(&c, &q, &r, &e), E_NOT_FOUND); /* the file */
    http_client_drop(&r);
    e = (struct err){0};
    CHECK_EQ(http_client_ask(&c, &(struct http_request){.method = "GET", .path = "/"}, &r, &e),
             E_IO);
    CHECK_HAS(e.text, "is lammd serve --admin-socket running?");
    http_client_drop(&r);
}
