/* sched.h - which rows run next: the policy, and the life of jobs between submit and end.
 *
 * A turn of the step thread:
 *     sched_add(s, job) ...       what came through the queue
 *     sched_reap(s, now)          cancelled and late jobs end
 *     sched_admit(s)              waiting jobs that fit begin to run
 *     sched_next_picture(s, c)    a job with a picture for the vision tower, if there is any
 *     sched_fill(s, b)            what takes part in the next pass
 *     ... batch_build, model_run ...
 *     sched_advance(s, b)         answers
 *     sched_announce(s)           publish what is new and wake; jobs that ended leave
 *
 * Admission. A job is admitted when there is room at once for its stem, and single slots for its
 * branches and one lane. More lanes get their slots one by one, as rows become free. Inside a class
 * the owner of whom fewest jobs run comes first; of one owner, who came first. A job that does not
 * fit yet is passed over. After SCHED_SKIPS others were admitted since it first did not fit, nobody
 * else is, but act jobs; at once, if nothing of its owner runs. While it lacks single slots,
 * running jobs start no second lane. So it gets in when what runs has drained. At most
 * SCHED_OF_CLASS running jobs are of one class, and SCHED_FOR_ACT more are kept for act jobs, so
 * that nobody has to wait until one of many whole pictures ends. SCHED_FOR_NEW are kept for owners
 * of whom nothing runs, whatever their class.
 *
 * Shares. The next rows of a pass go to the owner that has had the fewest, of its classes to the
 * one that has had the fewest for its weight, and in it to the job that has had the fewest
 * (share.h). A job takes SCHED_QUANTUM rows before the next choice is made: first its lanes in the
 * middle of an answer, then the next chunk of its stem, then new lanes. No owner, class or job
 * starves: the one that has had the least is the first to choose, while the whole pass is still
 * empty. An action takes several passes, one after the other, and a short pass ends sooner. So
 * while an act job runs, all others together get SCHED_BESIDE_ACT rows of a pass; or, on a device
 * whose products have tiles of more rows than that, what the act jobs leave of the last tile, which
 * makes the pass hardly longer. There act jobs, however many, leave the others SCHED_BESIDE_ACT.
 *
 * Batches. Jobs of ENG_BATCH come behind all others. None is admitted, none has a picture seen and
 * none gets a row of a pass that has rows of others, so others lose one pass to them at most: the
 * one that runs when they come. What a batch's jobs hold meanwhile is bounded: one lane in
 * SCHED_BATCH_LANES, places for running jobs as any class, and where a job of others has no room,
 * the youngest of a batch is ended with E_BUSY until it has. Thread: step.
 */
#ifndef ENGINE_RUN_SCHED_H
#define ENGINE_RUN_SCHED_H

#include <stdint.h>

#include "engine/run/batch.h"
#include "engine/run/job.h"
#include "engine/run/kv.h"
#include "engine/run/lane.h"
#include "engine/run/share.h"
#include "engine/run/stem.h"
#include "engine/run/wait.h"

enum {
    SCHED_RUNNING = 36,  /* jobs that run at once */
    SCHED_OF_CLASS = 20, /* of them, of one class; of act jobs any number */
    SCHED_FOR_ACT = 4,   /* of them, kept for act jobs */
    SCHED_FOR_NEW = 4,   /* of them, kept for owners of whom nothing runs */
    SCHED_SKIPS = 16,
    SCHED_LOOKS = 64,      /* waiting jobs of a class that are tried in one turn */
    SCHED_QUANTUM = 256,   /* rows: few stems in a pass, since each needs its keys packed */
    SCHED_BESIDE_ACT = 64, /* rows of a pass that others get while an act job runs, at least */
    SCHED_BATCH_LANES = 2  /* jobs of a batch have one in so many lanes at most */
};

struct sched {
    struct kv *kv;
    struct stems *stems;
    struct lanes *lanes;
    struct shares shares;                   /* with the jobs that wait */
    int n_waiting[ENG_CLASSES];             /* of all owners */
    struct eng_job *running[SCHED_RUNNING]; /* oldest first */
    int n_running;
    int32_t tile;        /* kern_ops.tile_rows */
    int is_held;         /* an aged job waits for single slots */
    int is_short;        /* a job that is no batch's was not admitted: there is no room for it */
    int32_t batch_lanes; /* lanes that jobs of batches have */
    struct job_list touched; /* jobs with something to announce */
    /* Since start: */
    uint64_t added, admitted;                     /* jobs */
    uint64_t left_cost[WAIT_OWNERS][ENG_CLASSES]; /* of jobs that stopped waiting */
    uint64_t left;                                /* and their number */
    uint64_t retired; /* of the cost of jobs: done, or not needed after all */
    uint64_t done, failed, cancelled;
    uint64_t answers[ENG_TASKS], tokens; /* tokens of text */
};

/* `tile`: rows that the device makes at once, kern_ops.tile_rows. */
void sched_init(struct sched *s, struct kv *kv, struct stems *stems, struct lanes *lanes,
                int32_t tile);

void sched_add(struct sched *s, struct eng_job *j);
void sched_reap(struct sched *s, uint64_t now_ns);
void sched_admit(struct sched *s);
/* A running job, of games or of all others, that has a picture for the vision tower; NULL: none.
 * Of batches only when nothing else runs. Of the others, the owner of whom the tower has seen least
 * comes first, then the more urgent. */
struct eng_job *sched_next_picture(const struct sched *s, int is_act);
/* One of the job's is behind it: it has seen it, or its features were still there. */
void sched_saw(struct sched *s, struct eng_job *j, int is_new);
void sched_fill(struct sched *s, struct batch *b);
void sched_advance(struct sched *s, struct batch *b);
void sched_announce(struct sched *s);
/* End everything with this error, or as cancelled when code is E_CANCELLED. */
void sched_end_all(struct sched *s, int code, const char *why);

int sched_has_act(const struct sched *s); /* an act job runs */
int sched_is_idle(const struct sched *s); /* nothing waits, nothing runs */
/* Of each owner, and of the classes: rows that running jobs may still need, and how many jobs run.
 * Leaves what waits. */
void sched_load(const struct sched *s, struct wait_owner of[WAIT_OWNERS]);

#endif
