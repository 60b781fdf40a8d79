/* sampler_rig.h - seven small pictures, and samplers over lines about them.
 *
 * Whatever fails fails the test. Thread: its owner's.
 */
#ifndef TESTS_UNIT_DATA_DRAW_SAMPLER_RIG_H
#define TESTS_UNIT_DATA_DRAW_SAMPLER_RIG_H

#include "data/sampler.h"
#include "tests/unit/data/rig.h"

enum { GRID = 16, PICTURES = 7 };

#define PIXELS(n)  "{\"task\":\"pixels\",\"image\":\"" #n ".png\"}\n"
#define ALL_PIXELS PIXELS(0) PIXELS(1) PIXELS(2) PIXELS(3) PIXELS(4) PIXELS(5) PIXELS(6)

extern const struct sampler_form sampler_rig_form;

/* Opens the rig: a tar of pictures 0.png .. 6.png, (20 + i) x 16, and these lines. The caller
 * closes both. */
struct source *sampler_rig_source(struct rig *r, const char *lines);
/* `items` of a step, seed 5. The caller closes it, before the sources. */
struct sampler *sampler_rig_open(const struct sampler_entry *mix, uint32_t n, uint32_t items);
/* The caller gives it back. */
struct sampler_draw *sampler_rig_draw(const struct sampler *s, uint64_t step, uint32_t item);

#endif
