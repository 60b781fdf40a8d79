/* fuzz_boxes.c - bytes as a text of the model: every box that is found lies within it. */
#include <stddef.h>
#include <stdint.h>

#include "api/task/boxes.h"
#include "kernels/base/err.h"
#include "kernels/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct boxes b = {.text = (const char *)data, .len = size};
    struct box_named found;
    size_t n = 0;
    while (boxes_next(&b, &found)) {
        must(++n <= size / 10 + 1); /* a box has at least that many bytes */
        for (int k = 0; k < 2; k++)
            must(found.percent[k] >= 0 && found.percent[k] <= found.percent[k + 2]);
        must(found.percent[2] <= 100 && found.percent[3] <= 100);
        if (found.phrase) {
            must(found.phrase >= b.text && found.phrase_len <= size);
            must(found.phrase + found.phrase_len <= b.text + size);
        }
    }
    return 0;
}
