/* picture.c - which format is it, and is it within the limits? See picture.h. Thread: any. */
#include "media/picture.h"

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

int picture_decode(const uint8_t *bytes, size_t len, uint64_t pixels_max, uint8_t **rgb, int *w,
                   int *h, struct err *e) {
    struct picture pic;
    int rc;
    *rgb = NULL;
    if (len == 0)
        rc = err_set(e, E_FORMAT, "the picture is empty (0 bytes)");
    else if (picture_png_is(bytes, len))
        rc = picture_png_decode(bytes, len, pixels_max, &pic, e);
    else if (picture_jpeg_is(bytes, len))
        rc = picture_jpeg_decode(bytes, len, pixels_max, &pic, e);
    else
        rc = err_set(e, E_UNSUPPORTED,
                     "this is neither a PNG nor a JPEG picture; send one of the two");
    if (rc) return rc;
    *rgb = pic.rgb;
    *w = pic.w;
    *h = pic.h;
    return 0;
}
