/* places.c - see places.h. The ring is what a square of (grid / 8) places a side adds to the object
 * when its middle is moved over it. */
#include "data/draw/places.h"

#include <string.h>

#include "kernels/base/mem.h"

enum { OBJECT, OUTSIDE, OTHERS, RING, ALL, KINDS };
enum { TRIES = 8 };

struct places {
    uint32_t *list[KINDS]; /* (n[kind]) */
    uint32_t n[KINDS];
    uint8_t *was; /* (grid * grid) asked before? */
    uint32_t all;
};

/* Does the square around (x, y) touch the object? */
static int places_is_near(const uint8_t *object, int grid, int x, int y) {
    int r = grid / 16 > 0 ? grid / 16 : 1;
    int x1 = x - r > 0 ? x - r : 0, x2 = x + r < grid ? x + r : grid - 1;
    int y1 = y - r > 0 ? y - r : 0, y2 = y + r < grid ? y + r : grid - 1;
    for (int i = y1; i <= y2; i++)
        if (memchr(object + i * grid + x1, 1, (size_t)(x2 - x1 + 1))) return 1;
    return 0;
}

struct places *places_new(const uint8_t *object, const uint8_t *others, int grid) {
    uint32_t all = (uint32_t)grid * (uint32_t)grid;
    struct places *p = mem_try(sizeof(*p));
    uint32_t *lists = mem_try(KINDS * (size_t)all * sizeof(*lists));
    if (p) *p = (struct places){.was = mem_try(all), .all = all};
    if (!p || !lists || !p->was) {
        mem_free(lists);
        if (p) mem_free(p->was);
        mem_free(p);
        return NULL;
    }
    for (size_t k = 0; k < KINDS; k++)
        p->list[k] = lists + k * all;
    for (uint32_t i = 0; i < all; i++) {
        int x = (int)i % grid, y = (int)i / grid;
        p->list[ALL][p->n[ALL]++] = i;
        p->list[object[i] ? OBJECT : OUTSIDE][p->n[object[i] ? OBJECT : OUTSIDE]++] = i;
        if (object[i]) continue;
        if (others && others[i]) p->list[OTHERS][p->n[OTHERS]++] = i;
        if (places_is_near(object, grid, x, y)) p->list[RING][p->n[RING]++] = i;
    }
    return p;
}

void places_free(struct places *p) {
    if (!p) return;
    mem_free(p->list[0]);
    mem_free(p->was);
    mem_free(p);
}

static int places_kind(const struct places *p, struct dice *d) {
    if (!p->n[OBJECT] || !p->n[OUTSIDE]) return ALL;
    if (dice_below(d, 100) < 40) return OBJECT;
    uint32_t kind = dice_below(d, 100);
    if (kind < 10) return OUTSIDE;
    if (kind < 60 && p->n[OTHERS]) return OTHERS;
    return p->n[RING] ? RING : OUTSIDE;
}

uint32_t places_draw(struct places *p, struct dice *d) {
    uint32_t at = 0;
    for (int i = 0; i < TRIES; i++) {
        int kind = places_kind(p, d);
        at = p->list[kind][dice_below(d, p->n[kind])];
        if (!p->was[at]) break;
    }
    p->was[at] = 1;
    return at;
}
