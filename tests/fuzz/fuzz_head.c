/* fuzz_head.c - bytes as the beginning of a picture. What is told of a picture that decodes is true
 * of it. */
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/mem.h"
#include "media/head.h"
#include "media/picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PIXELS = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct head h = {0};
    struct err e = {0};
    int rc = head_read(data, size, PIXELS, &h, &e);
    must(rc == e.code && (rc == 0) == (h.w > 0));
    must(rc || (h.h > 0 && h.orientation >= 1 && h.orientation <= 8 && h.w <= PIXELS / h.h));
    int o = head_exif(data, size), w, ht;
    must(o >= 1 && o <= 8);
    uint8_t *rgb;
    if (picture_decode(data, size, PIXELS, &rgb, &w, &ht, NULL)) return 0;
    must(rc == 0 && w == h.w && ht == h.h);
    mem_free(rgb);
    return 0;
}
