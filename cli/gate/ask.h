/* ask.h - one question of the gate, asked of both models, and what its answers are worth. Inside of
 * gate.h. Thread: main's. */
#ifndef CLI_GATE_ASK_H
#define CLI_GATE_ASK_H

#include "cli/gate/battery.h"
#include "cli/gate/gate.h"
#include "cli/gate/models.h"
#include "data/exam.h"

struct gate_item {
    enum gate_part part;
    enum sample_task task;
    int data;                /* of the options, where it is of the data */
    struct exam_pick pick;   /* which line; of the battery, `line` is the number of the question */
    struct boot_item scores; /* num, den: as the metric wants them */
    double guess[2];         /* of the battery: num, den of the answer without looking */
    struct asked *asked;     /* while it is asked */
};

struct asking {
    const struct gate_options *o;
    const struct battery *battery;
    struct models models;
    struct eng_point *points; /* (grid * grid) */
    struct gate_item *items;  /* (n) borrowed */
    uint32_t n;
};
/* Asks all of them and fills their scores. E_CANCELLED. */
int ask_all(struct asking *a, struct err *e);

#endif
