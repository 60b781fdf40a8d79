/* grammar.h - the automaton of legal answers, compiled from the tokenizer.
 *
 * An answer is a lead, then numbers, each with the text behind it. A colour is "[r,g,b]" with three
 * numbers 0..255 and no spaces. The grammar is a chain of fields. Each field is a trie over the
 * token sequences of its legal texts: "0," .. "255," for the first two, "0]" .. "255]" for the
 * last. With LLaMA-2's single digits a trie is 3-4 deep. With a tokenizer whose pieces are whole
 * numbers it is one or two. Tokens in front of the first number ("▁[") are the lead. They are
 * forced.
 *
 * A node with one child needs no pick: the child's token is forced and is fed together with the one
 * before. A value is settled as soon as only one leaf is left below a node. What is left of its
 * text is fed only if another field follows. Immutable once compiled. Any thread may read.
 */
#ifndef ENGINE_ANSWER_GRAMMAR_H
#define ENGINE_ANSWER_GRAMMAR_H

#include <stdint.h>

#include "engine/files/sptok.h"

struct grammar_edge {
    int32_t token;
    int32_t node; /* child; index into nodes */
};
struct grammar_node {
    int32_t edge0, edges;       /* children, sorted by token id; none at a leaf */
    int32_t value_lo, value_hi; /* lowest and highest value below (equal: settled) */
    int32_t set;                /* index of the column set to pick from; -1 when edges <= 1 */
};
struct grammar_field {
    int32_t root; /* node */
};
/* head_ids are all tokens that a pick of the grammar can fall on, in id order: the columns of its
 * logits. A column set lists, for one node, the columns of its children in edge order. */
struct grammar {
    int32_t *lead;
    int n_lead;
    struct grammar_field *fields;
    int n_fields;
    struct grammar_node *nodes;
    int n_nodes;
    struct grammar_edge *edges;
    int n_edges;
    int32_t *head_ids; /* (n_head) token of each column */
    int n_head;
    int32_t *col_off, *cols; /* (n_sets + 1), columns */
    int n_sets;
    int max_set;   /* columns of the largest set */
    int depth_max; /* most tokens from a field's root to a leaf */
    int feed_max;  /* most tokens a lane feeds for a whole answer, lead included */
};

/* What an answer looks like. The text behind a number may be empty where no number begins
 * another. */
enum { GRAMMAR_FIELDS_MAX = 4, GRAMMAR_VALUES_MAX = 256 };
struct grammar_spec {
    const char *lead;
    int n_fields;
    struct {
        int values; /* legal are 0 .. values-1 */
        const char *behind;
    } fields[GRAMMAR_FIELDS_MAX];
};
extern const struct grammar_spec grammar_colour; /* "[r,g,b]" */
extern const struct grammar_spec grammar_bit;    /* "0" or "1" */
extern const struct grammar_spec grammar_box;    /* "{<x1><y1><x2><y2>}", 0..100 */
extern const struct grammar_spec grammar_drive;  /* "[s,g,b]", 0..20 */
extern const struct grammar_spec grammar_shoot;  /* "0" .. "5" */

/* Compile. E_UNSUPPORTED: the tokenizer can't spell a text, or spells it otherwise inside a whole
 * answer than alone. The error names the text. E_NOMEM. */
int grammar_new(const struct sptok *t, const struct grammar_spec *s, struct grammar **out,
                struct err *e);
void grammar_free(struct grammar *g);

/* Is `ids` a whole answer? Then sets[i] is the column set that token i is picked from, -1: it is
 * forced. */
int grammar_read(const struct grammar *g, const int32_t *ids, int n, int32_t *sets);

#endif
