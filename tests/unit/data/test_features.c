/* test_features.c - files of features: what is read, what is refused, and which numbers a place
 * has. */
#include "data/features.h"

#include <math.h>
#include <string.h>

#include "tests/check.h"
#include "tests/unit/data/rig.h"

enum { HEAD = 16 + 4 * SAMPLE_FEATURES, ENTRY = FEATURES_DIGEST + 4, ROOM = 1 << 12 };

/* Two pictures: digests 1 1 1.. and 3 3 3.., maps of 2 x 2 and 3 x 1. Number c of square i of a
 * map is 10 i + c % 5, its scale 0.5. Returns how long it is. */
static size_t features_file(uint8_t to[ROOM]) {
    static const uint8_t sides[2][2] = {{2, 2}, {3, 1}};
    const float scale = 0.5f;
    size_t at = HEAD + 2 * ENTRY;
    memset(to, 0, ROOM);
    memcpy(to, "lammdfe1", 8);
    to[8] = 2;
    to[12] = SAMPLE_FEATURES;
    for (int c = 0; c < SAMPLE_FEATURES; c++)
        memcpy(to + 16 + 4 * c, &scale, sizeof scale);
    for (int p = 0; p < 2; p++) {
        uint8_t *entry = to + HEAD + p * ENTRY;
        memset(entry, 1 + 2 * p, FEATURES_DIGEST);
        entry[FEATURES_DIGEST] = sides[p][0];
        entry[FEATURES_DIGEST + 2] = sides[p][1];
        for (int i = 0; i < sides[p][0] * sides[p][1]; i++)
            for (int c = 0; c < SAMPLE_FEATURES; c++)
                to[at++] = (uint8_t)(10 * i + c % 5);
    }
    return at;
}

static void check_at(const struct features *f, const struct features_map *m, double x, double y,
                     double want) {
    float out[SAMPLE_FEATURES];
    features_at(f, m, x, y, out);
    for (int c = 0; c < SAMPLE_FEATURES; c++)
        CHECK_NEAR((double)out[c], 0.5 * (want + c % 5), 1e-5);
}

TEST(features_are_those_between_the_nearest_squares) {
    static uint8_t bytes[ROOM];
    uint8_t digest[FEATURES_DIGEST];
    struct features f;
    struct features_map m;
    size_t n = features_file(bytes);
    CHECK_EQ(features_read(bytes, n, &f, NULL), 0);
    memset(digest, 1, sizeof digest);
    CHECK(features_find(&f, digest, &m) && m.w == 2 && m.h == 2);
    check_at(&f, &m, 0.25, 0.25, 0);
    check_at(&f, &m, 0.75, 0.25, 10);
    check_at(&f, &m, 0.25, 0.75, 20);
    check_at(&f, &m, 0.5, 0.5, 15);
    check_at(&f, &m, 0.375, 0.5, 12.5);
    check_at(&f, &m, 0, 0, 0); /* outside of all middles: the nearest */
    check_at(&f, &m, 1, 1, 30);
    check_at(&f, &m, -3, 0.75, 20);
    memset(digest, 3, sizeof digest);
    CHECK(features_find(&f, digest, &m) && m.w == 3 && m.h == 1);
    check_at(&f, &m, 0.5, 0.1, 10);
    check_at(&f, &m, 2.0 / 3, 0.9, 15);
    memset(digest, 2, sizeof digest);
    CHECK(!features_find(&f, digest, &m));
    digest[31] = 9;
    CHECK(!features_find(&f, digest, &m));
    features_close(&f);
}

TEST(features_of_a_file) {
    static uint8_t bytes[ROOM];
    struct rig r;
    struct features f;
    struct err e = {0};
    rig_open(&r);
    const char *path = rig_bytes(&r, "f.bin", bytes, features_file(bytes));
    CHECK_EQ(features_open(path, &f, &e), 0);
    CHECK_EQ(f.n, 2);
    features_close(&f);
    CHECK_EQ(features_open(rig_bytes(&r, "g.bin", bytes, 100), &f, &e), E_FORMAT);
    CHECK_HAS(e.text, "g.bin");
    CHECK_EQ(features_open("/nowhere/f.bin", &f, NULL), E_NOT_FOUND);
    CHECK_EQ(features_open("/tmp", &f, NULL), E_FORMAT);
    CHECK(!f.bytes);
    features_close(&f);
    rig_close(&r);
}

/* What is wrong with byte `at` when it is `value`, and with the length. */
TEST(features_that_are_none_are_refused) {
    static const struct {
        size_t at;
        uint8_t value;
        const char *why;
    } bad[] = {
        {0, 'x', "no file"},
        {8, 200, "200 pictures"},
        {10, 255, "pictures"},
        {12, 47, "47 features"},
        {16 + 3, 0xff, "scale 0"},
        {16 + 4 * 47 + 3, 0x7f, "scale 47"},
        {HEAD, 3, "picture 1 is out of order"},
        {HEAD + ENTRY, 0, "picture 1 is out of order"},
        {HEAD + FEATURES_DIGEST, 0, "picture 0 has no map"},
        {HEAD + FEATURES_DIGEST + 1, 2, "picture 0 has no map"},
        {HEAD + ENTRY + FEATURES_DIGEST, 4, "picture 1 has no map"},
        {HEAD + ENTRY + FEATURES_DIGEST, 2, "48 bytes too many"},
    };
    static uint8_t bytes[ROOM];
    struct features f;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err e = {0};
        size_t n = features_file(bytes);
        bytes[bad[i].at] = bad[i].value;
        if (bad[i].at == HEAD) memset(bytes + HEAD, 3, FEATURES_DIGEST);
        CHECK_EQ(features_read(bytes, n, &f, &e), E_FORMAT);
        CHECK_HAS(e.text, bad[i].why);
        CHECK(!f.at);
    }
    size_t n = features_file(bytes);
    for (size_t k = 0; k < n; k++)
        CHECK_EQ(features_read(bytes, k, &f, NULL), E_FORMAT);
}
