/* batches.h - the second door to jobs: batches that a server was given.
 *
 * A batch is a file of questions that somebody uploaded, an endpoint, and what came of it: a file
 * of answers and one of lines that have none. This room remembers it and knows in which state it
 * is. Who asks its lines (batch/batches.h) takes one after the other and says how far it is.
 *
 *     validating --> in_progress --> finalizing --> completed, expired, failed
 *         |    '----------'--> cancelling --> cancelled
 *         '--> failed
 *
 * While a batch isn't over its answers lie in DIR/batches/ID/. That folder is their memory: counts
 * are what was found in it. At the end its files become files of jobs.h, in one transaction with
 * the state, and by a link: so whatever happens they are in one of the two places.
 *
 * Threads and errors: as in jobs.h. One thread asks lines, and calls what is marked so.
 */
#ifndef JOBS_BATCHES_H
#define JOBS_BATCHES_H

#include "jobs/jobs.h"

/* The purposes of files: what is asked, and what came of it. */
#define JOBS_BATCH_INPUT  "batch"
#define JOBS_BATCH_OUTPUT "batch_output"
/* What jobs_watch is given as an id, to be woken when a batch comes or is cancelled. */
#define JOBS_BATCHES "batches"

enum jobs_batch_state {
    JOBS_BATCH_VALIDATING,
    JOBS_BATCH_IN_PROGRESS,
    JOBS_BATCH_FINALIZING,
    JOBS_BATCH_CANCELLING,
    JOBS_BATCH_COMPLETED, /* from here on it is over */
    JOBS_BATCH_FAILED,
    JOBS_BATCH_EXPIRED,
    JOBS_BATCH_CANCELLED
};
_Static_assert(JOBS_BATCH_CANCELLED + 1 == JOBS_BATCH_STATES, "jobs_stats");
extern const char *const jobs_batch_words[]; /* as OpenAI calls them; NULL behind the last */
int jobs_batch_is_over(enum jobs_batch_state s);

enum {
    JOBS_ENDPOINT_BYTES = 48,
    JOBS_BATCH_WINDOW_S = 24 * 3600,
    JOBS_BATCH_FILE_MIN = 4096, /* bytes that a file counts for at least */
    JOBS_BATCH_OVER_MAX = 1000  /* batches of one owner that are over; older ones are forgotten */
};

struct jobs_batch {
    char id[JOBS_ID_BYTES], owner[JOBS_OWNER_BYTES];
    char endpoint[JOBS_ENDPOINT_BYTES]; /* "*": each line's own */
    char input_file[JOBS_ID_BYTES], output_file[JOBS_ID_BYTES], error_file[JOBS_ID_BYTES];
    enum jobs_batch_state state,
        becomes; /* the second: when it is finalizing, what comes behind it */
    int64_t created, expires, in_progress, finalizing, ended, cancelling; /* 0: not yet */
    int64_t total, broken;     /* lines that say something; of them, that can't be asked */
    int64_t completed, failed; /* with an answer of status 200, and without: broken ones, too */
    char waits[24];            /* "disk": it can't go on until that is mended; else "" */
};

struct jobs_batch_new {
    const char *input_file, *endpoint;
    const char *metadata; /* JSON, kept as it is; NULL: none */
    const char *owner;    /* id of a key, or "" */
    const char *once;     /* Idempotency-Key; NULL: none */
    const char *digest;   /* as in struct jobs_new; may be NULL without `once` */
    struct jobs_eyes by;  /* whose file it may be */
    int64_t window_s;
};
/* E_NOT_FOUND: who asks sees no such file; E_UNSUPPORTED: it is for another purpose; E_BUSY: as
 * many batches as may be, how->is_owner: of this owner. As many as jobs (jobs_options), counted by
 * themselves. E_TOO_BIG: the files of the owner's batches leave no room for answers. Of `once`:
 * E_INVALID, and E_CANCELLED with how->param: it came with another request before;
 * how->is_old: the batch was there already. */
int jobs_batch_create(struct jobs *j, const struct jobs_batch_new *asked, struct jobs_batch *out,
                      struct jobs_outcome *how, struct err *e);
/* `owner` NULL: of anybody; else another's is E_NOT_FOUND. Likewise below. */
int jobs_batch_get(struct jobs *j, const char *id, const char *owner, struct jobs_batch *out,
                   struct err *e);
/* The newest first, behind `after`, up to `max`. */
int jobs_batch_list(struct jobs *j, const char *owner, const char *after, int max,
                    struct jobs_batch *out, int *n, int *more, struct err *e);
/* E_BUSY: it is over, or finalizing. To cancel what is cancelled is legal. One whose file wasn't
 * looked at yet is cancelled at once. */
int jobs_batch_cancel(struct jobs *j, const char *id, const char *owner, struct jobs_batch *out,
                      struct err *e);
/* JSON texts, nothing where there are none: what came with it, and what is wrong with its file, as
 * a list of OpenAI's objects. */
int jobs_batch_metadata(struct jobs *j, const char *id, struct buf *out, struct err *e);
int jobs_batch_errors(struct jobs *j, const char *id, struct buf *out, struct err *e);

/* ---- the thread that asks lines ---- */

/* The next one that isn't over: one that is being cancelled, or whose time is over; else of the
 * owner whose turn is the longest ago, the oldest. Such a one that had the last turn, and still
 * isn't over, lets one of the others go first. Its folder is there; where it can't be made, that is
 * logged, and the batch is shown to wait for the disk. E_NOT_FOUND: none. */
int jobs_batch_take(struct jobs *j, struct jobs_batch *out, struct err *e);
/* For how many others it should step aside: those of other owners, and those that are to end. Of
 * them, *n_ending are to end. */
int jobs_batch_others(struct jobs *j, const struct jobs_batch *b, int64_t *n, int64_t *n_ending,
                      struct err *e);
/* Path of its questions, and of a file in its folder. */
int jobs_batch_input(struct jobs *j, const struct jobs_batch *b, char path[JOBS_PATH_MAX],
                     struct err *e);
void jobs_batch_path(const struct jobs *j, const char *id, const char *name,
                     char path[JOBS_PATH_MAX]);
/* Its file was looked at: goes on to in_progress, or to failed. `errors` as jobs_batch_errors;
 * NULL: none. A batch that is being cancelled stays so. *b is as it is now. If it is over, the
 * folder goes. */
int jobs_batch_looked(struct jobs *j, struct jobs_batch *b, int is_good, const char *errors,
                      struct err *e);
/* Keeps b's counts. *b is as it is now. */
int jobs_batch_save(struct jobs *j, struct jobs_batch *b, struct err *e);
/* in_progress --> finalizing, on its way to `becomes`. Its files must be on the disk. `errors` as
 * jobs_batch_errors; NULL: as they were. *b is as it is now. */
int jobs_batch_finalize(struct jobs *j, struct jobs_batch *b, enum jobs_batch_state becomes,
                        const char *errors, struct err *e);
/* It is over: what `files` names in its folder become files, and the folder goes. *b as it is now.
 */
struct jobs_batch_file {
    const char *name;   /* in its folder; NULL: there is none */
    const char *sha256; /* of its bytes, 64 hex digits */
    uint64_t bytes;
};
int jobs_batch_end(struct jobs *j, struct jobs_batch *b, const struct jobs_batch_file *output,
                   const struct jobs_batch_file *errors, struct err *e);
/* How far the batch is that is being asked, for those who look at it meanwhile: kept in memory
 * alone. `b` NULL: none is. n lines more have an answer, and n_failed have none, since the last
 * call. Waits for nothing. */
void jobs_batch_show(struct jobs *j, const struct jobs_batch *b, uint64_t n, uint64_t n_failed);

#endif
