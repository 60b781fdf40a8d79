/* rig.c - see rig.h. */
#include "tests/unit/media/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* libjpeg's header wants stdio before it */
#include <jpeglib.h>

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

static void rig_jpeg_scans(j_compress_ptr c) {
    static jpeg_scan_info scans[4];
    for (int i = 0; i < c->num_components; i++)
        scans[i] = (jpeg_scan_info){1, {i}, 0, DCTSIZE2 - 1, 0, 0};
    c->scan_info = scans;
    c->num_scans = c->num_components;
}

void rig_jpeg(struct buf *out, const uint8_t *pixels, int w, int h, const struct rig_jpeg *how) {
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    unsigned long len = 0;
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &bytes, &len);
    c.image_width = (JDIMENSION)w;
    c.image_height = (JDIMENSION)h;
    c.input_components = how->is_cmyk ? 4 : 3;
    c.in_color_space = how->is_cmyk ? JCS_CMYK : JCS_RGB;
    jpeg_set_defaults(&c);
    if (how->is_grey) jpeg_set_colorspace(&c, JCS_GRAYSCALE);
    jpeg_set_quality(&c, how->quality ? how->quality : 95, TRUE);
    for (int i = 0; i < c.num_components && !how->is_cmyk; i++) {
        c.comp_info[i].h_samp_factor = how->sampling[i][0] ? how->sampling[i][0] : 1;
        c.comp_info[i].v_samp_factor = how->sampling[i][1] ? how->sampling[i][1] : 1;
    }
    if (how->is_progressive) jpeg_simple_progression(&c);
    if (how->is_apart) rig_jpeg_scans(&c);
    if (how->no_adobe) c.write_Adobe_marker = FALSE;
    c.restart_interval = (unsigned)how->restart;
    jpeg_start_compress(&c, TRUE);
    for (int y = 0; y < h; y++) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + (size_t)y * (size_t)(w * c.input_components));
        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    buf_init(out, 16 << 20);
    buf_add(out, bytes, len);
    free(bytes);
}

size_t rig_marker(const struct buf *jpeg, uint8_t m, int n) {
    for (size_t i = 2; i + 1 < jpeg->len; i++) {
        if (jpeg->p[i] == 0xff && jpeg->p[i + 1] == m && n-- == 0) return i;
    }
    CHECK(0);
    return 0;
}

void rig_insert(struct buf *b, size_t at, const void *bytes, size_t n) {
    struct buf whole;
    buf_init(&whole, b->max);
    buf_add(&whole, b->p, at);
    buf_add(&whole, bytes, n);
    buf_add(&whole, b->p + at, b->len - at);
    buf_clear(b);
    *b = whole;
}

void rig_bits(uint8_t *bits, int n, uint64_t seed, int blobs) {
    for (int i = 0; i < n * n; i++) {
        int x = i % n, y = i / n;
        bits[i] = rng_uniform(seed, (uint64_t)(blobs ? x / 3 * 100 + y / 2 : i)) < 0.5f;
    }
}
