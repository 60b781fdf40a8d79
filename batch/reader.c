/* reader.c - see reader.h. */
#include "batch/reader.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/mem.h"

enum { FIRST_CAP = 1 << 16 };

void reader_open(struct reader *l, int fd, size_t max) {
    *l = (struct reader){.fd = fd, .max = max, .cap = FIRST_CAP, .p = mem_must(FIRST_CAP)};
}

void reader_close(struct reader *l) {
    mem_free(l->p);
    *l = (struct reader){.fd = -1};
}

/* Room behind `end`: by moving what waits to the front, or by growing. */
static void reader_make_room(struct reader *l) {
    size_t n = l->end - l->begin;
    if (n + n / 2 >= l->cap) {
        char *more = mem_must(2 * l->cap);
        memcpy(more, l->p + l->begin, n);
        mem_free(l->p);
        l->p = more;
        l->cap *= 2;
    } else {
        memmove(l->p, l->p + l->begin, n);
    }
    l->seen -= l->begin;
    l->begin = 0;
    l->end = n;
}

static void read_more(struct reader *l) {
    if (l->end == l->cap) reader_make_room(l);
    ssize_t n = read(l->fd, l->p + l->end, l->cap - l->end);
    if (n > 0) l->end += (size_t)n;
    if (n == 0) l->is_over = 1;
    if (n < 0 && errno != EINTR) l->error = errno;
}

static int reader_give(struct reader *l, size_t len, int has_end, int is_long,
                       struct reader_line *one) {
    *one = (struct reader_line){is_long ? NULL : l->p + l->begin, len, ++l->number, !has_end};
    l->begin += len + (size_t)has_end;
    l->offset += len + (size_t)has_end;
    l->seen = l->begin;
    return 1;
}

int reader_next(struct reader *l, struct reader_line *one) {
    int is_long = 0;
    while (!l->error) {
        char *stop = memchr(l->p + l->seen, '\n', l->end - l->seen);
        size_t len = (size_t)((stop ? stop : l->p + l->end) - (l->p + l->begin));
        if (stop || (l->is_over && (len || is_long)))
            return reader_give(l, len, stop != NULL, is_long || len > l->max, one);
        if (l->is_over) return 0;
        if (len > l->max) { /* what was read of it is thrown away */
            is_long = 1;
            l->offset += len;
            l->begin = l->end;
        }
        l->seen = l->end;
        read_more(l);
    }
    return 0;
}
