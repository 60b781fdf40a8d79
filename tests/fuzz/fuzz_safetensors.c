/* fuzz_safetensors.c - bytes as a weights file. Whatever opens must be readable to the last
 * byte. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/files/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct st *st;
    struct err e = {0};
    if (st_parse(data, size, &st, &e)) {
        must(st == NULL && e.code && !strchr(e.text, '\n'));
        return 0;
    }
    uint64_t total = 0, sum = 0;
    for (size_t i = 0; i < st_count(st); i++) {
        const struct st_tensor *t = st_at(st, i);
        must(st_find(st, t->name) == t);
        for (size_t j = 0; j < t->bytes; j++)
            sum += ((const uint8_t *)t->data)[j];
        total += t->bytes;
    }
    must(total <= size && sum <= total * 255);
    st_close(st);
    return 0;
}
