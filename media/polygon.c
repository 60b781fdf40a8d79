/* polygon.c - see polygon.h. An outline is walked along the edges between set and unset pixels,
 * with the set one always to the right. Every ring has an edge that runs eastwards, along the upper
 * side of a set pixel. So looking at those edges finds all rings, and each edge is marked when it
 * is walked. Where two pixels meet at a corner the walk turns right: it stays with its pixel.
 */
#include "media/polygon.h"

#include "kernels/base/err.h"
#include "kernels/base/mem.h"

struct mask {
    const uint8_t *bits;
    int w, h;
    uint8_t *walked; /* (h, w) 1: the upper side of this pixel */
};

static int is_set(const struct mask *m, int x, int y) {
    return x >= 0 && y >= 0 && x < m->w && y < m->h && m->bits[y * m->w + x];
}

/* East, south, west, north. */
static const int step_x[] = {1, 0, -1, 0}, step_y[] = {0, 1, 0, -1};

/* The pixel right (or left) of the edge that leaves corner (x, y) towards `dir`. */
static int beside(const struct mask *m, int x, int y, int dir, int is_right) {
    static const int right[4][2] = {{0, 0}, {-1, 0}, {-1, -1}, {0, -1}};
    static const int left[4][2] = {{0, -1}, {0, 0}, {-1, 0}, {-1, -1}};
    const int *d = is_right ? right[dir] : left[dir];
    return is_set(m, x + d[0], y + d[1]);
}

static void polygon_walk(struct mask *m, int x0, int y0, polygon_fn *corner, void *ud) {
    int x = x0, y = y0, dir = 0;
    corner(ud, x, y, 1);
    for (;;) {
        if (dir == 0) m->walked[y * m->w + x] = 1;
        x += step_x[dir];
        y += step_y[dir];
        int turned = dir;
        if (!beside(m, x, y, dir, 1))
            turned = (dir + 1) % 4; /* the pixel ends here: right */
        else if (beside(m, x, y, dir, 0))
            turned = (dir + 3) % 4; /* another one is in the way: left */
        if (x == x0 && y == y0 && turned == 0) return;
        if (turned != dir) corner(ud, x, y, 0);
        dir = turned;
    }
}

int polygon_trace(const uint8_t *bits, int w, int h, polygon_fn *corner, void *ud) {
    struct mask m = {.bits = bits, .w = w, .h = h};
    m.walked = mem_try((size_t)w * (size_t)h);
    if (!m.walked) return E_NOMEM;
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            int starts_ring = is_set(&m, x, y) && !is_set(&m, x, y - 1) &&
                              (!is_set(&m, x - 1, y) || is_set(&m, x - 1, y - 1));
            if (starts_ring && !m.walked[y * w + x]) polygon_walk(&m, x, y, corner, ud);
        }
    }
    mem_free(m.walked);
    return 0;
}
