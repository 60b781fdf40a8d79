/* scene.c - see scene.h. A shape is a function that says whether a point of the square from -1 to 1
 * is inside; each pixel asks it nine times. The n-th number that a drawing takes is
 * rng_uniform(seed, n), so nothing depends on the machine but sin, cos and sqrt. */
#include "cli/gate/scene.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

enum { S = SCENE_SIDE, FINE = 3, TRIES = 200, FAR_APART = 130, OCTAVES = 4 };

const char *const scene_colours[SCENE_COLOURS] = {"red",  "orange", "yellow", "green",
                                                  "blue", "purple", "white",  "black"};
static const double paints[SCENE_COLOURS][3] = {{215, 35, 35},   {245, 135, 20}, {245, 220, 40},
                                                {45, 165, 60},   {40, 95, 220},  {125, 50, 185},
                                                {245, 245, 245}, {18, 18, 18}};
const char *const scene_shapes[SCENE_SHAPES] = {"circle", "triangle", "ring",  "cross",
                                                "bar",    "moon",     "arrow", "cup"};

/* Numbers one after the other. */
struct draws {
    uint64_t seed, n;
};
static double draw(struct draws *d, double from, double to) {
    return from + (to - from) * (double)rng_uniform(d->seed, d->n++);
}
static int draw_below(struct draws *d, int n) { return (int)draw(d, 0, n); }

/* ---- shapes ---- */

static int is_inside(int shape, double x, double y) {
    double r2 = x * x + y * y, ax = fabs(x), ay = fabs(y);
    switch (shape) {
    case 0: return r2 <= 1;
    case 1: return y <= 0.85 && y >= -0.95 && ax <= 0.95 * (y + 0.95) / 1.8;
    case 2: return r2 <= 1 && r2 >= 0.55 * 0.55;
    case 3: return (ax <= 0.3 && ay <= 1) || (ay <= 0.3 && ax <= 1);
    case 4: return ax <= 1 && ay <= 0.3;
    case 5: return r2 <= 1 && (x - 0.5) * (x - 0.5) + (y + 0.15) * (y + 0.15) >= 0.85 * 0.85;
    case 6: return (x >= -1 && x <= 0.2 && ay <= 0.3) || (x >= 0.2 && ay <= 1 - x);
    default: return y >= -0.7 && y <= 0.9 && ax <= 0.9 - 0.25 * (y + 0.7);
    }
}

/* How much of a pixel the thing covers: 0 .. 1. */
static double cover(const struct scene_thing *t, int x, int y) {
    int hits = 0;
    double c = cos(t->turn), s = sin(t->turn);
    for (int k = 0; k < FINE * FINE; k++) {
        double u = (x + (k % FINE + 0.5) / FINE - t->x) / t->size;
        double v = (y + (k / FINE + 0.5) / FINE - t->y) / t->size;
        hits += is_inside(t->shape, c * u + s * v, c * v - s * u);
    }
    return (double)hits / (FINE * FINE);
}

/* ---- grounds ---- */

static uint8_t level(double v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v + 0.5); }

/* Noise of cells x cells values, blended in between: -1 .. 1. */
static double soft(uint64_t seed, int cells, double x, double y) {
    double u = x * cells, v = y * cells, value[4];
    int i = (int)u, j = (int)v;
    for (int k = 0; k < 4; k++)
        value[k] = 2 * (double)rng_uniform(seed, (uint64_t)((j + k / 2) * 4096 + i + k % 2)) - 1;
    double a = u - i, b = v - j;
    a = a * a * (3 - 2 * a);
    b = b * b * (3 - 2 * b);
    return (value[0] * (1 - a) + value[1] * a) * (1 - b) + (value[2] * (1 - a) + value[3] * a) * b;
}

static void draw_ground(struct draws *d, const double base[3], uint8_t *rgb) {
    int kind = draw_below(d, 3);
    double gx = draw(d, -40, 40), gy = draw(d, -40, 40), f = draw(d, 15, 50), turn = draw(d, 0, 3);
    uint64_t seed = rng_u64(d->seed, 77);
    for (int y = 0; y < S; y++)
        for (int x = 0; x < S; x++) {
            double u = (double)x / S, v = (double)y / S;
            double more = kind == 0   ? gx * (u - 0.5) + gy * (v - 0.5)
                          : kind == 1 ? 20 * sin((u * cos(turn) + v * sin(turn)) * f)
                                      : 22 * soft(seed, 5, u, v);
            more += 3 * ((double)rng_uniform(seed + 1, (uint64_t)(y * S + x)) - 0.5);
            for (int c = 0; c < 3; c++)
                rgb[3 * (y * S + x) + c] = level(base[c] + more);
        }
}

static double apart(const double a[3], const double b[3]) {
    return fabs(a[0] - b[0]) + fabs(a[1] - b[1]) + fabs(a[2] - b[2]);
}

/* A colour that all things stand out from. */
static void choose_ground(struct draws *d, const struct scene *s, double base[3]) {
    for (int t = 0, clear = 0; t < TRIES && !clear; t++) {
        for (int c = 0; c < 3; c++)
            base[c] = draw(d, 30, 225);
        clear = 1;
        for (int i = 0; i < s->n; i++)
            clear &= apart(base, paints[s->things[i].colour]) > FAR_APART;
    }
}

/* ---- things ---- */

static int meets(const struct scene *s, const struct scene_thing *t) {
    for (int i = 0; i < s->n; i++) {
        const struct scene_thing *o = &s->things[i];
        double least = (t->size + o->size) * 1.05;
        if (fabs(t->x - o->x) < least && fabs(t->y - o->y) < least) return 1;
    }
    return 0;
}

static int has_shape(const struct scene *s, int shape) {
    for (int i = 0; i < s->n; i++)
        if (s->things[i].shape == shape) return 1;
    return 0;
}

/* Up to `want` things; those that find no room are left out, the first one always does. */
static void choose_things(struct draws *d, struct scene *s, int want) {
    static const double largest[SCENE_THINGS] = {0.7, 0.5, 0.42, 0.38}; /* shares of the side */
    for (int t = 0; t < TRIES && s->n < want; t++) {
        struct scene_thing *n = &s->things[s->n];
        double most = largest[want - 1];
        *n = (struct scene_thing){.shape = draw_below(d, SCENE_SHAPES),
                                  .colour = draw_below(d, SCENE_COLOURS),
                                  .size = S / 2.0 * draw(d, 0.5 * most, most),
                                  .turn = draw(d, -0.22, 0.22)};
        double room = n->size * 1.15; /* a corner that was turned reaches out */
        n->x = draw(d, room, S - room);
        n->y = draw(d, room, S - room);
        if (!has_shape(s, n->shape) && !meets(s, n)) s->n++;
    }
}

static void scene_grow(int box[4], int x, int y) {
    if (box[2] == 0) {
        box[0] = x;
        box[1] = y;
    }
    if (x < box[0]) box[0] = x;
    if (y < box[1]) box[1] = y;
    if (x + 1 > box[2]) box[2] = x + 1;
    if (y + 1 > box[3]) box[3] = y + 1;
}

static void scene_paint(struct draws *d, struct scene *s, int i) {
    struct scene_thing *t = &s->things[i];
    double paint[3], light = draw(d, 0.9, 1.05), sx = draw(d, -12, 12), sy = draw(d, -12, 12);
    for (int c = 0; c < 3; c++)
        paint[c] = paints[t->colour][c] * light;
    for (int y = 0; y < S; y++)
        for (int x = 0; x < S; x++) {
            double a = cover(t, x, y),
                   shade = sx * ((double)x / S - 0.5) + sy * ((double)y / S - 0.5);
            uint8_t *p = &s->rgb[3 * (y * S + x)];
            for (int c = 0; a > 0 && c < 3; c++)
                p[c] = level((1 - a) * p[c] + a * (paint[c] + shade));
            if (a < 0.5) continue;
            s->ids[y * S + x] = (uint8_t)(i + 1);
            scene_grow(t->box, x, y);
        }
}

void scene_draw(uint64_t seed, struct scene *s) {
    struct draws d = {seed, 0};
    double base[3];
    memset(s, 0, sizeof(*s));
    choose_things(&d, s, 1 + draw_below(&d, SCENE_THINGS));
    choose_ground(&d, s, base);
    draw_ground(&d, base, s->rgb);
    for (int i = 0; i < s->n; i++)
        scene_paint(&d, s, i);
}

/* ---- pictures ---- */

static void picture_smooth(struct draws *d, double (*to)[3]) {
    double g[3][4];
    for (int c = 0; c < 3; c++) {
        g[c][0] = draw(d, 40, 215);
        for (int k = 1; k < 4; k++)
            g[c][k] = draw(d, -110, 110);
    }
    for (int i = 0; i < S * S; i++) {
        double u = (double)(i % S) / S - 0.5, v = (double)(i / S) / S - 0.5;
        for (int c = 0; c < 3; c++)
            to[i][c] = g[c][0] + g[c][1] * u + g[c][2] * v + g[c][3] * sin(6 * u * v + 3 * u);
    }
}

/* Stripes in two directions, or checks where both are sharp. */
static void picture_texture(struct draws *d, double (*to)[3]) {
    double a = draw(d, 0, 3.1), f = draw(d, 10, 60), h = draw(d, 10, 60), two[2][3];
    int sharp = draw_below(d, 2);
    for (int k = 0; k < 6; k++)
        two[k / 3][k % 3] = draw(d, 10, 245);
    for (int i = 0; i < S * S; i++) {
        double u = (double)(i % S) / S, v = (double)(i / S) / S;
        double w = sin((u * cos(a) + v * sin(a)) * f) * sin((v * cos(a) - u * sin(a)) * h);
        double t = sharp ? w > 0 : (w + 1) / 2;
        for (int c = 0; c < 3; c++)
            to[i][c] = two[0][c] * (1 - t) + two[1][c] * t;
    }
}

/* Adds noise of all sizes, the larger the stronger. */
static void picture_noise(struct draws *d, double strength, double (*to)[3]) {
    uint64_t seed = rng_u64(d->seed, 99);
    for (int i = 0; i < S * S; i++) {
        double u = (double)(i % S) / S, v = (double)(i / S) / S;
        for (int o = 0; o < OCTAVES; o++)
            for (int c = 0; c < 3; c++) /* half of it is light, half is colour */
                to[i][c] += strength / (1 << o) *
                            (soft(seed + (uint64_t)o, 3 << o, u, v) +
                             soft(seed + (uint64_t)(8 + 8 * c + o), 3 << o, u, v));
    }
}

static void picture_discs(struct draws *d, double (*to)[3]) {
    for (int k = 0; k < 60; k++) {
        double r = 4 + 40 / (1 + draw(d, 0, 6)), x = draw(d, 0, S), y = draw(d, 0, S), colour[3];
        for (int c = 0; c < 3; c++)
            colour[c] = draw(d, 15, 240);
        for (int i = 0; i < S * S; i++) {
            double dx = i % S - x, dy = i / S - y;
            if (dx * dx + dy * dy < r * r) memcpy(to[i], colour, sizeof(colour));
        }
    }
}

void scene_picture(uint64_t seed, uint8_t rgb[SCENE_SIDE * SCENE_SIDE * 3]) {
    static const double grey[3] = {128, 128, 128};
    struct draws d = {seed, 0};
    double(*at)[3] = mem_must((size_t)S * S * sizeof(*at));
    int kind = (int)(rng_u64(seed, 1000) % 4);
    for (int i = 0; i < S * S; i++)
        memcpy(at[i], grey, sizeof(grey));
    if (kind == 0) picture_smooth(&d, at);
    if (kind == 1) picture_texture(&d, at);
    if (kind == 3) picture_discs(&d, at);
    if (kind >= 2) picture_noise(&d, kind == 2 ? 55 : 18, at);
    for (int i = 0; i < 3 * S * S; i++)
        rgb[i] = level(at[i / 3][i % 3]);
    mem_free(at);
}
