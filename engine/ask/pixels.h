/* pixels.h - the prompts of all pixel questions of a model, tokenized once at start.
 *
 * What all of them begin with is the stem. What follows is the text of one place of the grid. The
 * texts are sorted here once, so that the tree of a job is built without the tokenizer. The stem is
 * the same for every job, however few places it asks about: a pixel alone attends to the same keys
 * as one among thousands.
 */
#ifndef ENGINE_ASK_PIXELS_H
#define ENGINE_ASK_PIXELS_H

#include <stdint.h>

#include "engine/answer/grammar.h"
#include "engine/files/sptok.h"
#include "engine/model/model.h"
#include "engine/run/job.h"

struct pixels {
    struct questions questions;
    int32_t text_max;      /* tokens of the longest text behind the stem */
    int32_t branch_tokens; /* of the tree of all places */
    int32_t tail_max;      /* the longest tail in it */
    uint64_t tree_tokens;  /* stem, branches and tails together */
    int32_t *ids;          /* of all texts, one after the other */
    int32_t *stem_ids, *order;
    struct tree_text *texts;
};

/* E_UNSUPPORTED when the prompts do not fit the model's positions or have no picture in common. */
int pixels_new(const struct model_config *c, const struct sptok *t, const struct grammar *g,
               struct pixels **out, struct err *e);
void pixels_free(struct pixels *p); /* NULL is legal */

#endif
