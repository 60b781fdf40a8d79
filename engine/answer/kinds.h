/* kinds.h - the kinds of answers, compiled from the tokenizer, ready for one pass to mix.
 *
 * Each kind of numbers has a grammar. Text has the whole vocabulary. Lanes of all kinds stand in
 * one pass, which knows two heads: the rows of lm_head that a number can fall on, and all rows. The
 * column sets of all grammars follow each other, in columns of the first head. The last set is the
 * whole vocabulary. In a grammar itself `head_ids`, `col_off` and `cols` count from zero; `set0`
 * says where its sets begin here.
 *
 * Immutable once made. Any thread may read.
 */
#ifndef ENGINE_ANSWER_KINDS_H
#define ENGINE_ANSWER_KINDS_H

#include <stdint.h>

#include "engine/answer/grammar.h"
#include "engine/engine.h"

enum kind {
    KIND_COLOUR,
    KIND_BIT,
    KIND_BOX,
    KIND_DRIVE,
    KIND_SHOOT,
    KIND_NUMBERS,             /* how many there are of these */
    KIND_TEXT = KIND_NUMBERS, /* generated token by token */
    KIND_CHOICE               /* given and scored */
};

extern const enum kind kind_of_task[ENG_TASKS]; /* when no choices are given */

struct kinds {
    const struct sptok *tok; /* borrowed */
    int32_t eos;
    struct grammar *g[KIND_NUMBERS];
    int32_t set0[KIND_NUMBERS];
    int32_t *head_ids; /* of the head of numbers, in id order */
    int n_head;
    int32_t *text_ids; /* of the head of text: the vocabulary */
    int n_text;        /* rows of lm_head */
    int32_t *col_off, *cols;
    int n_number_sets, text_set; /* text_set is the last one */
    int max_number_set;
    double error_scale[KIND_NUMBERS]; /* see kinds_calibrate; 1 when made */
};

/* Tokenizer and `vocab`, the rows of lm_head (a few may be padding). Errors as grammar_new. */
int kinds_new(const struct sptok *t, int vocab, struct kinds **out, struct err *e);
void kinds_free(struct kinds *ks); /* NULL is legal */
/* A network may expect twice the error that it makes. So what answers of a kind state (mean_abs)
 * becomes `scale` times as much, as if the distribution were drawn together around the answer. The
 * answers stay. Once, before the first lane. */
void kinds_calibrate(struct kinds *ks, enum kind kind, double scale);

static inline int kind_is_text(enum kind k) { return k >= KIND_TEXT; }

#endif
