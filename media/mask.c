/* mask.c - see mask.h. Only a PNG needs a mask as pixels. Runs and corners are computed from the
 * edges of the grid's places, so the cost of a large picture grows with its columns, not its
 * pixels. A picture with a side below the grid's has places without a pixel: their bits count
 * nowhere.
 */
#include "media/mask.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "media/picture.h"
#include "media/polygon.h"
#include "media/rle.h"

/* Pixel p has its centre at (2p + 1) / 2side of the whole, and place floor of that times grid. So
 * the first one of place i is ceil((2 side i - grid) / 2 grid). */
int mask_edge(int grid, int side, int i) {
    int64_t n = 2 * (int64_t)side * i - grid;
    return n <= 0 ? 0 : (int)((n + 2 * grid - 1) / (2 * grid));
}

void mask_range(double from, double to, double whole, int grid, int *lo, int *hi) {
    *lo = (int)floor(from * grid / whole);
    *hi = (int)ceil(to * grid / whole);
    if (*lo < 0) *lo = 0;
    if (*hi > grid) *hi = grid;
}

/* The places of the grid along one side of the picture. */
struct axis {
    int grid, from, side; /* places; the first pixel that they cover, and how many */
};

static struct axis axis_x(const struct mask *m) {
    return (struct axis){m->grid, m->part.x, m->part.w ? m->part.w : m->w};
}

static struct axis axis_y(const struct mask *m) {
    return (struct axis){m->grid, m->part.y, m->part.h ? m->part.h : m->h};
}

static int axis_edge(struct axis a, int i) { return a.from + mask_edge(a.grid, a.side, i); }

/* Pixels of place i. */
static int axis_width(struct axis a, int i) { return axis_edge(a, i + 1) - axis_edge(a, i); }

uint64_t mask_area(const struct mask *m) {
    struct axis ax = axis_x(m), ay = axis_y(m);
    uint64_t area = 0;
    for (int y = 0; y < m->grid; y++) {
        uint64_t row = 0;
        for (int x = 0; x < m->grid; x++)
            row += m->bits[y * m->grid + x] ? (uint64_t)axis_width(ax, x) : 0;
        area += row * (uint64_t)axis_width(ay, y);
    }
    return area;
}

int mask_bounds(const struct mask *m, int box[4]) {
    struct axis axes[2] = {axis_x(m), axis_y(m)};
    int lo[2] = {m->w, m->h}, hi[2] = {0, 0};
    for (int i = 0; i < m->grid * m->grid; i++) {
        int at[2] = {i % m->grid, i / m->grid};
        if (!m->bits[i] || !axis_width(axes[0], at[0]) || !axis_width(axes[1], at[1])) continue;
        for (int k = 0; k < 2; k++) {
            int from = axis_edge(axes[k], at[k]), to = axis_edge(axes[k], at[k] + 1);
            if (from < lo[k]) lo[k] = from;
            if (to > hi[k]) hi[k] = to;
        }
    }
    if (hi[0] == 0) return -1;
    for (int k = 0; k < 2; k++) {
        box[k] = lo[k];
        box[2 + k] = hi[k] - lo[k];
    }
    return 0;
}

int mask_rle(const struct mask *m, struct buf *out) {
    struct rle r;
    struct axis ax = axis_x(m), ay = axis_y(m);
    uint32_t tall[MASK_GRID_MAX], height = (uint32_t)m->h;
    must(m->grid <= MASK_GRID_MAX);
    for (int y = 0; y < m->grid; y++)
        tall[y] = (uint32_t)axis_width(ay, y);
    rle_begin(&r, out);
    rle_add(&r, 0, (uint32_t)ax.from * height);
    for (int x = 0; x < m->grid; x++) {
        for (int i = axis_width(ax, x); i > 0; i--) {
            rle_add(&r, 0, (uint32_t)ay.from);
            for (int y = 0; y < m->grid; y++)
                rle_add(&r, m->bits[y * m->grid + x], tall[y]);
            rle_add(&r, 0, height - (uint32_t)(ay.from + ay.side));
        }
    }
    rle_add(&r, 0, (uint32_t)(m->w - ax.from - ax.side) * height);
    return rle_end(&r);
}

/* The places that have pixels, along one side. */
struct kept {
    int n, edge[MASK_GRID_MAX + 1]; /* edge[i]: first pixel of the i-th of them; edge[n]: the end */
    int place[MASK_GRID_MAX];
};

static void keep_places(struct kept *k, struct axis a) {
    must(a.grid <= MASK_GRID_MAX);
    k->n = 0;
    for (int i = 0; i < a.grid; i++) {
        if (!axis_width(a, i)) continue;
        k->edge[k->n] = axis_edge(a, i);
        k->place[k->n++] = i;
    }
    k->edge[k->n] = a.from + a.side;
}

struct rings {
    struct kept x, y;
    struct buf *out;
    int n;
};

static void write_corner(void *ud, int x, int y, int is_first) {
    struct rings *r = ud;
    if (is_first) buf_str(r->out, r->n++ ? "],[" : "[");
    buf_printf(r->out, "%s%d,%d", is_first ? "" : ",", r->x.edge[x], r->y.edge[y]);
}

int mask_rings(const struct mask *m, struct buf *out) {
    struct rings r = {.out = out};
    keep_places(&r.x, axis_x(m));
    keep_places(&r.y, axis_y(m));
    uint8_t *bits = mem_try((size_t)r.x.n * (size_t)r.y.n);
    for (int y = 0; bits && y < r.y.n; y++) {
        for (int x = 0; x < r.x.n; x++)
            bits[y * r.x.n + x] = m->bits[r.y.place[y] * m->grid + r.x.place[x]];
    }
    buf_char(out, '[');
    if (!bits || polygon_trace(bits, r.x.n, r.y.n, write_corner, &r)) out->bad = E_NOMEM;
    mem_free(bits);
    return buf_str(out, r.n ? "]]" : "]");
}

int mask_png(const struct mask *m, const uint8_t *grey, struct buf *out) {
    struct axis ax = axis_x(m), ay = axis_y(m);
    size_t wide = (size_t)m->w;
    uint8_t *pixels = mem_try(wide * (size_t)m->h); /* zeros */
    if (!pixels) return out->bad = E_NOMEM;
    for (int gy = 0; gy < m->grid; gy++) {
        int y0 = axis_edge(ay, gy), y1 = axis_edge(ay, gy + 1);
        uint8_t *row = pixels + (size_t)y0 * wide;
        for (int gx = 0; gx < m->grid && y0 < y1; gx++)
            memset(row + axis_edge(ax, gx), grey[gy * m->grid + gx], (size_t)axis_width(ax, gx));
        for (int y = y0 + 1; y < y1; y++)
            memcpy(row + (size_t)(y - y0) * wide, row, wide);
    }
    int rc = picture_png_grey(pixels, m->w, m->h, out);
    mem_free(pixels);
    return rc;
}
