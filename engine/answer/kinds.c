/* forms.c - grammars side by side in one head and one list of column sets.
 *
 * Padding rows of lm_head, which no piece belongs to, are in the head of text but not in its set:
 * nobody could read them.
 */
#include "engine/answer/kinds.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/num.h"

static const struct grammar_spec *const specs[FORM_NUMBERS] = {
    [FORM_COLOUR] = &grammar_colour, [FORM_BIT] = &grammar_bit,     [FORM_BOX] = &grammar_box,
    [FORM_DRIVE] = &grammar_drive,   [FORM_SHOOT] = &grammar_shoot,
};

static void join_heads(struct forms *f) {
    size_t most = 0, n = 0;
    for (int k = 0; k < FORM_NUMBERS; k++)
        most += (size_t)f->g[k]->n_head;
    f->head_ids = mem_must(most * sizeof f->head_ids[0]);
    for (int k = 0; k < FORM_NUMBERS; k++)
        for (int i = 0; i < f->g[k]->n_head; i++)
            f->head_ids[n++] = f->g[k]->head_ids[i];
    qsort(f->head_ids, n, sizeof f->head_ids[0], by_int32);
    for (size_t i = 0; i < n; i++)
        if (f->n_head == 0 || f->head_ids[f->n_head - 1] != f->head_ids[i])
            f->head_ids[f->n_head++] = f->head_ids[i];
}

static int32_t column(const struct forms *f, int32_t token) {
    const int32_t *hit =
        bsearch(&token, f->head_ids, (size_t)f->n_head, sizeof f->head_ids[0], by_int32);
    must(hit);
    return (int32_t)(hit - f->head_ids);
}

static void join_sets(struct forms *f, int n_pieces) {
    size_t sets = 1, cols = (size_t)n_pieces;
    for (int k = 0; k < FORM_NUMBERS; k++) {
        sets += (size_t)f->g[k]->n_sets;
        cols += (size_t)f->g[k]->col_off[f->g[k]->n_sets];
    }
    f->col_off = mem_must((sets + 1) * sizeof f->col_off[0]);
    f->cols = mem_must(cols * sizeof f->cols[0]);
    int32_t at = 0;
    int s = 0;
    for (int k = 0; k < FORM_NUMBERS; k++) {
        const struct grammar *g = f->g[k];
        f->set0[k] = s;
        for (int i = 0; i < g->n_sets; i++) {
            for (int32_t c = g->col_off[i]; c < g->col_off[i + 1]; c++)
                f->cols[at++] = column(f, g->head_ids[g->cols[c]]);
            f->col_off[++s] = at;
        }
        if (g->max_set > f->max_number_set) f->max_number_set = g->max_set;
    }
    f->n_number_sets = f->text_set = s;
    for (int i = 0; i < n_pieces; i++)
        f->cols[at++] = i;
    f->col_off[s + 1] = at;
}

int forms_new(const struct sptok *t, int vocab, struct forms **out, struct err *e) {
    *out = NULL;
    struct forms *f = mem_must(sizeof *f);
    f->tok = t;
    f->eos = sptok_eos(t);
    f->n_text = vocab;
    must(sptok_size(t) <= vocab);
    for (int k = 0; k < FORM_NUMBERS; k++) {
        int rc = grammar_new(t, specs[k], &f->g[k], e);
        if (rc) {
            forms_free(f);
            return rc;
        }
    }
    join_heads(f);
    join_sets(f, sptok_size(t));
    f->text_ids = mem_must((size_t)vocab * sizeof f->text_ids[0]);
    for (int i = 0; i < vocab; i++)
        f->text_ids[i] = i;
    *out = f;
    return 0;
}

void forms_free(struct forms *f) {
    if (!f) return;
    for (int k = 0; k < FORM_NUMBERS; k++)
        grammar_free(f->g[k]);
    mem_free(f->head_ids);
    mem_free(f->text_ids);
    mem_free(f->col_off);
    mem_free(f->cols);
    mem_free(f);
}
