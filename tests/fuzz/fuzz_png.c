/* fuzz_png.c - bytes as a PNG, as they are and with their checksums made right. What is accepted
 * has the size it says and within limits; what is not says why. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "media/picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PIXELS_MAX = 1 << 16 };

static void run(const uint8_t *data, size_t size) {
    struct err e = {0};
    uint8_t *rgb;
    int w, h;
    int rc = picture_decode(data, size, PIXELS_MAX, &rgb, &w, &h, &e);
    if (rc) {
        must(!rgb && e.code == rc && e.text[0]);
        return;
    }
    must(w >= 1 && h >= 1 && (uint64_t)w * (uint64_t)h <= PIXELS_MAX);
    /* A decoded picture survives our own writer unchanged. */
    struct buf png;
    buf_init(&png, (size_t)4 << 20);
    must(picture_png(rgb, w, h, &png) == 0);
    struct picture again;
    must(picture_decode(png.p, png.len, PIXELS_MAX, &again.rgb, &again.w, &again.h, &e) == 0);
    must(again.w == w && again.h == h);
    must(memcmp(again.rgb, rgb, (size_t)w * (size_t)h * 3) == 0);
    mem_free(again.rgb);
    buf_clear(&png);
    mem_free(rgb);
}

static uint32_t crc(const uint8_t *p, size_t n) {
    uint32_t c = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320 : 0);
    }
    return ~c;
}

static uint32_t get32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Make every chunk's checksum right, or a mutation never gets past it. */
static void mend(uint8_t *p, size_t size) {
    for (size_t at = 8; size >= 12 && at <= size - 12;) {
        size_t n = get32(p + at);
        if (n > size - 12 - at) return;
        uint32_t c = crc(p + at + 4, n + 4);
        for (int k = 0; k < 4; k++)
            p[at + 8 + n + (size_t)k] = (uint8_t)(c >> (24 - 8 * k));
        at += 12 + n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    run(data, size);
    uint8_t *mended = mem_must(size + 1);
    memcpy(mended, data, size);
    mend(mended, size);
    run(mended, size);
    mem_free(mended);
    return 0;
}
