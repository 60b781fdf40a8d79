/* life.c - see life.h. The notify protocol is one datagram: no library is needed for it. A
 * supervisor that does not read misses messages; nobody waits for it. */
#include "server/life.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "kernels/base/log.h"

enum {
    FIRST_INHERITED = 3,
    FILES_BESIDE = 64 /* listeners, epoll, model, plugins */,
    FILES_EACH = 3 /* a connection and its relay */
};

static long number_of(const char *text) {
    char *end;
    long v = text ? strtol(text, &end, 10) : 0;
    return text && end != text && *end == '\0' ? v : 0;
}

int life_begin(struct life *l, struct err *e) {
    sigset_t mine, pipe;
    sigemptyset(&mine);
    sigaddset(&mine, SIGTERM);
    sigaddset(&mine, SIGINT);
    sigaddset(&mine, SIGHUP);
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE); /* writing to a client that left gives an error, not the end */
    sigaddset(&pipe, SIGXFSZ); /* and so does a file past its limit */
    sigprocmask(SIG_BLOCK, &mine, NULL);
    sigprocmask(SIG_BLOCK, &pipe, NULL);
    l->signals = signalfd(-1, &mine, SFD_CLOEXEC | SFD_NONBLOCK);
    if (l->signals < 0) return err_set(e, E_IO, "signalfd: %s", strerror(errno));
    long pid = number_of(getenv("WATCHDOG_PID"));
    long usec = pid == 0 || pid == (long)getpid() ? number_of(getenv("WATCHDOG_USEC")) : 0;
    l->watchdog_ms = usec > 0 ? (int)(usec / 2000) : 0;
    return 0;
}

void life_end(struct life *l) { close(l->signals); }

/* Is the i-th of the names, which have colons between them, `name`? */
static int life_is_named(const char *names, int i, const char *name) {
    for (; names && i > 0; i--) {
        names = strchr(names, ':');
        if (names) names++;
    }
    size_t n = strlen(name);
    return names && strncmp(names, name, n) == 0 && (names[n] == ':' || names[n] == '\0');
}

int life_descriptors(int *connections, struct err *e) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r)) return 0;
    rlim_t want = (rlim_t)*connections * FILES_EACH + FILES_BESIDE;
    if (r.rlim_cur < want && r.rlim_max > r.rlim_cur) {
        struct rlimit more = {r.rlim_max < want ? r.rlim_max : want, r.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &more) == 0) r = more;
    }
    if (r.rlim_cur >= want) return 0;
    if (r.rlim_cur < FILES_BESIDE + FILES_EACH)
        return err_set(e, E_INVALID,
                       "this process may open %llu files, and needs %d besides those of its "
                       "connections: raise the limit with ulimit -n, or LimitNOFILE= in its unit",
                       (unsigned long long)r.rlim_cur, FILES_BESIDE);
    *connections = (int)((r.rlim_cur - FILES_BESIDE) / FILES_EACH);
    log_event(LOG_LEVEL_WARN, "files", "of %llu files, %d are left for connections",
              (unsigned long long)r.rlim_cur, *connections);
    return 0;
}

int life_inherit(struct listeners *to, struct err *e) {
    if (number_of(getenv("LISTEN_PID")) != (long)getpid()) return 0;
    long n = number_of(getenv("LISTEN_FDS"));
    if (n < 0 || n > LISTENERS_MAX)
        return err_set(e, E_INVALID, "LISTEN_FDS must be from 0 to %d", LISTENERS_MAX);
    const char *names = getenv("LISTEN_FDNAMES");
    for (int i = 0; i < n; i++) {
        int rc = listeners_adopt(to, FIRST_INHERITED + i, life_is_named(names, i, "admin"), e);
        if (rc) return rc;
        to->is_tls[to->n - 1] = life_is_named(names, i, "tls");
    }
    return 0;
}

void life_tell(const char *message) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = path ? strlen(path) : 0;
    if (n < 2 || n >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@')) return;
    memcpy(to.sun_path, path, n);
    if (path[0] == '@') to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    (void)sendto(fd, message, strlen(message), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&to,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    close(fd);
}

int life_wait(struct life *l, int timeout_ms) {
    struct pollfd p = {.fd = l->signals, .events = POLLIN};
    struct signalfd_siginfo info;
    if (poll(&p, 1, timeout_ms) <= 0) return 0;
    return read(l->signals, &info, sizeof(info)) == sizeof(info) ? (int)info.ssi_signo : 0;
}
