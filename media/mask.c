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

uint64_t mask_area(const struct mask *m) {
    uint64_t area = 0;
    for (int y = 0; y < m->grid; y++) {
        uint64_t row = 0;
        for (int x = 0; x < m->grid; x++) {
            if (m->bits[y * m->grid + x])
                row += (uint64_t)(mask_edge(m->grid, m->w, x + 1) - mask_edge(m->grid, m->w, x));
        }
        area += row * (uint64_t)(mask_edge(m->grid, m->h, y + 1) - mask_edge(m->grid, m->h, y));
    }
    return area;
}

static int is_empty(int grid, int side, int i) {
    return mask_edge(grid, side, i) == mask_edge(grid, side, i + 1);
}

int mask_bounds(const struct mask *m, int box[4]) {
    int sides[2] = {m->w, m->h}, lo[2] = {m->w, m->h}, hi[2] = {0, 0};
    for (int i = 0; i < m->grid * m->grid; i++) {
        int at[2] = {i % m->grid, i / m->grid};
        if (!m->bits[i] || is_empty(m->grid, m->w, at[0]) || is_empty(m->grid, m->h, at[1]))
            continue;
        for (int k = 0; k < 2; k++) {
            int from = mask_edge(m->grid, sides[k], at[k]);
            int to = mask_edge(m->grid, sides[k], at[k] + 1);
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
    uint32_t tall[MASK_GRID_MAX];
    must(m->grid <= MASK_GRID_MAX);
    for (int y = 0; y < m->grid; y++)
        tall[y] = (uint32_t)(mask_edge(m->grid, m->h, y + 1) - mask_edge(m->grid, m->h, y));
    rle_begin(&r, out);
    for (int x = 0; x < m->grid; x++) {
        int wide = mask_edge(m->grid, m->w, x + 1) - mask_edge(m->grid, m->w, x);
        for (int i = 0; i < wide; i++) {
            for (int y = 0; y < m->grid; y++)
                rle_add(&r, m->bits[y * m->grid + x], tall[y]);
        }
    }
    return rle_end(&r);
}

/* The places that have pixels, along one side. */
struct kept {
    int n,
        edge[MASK_GRID_MAX + 1]; /* edge[i]: first pixel of the i-th of them; edge[n]: the side */
    int place[MASK_GRID_MAX];
};

static void keep_places(struct kept *k, int grid, int side) {
    must(grid <= MASK_GRID_MAX);
    k->n = 0;
    for (int i = 0; i < grid; i++) {
        if (is_empty(grid, side, i)) continue;
        k->edge[k->n] = mask_edge(grid, side, i);
        k->place[k->n++] = i;
    }
    k->edge[k->n] = side;
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
    keep_places(&r.x, m->grid, m->w);
    keep_places(&r.y, m->grid, m->h);
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

int mask_png(const uint8_t *grey, int grid, int w, int h, struct buf *out) {
    uint8_t *pixels = mem_try((size_t)w * (size_t)h);
    if (!pixels) return out->bad = E_NOMEM;
    for (int gy = 0; gy < grid; gy++) {
        int y0 = mask_edge(grid, h, gy), y1 = mask_edge(grid, h, gy + 1);
        uint8_t *row = pixels + (size_t)y0 * (size_t)w;
        for (int gx = 0; gx < grid && y0 < y1; gx++) {
            int x0 = mask_edge(grid, w, gx), x1 = mask_edge(grid, w, gx + 1);
            memset(row + x0, grey[gy * grid + gx], (size_t)(x1 - x0));
        }
        for (int y = y0 + 1; y < y1; y++)
            memcpy(row + (size_t)(y - y0) * (size_t)w, row, (size_t)w);
    }
    int rc = picture_png_grey(pixels, w, h, out);
    mem_free(pixels);
    return rc;
}
