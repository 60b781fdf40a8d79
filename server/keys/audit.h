/* audit.h - the record of who did what, and of who was turned away: a line of JSON each.
 *
 *     {"time":"2026-01-31T12:00:00.123Z","event":"admin","key":"k3v9x0a1b2c4",
 *      "route":"POST /v1/admin/reload","result":"accepted","request":"r-17","peer":"192.0.2.7"}
 *
 * The file is only ever appended to. The line of an admin act is written before the act: what can't
 * be written is not done. What became of the act is in the log, under the request's id. Never in
 * it: a secret, or anything else that a client chose but its request's id, which is a plain word.
 * Thread: any.
 */
#ifndef SERVER_KEYS_AUDIT_H
#define SERVER_KEYS_AUDIT_H

#include "kernels/base/err.h"

struct audit;

struct audit_line {
    const char *event;         /* "admin", "refused" */
    const char *key;           /* id; "": none */
    const char *method, *path; /* of the route: its template */
    const char *result;        /* "accepted", "no_key", "bad_key", "expired_key", "scope_missing" */
    const char *request, *peer;
};

/* Makes the file when it is missing, for its owner alone. E_INVALID, E_IO; the text names it. */
int audit_open(const char *path, struct audit **out, struct err *e);
void audit_close(struct audit *a); /* NULL is legal */
/* Open the path again, as after it was renamed. On failure the file that is open stays. E_IO. */
int audit_reopen(struct audit *a, struct err *e);
/* 0; E_IO: it could not be written, and no part of it was. */
int audit_write(struct audit *a, const struct audit_line *line);

#endif
