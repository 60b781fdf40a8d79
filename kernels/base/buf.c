/* buf.c - growth by doubling up to the maximum; one NUL behind the content so that text can be read
 * as a string. Thread: its owner's. */
#include "kernels/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"

void buf_init(struct buf *b, size_t max) { *b = (struct buf){.max = max}; }

void buf_clear(struct buf *b) {
    mem_free(b->p);
    buf_init(b, b->max);
}

int buf_reserve(struct buf *b, size_t more) {
    if (b->bad) return b->bad;
    if (more > b->max - b->len) return b->bad = E_TOO_BIG;
    size_t need, most = b->max == SIZE_MAX ? SIZE_MAX : b->max + 1;
    if (!mem_add(b->len + more, 1, &need)) return b->bad = E_TOO_BIG;
    if (need <= b->cap) return 0;
    size_t cap = b->cap ? (b->cap > most / 2 ? most : b->cap * 2) : 256;
    if (cap < need) cap = need;
    if (cap > most) cap = most;
    uint8_t *p = mem_try_resize(b->p, b->len, cap);
    if (!p) return b->bad = E_NOMEM;
    b->p = p;
    b->cap = cap;
    return 0;
}

int buf_add(struct buf *b, const void *bytes, size_t n) {
    int rc = buf_reserve(b, n);
    if (rc) return rc;
    if (n) memcpy(b->p + b->len, bytes, n);
    b->len += n;
    b->p[b->len] = 0;
    return 0;
}

int buf_str(struct buf *b, const char *s) { return buf_add(b, s, strlen(s)); }
int buf_char(struct buf *b, char c) { return buf_add(b, &c, 1); }

int buf_printf(struct buf *b, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    int rc = n < 0 ? (b->bad ? b->bad : (b->bad = E_INTERNAL)) : buf_reserve(b, (size_t)n);
    if (!rc) {
        vsnprintf((char *)b->p + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
    return rc;
}

uint8_t *buf_take(struct buf *b, size_t *len) {
    uint8_t *p = b->p;
    if (len) *len = b->len;
    buf_init(b, b->max);
    return p;
}
