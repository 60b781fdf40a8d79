/* share.h - whose turn it is: owners first, then the classes of an owner, then jobs of a class.
 *
 * An owner is whoever asks: eng_ask.owner. Each has a share: what it had so far, and which of its
 * jobs wait. Rows are counted as they are among owners; among the classes of an owner they are
 * divided by the class's weight. Who had least is next. Who comes late, or comes back, starts level
 * with those that run: it has neither an advantage nor a debt. Thread: step.
 */
#ifndef ENGINE_RUN_SHARE_H
#define ENGINE_RUN_SHARE_H

#include <stdint.h>

#include "engine/run/job.h"

enum { SHARES = 64 }; /* owners with jobs that are told apart; more of them share a share */

struct job_list {
    struct eng_job *first, *last;
    int n;
};

struct share {
    uint64_t owner;
    int n_jobs, n_running; /* n_jobs: waiting ones, too; 0: nobody's */
    struct job_list waiting[ENG_CLASSES];
    uint64_t served, of_class[ENG_CLASSES];
    uint64_t seen;                 /* pictures that went through the vision tower */
    struct eng_job *look, *before; /* of sched.c's admission: the next to be tried */
};

struct shares {
    struct share at[SHARES];
    int n; /* those behind it were never used */
};

/* The share of an owner, perhaps a new one. */
struct share *share_of(struct shares *s, uint64_t owner);
uint64_t share_price(enum eng_class class); /* of a row: the inverse of the class's weight */
/* The job begins to run beside the n of `running`, level with them. */
void share_enter(struct eng_job *j, struct eng_job *const *running, int n);
/* The job got so many rows. */
void share_took(struct eng_job *j, int32_t rows);
/* Which of the running jobs that are not full is next; NULL: none. */
struct eng_job *share_next(struct eng_job *const *running, int n);

#endif
