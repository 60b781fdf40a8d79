/* fuzz_coco.c - two bytes of width and height, then JSON, as the segmentation of a COCO annotation.
 * What is accepted is a mask of just that size. */
#include <stddef.h>
#include <stdint.h>

#include "data/refs.h"
#include "kernels/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SIDE = 100 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    json_t *root;
    if (annot_parse("fuzz", (const char *)data + 2, size - 2, &root, NULL)) return 0;
    const struct ref r = {.w = data[0] % SIDE + 1,
                          .h = data[1] % SIDE + 1,
                          .mask = root,
                          .at = {"fuzz", "annotations", 0}};
    uint8_t *bits = NULL;
    struct err e = {0};
    int rc = refs_mask(&r, &bits, &e);
    must((rc == 0) == (bits != NULL) && rc == e.code);
    for (int i = 0; bits && i < r.w * r.h; i++)
        must(bits[i] <= 1);
    mem_free(bits);
    json_decref(root);
    return 0;
}
