/* JPEGs as cameras, phones and programs write them: taken as long as every pixel comes out of the
 * file's own data, and refused when data is missing. */
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "media/picture.h"
#include "tests/check.h"
#include "tests/unit/media/rig.h"

enum { W = 48, H = 32, PIXELS_MAX = 1 << 20 };

static int decode(const struct buf *jpeg, struct picture *pic, struct err *e) {
    *e = (struct err){0};
    return picture_decode(jpeg->p, jpeg->len, PIXELS_MAX, &pic->rgb, &pic->w, &pic->h, e);
}

static void check_refused(const struct buf *jpeg, int code, const char *piece) {
    struct picture pic;
    struct err e;
    CHECK_EQ(decode(jpeg, &pic, &e), code);
    CHECK(pic.rgb == NULL);
    CHECK_HAS(e.text, piece);
}

static void write_how(struct buf *out, const struct rig_jpeg *how) {
    uint8_t rgb[W * H * 3];
    rig_rgb(rgb, W, H);
    rig_jpeg(out, rgb, W, H, how);
}

static void write_420(struct buf *out) { write_how(out, &(struct rig_jpeg){.sampling = {{2, 2}}}); }

/* `odd` has the pixels of `plain`. */
static void check_same(const struct buf *odd, const struct buf *plain, const char *what) {
    struct picture a, b;
    struct err e;
    CHECK_EQ(decode(plain, &b, &e), 0);
    int rc = decode(odd, &a, &e);
    if (rc) test_failed(__FILE__, __LINE__, "%s: %d %s", what, rc, e.text);
    CHECK(a.w == b.w && a.h == b.h);
    CHECK_MEM(a.rgb, b.rgb, (size_t)a.w * (size_t)a.h * 3);
    mem_free(a.rgb);
    mem_free(b.rgb);
}

/* Mean distance from what was written. */
static double distance(const struct buf *jpeg) {
    uint8_t rgb[W * H * 3];
    struct picture pic;
    struct err e;
    long sum = 0;
    rig_rgb(rgb, W, H);
    CHECK_EQ(decode(jpeg, &pic, &e), 0);
    CHECK(pic.w == W && pic.h == H);
    for (int k = 0; k < W * H * 3; k++)
        sum += labs((long)pic.rgb[k] - rgb[k]);
    mem_free(pic.rgb);
    return (double)sum / (W * H * 3);
}

TEST(picture_jpeg_of_every_legal_sampling) {
    static const int samplings[][3][2] = {
        {{1, 1}, {1, 1}, {1, 1}}, {{2, 2}, {1, 1}, {1, 1}}, {{2, 1}, {1, 1}, {1, 1}},
        {{1, 2}, {1, 1}, {1, 1}}, {{4, 1}, {1, 1}, {1, 1}}, {{1, 4}, {1, 1}, {1, 1}},
        {{4, 2}, {1, 1}, {1, 1}}, {{2, 2}, {2, 1}, {1, 1}}, {{1, 2}, {1, 1}, {1, 2}},
        {{3, 1}, {1, 1}, {1, 1}}, {{1, 1}, {2, 1}, {1, 1}}, {{2, 2}, {1, 2}, {2, 1}},
        {{1, 1}, {2, 2}, {2, 2}}, {{2, 4}, {1, 1}, {1, 1}}};
    for (unsigned i = 0; i < 4 * ARRAY_LEN(samplings); i++) {
        struct rig_jpeg how = {.is_progressive = i & 1, .is_apart = (i & 3) == 2};
        struct buf jpeg;
        memcpy(how.sampling, samplings[i / 4], sizeof(how.sampling));
        write_how(&jpeg, &how);
        if (distance(&jpeg) > (i / 4 ? 40 : 4))
            test_failed(__FILE__, __LINE__, "sampling %u, %.1f off", i, distance(&jpeg));
        buf_clear(&jpeg);
    }
}

TEST(picture_jpeg_grey_has_three_equal_colours) {
    struct buf jpeg;
    struct picture pic;
    struct err e;
    write_how(&jpeg, &(struct rig_jpeg){.is_grey = 1});
    CHECK_EQ(decode(&jpeg, &pic, &e), 0);
    for (int i = 0; i < W * H; i++)
        CHECK(pic.rgb[3 * i] == pic.rgb[3 * i + 1] && pic.rgb[3 * i] == pic.rgb[3 * i + 2]);
    mem_free(pic.rgb);
    buf_clear(&jpeg);
}

/* As Pillow does it: four components are inverted, whether Adobe's marker says so or not. */
TEST(picture_jpeg_cmyk_with_and_without_adobe) {
    uint8_t cmyk[W * H * 4];
    for (int i = 0; i < W * H; i++)
        memcpy(cmyk + 4 * i, ((uint8_t[]){255, 128, 0, 200}), 4);
    for (int k = 0; k < 2; k++) {
        struct buf jpeg;
        struct picture pic;
        struct err e;
        rig_jpeg(&jpeg, cmyk, W, H, &(struct rig_jpeg){.is_cmyk = 1, .no_adobe = k});
        CHECK_EQ(decode(&jpeg, &pic, &e), 0);
        CHECK_NEAR(pic.rgb[0], 200, 2);
        CHECK_NEAR(pic.rgb[1], 128 * 200 / 255.0, 2);
        CHECK_NEAR(pic.rgb[2], 0, 2);
        mem_free(pic.rgb);
        buf_clear(&jpeg);
    }
}

/* ---- odd, but whole ---- */

TEST(picture_jpeg_odd_headers_are_passed_over) {
    struct buf plain, odd;
    write_420(&plain);
    write_420(&odd);
    size_t sos = rig_marker(&odd, 0xda, 0);
    static const uint8_t numbers[][3] = {{0, 63, 0x10}, {0, 0, 0}, {1, 5, 0}, {0, 63, 0xff}};
    for (unsigned i = 0; i < ARRAY_LEN(numbers);
         i++) { /* Ss, Se, AhAl: for progressive ones only */
        memcpy(odd.p + sos + 11, numbers[i], 3);
        check_same(&odd, &plain, "SOS");
    }
    odd.p[11] = 2; /* JFIF's major version */
    check_same(&odd, &plain, "JFIF 2");
    buf_clear(&odd);
    write_420(&odd);
    rig_insert(&odd, 2,
               "\xff\xee\0\x0e"
               "Adobe\0\x64\0\0\0\0\7",
               16); /* no such transform */
    check_same(&odd, &plain, "Adobe's transform");
    buf_clear(&odd);
    buf_clear(&plain);
}

/* Frames of a film in JPEGs leave out the tables that everybody has. */
TEST(picture_jpeg_without_huffman_tables) {
    struct buf plain, odd;
    write_420(&plain);
    write_420(&odd);
    for (int i = 0; i < 4; i++) {
        size_t dht = rig_marker(&odd, 0xc4, 0), n = 2u + (size_t)odd.p[dht + 3];
        CHECK_EQ(odd.p[dht + 2], 0);
        memmove(odd.p + dht, odd.p + dht + n, odd.len - dht - n);
        odd.len -= n;
    }
    check_same(&odd, &plain, "without DHT");
    buf_clear(&odd);
    buf_clear(&plain);
}

TEST(picture_jpeg_stray_bytes_are_passed_over) {
    static const uint8_t markers[] = {0xdb, 0xc0, 0xc4, 0xda, 0xd9};
    struct buf plain;
    write_420(&plain);
    for (unsigned i = 0; i < ARRAY_LEN(markers); i++) {
        struct buf odd;
        write_420(&odd);
        rig_insert(&odd, rig_marker(&odd, markers[i], 0), "\0\1\2abc\0\0", 8);
        check_same(&odd, &plain, "stray bytes");
        buf_clear(&odd);
        write_420(&odd);
        rig_insert(&odd, rig_marker(&odd, markers[i], 0), "\xff\xff\xff", 3);
        check_same(&odd, &plain, "fill bytes");
        buf_clear(&odd);
    }
    buf_add(&plain, "and more behind the end", 23);
    struct buf whole;
    write_420(&whole);
    check_same(&plain, &whole, "more behind the end");
    buf_clear(&whole);
    buf_clear(&plain);
}

/* Files on a card that was pulled out, or of cameras that round up: zeros in place of the end. */
TEST(picture_jpeg_without_its_end_but_with_all_data) {
    static const uint8_t zeros[200];
    for (int k = 0; k < 3; k++) {
        struct rig_jpeg how = {.sampling = {{2, 2}}, .is_progressive = k == 1, .is_apart = k == 2};
        struct buf plain, odd;
        write_how(&plain, &how);
        write_how(&odd, &how);
        odd.len -= 2;
        check_refused(&odd, E_FORMAT, "cut short");
        buf_add(&odd, zeros, sizeof(zeros));
        check_same(&odd, &plain, "zeros in place of the end");
        buf_clear(&odd);
        buf_clear(&plain);
    }
}

TEST(picture_jpeg_restarts_count_by_their_order) {
    struct buf plain, odd;
    struct rig_jpeg how = {.sampling = {{2, 2}}, .restart = 1};
    write_how(&plain, &how);
    write_how(&odd, &how);
    for (int i = 0; i < 5; i++)
        odd.p[rig_marker(&plain, (uint8_t)(0xd0 + i), 0) + 1] = (uint8_t)(0xd0 + (i * 3 + 2) % 8);
    check_same(&odd, &plain, "restarts of other numbers");
    /* One is missing with its data: there are too few. */
    size_t from = rig_marker(&plain, 0xd1, 0), to = rig_marker(&plain, 0xd2, 0);
    memmove(plain.p + from, plain.p + to, plain.len - to);
    plain.len -= to - from;
    check_refused(&plain, E_FORMAT, "cut short");
    buf_clear(&odd);
    buf_clear(&plain);
}

/* ---- data that is missing ---- */

/* Cut, and an end marker put behind it, as programs do that want to be helpful. */
TEST(picture_jpeg_cut_and_ended_is_refused) {
    for (int k = 0; k < 3; k++) {
        struct rig_jpeg how = {.sampling = {{2, 2}}, .is_progressive = k == 1, .is_apart = k == 2};
        struct buf jpeg;
        write_how(&jpeg, &how);
        size_t sos = rig_marker(&jpeg, 0xda, 0), whole = jpeg.len;
        for (size_t n = sos + 16; n + 8 < (k ? rig_marker(&jpeg, 0xda, 1) : whole); n += 5) {
            uint8_t kept[2] = {jpeg.p[n], jpeg.p[n + 1]};
            memcpy(jpeg.p + n, "\xff\xd9", 2);
            jpeg.len = n + 2;
            check_refused(&jpeg, E_FORMAT, "the JPEG is");
            memcpy(jpeg.p + n, kept, 2);
            jpeg.len = whole;
        }
        buf_clear(&jpeg);
    }
}

TEST(picture_jpeg_without_a_colours_scan_is_refused) {
    struct buf jpeg;
    write_how(&jpeg, &(struct rig_jpeg){.is_apart = 1});
    size_t third = rig_marker(&jpeg, 0xda, 2);
    memcpy(jpeg.p + third, "\xff\xd9", 2);
    jpeg.len = third + 2;
    check_refused(&jpeg, E_FORMAT, "cut short");
    buf_clear(&jpeg);
}

/* ---- bombs and limits ---- */

/* The last scan of a progressive file, n times over: each repeats a refinement that costs the
 * decoder a trip over the whole picture. */
static void repeat_last_scan(const struct buf *jpeg, int n, struct buf *out) {
    size_t sos = 0;
    for (size_t i = 2; i + 1 < jpeg->len; i++) {
        if (jpeg->p[i] == 0xff && jpeg->p[i + 1] == 0xda) sos = i;
    }
    CHECK(sos > 0);
    buf_init(out, 16 << 20);
    buf_add(out, jpeg->p, sos);
    for (int i = 0; i < n; i++)
        buf_add(out, jpeg->p + sos, jpeg->len - 2 - sos);
    buf_add(out, jpeg->p + jpeg->len - 2, 2);
}

TEST(picture_jpeg_scan_bomb) {
    struct buf jpeg, bomb;
    write_how(&jpeg, &(struct rig_jpeg){.is_progressive = 1});
    repeat_last_scan(&jpeg, 200, &bomb);
    check_refused(&bomb, E_TOO_BIG, "64 scans");
    buf_clear(&bomb);
    repeat_last_scan(&jpeg, 40, &bomb);
    struct picture pic;
    struct err e = {0};
    int rc = picture_decode(bomb.p, bomb.len, W * H, &pic.rgb, &pic.w, &pic.h, &e);
    CHECK_EQ(rc, E_TOO_BIG);
    CHECK_HAS(e.text, "too many scans for its size");
    buf_clear(&bomb);
    buf_clear(&jpeg);
}

static int begin_nothing(void *ud, const struct head *head, struct err *e) {
    (void)head;
    (void)e;
    ++*(int *)ud;
    return 0;
}

static void no_row(void *ud, const uint8_t *rgb) {
    (void)ud;
    (void)rgb;
}

/* Those that cost more have a limit of their own, which is looked at before anything else. */
TEST(picture_that_costs_more_has_its_own_limit) {
    int begun = 0;
    const struct picture_limits limits = {W * H, W * H - 1};
    const struct picture_sink sink = {begin_nothing, no_row, &begun};
    static const struct rig_jpeg hows[] = {{.is_progressive = 1}, {.is_apart = 1}, {.restart = 1}};
    for (unsigned i = 0; i < ARRAY_LEN(hows); i++) {
        struct buf jpeg;
        struct err e = {0};
        write_how(&jpeg, &hows[i]);
        int rc = picture_read(jpeg.p, jpeg.len, &limits, &sink, &e);
        CHECK_EQ(rc, i < 2 ? E_TOO_BIG : 0);
        if (rc) CHECK_HAS(e.text, "of a progressive JPEG; save it as a baseline JPEG");
        CHECK_EQ(begun, i == 2);
        buf_clear(&jpeg);
    }
}

TEST(picture_jpeg_header_is_looked_at_first) {
    struct buf jpeg;
    write_420(&jpeg);
    uint8_t *sof = jpeg.p + rig_marker(&jpeg, 0xc0, 0);
    sof[5] = sof[7] = 0xff; /* height and width: 65,3xx */
    check_refused(&jpeg, E_TOO_BIG, "32768");
    sof[5] = sof[7] = 0x7f;
    check_refused(&jpeg, E_TOO_BIG, "1048576 pixels");
    sof[5] = sof[6] = 0;
    check_refused(&jpeg, E_FORMAT, "damaged");
    buf_clear(&jpeg);
    static const uint8_t kinds[] = {0xc3, 0xc5, 0xc9, 0xca, 0xcb};
    for (unsigned i = 0; i < sizeof(kinds); i++) {
        write_420(&jpeg);
        jpeg.p[rig_marker(&jpeg, 0xc0, 0) + 1] = kinds[i];
        check_refused(&jpeg, E_UNSUPPORTED, "baseline or progressive");
        buf_clear(&jpeg);
    }
    write_420(&jpeg);
    jpeg.p[rig_marker(&jpeg, 0xc0, 0) + 4] = 12;
    check_refused(&jpeg, E_UNSUPPORTED, "8 bits");
    buf_clear(&jpeg);
}
