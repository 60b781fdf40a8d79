/* prompt.h - the texts of the tasks as token ids, to the letter (docs/model.md section 4).
 *
 *     BOS [INST] <Img> picture </Img> {instruction} [/INST]
 *     BOS [INST] <Img> picture </Img><Img> picture </Img> {instruction} [/INST]
 *     ... answer EOS BOS [INST] {next question} [/INST]
 *
 * Every piece between pictures is tokenized on its own with SentencePiece's dummy space, and so is an
 * answer that was given. The answer that is wanted is not part of the prompt. Thread: any.
 *
 * What users write is text, never structure: whatever would forge a turn or a picture is refused.
 */
#ifndef ENGINE_ASK_PROMPT_H
#define ENGINE_ASK_PROMPT_H

#include <stdint.h>

#include "engine/engine.h"
#include "engine/files/sptok.h"
#include "engine/model/model.h"

/* Tokens with pictures in them: ids[i] >= 0 is a token, PROMPT_IMAGE stands for all I tokens of
 * the next picture. */
enum { PROMPT_IMAGE = -1, PROMPT_MAX = 4096, PROMPT_SENTENCE_MAX = 4000 };
struct prompt {
    int32_t ids[PROMPT_MAX];
    int n;
};

/* The pixel question about grid place (x, y), 0-based from the top left; the model's coord_order
 * decides which comes first in `[reconstruct] loc: [a,b] rgb:`. E_INVALID outside the grid. */
int prompt_pixel(const struct model_config *c, const struct sptok *t, int x, int y,
                 struct prompt *out, struct err *e);

/* `[segmentation] {sentence} loc: [a,b] mask:`, likewise. The sentence is checked by the caller. */
int prompt_mask(const struct model_config *c, const struct sptok *t, const char *sentence, int x,
                int y, struct prompt *out, struct err *e);

/* Any instruction about one picture, already complete ("[vqa] what is this?"). E_TOO_BIG over
 * PROMPT_MAX. *out is untouched when refused. */
int prompt_text(const struct model_config *c, const struct sptok *t, const char *instruction,
                struct prompt *out, struct err *e);

/* The prompt of every task but ENG_PIXELS and ENG_SEGMENT, from what the ask says; user's text is
 * checked. E_INVALID, E_TOO_BIG. *out is untouched when refused. */
int prompt_ask(const struct model_config *c, const struct sptok *t, const struct eng_ask *ask,
               struct prompt *out, struct err *e);

/* May a user's sentence or question stand in a prompt? `what` names it in the error ("the sentence").
 * E_INVALID: empty, control characters, not UTF-8, or one of the model's own tags. E_TOO_BIG: over
 * PROMPT_SENTENCE_MAX bytes. */
int prompt_check(const char *text, const char *what, struct err *e);
/* The same of a turn of a chat: line breaks and tabs are legal, a task's tag is how MiniGPT-v2 is asked
 * for one, and only the model's positions bound its length. */
int prompt_check_turn(const char *text, const char *what, struct err *e);

#endif
