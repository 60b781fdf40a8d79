/* test_polygon.c - outlines against a painter: what they go round is the mask. */
#include "media/polygon.h"

#include "kernels/base/err.h"
#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/media/rig.h"

enum { CORNERS_MAX = 4096 };
struct traced {
    int x[CORNERS_MAX], y[CORNERS_MAX], begins[CORNERS_MAX], n;
};

static void note(void *ud, int x, int y, int is_first) {
    struct traced *t = ud;
    CHECK(t->n < CORNERS_MAX);
    t->x[t->n] = x;
    t->y[t->n] = y;
    t->begins[t->n++] = is_first;
}

/* How often all rings go round the middle of pixel (x, y), clockwise. */
static int winding(const struct traced *t, int x, int y) {
    int sum = 0, first = 0;
    for (int i = 0; i < t->n; i++) {
        if (t->begins[i]) first = i;
        int next = i + 1 == t->n || t->begins[i + 1] ? first : i + 1;
        /* vertical sides right of it: a ray to the east */
        if (t->x[i] != t->x[next] || t->x[i] <= x) continue;
        int lo = t->y[i] < t->y[next] ? t->y[i] : t->y[next];
        int hi = t->y[i] < t->y[next] ? t->y[next] : t->y[i];
        if (y >= lo && y < hi) sum += t->y[next] > t->y[i] ? 1 : -1;
    }
    return sum;
}

static void check_rings(const uint8_t *bits, int w, int h) {
    static struct traced t;
    t.n = 0;
    CHECK_EQ(polygon_trace(bits, w, h, note, &t), 0);
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++)
            CHECK_EQ(winding(&t, x, y), bits[y * w + x]);
    }
    for (int i = 0; i + 2 < t.n; i++) { /* corners alone: no two sides in one line */
        if (t.begins[i + 1] || t.begins[i + 2]) continue;
        CHECK((t.x[i] == t.x[i + 1]) != (t.x[i + 1] == t.x[i + 2]));
    }
}

TEST(polygon_fills_to_the_mask) {
    uint8_t bits[144];
    for (unsigned k = 0; k < 40; k++) {
        rig_bits(bits, 12, test_seed() + k, k % 2);
        check_rings(bits, 12, 12);
    }
    memset(bits, 1, sizeof(bits));
    check_rings(bits, 12, 12);
    memset(bits, 0, sizeof(bits));
    check_rings(bits, 12, 12);
}

TEST(polygon_without_memory) {
    uint8_t bit = 1;
    mem_fail_at(1);
    CHECK_EQ(polygon_trace(&bit, 1, 1, note, NULL), E_NOMEM);
    mem_fail_at(0);
}
