/* http_client.h - ask a lammd server: HTTP/1.1 over TCP or a unix socket, one connection a request.
 *
 *     struct http_client c;
 *     rc = http_client_open(&c, url, socket, key_file, &e);      // nothing is connected yet
 *     struct http_request q = {.method = "GET", .path = "/v1/models"};
 *     rc = http_client_ask(&c, &q, &r, &e);
 *     if (rc == 0 && r.status == 200) ... r.body.p, r.body.len ...
 *     http_client_drop(&r);
 *
 * Strict: a head of 16 KiB at most, one Content-Length or chunks, no folded lines; a body that is
 * cut short is an error. There is no TLS: a key that goes to another machine goes unencrypted, and
 * a warning on standard error says so. Thread: its owner's.
 */
#ifndef CLI_HTTP_CLIENT_H
#define CLI_HTTP_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

enum { HTTP_CLIENT_KEY_MAX = 200, HTTP_CLIENT_BODY_MAX = 16 << 20 };

struct http_client {
    char host[256], port[6];           /* of TCP */
    char socket[104];                  /* of a unix socket; "": TCP */
    char key[HTTP_CLIENT_KEY_MAX + 1]; /* "": none is shown */
    unsigned wait_s;                   /* for each next byte; 0: for ever. 60 when opened */
};

/* `url`: http://HOST[:PORT], NULL: http://127.0.0.1:8080. `socket` not NULL: by that instead, and
 * no key is needed. `key_file`: its first line is the key; NULL: the variable LAMMD_KEY, if it is
 * set. E_INVALID, E_UNSUPPORTED (https), E_NOT_FOUND, E_IO; the text is for the user. */
int http_client_open(struct http_client *c, const char *url, const char *socket,
                     const char *key_file, struct err *e);

struct http_request {
    const char *method, *path; /* the path as it goes on the wire, query included */
    const char *type;          /* of the body; NULL: there is none */
    const char *accept;        /* NULL: application/json */
    const char *header;        /* one more, "Last-Event-ID: 7"; NULL: none */
    const void *body;
    size_t len;
    /* A file in the middle of the body, such as a part of a form: body, file, tail. */
    const char *file; /* its path; NULL: none */
    const void *tail;
    size_t tail_len;
    /* Gets the body of a 2xx piece by piece instead of reply.body. Not 0: enough, and
     * http_client_ask returns 0. NULL: it is gathered, HTTP_CLIENT_BODY_MAX at most. */
    int (*take)(void *ud, const void *bytes, size_t n);
    void *ud;
};

struct http_reply {
    int status;
    char type[80]; /* Content-Type without parameters, in small letters; "": none */
    char location[200];
    unsigned retry_s; /* Retry-After; 0: none */
    struct buf body;  /* followed by a NUL that is not counted, once there is a byte */
};

/* Whatever the server answers is 0, also 404. E_IO: no connection, or it broke; E_TIMEOUT;
 * E_FORMAT: it is no HTTP; E_TOO_BIG; E_NOT_FOUND: `file`. http_client_drop in any case. */
int http_client_ask(const struct http_client *c, const struct http_request *q, struct http_reply *r,
                    struct err *e);
void http_client_drop(struct http_reply *r);

/* The segment of a path that stands for `text`, which may be any name: %XX where needed. */
void http_client_segment(struct buf *out, const char *text);
/* Not 2xx: `e` gets what the server said, problem's detail and code, and E_INVALID is returned.
 * 2xx: 0. */
int http_client_check(const struct http_reply *r, struct err *e);

#endif
