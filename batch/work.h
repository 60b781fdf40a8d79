/* work.h - the work of `lammd batch`: lines of questions become lines of answers.
 *
 * Lines are read one by one, asked some at a time (crew.h), and answered lines are written as they
 * finish or, ordered, each behind those before it. What stands in the file of answers is done
 * (record.h). Thread: its owner's; the crew has its own.
 */
#ifndef CLI_BATCH_WORK_H
#define CLI_BATCH_WORK_H

#include "api/api.h"
#include "cli/batch/progress.h"
#include "cli/batch/record.h"
#include "engine/engine.h"

struct work_options {
    struct eng *eng;      /* what the API asks */
    int questions;        /* the file of questions, open; read from its beginning */
    const char *path;     /* what it is called */
    uint64_t part, parts; /* lines whose number, from 0 on, leaves `part` when divided by `parts` */
    int is_ordered, threads, places; /* that step calls; lines that are on their way at once */
    int64_t created;
    char print[RECORD_PRINT_BYTES];
};

/* Ask what is not done yet, and add it to the record. `p` counts. Lines that have failed are said
 * and counted, and are no error. E_IO, E_NOMEM, E_BUSY (the engine takes nothing any more): the
 * record has what was done before. */
int work_run(const struct work_options *o, struct api *api, struct idset *done, struct record *j,
             struct progress *p, struct err *e);
/* Lines of this part. E_IO. */
int work_count(const struct work_options *o, uint64_t *n, struct err *e);

#endif
