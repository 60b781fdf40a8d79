/* looks.c - see looks.h.
 *
 * A part has a share of the area between `crop` and 1, and a shape between 3:4 and 4:3 of the
 * picture's own. What must be kept makes it larger, if need be, and decides where it may lie.
 * Light is one linear map of colours: saturation about the pixel's own grey, contrast about the
 * middle of the scale, brightness, and for pixels the hue, turned about the grey axis.
 */
#include "data/draw/looks.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"

static const double SHAPE = 4.0 / 3, SWING = 0.4, TURN = 0.6 /* radians */;

struct looks looks_plain(int w, int h) {
    return (struct looks){.w = w, .h = h};
}

/* ---- the part ---- */

/* A stretch of about `size` of 0 .. whole that holds from .. to. */
static void looks_stretch(double size, int whole, double from, double to, struct dice *d, int *at,
                          int *len) {
    int lo = (int)floor(from), hi = (int)ceil(to);
    lo = lo < 0 ? 0 : lo > whole ? whole : lo;
    hi = hi > whole ? whole : hi < lo ? lo : hi;
    int n = (int)(size + 0.5);
    n = n < hi - lo ? hi - lo : n;
    n = n < 1 ? 1 : n > whole ? whole : n;
    int first = hi - n > 0 ? hi - n : 0, last = lo < whole - n ? lo : whole - n;
    if (hi == lo) { /* nothing to keep */
        first = 0;
        last = whole - n;
    }
    *at = first + (int)dice_below(d, (uint32_t)(last - first + 1));
    *len = n;
}

static void looks_crop(struct looks *l, double least, int w, int h, const double *keep,
                       struct dice *d) {
    static const double none[4];
    const double *k = keep ? keep : none;
    double area = dice_between(d, least, 1);
    double shape = exp(dice_between(d, -log(SHAPE), log(SHAPE)));
    double wide = fmin(1, sqrt(area * shape)), high = fmin(1, area / wide);
    looks_stretch(w * (area / high), w, k[0], k[2], d, &l->x, &l->w);
    looks_stretch(h * high, h, k[1], k[3], d, &l->y, &l->h);
}

/* ---- the light ---- */

/* m = a m, of maps of (r, g, b, 1). */
static void looks_then(float m[3][4], const double a[3][4]) {
    float out[3][4];
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 4; k++) {
            double sum = k == 3 ? a[i][3] : 0;
            for (int j = 0; j < 3; j++)
                sum += a[i][j] * (double)m[j][k];
            out[i][k] = (float)sum;
        }
    }
    memcpy(m, out, sizeof(out));
}

static void looks_light(struct looks *l, double jitter, int may_turn_hue, struct dice *d) {
    static const double grey[3] = {0.299, 0.587, 0.114};
    double s = dice_between(d, 1 - SWING * jitter, 1 + SWING * jitter);
    double c = dice_between(d, 1 - SWING * jitter, 1 + SWING * jitter);
    double b = dice_between(d, 1 - SWING * jitter, 1 + SWING * jitter);
    double turn = may_turn_hue ? dice_between(d, -TURN * jitter, TURN * jitter) : 0;
    double a[3][4] = {{0}}, hue[3][4] = {{0}}, third = (1 - cos(turn)) / 3;
    double side = sin(turn) / sqrt(3.0);
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++) {
            a[i][j] = b * c * ((1 - s) * grey[j] + (i == j ? s : 0));
            /* Rodrigues' rotation about (1, 1, 1) */
            hue[i][j] = i == j ? cos(turn) + third : third + (j == (i + 1) % 3 ? -side : side);
        }
        a[i][3] = b * (1 - c) * 127.5;
        l->light[i][i] = 1;
    }
    looks_then(l->light, a);
    looks_then(l->light, hue);
    l->has_light = 1;
}

static uint8_t looks_level(float v) {
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : (int)(v + 0.5f));
}

static void looks_shine(const struct looks *l, const uint8_t *from, uint8_t *to) {
    for (int i = 0; i < 3; i++) {
        const float *m = l->light[i];
        to[i] = looks_level(m[0] * from[0] + m[1] * from[1] + m[2] * from[2] + m[3]);
    }
}

/* ---- all of it ---- */

struct looks looks_draw(const struct looks_wants *wants, int w, int h, const double keep[4],
                        struct dice *d) {
    struct looks l = looks_plain(w, h);
    if (wants->crop > 0 && wants->crop < 1) looks_crop(&l, (double)wants->crop, w, h, keep, d);
    if (wants->flip > 0) l.is_flipped = dice_between(d, 0, 1) < (double)wants->flip;
    if (wants->jitter > 0) looks_light(&l, (double)wants->jitter, wants->may_turn_hue, d);
    return l;
}

int looks_picture(const struct looks *l, struct picture *p, struct err *e) {
    if (l->w == p->w && l->h == p->h && !l->is_flipped && !l->has_light) return 0;
    uint8_t *out = mem_try((size_t)l->w * (size_t)l->h * 3), *to = out;
    if (!out) return err_set(e, E_NOMEM, "no memory for the picture's pixels");
    for (int y = 0; y < l->h; y++) {
        const uint8_t *row = p->rgb + 3 * ((size_t)(l->y + y) * (size_t)p->w + (size_t)l->x);
        for (int x = 0; x < l->w; x++, to += 3) {
            const uint8_t *from = row + 3 * (size_t)(l->is_flipped ? l->w - 1 - x : x);
            if (l->has_light)
                looks_shine(l, from, to);
            else
                memcpy(to, from, 3);
        }
    }
    mem_free(p->rgb);
    *p = (struct picture){out, l->w, l->h};
    return 0;
}

void looks_box(const struct looks *l, const double box[4], double out[4]) {
    const double most[4] = {l->w, l->h, l->w, l->h};
    double b[4] = {box[0] - l->x, box[1] - l->y, box[2] - l->x, box[3] - l->y};
    if (l->is_flipped) {
        double x1 = l->w - b[2];
        b[2] = l->w - b[0];
        b[0] = x1;
    }
    for (int i = 0; i < 4; i++)
        out[i] = b[i] < 0 ? 0 : b[i] > most[i] ? most[i] : b[i];
}

void looks_place(const struct looks *l, double x, double y, double out[2]) {
    out[0] = l->x + (l->is_flipped ? 1 - x : x) * l->w;
    out[1] = l->y + y * l->h;
}

void looks_mask(const struct looks *l, const uint8_t *bits, int width, uint8_t *out) {
    for (int y = 0; y < l->h; y++) {
        const uint8_t *row = bits + (size_t)(l->y + y) * (size_t)width + (size_t)l->x;
        for (int x = 0; x < l->w; x++)
            *out++ = row[l->is_flipped ? l->w - 1 - x : x];
    }
}
