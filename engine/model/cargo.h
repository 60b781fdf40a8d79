/* cargo.h - the inside of a cargo. Room-private; berth.h has its life. */
#ifndef ENGINE_MODEL_CARGO_H
#define ENGINE_MODEL_CARGO_H

#include <stdatomic.h>

#include "engine/model/berth.h"
#include "engine/model/overlay.h"

enum cargo_kind { CARGO_A, CARGO_B, CARGO_TOWER };

/* One tensor, (rows, cols). */
struct cargo_piece {
    enum cargo_kind kind;
    int layer; /* of the decoder; of the tower, or OVERLAY_TOWER */
    int place; /* enum peft_place; a row of overlay.h */
    int rows, cols;
    size_t at; /* its numbers, in the layer's */
};

enum { CARGO_PIECES = 2 * PEFT_PLACES };
_Static_assert((int)CARGO_PIECES >= (int)OVERLAY_BLOCK_ROWS &&
                   (int)CARGO_PIECES >= (int)OVERLAY_TOWER_ROWS,
               "a layer of a tower fits");

/* Pieces in order of places. */
struct cargo_layer {
    struct cargo_piece pieces[CARGO_PIECES];
    int n;
    float *data;     /* of all of them; NULL when all devices have it */
    atomic_int left; /* devices that haven't */
};

struct cargo {
    struct cargo_layer *layers;
    int n, rank; /* rank 0: no LoRA */
    int has_overlay;
    uint64_t parameters;
};

#endif
