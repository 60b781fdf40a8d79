/* picture.c - which format is it, is it within the limits, and who decodes it? See picture.h.
 * Thread: any. */
#include "media/picture.h"

#include <string.h>

#include "kernels/base/mem.h"

int picture_check_size(uint64_t w, uint64_t h, uint64_t pixels_max, struct err *e) {
    if (w > PICTURE_SIDE_MAX || h > PICTURE_SIDE_MAX)
        return err_set(e, E_TOO_BIG,
                       "the picture is %llu x %llu; a side may have at most %d pixels",
                       (unsigned long long)w, (unsigned long long)h, PICTURE_SIDE_MAX);
    if (w * h > pixels_max)
        return err_set(e, E_TOO_BIG, "the picture is %llu x %llu; at most %llu pixels are taken",
                       (unsigned long long)w, (unsigned long long)h,
                       (unsigned long long)pixels_max);
    return 0;
}

static int picture_check_cost(const struct head *h, uint64_t costly_max, struct err *e) {
    static const struct {
        const char *what, *instead;
    } words[] = {
        [HEAD_PNG] = {"a PNG that is interlaced or has 16 bits a colour", "a plain PNG of 8 bits"},
        [HEAD_JPEG] = {"a progressive JPEG", "a baseline JPEG"},
        [HEAD_WEBP] = {"a lossless or transparent WebP", "a JPEG"}};
    if (!h->is_costly || (uint64_t)h->w * (uint64_t)h->h <= costly_max) return 0;
    return err_set(e, E_TOO_BIG,
                   "the picture is %d x %d; at most %llu pixels are taken of %s; save it as %s, or "
                   "smaller",
                   h->w, h->h, (unsigned long long)costly_max, words[h->kind].what,
                   words[h->kind].instead);
}

int picture_read(const uint8_t *bytes, size_t len, const struct picture_limits *limits,
                 const struct picture_sink *sink, struct err *e) {
    struct head head;
    int rc = head_read(bytes, len, limits->pixels_max, &head, e);
    if (rc == 0) rc = picture_check_cost(&head, limits->costly_max, e);
    if (rc == 0) rc = sink->begin(sink->ud, &head, e);
    if (rc) return rc;
    if (head.kind == HEAD_JPEG) return picture_jpeg_rows(bytes, len, &head, limits, sink, e);
    if (head.kind == HEAD_WEBP) return picture_webp_rows(bytes, len, &head, sink, e);
    return picture_png_rows(bytes, len, &head, sink, e);
}

void picture_lay_on_white(uint8_t *px, size_t pixels) {
    uint8_t *to = px;
    for (size_t i = 0; i < pixels; i++, px += 4, to += 3) {
        unsigned a = px[3];
        for (int c = 0; c < 3; c++) {
            unsigned v = px[c] * a + 255 * (255 - a) + 128;
            to[c] = (uint8_t)((v + (v >> 8)) >> 8);
        }
    }
}

/* ---- all rows at once ---- */

struct whole {
    struct picture picture;
    uint8_t *next;
};

static int whole_begin(void *ud, const struct head *head, struct err *e) {
    struct whole *a = ud;
    a->picture = (struct picture){.w = head->w, .h = head->h};
    a->next = a->picture.rgb = mem_try((size_t)head->w * (size_t)head->h * 3);
    return a->next ? 0 : err_set(e, E_NOMEM, "no memory for the picture's pixels");
}

static void whole_row(void *ud, const uint8_t *rgb) {
    struct whole *a = ud;
    memcpy(a->next, rgb, (size_t)a->picture.w * 3);
    a->next += (size_t)a->picture.w * 3;
}

int picture_decode(const uint8_t *bytes, size_t len, uint64_t pixels_max, uint8_t **rgb, int *w,
                   int *h, struct err *e) {
    struct whole all = {{NULL, 0, 0}, NULL};
    const struct picture_limits limits = {pixels_max, pixels_max};
    const struct picture_sink sink = {whole_begin, whole_row, &all};
    int rc = picture_read(bytes, len, &limits, &sink, e);
    *rgb = NULL;
    if (rc) {
        mem_free(all.picture.rgb);
        return rc;
    }
    *rgb = all.picture.rgb;
    *w = all.picture.w;
    *h = all.picture.h;
    return 0;
}
