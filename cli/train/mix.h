/* mix.h - the data of a recipe, opened, and the samplers that are made of it: one to learn from for
 * each stage, one to judge by for the whole run. Thread: main's. */
#ifndef CLI_TRAIN_MIX_H
#define CLI_TRAIN_MIX_H

#include "cli/train/recipe.h"
#include "data/features.h"
#include "data/sampler.h"

struct mix {
    const struct recipe *recipe;
    struct source *sources[RECIPE_DATA_MAX]; /* of recipe->data */
    struct features features;                /* all zero: none are given */
    char digest[65];                         /* over the digests of all */
};
/* Asked now and then; anything but 0 ends the reading: E_CANCELLED. */
typedef int mix_stop_fn(void *ud);

/* Reads and checks all data; what is wrong with it goes to standard error. `is_silent`: but not
 * from here. E_FORMAT: more lines are bad than the recipe allows. */
int mix_open(const struct recipe *r, int is_silent, mix_stop_fn *stop, void *ud, struct mix *m,
             struct err *e);
void mix_close(struct mix *m); /* all zero is legal */

/* What a stage learns from: by its ratios, without what is judged by. E_INVALID: a task with a
 * ratio that no data has. */
int mix_learner(const struct mix *m, int stage, const struct train_form *form, struct sampler **out,
                struct err *e);
/* What the run is judged by: the tasks of the last stage alike, nothing drawn at random. *out is
 * NULL when no data was kept apart for it. */
int mix_judge(const struct mix *m, const struct train_form *form, struct sampler **out,
              struct err *e);

/* What is kept apart of data i, whole, for questions: a bit for each task of the last stage that it
 * has, 0: nothing is; and which share of it that is. */
unsigned mix_held(const struct mix *m, int i, float *held);

#endif
