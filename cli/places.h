/* places.h - every place of the model's grid, for commands that ask all of them. */
#ifndef CLI_PLACES_H
#define CLI_PLACES_H

#include "engine/engine.h"

/* grid * grid points, row by row from the top left; given, mem_free. */
struct eng_point *places_of(int grid);

#endif
