/* err.c - recording an error without allocating. Owns nothing; every call works on the caller's
 * struct. Thread: any. */
#include "kernels/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The text is too long: dots end it, and no character of UTF-8 is cut. */
static void err_cut(char *text, size_t size) {
    size_t at = size - 4;
    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
        at--;
    memcpy(text + at, "...", 4);
}

int err_set(struct err *e, int code, const char *fmt, ...) {
    if (e && e->code == 0) {
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(e->text, sizeof e->text, fmt, ap);
        va_end(ap);
        if (n < 0) e->text[0] = '\0';
        if (n >= (int)sizeof e->text) err_cut(e->text, sizeof e->text);
        e->code = code;
    }
    return code;
}

int err_in(struct err *e, const char *fmt, ...) {
    if (!e || e->code == 0) return 0;
    char joined[2 * sizeof e->text];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(joined, sizeof e->text, fmt, ap);
    va_end(ap);
    if (n < 0) return e->code;
    size_t at = (size_t)n < sizeof e->text ? (size_t)n : sizeof e->text - 1;
    snprintf(joined + at, sizeof joined - at, ": %s", e->text);
    if (strlen(joined) >= sizeof e->text) err_cut(joined, sizeof e->text);
    memcpy(e->text, joined, strlen(joined) + 1);
    return e->code;
}

const char *err_word(int code) {
    switch (code) {
    case 0: return "ok";
    case E_INVALID: return "invalid";
    case E_TOO_BIG: return "too_big";
    case E_NOT_FOUND: return "not_found";
    case E_BUSY: return "busy";
    case E_CANCELLED: return "cancelled";
    case E_TIMEOUT: return "timeout";
    case E_NOMEM: return "no_memory";
    case E_IO: return "io";
    case E_FORMAT: return "format";
    case E_DEVICE: return "device";
    case E_UNSUPPORTED: return "unsupported";
    default: return "internal";
    }
}

void err_must_failed(const char *cond, const char *file, int line) {
    fprintf(stderr, "%s:%d: must(%s) failed\n", file, line, cond);
    abort();
}
