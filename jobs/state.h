/* state.h - what the files of this room know of it as a whole, and of each other.
 *
 *     jobs.c      the door: what is asked becomes a note, or is read
 *     keeper.c    the thread that writes: notes one by one, and a look at everything now and then
 *     run.c       the life of a run: it begins, is followed, ends
 *     settle.c    a run has ended: what became of it?
 *     ends.c      it ended without a word: how often may that be?
 *     tail.c      lines of events.jsonl -> events, and the job's figures
 *     check.c     files that were uploaded are checked
 *     ask.c       create, cancel, pause, resume
 *     checkpoints.c  what lies in a run's folder
 *     make.c      what was asked -> a folder that can run
 *     plan.c      does it fit into memory?
 *     recipes.c   which base recipes there are
 *     finish.c    when a job will be over
 *     batches.c   batches that a server was given
 *
 *     store.c store_batches.c rows.c recipe.c runner.c disk.c    know no job's life
 */
#ifndef JOBS_STATE_H
#define JOBS_STATE_H

#include <pthread.h>

#include "jobs/jobs.h"
#include "jobs/runner.h"
#include "jobs/store.h"

enum { RUNS_MAX = 16 };

/* Something that the keeper is to do, in one transaction. It lies with whoever asks. */
struct note;
typedef int note_fn(struct jobs *j, void *args, struct err *e);

/* What is known of a run's end, beside its own words. */
struct run_end {
    int is_seen;   /* it was our child, so how it ended is known */
    int signal;    /* that ended it; 0: it exited, or could not be started */
    int is_memory; /* the kernel ended a process here meanwhile, because memory ran out */
};

/* A run that is at work. Owner: the keeper. */
struct run {
    char id[JOBS_ID_BYTES]; /* "": none */
    struct runner_child child;
    int is_ours;       /* this daemon started it */
    int is_over;       /* it has ended; what became of it is yet to be written */
    uint64_t asked_ns; /* when it was sent SIGTERM; 0: it was not */
    uint64_t found_ns; /* when it was started or adopted */
    int is_killed;
    uint64_t oom_kills; /* cgroup_oom_kills when it was started or adopted */
    struct run_end end;
};
/* A file that is being checked. Owner: the keeper. */
struct check {
    char id[JOBS_ID_BYTES]; /* "": none */
    struct runner_child child;
    uint64_t begun_ns;
};

struct jobs {
    struct jobs_options opt; /* its texts are those below */
    char dir[JOBS_DIR_MAX], program[JOBS_PATH_MAX], model[JOBS_PATH_MAX], recipes[JOBS_PATH_MAX];
    char device[32], base[JOBS_NAME_BYTES];
    int lock;                /* of the folder */
    struct store *writer;    /* Owner: the keeper */
    pthread_mutex_t read_mu; /* guards the reader */
    struct store *reader;
    int has_no_folder; /* of the batch that was taken, which was logged. Owner: who takes them */

    pthread_mutex_t mu; /* guards what follows, up to the stats */
    pthread_cond_t news, done;
    struct note *first, *last;
    int is_started, is_closing;
    struct jobs_watch *watches;
    struct jobs_stats stats;
    struct jobs_batch shown; /* the batch that is being asked; id "": none */

    pthread_t keeper; /* and what follows is its own */
    struct run runs[RUNS_MAX];
    struct check check;
    uint64_t not_before_ns; /* that a run may start: behind a crash */
    int has_spare;          /* DIR/spare is there */
    int is_in_trouble;      /* the database can't be written, and that was logged */
    char changed[RUNS_MAX + 1][JOBS_ID_BYTES]; /* jobs to wake watches of, behind a commit */
    int n_changed;
};

void jobs_path(const struct jobs *j, const char *folder, const char *name,
               char path[JOBS_PATH_MAX]);
/* DIR/runs/ID/NAME */
void jobs_run_path(const struct jobs *j, const char *id, const char *name,
                   char path[JOBS_PATH_MAX]);
int64_t jobs_now(void); /* seconds since the epoch */
/* For a look at what the reading connection has; the second returns what it is given. */
void jobs_begin_read(struct jobs *j);
int jobs_end_read(struct jobs *j, int rc);
/* "ftjob-" and the like, and random digits. E_IO. */
int jobs_new_id(const char *prefix, int bytes, char id[JOBS_ID_BYTES], struct err *e);

/* ---- keeper.c ---- */

int keeper_start(struct jobs *j, struct err *e);
void keeper_stop(struct jobs *j); /* runs have SIGTERM, and were waited for */
/* Has `act` done, in a transaction of its own, which is undone when it fails. E_TIMEOUT: it was not
 * begun. Any thread. */
int keeper_ask(struct jobs *j, note_fn *act, void *args, struct err *e);
/* In a transaction: an event of the job, which is saved by the caller. Its watches are woken behind
 * the commit. */
int keeper_say(struct jobs *j, struct store_job *job, const char *level, struct err *e,
               const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void keeper_changed(struct jobs *j, const char *id);
/* The database could not be written. If the disk is full, room is made that was kept for this. */
void keeper_make_room(struct jobs *j);
int keeper_is_closing(struct jobs *j);

/* ---- run.c: the keeper's, outside of a transaction ---- */

void run_tick(struct jobs *j); /* follows what runs, begins what may */
/* Adopts what a daemon before this one left. */
void run_recover(struct jobs *j);
/* SIGTERM to all; then waits for them, and settles them. */
void run_close(struct jobs *j);

/* ---- settle.c: inside of a transaction ---- */

/* The run of this job has ended. Changes and saves it. *is_done: it has succeeded. */
int settle(struct jobs *j, const struct run *r, struct store_job *job, int *is_done, struct err *e);
/* The job ends so. */
int settle_as(struct jobs *j, struct store_job *job, enum jobs_state state, const char *code,
              const char *param, const char *text, struct err *e);

/* ---- ends.c ---- */

/* Whose doing was an end without a word? */
enum end_kind {
    END_CRASH,  /* the run's own: it exited, or a fault ended it */
    END_MEMORY, /* the run's, too: memory ran out */
    END_OUTSIDE /* somebody's who killed it; or nobody knows */
};
enum end_kind end_kind_of(const struct run_end *end);
/* Counts an end: it stopped at a new checkpoint, or came no further; `is_one`: then it counts. */
void end_count(struct store_job *job, enum end_kind kind, int is_one);
/* It ended too often without coming further. */
int end_is_last(const struct store_job *job);
/* How long its next start is to wait. */
uint64_t end_pause_ns(const struct store_job *job, enum end_kind kind);

/* ---- tail.c: inside of a transaction ---- */

/* Reads what is new, at most `max` bytes of it. Changes the job, but doesn't save it. *is_all:
 * there was no more. */
int tail_read(struct jobs *j, struct store_job *job, int *is_all, struct err *e);

/* ---- check.c: the keeper's, outside of a transaction ---- */

void check_all(struct jobs *j);
void check_close(struct jobs *j);

/* ---- checkpoints.c ---- */

/* As jobs_checkpoints, without how they were judged. Any thread. */
int checkpoints_find(struct jobs *j, const char *id,
                     struct jobs_checkpoint out[JOBS_CHECKPOINTS_MAX], int *n, struct err *e);

/* The job is in that state: its checkpoints are removed if nothing can need them any more. What
 * was missed is done at the next start. Any thread. */
void checkpoints_drop(struct jobs *j, const char *id, enum jobs_state state);

/* ---- make.c ---- */

/* The folder of a run, with its recipe; *how becomes effective. Any thread. */
int make_folder(struct jobs *j, const struct store_job *job, int64_t pictures, struct jobs_how *how,
                const char **param, struct err *e);
/* How many pictures a report speaks of; 0: it doesn't say. */
int64_t make_count(const char *report, size_t len);

/* ---- plan.c ---- */

/* Does the run of that folder fit into memory? E_TOO_BIG with both numbers. Any thread; takes a
 * moment. */
int plan_check(struct jobs *j, const char *id, struct err *e);
/* What `lammd train --plan --json` said. */
struct plan {
    uint64_t takes; /* bytes, of the largest stage */
    uint64_t lacks; /* bytes that are missing where most of them are; 0: it fits */
    char text[200]; /* why it doesn't fit */
};
/* E_FORMAT: it isn't one. */
int plan_read(const char *text, size_t len, struct plan *out);

#endif
