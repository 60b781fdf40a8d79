/* picture.c - resize, digest, count references.
 *
 * A picture comes row by row. Each row goes to the two resizers, and is gone. The digest covers all
 * that an answer can depend on: SHA-256 over the sides of the picture, as shown, and over what the
 * model gets of it. So it costs the same for pictures of any size, and with a truth of any size: of
 * 16 megapixels the digest would take longer than both resizers. The sides are hashed as numbers,
 * so 30x100 and 100x30 that look alike to the model differ. Thread: any.
 */
#include "engine/picture/picture.h"

#include <openssl/evp.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/picture/resize.h"
#include "kernels/base/hex.h"
#include "kernels/base/mem.h"

enum { CHANNELS = 3, SHA_BYTES = 32 };

struct eng_picture {
    atomic_int refs;
    int w, h;
    struct picture_sizes sizes;
    char digest[2 * SHA_BYTES + 1];
    uint8_t *rgb;   /* (image_size, image_size, 3), and behind it: */
    uint8_t *truth; /* (grid, grid, 3) */
};

/* ---- rows come in ---- */

struct eng_intake {
    struct eng_picture *picture;
    struct resize *to_model, *to_truth;
    int h, rows; /* as stored; rows that came */
};

static size_t bytes_of(int side) { return (size_t)side * (size_t)side * CHANNELS; }

static int take_digest(struct eng_picture *i) {
    const uint32_t sides[] = {(uint32_t)i->w, (uint32_t)i->h, (uint32_t)i->sizes.image_size};
    size_t pixels = bytes_of(i->sizes.image_size);
    uint8_t head[sizeof(sides)], sum[SHA_BYTES];
    for (size_t k = 0; k < sizeof(head); k++) /* little-endian on every machine */
        head[k] = (uint8_t)(sides[k / 4] >> (8 * (k % 4)));
    EVP_MD_CTX *sha = EVP_MD_CTX_new();
    int is_done = sha && EVP_DigestInit_ex(sha, EVP_sha256(), NULL) &&
                  EVP_DigestUpdate(sha, head, sizeof(head)) &&
                  EVP_DigestUpdate(sha, i->rgb, pixels) && EVP_DigestFinal_ex(sha, sum, NULL);
    EVP_MD_CTX_free(sha);
    if (is_done) hex_write(sum, SHA_BYTES, i->digest);
    return is_done ? 0 : E_NOMEM;
}

static int check_size(int w, int h, struct err *e) {
    if (w < 1 || h < 1) return err_set(e, E_INVALID, "a picture of %d x %d", w, h);
    if (w > ENG_PICTURE_SIDE_MAX || h > ENG_PICTURE_SIDE_MAX ||
        (int64_t)w * h > (int64_t)ENG_PICTURE_PIXELS_MAX)
        return err_set(e, E_TOO_BIG, "a picture of %d x %d", w, h);
    return 0;
}

static struct eng_picture *picture_make(const struct picture_sizes *sizes, int w, int h) {
    size_t rgb = bytes_of(sizes->image_size), truth = bytes_of(sizes->grid);
    struct eng_picture *i = mem_try(sizeof *i + rgb + truth);
    if (!i) return NULL;
    atomic_init(&i->refs, 1);
    i->w = w;
    i->h = h;
    i->sizes = *sizes;
    i->rgb = (uint8_t *)(i + 1);
    i->truth = i->rgb + rgb;
    return i;
}

static void intake_free(struct eng_intake *in) {
    resize_close(in->to_model);
    resize_close(in->to_truth);
    eng_picture_put(in->picture);
    mem_free(in);
}

int picture_open(const struct picture_sizes *sizes, int w, int h, int orientation,
                 struct eng_intake **out, struct err *e) {
    *out = NULL;
    if (orientation < 1 || orientation > 8) return err_set(e, E_INVALID, "no such orientation");
    int rc = check_size(w, h, e), is_crossed = orientation >= 5;
    if (rc) return rc;
    struct eng_intake *in = mem_try(sizeof *in);
    if (!in) return err_set(e, E_NOMEM, "no memory for a picture");
    *in = (struct eng_intake){.h = h};
    struct eng_picture *i = picture_make(sizes, is_crossed ? h : w, is_crossed ? w : h);
    in->picture = i;
    int side = sizes->image_size, grid = sizes->grid;
    if (!i) rc = err_set(e, E_NOMEM, "no memory for a picture");
    if (!rc) rc = resize_open(w, h, orientation, i->rgb, side, side, &in->to_model, e);
    if (!rc) rc = resize_open(w, h, orientation, i->truth, grid, grid, &in->to_truth, e);
    if (rc) {
        intake_free(in);
        return rc;
    }
    *out = in;
    return 0;
}

void eng_intake_row(struct eng_intake *in, const uint8_t *rgb) {
    must(in->rows < in->h);
    in->rows++;
    resize_row(in->to_model, rgb);
    resize_row(in->to_truth, rgb);
}

int eng_intake_close(struct eng_intake *in, struct eng_picture **out, struct err *e) {
    int rc = 0;
    if (out) {
        must(in->rows == in->h);
        *out = NULL;
        rc = take_digest(in->picture);
        if (rc) err_set(e, rc, "SHA-256 of a picture failed");
    }
    if (out && !rc) {
        *out = in->picture;
        in->picture = NULL;
    }
    intake_free(in);
    return rc;
}

int picture_new(const struct picture_sizes *sizes, const uint8_t *rgb, int w, int h,
                struct eng_picture **out, struct err *e) {
    struct eng_intake *in;
    *out = NULL;
    if (!rgb) return err_set(e, E_INVALID, "a picture without pixels");
    int rc = picture_open(sizes, w, h, 1, &in, e);
    if (rc) return rc;
    for (int y = 0; y < h; y++)
        eng_intake_row(in, rgb + (size_t)y * (size_t)w * CHANNELS);
    return eng_intake_close(in, out, e);
}

/* ---- a picture ---- */

const uint8_t *picture_rgb(const struct eng_picture *i) { return i->rgb; }

struct eng_picture *eng_picture_get(struct eng_picture *i) {
    atomic_fetch_add(&i->refs, 1);
    return i;
}

void eng_picture_put(struct eng_picture *i) {
    if (i && atomic_fetch_sub(&i->refs, 1) == 1) mem_free(i);
}

const char *eng_picture_digest(const struct eng_picture *i) { return i->digest; }

const uint8_t *eng_picture_truth(const struct eng_picture *i) { return i->truth; }

size_t eng_picture_bytes(const struct eng_picture *i) {
    return sizeof(*i) + bytes_of(i->sizes.image_size) + bytes_of(i->sizes.grid);
}

void eng_picture_size(const struct eng_picture *i, int *w, int *h) {
    *w = i->w;
    *h = i->h;
}
