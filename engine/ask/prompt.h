/* prompt.h - the texts of the tasks as token ids, to the letter (docs/model.md section 4).
 *
 *     BOS [INST] <Img> picture </Img> {instruction} [/INST]
 *     BOS [INST] <Img> picture </Img><Img> picture </Img> {instruction} [/INST]
 *     ... answer EOS BOS [INST] {next question} [/INST]
 *
 * Every piece between pictures is tokenized on its own, with SentencePiece's dummy space in front.
 * So is the answer of an earlier turn. The answer that is wanted is not in the prompt. Thread: any.
 *
 * What users write is text, never structure. Whatever would forge a turn or a picture is refused.
 * The names of control pieces, such as <s>, forge nothing: in a text they are text.
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

/* The same of `[segmentation] {sentence} loc: [a,b] mask:`. The caller checks the sentence. */
int prompt_mask(const struct model_config *c, const struct sptok *t, const char *sentence, int x,
                int y, struct prompt *out, struct err *e);

/* The prompt of an ask, of all tasks but ENG_PIXELS and ENG_SEGMENT. Texts of users are checked.
 * E_INVALID, E_TOO_BIG (over PROMPT_MAX tokens), E_NOMEM. *out is untouched on failure. */
int prompt_ask(const struct model_config *c, const struct sptok *t, const struct eng_ask *ask,
               struct prompt *out, struct err *e);

/* Turns that are to be learnt: each has its answer. *out is the whole talk with the EOS behind each
 * answer; answer i is the tokens [answers[i].at, answers[i].at + answers[i].n), EOS included. Texts
 * are checked as those of a chat. Errors as prompt_ask, and E_INVALID for an empty answer. */
struct prompt_answer {
    int at, n;
};
int prompt_learn(const struct model_config *c, const struct sptok *t, const struct eng_turn *turns,
                 uint32_t n, struct prompt *out, struct prompt_answer *answers, struct err *e);

/* May a user's sentence or question stand in a prompt? `what` names it in the error ("the
 * sentence"). E_INVALID: empty, not UTF-8, with control characters or one of the model's own tags.
 * E_TOO_BIG: over PROMPT_SENTENCE_MAX bytes. */
int prompt_check(const char *text, const char *what, struct err *e);
/* The same for a turn of a chat. Line breaks and tabs are legal, and so is the tag of a task, which
 * is how MiniGPT-v2 is asked for one. Only the model's positions bound its length. */
int prompt_check_turn(const char *text, const char *what, struct err *e);
/* The same of a text that is to be learnt. Names of control pieces are refused, too: who writes
 * them there means the pieces. */
int prompt_check_learnt(const char *text, int in_chat, const char *what, struct err *e);
/* The tags that prompt_check_turn refuses lose their brackets, which become blanks. In place. */
void prompt_blank_tags(char *text);

#endif
