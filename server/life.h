/* life.h - the process and its supervisor: signals, inherited sockets, messages to systemd.
 *
 * Thread: main's. life_begin comes before any other thread, so that all of them inherit the mask.
 */
#ifndef SERVER_LIFE_H
#define SERVER_LIFE_H

#include <stdint.h>

#include "kernels/base/err.h"
#include "server/http/accept.h"

struct life {
    int signals;     /* a signalfd: SIGTERM, SIGINT, SIGHUP */
    int watchdog_ms; /* 0: none asked for */
};

int life_begin(struct life *l, struct err *e);
void life_end(struct life *l);
/* Sockets handed over by systemd (sd_listen_fds(3)); none is no error. */
int life_inherit(struct listeners *to, struct err *e);
/* One message, e.g. "READY=1\nSTATUS=..."; nothing happens without a supervisor (sd_notify(3)). */
void life_tell(const char *message);
/* Wait for a signal: its number, or 0 after timeout_ms. */
int life_wait(struct life *l, int timeout_ms);

#endif
