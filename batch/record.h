/* record.h - the file of answers, which is also the memory of a batch: what stands in it is done.
 *
 * A line for each question, written whole and at the end, in OpenAI's shape and with what answered:
 *
 *     {"id": "line-7", "custom_id": "a", "fingerprint": "fp_0123456789ab",
 *      "response": {"status_code": 200, "request_id": "line-7", "body": {...}}, "error": null}
 *
 * Whatever ends the program, the file has whole lines, and perhaps a piece of one at its end, which
 * is cut off when the batch goes on. One program at a time writes it: it holds a lock.
 * Thread: its owner's.
 */
#ifndef BATCH_RECORD_H
#define BATCH_RECORD_H

#include "batch/idset.h"
#include "kernels/base/buf.h"
#include "kernels/base/err.h"

enum { RECORD_LINE_MAX = 96 << 20, RECORD_PRINT_BYTES = 16 };

struct record {
    int fd;
    const char *path;
    uint64_t bytes, lines; /* that it has */
    uint64_t failed; /* of the lines that it had when it was opened, those without an answer */
    uint64_t asked;  /* of these, those that were asked */
    uint64_t keep;   /* bytes of the disk that it leaves free */
};
struct record_how {
    const char *print; /* the fingerprint of what answers now; NULL: any may have answered */
    int mends;         /* from a line on that is none of a batch it is cut off, as a torn end is */
    uint64_t keep;     /* bytes of the disk that are to stay free */
};

/* Read what is done into `done`, and cut off a torn end. E_BUSY: another program writes it.
 * E_FORMAT: a line of it is none of a batch. E_INVALID: it was answered by another model, or is the
 * file of questions, which has `questions` open. E_IO. */
int record_open(const char *path, int questions, const struct record_how *how, struct idset *done,
                struct record *j, struct err *e);
/* Is there room on the disk for so many bytes? E_IO. */
int record_has_room(const struct record *j, size_t len, struct err *e);
/* A whole line, its end included. E_IO: nothing of it is there; also where the disk is full, or
 * would have less than is to stay free. */
int record_add(struct record *j, const struct buf *line, struct err *e);
/* On the disk. E_IO. */
int record_sync(struct record *j, struct err *e);
void record_close(struct record *j);

/* One line of such a file, without its end. E_FORMAT. */
struct record_line {
    char custom_id[257], print[RECORD_PRINT_BYTES];
    int is_answer, is_asked; /* of status 200; it was asked */
};
int record_read_line(const char *text, size_t len, struct record_line *out);

#endif
