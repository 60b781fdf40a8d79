/* serve.h - the door to the server: a model, its API and its sockets, from start to stop.
 *
 *     struct serve_options o = {.engine = ..., .api = ..., .http = ..., .drain_s = 60};
 *     status = serve(&o, &e);      // returns when a signal has ended it
 *
 * Thread: main's, before any other thread has been started.
 */
#ifndef SERVER_SERVE_H
#define SERVER_SERVE_H

#include "api/api.h"
#include "server/http/http.h"

struct serve_options {
    const char *const *listen; /* (n_listen) ADDR:PORT; none: 127.0.0.1:8080. Sockets that systemd
                                  hands over are taken instead */
    int n_listen;
    struct eng_options engine;
    struct api_options api;
    struct http_options http;
    unsigned drain_s; /* for running requests after SIGTERM */
    int is_verbose;
};

/* Prints `listening on URL` for each socket when requests are answered. Returns the process's exit
 * status: 0 after SIGTERM or SIGINT, 1 after a lost device; or, when it could not start, a negative
 * status code with its text in `e`. Borrows the options. */
int serve(const struct serve_options *o, struct err *e);

#endif
