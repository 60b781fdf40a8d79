/* carry.h - weights that an earlier stage taught and that don't learn in this one.
 *
 * Stage 2 of the paper teaches the tower, stage 3 freezes it as it has become. So what stage 2
 * exported goes into the model at the import and out again with stage 3's export: from the overlay
 * file itself, which stays mapped. Room-private. Thread: the trainer's.
 */
#ifndef ENGINE_TRAIN_CARRY_H
#define ENGINE_TRAIN_CARRY_H

#include "engine/files/adapter.h"
#include "engine/train/internal.h"

/* Checks an overlay against the model: names and shapes, of what learns and what doesn't. E_FORMAT,
 * E_NOMEM. */
int carry_check(const struct train *t, const struct st *overlay, struct err *e);
/* A tensor of it goes to where the model reads it, between samples. E_NOMEM: of the host. */
int carry_put(struct train *t, const struct st_tensor *tensor, struct err *e);

/* Tensor i of those that are carried; NULL behind the last. */
const struct st_tensor *carry_at(const struct train *t, size_t i);
const struct st_tensor *carry_find(const struct train *t, const char *name); /* NULL: not carried */
/* Names base and overlay; "" when nothing is carried. */
const char *carry_digest(const struct train *t);

#endif
