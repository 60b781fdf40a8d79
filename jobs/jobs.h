/* jobs.h - the door to jobs: what outlives a request?
 *
 * Files that were uploaded, and runs of `lammd train` over them. A run is a process of its own, in
 * a folder of its own; a database remembers what was accepted. Both survive the end of the daemon,
 * however it ends. Knows no model and no HTTP: a run is a command, a folder and its events.
 *
 *     struct jobs_options o = {.dir = "/var/lib/lammd", .program = "/usr/bin/lammd", ...};
 *     jobs_open(&o, &jobs, &e);              // folders, database: nothing runs yet
 *     jobs_start(jobs, "lamm-mini", &e);     // adopts what still runs, goes on with the rest
 *     jobs_file_add(jobs, &upload, &file, &e);
 *     jobs_create(jobs, &asked, &job, &e);
 *     jobs_pause(jobs, job.id, &job, &e);    // and so on
 *     jobs_close(jobs);                      // runs get SIGTERM, and are queued again at the start
 *
 *     validating_files --> queued --> running <--> paused
 *             |              |           |-- succeeded: its adapter lies in DIR/adapters/NAME
 *             '--------------'-----------'-- failed, cancelled
 *
 * A run that ends without a word goes on from its last checkpoint. In a row, without a new one, the
 * third crash of its own fails the job, and the thirtieth time that somebody killed it.
 *
 * What is in DIR: jobs.db, files/SHA256, runs/ID/, batches/ID/ (batches.h), adapters/NAME/, spool/
 * (uploads on their way, emptied at start).
 *
 * Threads: any, for all but open, start and close. One thread, the keeper, writes the database and
 * starts and ends processes; whoever changes something hands it a note and waits, at most
 * JOBS_WAIT_S for it to begin (then E_TIMEOUT, and nothing was done). What was accepted is on the
 * disk when the call returns. Reading waits for no writer.
 * Errors: texts of E_INVALID, E_TOO_BIG, E_BUSY, E_NOT_FOUND and E_UNSUPPORTED are for the client
 * and hold no path. E_IO is ours: a full disk, a broken database.
 */
#ifndef JOBS_JOBS_H
#define JOBS_JOBS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

enum {
    JOBS_ID_BYTES = 40,
    JOBS_NAME_BYTES = 96, /* of an adapter; a file's name is cut to 255 */
    JOBS_OWNER_BYTES = 17,
    JOBS_SUFFIX_MAX = 64,
    JOBS_METADATA_MAX = 16 << 10,
    JOBS_REPORT_MAX = 256 << 10,
    JOBS_PATH_MAX = 4096,
    JOBS_DIR_MAX = 3800,
    JOBS_LIST_MAX = 100, /* rows of one look */
    JOBS_WAIT_S = 10
};

struct jobs;

enum jobs_launcher {
    JOBS_LOCAL, /* the keeper starts runs, one at a time */
    JOBS_PULL   /* runs wait until a `lammd train --take DIR` claims them, on any machine */
};
extern const char *const jobs_launcher_words[]; /* "local", "pull", NULL */

/* A run has succeeded, and its adapter is in its place. Called on the keeper: return soon, and call
 * nothing of this room. */
typedef void jobs_done_fn(void *ud, const char *name);

struct jobs_options {
    const char *dir;     /* made where it is missing */
    const char *program; /* absolute path of lammd, which runs `train` */
    const char *model;   /* absolute path of the base model's folder */
    const char *recipes; /* folder of the base recipes */
    const char *device;  /* that trains; NULL: cpu */
    int threads;         /* that train; 0: 1 */
    enum jobs_launcher launcher;
    int live_max;          /* jobs that have not ended, of all owners; 0: 64 */
    int owner_max;         /* of one owner; 0: 16 */
    uint64_t batch_bytes;  /* of the files of one owner's batches; 0: any number */
    uint64_t memory_mib;   /* that a run may take; 0: what is free when it is asked for */
    int keeps_checkpoints; /* of jobs that have succeeded or were cancelled, too */
    jobs_done_fn *done;    /* or NULL */
    void *ud;
};

/* Borrows nothing. E_IO, E_FORMAT (a damaged database, or one of a newer program), E_BUSY (another
 * daemon has this folder). */
int jobs_open(const struct jobs_options *opt, struct jobs **out, struct err *e);
/* `base`: what the base model is called in the names of adapters. Once. */
int jobs_start(struct jobs *j, const char *base, struct err *e);
/* Ends what runs here by SIGTERM, and waits for its checkpoint for a while. NULL is legal. */
void jobs_close(struct jobs *j);
const char *jobs_dir(const struct jobs *j); /* absolute */
int jobs_owner_max(const struct jobs *j);
uint64_t jobs_batch_bytes(const struct jobs *j); /* as the options say */

/* ---- files ---- */

/* A file for `fine-tune` is looked at in a process of its own (`lammd train --check`). Others are
 * processed at once. */
enum jobs_file_status { JOBS_FILE_UPLOADED, JOBS_FILE_PROCESSED, JOBS_FILE_ERROR };
extern const char *const jobs_file_words[]; /* "uploaded", "processed", "error", NULL */

struct jobs_file {
    char id[JOBS_ID_BYTES], name[256], purpose[32], sha256[65], owner[JOBS_OWNER_BYTES];
    uint64_t bytes;
    int64_t created; /* seconds since the epoch */
    enum jobs_file_status status;
};
struct jobs_file_new {
    const char *spooled; /* path of the bytes, in DIR's file system: moved away, unless they are
                            there already. On an error it stays */
    const char *sha256;  /* of them, 64 hex digits */
    uint64_t bytes;
    const char *name, *purpose;
    const char *owner; /* id of a key, or "" */
};
/* Files of the same bytes share them. E_IO, E_INVALID, E_TIMEOUT; E_BUSY: with it the owner's files
 * of batches would have more than batch_bytes. */
int jobs_file_add(struct jobs *j, const struct jobs_file_new *file, struct jobs_file *out,
                  struct err *e);
int jobs_file_get(struct jobs *j, const char *id, struct jobs_file *out, struct err *e);
/* What the check said, the JSON text of `lammd train --check --json`; nothing while there is none.
 */
int jobs_file_report(struct jobs *j, const char *id, struct buf *out, struct err *e);
/* Files to learn from are everybody's who may train. Those of batches are their owner's. */
struct jobs_eyes {
    int trains;        /* sees files for other purposes than batches */
    const char *owner; /* whose files of batches it sees; NULL: everybody's */
};
int jobs_file_is_seen(const struct jobs_file *f, const struct jobs_eyes *by);
struct jobs_file_page {
    struct jobs_eyes by;
    const char *after;   /* the files behind this one; NULL: from the first on */
    const char *purpose; /* NULL: any */
    int max;
    int is_oldest_first; /* otherwise the newest comes first */
};
/* Into out (page->max); *more: there are more. E_NOT_FOUND: there is no such `after`. */
int jobs_file_list(struct jobs *j, const struct jobs_file_page *page, struct jobs_file *out, int *n,
                   int *more, struct err *e);
/* E_BUSY: a job or a batch that has not ended uses it. Its bytes go with the last file that has
 * them. */
int jobs_file_delete(struct jobs *j, const char *id, struct err *e);
/* Where its bytes lie. */
void jobs_file_path(const struct jobs *j, const struct jobs_file *f, char path[JOBS_PATH_MAX]);

/* ---- jobs ---- */

enum jobs_state {
    JOBS_VALIDATING,
    JOBS_QUEUED,
    JOBS_RUNNING,
    JOBS_PAUSED,
    JOBS_SUCCEEDED,
    JOBS_FAILED,
    JOBS_CANCELLED,
    JOBS_STATES
};
/* What it is on its way to. */
enum jobs_want { JOBS_RUN, JOBS_PAUSE, JOBS_CANCEL };
extern const char *const jobs_state_words[]; /* as OpenAI calls them; NULL behind the last */
int jobs_is_over(enum jobs_state s);         /* succeeded, failed or cancelled */

/* What is to be done. What isn't given is 0, or "", and comes from the recipe; in a struct
 * jobs_job everything is said. */
struct jobs_how {
    char recipe[48];   /* "own": DIR_OF_RECIPES/own.ini */
    double epochs;     /* times that each picture is shown; 0 when steps are given */
    int64_t steps;     /* wins over epochs */
    int64_t batch;     /* pictures of a step */
    double multiplier; /* of the recipe's learning rates; 0: 1 */
    int64_t lora_r;
    double lora_alpha;
    char lora_targets[48]; /* "q, v" */
    char tasks[160];       /* "refer, vqa"; "": all that the data has */
    int vision;            /* does the tower learn? 1: yes, -1: no */
    int pack;              /* are the questions of a picture packed? 1: yes, -1: no */
};
struct jobs_new {
    const char *training_file, *validation_file; /* ids; the second may be NULL */
    const char *suffix;                          /* [A-Za-z0-9._-]; NULL or "": none */
    uint64_t seed;
    struct jobs_how how;
    const char *metadata; /* JSON, kept as it is; NULL: none */
    const char *owner;    /* id of a key, or "" */
    const char *once;     /* Idempotency-Key; NULL: none */
    const char *digest;   /* of the request, in hex: the same `once` has to come with the same */
};
struct jobs_job {
    char id[JOBS_ID_BYTES], base[JOBS_NAME_BYTES];
    char name[JOBS_NAME_BYTES]; /* of its adapter; "" before it has succeeded */
    char training_file[JOBS_ID_BYTES], validation_file[JOBS_ID_BYTES], suffix[JOBS_SUFFIX_MAX + 1];
    char owner[JOBS_OWNER_BYTES];
    enum jobs_state state;
    enum jobs_want want;
    char phase[16];                     /* while it runs: "train", "evaluate", "export" */
    int64_t created, started, finished; /* seconds since the epoch; 0: not yet */
    uint64_t seed;
    struct jobs_how how; /* effective values; before the files are checked, steps or epochs alone
                            where they were asked for, or neither */
    int64_t step, steps; /* done, of all */
    double loss, judged_before, judged; /* nats a token; NaN: none */
    double seconds;                     /* that its steps took */
    int64_t tokens;                     /* questions that were learnt from */
    int attempts; /* in a row, that came no further than before: crashed, or were killed */
    char error_code[32], error[240], error_param[40]; /* also why it is paused: "no_space" */
};

/* A base recipe that a job may name. */
struct jobs_recipe {
    char about[200];     /* a sentence: what it teaches; may be "" */
    double aside;        /* the share of the data that it sets aside to judge by */
    struct jobs_how how; /* its name, and what holds where nothing else is asked; `steps` at most */
};
enum { JOBS_RECIPES_MAX = 64 };
/* Those of DIR_OF_RECIPES that have one stage and make an adapter, by name; `own` is first. */
int jobs_recipes(struct jobs *j, struct jobs_recipe out[JOBS_RECIPES_MAX], int *n, struct err *e);

/* E_INVALID with what is wrong; E_NOT_FOUND (a file, a recipe); E_UNSUPPORTED: the file was checked
 * and has errors, or is for another purpose; E_BUSY: as many jobs as may be, *is_owner: of this
 * owner; E_TOO_BIG: the memory that it takes, and what there is; E_CANCELLED: `once` was used for
 * another request. *is_old: the job was there. */
struct jobs_outcome {
    int is_old, is_owner;
    const char *param; /* at fault, or NULL */
};
int jobs_create(struct jobs *j, const struct jobs_new *asked, struct jobs_job *out,
                struct jobs_outcome *how, struct err *e);
int jobs_get(struct jobs *j, const char *id, struct jobs_job *out, struct err *e);
/* The newest first, behind `after`, as jobs_file_list; up to `max`. */
int jobs_list(struct jobs *j, const char *after, int max, struct jobs_job *out, int *n, int *more,
              struct err *e);
/* Its metadata, JSON; nothing where there is none. */
int jobs_metadata(struct jobs *j, const char *id, struct buf *out, struct err *e);
/* When it will be over, in seconds since the epoch; 0: nobody knows. A job at work goes on at its
 * own pace; what it hasn't done yet, and what waits before it, goes at the pace of the newest job
 * that succeeded with the same base, recipe and samples of a step. Before there was one, a running
 * job's steps alone count, without export and gate, and what waits isn't known. Nor is it known
 * when somebody claims a run (JOBS_PULL), or when a paused job is resumed. */
int64_t jobs_finish(struct jobs *j, const struct jobs_job *job);
/* Each asks for it; what runs ends by and by. E_NOT_FOUND; E_BUSY: it is in a state that doesn't
 * allow it. To cancel what is being cancelled is legal, and so are the others. */
int jobs_cancel(struct jobs *j, const char *id, struct jobs_job *out, struct err *e);
int jobs_pause(struct jobs *j, const char *id, struct jobs_job *out, struct err *e);
int jobs_resume(struct jobs *j, const char *id, struct jobs_job *out, struct err *e);

/* ---- events ---- */

struct jobs_event {
    int64_t seq, created;
    const char *level;   /* "info", "warn", "error" */
    const char *type;    /* "message", "metrics" */
    const char *message; /* for people */
    const char *data;    /* JSON object, or "" */
};
/* Return 0 to go on. */
typedef int jobs_event_fn(void *ud, const struct jobs_event *event);
/* Events of the job with a seq above `after`, oldest first, `max` at most. *more: there are more
 * now. *is_over: no more will ever come. */
int jobs_events(struct jobs *j, const char *id, int64_t after, int max, jobs_event_fn *fn, void *ud,
                int *more, int *is_over, struct err *e);

/* `wake` is called on the keeper whenever the job has something new. Never again once
 * jobs_unwatch has returned; it must return at once. */
struct jobs_watch;
typedef void jobs_wake_fn(void *ud);
int jobs_watch(struct jobs *j, const char *id, jobs_wake_fn *wake, void *ud,
               struct jobs_watch **out, struct err *e);
void jobs_unwatch(struct jobs_watch *w); /* NULL is legal */
/* Wakes all of them, on the caller's thread. */
void jobs_wake(struct jobs *j);

struct jobs_checkpoint {
    int64_t step, created;
    double judged; /* loss of the validation part at that step; NaN: it was not judged there */
    uint64_t bytes;
};
enum { JOBS_CHECKPOINTS_MAX = 8 };
/* Those that are kept, newest first: up to three, while the job may go on, and when it has failed.
 * When it has succeeded or was cancelled nothing goes on from them, and they are removed. */
int jobs_checkpoints(struct jobs *j, const char *id,
                     struct jobs_checkpoint out[JOBS_CHECKPOINTS_MAX], int *n, struct err *e);

/* ---- figures; wait for nothing ---- */
enum { JOBS_BATCH_STATES = 8 }; /* batches.h */
struct jobs_stats {
    uint64_t batches[JOBS_BATCH_STATES];
    uint64_t lines, lines_failed; /* of batches, since the start: with an answer, and without */
    uint64_t jobs[JOBS_STATES];   /* that are in this state */
    uint64_t files;
    uint64_t steps, restarts; /* since the start: steps learnt, runs started again */
    double seconds;           /* of these steps */
    double loss;              /* of the last one; NaN */
};
void jobs_stats(struct jobs *j, struct jobs_stats *out);

#endif
