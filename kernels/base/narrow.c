/* narrow.c - see narrow.h. */
#include "kernels/base/narrow.h"

#include <math.h>

#include "kernels/base/half.h"

uint16_t narrow_block(int bits, const float *x, int n, int8_t *q) {
    float most = 0, extreme = 0, least = bits == 8 ? -127 : -8, top = bits == 8 ? 127 : 7;
    int is_finite = 1;
    for (int i = 0; i < n; i++) {
        float a = fabsf(x[i]);
        is_finite &= a <= 3.40282347e38f;
        if (a > most) most = a, extreme = x[i];
    }
    uint16_t bits_of_s = half_to_bf16(bits == 8 ? most / 127 : extreme / -8);
    if (!is_finite) bits_of_s = half_to_bf16(NAN);
    float s = half_from_bf16(bits_of_s);
    const float magic = 12582912; /* 1.5 * 2^23: adding it rounds to an integer */
    int is_zero = !is_finite || s == 0;
    for (int i = 0; i < n; i++) {
        float v = is_zero ? 0 : (x[i] / s + magic) - magic;
        v = v < least ? least : v > top ? top : v;
        q[i] = (int8_t)v;
    }
    return bits_of_s;
}

float narrow_row_block(const float *x, int n, int8_t *q) {
    float most = 0;
    for (int i = 0; i < n; i++)
        if (!(fabsf(x[i]) <= most)) most = isfinite(x[i]) ? fabsf(x[i]) : INFINITY;
    float s = narrow_row_scale(most), by = narrow_row_by(most);
    for (int i = 0; i < n; i++)
        q[i] = (int8_t)(s > 0 ? lrintf(x[i] * by) : 0);
    return s;
}

void narrow_round(int bits, float *x, size_t n) {
    int8_t q[NARROW_BLOCK];
    for (size_t at = 0; at < n; at += NARROW_BLOCK) {
        int now = n - at < NARROW_BLOCK ? (int)(n - at) : NARROW_BLOCK;
        float s = half_from_bf16(narrow_block(bits, x + at, now, q));
        for (int i = 0; i < now; i++)
            x[at + (size_t)i] = (float)q[i] * s;
    }
}
