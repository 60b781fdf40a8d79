/* tars.c - see tars.h. */
#include "tests/unit/data/tars.h"

#include <stdio.h>

#include "media/picture.h"
#include "tests/check.h"
#include "tests/unit/data/rig.h"

enum { BLOCK = 512, SUM = 148 };

void tars_sum(unsigned char *header) {
    unsigned sum = 0;
    memset(header + SUM, ' ', 8);
    for (int i = 0; i < BLOCK; i++)
        sum += header[i];
    snprintf((char *)header + SUM, 8, "%06o", sum);
}

void tars_add(struct buf *to, const char *name, char type, const void *bytes, size_t n) {
    unsigned char h[BLOCK] = {0};
    snprintf((char *)h, 100, "%s", name);
    snprintf((char *)h + 100, 8, "%07o", 0644);
    snprintf((char *)h + 124, 12, "%011zo", n);
    h[156] = (unsigned char)type;
    memcpy(h + 257, "ustar\00000", 8);
    tars_sum(h);
    buf_add(to, h, BLOCK);
    buf_add(to, bytes, n);
    static const char zeros[BLOCK];
    buf_add(to, zeros, (BLOCK - n % BLOCK) % BLOCK);
    CHECK_EQ(to->bad, 0);
}

void tars_end(struct buf *to) {
    static const char zeros[2 * BLOCK];
    CHECK_EQ(buf_add(to, zeros, sizeof(zeros)), 0);
}

void tars_png(struct buf *to, int w, int h, int seed) {
    uint8_t rgb[64 * 64 * 3];
    CHECK(w * h <= 64 * 64);
    for (int i = 0; i < w * h * 3; i++)
        rgb[i] = (uint8_t)(i * 7 + seed * 31 + i / 3 % 5);
    CHECK_EQ(picture_png(rgb, w, h, to), 0);
}

void tars_put_png(struct rig *r, const char *name, int w, int h, int seed) {
    struct buf b;
    buf_init(&b, 1 << 16);
    tars_png(&b, w, h, seed);
    rig_bytes(r, name, b.p, b.len);
    buf_clear(&b);
}
