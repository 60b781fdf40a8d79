/* picture_jpeg.c - JPEG bytes to rows of RGB. The only file that knows libjpeg.
 *
 * What libjpeg takes is taken, as long as every row comes out of the file's own data. libjpeg
 * paints grey where data is missing and calls that a warning, so warnings are judged by their kind:
 *
 *     the data ended, or is no code of its table     refused: pixels would be made up
 *     odd numbers in a header, stray bytes           passed over: the pixels are there
 *
 * So the source of bytes never gives what the file doesn't have. It makes an end marker up in one
 * place: behind the last scan of a picture whose coefficients are all there. Restart markers are
 * taken in the order in which they come, whatever their number. If one is missing, so is data, and
 * that shows at the end.
 *
 * A picture in one scan is decoded row by row. The others (progressive, or a scan for each colour)
 * keep their coefficients until all scans are read. The number of scans alone can make a decoder
 * work for 19 seconds on a 132 KB file, so scans are bounded, and so is the product of scans and
 * pixels: of those that the markers speak of before anything is decoded, and again of those that
 * the decoder meets.
 *
 * CMYK is turned into RGB as Pillow does it: whatever has four components holds them inverted, as
 * Adobe's programs write them. Orientation is not looked at here.
 *
 * libjpeg reports errors by a call that must not return. jpeg_stop leaves it by a longjmp to
 * jpeg_run, which owns nothing; what there is to free lives in the struct of its caller.
 *
 * Thread: any, one call each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* libjpeg's headers want stdio before them */
#include <jerror.h>
#include <jpeglib.h>

#include "kernels/base/mem.h"
#include "media/picture.h"

/* A photo's usual progressive script has ten scans. */
enum { SCANS_MAX = 64, SCANS_AT_PIXELS_MAX = 12 };

struct jpeg {
    struct jpeg_decompress_struct d;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    jmp_buf stop;
    const struct head *head;
    const struct picture_limits *limits;
    const struct picture_sink *sink;
    struct err *e;
    uint8_t *row;   /* (w, 4) */
    unsigned seen;  /* components that a scan has had, a bit each */
    int is_between; /* behind a whole scan, where the end marker may be missing */
    uint64_t n_scans;
};

int picture_jpeg_is(const uint8_t *bytes, size_t len) {
    return len >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff;
}

/* ---- errors ---- */

__attribute__((noreturn, format(printf, 3, 4))) static void jpeg_stop(struct jpeg *j, int rc,
                                                                      const char *fmt, ...) {
    char text[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    (void)err_set(j->e, rc, "%s", text);
    longjmp(j->stop, 1);
}

__attribute__((noreturn)) static void jpeg_stop_short(struct jpeg *j) {
    jpeg_stop(j, E_FORMAT, "the JPEG is cut short; send the whole file");
}

static void jpeg_on_error(j_common_ptr d) {
    struct jpeg *j = d->client_data;
    switch (d->err->msg_code) {
    case JERR_OUT_OF_MEMORY: jpeg_stop(j, E_NOMEM, "no memory to read the picture");
    case JERR_FRACT_SAMPLE_NOTIMPL:
    case JERR_CCIR601_NOTIMPL:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_NOTIMPL:
    case JERR_NOT_COMPILED:
        jpeg_stop(j, E_UNSUPPORTED,
                  "this kind of JPEG is not supported; save it again as an ordinary one");
    default: jpeg_stop(j, E_FORMAT, "the JPEG is damaged");
    }
}

static void jpeg_on_message(j_common_ptr d, int level) {
    struct jpeg *j = d->client_data;
    if (level >= 0) return; /* a trace */
    if (d->err->msg_code == JWRN_HIT_MARKER) jpeg_stop_short(j);
    if (d->err->msg_code == JWRN_HUFF_BAD_CODE) jpeg_stop(j, E_FORMAT, "the JPEG is damaged");
}

/* ---- the source ---- */

static void on_nothing(j_decompress_ptr d) { (void)d; }

/* Are all coefficients there, to their last bit? */
static int jpeg_is_complete(const struct jpeg *j) {
    const struct jpeg_decompress_struct *d = &j->d;
    if (j->seen != (1u << d->num_components) - 1) return 0;
    for (int c = 0; d->progressive_mode && c < d->num_components; c++) {
        for (int k = 0; k < DCTSIZE2; k++)
            if (d->coef_bits[c][k] != 0) return 0;
    }
    return 1;
}

static boolean on_end_of_data(j_decompress_ptr d) {
    static const JOCTET end[] = {0xff, JPEG_EOI};
    struct jpeg *j = d->client_data;
    if (!j->is_between || !jpeg_is_complete(j)) jpeg_stop_short(j);
    j->source.next_input_byte = end;
    j->source.bytes_in_buffer = sizeof(end);
    return TRUE;
}

static void on_skip(j_decompress_ptr d, long n) {
    struct jpeg *j = d->client_data;
    if (n <= 0) return;
    if ((size_t)n > j->source.bytes_in_buffer) jpeg_stop_short(j);
    j->source.next_input_byte += n;
    j->source.bytes_in_buffer -= (size_t)n;
}

/* Another marker has come than the restart that is due. A restart is taken for the one that is due.
 * Anything else stays where it is, and the decoder will miss its data. */
static boolean on_restart(j_decompress_ptr d, int due) {
    (void)due;
    if (d->unread_marker >= JPEG_RST0 && d->unread_marker <= JPEG_RST0 + 7) d->unread_marker = 0;
    return TRUE;
}

/* ---- scans ---- */

/* How many scans the markers speak of. */
static uint64_t scans_of(const uint8_t *b, size_t len) {
    uint64_t n = 0;
    for (size_t i = head_next_marker(b, len, 2); i < len; i = head_next_marker(b, len, i)) {
        int marker = b[i++];
        if (marker == JPEG_EOI) break;
        if (marker == 0x01 || (marker >= JPEG_RST0 && marker <= JPEG_RST0 + 7)) continue;
        if (len - i < 2) break;
        size_t segment = (size_t)(b[i] << 8 | b[i + 1]);
        n += marker == 0xda;
        i = segment > len - i ? len : i + segment;
    }
    return n;
}

static int check_scans(const struct jpeg *j, uint64_t n, struct err *e) {
    uint64_t pixels = (uint64_t)j->head->w * (uint64_t)j->head->h;
    if (n > SCANS_MAX)
        return err_set(e, E_TOO_BIG,
                       "the JPEG has more than %d scans; save it again as a baseline JPEG",
                       SCANS_MAX);
    if (pixels * n > j->limits->costly_max * SCANS_AT_PIXELS_MAX)
        return err_set(
            e, E_TOO_BIG,
            "the JPEG has too many scans for its size; save it again as a baseline JPEG");
    return 0;
}

/* ---- decoding ---- */

static void jpeg_read_head(struct jpeg *j, const uint8_t *bytes, size_t len) {
    jpeg_create_decompress(&j->d);
    j->source = (struct jpeg_source_mgr){.next_input_byte = bytes,
                                         .bytes_in_buffer = len,
                                         .init_source = on_nothing,
                                         .fill_input_buffer = on_end_of_data,
                                         .skip_input_data = on_skip,
                                         .resync_to_restart = on_restart,
                                         .term_source = on_nothing};
    j->d.src = &j->source;
    (void)jpeg_read_header(&j->d, TRUE);
    if (j->d.image_width != (JDIMENSION)j->head->w || j->d.image_height != (JDIMENSION)j->head->h)
        jpeg_stop(j, E_FORMAT, "the JPEG is damaged");
    j->d.out_color_space = j->d.num_components == 4 ? JCS_CMYK : JCS_RGB;
    j->d.dct_method = JDCT_ISLOW;
}

/* At the beginning of a scan. */
static void count_scan(struct jpeg *j) {
    for (int i = 0; i < j->d.comps_in_scan; i++)
        j->seen |= 1u << j->d.cur_comp_info[i]->component_index;
    if (check_scans(j, ++j->n_scans, j->e)) longjmp(j->stop, 1);
}

static void jpeg_read_scans(struct jpeg *j) {
    int what;
    count_scan(j);
    do {
        what = jpeg_consume_input(&j->d);
        if (what == JPEG_SCAN_COMPLETED) j->is_between = 1;
        if (what == JPEG_REACHED_SOS) {
            j->is_between = 0;
            count_scan(j);
        }
    } while (what != JPEG_REACHED_EOI);
    if (j->seen != (1u << j->d.num_components) - 1) jpeg_stop_short(j);
}

/* CMYK in every 4 bytes -> RGB in every 3, in place. */
static void cmyk_to_rgb(uint8_t *px, size_t pixels) {
    for (size_t i = 0; i < pixels; i++) {
        unsigned k = px[4 * i + 3];
        for (size_t c = 0; c < 3; c++)
            px[3 * i + c] = (uint8_t)((px[4 * i + c] * k + 127) / 255);
    }
}

static void jpeg_read_rows(struct jpeg *j) {
    int is_whole = jpeg_has_multiple_scans(&j->d);
    j->d.buffered_image = is_whole ? TRUE : FALSE;
    (void)jpeg_start_decompress(&j->d);
    if (is_whole) {
        jpeg_read_scans(j);
        (void)jpeg_start_output(&j->d, j->d.input_scan_number);
    }
    while (j->d.output_scanline < j->d.output_height) {
        JSAMPROW row = j->row;
        (void)jpeg_read_scanlines(&j->d, &row, 1);
        if (j->d.num_components == 4) cmyk_to_rgb(j->row, j->d.output_width);
        j->sink->row(j->sink->ud, j->row);
    }
    /* The file goes on behind its last code, or that may be half a code. */
    if (!is_whole && !j->d.unread_marker && j->source.bytes_in_buffer < 2) jpeg_stop_short(j);
}

static void jpeg_run(struct jpeg *j, const uint8_t *bytes, size_t len) {
    if (setjmp(j->stop)) return;
    jpeg_read_head(j, bytes, len);
    /* Another limit holds for what head.c took for one scan. */
    if (jpeg_has_multiple_scans(&j->d) && !j->head->is_costly)
        jpeg_stop(j, E_FORMAT, "the JPEG is damaged");
    jpeg_read_rows(j);
}

int picture_jpeg_rows(const uint8_t *bytes, size_t len, const struct head *head,
                      const struct picture_limits *limits, const struct picture_sink *sink,
                      struct err *e) {
    struct err first = {0};
    struct jpeg j = {.head = head, .limits = limits, .sink = sink, .e = &first};
    int rc = head->is_costly ? check_scans(&j, scans_of(bytes, len), e) : 0;
    if (rc) return rc;
    j.row = mem_try((size_t)head->w * 4);
    if (!j.row) return err_set(e, E_NOMEM, "no memory for the picture's pixels");
    j.d.err = jpeg_std_error(&j.errors);
    j.errors.error_exit = jpeg_on_error;
    j.errors.emit_message = jpeg_on_message;
    j.d.client_data = &j;
    jpeg_run(&j, bytes, len);
    jpeg_destroy_decompress(&j.d);
    mem_free(j.row);
    return first.code ? err_set(e, first.code, "%s", first.text) : 0;
}
