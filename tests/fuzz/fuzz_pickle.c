/* fuzz_pickle.c - bytes as a pickle: whatever is parsed can be walked, container by container. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/import/pickle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct pickle *p;
    struct err e = {0};
    size_t used = 0;
    int64_t v;
    if (pickle_parse(data, size, &used, &p, &e)) {
        must(p == NULL && e.code && !strchr(e.text, '\n'));
        return 0;
    }
    must(used <= size && pickle_root(p) >= 1 && pickle_root(p) <= pickle_count(p));
    must(pickle_count(p) <= 2 * size);
    for (uint32_t i = 1; i <= pickle_count(p); i++) {
        const struct pickle_node *n = pickle_at(p, i);
        struct pickle_walk w = pickle_walk(p, i);
        uint32_t items = 0;
        while (pickle_next(&w))
            items++;
        must(items <= 2 * size);
        if (n->kind == PICKLE_DICT) must(items % 2 == 0 && items == n->n);
        if (n->kind == PICKLE_TEXT || n->kind == PICKLE_BYTES)
            must(!n->n ||
                 (n->text >= (const char *)data && n->text + n->n <= (const char *)data + size));
        if (n->kind == PICKLE_CALL) must(pickle_is(p, n->b, PICKLE_TUPLE));
        (void)pickle_get(p, i, "model");
        (void)pickle_int(p, i, &v);
    }
    pickle_free(p);
    return 0;
}
