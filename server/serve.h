/* serve.h - the door to the server: a model, its API and its sockets, from start to stop.
 *
 *     struct serve_options o = {.engine = ..., .api = ..., .http = ..., .drain_s = 60};
 *     status = serve(&o, &e);      // returns when a signal has stopped it
 *
 * Thread: main's, before any other thread has been started.
 */
#ifndef SERVER_SERVE_H
#define SERVER_SERVE_H

#include "api/api.h"
#include "jobs/jobs.h"
#include "server/http/http.h"
#include "server/relay/tls.h"

struct serve_options {
    const char *const *listen; /* (n_listen) ADDR:PORT; none: 127.0.0.1:8080. Not read when systemd
                                  hands sockets over */
    int n_listen;
    const char *const *listen_tls; /* (n_listen_tls) the same, with TLS */
    int n_listen_tls;
    struct tls_options tls; /* its files; no certificate: no TLS */
    struct eng_options engine;
    struct api_options api;
    struct http_options http;
    const char
        *admin_socket; /* path of a unix socket whose clients may do everything; NULL: none */
    const char *keys;  /* file of keys; NULL: whoever can connect may ask */
    const char *audit; /* file that records acts and refusals; NULL: none is kept */
    const char *state; /* folder for files, jobs and adapters, made where it is missing; NULL: none
                          are kept */
    uint64_t state_free;      /* bytes of its disk that files leave */
    struct jobs_options jobs; /* its `dir` is `state`; done, ud are not read */
    int is_insecure;          /* without keys, listen to others than this machine all the same */
    unsigned delay_s;         /* after SIGTERM that new requests are taken all the same */
    unsigned drain_s;         /* that running requests have after that */
};

/* Prints `listening on URL` for each socket once requests are answered. Returns the exit status of
 * the process: 0 after SIGTERM or SIGINT, 1 after a lost device. If it could not start, it returns
 * a negative status code and sets `e`. Borrows the options. */
int serve(const struct serve_options *o, struct err *e);

#endif
