/* run.h - a run of `lammd train`: everything that it holds, and its parts.
 *
 *     train.c     the command: options, recipe, what is to be done
 *     run.c       stages in turn, going on from a checkpoint, the end
 *     loop.c      the steps of a stage: learn, judge, save
 *     export.c    what a stage hands on, the result, its card
 *     gated.c     the result compared with what it began with
 *     plan.c      --plan
 *     dump.c      --samples
 *     take.c      --take
 *
 * Everything but clocks is a function of recipe, data, model and state (state.h): a run that was
 * ended at any moment goes on from its newest checkpoint to the same bits. Several ranks do the
 * same side by side; rank 0 alone writes and speaks. Thread: main's.
 */
#ifndef CLI_TRAIN_RUN_H
#define CLI_TRAIN_RUN_H

#include <signal.h>

#include "cli/config.h"
#include "cli/gate/gate.h"
#include "cli/train/folder.h"
#include "cli/train/journal.h"
#include "cli/train/mix.h"
#include "cli/train/recipe.h"
#include "cli/train/say.h"
#include "cli/train/state.h"
#include "engine/train/comm.h"

enum { RUN_CARD_MAX = 64 << 10 }; /* bytes */

struct run {
    const struct config *cfg;
    struct recipe recipe;
    char recipe_digest[65];
    const char *model;             /* folder that the first stage begins with */
    const struct train_comm *comm; /* NULL: alone */
    int rank, size;
    struct folder folder;   /* rank 0 has the lock; all know the path */
    struct journal journal; /* rank 0 */
    struct say say;
    struct mix mix;
    struct sampler *judge; /* NULL: there is nothing to judge by */

    struct state state;
    uint64_t saved; /* the step of the newest checkpoint; UINT64_MAX: there is none */
    int stage;
    struct train *train; /* of that stage */

    const struct gate_report *gate; /* how it compares, once that is known; NULL before */

    int is_stopped; /* somebody sent SIGTERM or SIGINT */
};

/* ---- train.c ---- */

/* Did SIGTERM or SIGINT come, here? The first one is remembered, a second one kills. */
int run_stopped(struct run *r);

/* ---- run.c ---- */

/* From where it stands to the end, or to a signal: 0 either way. */
int run_all(struct run *r, struct err *e);
/* The run failed so: the last line of its events, also where nothing else was written yet. Or it
 * was stopped before it had begun. */
void run_note_failure(struct run *r, int rc, const struct err *why);
/* Steps of all stages before that one. */
uint64_t run_first_step(const struct run *r, int stage);
/* The folder of the model that the stage begins with: what the nearest stage above it that learnt
 * whole weights handed on, in `to`, or r->model. */
const char *run_base(const struct run *r, int stage, char to[FOLDER_PATH_MAX]);
/* The run is in that phase now: "train", "export", "evaluate". */
int run_note_phase(struct run *r, const char *phase, struct err *e);
/* A trainer for that stage, in r->train, that has what the stages before it learnt. */
int run_open_stage(struct run *r, int stage, struct err *e);
/* Rank 0 says something on a line of its own. */
#define run_say(r, ...) say_line(&(r)->say, __VA_ARGS__)

/* ---- loop.c ---- */

/* The steps of r->stage that are left. */
int run_stage(struct run *r, struct err *e);
/* The losses by the validation part, as they are now. */
int run_judge(struct run *r, struct losses *out, struct err *e);
/* Writes a checkpoint of now, and deletes those that are not kept. */
int run_save(struct run *r, struct err *e);

/* ---- export.c ---- */

/* The folder that a stage hands on, "stage-1". */
void run_stage_folder(const struct run *r, int stage, char to[FOLDER_PATH_MAX]);
int run_hand_on(struct run *r, struct err *e);
/* The result with its card, and the curve. */
int run_export(struct run *r, struct err *e);
/* The folders of the result: OUT/adapter, OUT/model. Is it, behind r->stage, one of those? */
int run_has_result(const struct run *r, int is_model);
void run_result_folder(const struct run *r, int is_model, char to[FOLDER_PATH_MAX]);
/* The card as it is now, with r->gate where there is one. */
void run_write_card(const struct run *r, int is_model, struct buf *to);

/* ---- gated.c ---- */

/* Asks the result and what it began with, writes gate.json into OUT and beside the result, and the
 * figures into its card. Closes r->train. E_CANCELLED: there was a signal; nothing was written. */
int run_gate(struct run *r, struct err *e);

/* ---- plan.c ---- */

/* Prints the memory and the samples of each stage, for people or (--json) for programs. E_NOMEM:
 * one doesn't fit into `memory`. */
int plan_print(const struct run *r, FILE *to, struct err *e);
/* "; it would fit with recompute = 2 (812 MiB)": a change to a stage that needs `most` bytes at
 * most. "": none of those that are tried does. */
void plan_advice(const struct train_options *o, int samples, uint64_t most, char *to, size_t cap);

/* ---- dump.c ---- */

/* --samples: what each step would ask goes to a file, and nothing is learnt. */
int dump_samples(struct run *r, const char *path, struct err *e);

#endif
