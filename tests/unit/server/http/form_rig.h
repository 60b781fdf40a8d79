/* form_rig.h - a multipart body goes through libmicrohttpd into server/http/form.c, without a
 * network: one end of a socket pair is given to a loop that runs when we say so. For the unit tests
 * and the fuzz target.
 */
#ifndef TESTS_UNIT_SERVER_HTTP_FORM_RIG_H
#define TESTS_UNIT_SERVER_HTTP_FORM_RIG_H

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/http/form.h"

struct form_rig {
    size_t max, piece; /* of the form; bytes fed at once */
    struct form *form;
    const struct api_field *fields;
    size_t n_fields;
    int rc, is_begun, is_whole, is_over;
};

static enum MHD_Result form_rig_request(void *ud, struct MHD_Connection *conn, const char *url,
                                        const char *method, const char *version, const char *bytes,
                                        size_t *n, void **context) {
    (void)url, (void)method, (void)version, (void)context;
    struct form_rig *r = (struct form_rig *)ud;
    if (!r->is_begun) {
        r->is_begun = 1;
        r->form = form_new(conn, r->max);
        return MHD_YES;
    }
    if (*n) {
        for (size_t at = 0; r->form && r->rc == 0 && at < *n; at += r->piece)
            r->rc = form_feed(r->form, bytes + at, *n - at < r->piece ? *n - at : r->piece);
        *n = 0;
        return MHD_YES;
    }
    r->rc = r->form ? form_end(r->form, &r->fields, &r->n_fields) : E_FORMAT;
    r->is_whole = 1;
    return MHD_NO;
}

static void form_rig_over(void *ud, struct MHD_Connection *conn, void **context,
                          enum MHD_RequestTerminationCode code) {
    (void)conn, (void)context, (void)code;
    ((struct form_rig *)ud)->is_over = 1;
}

/* Feed `body` in pieces; afterwards r->rc and r->fields tell. form_free(r->form) by the caller. */
static void form_rig_run(struct form_rig *r, const char *type, const void *body, size_t len) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair)) abort();
    struct MHD_Daemon *d = MHD_start_daemon(
        MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL, form_rig_request, r, MHD_OPTION_NOTIFY_COMPLETED,
        form_rig_over, r, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)65536, MHD_OPTION_END);
    struct sockaddr at = {.sa_family = AF_UNIX};
    if (!d || MHD_add_connection(d, pair[1], &at, sizeof(at)) != MHD_YES) abort();
    char head[512];
    int n = snprintf(
        head, sizeof(head),
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", type, len);
    if (send(pair[0], head, (size_t)n, MSG_NOSIGNAL) != n) abort();
    const char *from = body;
    for (int turn = 0; !r->is_over && turn < 100000; turn++) {
        ssize_t sent = len ? send(pair[0], from, len, MSG_NOSIGNAL) : 0;
        if (sent > 0) {
            from += sent;
            len -= (size_t)sent;
        }
        MHD_run(d);
    }
    MHD_stop_daemon(d);
    close(pair[0]);
}

#endif
