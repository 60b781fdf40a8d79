/* prompt.h - the texts of the paper's tasks as token ids, to the letter (spec section 4).
 *
 *     BOS [INST] <Img> picture </Img> {instruction} [/INST]
 *
 * Every piece between pictures is tokenized on its own with SentencePiece's dummy space. The answer
 * is a piece of its own and is not part of the prompt. Thread: any.
 */
#ifndef ENGINE_TASK_PROMPT_H
#define ENGINE_TASK_PROMPT_H

#include <stdint.h>

#include "engine/files/sptok.h"
#include "engine/model/model.h"

/* Tokens with one picture in them: ids[i] >= 0 is a token, PROMPT_IMAGE stands for all I tokens of
 * the picture. */
enum { PROMPT_IMAGE = -1, PROMPT_MAX = 512 };
struct prompt {
    int32_t ids[PROMPT_MAX];
    int n;
};

/* The pixel question about grid place (x, y), 0-based from the top left; the model's coord_order
 * decides which comes first in `[reconstruct] loc: [a,b] rgb:`. E_INVALID outside the grid. */
int prompt_pixel(const struct model_config *c, const struct sptok *t, int x, int y,
                 struct prompt *out, struct err *e);

/* Any instruction text, already complete ("[vqa] what is this?"). E_TOO_BIG over PROMPT_MAX. */
int prompt_text(const struct model_config *c, const struct sptok *t, const char *instruction,
                struct prompt *out, struct err *e);

#endif
