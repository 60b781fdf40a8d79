/* picture_webp.c - WebP bytes to rows of RGB. The only file that knows libwebp.
 *
 * libwebp decodes a picture as a whole: into RGB when it is opaque, else into RGBA, which is laid
 * on white here as a PNG's is. Its own memory beside that is 4 bytes a pixel for the lossless kind
 * and 1 for a lossy one's transparency; an opaque lossy one, which is what photos are, needs rows.
 * So the pixels that head.c counted bound it all. An animated file is refused there: which of its
 * pictures is meant is the client's to say, and taking it apart would need one more library.
 *
 * Thread: any, one call each.
 */
#if !__has_include(<webp/decode.h>)
#error "libwebp is missing: run `make deps`, or install libwebp-dev"
#endif
#include <string.h>
#include <webp/decode.h>

#include "kernels/base/mem.h"
#include "media/picture.h"

int picture_webp_is(const uint8_t *bytes, size_t len) {
    return len >= 12 && memcmp(bytes, "RIFF", 4) == 0 && memcmp(bytes + 8, "WEBP", 4) == 0;
}

static int webp_failed(VP8StatusCode status, struct err *e) {
    switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY: return err_set(e, E_NOMEM, "no memory to read the picture");
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
        return err_set(e, E_FORMAT, "the WebP is cut short; send the whole file");
    default: return err_set(e, E_FORMAT, "the WebP is damaged");
    }
}

int picture_webp_rows(const uint8_t *bytes, size_t len, const struct head *head,
                      const struct picture_sink *sink, struct err *e) {
    WebPDecoderConfig c;
    if (!WebPInitDecoderConfig(&c)) return err_set(e, E_INTERNAL, "libwebp is of another version");
    VP8StatusCode status = WebPGetFeatures(bytes, len, &c.input);
    if (status != VP8_STATUS_OK) return webp_failed(status, e);
    if (c.input.width != head->w || c.input.height != head->h || c.input.has_animation)
        return err_set(e, E_FORMAT, "the WebP is damaged");
    size_t w = (size_t)head->w, h = (size_t)head->h, n = c.input.has_alpha ? 4 : 3;
    uint8_t *px = mem_try(w * h * n);
    if (!px) return err_set(e, E_NOMEM, "no memory for the picture's pixels");
    c.output.colorspace = c.input.has_alpha ? MODE_RGBA : MODE_RGB;
    c.output.is_external_memory = 1;
    c.output.u.RGBA = (WebPRGBABuffer){px, head->w * (int)n, w * h * n};
    status = WebPDecode(bytes, len, &c);
    for (size_t y = 0; status == VP8_STATUS_OK && y < h; y++) {
        if (n == 4) picture_lay_on_white(px + y * w * n, w);
        sink->row(sink->ud, px + y * w * n);
    }
    WebPFreeDecBuffer(&c.output);
    mem_free(px);
    return status == VP8_STATUS_OK ? 0 : webp_failed(status, e);
}
