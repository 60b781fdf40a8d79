/* bench_pictures.c - what does it cost to make a picture of bytes ready for the model?
 *
 *     make bench, or build/release/tests/bench_pictures [runs of each, default 5] [part of a name]
 *
 * The largest of each kind that the server takes by default, made here: `flat` is one colour,
 * `photo` soft shapes with a bit of noise in every other column, `noise` nothing but noise. Three
 * figures of each, in milliseconds of processor, the median of the runs: `zlib` is the inflating
 * alone of a PNG's bytes; `library` is what rows take, with nobody to look at them; `all` is the
 * server's work, which puts them through both resizers (lamm-mini's: 128 and 64). So `library` is
 * the floor, and the rest is ours.
 */
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <webp/encode.h>
#include <zlib.h>
/* libjpeg's header wants stdio before it */
#include <jpeglib.h>

#include "engine/picture/picture.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "media/picture.h"

enum { BIG = 4000, SMALL = 2000, RUNS_MAX = 100 };

enum look { FLAT, PHOTO, NOISE };

struct file {
    uint8_t *bytes;
    size_t len, cap;
};

static void file_add(struct file *f, const void *bytes, size_t n) {
    if (f->len + n > f->cap) {
        f->cap = 2 * (f->len + n);
        f->bytes = realloc(f->bytes, f->cap);
        must(f->bytes);
    }
    memcpy(f->bytes + f->len, bytes, n);
    f->len += n;
}

/* One row (side, channels) of bytes. */
static void draw(enum look look, int side, int channels, int y, uint8_t *row) {
    for (int x = 0; x < side; x++) {
        for (int c = 0; c < channels; c++) {
            uint32_t dice = (uint32_t)rng_u64(7, (uint64_t)(y * side + x) * 4 + (uint64_t)c);
            int soft = (x * (3 + c) / 64 + y * (8 - c) / 96 + x / 700 * 40) % 200 + 20;
            if (c == 3) dice = 0, soft = x / 16 % 256;
            row[x * channels + c] = (uint8_t)(look == FLAT    ? 90
                                              : look == PHOTO ? soft + (int)(dice & (uint32_t)x & 1)
                                                              : (int)(dice & 255));
        }
    }
}

/* ---- files ---- */

static void png_out(png_structp png, png_bytep bytes, size_t n) {
    file_add(png_get_io_ptr(png), bytes, n);
}

static void png_of(struct file *f, enum look look, int side, int colour, int depth, int interlace) {
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    int channels = (colour == PNG_COLOR_TYPE_RGB ? 3 : 4) * (depth / 8);
    uint8_t *row = mem_must((size_t)(side * channels));
    png_set_write_fn(png, f, png_out, NULL);
    png_set_IHDR(png, info, (png_uint_32)side, (png_uint_32)side, depth, colour, interlace, 0, 0);
    png_set_compression_level(png, 4);
    png_write_info(png, info);
    int passes = png_set_interlace_handling(png);
    for (int pass = 0; pass < passes; pass++) {
        for (int y = 0; y < side; y++) {
            draw(look, side, channels, y, row);
            png_write_row(png, row);
        }
    }
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    mem_free(row);
}

static void jpeg_of(struct file *f, enum look look, int side, int is_progressive, int orientation) {
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    uint8_t exif[] = "Exif\0\0MM\0*\0\0\0\10\0\1\1\x12\0\3\0\0\0\1\0\0\0\0\0\0\0\0";
    unsigned char *bytes = NULL;
    unsigned long len = 0;
    JSAMPROW row = mem_must((size_t)side * 3);
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &bytes, &len);
    c.image_width = c.image_height = (JDIMENSION)side;
    c.input_components = 3;
    c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&c);
    jpeg_set_quality(&c, look != NOISE ? 90 : is_progressive ? 98 : 80, TRUE);
    if (is_progressive) jpeg_simple_progression(&c);
    jpeg_start_compress(&c, TRUE);
    exif[6 + 19] = (uint8_t)orientation;
    if (orientation > 1) jpeg_write_marker(&c, JPEG_APP0 + 1, exif, sizeof(exif) - 1);
    for (int y = 0; y < side; y++) {
        draw(look, side, 3, y, row);
        (void)jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    file_add(f, bytes, len);
    free(bytes);
    mem_free(row);
}

static void webp_of(struct file *f, enum look look, int side, int channels, int is_lossless) {
    uint8_t *px = mem_must((size_t)side * (size_t)side * (size_t)channels);
    for (int y = 0; y < side; y++)
        draw(look, side, channels, y, px + (size_t)y * (size_t)side * (size_t)channels);
    WebPConfig config;
    WebPPicture picture;
    must(WebPConfigInit(&config) && WebPPictureInit(&picture));
    WebPMemoryWriter writer;
    WebPMemoryWriterInit(&writer);
    config.lossless = is_lossless;
    config.method = 0;
    config.quality = is_lossless ? 0 : 80;
    picture.use_argb = is_lossless;
    picture.width = picture.height = side;
    picture.writer = WebPMemoryWrite;
    picture.custom_ptr = &writer;
    must((channels == 3 ? WebPPictureImportRGB : WebPPictureImportRGBA)(&picture, px,
                                                                        side * channels));
    must(WebPEncode(&config, &picture));
    file_add(f, writer.mem, writer.size);
    WebPPictureFree(&picture);
    WebPMemoryWriterClear(&writer);
    mem_free(px);
}

struct kind {
    const char *name;
    enum head_kind format;
    enum look look;
    int side, arg[3];
};
static const struct kind kinds[] = {
    {"PNG, flat, RGB", HEAD_PNG, FLAT, BIG, {PNG_COLOR_TYPE_RGB, 8, 0}},
    {"PNG, flat, RGBA", HEAD_PNG, FLAT, BIG, {PNG_COLOR_TYPE_RGBA, 8, 0}},
    {"PNG, photo, RGB", HEAD_PNG, PHOTO, BIG, {PNG_COLOR_TYPE_RGB, 8, 0}},
    {"PNG, photo, RGBA", HEAD_PNG, PHOTO, BIG, {PNG_COLOR_TYPE_RGBA, 8, 0}},
    {"PNG, photo, RGB, interlaced", HEAD_PNG, PHOTO, SMALL, {PNG_COLOR_TYPE_RGB, 8, 1}},
    {"PNG, flat, RGBA of 16 bits, interlaced", HEAD_PNG, FLAT, SMALL, {PNG_COLOR_TYPE_RGBA, 16, 1}},
    {"PNG, photo, RGBA of 16 bits, interlaced",
     HEAD_PNG,
     PHOTO,
     SMALL,
     {PNG_COLOR_TYPE_RGBA, 16, 1}},
    {"JPEG, photo", HEAD_JPEG, PHOTO, BIG, {0, 1}},
    {"JPEG, photo, turned", HEAD_JPEG, PHOTO, BIG, {0, 6}},
    {"JPEG, noise", HEAD_JPEG, NOISE, BIG, {0, 1}},
    {"JPEG, photo, progressive", HEAD_JPEG, PHOTO, SMALL, {1, 1}},
    {"JPEG, noise, progressive", HEAD_JPEG, NOISE, SMALL, {1, 1}},
    {"WebP, photo, lossy", HEAD_WEBP, PHOTO, BIG, {3, 0}},
    {"WebP, photo, lossless", HEAD_WEBP, PHOTO, SMALL, {3, 1}},
    {"WebP, photo, transparent", HEAD_WEBP, PHOTO, SMALL, {4, 1}},
};

static void file_make(const struct kind *k, struct file *f) {
    if (k->format == HEAD_PNG) png_of(f, k->look, k->side, k->arg[0], k->arg[1], k->arg[2]);
    if (k->format == HEAD_JPEG) jpeg_of(f, k->look, k->side, k->arg[0], k->arg[1]);
    if (k->format == HEAD_WEBP) webp_of(f, k->look, k->side, k->arg[0], k->arg[1]);
}

/* ---- what is measured ---- */

static int ready_begin(void *ud, const struct head *head, struct err *e) {
    static const struct picture_sizes sizes = {128, 64};
    return picture_open(&sizes, head->w, head->h, head->orientation, ud, e);
}

static void ready_row(void *ud, const uint8_t *rgb) {
    eng_intake_row(*(struct eng_intake **)ud, rgb);
}

static void all(const struct file *f) {
    static const struct picture_limits limits = {BIG * BIG, SMALL * SMALL};
    struct eng_intake *in = NULL;
    struct eng_picture *picture;
    struct err e = {0};
    const struct picture_sink sink = {ready_begin, ready_row, &in};
    must(picture_read(f->bytes, f->len, &limits, &sink, &e) == 0);
    must(eng_intake_close(in, &picture, &e) == 0);
    eng_picture_put(picture);
}

static int no_begin(void *ud, const struct head *head, struct err *e) {
    (void)ud, (void)head, (void)e;
    return 0;
}

static void no_row(void *ud, const uint8_t *rgb) { (void)ud, (void)rgb; }

static void library(const struct file *f) {
    static const struct picture_limits limits = {BIG * BIG, SMALL * SMALL};
    static const struct picture_sink sink = {no_begin, no_row, NULL};
    struct err e = {0};
    must(picture_read(f->bytes, f->len, &limits, &sink, &e) == 0);
}

static void inflating(const struct file *f) {
    static uint8_t out[1 << 16];
    z_stream z = {0};
    must(inflateInit(&z) == Z_OK);
    for (size_t at = 8; at + 8 < f->len;) {
        const uint8_t *b = f->bytes + at;
        size_t n = (size_t)b[0] << 24 | (size_t)b[1] << 16 | (size_t)b[2] << 8 | b[3];
        z.next_in = f->bytes + at + 8;
        z.avail_in = memcmp(b + 4, "IDAT", 4) == 0 ? (uInt)n : 0;
        do {
            z.next_out = out;
            z.avail_out = sizeof(out);
        } while (z.avail_in && inflate(&z, Z_NO_FLUSH) == Z_OK);
        at += 12 + n;
    }
    inflateEnd(&z);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Milliseconds of processor, the median. */
static double measure(void (*run)(const struct file *), const struct file *f, int runs) {
    double ms[RUNS_MAX];
    for (int i = 0; i < runs; i++) {
        struct timespec a, b;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
        run(f);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
        ms[i] = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
    }
    qsort(ms, (size_t)runs, sizeof(*ms), compare);
    return ms[runs / 2];
}

int main(int argc, char **argv) {
    int runs = argc > 1 ? atoi(argv[1]) : 5;
    if (runs < 1 || runs > RUNS_MAX) runs = 5;
    printf("ms of processor, median of %d:           MiB   zlib  library   all\n", runs);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct kind *k = &kinds[i];
        struct file f = {0};
        if (argc > 2 && !strstr(k->name, argv[2])) continue;
        file_make(k, &f);
        printf("%-40s %5.1f", k->name, (double)f.len / (1 << 20));
        if (k->format == HEAD_PNG)
            printf("  %5.0f", measure(inflating, &f, runs));
        else
            printf("      -");
        printf("    %5.0f", measure(library, &f, runs));
        printf(" %5.0f\n", measure(all, &f, runs));
        fflush(stdout);
        free(f.bytes);
    }
    return 0;
}
