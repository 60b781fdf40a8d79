/* picture.c - resize, digest, count references.
 *
 * The digest covers what the picture shows and how it is made ready: SHA-256 over the version of
 * this preparation, width, height, channels and all pixels of the original. The sides are hashed as
 * numbers, so 30x100 and 100x30 with the same bytes differ. Thread: any.
 */
#include "engine/picture/picture.h"

#include <openssl/evp.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/picture/resize.h"
#include "kernels/base/hex.h"
#include "kernels/base/mem.h"

enum { PREPARATION = 1, CHANNELS = 3, SHA_BYTES = 32 };

struct eng_picture {
    atomic_int refs;
    int w, h;
    char digest[2 * SHA_BYTES + 1];
    uint8_t *rgb;   /* (image_size, image_size, 3) */
    uint8_t *truth; /* (grid, grid, 3) */
};

static int digest(const uint8_t *rgb, int w, int h, char *hex, struct err *e) {
    uint8_t head[16], sum[SHA_BYTES];
    const uint32_t facts[4] = {PREPARATION, (uint32_t)w, (uint32_t)h, CHANNELS};
    for (int i = 0; i < 16; i++) /* little-endian on every machine */
        head[i] = (uint8_t)(facts[i / 4] >> (8 * (i % 4)));
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    int ok = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) &&
             EVP_DigestUpdate(c, head, sizeof head) &&
             EVP_DigestUpdate(c, rgb, (size_t)w * (size_t)h * CHANNELS) &&
             EVP_DigestFinal_ex(c, sum, NULL);
    EVP_MD_CTX_free(c);
    if (!ok) return err_set(e, E_NOMEM, "SHA-256 of a picture failed");
    hex_write(sum, SHA_BYTES, hex);
    return 0;
}

static int check_size(const uint8_t *rgb, int w, int h, struct err *e) {
    if (!rgb || w < 1 || h < 1) return err_set(e, E_INVALID, "a picture of %d x %d", w, h);
    if (w > ENG_PICTURE_SIDE_MAX || h > ENG_PICTURE_SIDE_MAX ||
        (int64_t)w * h > (int64_t)ENG_PICTURE_PIXELS_MAX)
        return err_set(e, E_TOO_BIG, "a picture of %d x %d", w, h);
    return 0;
}

int picture_new(const struct picture_sizes *sizes, const uint8_t *rgb, int w, int h,
                struct eng_picture **out, struct err *e) {
    *out = NULL;
    int rc = check_size(rgb, w, h, e);
    if (rc) return rc;
    size_t rgb_size = (size_t)sizes->image_size * (size_t)sizes->image_size * CHANNELS;
    size_t truth = (size_t)sizes->grid * (size_t)sizes->grid * CHANNELS;
    struct eng_picture *i = mem_try(sizeof *i + rgb_size + truth);
    if (!i) return err_set(e, E_NOMEM, "no memory for a picture");
    atomic_init(&i->refs, 1);
    i->w = w;
    i->h = h;
    i->rgb = (uint8_t *)(i + 1);
    i->truth = i->rgb + rgb_size;
    rc = resize_picture(rgb, w, h, i->rgb, sizes->image_size, sizes->image_size, e);
    if (!rc) rc = resize_picture(rgb, w, h, i->truth, sizes->grid, sizes->grid, e);
    if (!rc) rc = digest(rgb, w, h, i->digest, e);
    if (rc) {
        mem_free(i);
        return rc;
    }
    *out = i;
    return 0;
}

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

void eng_picture_size(const struct eng_picture *i, int *w, int *h) {
    *w = i->w;
    *h = i->h;
}
