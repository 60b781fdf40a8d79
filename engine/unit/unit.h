/* unit.h - one device with its model, its step thread and its queue. An engine is one or more of
 * them.
 *
 * open.c makes the struct and takes it down. size.c chooses its sizes. unit.c runs it and serves
 * callers, load.c brings adapters in. engine.c spreads jobs over units. Nobody else includes this.
 *
 * Invariants
 *   1. Between open and close only the step thread touches what stands under "Owner: step".
 *   2. A job counts in `waiting` and `waiting_cost` from submit until the step thread admits or
 *      ends it. So the bound holds for the queue and the waiting lists together.
 *   3. Counters are published before the job is announced that they count. When its end is visible,
 *      the statistics have it, too.
 *   4. A device is lost for good: every job fails with E_DEVICE, also those to come.
 *   5. A turn allocates nothing. If it does, the allocations are counted and shown; a test wants 0.
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
#include "engine/run/wait.h"
#include "kernels/base/queue.h"

enum {
    ENG_QUEUE_JOBS = 1024, /* that may wait */
    ENG_STATS_WORDS = sizeof(struct eng_stats) / sizeof(uint64_t)
};

struct sizes {
    int32_t lanes, rows, range_slots, single_slots, cached, feats;
    int32_t tail_max;   /* of a lane */
    int32_t answer_max; /* of numbers */
    int berths, berth_rank, berth_overlays;
    enum kern_keep berth_keep;
};

struct unit {
    /* ---- Fixed after open. ---- */
    struct eng_info info;
    struct model_config config;
    struct picture_sizes picture_sizes;
    struct pixels *pixels;
    struct asker asker;
    struct sizes size;
    uint64_t queue_tokens_max, queue_ns;
    pthread_t thread;

    /* ---- Shared. ---- */
    struct queue *queue;
    atomic_int health;
    struct err lost; /* why; written before `health` says so, never after */
    _Atomic uint64_t waiting_cost, running_cost, refused;
    struct {
        _Atomic uint64_t owner; /* of the jobs that it counts, or of the last that it did */
        _Atomic uint64_t waiting[ENG_CLASSES], left[ENG_CLASSES];
        _Atomic uint32_t running[ENG_CLASSES];
    } load[WAIT_OWNERS];   /* a struct wait_owner each: unit_place */
    _Atomic uint64_t pace; /* rows a second */
    atomic_uint waiting;
    atomic_int rows_most;                        /* of passes to come */
    _Atomic uint64_t turns;                      /* of the step thread */
    _Atomic uint64_t rate_ns;                    /* when the rate of pixels was last counted */
    _Atomic uint64_t published[ENG_STATS_WORDS]; /* a struct eng_stats. One writer: step */

    /* ---- Owner: who calls unit_stuck_ns. ---- */
    uint64_t seen_beats, seen_ns;

    /* ---- Owner: step. ---- */
    const struct kern_ops *ops;
    struct kern *kern;
    struct model *model;
    struct sptok *tok;
    struct kinds *kinds;
    struct model_head *numbers, *text; /* heads */
    struct kv kv;
    struct stems stems;
    struct feats feats;
    struct lanes lanes;
    struct batch batch;
    struct sched sched;
    struct eng_adapter *loading[ENG_ADAPTERS_MAX]; /* oldest first */
    int n_loading, loaded_layers;                  /* loaded_layers: of the oldest */
    struct eng_stats stats;
    /* The same of sched, as far as subtracted from `waiting` already. */
    uint64_t left, left_cost[WAIT_OWNERS][ENG_CLASSES];
    uint64_t retired; /* the same, as far as `measured` has it */
    struct wait_pace measured;
    uint64_t shown_pixels, shown_ns;
    int waited_turns; /* since the pictures of others have been waiting for an action */
};

/* open.c: as eng_open_on, on one device of `ops`. */
int unit_open(const struct eng_options *opt, const struct kern_ops *ops, struct unit **out,
              struct err *err);
void unit_close(struct unit *u); /* NULL is legal */

/* unit.c: as the functions of engine.h with the same name. Any thread. */
int unit_submit(struct unit *u, const struct eng_ask *ask, struct eng_job **out, struct err *err);
/* The same for n > 1 units, each of which answers a band of the ask (run/band.h). *out NULL, and
 * 0: it can't be cut, or a unit has no room for its band. */
int unit_submit_bands(struct unit *const *units, int n, const struct eng_ask *ask,
                      struct eng_job **out, struct err *err);
/* Do the two give the same bits (kern_stats.bits)? Not for good: a device may become another. */
int unit_is_like(const struct unit *u, const struct unit *other);
int unit_health(const struct unit *u);
int32_t unit_stem_max(const struct unit *u); /* tokens of the longest stem that has room */
const char *unit_lost(const struct unit *u);
uint64_t unit_stuck_ns(struct unit *u);
double unit_pace(const struct unit *u); /* rows a second, as measured; 0: not yet */
unsigned unit_retry_after(const struct unit *u);
int unit_limit_rows(struct unit *u, int rows);
void unit_stats(const struct unit *u, struct eng_stats *out);
/* Token rows of all jobs that wait or run. */
uint64_t unit_backlog(const struct unit *u);

/* load.c. On the caller's thread: opens an adapter's folder for `units` units like this one; its
 * berth is of the table. Then it is to be given to unit_bring of each of them. Errors as of
 * eng_adapter_load. */
int unit_open_adapter(const struct unit *u, const char *folder, struct berths *b, int units,
                      struct eng_adapter **out, struct err *err);
void unit_bring(struct unit *u, struct eng_adapter *a);
/* Step: what came through the queue; one layer of the oldest; the end of all that are on their
 * way. */
void load_take(struct unit *u, struct eng_adapter *a);
void load_turn(struct unit *u);
void load_end_all(struct unit *u, int code, const char *why);

/* size.c: what the model needs beside its weights at least, with these options, when its prompts
 * are known and it isn't open yet. E_INVALID, E_UNSUPPORTED. */
int unit_beside(struct unit *u, const struct eng_options *o, struct model_beside *out,
                struct err *err);
/* Fills in u->size and the bound of the queue, when all else is open. E_INVALID,
 * E_NOMEM. */
int unit_choose_sizes(struct unit *u, const struct eng_options *o, struct err *err);
struct model_plan unit_plan(const struct unit *u); /* of these sizes */
int32_t unit_rows_least(const struct unit *u);     /* of a pass, so that any question gets on */
int32_t unit_keys(const struct unit *u);           /* private keys of a row, at most */

/* The step thread: turns until the queue is closed. arg: the unit. */
void *unit_step_main(void *arg);
/* Publish the counters. Before the thread starts, then by the thread alone. */
void unit_publish(struct unit *u);

#endif
