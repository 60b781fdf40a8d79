/* problem.h - what went wrong, as a client may read it.
 *
 * A `struct problem` is filled by whoever finds the fault, first one wins, like struct err. Its
 * text is written by this room alone: it may quote a few characters of what the client sent, never
 * a path, an address or a library. problem.c holds the one table from code to word and HTTP status.
 */
#ifndef API_WIRE_PROBLEM_H
#define API_WIRE_PROBLEM_H

#include "api/api.h"
#include "kernels/base/buf.h"
#include "kernels/base/err.h"

struct problem_row {
    const char *code;   /* word for programs: "queue_full" */
    int status;         /* of HTTP */
    const char *type;   /* OpenAI's error type */
    const char *title;  /* for people, the same each time */
    const char *detail; /* for people when nobody knows better: what to do */
};

struct problem {
    enum problem_code code; /* PROBLEM_NONE until the first fault */
    char param[40];         /* field at fault, "" when it is the whole request */
    char pointer[80];       /* RFC 6901 pointer into the JSON body, or "" */
    char detail[280];       /* "" : the row's */
    const char *more;       /* further members of the JSON, "\"gate\":{...}"; NULL: none */
};

const struct problem_row *problem_row(enum problem_code code); /* not of PROBLEM_NONE */

/* Record a fault unless there is one already. `param` NULL: the whole request; `fmt` NULL: the
 * row's own text. Returns -1, for `return problem_set(...)`. */
int problem_set(struct problem *p, enum problem_code code, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Where in the JSON body the fault is: `pointer`. Returns -1. */
int problem_point(struct problem *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The engine's and the decoder's codes. E_INVALID and other codes that say "we asked wrongly" are
 * our bug here, and become internal_error. */
enum problem_code problem_code_of(int status);
/* What a client reads: the detail, or the row's. There is a problem. */
const char *problem_text(const struct problem *p);

/* application/problem+json with the OpenAI error object inside. E_NOMEM, E_TOO_BIG. */
int problem_write(const struct problem *p, const char *request_id, struct buf *out);

#endif
