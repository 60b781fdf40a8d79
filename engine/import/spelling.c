/* spelling.c - does the tokenizer spell as LLaMA-2's? The ids are those of docs/model.md section
 * 4.2. A tokenizer of another model has other ids for the same words, and every prompt would be
 * noise to the decoder. */
#include <string.h>

#include "engine/files/sptok.h"
#include "engine/import/internal.h"

enum { IDS_MAX = 40 };

static const struct {
    const char *text;
    int n;
    int32_t ids[IDS_MAX];
} samples[] = {
    {"[INST] <Img>", 6, {518, 25580, 29962, 529, 25518, 29958}},
    {"</Img> [reconstruct] loc: [12,34] rgb: [/INST]",
     23,
     {1533,  25518, 29958, 518,   276,   11433, 29962, 1180, 29901, 518,   29896, 29906,
      29892, 29941, 29946, 29962, 15552, 29890, 29901, 518,  29914, 25580, 29962}},
    {"[31,6,108]", 10, {518, 29941, 29896, 29892, 29953, 29892, 29896, 29900, 29947, 29962}},
    {"yes", 1, {4874}},
};

static int check_samples(const struct sptok *t, struct err *e) {
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        int32_t ids[IDS_MAX];
        size_t n = 0;
        int rc = sptok_encode(t, samples[i].text, strlen(samples[i].text), SPTOK_PREFIX, ids,
                              IDS_MAX, &n, NULL);
        if (!rc && (int)n == samples[i].n && !memcmp(ids, samples[i].ids, n * sizeof *ids))
            continue;
        return err_set(e, E_FORMAT,
                       "it isn't LLaMA-2's: it spells \"%s\" in another way. Take the one that "
                       "came with the weights",
                       samples[i].text);
    }
    return 0;
}

int spelling_check(const struct import *i, struct err *e) {
    struct sptok *t;
    int rc = sptok_parse(i->tokenizer, i->n_tokenizer, &t, e);
    if (rc) return rc;
    int spare = i->c.text.vocab_size - sptok_size(t);
    if (spare < 0 || spare > MODEL_PADDING_MAX) /* nothing would load it */
        rc = err_set(e, E_FORMAT,
                     "it has %d pieces, the model's vocabulary %d: take the one that came with the "
                     "weights",
                     sptok_size(t), i->c.text.vocab_size);
    if (!rc && (sptok_bos(t) != i->c.text.bos_id || sptok_eos(t) != i->c.text.eos_id))
        rc =
            err_set(e, E_FORMAT, "its pieces %d and %d begin and end a text, the model's %d and %d",
                    sptok_bos(t), sptok_eos(t), i->c.text.bos_id, i->c.text.eos_id);
    if (!rc && !i->o.is_any_tokenizer) rc = check_samples(t, e);
    sptok_close(t);
    return rc;
}
