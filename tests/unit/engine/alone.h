/* alone.h - one prompt of any task through the model by itself, token after token: what an engine's
 * answers to tasks are held against. Knows nothing of trees, lanes, stems and grammars: an answer's
 * legal texts are tried as texts. */
#ifndef TESTS_UNIT_ENGINE_ALONE_H
#define TESTS_UNIT_ENGINE_ALONE_H

#include <stdint.h>

#include "engine/ask/prompt.h"
#include "engine/engine.h"
#include "engine/files/sptok.h"

struct alone {
    const struct kern_ops *ops;
    struct kern *k;
    struct model *m;
    struct sptok *tok;
    struct model_head *head; /* the whole vocabulary */
    int32_t *cols, col_off[2];
    int n; /* tokens fed */
    int32_t best;
    float *probs; /* (vocabulary) of the latest row */
};

struct alone *alone_open(const char *dir);
void alone_close(struct alone *a);
/* Features of a picture, (h, w, 3), for entry `feat` (0 .. ENG_PICTURES_MAX - 1). */
void alone_see(struct alone *a, const uint8_t *rgb, int w, int h, int feat);
/* Begin a prompt: all of it, as one pass. Then one token at a time. */
void alone_begin(struct alone *a, const struct prompt *p);
void alone_feed(struct alone *a, int32_t token);

/* The greedy text, at most `max` tokens; the ids, and how many. */
int alone_generate(struct alone *a, const struct prompt *p, int max, int32_t *ids);
/* ln of the likelihood of a text and the end of text. */
double alone_score(struct alone *a, const struct prompt *p, const char *text);
/* Which of n legal whole answers greedy picks among the legal ones lead to. */
int alone_pick(struct alone *a, const struct prompt *p, const char *const *legal, int n);

#endif
