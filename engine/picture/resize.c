/* resize.c - Pillow's BICUBIC, to the bit, of a picture that comes row by row.
 *
 * For output pixel i: center = (i + 0.5) * scale, scale = in / out, window = 2 * max(1, scale) to
 * both sides, weights of Keys' kernel with a = -0.5 at distance (x + 0.5 - center) / max(1, scale),
 * normalised in double and rounded half away from zero to 22 bits (docs/model.md section 1.3; the
 * arithmetic follows what Pillow's Resample.c computes). The first pass goes along what is shown as
 * rows, and its result is kept as 8 bits.
 *
 * Two sums do all the work, and which comes first is the orientation's choice:
 *
 *     upright   stored row --across()--> narrow row --> ring --down()--> row of `out`
 *     crossed   stored row --> ring --down()--> one shown column --across()--> column of `out`
 *
 * The ring has the rows of one window. Where the picture is shown backwards, a window's weights are
 * laid out backwards, so that the stored order never changes. A size that stays has windows of one
 * pixel with the weight 1, which is the same as no pass.
 *
 * TRAPS: the weights have up to 23 bits, but the processor multiplies 16 bits by 16 far faster. So
 * a weight is high * 2^9 + low, and the sums are put together at the end, modulo 2^32; the whole
 * sum fits into 31 bits (test_resize compares with Pillow). Such sums go on to the next LANES
 * pixels, behind the window, with weights of nought: then no processor needs code for a rest.
 */
#include "engine/picture/resize.h"

#include <math.h>
#include <string.h>

#include "kernels/base/avx2.h"
#include "kernels/base/mem.h"

enum { BITS = 22, CHANNELS = 3, LOW_BITS = 9, TILE = 512, LANES = 16 };

/* Keys' cubic convolution kernel, a = -0.5. */
static double bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

/* ---- windows ---- */

/* For each output pixel the stored input pixels that matter: count[i] from first[i] on. */
struct taps {
    int *first, *count;  /* (out) */
    int32_t *weight;     /* (out, wide) */
    int16_t *high, *low; /* (out, wide): the same in two parts */
    int in, out, most;   /* pixels, results, the largest count */
    int wide;            /* most, up to LANES */
    int is_back;         /* output 0 is at the end of the input */
};

static void taps_free(struct taps *t) {
    mem_free(t->first);
    mem_free(t->count);
    mem_free(t->weight);
    mem_free(t->high);
    mem_free(t->low);
}

static void taps_set(struct taps *t, int i, int k, int32_t weight) {
    size_t at = (size_t)i * (size_t)t->wide + (size_t)k;
    t->weight[at] = weight;
    t->high[at] = (int16_t)(weight >> LOW_BITS);
    t->low[at] = (int16_t)(weight & ((1 << LOW_BITS) - 1));
}

static void taps_fill(struct taps *t, double *w) {
    double scale = (double)t->in / t->out, stretch = scale > 1 ? scale : 1, support = 2 * stretch;
    for (int i = 0; i < t->out; i++) {
        double center = (i + 0.5) * scale, sum = 0;
        int lo = (int)(center - support + 0.5), hi = (int)(center + support + 0.5);
        if (lo < 0) lo = 0;
        if (hi > t->in) hi = t->in;
        int n = hi - lo;
        for (int k = 0; k < n; k++) {
            w[k] = bicubic((k + lo - center + 0.5) * (1.0 / stretch));
            sum += w[k];
        }
        for (int k = 0; k < n; k++) {
            double v = (sum != 0 ? w[k] * (1.0 / sum) : w[k]) * (1 << BITS);
            taps_set(t, i, t->is_back ? n - 1 - k : k, (int32_t)(v < 0 ? v - 0.5 : v + 0.5));
        }
        t->first[i] = t->is_back ? t->in - hi : lo;
        t->count[i] = n;
    }
}

static void taps_fill_same(struct taps *t) {
    for (int i = 0; i < t->out; i++) {
        taps_set(t, i, 0, 1 << BITS);
        t->first[i] = t->is_back ? t->in - 1 - i : i;
        t->count[i] = 1;
    }
}

static int taps_make(struct taps *t, int in, int out, int is_back) {
    double scale = (double)in / out;
    int most = in == out ? 1 : (int)ceil(2 * (scale > 1 ? scale : 1)) * 2 + 1;
    size_t n, bytes;
    *t = (struct taps){.in = in, .out = out, .most = most, .is_back = is_back};
    t->wide = (most + LANES - 1) & -LANES;
    if (!mem_mul((size_t)out, (size_t)t->wide, &n) || !mem_mul(n, sizeof(*t->weight), &bytes))
        return E_NOMEM;
    double *w = mem_try((size_t)most * sizeof *w);
    t->first = mem_try((size_t)out * sizeof *t->first);
    t->count = mem_try((size_t)out * sizeof *t->count);
    t->weight = mem_try(bytes);
    t->high = mem_try(n * sizeof(*t->high));
    t->low = mem_try(n * sizeof(*t->low));
    int rc = w && t->first && t->count && t->weight && t->high && t->low ? 0 : E_NOMEM;
    if (rc == 0 && in == out)
        taps_fill_same(t);
    else if (rc == 0)
        taps_fill(t, w);
    mem_free(w);
    return rc;
}

/* ---- the two sums, in plain C for any processor and again for AVX2 ---- */

TWICE uint8_t clip(int32_t sum) {
    sum >>= BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

TWICE uint8_t whole(int32_t highs, int32_t lows) {
    return clip((int32_t)(((uint32_t)highs << LOW_BITS) + (uint32_t)lows + (1u << (BITS - 1))));
}

/* The three channels of n pixels, a plane each, x their weights, rounded. n is a multiple of LANES.
 * Each line of the loop is known to compilers as one instruction for many pairs. */
TWICE void sum_across(const int16_t *red, const int16_t *green, const int16_t *blue,
                      const int16_t *high, const int16_t *low, int n, uint8_t *out) {
    int32_t highs[CHANNELS] = {0}, lows[CHANNELS] = {0};
    for (int k = 0; k < n; k++) {
        highs[0] += (int32_t)red[k] * high[k];
        lows[0] += (int32_t)red[k] * low[k];
        highs[1] += (int32_t)green[k] * high[k];
        lows[1] += (int32_t)green[k] * low[k];
        highs[2] += (int32_t)blue[k] * high[k];
        lows[2] += (int32_t)blue[k] * low[k];
    }
    for (int c = 0; c < CHANNELS; c++)
        out[c] = whole(highs[c], lows[c]);
}

/* rows[k] x weight[k] of n rows, TILE bytes from `at` on, rounded. */
TWICE void sum_down(const uint8_t *const *rows, const int32_t *weight, int n, size_t at,
                    uint8_t *out) {
    int32_t sum[TILE];
    for (int j = 0; j < TILE; j++)
        sum[j] = 1 << (BITS - 1);
    for (int k = 0; k < n; k++) {
        const uint8_t *p = rows[k] + at;
        for (int j = 0; j < TILE; j++)
            sum[j] += p[j] * weight[k];
    }
    for (int j = 0; j < TILE; j++)
        out[at + (size_t)j] = clip(sum[j]);
}

/* One row (w, 3) -> t->out pixels, `step` bytes apart. planes (3, w + LANES): room for the row. */
TWICE void all_across(const struct taps *t, const uint8_t *rgb, int16_t *planes, uint8_t *out,
                      size_t step) {
    int w = t->in;
    int16_t *red = planes, *green = red + w + LANES, *blue = green + w + LANES;
    for (int x = 0; x < w; x++) {
        red[x] = rgb[CHANNELS * x];
        green[x] = rgb[CHANNELS * x + 1];
        blue[x] = rgb[CHANNELS * x + 2];
    }
    for (int i = 0; i < t->out; i++, out += step) {
        int first = t->first[i], n = (t->count[i] + LANES - 1) & -LANES;
        size_t at = (size_t)i * (size_t)t->wide;
        sum_across(red + first, green + first, blue + first, t->high + at, t->low + at, n, out);
    }
}

TWICE void all_down(const uint8_t *const *rows, const int32_t *weight, int n, size_t len,
                    uint8_t *out) {
    for (size_t at = 0; at < len; at += TILE)
        sum_down(rows, weight, n, at, out);
}

AVX2 static void across_avx2(const struct taps *t, const uint8_t *rgb, int16_t *planes,
                             uint8_t *out, size_t step) {
    all_across(t, rgb, planes, out, step);
}
static void across_plain(const struct taps *t, const uint8_t *rgb, int16_t *planes, uint8_t *out,
                         size_t step) {
    all_across(t, rgb, planes, out, step);
}
AVX2 static void down_avx2(const uint8_t *const *rows, const int32_t *weight, int n, size_t len,
                           uint8_t *out) {
    all_down(rows, weight, n, len, out);
}
static void down_plain(const uint8_t *const *rows, const int32_t *weight, int n, size_t len,
                       uint8_t *out) {
    all_down(rows, weight, n, len, out);
}

struct resize {
    struct taps across, down; /* along a stored row; over stored rows */
    int w, is_crossed, has_avx2;
    uint8_t *out;
    size_t step_along;      /* bytes in `out` from one result of across to the next */
    size_t step_over;       /* and of down */
    int16_t *planes;        /* (3, w + LANES) of the row that is summed across */
    uint8_t *ring;          /* (cap, ring_bytes) */
    const uint8_t **window; /* (cap) the rows of one window */
    uint8_t *column;        /* (ring_bytes) what down gives */
    size_t ring_bytes;
    int cap, row, next; /* rows in the ring; rows that came; results of down that are done */
};

static void across(const struct resize *r, const uint8_t *rgb, uint8_t *out, size_t step) {
    (r->has_avx2 ? across_avx2 : across_plain)(&r->across, rgb, r->planes, out, step);
}

/* The rows of window i in the ring -> r->column. */
static void down(const struct resize *r, int i) {
    const struct taps *t = &r->down;
    for (int k = 0; k < t->count[i]; k++)
        r->window[k] = r->ring + (size_t)((t->first[i] + k) % r->cap) * r->ring_bytes;
    (r->has_avx2 ? down_avx2 : down_plain)(r->window, t->weight + (size_t)i * (size_t)t->wide,
                                           t->count[i], r->ring_bytes, r->column);
}

/* ---- rows ---- */

void resize_row(struct resize *r, const uint8_t *rgb) {
    const struct taps *t = &r->down;
    uint8_t *to = r->ring + (size_t)(r->row % r->cap) * r->ring_bytes;
    must(r->row < t->in);
    if (r->is_crossed)
        memcpy(to, rgb, (size_t)r->w * CHANNELS);
    else
        across(r, rgb, to, CHANNELS);
    for (r->row++; r->next < t->out; r->next++) {
        int i = t->is_back ? t->out - 1 - r->next : r->next;
        if (t->first[i] + t->count[i] > r->row) break;
        down(r, i);
        uint8_t *out = r->out + (size_t)i * r->step_over;
        if (r->is_crossed)
            across(r, r->column, out, r->step_along);
        else
            memcpy(out, r->column, r->step_over);
    }
}

static int resize_make(struct resize *r, int h, int orientation, int ow, int oh) {
    /* Are stored rows, and stored columns, shown from their far end? */
    int k = orientation - 1, row_back = k == 2 || k == 3 || k == 5 || k == 6;
    int column_back = k == 1 || k == 2 || k == 6 || k == 7;
    r->is_crossed = k >= 4;
    int rc = taps_make(&r->across, r->w, r->is_crossed ? oh : ow, column_back);
    if (rc == 0) rc = taps_make(&r->down, h, r->is_crossed ? ow : oh, row_back);
    if (rc) return rc;
    size_t row = (size_t)ow * CHANNELS;
    r->step_along = r->is_crossed ? row : CHANNELS;
    r->step_over = r->is_crossed ? CHANNELS : row;
    size_t bytes = r->is_crossed ? (size_t)r->w * CHANNELS : row, all;
    r->ring_bytes = (bytes + TILE - 1) / TILE * TILE;
    r->cap = r->down.most;
    r->planes = mem_try((size_t)(r->w + LANES) * CHANNELS * sizeof(*r->planes));
    r->column = mem_try(r->ring_bytes);
    r->window = mem_try((size_t)r->cap * sizeof(*r->window));
    r->has_avx2 = HAS_AVX2;
    if (mem_mul((size_t)r->cap, r->ring_bytes, &all)) r->ring = mem_try(all);
    return r->planes && r->column && r->window && r->ring ? 0 : E_NOMEM;
}

int resize_open(int w, int h, int orientation, uint8_t *out, int ow, int oh, struct resize **r,
                struct err *e) {
    const int sides[] = {w, h, ow, oh};
    *r = NULL;
    for (size_t i = 0; i < ARRAY_LEN(sides); i++)
        if (sides[i] < 1 || sides[i] > RESIZE_SIDE_MAX)
            return err_set(e, E_INVALID, "a picture's side is %d, not 1 to %d", sides[i],
                           RESIZE_SIDE_MAX);
    must(orientation >= 1 && orientation <= 8);
    struct resize *new = mem_try(sizeof(*new));
    if (!new) return err_set(e, E_NOMEM, "resizing %dx%d: out of memory", w, h);
    *new = (struct resize){.w = w, .out = out};
    int rc = resize_make(new, h, orientation, ow, oh);
    if (rc) {
        resize_close(new);
        return err_set(e, rc, "resizing %dx%d: out of memory", w, h);
    }
    *r = new;
    return 0;
}

void resize_close(struct resize *r) {
    if (!r) return;
    taps_free(&r->across);
    taps_free(&r->down);
    mem_free(r->planes);
    mem_free(r->ring);
    mem_free(r->column);
    mem_free(r->window);
    mem_free(r);
}

int resize_picture(const uint8_t *rgb, int w, int h, uint8_t *out, int ow, int oh, struct err *e) {
    struct resize *r;
    int rc = resize_open(w, h, 1, out, ow, oh, &r, e);
    if (rc) return rc;
    for (int y = 0; y < h; y++)
        resize_row(r, rgb + (size_t)y * (size_t)w * CHANNELS);
    resize_close(r);
    return 0;
}
