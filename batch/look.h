/* look.h - a file of questions is looked at before any of them is asked.
 *
 * Each line is read as it will be when it is asked. Broken lines are told, with their numbers, and
 * keep the others from nothing. A file is bad when no line of it can be asked, or when it has too
 * many. Thread: its owner's.
 */
#ifndef BATCH_LOOK_H
#define BATCH_LOOK_H

#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

enum {
    LOOK_ERRORS_MAX = 100,      /* that are told */
    LOOK_BYTES_MAX = 256 << 10, /* of what is told */
    LOOK_LINES_MAX = 50000
};

struct look {
    int64_t total, broken; /* lines that say something; of them, that can't be asked */
    int is_good;
    struct buf errors; /* JSON: a list of OpenAI's objects; empty: none. To be cleared */
};

/* `fd` is read from where it stands. `is_stopped` is asked now and then. E_IO, E_CANCELLED: it was
 * stopped. */
int look_at(int fd, const char *endpoint, int (*is_stopped)(void *ud), void *ud, struct look *out,
            struct err *e);
/* The file is gone: `errors`, a list as above or empty, says that, too. E_NOMEM. */
int look_add_lost(struct buf *errors, struct err *e);

#endif
