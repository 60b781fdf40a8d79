/* kinds.c - grammars side by side in one head and one list of column sets.
 *
 * Padding rows of lm_head, which have no piece, are in the head of text but not in its set: they
 * spell nothing.
 */
#include "engine/answer/kinds.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/num.h"

static const struct grammar_spec *const specs[KIND_NUMBERS] = {
    [KIND_COLOUR] = &grammar_colour, [KIND_BIT] = &grammar_bit,     [KIND_BOX] = &grammar_box,
    [KIND_DRIVE] = &grammar_drive,   [KIND_SHOOT] = &grammar_shoot,
};

const enum kind kind_of_task[ENG_TASKS] = {
    [ENG_PIXELS] = KIND_COLOUR, [ENG_SEGMENT] = KIND_BIT,    [ENG_REFER] = KIND_BOX,
    [ENG_DRIVE] = KIND_DRIVE,   [ENG_SHOOT] = KIND_SHOOT,    [ENG_IDENTIFY] = KIND_TEXT,
    [ENG_CAPTION] = KIND_TEXT,  [ENG_GROUNDING] = KIND_TEXT, [ENG_DETECTION] = KIND_TEXT,
    [ENG_VQA] = KIND_TEXT,      [ENG_CHAT] = KIND_TEXT,
};

static void join_heads(struct kinds *ks) {
    size_t most = 0, n = 0;
    for (int k = 0; k < KIND_NUMBERS; k++)
        most += (size_t)ks->g[k]->n_head;
    ks->head_ids = mem_must(most * sizeof ks->head_ids[0]);
    for (int k = 0; k < KIND_NUMBERS; k++)
        for (int i = 0; i < ks->g[k]->n_head; i++)
            ks->head_ids[n++] = ks->g[k]->head_ids[i];
    qsort(ks->head_ids, n, sizeof ks->head_ids[0], by_int32);
    for (size_t i = 0; i < n; i++)
        if (ks->n_head == 0 || ks->head_ids[ks->n_head - 1] != ks->head_ids[i])
            ks->head_ids[ks->n_head++] = ks->head_ids[i];
}

static int32_t column(const struct kinds *ks, int32_t token) {
    const int32_t *hit =
        bsearch(&token, ks->head_ids, (size_t)ks->n_head, sizeof ks->head_ids[0], by_int32);
    must(hit);
    return (int32_t)(hit - ks->head_ids);
}

static void join_sets(struct kinds *ks, int n_pieces) {
    size_t sets = 1, cols = (size_t)n_pieces;
    for (int k = 0; k < KIND_NUMBERS; k++) {
        sets += (size_t)ks->g[k]->n_sets;
        cols += (size_t)ks->g[k]->col_off[ks->g[k]->n_sets];
    }
    ks->col_off = mem_must((sets + 1) * sizeof ks->col_off[0]);
    ks->cols = mem_must(cols * sizeof ks->cols[0]);
    int32_t at = 0;
    int s = 0;
    for (int k = 0; k < KIND_NUMBERS; k++) {
        const struct grammar *g = ks->g[k];
        ks->set0[k] = s;
        for (int i = 0; i < g->n_sets; i++) {
            for (int32_t c = g->col_off[i]; c < g->col_off[i + 1]; c++)
                ks->cols[at++] = column(ks, g->head_ids[g->cols[c]]);
            ks->col_off[++s] = at;
        }
        if (g->max_set > ks->max_number_set) ks->max_number_set = g->max_set;
    }
    ks->n_number_sets = ks->text_set = s;
    for (int i = 0; i < n_pieces; i++)
        ks->cols[at++] = i;
    ks->col_off[s + 1] = at;
}

int kinds_new(const struct sptok *t, int vocab, struct kinds **out, struct err *e) {
    *out = NULL;
    struct kinds *ks = mem_must(sizeof *ks);
    ks->tok = t;
    ks->eos = sptok_eos(t);
    ks->n_text = vocab;
    must(sptok_size(t) <= vocab);
    for (int k = 0; k < KIND_NUMBERS; k++) {
        int rc = grammar_new(t, specs[k], &ks->g[k], e);
        if (rc) {
            kinds_free(ks);
            return rc;
        }
        ks->error_scale[k] = 1;
    }
    join_heads(ks);
    join_sets(ks, sptok_size(t));
    ks->text_ids = mem_must((size_t)vocab * sizeof ks->text_ids[0]);
    for (int i = 0; i < vocab; i++)
        ks->text_ids[i] = i;
    *out = ks;
    return 0;
}

void kinds_calibrate(struct kinds *ks, enum kind kind, double scale) {
    must(kind < KIND_NUMBERS && scale > 0);
    ks->error_scale[kind] = scale;
}

void kinds_free(struct kinds *ks) {
    if (!ks) return;
    for (int k = 0; k < KIND_NUMBERS; k++)
        grammar_free(ks->g[k]);
    mem_free(ks->head_ids);
    mem_free(ks->text_ids);
    mem_free(ks->col_off);
    mem_free(ks->cols);
    mem_free(ks);
}
