/* life.h - the process and its supervisor: signals, inherited sockets, messages to systemd.
 *
 * Thread: main's. life_begin comes before any other thread is started, so that all threads inherit
 * its signal mask: SIGTERM, SIGINT and SIGHUP are read by life_wait alone, SIGPIPE and
 * SIGXFSZ are blocked.
 */
#ifndef SERVER_LIFE_H
#define SERVER_LIFE_H

#include <stdint.h>

#include "kernels/base/err.h"
#include "server/accept.h"

struct life {
    int signals;     /* a signalfd: SIGTERM, SIGINT, SIGHUP */
    int watchdog_ms; /* half of what systemd wants a sign of life in; 0: it wants none */
};

int life_begin(struct life *l, struct err *e); /* E_IO */
void life_end(struct life *l);
/* The process may open as many files as so many connections need; where it can't, *connections
 * becomes less, and the log says so. E_INVALID: it can't have even a few. */
int life_descriptors(int *connections, struct err *e);
/* Add the sockets that systemd hands over (sd_listen_fds(3)), if any. By its FileDescriptorName one
 * is told that TLS is spoken on it (`tls`), or that administrators connect to it (`admin`).
 * E_INVALID. */
int life_inherit(struct listeners *to, struct err *e);
/* Send a message such as "READY=1\nSTATUS=..." (sd_notify(3)). Without a supervisor nothing
 * happens. */
void life_tell(const char *message);
/* Wait for a signal. Its number, or 0 after timeout_ms. */
int life_wait(struct life *l, int timeout_ms);

#endif
