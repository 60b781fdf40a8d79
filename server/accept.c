/* accept.c - see accept.h.
 *
 * libmicrohttpd could accept by itself. Ours answers 503 when there are too many connections,
 * listens on several addresses, and stops without a race with libmicrohttpd's thread.
 */
#include "server/accept.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "server/http/peer.h"

enum { BACKLOG = 511, BURST = 64, PAUSE_MS = 100, PORT_MAX = 65535 };

struct acceptor {
    struct relay *relay;
    const struct listeners *listeners;
    struct pollfd polls[LISTENERS_MAX + 1]; /* the last: stop */
    int n;
    pthread_t thread;
};

/* ---- listening ---- */

/* "host:port" or "[v6]:port" -> its two halves. */
static int accept_split(const char *address, char host[256], char port[6], struct err *e) {
    const char *colon = strrchr(address, ':');
    size_t n = colon ? (size_t)(colon - address) : 0;
    size_t digits = colon ? strlen(colon + 1) : 0;
    int is_v6 = n >= 2 && address[0] == '[' && address[n - 1] == ']';
    if (is_v6) {
        address++;
        n -= 2;
    }
    if (n == 0 || n > 255 || digits < 1 || digits > 5 ||
        strspn(colon + 1, "0123456789") != digits || strtol(colon + 1, NULL, 10) > PORT_MAX)
        return err_set(e, E_INVALID, "--listen takes ADDRESS:PORT, such as 127.0.0.1:8080");
    snprintf(host, 256, "%.*s", (int)n, address);
    snprintf(port, 6, "%s", colon + 1);
    return 0;
}

static int bind_to(const struct addrinfo *at) {
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (at->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

int listeners_bind(struct listeners *l, const char *address, struct err *e) {
    char host[256], port[6];
    if (l->n == LISTENERS_MAX)
        return err_set(e, E_INVALID, "too many addresses to listen on: at most %d", LISTENERS_MAX);
    if (accept_split(address, host, port, e)) return e->code;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host, port, &hints, &list);
    if (rc) return err_set(e, E_INVALID, "listen on %s: %s", address, gai_strerror(rc));
    int fd = -1;
    for (const struct addrinfo *at = list; at && fd < 0; at = at->ai_next)
        fd = bind_to(at);
    int why = errno;
    freeaddrinfo(list);
    if (fd < 0)
        return err_set(e, E_IO, "listen on %s: %s%s", address, strerror(why),
                       why == EADDRINUSE ? "; is another lammd running? --listen takes another port"
                                         : "");
    l->fd[l->n++] = fd;
    return 0;
}

static int is_unix(int fd) {
    struct sockaddr_storage at = {0};
    socklen_t len = sizeof(at);
    return getsockname(fd, (struct sockaddr *)&at, &len) == 0 && at.ss_family == AF_UNIX;
}

int listeners_adopt(struct listeners *l, int fd, int is_admin, struct err *e) {
    int is_listening = 0;
    socklen_t len = sizeof(is_listening);
    if (l->n == LISTENERS_MAX || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) ||
        !is_listening)
        return err_set(e, E_INVALID,
                       "descriptor %d, which was inherited, is not a listening socket", fd);
    if (is_admin && !is_unix(fd))
        return err_set(e, E_INVALID, "the socket for administrators must be a unix socket");
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    l->is_admin[l->n] = is_admin;
    l->is_shared[l->n] = 1;
    l->fd[l->n++] = fd;
    return 0;
}

/* Is somebody listening there? */
static int is_answered(const struct sockaddr_un *at) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = fd < 0 ? -1 : connect(fd, (const struct sockaddr *)at, sizeof(*at));
    int is_gone = rc < 0 && (errno == ECONNREFUSED || errno == ENOENT);
    if (fd >= 0) close(fd);
    return !is_gone;
}

int listeners_bind_admin(struct listeners *l, const char *path, struct err *e) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (l->n == LISTENERS_MAX || !*path || strlen(path) >= sizeof(at.sun_path))
        return err_set(e, E_INVALID, "--admin-socket takes a path of at most %zu bytes",
                       sizeof(at.sun_path) - 1);
    memcpy(at.sun_path, path, strlen(path));
    struct stat s;
    if (lstat(path, &s) == 0 && (!S_ISSOCK(s.st_mode) || is_answered(&at)))
        return err_set(e, E_INVALID, "admin socket %s: %s", path,
                       S_ISSOCK(s.st_mode) ? "another process listens on it"
                                           : "something else is there");
    (void)unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t before = umask(0177);
    int rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&at, sizeof(at));
    (void)umask(before);
    if (rc || listen(fd, BACKLOG)) {
        rc = err_set(e, E_IO, "admin socket %s: %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return rc;
    }
    l->path = path;
    l->is_admin[l->n] = 1;
    l->fd[l->n++] = fd;
    return 0;
}

int listeners_is_local(const struct listeners *l, int i) {
    struct sockaddr_storage at = {0};
    socklen_t len = sizeof(at);
    if (getsockname(l->fd[i], (struct sockaddr *)&at, &len)) return 0;
    struct peer p = peer_of((struct sockaddr *)&at);
    return peer_is_loopback(&p);
}

void listeners_url(const struct listeners *l, int i, char *out, size_t size) {
    struct sockaddr_storage at = {0};
    socklen_t len = sizeof(at);
    char host[INET6_ADDRSTRLEN] = "", port[8] = "";
    if (is_unix(l->fd[i])) {
        snprintf(out, size, "unix:%s", l->is_admin[i] && l->path ? l->path : "(inherited)");
        return;
    }
    if (getsockname(l->fd[i], (struct sockaddr *)&at, &len) ||
        getnameinfo((struct sockaddr *)&at, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV))
        snprintf(out, size, "(a socket)");
    else
        snprintf(out, size, at.ss_family == AF_INET6 ? "http%s://[%s]:%s" : "http%s://%s:%s",
                 l->is_tls[i] ? "s" : "", host, port);
}

void listeners_close(struct listeners *l) {
    for (int i = 0; i < l->n; i++)
        close(l->fd[i]);
    if (l->path) (void)unlink(l->path);
    l->path = NULL;
    l->n = 0;
}

/* ---- accepting ---- */

/* libmicrohttpd is told which kind of socket it was, in place of the client's address: most have
 * none. */
static void hand_over(struct acceptor *a, int fd, struct sockaddr_storage *from, socklen_t len,
                      int i) {
    int one = 1, is_tls = a->listeners->is_tls[i];
    if (from->ss_family == AF_UNIX || len == 0) {
        struct sockaddr_un mark = peer_unix(a->listeners->is_admin[i] ? PEER_ADMIN : PEER_UNIX);
        relay_add(a->relay, fd, (struct sockaddr *)&mark, sizeof(mark), is_tls);
    } else {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        relay_add(a->relay, fd, (struct sockaddr *)from, len, is_tls);
    }
}

/* 0; -1: the process or the machine has no descriptor left, so wait a little. */
static int accept_some(struct acceptor *a, int i) {
    int listener = a->listeners->fd[i];
    for (int k = 0; k < BURST; k++) {
        struct sockaddr_storage from = {0};
        socklen_t len = sizeof(from);
        int fd = accept4(listener, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            log_event(LOG_LEVEL_WARN, "accept", "%s", strerror(errno));
            return -1;
        }
        if (fd < 0 && errno == EAGAIN) return 0;
        if (fd < 0) continue; /* that client is gone already */
        hand_over(a, fd, &from, len, i);
    }
    return 0;
}

/* As many as may wait, so that it ends while others come. */
static void accept_rest(struct acceptor *a, int i) {
    for (int left = BACKLOG; left > 0; left -= BURST)
        if (accept_some(a, i)) return;
}

static void *accept_run(void *ud) {
    struct acceptor *a = ud;
    for (;;) {
        if (poll(a->polls, (nfds_t)a->n + 1, -1) < 0) continue;
        if (a->polls[a->n].revents) return NULL;
        int is_short = 0;
        for (int i = 0; i < a->n; i++) {
            if (a->polls[i].revents) is_short |= accept_some(a, i);
        }
        if (is_short && poll(&a->polls[a->n], 1, PAUSE_MS) > 0) return NULL;
    }
}

struct acceptor *acceptor_start(const struct listeners *l, struct relay *r) {
    struct acceptor *a = mem_must(sizeof(*a));
    a->relay = r;
    a->listeners = l;
    a->n = l->n;
    for (int i = 0; i < l->n; i++)
        a->polls[i] = (struct pollfd){.fd = l->fd[i], .events = POLLIN};
    int stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    must(stop >= 0);
    a->polls[a->n] = (struct pollfd){.fd = stop, .events = POLLIN};
    must(pthread_create(&a->thread, NULL, accept_run, a) == 0);
    return a;
}

void acceptor_stop(struct acceptor *a) {
    if (!a) return;
    int stop = a->polls[a->n].fd;
    uint64_t one = 1;
    must(write(stop, &one, sizeof(one)) == sizeof(one));
    pthread_join(a->thread, NULL);
    for (int i = 0; i < a->n; i++)
        if (!a->listeners->is_shared[i]) accept_rest(a, i);
    close(stop);
    mem_free(a);
}
