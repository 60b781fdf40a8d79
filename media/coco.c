/* coco.c - see coco.h. Thread: any.
 *
 * A polygon's outline crosses from one column of pixels to the next at some height; each such
 * crossing turns all that follows it in column order from out to in or back. So crossings are
 * toggles in a column-major picture, and the mask is their running parity.
 */
#include "media/coco.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    FINE = 5 /* steps of the outline for a pixel */,
    CORNER_MAX = 1 << 20,
    STEPS_MAX = 100000000
};

int coco_counts(const char *text, uint32_t *counts, size_t cap, size_t *n, struct err *e) {
    *n = 0;
    while (*text) {
        int64_t x = 0;
        int shift = 0, more = 1;
        while (more) {
            int c = *text - 48;
            if (c < 0 || c > 63 || shift > 30)
                return err_set(e, E_FORMAT, "run lengths: not COCO's text");
            x |= (int64_t)(c & 31) << shift;
            more = c & 32;
            shift += 5;
            text++;
            if (!more && (c & 16)) x -= INT64_C(1) << shift;
        }
        if (*n == cap) return err_set(e, E_TOO_BIG, "run lengths: over %zu", cap);
        if (*n > 2) x += counts[*n - 2]; /* from the fourth on: differences to the last but one */
        if (x < 0 || x > UINT32_MAX) return err_set(e, E_FORMAT, "run lengths: a run is negative");
        counts[(*n)++] = (uint32_t)x;
    }
    return 0;
}

/* Column order p of (h, w) -> index in row order. */
static size_t in_rows(size_t p, int w, int h) { return p % (size_t)h * (size_t)w + p / (size_t)h; }

int coco_from_counts(const uint32_t *counts, size_t n, int w, int h, uint8_t *bits, struct err *e) {
    size_t all = (size_t)w * (size_t)h, p = 0;
    memset(bits, 0, all);
    for (size_t i = 0; i < n; i++) {
        if (counts[i] > all - p)
            return err_set(e, E_FORMAT, "run lengths: more than %d x %d pixels", w, h);
        if (i % 2 == 1)
            for (size_t k = 0; k < counts[i]; k++)
                bits[in_rows(p + k, w, h)] = 1;
        p += counts[i];
    }
    return p == all ? 0 : err_set(e, E_FORMAT, "run lengths: less than %d x %d pixels", w, h);
}

/* ---- polygons ---- */

struct outline {
    int w, h;
    uint8_t *toggles; /* (w, h) by column */
    int u, v, begun;  /* last point, in fine steps */
};

/* The outline went from (o->u, o->v) to (u, v), neighbours on the fine grid. */
static void step(struct outline *o, int u, int v) {
    if (o->begun && u != o->u) {
        double x = ((u < o->u ? u : u - 1) + 0.5) / FINE - 0.5;
        double y = ((v < o->v ? v : o->v) + 0.5) / FINE - 0.5;
        if (floor(x) == x && x >= 0 && x <= o->w - 1) {
            y = ceil(y < 0 ? 0 : y > o->h ? o->h : y);
            size_t p = (size_t)x * (size_t)o->h + (size_t)y;
            if (p < (size_t)o->w * (size_t)o->h) o->toggles[p] ^= 1;
        }
    }
    o->u = u;
    o->v = v;
    o->begun = 1;
}

/* Each point of the line is computed from its lower end, whichever way it is walked. */
static void coco_walk(struct outline *o, int xs, int ys, int xe, int ye) {
    int dx = abs(xe - xs), dy = abs(ye - ys), wide = dx >= dy, most = wide ? dx : dy;
    int back = wide ? xs > xe : ys > ye;
    if (back) {
        int x = xs, y = ys;
        xs = xe;
        ys = ye;
        xe = x;
        ye = y;
    }
    double slope = most ? (double)(wide ? ye - ys : xe - xs) / most : 0;
    for (int d = 0; d <= most; d++) {
        int t = back ? most - d : d;
        if (wide)
            step(o, xs + t, (int)(ys + slope * t + 0.5));
        else
            step(o, (int)(xs + slope * t + 0.5), ys + t);
    }
}

static int fine(double v) { return (int)(FINE * v + 0.5); }

int coco_add_polygon(const double *xy, size_t n, int w, int h, uint8_t *bits, uint8_t *scratch,
                     struct err *e) {
    double steps = 0;
    for (size_t i = 0; i < n; i++) {
        const double *a = xy + 2 * i, *b = xy + 2 * ((i + 1) % n);
        if (!(fabs(a[0]) < CORNER_MAX && fabs(a[1]) < CORNER_MAX))
            return err_set(e, E_FORMAT, "a polygon's corner is far outside");
        steps += FINE * fmax(fabs(a[0] - b[0]), fabs(a[1] - b[1])) + 2;
    }
    if (steps > STEPS_MAX) return err_set(e, E_TOO_BIG, "a polygon's outline is too long");
    size_t all = (size_t)w * (size_t)h;
    memset(scratch, 0, all);
    struct outline o = {.w = w, .h = h, .toggles = scratch};
    for (size_t i = 0; i < n; i++) {
        const double *a = xy + 2 * i, *b = xy + 2 * ((i + 1) % n);
        coco_walk(&o, fine(a[0]), fine(a[1]), fine(b[0]), fine(b[1]));
    }
    uint8_t inside = 0;
    for (size_t p = 0; p < all; p++) {
        inside ^= scratch[p];
        bits[in_rows(p, w, h)] |= inside;
    }
    return 0;
}

/* ---- sizes and overlaps ---- */

void coco_resize(const uint8_t *bits, int w, int h, uint8_t *out, int out_w, int out_h) {
    for (int y = 0; y < out_h; y++) {
        const uint8_t *row = bits + (size_t)coco_nearest(y, out_h, h) * (size_t)w;
        for (int x = 0; x < out_w; x++)
            out[(size_t)y * (size_t)out_w + (size_t)x] = row[coco_nearest(x, out_w, w)];
    }
}

size_t coco_area(const uint8_t *bits, size_t n) {
    size_t area = 0;
    for (size_t i = 0; i < n; i++)
        area += bits[i];
    return area;
}

struct coco_overlap coco_overlap(const uint8_t *a, const uint8_t *b, size_t n) {
    struct coco_overlap o = {0, 0};
    for (size_t i = 0; i < n; i++) {
        o.both += a[i] & b[i];
        o.either += a[i] | b[i];
    }
    return o;
}

struct coco_overlap coco_overlap_full(const uint8_t *bits, int w, int h, const uint8_t *small,
                                      int grid) {
    struct coco_overlap o = {0, 0};
    for (int y = 0; y < h; y++) {
        const uint8_t *from = small + (size_t)coco_nearest(y, h, grid) * (size_t)grid;
        const uint8_t *row = bits + (size_t)y * (size_t)w;
        for (int x = 0; x < w; x++) {
            uint8_t s = from[coco_nearest(x, w, grid)];
            o.both += row[x] & s;
            o.either += row[x] | s;
        }
    }
    return o;
}
