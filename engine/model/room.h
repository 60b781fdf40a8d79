/* room.h - what matrices are kept in, and whether a model has room so. Room-private. */
#ifndef ENGINE_MODEL_ROOM_H
#define ENGINE_MODEL_ROOM_H

#include "engine/model/internal.h"
#include "engine/model/weights.h"

/* Where a matrix stands: in a layer of the decoder, in a block of the tower, or beside them. */
enum room_of { ROOM_LAYER, ROOM_TOWER, ROOM_BESIDE };
/* What it is kept in. type: of all its tensors; KERN_F32 where they differ. */
enum kern_keep room_keep(const struct model *m, enum room_of where, enum kern_dtype type);

/* *need: bytes that the weights will take. E_NOMEM when they and what is beside them are more than
 * the device's memory, and what would fit, before minutes are spent on reading them. Where nobody
 * chose a form, m->is_as_stored is chosen here. E_UNSUPPORTED: the device has no such form. */
int room_check(struct model *m, struct weights *w, const struct model_beside *beside,
               uint64_t *need, struct err *e);

#endif
