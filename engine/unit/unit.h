/* unit.h - one device with its model, its step thread and its queue. An engine is one or more of them.
 *
 * open.c makes and takes down the struct, size.c chooses its sizes, unit.c runs it and answers callers,
 * engine.c spreads jobs over units. Nobody else includes this.
 *
 * Invariants
 *   1. Between open and close only the step thread touches what stands under "Owner: step".
 *   2. A job in the queue counts in `waiting` and `waiting_cost` until the step thread lets it in or ends
 *      it; so the bound holds for the queue and the waiting lists together.
 *   3. Counters are published before the job that they tell of is announced: who has seen a job end
 *      finds it in the statistics.
 *   4. A lost device is for good: every job fails with E_DEVICE, also those to come.
 *   5. A turn allocates nothing. What it did allocate is counted and shown, and a test wants 0.
 */
#ifndef ENGINE_UNIT_UNIT_H
#define ENGINE_UNIT_UNIT_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/ask/ask.h"
#include "engine/engine.h"
#include "engine/picture/picture.h"
#include "engine/run/batch.h"
#include "engine/run/feats.h"
#include "engine/run/sched.h"
#include "kernels/base/queue.h"

enum {
    ENG_QUEUE_JOBS = 1024, /* that may wait */
    ENG_STATS_WORDS = sizeof(struct eng_stats) / sizeof(uint64_t)
};

struct sizes {
    int32_t lanes, rows, runs, singles, cached, feats;
    int32_t tail_max;   /* of a lane */
    int32_t answer_max; /* of numbers */
};

struct unit {
    /* ---- Fixed after open. ---- */
    struct eng_info info;
    struct picture_form picture_form;
    struct pixels *pixels;
    struct asker asker;
    struct sizes size;
    uint64_t queue_tokens_max;
    pthread_t thread;

    /* ---- Shared. ---- */
    struct queue *queue;
    atomic_int health;
    struct err lost; /* why; written before `health` says so, never after */
    _Atomic uint64_t waiting_cost, refused, drain; /* drain: rows per second */
    atomic_uint waiting;
    atomic_int rows_most;                /* of passes to come */
    _Atomic uint64_t rows_left, rate_ns; /* of running jobs; when the rate of pixels was counted */
    _Atomic uint64_t published[ENG_STATS_WORDS]; /* a struct eng_stats. One writer: step */

    /* ---- Owner: step. ---- */
    const struct kern_ops *ops;
    struct kern *kern;
    struct model *model;
    struct sptok *tok;
    struct forms *forms;
    struct model_head *numbers, *text; /* heads */
    struct kv kv;
    struct stems stems;
    struct feats feats;
    struct lanes lanes;
    struct batch batch;
    struct sched sched;
    struct eng_stats stats;
    uint64_t left, left_cost; /* of sched's counters, already taken off the queue's account */
    uint64_t shown_pixels, shown_ns;
    int unseen_turns; /* in which others' pictures waited for an action */
};

/* open.c: as eng_open_on, for opt->device of `ops`. */
int unit_open(const struct eng_options *opt, const struct kern_ops *ops, struct unit **out,
              struct err *err);
void unit_close(struct unit *u); /* NULL is legal */

/* unit.c: as the functions of engine.h that are named alike. Any thread. */
int unit_submit(struct unit *u, const struct eng_ask *ask, struct eng_job **out, struct err *err);
int unit_health(const struct unit *u);
const char *unit_lost(const struct unit *u);
unsigned unit_retry_after(const struct unit *u);
int unit_limit_rows(struct unit *u, int rows);
void unit_stats(const struct unit *u, struct eng_stats *out);
/* Token rows of all jobs that wait or run. */
uint64_t unit_backlog(const struct unit *u);

/* size.c: fills in u->size and the queue's bound, when all else is open. E_INVALID, E_NOMEM. */
int unit_choose_sizes(struct unit *u, const struct eng_options *o, struct err *err);
struct model_plan unit_plan(const struct unit *u); /* of those sizes */
int32_t unit_rows_least(const struct unit *u);     /* of a pass, so that any question gets on */
int32_t unit_keys(const struct unit *u);           /* private keys of a row, at most */

/* The step thread: turns until the queue is closed. arg is the unit. */
void *unit_step_main(void *arg);
/* Show the counters; before the thread starts, then by it alone. */
void unit_publish(struct unit *u);

#endif
