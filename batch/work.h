/* work.h - the work of a batch: lines of questions become lines of answers.
 *
 * Lines are read one by one, asked some at a time (crew.h), and answered lines are written as they
 * finish or, ordered, each behind those before it. What stands in a file of answers is done
 * (record.h). Thread: its owner's; the crew has its own.
 */
#ifndef BATCH_WORK_H
#define BATCH_WORK_H

#include "api/api.h"
#include "batch/crew.h"
#include "batch/reader.h"
#include "batch/record.h"
#include "engine/engine.h"

/* So many lines on their way keep a device full, however small they are: more than it runs at once
 * (engine/run/sched.h). */
enum { WORK_PLACES_OF_A_DEVICE = 40 };

enum work_wish {
    WORK_GO_ON,
    WORK_LAND, /* send no more lines; those on their way may end */
    WORK_STOP  /* end at once; those on their way are cancelled */
};
enum work_end {
    WORK_ANSWERED, /* with status 200 */
    WORK_REFUSED,  /* it was asked, and has another status */
    WORK_BROKEN    /* it was not asked */
};
/* What its owner is told meanwhile, on the thread of work_run. */
struct work_hooks {
    void *ud;
    /* A line has no answer of status 200, and why. */
    void (*failed)(void *ud, uint64_t line, const char *why);
    /* A line was done. */
    void (*done)(void *ud, enum work_end end);
    enum work_wish (*tick)(void *ud); /* several times a second */
};

struct work_options {
    struct eng *eng;      /* what the API asks */
    int questions;        /* the file of questions, open; read from its beginning */
    const char *path;     /* what it is called */
    const char *endpoint; /* what the url of each line has to be; NULL or "*": any */
    const char *name;     /* what ids of answers begin with: "line" */
    uint64_t part, parts; /* lines whose number, from 0 on, leaves `part` when divided by `parts` */
    int is_ordered, threads, places; /* that step calls; lines that are on their way at once */
    uint64_t held_max, sent_max; /* bytes of answers that wait for earlier ones, and of questions
                                        that are on their way: no line is sent beyond */
    struct api_batch batch;
    const struct api_caller *caller; /* as in crew.h */
    const struct api_visit *visit;
    int niceness;
    int is_patient;             /* it waits for room however long that takes */
    const char *code, *refusal; /* nothing is asked any more: each line that isn't done is given
                                   this error. NULL: lines are asked */
    struct record *answers, *errors; /* where lines with an answer of status 200 go, and others; may
                                        be the same */
    struct work_hooks hooks;
};

/* Ask what is not done yet, and add it to the records. Lines that have failed are said and counted,
 * and are no error. A line without a legal custom_id, or with one that an earlier line has, gets no
 * line there. *is_all: there was nothing left. E_IO,
 * E_NOMEM, E_BUSY (the engine takes nothing any more): the records have what was done before. */
int work_run(const struct work_options *o, struct api *api, struct idset *done, int *is_all,
             struct err *e);
/* Lines of this part. E_IO. */
int work_count(const struct work_options *o, uint64_t *n, struct err *e);
/* Does the line say anything? */
int work_is_blank(const struct reader_line *one);

#endif
