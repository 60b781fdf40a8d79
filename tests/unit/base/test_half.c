/* test_half.c - all 65,536 values there and back, rounding against the nearest neighbours, and many
 * numbers at once against one at a time, to the bit. */
#include <math.h>
#include <string.h>

#include "kernels/base/half.h"
#include "kernels/base/rng.h"
#include "tests/check.h"

static float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof(f));
    return f;
}

TEST(half_every_value_survives_the_round_trip) {
    for (uint32_t h = 0; h < 65536; h++) {
        float b = half_from_bf16((uint16_t)h), f = half_from_f16((uint16_t)h);
        CHECK_EQ(isnan(b) != 0, (h & 0x7fff) > 0x7f80);
        CHECK_EQ(isnan(f) != 0, (h & 0x7fff) > 0x7c00);
        if (isnan(b))
            CHECK(isnan(half_from_bf16(half_to_bf16(b))));
        else
            CHECK(half_to_bf16(b) == h);
        if (isnan(f))
            CHECK(isnan(half_from_f16(half_to_f16(f))));
        else
            CHECK(half_to_f16(f) == h);
    }
}

TEST(half_known_values) {
    CHECK(half_from_bf16(0x3f80) == 1.0f);
    CHECK(half_from_bf16(0xc000) == -2.0f);
    CHECK(half_from_f16(0x3c00) == 1.0f);
    CHECK(half_from_f16(0x7bff) == 65504.0f);
    CHECK(half_from_f16(0x0001) == 0x1p-24f);
    CHECK(half_from_f16(0x8001) == -0x1p-24f);
    CHECK(half_from_f16(0x0400) == 0x1p-14f);
    CHECK(signbit(half_from_f16(0x8000)));
    CHECK_EQ(half_to_f16(65519.0f), 0x7bff);
    CHECK_EQ(half_to_f16(65520.0f), 0x7c00);
    CHECK_EQ(half_to_f16(-INFINITY), 0xfc00);
    CHECK_EQ(half_to_f16(0x1p-25f), 0);                   /* a tie, to even */
    CHECK_EQ(half_to_f16(0x1.8p-24f), 2);                 /* a tie, to even */
    CHECK_EQ(half_to_bf16(float_of(0x3f808000)), 0x3f80); /* ties to even */
    CHECK_EQ(half_to_bf16(float_of(0x3f818000)), 0x3f82);
    CHECK_EQ(half_to_bf16(float_of(0x3f808001)), 0x3f81);
    CHECK_EQ(half_to_bf16(float_of(0x7f7fffff)), 0x7f80); /* rounds to infinity */
}

/* The nearest of all 16-bit values by search; on a tie the even one. */
static uint16_t nearest(float f, float (*from)(uint16_t), uint16_t infinity, double past_max) {
    uint16_t lo = 0, hi = infinity;
    double a = fabs((double)f);
    while (hi - lo > 1) {
        uint16_t mid = (uint16_t)((lo + hi) / 2);
        if ((double)from(mid) <= a)
            lo = mid;
        else
            hi = mid;
    }
    double up = hi == infinity ? past_max : (double)from(hi);
    double below = a - (double)from(lo), above = up - a;
    uint16_t h = below < above || (below == above && !(lo & 1)) ? lo : hi;
    return (uint16_t)(h | (signbit(f) ? 0x8000 : 0));
}

TEST(half_rounds_to_nearest_even) {
    for (uint64_t i = 0; i < 200000; i++) {
        uint32_t u = (uint32_t)rng_u64(test_seed(), i);
        if (i % 4 == 1) u = (u & 0x87fff000u) + 0x38000000u; /* f16's range, often on a tie */
        if (i % 4 == 2) u &= 0xffff8000u;                    /* bf16 ties */
        float f = float_of(u);
        if (isnan(f) || isinf(f)) continue;
        CHECK(half_to_bf16(f) == nearest(f, half_from_bf16, 0x7f80, 0x1p128));
        CHECK(half_to_f16(f) == nearest(f, half_from_f16, 0x7c00, 65536.0));
    }
}

/* ---- many of them ---- */

static uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof(u));
    return u;
}

/* The same by cases, for numbers that are none, too. */
static float plain_from_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exp = (h >> 10) & 31u, man = h & 0x3ffu;
    if (exp == 31) return float_of(sign | 0x7f800000u | (man << 13));
    if (exp == 0) return float_of(sign | bits_of((float)man * 0x1p-24f));
    return float_of(sign | ((exp + 112u) << 23) | (man << 13));
}

static uint16_t plain_to_f16(float f) {
    uint32_t sign = (bits_of(f) >> 16) & 0x8000u, a = bits_of(f) & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
    if (a < 0x38800000u) return (uint16_t)(sign | (uint32_t)nearbyintf(float_of(a) * 0x1p24f));
    return (uint16_t)(sign | ((a + 0xfffu + ((a >> 13) & 1u) - 0x38000000u) >> 13));
}

static uint16_t plain_to_bf16(float f) {
    uint32_t u = bits_of(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

TEST(half_reads_every_value) {
    enum { N = 65536 };
    static char bytes[1 + 2 * N];
    static float f16[N], bf16[N];
    for (uint32_t h = 0; h < N; h++)
        memcpy(bytes + 1 + 2 * h, &(uint16_t){(uint16_t)h}, 2);
    half_read_f16(bytes + 1, f16, N);
    half_read_bf16(bytes + 1, bf16, N);
    for (uint32_t h = 0; h < N; h++) {
        CHECK_EQ(bits_of(f16[h]), bits_of(plain_from_f16((uint16_t)h)));
        CHECK_EQ(bits_of(half_from_f16((uint16_t)h)), bits_of(plain_from_f16((uint16_t)h)));
        CHECK_EQ(bits_of(bf16[h]), h << 16);
    }
}

/* n numbers are written, and nothing behind them. */
static void check_written(const float *x, size_t n) {
    uint16_t f16[256], bf16[256];
    CHECK(n < 256);
    f16[n] = bf16[n] = 0x5555;
    half_write_f16(x, f16, n);
    half_write_bf16(x, bf16, n);
    for (size_t i = 0; i < n; i++) {
        CHECK_EQ(f16[i], plain_to_f16(x[i]));
        CHECK_EQ(half_to_f16(x[i]), plain_to_f16(x[i]));
        CHECK_EQ(bf16[i], plain_to_bf16(x[i]));
    }
    CHECK(f16[n] == 0x5555 && bf16[n] == 0x5555);
}

/* Every exponent with fractions that end in a tie or beside one, wherever the last bit that is kept
 * may be: numbers that are none and denormal ones are among them. */
TEST(half_writes_what_is_near_a_tie) {
    float x[8 * 3];
    for (uint32_t exp = 0; exp < 512; exp++)
        for (int bit = 0; bit <= 20; bit++) {
            for (uint32_t i = 0; i < 8 * 3; i++)
                x[i] = float_of((exp << 23) + ((((i / 3) << bit) + i % 3 - 1) & 0x7fffffu));
            check_written(x, 8 * 3);
        }
}

TEST(half_writes_all_kinds_of_numbers) {
    float x[255];
    uint32_t u = 0;
    for (int i = 0; i < 10000; i++) {
        size_t n = (size_t)i % 256;
        for (size_t k = 0; k < n; k++, u += 3371)
            x[k] = float_of(u);
        check_written(x, n);
    }
}

/* ---- e4m3 ---- */

/* What a code means, from its three fields. */
static double meaning(int code) {
    int exp = code >> 3 & 15, man = code & 7;
    double v = exp ? ldexp(1 + man / 8.0, exp - 7) : ldexp(man / 8.0, -6);
    return code & 128 ? -v : v;
}

TEST(half_e4m3_every_code_means_what_it_says_and_survives) {
    for (int c = 0; c < 256; c++) {
        float v = half_from_e4m3((uint8_t)c);
        CHECK_EQ(isnan(v) != 0, (c & 127) == 127);
        if (isnan(v)) {
            CHECK_EQ(half_to_e4m3(v) & 127, 127);
            continue;
        }
        CHECK((double)v == meaning(c));
        CHECK_EQ(signbit(v) != 0, c > 127);
        CHECK_EQ(half_to_e4m3(v), c);
    }
}

TEST(half_e4m3_known_values) {
    CHECK(half_from_e4m3(0x38) == 1.0f);
    CHECK(half_from_e4m3(0x7e) == 448.0f);
    CHECK(half_from_e4m3(0x01) == 0x1p-9f);
    CHECK_EQ(half_to_e4m3(464.0f), 0x7e); /* where others overflow */
    CHECK_EQ(half_to_e4m3(1e30f), 0x7e);
    CHECK_EQ(half_to_e4m3(-INFINITY), 0xfe);
    CHECK_EQ(half_to_e4m3(1.0625f), 0x38); /* a tie, to even */
    CHECK_EQ(half_to_e4m3(1.1875f), 0x3a); /* a tie, to even */
    CHECK_EQ(half_to_e4m3(0x1p-10f), 0);   /* a tie, to even */
    CHECK_EQ(half_to_e4m3(0x1.8p-9f), 2);  /* a tie, to even */
    CHECK_EQ(half_to_e4m3(-0x1.8p-10f), 0x81);
    CHECK_EQ(half_to_e4m3(0x1.fp-7f), 8); /* up into the normal numbers */
    CHECK_EQ(half_to_e4m3(-0.0f), 0x80);
}

/* Between any two neighbours: below the middle, on it, above it. */
TEST(half_e4m3_rounds_to_nearest_even) {
    for (int c = 0; c < 0x7e; c++) {
        float a = half_from_e4m3((uint8_t)c), b = half_from_e4m3((uint8_t)(c + 1));
        float middle = (a + b) / 2; /* exact */
        CHECK_EQ(half_to_e4m3(nextafterf(middle, a)), c);
        CHECK_EQ(half_to_e4m3(middle), c & 1 ? c + 1 : c);
        CHECK_EQ(half_to_e4m3(nextafterf(middle, b)), c + 1);
        CHECK_EQ(half_to_e4m3(-middle), (c & 1 ? c + 1 : c) | 128);
    }
}

TEST(half_e4m3_rows_fill_the_range) {
    float x[5] = {-3.5f, 1, 0, 7, 0.01f}, zeros[2] = {0, -0.0f}, tiny[1] = {0x1p-149f};
    float bad[3] = {NAN, 2, INFINITY}, odd[2] = {NAN, 448}, y[5];
    CHECK(half_e4m3_scale(x, 5) == 7 / 448.0f);
    CHECK(half_e4m3_scale(zeros, 2) == 1 && half_e4m3_scale(zeros, 0) == 1);
    CHECK(half_e4m3_scale(tiny, 1) == 1); /* a 448th of it is no number any more */
    CHECK(half_e4m3_scale(odd, 2) == 1);
    CHECK(isinf(half_e4m3_scale(bad, 3)));
    half_e4m3_round(x, 5, y);
    CHECK(y[0] == -3.5f && y[1] == 1 && y[2] == 0 && y[3] == 7);
    CHECK(y[4] == 0.625f / 64); /* 0.64 lies between 0.625 and 0.6875 */
    half_e4m3_round(bad, 3, y);
    CHECK(isnan(y[0]) && isnan(y[1]) && isnan(y[2]));
}
