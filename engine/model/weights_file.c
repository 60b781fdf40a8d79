/* weights_file.c - weights of a safetensors file that is open and checked. */
#include <string.h>

#include "engine/model/weights.h"

static const struct st *file_of(const struct weights *w) {
    return ((const struct weights_file *)w)->st;
}

static int file_find(struct weights *w, const char *name, const int64_t *want, int ndim,
                     const struct st_tensor **out) {
    (void)want;
    (void)ndim;
    const struct st_tensor *t = st_find(file_of(w), name);
    if (!t) return E_NOT_FOUND;
    *out = t;
    return 0;
}

static const struct st_tensor *file_each(const struct weights *w, size_t i) {
    return i < st_count(file_of(w)) ? st_at(file_of(w), i) : NULL;
}

static int is_decoder_matrix(const struct st_tensor *t) {
    static const char layers[] = "model.layers.";
    return t->ndim == 2 && strncmp(t->name, layers, sizeof layers - 1) == 0;
}

static uint64_t file_bytes(const struct weights *w, const struct model_config *c, int as_fp8) {
    uint64_t sum = 0;
    (void)c;
    const struct st_tensor *t;
    for (size_t i = 0; (t = file_each(w, i)) != NULL; i++)
        sum += as_fp8 && is_decoder_matrix(t) ? t->elements : t->bytes;
    return sum;
}

void weights_of_file(struct weights_file *f, const struct st *st) {
    *f = (struct weights_file){.w = {.find = file_find, .each = file_each, .bytes = file_bytes},
                               .st = st};
}
