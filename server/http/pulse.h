/* pulse.h - does the HTTP loop turn? One question after another over a connection of the server's
 * own, which is in the table of connections but counted nowhere.
 *
 * Thread: main's.
 */
#ifndef SERVER_HTTP_PULSE_H
#define SERVER_HTTP_PULSE_H

#include <stdint.h>

struct http;

struct pulse {
    int fd; /* our end; -1: none now */
    int is_waiting;
    uint64_t asked_ns;
};

void pulse_init(struct pulse *p);
void pulse_clear(struct pulse *p);
/* Read the answer to the last question, and ask the next one. For how long (ns) an answer has been
 * missing; 0: none is. */
uint64_t pulse_ask(struct pulse *p, struct http *h);

#endif
