/* legal.h - a loss among the answers that are legal.
 *
 * When lammd serves, a number is picked among those that the grammar of its task allows
 * (engine/answer/grammar.h), and what is forced isn't asked for at all. With `legal` the loss is
 * the same choice: cross-entropy among the tokens that may stand at a place, and none where there
 * is one alone. Logits of all others are -inf before the softmax, so they have no part in loss or
 * gradient.
 *
 *     answer    [     31,      6,       108]     </s>
 *     among     -     0,..255, 0,..255, 0]..255] -            - : forced, not learnt
 *
 * What is answered in free text, or in other words than the grammar's, has the whole vocabulary.
 * Room-private.
 */
#ifndef ENGINE_TRAIN_LEGAL_H
#define ENGINE_TRAIN_LEGAL_H

#include <stddef.h>
#include <stdint.h>

#include "engine/train/train.h"
#include "kernels/kern.h"

struct mix;
struct train;

enum {
    LEGAL_FORCED = -1,
    LEGAL_SETS_MAX = 63 /* of tokens to choose among; "any" is one more */
};
struct legal {
    struct kinds *kinds;
    int32_t any; /* the set of all tokens */
    float *mask; /* (any + 1, V) 0 where a token is legal, else -inf; on the device in b.legal */
};

/* Floats of the masks; 0 without `legal`. */
size_t legal_floats(const struct train_options *o, int vocab);
/* Grammars and masks, when tokenizer and buffers are there. Without `legal` t->legal stays NULL.
 * E_UNSUPPORTED: the tokenizer can't spell the answers. */
int legal_open(struct train *t, struct err *e);
void legal_close(struct train *t);

/* sets[i]: the set that token i of an answer is one of, EOS included; LEGAL_FORCED: it's forced.
 * Without `legal` 0. */
void legal_read(const struct train *t, enum sample_task task, const int32_t *ids, int32_t n,
                int32_t *sets);
/* Is a token of the set? Without `legal` 1. */
int legal_has(const struct train *t, int32_t set, int32_t token);
/* logits (rows, V) of the picks from `at` on: -inf where a token isn't legal. `logits` may be those
 * of a teacher. */
void legal_issue(struct train *t, const struct mix *x, int at, int rows, struct kern_ptr logits);

#endif
