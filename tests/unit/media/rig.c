/* rig.c - see rig.h. */
#include "tests/unit/media/rig.h"

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "media/picture.h"
#include "tests/check.h"

void rig_rgb(uint8_t *rgb, int w, int h) {
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            uint8_t *px = rgb + 3 * ((size_t)y * (size_t)w + (size_t)x);
            px[0] = (uint8_t)(x * 255 / w);
            px[1] = (uint8_t)(y * 255 / h);
            px[2] = (uint8_t)((x / 3 + y / 5) % 2 * 200);
        }
    }
}

void rig_png(struct buf *out, int w, int h) {
    uint8_t *rgb = mem_must((size_t)w * (size_t)h * 3);
    rig_rgb(rgb, w, h);
    buf_init(out, 64 << 20);
    CHECK(picture_png(rgb, w, h, out) == 0);
    mem_free(rgb);
}

void rig_bits(uint8_t *bits, int n, uint64_t seed, int blobs) {
    for (int i = 0; i < n * n; i++) {
        int x = i % n, y = i / n;
        bits[i] = rng_uniform(seed, (uint64_t)(blobs ? x / 3 * 100 + y / 2 : i)) < 0.5f;
    }
}
