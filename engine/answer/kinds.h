/* forms.h - the forms that answers take, compiled from the tokenizer, ready for one pass to mix.
 *
 * Numbers have a grammar for each form; text has the whole vocabulary. Lanes of all of them stand in
 * one pass, which knows two heads: the rows of lm_head that any number can fall on, and all rows.
 * The column sets of all grammars lie behind each other, in columns of the first head; the last set is
 * the whole vocabulary. A grammar's own `head_ids`, `col_off` and `cols` count from zero; `set0`
 * says where its sets begin here.
 *
 * Immutable after making; any thread may read.
 */
#ifndef ENGINE_ANSWER_KINDS_H
#define ENGINE_ANSWER_KINDS_H

#include <stdint.h>

#include "engine/answer/grammar.h"

enum form_kind {
    FORM_COLOUR,
    FORM_BIT,
    FORM_BOX,
    FORM_DRIVE,
    FORM_SHOOT,
    FORM_NUMBERS,             /* how many there are of these */
    FORM_TEXT = FORM_NUMBERS, /* spoken token by token */
    FORM_CHOICE               /* given, and scored */
};

struct forms {
    const struct sptok *tok; /* borrowed */
    int32_t eos;
    struct grammar *g[FORM_NUMBERS];
    int32_t set0[FORM_NUMBERS];
    int32_t *head_ids; /* of the head of numbers, in id order */
    int n_head;
    int32_t *text_ids; /* of the head of text: the vocabulary */
    int n_text;        /* rows of lm_head */
    int32_t *col_off, *cols;
    int n_number_sets, text_set; /* text_set is the last one */
    int max_number_set;
};

/* Tokenizer and `vocab`, the rows of lm_head (a few may be padding). Errors as grammar_new. */
int forms_new(const struct sptok *t, int vocab, struct forms **out, struct err *e);
void forms_free(struct forms *f); /* NULL is legal */

static inline int form_is_text(enum form_kind k) { return k >= FORM_TEXT; }

#endif
