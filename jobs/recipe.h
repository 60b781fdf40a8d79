/* recipe.h - a base recipe and what was asked become the recipe of one run.
 *
 * The base is a recipe of one stage, as they lie in recipes/ (docs/training.md). Its stage is kept,
 * with what was asked in place of its keys; its data give way to the job's own files, which are
 * treated as the base treats its first data. What the keys mean is known to `lammd train` alone.
 * Thread: any.
 */
#ifndef JOBS_RECIPE_H
#define JOBS_RECIPE_H

#include "jobs/jobs.h"

struct recipe_ask {
    struct jobs_how how;
    uint64_t seed;
    const char *model, *device; /* paths and words as `lammd train` takes them */
    int threads;
    const char *training, *validation; /* paths relative to the run's folder; the second NULL:
                                          what the base recipe sets aside is judged by */
    int64_t pictures;                  /* of the training file; 0: not known yet */
};

/* Every value of *effective is said, but for steps and epochs where neither was asked for and
 * `pictures` is 0. E_INVALID (what was asked doesn't fit the recipe; *param names it), E_FORMAT
 * (the base is no recipe for jobs), E_TOO_BIG, E_NOMEM. */
int recipe_make(const char *base, size_t len, const struct recipe_ask *ask,
                struct jobs_how *effective, const char **param, struct buf *out, struct err *e);
/* The same of a file, "NAME.ini" in a folder. E_NOT_FOUND, E_IO, too. */
int recipe_make_from(const char *folder, const struct recipe_ask *ask, struct jobs_how *effective,
                     const char **param, struct buf *out, struct err *e);

/* What a base recipe says of itself. `name` without ".ini". E_INVALID, E_FORMAT (the base is no
 * recipe for jobs), E_NOT_FOUND, E_TOO_BIG, E_IO. */
int recipe_look(const char *folder, const char *name, struct jobs_recipe *out, struct err *e);

#endif
