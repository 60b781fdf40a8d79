/* sched.h - which rows run next: the policy, and the life of jobs between submit and end.
 *
 * A turn of the step thread:
 *     sched_add(s, job) ...       what came through the queue
 *     sched_reap(s, now)          cancelled and late jobs end
 *     sched_admit(s)              waiting jobs that fit start to run
 *     sched_unseen(s, class)      pictures for the vision tower, if any are wanted
 *     sched_fill(s, b)            rows of the next pass
 *     ... batch_build, model_run ...
 *     sched_advance(s, b)         answers
 *     sched_announce(s)           show what is new and wake; jobs that ended leave
 *
 * Admission. A job is let in when its stem's runs and single slots for its branches and one lane can
 * be had at once; more lanes are promised their slots one by one, as rows go round. Inside a class it
 * is first come first served; a job that does not fit yet is passed over, but when SCHED_SKIPS others
 * were let in since it first did not fit, nobody else is (but act jobs), and while single slots are
 * what it lacks, running jobs start no second lane. So it gets in when what runs has drained. No
 * class takes all places, and a few are kept for act jobs: nobody waits for one of many whole pictures to end.
 *
 * Shares. Who gets the next rows of a pass: the class that has had the fewest rows for its weight,
 * and in it the job that has had the fewest; one that comes late starts level with the others. A
 * job takes SCHED_QUANTUM rows before the question is asked again: its lanes in the middle of an
 * answer, then the next chunk of its stem, then new lanes. No class and no job starves: whoever has
 * had least is asked first, with the whole pass still empty.
 * An action takes several passes, one after the other, and a short pass ends sooner: while an act
 * job runs, all others together get SCHED_BESIDE_ACT rows of a pass.
 * Thread: step.
 */
#ifndef ENGINE_RUN_SCHED_H
#define ENGINE_RUN_SCHED_H

#include <stdint.h>

#include "engine/run/batch.h"
#include "engine/run/job.h"
#include "engine/run/kv.h"
#include "engine/run/lane.h"
#include "engine/run/stem.h"

enum {
    SCHED_RUNNING = 32,  /* jobs that run at once */
    SCHED_OF_CLASS = 20, /* of them, of one class; act jobs are as many as they are */
    SCHED_FOR_ACT = 4,   /* places that nothing but act jobs may take */
    SCHED_SKIPS = 16,
    SCHED_LOOKS = 64,     /* waiting jobs of a class that are looked at in one turn */
    SCHED_QUANTUM = 256,  /* rows: few stems in a pass, since each costs it a packing of its keys */
    SCHED_BESIDE_ACT = 64 /* rows of a pass that others get while a game waits for its action */
};

struct sched_list {
    struct eng_job *first, *last;
    int n;
};

struct sched {
    struct kv *kv;
    struct stems *stems;
    struct lanes *lanes;
    struct sched_list waiting[ENG_CLASSES];
    struct eng_job *running[SCHED_RUNNING]; /* oldest first */
    int n_running;
    uint64_t served[ENG_CLASSES]; /* rows, divided by the class's weight */
    int is_held;                  /* an aged job waits for single slots */
    struct sched_list touched;    /* have something to announce */
    uint64_t let_in;              /* jobs that were let in since start */
    uint64_t left_cost, left;     /* cost and number of jobs that stopped waiting since start */
    uint64_t done, failed, cancelled;
    uint64_t answers[ENG_TASKS], tokens; /* given since start; tokens spoken */
};

void sched_init(struct sched *s, struct kv *kv, struct stems *stems, struct lanes *lanes);

void sched_add(struct sched *s, struct eng_job *j);
void sched_reap(struct sched *s, uint64_t now_ns);
void sched_admit(struct sched *s);
/* The oldest running job of a class that has a picture for the vision tower, or NULL. */
struct eng_job *sched_unseen(const struct sched *s, enum eng_class class);
void sched_fill(struct sched *s, struct batch *b);
void sched_advance(struct sched *s, struct batch *b);
void sched_announce(struct sched *s);
/* End everything with this error, or as cancelled when code is E_CANCELLED. */
void sched_end_all(struct sched *s, int code, const char *why);

int sched_has_act(const struct sched *s); /* an act job runs */
int sched_is_idle(const struct sched *s); /* nothing waits, nothing runs */
int sched_waiting(const struct sched *s);
uint64_t sched_rows_left(const struct sched *s); /* rows that running jobs may still need */

#endif
