/* fuzz_tokenizer.c - bytes as a tokenizer.model. Whatever opens must encode and decode any text,
 * and compile to a grammar or say why not. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/answer/grammar.h"
#include "engine/files/sptok.h"
#include "kernels/base/err.h"

enum { TEXT_BYTES = 48, IDS_MAX = 4 * TEXT_BYTES };

/* Any model must get through any text; what comes back is a text again. */
static void use(const struct sptok *t, const char *text, size_t len) {
    int32_t ids[IDS_MAX];
    char back[IDS_MAX * 520];
    size_t n, back_len;
    struct err e = {0};
    must(sptok_encode(t, text, len, SPTOK_PREFIX, ids, IDS_MAX, &n, &e) == 0 && n <= IDS_MAX);
    for (size_t i = 0; i < n; i++)
        must(ids[i] >= 0 && ids[i] < sptok_size(t) && sptok_piece(t, ids[i]));
    must(sptok_decode(t, ids, n, back, sizeof back, &back_len, &e) == 0);
    must(back_len < sizeof back && back[back_len] == '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sptok *t;
    struct err e = {0};
    if (sptok_parse(data, size, &t, &e)) {
        must(t == NULL && e.code && !strchr(e.text, '\n'));
        return 0;
    }
    size_t tail = size < TEXT_BYTES ? size : TEXT_BYTES;
    use(t, "[reconstruct] loc: [1,2]", 24);
    use(t, (const char *)data + size - tail, tail); /* its own pieces' bytes, mostly */
    struct grammar *g;
    int rc = grammar_new(t, &grammar_colour, &g, &e);
    must((rc == 0) == (g != NULL));
    grammar_free(g);
    sptok_close(t);
    return 0;
}
