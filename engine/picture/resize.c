/* resize.c - Pillow's BICUBIC, to the bit.
 *
 * For output pixel i: center = (i + 0.5) * scale, scale = in / out, window = 2 * max(1, scale) to
 * both sides, weights of Keys' kernel with a = -0.5 at distance (x + 0.5 - center) / max(1, scale),
 * normalised in double and rounded half away from zero to 22 bits (docs/model.md section 1.3; the
 * arithmetic follows what Pillow's Resample.c computes). Columns first, their result kept as 8
 * bits, and only for the rows that the second pass will read. A pass whose size does not change is
 * skipped.
 */
#include "engine/picture/resize.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"

enum { BITS = 22, CHANNELS = 3 };

/* Keys' cubic convolution kernel, a = -0.5. */
static double bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

struct taps {
    int *first, *count; /* (out): the input pixels that matter */
    int32_t *weight;    /* (out, most) */
    int most;
};

static void taps_free(struct taps *t) {
    mem_free(t->first);
    mem_free(t->count);
    mem_free(t->weight);
}

static void taps_fill(struct taps *t, int in, int out, double *w) {
    double scale = (double)in / out, stretch = scale > 1 ? scale : 1, support = 2 * stretch;
    for (int i = 0; i < out; i++) {
        double center = (i + 0.5) * scale, sum = 0;
        int lo = (int)(center - support + 0.5), hi = (int)(center + support + 0.5);
        if (lo < 0) lo = 0;
        if (hi > in) hi = in;
        int n = hi - lo;
        for (int k = 0; k < n; k++) {
            w[k] = bicubic((k + lo - center + 0.5) * (1.0 / stretch));
            sum += w[k];
        }
        for (int k = 0; k < n; k++) {
            double v = (sum != 0 ? w[k] * (1.0 / sum) : w[k]) * (1 << BITS);
            t->weight[(size_t)i * (size_t)t->most + (size_t)k] =
                (int32_t)(v < 0 ? v - 0.5 : v + 0.5);
        }
        t->first[i] = lo;
        t->count[i] = n;
    }
}

static int taps_make(struct taps *t, int in, int out) {
    double scale = (double)in / out;
    t->most = (int)ceil(2 * (scale > 1 ? scale : 1)) * 2 + 1;
    size_t cells;
    int rc = E_NOMEM;
    double *w = mem_try((size_t)t->most * sizeof *w);
    t->first = mem_try((size_t)out * sizeof *t->first);
    t->count = mem_try((size_t)out * sizeof *t->count);
    if (mem_mul((size_t)out * (size_t)t->most, sizeof *t->weight, &cells))
        t->weight = mem_try(cells);
    if (w && t->first && t->count && t->weight) {
        taps_fill(t, in, out, w);
        rc = 0;
    }
    mem_free(w);
    return rc;
}

static uint8_t clip(int32_t sum) {
    sum >>= BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* One row: in (w, 3) -> out (ow, 3). */
static void resize_row(const uint8_t *in, uint8_t *out, int ow, const struct taps *t) {
    for (int i = 0; i < ow; i++) {
        const int32_t *w = t->weight + (size_t)i * (size_t)t->most;
        const uint8_t *p = in + (size_t)t->first[i] * CHANNELS;
        int32_t s[CHANNELS] = {1 << (BITS - 1), 1 << (BITS - 1), 1 << (BITS - 1)};
        for (int k = 0; k < t->count[i]; k++, p += CHANNELS)
            for (int c = 0; c < CHANNELS; c++)
                s[c] += p[c] * w[k];
        for (int c = 0; c < CHANNELS; c++)
            out[i * CHANNELS + c] = clip(s[c]);
    }
}

/* All columns of output row i: in rows of `bytes` bytes from `in`, which is input row `row0`. */
static void resize_column(const uint8_t *in, int row0, size_t bytes, uint8_t *out, int i,
                          const struct taps *t, int32_t *sum) {
    for (size_t b = 0; b < bytes; b++)
        sum[b] = 1 << (BITS - 1);
    for (int k = 0; k < t->count[i]; k++) {
        const uint8_t *p = in + (size_t)(t->first[i] - row0 + k) * bytes;
        int32_t w = t->weight[(size_t)i * (size_t)t->most + (size_t)k];
        for (size_t b = 0; b < bytes; b++)
            sum[b] += p[b] * w;
    }
    for (size_t b = 0; b < bytes; b++)
        out[b] = clip(sum[b]);
}

int resize_picture(const uint8_t *rgb, int w, int h, uint8_t *out, int ow, int oh, struct err *e) {
    const int sides[] = {w, h, ow, oh};
    for (size_t i = 0; i < ARRAY_LEN(sides); i++)
        if (sides[i] < 1 || sides[i] > RESIZE_SIDE_MAX)
            return err_set(e, E_INVALID, "a picture's side is %d, not 1 to %d", sides[i],
                           RESIZE_SIDE_MAX);
    if (w == ow && h == oh) {
        memcpy(out, rgb, (size_t)w * (size_t)h * CHANNELS);
        return 0;
    }
    struct taps across = {0}, down = {0};
    uint8_t *middle = NULL;
    int32_t *sum = NULL;
    const uint8_t *from = rgb;
    size_t bytes = (size_t)ow * CHANNELS;
    int rc = 0, row0 = 0;
    if (h != oh) {
        rc = taps_make(&down, h, oh);
        sum = rc ? NULL : mem_try(bytes * sizeof *sum);
        if (!sum) rc = E_NOMEM;
    }
    if (!rc && w != ow) {
        int row1 = h;
        if (h != oh) {
            row0 = down.first[0];
            row1 = down.first[oh - 1] + down.count[oh - 1];
        }
        rc = taps_make(&across, w, ow);
        uint8_t *to = out;
        if (!rc && h != oh) {
            to = middle = mem_try((size_t)(row1 - row0) * bytes);
            if (!middle) rc = E_NOMEM;
        }
        for (int y = row0; !rc && y < row1; y++)
            resize_row(rgb + (size_t)y * (size_t)w * CHANNELS, to + (size_t)(y - row0) * bytes, ow,
                       &across);
        from = to;
    }
    for (int y = 0; !rc && h != oh && y < oh; y++)
        resize_column(from, row0, bytes, out + (size_t)y * bytes, y, &down, sum);
    taps_free(&across);
    taps_free(&down);
    mem_free(middle);
    mem_free(sum);
    return rc ? err_set(e, rc, "resizing %dx%d: out of memory", w, h) : 0;
}
