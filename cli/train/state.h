/* state.h - what a run remembers beside the weights, as a text that lies in the checkpoint.
 *
 * All of it is a function of the run so far, so a run that goes on is the run that never ended.
 * Only `seconds` is a clock's. Thread: main's.
 */
#ifndef CLI_TRAIN_STATE_H
#define CLI_TRAIN_STATE_H

#include <stdint.h>

#include "engine/sample.h"
#include "engine/train/train.h"
#include "kernels/base/err.h"

enum { STATE_TEXT_MAX = 4000 };

/* Losses by task: sums of weight * cross-entropy in nats, and of weights; then those of boxes, of
 * attention and of dense questions, which are of all tasks together. */
struct losses {
    double sum[SAMPLE_TASKS], weight[SAMPLE_TASKS];
    double box, hold, dense[TRAIN_DENSE];
};
void losses_add(struct losses *to, const struct losses *l);
double losses_weight(const struct losses *l); /* of all tasks */
double losses_mean(const struct losses *l);   /* of answers, boxes and attention: dense questions
                                                 are told beside it. 0: there is no weight */
double losses_of(const struct losses *l, int task);
int losses_any(const struct losses *l); /* is there a task with weight? */

struct state {
    uint64_t done;              /* steps that have ended, of all stages */
    uint64_t talks, tokens;     /* that were learnt from */
    uint64_t skipped;           /* steps whose loss wasn't finite */
    uint64_t left_out;          /* samples that were too long */
    uint64_t csv_bytes;         /* of losses.csv, at this step */
    uint64_t best_step;         /* 0: none was judged */
    double best, seconds;       /* best: the least loss of a judgement, in this stage */
    struct losses before, last; /* judgements: at step 0, and the newest */
};

void state_write(const struct state *s, char text[STATE_TEXT_MAX]);
/* E_FORMAT */
int state_read(const char *text, struct state *out, struct err *e);

#endif
