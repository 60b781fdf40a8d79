/* weights_file.c - weights of a safetensors file that is open and checked. */
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

void weights_of_file(struct weights_file *f, const struct st *st) {
    *f = (struct weights_file){.w = {.find = file_find, .each = file_each}, .st = st};
}
