/* tensor.c - see tensor.h. */
#include "engine/import/tensor.h"

#include <string.h>

void tensor_read(const struct st_tensor *t, const int64_t *stride, size_t at, void *to, size_t n) {
    must(at + n <= t->bytes);
    const char *from = t->data;
    if (!stride && n) memcpy(to, from + at, n);
    if (!stride || !n) return;
    size_t item = t->bytes / (size_t)t->elements;
    for (size_t i = at / item, end = i + n / item; i < end; i++) {
        size_t place = 0, rest = i;
        for (int k = t->ndim - 1; k >= 0; k--) {
            place += rest % (size_t)t->shape[k] * (size_t)stride[k];
            rest /= (size_t)t->shape[k];
        }
        memcpy((char *)to + i * item - at, from + place * item, item);
    }
}
