/* test_sights.c - a sample has what another network saw at each token, as its picture is shown. */
#include <math.h>
#include <string.h>

#include <openssl/sha.h>

#include "engine/picture/resize.h"
#include "tests/check.h"
#include "tests/unit/data/draw/sampler_rig.h"
#include "tests/unit/data/tars.h"

enum { SIDE = 4, HEAD = 16 + 4 * SAMPLE_FEATURES, ENTRY = FEATURES_DIGEST + 4 };
enum { FILE_BYTES = HEAD + ENTRY + SIDE * SIDE * SAMPLE_FEATURES };

/* Of picture 0.png of the rig: number 0 is the column, 1 the row, of 4 x 4 squares. */
static void sights_file(uint8_t to[FILE_BYTES]) {
    const float scale = 1;
    struct buf png;
    memset(to, 0, FILE_BYTES);
    memcpy(to, "lammdfe1", 8);
    to[8] = 1;
    to[12] = SAMPLE_FEATURES;
    for (int c = 0; c < SAMPLE_FEATURES; c++)
        memcpy(to + 16 + 4 * c, &scale, sizeof scale);
    buf_init(&png, 1 << 16);
    tars_png(&png, 20, 16, 0);
    SHA256(png.p, png.len, to + HEAD);
    buf_clear(&png);
    to[HEAD + FEATURES_DIGEST] = to[HEAD + FEATURES_DIGEST + 2] = SIDE;
    for (int i = 0; i < SIDE * SIDE; i++) {
        to[HEAD + ENTRY + i * SAMPLE_FEATURES] = (uint8_t)(i % SIDE);
        to[HEAD + ENTRY + i * SAMPLE_FEATURES + 1] = (uint8_t)(i / SIDE);
    }
}

/* The mean of three places of token i, of which the outermost may lie beyond all middles. */
static float sight_at(int i) { return i == 0 ? 1 / 9.0f : i == 3 ? 3 - 1 / 9.0f : (float)i; }

/* Of what is shown whole: each token its own column and row. Of a part: as wide as the part is;
 * from token 1 to 2 is a quarter of it, so that many of 4 columns. Returns whether that was seen.
 */
static int check_sights(const float *got, const struct sample_picture *p, int is_cut, int is_back) {
    const float *one = got + SAMPLE_FEATURES, *two = one + SAMPLE_FEATURES;
    int is_inner = is_cut && fminf(*one, *two) > 0.5f && fmaxf(*one, *two) < 2.5f;
    for (int k = 0; k < 16 && !is_cut; k++) {
        CHECK_NEAR((double)got[k * SAMPLE_FEATURES], (double)sight_at(is_back ? 3 - k % 4 : k % 4),
                   1e-5);
        CHECK_NEAR((double)got[k * SAMPLE_FEATURES + 1], (double)sight_at(k / 4), 1e-5);
        CHECK(got[k * SAMPLE_FEATURES + 2] == 0);
    }
    if (is_inner) CHECK_NEAR((double)(is_back ? *one - *two : *two - *one), p->w / 20.0, 1e-5);
    return is_inner && p->w < 20;
}

static void check_draws(const struct source *src, const struct features *f, float crop, float flip,
                        int *known, int *cut) {
    const struct sampler_entry mix = {
        .source = src, .task = SAMPLE_PIXELS, .ratio = 1, .talks = 4, .crop = crop, .flip = flip};
    struct sampler_options o = {
        .mix = &mix, .n_mix = 1, .seed = 5, .items = PICTURES, .form = sampler_rig_form};
    struct sampler *s;
    o.form.features = f;
    CHECK_EQ(sampler_open(&o, &s, NULL), 0);
    for (uint32_t i = 0; i < 5 * PICTURES; i++) {
        struct sampler_draw *d = sampler_rig_draw(s, i / PICTURES, i % PICTURES);
        const float *got = d->sample.features;
        *known += got != NULL;
        *cut += got && check_sights(got, &d->sample.pictures[0], crop > 0, flip > 0);
        sampler_give_back(d);
    }
    sampler_close(s);
}

TEST(sights_are_those_of_what_is_shown) {
    static uint8_t bytes[FILE_BYTES];
    struct rig r;
    struct features f;
    struct source *src = sampler_rig_source(&r, ALL_PIXELS);
    sights_file(bytes);
    CHECK_EQ(features_read(bytes, sizeof bytes, &f, NULL), 0);
    for (int i = 0; i < 4; i++) {
        int known = 0, cut = 0;
        check_draws(src, &f, i % 2 ? 0.35f : 0, i / 2 ? 1 : 0, &known, &cut);
        CHECK_EQ(known, 5); /* no other picture is in the file */
        CHECK(cut > 0 || i % 2 == 0);
    }
    int known = 0, cut = 0;
    check_draws(src, NULL, 0, 0, &known, &cut);
    CHECK_EQ(known, 0);
    features_close(&f);
    source_close(src);
    rig_close(&r);
}
