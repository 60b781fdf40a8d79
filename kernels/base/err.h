/* err.h - how every room of lammd reports failure.
 *
 * A function that can fail returns 0 or one of the negative codes below and, where the caller
 * passed one, fills a `struct err`. The first error wins: a filled struct is never overwritten, so
 * clean-up code may report too. Nothing here allocates. Outputs are untouched on failure.
 *
 *     int rc = model_open(dir, ops, k, &m, &e);
 *     if (rc) return err_in(&e, "model %s", dir);   // "model /x: tensor lm_head.weight: missing"
 *
 * Texts may name files and sizes; they go to the log. What a client may read is made by
 * api/problem.c from the code alone or from a text that the api room wrote itself.
 */
#ifndef KERNELS_BASE_ERR_H
#define KERNELS_BASE_ERR_H

#ifdef __cplusplus
extern "C" {
#endif

enum status {
    E_INVALID = -1,     /* the caller's data can't be right */
    E_TOO_BIG = -2,     /* over a stated limit */
    E_NOT_FOUND = -3,   /* no such thing */
    E_BUSY = -4,        /* full at present; the same call may succeed later */
    E_CANCELLED = -5,   /* somebody asked us to stop */
    E_TIMEOUT = -6,     /* a deadline passed */
    E_NOMEM = -7,       /* memory for a size that a client chose */
    E_IO = -8,          /* the operating system said no */
    E_FORMAT = -9,      /* bytes are not what their format allows */
    E_DEVICE = -10,     /* the compute device is lost */
    E_INTERNAL = -11,   /* our bug, survived */
    E_UNSUPPORTED = -12 /* legal, but we don't do it */
};

struct err {
    int code;       /* 0 until the first error */
    char text[240]; /* one line, no newline, truncated with "..." when too long */
};

/* Record `code` and the formatted text unless `e` is NULL or already filled. Returns `code`. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Put "context: " in front of a recorded error. Returns the recorded code (0 when none). */
int err_in(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A fixed word for a code: "invalid", "too_big", ...; "ok" for 0. Never NULL. */
const char *err_word(int code);

/* Our own bugs: stays on in release, prints file:line and aborts. Never for input. */
#define must(cond) ((cond) ? (void)0 : err_must_failed(#cond, __FILE__, __LINE__))
#if defined(__GNUC__)
__attribute__((noreturn))
#endif
void err_must_failed(const char *cond, const char *file, int line);

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#ifdef __cplusplus
}
#endif
#endif
