/* fuzz_jpeg.c - bytes as a JPEG: our own look at its head, then the decoder. */
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/mem.h"
#include "media/picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { PIXELS_MAX = 1 << 16 };
    struct err e = {0};
    struct picture pic = {0};
    if (!picture_jpeg_is(data, size)) return 0;
    int rc = picture_decode(data, size, PIXELS_MAX, &pic.rgb, &pic.w, &pic.h, &e);
    if (rc) {
        must(!pic.rgb && e.code == rc && e.text[0]);
        return 0;
    }
    must(pic.w >= 1 && pic.h >= 1 && (uint64_t)pic.w * (uint64_t)pic.h <= PIXELS_MAX);
    uint8_t last = pic.rgb[(size_t)pic.w * (size_t)pic.h * 3 - 1]; /* it is all there */
    (void)*(volatile uint8_t *)&last;
    mem_free(pic.rgb);
    return 0;
}
