/* scene.h - scenes and pictures drawn by code from a number, with everything about them known: what
 * the gate's battery is made of. The words are those of the scenes that lamm-mini learnt from
 * (tools/data/scenes.py), the drawing is another one. Pure functions. */
#ifndef CLI_GATE_SCENE_H
#define CLI_GATE_SCENE_H

#include <stdint.h>

enum { SCENE_SIDE = 128, SCENE_THINGS = 4, SCENE_COLOURS = 8, SCENE_SHAPES = 8 };
extern const char *const scene_colours[SCENE_COLOURS], *const scene_shapes[SCENE_SHAPES];

struct scene_thing {
    int shape, colour;       /* places in the lists; no shape comes twice in a scene */
    double x, y, size, turn; /* centre and half of the side, in pixels; radians */
    int box[4];              /* x1, y1, x2, y2 in pixels, the far ones just outside */
};
struct scene {
    uint8_t rgb[SCENE_SIDE * SCENE_SIDE * 3];
    uint8_t ids[SCENE_SIDE * SCENE_SIDE]; /* 0: the ground, else 1 + the thing */
    struct scene_thing things[SCENE_THINGS];
    int n; /* 1 .. SCENE_THINGS; none covers another */
};
void scene_draw(uint64_t seed, struct scene *s);

/* A picture to ask pixels of: smooth gradients, stripes and checks, noise of all sizes, or discs
 * that cover each other under noise, which has edges and shades as photographs have. (side, side,
 * 3) */
void scene_picture(uint64_t seed, uint8_t rgb[SCENE_SIDE * SCENE_SIDE * 3]);

#endif
