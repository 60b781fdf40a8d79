/* ask.h - from an ask to a job: is it legal, what is its prompt, which kind of answer does it want?
 *
 * Runs on the caller's thread, reads only what never changes after open, and allocates the job's
 * arena.
 */
#ifndef ENGINE_ASK_ASK_H
#define ENGINE_ASK_ASK_H

#include <stdint.h>

#include "engine/answer/kinds.h"
#include "engine/ask/pixels.h"
#include "engine/engine.h"
#include "engine/files/sptok.h"
#include "engine/model/model.h"
#include "engine/run/job.h"

struct asker { /* all borrowed */
    const struct model_config *config;
    const struct sptok *tok;
    const struct kinds *kinds;
    const struct pixels *pixels;
    int32_t tail_max;  /* of a lane */
    int32_t slots_max; /* of a tail and its answer in text; 0: any */
};

/* Tokens behind the stem in a prompt of a mask, at most. */
int ask_mask_tail(const struct model_config *c, const struct sptok *t, int32_t *tail_max,
                  struct err *e);

/* E_INVALID, E_TOO_BIG, E_NOMEM; see eng_submit. */
int ask_job(const struct asker *a, const struct eng_ask *ask, struct eng_job **out, struct err *e);

#endif
