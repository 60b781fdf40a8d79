/* places.c - see places.h. Thread: any. */
#include "cli/places.h"

#include "kernels/base/mem.h"

struct eng_point *places_of(int grid) {
    size_t side = (size_t)grid;
    struct eng_point *points = mem_must(side * side * sizeof(*points));
    for (size_t i = 0; i < side * side; i++)
        points[i] = (struct eng_point){(uint16_t)(i % side), (uint16_t)(i / side)};
    return points;
}
