/* eng.h - the inside of an engine: what its files share.
 *
 * open.c makes and takes down the struct, size.c chooses its sizes, engine.c runs it and answers
 * callers. Nobody else includes this.
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
#ifndef ENGINE_ENG_H
#define ENGINE_ENG_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/ask.h"
#include "engine/engine.h"
#include "engine/picture.h"
#include "engine/run/batch.h"
#include "engine/run/feats.h"
#include "engine/run/sched.h"
#include "kernels/base/queue.h"

enum {
    ENG_QUEUE_JOBS = 1024, /* that may wait */
    ENG_STATS_WORDS = sizeof(struct eng_stats) / sizeof(uint64_t)
};

struct sizes {
    int32_t lanes, rows, runs, singles, cached;
    int32_t tail_max;   /* of a lane */
    int32_t answer_max; /* of numbers */
};

struct eng {
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
    _Atomic uint64_t waiting_cost, refused, drain; /* drain: rows per second */
    atomic_uint waiting;
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

/* size.c: fills in e->size and the queue's bound, when all else is open. E_INVALID, E_NOMEM. */
int eng_choose_sizes(struct eng *e, const struct eng_options *o, struct err *err);
struct model_plan eng_plan(const struct eng *e); /* of those sizes */
int32_t eng_keys(const struct eng *e);           /* private keys of a row, at most */

/* The step thread: turns until the queue is closed. arg is the engine. */
void *eng_step_main(void *arg);
/* Show the counters; before the thread starts, then by it alone. */
void eng_publish(struct eng *e);

#endif
