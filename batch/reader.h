/* reader.h - a file line by line, each with a bound, however long the file is.
 *
 *     reader_open(&l, fd, max);
 *     while (reader_next(&l, &one)) ...          // one.text NULL: the line is longer than `max`
 *     if (l.error) ...                          // errno of a read that failed
 *     reader_close(&l);
 *
 * Thread: its owner's.
 */
#ifndef BATCH_READER_H
#define BATCH_READER_H

#include <stddef.h>
#include <stdint.h>

struct reader {
    int fd; /* its owner's, who closes it */
    size_t max;
    char *p;
    size_t cap, begin, end, seen; /* bytes begin .. end wait; up to `seen` there is no line end */
    uint64_t number, offset;      /* of the lines that were given: how many, bytes */
    int is_over, error;
};

struct reader_line {
    const char *text; /* without its end; until the next call. NULL: too long */
    size_t len;
    uint64_t number; /* from 1 on */
    int is_torn;     /* the file ends before the line does */
};

void reader_open(struct reader *l, int fd, size_t max);     /* reads from where fd stands */
int reader_next(struct reader *l, struct reader_line *one); /* 0: there is no more, or l->error */
void reader_close(struct reader *l);

#endif
