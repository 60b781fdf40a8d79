/* picture_png.c - PNG bytes to rows of RGB and back. The only file that knows libpng.
 *
 * The low-level reader is used, not the simplified one: most of libpng's recent holes were in the
 * latter. Chunks other than those that colours need (tRNS) are skipped unread, so there is no iCCP,
 * zTXt or iTXt to inflate; head.c has looked for the orientation. Whatever the file holds becomes
 * 8-bit RGB: palette and grey are expanded, 16 bits are scaled, transparency is laid on white;
 * where each pixel has 8 bits of it, that is done here, for libpng takes twice as long. Only an
 * interlaced picture is held whole, to put it together. gAMA and profiles are ignored, as Pillow
 * ignores them (docs/model.md section 1.3). The file has to be whole: a missing end is an error,
 * even if all rows are there. Each chunk has a checksum; the second one, over what is inflated,
 * isn't looked at.
 *
 * libpng reports errors by longjmp. It is confined to the two functions with a setjmp. What they
 * own lives in a struct of their caller, so nothing is lost or clobbered by the jump.
 *
 * Thread: any, one call each.
 */
#include <png.h>
#include <setjmp.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "media/picture.h"

enum { CHUNK_BYTES_MAX = 1 << 20, CHUNKS_KEPT_MAX = 16 };

struct reading {
    png_structp png;
    png_infop info;
    const uint8_t *bytes;
    size_t len, at;
    const struct head *head;
    const struct picture_sink *sink;
    uint8_t *rows; /* (w, channels); (h, w, channels) of an interlaced picture */
    int channels;  /* 3, or 4: transparency is ours to lay on white */
    int short_of_bytes;
};

int picture_png_is(const uint8_t *bytes, size_t len) {
    return len >= 8 && png_sig_cmp(bytes, 0, 8) == 0;
}

static void on_error(png_structp png, png_const_charp text) {
    (void)text; /* a library's text reaches no client */
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}

static png_voidp on_alloc(png_structp png, png_alloc_size_t n) {
    (void)png;
    return mem_try(n);
}

static void on_free(png_structp png, png_voidp p) {
    (void)png;
    mem_free(p);
}

static void on_read(png_structp png, png_bytep to, size_t n) {
    struct reading *r = png_get_io_ptr(png);
    if (n > r->len - r->at) {
        r->short_of_bytes = 1;
        png_error(png, "end");
    }
    memcpy(to, r->bytes + r->at, n);
    r->at += n;
}

/* Set the reader up so that any kind of PNG comes out as rows of RGB. */
static void want_rgb(png_structp png, png_infop info) {
    int depth = png_get_bit_depth(png, info), colour = png_get_color_type(png, info);
    int has_trns = png_get_valid(png, info, PNG_INFO_tRNS) != 0;
    if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
    if (colour == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
    if (has_trns) png_set_tRNS_to_alpha(png);
    if (depth == 16) png_set_scale_16(png);
    if (!(colour & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(png);
    if (has_trns || ((colour & PNG_COLOR_MASK_ALPHA) && depth == 16)) {
        png_color_16 white = {0, 255, 255, 255, 255};
        if (depth == 16) white = (png_color_16){0, 65535, 65535, 65535, 65535};
        png_set_background(png, &white, PNG_BACKGROUND_GAMMA_SCREEN, 0, 1.0);
    }
}

static void skip_chunks(png_structp png) {
    static const png_byte skip[] =
        "bKGD\0cHRM\0eXIf\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0"
        "sCAL\0sPLT\0sRGB\0sTER\0tEXt\0tIME\0zTXt";
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, 0);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, skip, sizeof(skip) / 5);
}

static void give_row(struct reading *r, uint8_t *row) {
    if (r->channels == 4) picture_lay_on_white(row, (size_t)r->head->w);
    r->sink->row(r->sink->ud, row);
}

/* One pass: each row goes on at once. Seven passes: they are put together first. */
static void read_rows(struct reading *r, int passes) {
    size_t bytes = (size_t)r->head->w * (size_t)r->channels;
    int is_held = passes > 1;
    for (int pass = 0; pass < passes; pass++) {
        for (int y = 0; y < r->head->h; y++) {
            uint8_t *row = r->rows + (is_held ? (size_t)y * bytes : 0);
            png_read_row(r->png, row, NULL);
            if (!is_held) give_row(r, row);
        }
    }
    png_read_end(r->png, NULL);
    for (int y = 0; is_held && y < r->head->h; y++)
        give_row(r, r->rows + (size_t)y * bytes);
}

static int read_pixels(struct reading *r, struct err *e) {
    png_structp png = r->png;
    size_t w = (size_t)r->head->w, h = (size_t)r->head->h;
    if (setjmp(png_jmpbuf(png))) {
        return err_set(e, E_FORMAT,
                       r->short_of_bytes ? "the PNG is cut short; send the whole file"
                                         : "the PNG is damaged");
    }
    png_set_read_fn(png, r, on_read);
    png_set_user_limits(png, PICTURE_SIDE_MAX, PICTURE_SIDE_MAX);
    png_set_chunk_malloc_max(png, CHUNK_BYTES_MAX);
    png_set_chunk_cache_max(png, CHUNKS_KEPT_MAX);
    (void)png_set_option(png, PNG_IGNORE_ADLER32, PNG_OPTION_ON);
    skip_chunks(png);
    png_read_info(png, r->info);
    must(png_get_image_width(png, r->info) == w && png_get_image_height(png, r->info) == h);
    want_rgb(png, r->info);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, r->info);
    size_t bytes = png_get_rowbytes(png, r->info);
    must(bytes == w * 3 || bytes == w * 4);
    r->channels = (int)(bytes / w);
    r->rows = mem_try(bytes * (passes > 1 ? h : 1));
    if (!r->rows) return err_set(e, E_NOMEM, "no memory for the picture's pixels");
    read_rows(r, passes);
    return 0;
}

int picture_png_rows(const uint8_t *bytes, size_t len, const struct head *head,
                     const struct picture_sink *sink, struct err *e) {
    struct reading r = {.bytes = bytes, .len = len, .head = head, .sink = sink};
    int rc;
    r.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, NULL, on_error, on_warning, NULL,
                                     on_alloc, on_free);
    if (r.png) r.info = png_create_info_struct(r.png);
    if (r.info)
        rc = read_pixels(&r, e);
    else
        rc = err_set(e, E_NOMEM, "no memory to read the picture");
    png_destroy_read_struct(&r.png, &r.info, NULL);
    mem_free(r.rows);
    return rc;
}

/* ---- writing ---- */

static void on_write(png_structp png, png_bytep bytes, size_t n) {
    if (buf_add(png_get_io_ptr(png), bytes, n)) png_error(png, "full");
}

static void on_flush(png_structp png) { (void)png; }

static int picture_png_write_pixels(png_structp png, png_infop info, const uint8_t *pixels, int w,
                                    int h, int channels) {
    if (setjmp(png_jmpbuf(png))) return E_NOMEM;
    png_set_IHDR(png, info, (png_uint_32)w, (png_uint_32)h, 8,
                 channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    /* Everything that shapes the bytes is stated, so that they depend on the pixels alone. */
    png_set_compression_level(png, 6);
    png_set_compression_strategy(png, 1); /* Z_FILTERED */
    png_set_filter(png, PNG_FILTER_TYPE_BASE, channels == 3 ? PNG_ALL_FILTERS : PNG_FILTER_UP);
    png_write_info(png, info);
    for (int y = 0; y < h; y++)
        png_write_row(png, pixels + (size_t)y * (size_t)w * (size_t)channels);
    png_write_end(png, info);
    return 0;
}

static int picture_png_write_png(const uint8_t *pixels, int w, int h, int channels,
                                 struct buf *out) {
    png_infop info = NULL;
    png_structp png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, NULL, on_error, on_warning,
                                                NULL, on_alloc, on_free);
    if (!png) return E_NOMEM;
    int rc = E_NOMEM;
    info = png_create_info_struct(png);
    if (info) {
        png_set_write_fn(png, out, on_write, on_flush);
        rc = picture_png_write_pixels(png, info, pixels, w, h, channels);
    }
    png_destroy_write_struct(&png, &info);
    return out->bad ? out->bad : rc;
}

int picture_png(const uint8_t *rgb, int w, int h, struct buf *out) {
    return picture_png_write_png(rgb, w, h, 3, out);
}

int picture_png_grey(const uint8_t *grey, int w, int h, struct buf *out) {
    return picture_png_write_png(grey, w, h, 1, out);
}
