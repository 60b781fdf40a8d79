/* test_accept.c - addresses, inherited sockets, and the thread that accepts. */
#include "server/accept.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "tests/check.h"
#include "tests/unit/server/fake_api.h"
#include "tests/unit/server/http/http_rig.h"

/* The port of the i-th, from its URL. */
static int port_of(const struct listeners *l, int i) {
    char url[128];
    listeners_url(l, i, url, sizeof(url));
    return (int)strtol(strrchr(url, ':') + 1, NULL, 10);
}

TEST(accept_reads_addresses) {
    static const char *const wrong[] = {
        "",      "127.0.0.1", ":8080", "127.0.0.1:",   "1.1.1.1:x", "127.0.0.1:123456",
        "[::1]", "[]:1",      "8080",  "127.0.0.1:-1", "a:b:80 ",   "127.0.0.1:65536"};
    struct listeners l = {.n = 0};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct err e = {0};
        CHECK_EQ(listeners_bind(&l, wrong[i], &e), E_INVALID);
        CHECK_HAS(e.text, "--listen takes ADDRESS:PORT");
    }
    CHECK_EQ(listeners_bind(&l, "999.0.0.1:80", NULL), E_INVALID);
    CHECK_EQ(l.n, 0);
    CHECK_EQ(listeners_bind(&l, "127.0.0.1:0", NULL), 0);
    CHECK_EQ(l.n, 1);
    char url[128], want[128];
    listeners_url(&l, 0, url, sizeof(url));
    snprintf(want, sizeof(want), "http://127.0.0.1:%d", port_of(&l, 0));
    CHECK_STR(url, want);
    CHECK(port_of(&l, 0) > 0);
    listeners_close(&l);
    CHECK_EQ(l.n, 0);
}

TEST(accept_looks_names_up) {
    struct addrinfo *list = NULL;
    if (getaddrinfo("localhost", NULL, NULL, &list)) skip("this machine does not know localhost");
    freeaddrinfo(list);
    struct listeners l = {.n = 0};
    CHECK_EQ(listeners_bind(&l, "localhost:0", NULL), 0);
    CHECK_EQ(l.n, 1);
    listeners_close(&l);
}

TEST(accept_reads_v6_addresses) {
    struct listeners l = {.n = 0};
    char url[128];
    if (listeners_bind(&l, "[::1]:0", NULL)) skip("there is no IPv6 here");
    listeners_url(&l, 0, url, sizeof(url));
    CHECK_HAS(url, "http://[::1]:");
    listeners_close(&l);
}

TEST(accept_says_that_a_port_is_in_use) {
    struct listeners l = {.n = 0}, other = {.n = 0};
    struct err e = {0};
    char address[64];
    CHECK_EQ(listeners_bind(&l, "127.0.0.1:0", NULL), 0);
    snprintf(address, sizeof(address), "127.0.0.1:%d", port_of(&l, 0));
    CHECK_EQ(listeners_bind(&other, address, &e), E_IO);
    CHECK_HAS(e.text, "Address already in use");
    CHECK_EQ(other.n, 0);
    listeners_close(&l);
    CHECK_EQ(listeners_bind(&other, address, NULL), 0);
    listeners_close(&other);
}

TEST(accept_takes_inherited_sockets_that_listen) {
    struct listeners l = {.n = 0}, other = {.n = 0};
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    CHECK_EQ(listeners_adopt(&l, pair[0], 0, NULL), E_INVALID);
    CHECK_EQ(listeners_adopt(&l, 999, 0, NULL), E_INVALID);
    CHECK_EQ(listeners_bind(&other, "127.0.0.1:0", NULL), 0);
    CHECK_EQ(listeners_adopt(&l, dup(other.fd[0]), 0, NULL), 0);
    CHECK_EQ(port_of(&l, 0), port_of(&other, 0));
    for (int i = 1; i < LISTENERS_MAX; i++)
        CHECK_EQ(listeners_adopt(&l, dup(other.fd[0]), 0, NULL), 0);
    CHECK_EQ(listeners_adopt(&l, other.fd[0], 0, NULL), E_INVALID); /* one too many */
    CHECK_EQ(listeners_bind(&l, "127.0.0.1:0", NULL), E_INVALID);
    CHECK_EQ(l.n, LISTENERS_MAX);
    listeners_close(&l);
    listeners_close(&other);
}

/* Of mode 0600; taken over when nobody listens on it any more, else not; gone at the end. */
TEST(accept_has_a_socket_for_administrators) {
    struct listeners l = {.n = 0}, other = {.n = 0};
    struct err e = {0};
    struct stat s;
    char path[64], url[128];
    snprintf(path, sizeof(path), "/tmp/lammd-admin-%ld", (long)getpid());
    CHECK_EQ(listeners_bind_admin(&l, path, NULL), 0);
    CHECK(stat(path, &s) == 0 && (s.st_mode & 0777) == 0600);
    CHECK(l.is_admin[0] && listeners_is_local(&l, 0));
    listeners_url(&l, 0, url, sizeof(url));
    CHECK_HAS(url, path);
    CHECK_EQ(listeners_bind_admin(&other, path, &e), E_INVALID);
    CHECK_HAS(e.text, "another process listens on it");
    close(l.fd[0]); /* as when the process was killed: the file stays */
    CHECK_EQ(listeners_bind_admin(&other, path, NULL), 0);
    CHECK_EQ(listeners_adopt(&l, dup(other.fd[0]), 1, NULL), 0);
    listeners_close(&other);
    CHECK(stat(path, &s) != 0);
    FILE *f = fopen(path, "w");
    CHECK(f && fclose(f) == 0);
    e = (struct err){0};
    CHECK_EQ(listeners_bind_admin(&other, path, &e), E_INVALID);
    CHECK_HAS(e.text, "something else is there");
    unlink(path);
    CHECK_EQ(listeners_bind_admin(&other, "/tmp/no/such/socket", NULL), E_IO);
    CHECK_EQ(listeners_bind_admin(&other, "", NULL), E_INVALID);
    CHECK_EQ(listeners_bind(&other, "127.0.0.1:0", NULL), 0);
    CHECK_EQ(listeners_adopt(&l, dup(other.fd[0]), 1, NULL), E_INVALID); /* others could connect */
    listeners_close(&other);
}

TEST(accept_knows_what_others_can_reach) {
    static const struct {
        const char *address;
        int is_local;
    } cases[] = {{"127.0.0.1:0", 1}, {"127.0.0.2:0", 1}, {"0.0.0.0:0", 0}, {"localhost:0", 1}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct listeners l = {.n = 0};
        CHECK_EQ(listeners_bind(&l, cases[i].address, NULL), 0);
        CHECK_EQ(listeners_is_local(&l, 0), cases[i].is_local);
        listeners_close(&l);
    }
}

/* From every listener; and after the stop nothing is accepted, but the sockets still listen. */
TEST(accept_from_all_until_it_is_stopped) {
    struct listeners l = {.n = 0};
    struct http_options opt = {
        .connections = 8,
        .workers = 1,
        .limits = {UINT64_MAX / 4, UINT64_MAX / 4, UINT64_MAX / 4, UINT64_MAX / 4}};
    struct api *api;
    struct http *http;
    struct relay *relay;
    struct relay_options how = {.connections = 8, .shake_ns = UINT64_MAX / 4};
    char text[RIG_TEXT];
    log_set_level(LOG_LEVEL_ERROR);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(listeners_bind(&l, "127.0.0.1:0", NULL), 0);
    CHECK_EQ(api_new(NULL, NULL, &api, NULL), 0);
    CHECK_EQ(http_open(&opt, api, &http, NULL), 0);
    CHECK_EQ(relay_open(&how, http, &relay, NULL), 0);
    struct acceptor *a = acceptor_start(&l, relay);
    for (int i = 0; i < 6; i++) {
        int fd = rig_connect(port_of(&l, i % 3));
        rig_ask(fd, RIG_GET("/reply"), "hello", text);
        close(fd);
    }
    acceptor_stop(a);
    acceptor_stop(NULL);
    uint64_t accepted = fake_server_stats(api).connections_total;
    CHECK_EQ(accepted, 6);
    int fd = rig_connect(port_of(&l, 0)); /* the kernel's queue */
    rig_send(fd, RIG_GET("/reply"));
    CHECK_EQ(fake_server_stats(api).connections_total, accepted);
    a = acceptor_start(&l, relay);
    rig_read(fd, "hello", text);
    CHECK_HAS(text, "hello");
    acceptor_stop(a);
    close(fd);
    http_close(http);
    relay_close(relay);
    api_free(api);
    listeners_close(&l);
}
