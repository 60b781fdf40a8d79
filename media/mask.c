/* mask.c - see mask.h. Only a PNG needs a mask as pixels. Runs and corners are computed from the
 * edges of the grid's places, so the cost of a large picture grows with its columns, not its
 * pixels.
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

int mask_bounds(const struct mask *m, int box[4]) {
    int lo[2] = {m->grid, m->grid}, hi[2] = {0, 0};
    for (int i = 0; i < m->grid * m->grid; i++) {
        int at[2] = {i % m->grid, i / m->grid};
        for (int k = 0; k < 2 && m->bits[i]; k++) {
            if (at[k] < lo[k]) lo[k] = at[k];
            if (at[k] >= hi[k]) hi[k] = at[k] + 1;
        }
    }
    if (mask_area(m) == 0) return -1;
    int sides[2] = {m->w, m->h};
    for (int k = 0; k < 2; k++) {
        box[k] = mask_edge(m->grid, sides[k], lo[k]);
        box[2 + k] = mask_edge(m->grid, sides[k], hi[k]) - box[k];
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

struct rings {
    const struct mask *m;
    struct buf *out;
    int n;
};

static void write_corner(void *ud, int x, int y, int is_first) {
    struct rings *r = ud;
    if (is_first) buf_str(r->out, r->n++ ? "],[" : "[");
    buf_printf(r->out, "%s%d,%d", is_first ? "" : ",", mask_edge(r->m->grid, r->m->w, x),
               mask_edge(r->m->grid, r->m->h, y));
}

int mask_rings(const struct mask *m, struct buf *out) {
    struct rings r = {.m = m, .out = out};
    buf_char(out, '[');
    if (polygon_trace(m->bits, m->grid, m->grid, write_corner, &r)) out->bad = E_NOMEM;
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
