/* test_life.c - signals, inherited sockets and messages, as systemd has them. */
#include "server/life.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "tests/check.h"

TEST(life_waits_for_signals) {
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    struct life l;
    CHECK_EQ(life_begin(&l, NULL), 0);
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
        CHECK_EQ(life_wait(&l, 0), 0);
        kill(getpid(), signals[i]); /* which would end the process */
        CHECK_EQ(life_wait(&l, 10000), signals[i]);
    }
    uint64_t start = clock_ns();
    CHECK_EQ(life_wait(&l, 50), 0);
    CHECK(clock_ns() - start >= 49 * UINT64_C(1000000));
    raise(SIGPIPE);
    CHECK_EQ(life_wait(&l, 0), 0); /* blocked, and nobody's */
    life_end(&l);
}

static int watchdog_with(const char *usec, const char *pid) {
    struct life l;
    setenv("WATCHDOG_USEC", usec, 1);
    if (pid)
        setenv("WATCHDOG_PID", pid, 1);
    else
        unsetenv("WATCHDOG_PID");
    CHECK_EQ(life_begin(&l, NULL), 0);
    life_end(&l);
    return l.watchdog_ms;
}

TEST(life_reads_the_watchdogs_time) {
    char me[24];
    snprintf(me, sizeof(me), "%ld", (long)getpid());
    CHECK_EQ(watchdog_with("3000000", NULL), 1500);
    CHECK_EQ(watchdog_with("3000000", me), 1500);
    CHECK_EQ(watchdog_with("3000000", "1"), 0); /* another process is meant */
    CHECK_EQ(watchdog_with("soon", me), 0);
    CHECK_EQ(watchdog_with("-5", me), 0);
}

/* A socket that messages come to: at a path, or (`@`) an abstract name. */
static int listen_at(const char *name) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    memcpy(at.sun_path, name, n);
    if (name[0] == '@') at.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    CHECK_EQ(
        bind(fd, (struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)),
        0);
    setenv("NOTIFY_SOCKET", name, 1);
    return fd;
}

TEST(life_tells_its_supervisor) {
    char names[2][64], text[100];
    snprintf(names[0], sizeof(names[0]), "/tmp/lammd-test-%ld", (long)getpid());
    snprintf(names[1], sizeof(names[1]), "@lammd-test-%ld", (long)getpid());
    for (int i = 0; i < 2; i++) {
        int fd = listen_at(names[i]);
        life_tell("READY=1\nSTATUS=here");
        ssize_t n = recv(fd, text, sizeof(text), MSG_DONTWAIT);
        CHECK_EQ(n, strlen("READY=1\nSTATUS=here"));
        CHECK_MEM(text, "READY=1\nSTATUS=here", n);
        close(fd);
    }
    unlink(names[0]);
    setenv("NOTIFY_SOCKET", "relative", 1);
    life_tell("nobody");
    setenv("NOTIFY_SOCKET", "/nowhere/socket", 1);
    life_tell("nobody");
    unsetenv("NOTIFY_SOCKET");
    life_tell("nobody");
}

static void set_env(const char *pid, const char *n) {
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", n, 1);
}

TEST(life_inherits_sockets) {
    struct listeners l = {.n = 0}, mine = {.n = 0}, admin = {.n = 0};
    char me[24], got[128], want[128], path[64];
    snprintf(path, sizeof(path), "/tmp/lammd-inherit-%ld", (long)getpid());
    snprintf(me, sizeof(me), "%ld", (long)getpid());
    CHECK_EQ(listeners_bind(&mine, "127.0.0.1:0", NULL), 0);
    CHECK_EQ(listeners_bind_admin(&admin, path, NULL), 0);
    int socket = fcntl(admin.fd[0], F_DUPFD, 10);
    int at[2] = {fcntl(mine.fd[0], F_DUPFD, 10), fcntl(mine.fd[0], F_DUPFD, 10)};
    listeners_url(&mine, 0, want, sizeof(want));
    for (int i = 0; i < 2; i++) /* systemd's begin at 3 */
        CHECK_EQ(dup2(at[i], 3 + i), 3 + i);
    set_env("1", "2"); /* another process's */
    CHECK_EQ(life_inherit(&l, NULL), 0);
    CHECK_EQ(l.n, 0);
    set_env(me, "2");
    CHECK_EQ(life_inherit(&l, NULL), 0);
    CHECK_EQ(l.n, 2);
    listeners_url(&l, 1, got, sizeof(got));
    CHECK_STR(got, want);
    listeners_close(&l);
    setenv("LISTEN_FDNAMES", "public:admin", 1); /* which others could connect to */
    set_env(me, "2");
    for (int i = 0; i < 2; i++)
        CHECK_EQ(dup2(at[i], 3 + i), 3 + i);
    CHECK_EQ(life_inherit(&l, NULL), E_INVALID);
    listeners_close(&l);
    CHECK_EQ(dup2(at[0], 3), 3);
    CHECK_EQ(dup2(socket, 4), 4);
    CHECK_EQ(life_inherit(&l, NULL), 0);
    CHECK(l.n == 2 && !l.is_admin[0] && l.is_admin[1]);
    listeners_close(&l);
    close(socket);
    unlink(path);
    unsetenv("LISTEN_FDNAMES");
    CHECK_EQ(dup2(at[0], 3), 3);
    set_env(me, "17");
    CHECK_EQ(life_inherit(&l, NULL), E_INVALID);
    set_env(me, "-1");
    CHECK_EQ(life_inherit(&l, NULL), E_INVALID);
    close(3);
    set_env(me, "1"); /* 3 is no socket */
    CHECK_EQ(life_inherit(&l, NULL), E_INVALID);
    CHECK_EQ(l.n, 0);
}
