/* positions.c - positions of another grid, resized as torch's bicubic interpolation does it.
 *
 * TRAP: a = -0.75 here, not the -0.5 of pictures (resize.c).
 */
#include <math.h>
#include <string.h>

#include "engine/model/internal.h"

/* torch's bicubic kernel at distance d, a = -0.75. */
static double cubic(double d) {
    const double a = -0.75;
    d = fabs(d);
    if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    if (d < 2) return ((d - 5) * d + 8) * d * a - 4 * a;
    return 0;
}

/* The four source indices and weights of index i of an axis: align_corners False, edges clamped. */
static void cubic_taps(int i, int from, int to, int at[4], double weight[4]) {
    double center = (i + 0.5) * from / to - 0.5, first = floor(center) - 1;
    for (int t = 0; t < 4; t++) {
        int from_i = (int)first + t;
        weight[t] = cubic(center - (first + t));
        at[t] = from_i < 0 ? 0 : from_i >= from ? from - 1 : from_i;
    }
}

void positions_resize(const float *src, int from, float *dst, int to, int width) {
    size_t w = (size_t)width;
    memcpy(dst, src, w * sizeof *dst);
    for (int y = 0; y < to; y++) {
        int ys[4], xs[4];
        double wy[4], wx[4];
        cubic_taps(y, from, to, ys, wy);
        for (int x = 0; x < to; x++) {
            cubic_taps(x, from, to, xs, wx);
            float *out = dst + (1 + (size_t)y * (size_t)to + (size_t)x) * w;
            for (size_t c = 0; c < w; c++) {
                double sum = 0;
                for (int i = 0; i < 4; i++)
                    for (int j = 0; j < 4; j++)
                        sum += wy[i] * wx[j] *
                               src[(1 + (size_t)ys[i] * (size_t)from + (size_t)xs[j]) * w + c];
                out[c] = (float)sum;
            }
        }
    }
}
