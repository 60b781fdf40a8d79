/* pulse.c - see pulse.h. While the server drains, each answer is the last of its connection: then
 * the next question has a connection of its own. Without a descriptor or memory for one nothing is
 * asked, and the loop is taken to turn. */
#include "server/http/pulse.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "server/http/http.h"

static const char question[] = "HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

void pulse_init(struct pulse *p) { *p = (struct pulse){.fd = -1}; }

void pulse_clear(struct pulse *p) {
    if (p->fd >= 0) close(p->fd);
    pulse_init(p);
}

static void pulse_open(struct pulse *p, struct http *h) {
    int fd[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd)) return;
    p->fd = fd[0];
    http_add_own(h, fd[1]);
}

/* The answer is a few hundred bytes, so it is there whole or not at all. */
static void pulse_read(struct pulse *p) {
    char bytes[4096];
    ssize_t n = p->fd >= 0 ? recv(p->fd, bytes, sizeof(bytes), MSG_DONTWAIT) : -1;
    if (n >= 0) p->is_waiting = 0;
    if (n == 0) pulse_clear(p);
}

uint64_t pulse_ask(struct pulse *p, struct http *h) {
    pulse_read(p);
    if (!p->is_waiting) {
        pulse_read(p); /* it may be closed by now */
        if (p->fd < 0) pulse_open(p, h);
        ssize_t n = p->fd >= 0 ? send(p->fd, question, strlen(question), MSG_NOSIGNAL) : -1;
        p->is_waiting = n > 0;
        p->asked_ns = clock_ns();
        return 0;
    }
    return clock_ns() - p->asked_ns;
}
