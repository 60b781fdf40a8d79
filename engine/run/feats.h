/* feats.h - pictures that the vision tower has seen: which place of the model holds whose features.
 *
 * A place is held while a part of a stem is being filled from it, and stays known until another
 * picture needs it, least recently used first. So a frame of a game that comes again, at another
 * position of another prompt where its keys are of no use, is not looked at twice.
 * Thread: step.
 */
#ifndef ENGINE_RUN_FEATS_H
#define ENGINE_RUN_FEATS_H

#include <stdint.h>

#include "engine/run/stem.h"

struct feats {
    struct feats_place {
        char digest[STEM_DIGEST]; /* "": nobody's */
        uint64_t used_at;
    } * places;
    int32_t n;
    uint64_t tick, hits;
};

void feats_init(struct feats *f, int32_t n); /* must-succeed */
void feats_clear(struct feats *f);

/* A place for a picture, or -1 when all are held by parts of `s`. *is_seen: its features are there
 * already. */
int32_t feats_take(struct feats *f, const struct stems *s, const char *digest, int *is_seen);

#endif
