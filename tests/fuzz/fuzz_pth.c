/* fuzz_pth.c - bytes as a file of torch.save: each tensor that is all right can be read to its last
 * byte. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/import/pth.h"
#include "engine/import/tensor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t room[4096];
    struct pth *p;
    struct err e = {0};
    if (pth_parse(data, size, &p, &e)) {
        must(p == NULL && e.code && !strchr(e.text, '\n'));
        return 0;
    }
    for (size_t i = 0; i < pth_count(p); i++) {
        const struct pth_tensor *t = pth_at(p, i);
        must(t->t.name[0] && strlen(t->t.name) <= ST_NAME_MAX);
        if (t->flaw) continue;
        must(t->t.bytes <= size && t->t.ndim >= 0 && t->t.ndim <= ST_NDIM_MAX);
        (void)pth_check(p, t, NULL);
        for (size_t at = 0, n; at < t->t.bytes && i < 100; at += n) {
            n = t->t.bytes - at < sizeof room ? t->t.bytes - at : sizeof room;
            tensor_read(&t->t, t->is_strided ? t->stride : NULL, at, room, n);
        }
    }
    must(!strchr(pth_foreign(p), '\n'));
    pth_close(p);
    return 0;
}
