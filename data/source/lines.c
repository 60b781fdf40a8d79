/* lines.c - the lines of a file, in order, each of at most SOURCE_LINE_MAX bytes: see internal.h.
 * */
#include <string.h>

#include "data/source/internal.h"

enum { PIECE = 256 << 10 };

void lines_begin(struct lines *r, const struct source *s, uint32_t file) {
    *r = (struct lines){.s = s, .f = &s->files[file]};
    buf_init(&r->window, SOURCE_LINE_MAX + 2 * PIECE);
}

void lines_end(struct lines *r) { buf_clear(&r->window); }

/* More of the file into the window; the used part goes. 1: there was more; 0: that was all. */
static int lines_fill(struct lines *r, struct err *e) {
    struct buf *b = &r->window;
    if (b->p) memmove(b->p, b->p + r->used, b->len - r->used);
    b->len -= r->used;
    r->at += r->used;
    r->used = 0;
    uint64_t size = r->f->is_made ? r->f->made.len : r->f->file.size, from = r->at + b->len;
    size_t n = size - from < PIECE ? (size_t)(size - from) : PIECE;
    if (n == 0) return 0;
    if (buf_reserve(b, n)) return err_set(e, E_NOMEM, "no memory for lines");
    int rc = 0;
    if (r->f->is_made)
        memcpy(b->p + b->len, r->f->made.p + from, n);
    else
        rc = store_read(r->s->store, &r->f->file, from, b->p + b->len, n, e);
    if (rc) return rc;
    b->len += n;
    b->p[b->len] = 0;
    return 1;
}

int lines_next(struct lines *r, const char **text, size_t *len, uint64_t *at, struct err *e) {
    struct buf *b = &r->window;
    size_t seen = r->used; /* no line break before it */
    r->is_long = 0;
    r->number++;
    for (;;) {
        uint8_t *stop = b->len > seen ? memchr(b->p + seen, '\n', b->len - seen) : NULL;
        seen = b->len;
        if (!stop && b->len - r->used > SOURCE_LINE_MAX) { /* keep none of it */
            r->is_long = 1;
            r->used = b->len;
        }
        int more = 0;
        if (!stop) {
            seen -= r->used;
            more = lines_fill(r, e);
            if (more < 0) return more;
            if (more) continue;
            if (b->len == 0 && !r->is_long) return 0;
        }
        size_t n = (stop ? (size_t)(stop - b->p) : b->len) - r->used;
        if (n > SOURCE_LINE_MAX) r->is_long = 1;
        *text = (const char *)b->p + r->used;
        *at = r->at + r->used;
        *len = r->is_long ? 0 : n;
        r->used += n + (stop ? 1 : 0);
        if (stop) *stop = '\0';
        if (!r->is_long && strspn(*text, " \t\r") == n) { /* an empty line */
            if (!stop) return 0;
            r->number++;
            seen = r->used;
            continue;
        }
        return 1;
    }
}
