/* legal.c - see legal.h. A mask is a row of the vocabulary; those of a chunk's picks are gathered
 * and added to the logits. So it is exact on every backend: x + 0 is x, and exp(-inf) is 0.
 */
#include "engine/train/legal.h"

#include <math.h>

#include "engine/answer/kinds.h"
#include "engine/train/internal.h"

/* As what a task is asked when it is served. */
static const enum eng_task served[SAMPLE_TASKS] = {
    [SAMPLE_PIXELS] = ENG_PIXELS,       [SAMPLE_MASK] = ENG_SEGMENT,
    [SAMPLE_REFER] = ENG_REFER,         [SAMPLE_IDENTIFY] = ENG_IDENTIFY,
    [SAMPLE_CAPTION] = ENG_CAPTION,     [SAMPLE_GROUNDING] = ENG_GROUNDING,
    [SAMPLE_DETECTION] = ENG_DETECTION, [SAMPLE_VQA] = ENG_VQA,
    [SAMPLE_CHAT] = ENG_CHAT,           [SAMPLE_DRIVE] = ENG_DRIVE,
    [SAMPLE_SHOOT] = ENG_SHOOT,
};

static size_t legal_row(const struct train *t, int32_t set) {
    return (size_t)set * (size_t)model_config(t->m)->text.vocab_size;
}

/* ---- opening ---- */

size_t legal_floats(const struct train_options *o, int vocab) {
    return o->is_legal ? (LEGAL_SETS_MAX + 1) * (size_t)vocab : 0;
}

static void fill_masks(const struct train *t, struct legal *l) {
    const struct kinds *ks = l->kinds;
    for (size_t i = 0; i < legal_row(t, l->any); i++)
        l->mask[i] = -INFINITY;
    for (int32_t set = 0; set < l->any; set++)
        for (int32_t c = ks->col_off[set]; c < ks->col_off[set + 1]; c++)
            l->mask[legal_row(t, set) + (size_t)ks->head_ids[ks->cols[c]]] = 0;
}

int legal_open(struct train *t, struct err *e) {
    int vocab = model_config(t->m)->text.vocab_size;
    if (!t->o.is_legal) return 0;
    struct legal *l = t->legal = mem_try(sizeof *l);
    if (!l) return err_set(e, E_NOMEM, "no memory for grammars");
    int rc = kinds_new(t->tok, vocab, &l->kinds, e);
    if (rc) return err_in(e, "legal"), rc;
    l->any = l->kinds->n_number_sets;
    if (l->any > LEGAL_SETS_MAX)
        return err_set(e, E_UNSUPPORTED,
                       "legal: the tokenizer spells numbers in %d kinds of steps, at most %d",
                       l->any, LEGAL_SETS_MAX);
    size_t floats = legal_row(t, l->any + 1);
    l->mask = mem_try(floats * sizeof *l->mask);
    if (!l->mask) return err_set(e, E_NOMEM, "no memory for grammars");
    fill_masks(t, l);
    t->ops->put(t->k, t->b.legal, l->mask, floats * sizeof *l->mask);
    return 0;
}

void legal_close(struct train *t) {
    if (!t->legal) return;
    kinds_free(t->legal->kinds);
    mem_free(t->legal->mask);
    mem_free(t->legal);
    t->legal = NULL;
}

/* ---- answers ---- */

void legal_read(const struct train *t, enum sample_task task, const int32_t *ids, int32_t n,
                int32_t *sets) {
    const struct legal *l = t->legal;
    enum kind kind = kind_of_task[served[task]];
    for (int32_t i = 0; i < n; i++)
        sets[i] = l ? l->any : 0;
    if (!l || kind_is_text(kind) || n < 1 || ids[n - 1] != l->kinds->eos) return;
    if (!grammar_read(l->kinds->g[kind], ids, n - 1, sets)) {
        for (int32_t i = 0; i < n; i++)
            sets[i] = l->any;
        return;
    }
    for (int32_t i = 0; i < n - 1; i++)
        sets[i] = sets[i] < 0 ? LEGAL_FORCED : sets[i] + l->kinds->set0[kind];
    sets[n - 1] = LEGAL_FORCED;
}

int legal_has(const struct train *t, int32_t set, int32_t token) {
    return !t->legal || isfinite(t->legal->mask[legal_row(t, set) + (size_t)token]);
}

void legal_issue(struct train *t, const struct mix *x, int at, int rows, struct kern_ptr logits) {
    int vocab = model_config(t->m)->text.vocab_size, limited = 0;
    for (int i = at; t->legal && i < at + rows; i++)
        limited |= x->legal[i] != t->legal->any;
    if (!limited) return;
    t->ops->gather(
        t->k, &(struct kern_gather){.rows = rows,
                                    .width = vocab,
                                    .index = kern_at(x->at.legal, (size_t)at * sizeof(int32_t)),
                                    .x = t->b.legal,
                                    .y = t->b.box_logits});
    t->back->axpy(
        t->k, &(struct kern_axpy){
                  .n = (size_t)rows * (size_t)vocab, .by = 1, .x = t->b.box_logits, .y = logits});
}
