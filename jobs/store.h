/* store.h - the database of a state folder: files, jobs, batches, events. Only store.c,
 * store_batches.c and rows.h know SQL.
 *
 * A struct store is one connection. The keeper has one that writes; whoever reads has another one,
 * behind a lock of theirs, and never waits for the keeper's disk. What a commit has returned from
 * is on the disk (WAL, synchronous FULL). A connection waits at most 5 s for another program's.
 *
 * Rows are plain structs. store_*_get and its like: E_NOT_FOUND. All: E_IO, the text says what
 * SQLite said. Thread: one at a time for each store.
 */
#ifndef JOBS_STORE_H
#define JOBS_STORE_H

#include "jobs/batches.h"
#include "jobs/jobs.h"

enum { STORE_ONCE_MAX = 128 };

/* A job with what only this room knows of it. */
struct store_job {
    struct jobs_job job;
    int64_t n;        /* its row */
    int64_t events;   /* that it has: the seq of the newest */
    int64_t tail_at;  /* bytes of runs/ID/events.jsonl that were read */
    char last[16];    /* the last event of the run that tells how it ended: "end", "stop",
                          "failed"; "start": it is at work; "" before */
    int64_t begun;    /* the newest checkpoint's step when it was last started */
    int64_t saved;    /* the newest checkpoint's step */
    int crashes;      /* of job.attempts, those that were the run's own doing */
    char failure[32]; /* the word of a "failed" event, and its text */
    char reason[240];
    char once[STORE_ONCE_MAX + 1], digest[65];
};

struct store;

/* Writing: makes the database where there is none, and checks what there is. E_FORMAT: it is
 * damaged, or of a newer program. Reading: after that. */
int store_open(const char *path, int is_writer, struct store **out, struct err *e);
void store_close(struct store *s); /* NULL is legal */

int store_begin(struct store *s, struct err *e);
int store_commit(struct store *s, struct err *e); /* on an error nothing was done */
void store_rollback(struct store *s);             /* outside of a transaction it does nothing */

/* ---- files ---- */
int store_file_add(struct store *s, const struct jobs_file *f, struct err *e);
int store_file_get(struct store *s, const char *id, struct jobs_file *out, struct err *e);
int store_file_report(struct store *s, const char *id, struct buf *out, struct err *e);
int store_file_list(struct store *s, const struct jobs_file_page *page, struct jobs_file *out,
                    int *n, int *more, struct err *e);
int store_file_checked(struct store *s, const char *id, enum jobs_file_status status,
                       const char *report, size_t len, struct err *e);
int store_file_delete(struct store *s, const char *id, struct err *e);
/* The oldest file that was not checked. */
int store_file_unchecked(struct store *s, struct jobs_file *out, struct err *e);
/* How many files have these bytes, and how many live jobs and batches use the file. */
int store_file_shares(struct store *s, const char *sha256, int64_t *n, struct err *e);
int store_file_users(struct store *s, const char *id, int64_t *n, struct err *e);
int store_file_count(struct store *s, int64_t *n, struct err *e);

/* ---- jobs ---- */
int store_job_add(struct store *s, struct store_job *j, const char *metadata, struct err *e);
int store_job_save(struct store *s, const struct store_job *j, struct err *e);
int store_job_get(struct store *s, const char *id, struct store_job *out, struct err *e);
int store_job_once(struct store *s, const char *owner, const char *once, struct store_job *out,
                   struct err *e);
int store_job_metadata(struct store *s, const char *id, struct buf *out, struct err *e);
int store_job_list(struct store *s, const char *after, int max, struct jobs_job *out, int *n,
                   int *more, struct err *e);
/* The oldest job in this state whose row is behind `after` (0: any). */
int store_job_next(struct store *s, enum jobs_state state, int64_t after, struct store_job *out,
                   struct err *e);
int store_job_counts(struct store *s, uint64_t counts[JOBS_STATES], struct err *e);
/* How fast the newest job that succeeded with the same base, recipe and samples of a step was.
 * E_NOT_FOUND: there is none. */
struct store_pace {
    double step; /* seconds of a step */
    double rest; /* seconds from its last step to its end: export and gate */
};
int store_job_pace(struct store *s, const struct jobs_job *like, struct store_pace *out,
                   struct err *e);
/* When the job last went on to export; 0: never. */
int store_job_exported(struct store *s, const char *id, int64_t *when, struct err *e);
/* Jobs that have not ended; `owner` NULL: of all. */
int store_job_live(struct store *s, const char *owner, int64_t *n, struct err *e);

/* ---- batches ---- */
int store_batch_add(struct store *s, const struct jobs_batch *b, const char *metadata,
                    struct err *e);
int store_batch_save(struct store *s, const struct jobs_batch *b, struct err *e);
int store_batch_get(struct store *s, const char *id, struct jobs_batch *out, struct err *e);
/* As jobs_batch_list. */
int store_batch_list(struct store *s, const char *owner, const char *after, int max,
                     struct jobs_batch *out, int *n, int *more, struct err *e);
/* As jobs_batch_take; and it has had a turn. */
int store_batch_next(struct store *s, int64_t now, struct jobs_batch *out, struct err *e);
int store_batch_turn(struct store *s, const char *id, struct err *e);
int store_batch_set_errors(struct store *s, const char *id, const char *errors, struct err *e);
int store_batch_metadata(struct store *s, const char *id, struct buf *out, struct err *e);
int store_batch_errors(struct store *s, const char *id, struct buf *out, struct err *e);
/* What came with an Idempotency-Key, and the batch that did: *is_same, with this digest. */
int store_batch_set_once(struct store *s, const char *id, const char *once, const char *digest,
                         struct err *e);
int store_batch_once(struct store *s, const char *owner, const char *once, const char *digest,
                     struct jobs_batch *out, int *is_same, struct err *e);
/* The owner's batches that are over, but the newest `keep`, are forgotten. */
int store_batch_forget(struct store *s, const char *owner, int keep, struct err *e);
/* Batches that aren't over; `owner` NULL: of all. */
int store_batch_live(struct store *s, const char *owner, int64_t *n, struct err *e);
/* As jobs_batch_others. */
int store_batch_others(struct store *s, const struct jobs_batch *b, int64_t now, int64_t *n,
                       int64_t *n_ending, struct err *e);
int store_batch_counts(struct store *s, uint64_t counts[JOBS_BATCH_STATES], struct err *e);
/* Bytes of an owner's files of batches, JOBS_BATCH_FILE_MIN at least of each. */
int store_batch_bytes(struct store *s, const char *owner, int64_t *n, struct err *e);

/* ---- events ---- */
/* Counts it in j->events, which store_job_save keeps: in one transaction. */
int store_event_add(struct store *s, struct store_job *j, const struct jobs_event *event,
                    struct err *e);
/* `max` events behind `after`. A job that is not there has none. */
int store_events(struct store *s, const char *id, int64_t after, int max, jobs_event_fn *fn,
                 void *ud, int *more, struct err *e);
/* The validation loss of that step; *loss stays as it is where there is none. */
int store_judged(struct store *s, const char *id, int64_t step, double *loss, struct err *e);

#endif
