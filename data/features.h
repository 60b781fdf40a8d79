/* features.h - what a network that knows things saw in pictures, as tools/data/features.py wrote
 * it: maps of numbers, from which the numbers of any place of a picture can be had.
 *
 *     bytes 0..7      "lammdfe1"; all numbers are little-endian
 *           8..15     u32 n pictures, u32 SAMPLE_FEATURES
 *           16..      f32 scale[SAMPLE_FEATURES]
 *           then      n times: SHA-256 of the picture's file (32 bytes), u16 width, u16 height;
 *                     ascending, none twice
 *           then      n maps, in that order: int8 (height, width, SAMPLE_FEATURES), which times
 *                     scale are the features of a square of the picture each
 *
 * A picture is known by its bytes, so it matters neither where it lies nor what it is called.
 * Thread: any, at the same time too.
 */
#ifndef DATA_FEATURES_H
#define DATA_FEATURES_H

#include <stddef.h>
#include <stdint.h>

#include "engine/sample.h"
#include "kernels/base/err.h"

enum { FEATURES_PICTURES_MAX = 1 << 20, FEATURES_SIDE_MAX = 256, FEATURES_DIGEST = 32 };

struct features {
    const uint8_t *bytes; /* of the file, mapped or borrowed */
    size_t n_bytes;
    int is_mapped;
    uint32_t n;
    size_t *at; /* (n) where each map begins */
    float scale[SAMPLE_FEATURES];
};
struct features_map {
    const int8_t *at; /* (h, w, SAMPLE_FEATURES) */
    int w, h;
};

/* The file is mapped. E_NOT_FOUND, E_IO, E_FORMAT, E_NOMEM; then *f is all zero. */
int features_open(const char *path, struct features *f, struct err *e);
/* The same of bytes, which are borrowed until features_close. */
int features_read(const uint8_t *bytes, size_t n, struct features *f, struct err *e);
void features_close(struct features *f); /* all zero is legal */

/* The map of the picture whose file has that SHA-256. Returns whether there is one. */
int features_find(const struct features *f, const uint8_t digest[FEATURES_DIGEST],
                  struct features_map *out);
/* What is at x, y, shares of the picture's sides: between the middles of its four nearest squares,
 * by distance; towards the edges that of the outermost. */
void features_at(const struct features *f, const struct features_map *m, double x, double y,
                 float out[SAMPLE_FEATURES]);

#endif
