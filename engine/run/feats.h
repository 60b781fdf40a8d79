/* feats.h - features of pictures that went through the vision tower: which entry of the model holds
 * whose.
 *
 * An entry is held while a part of a stem is being filled from it. It stays known to the picture's
 * owner until another picture needs it: the least recently used one of the owner who has most. So a
 * frame of a game that comes again is not encoded twice, though it stands at another position of
 * another prompt, where its keys are of no use. Thread: step.
 */
#ifndef ENGINE_RUN_FEATS_H
#define ENGINE_RUN_FEATS_H

#include <stdint.h>

#include "engine/run/stem.h"

struct feats {
    struct feats_entry {
        char digest[STEM_DIGEST]; /* "": of no picture */
        char vision[STEM_DIGEST]; /* what made them */
        uint64_t owner;
        uint64_t used_at;
    } * entries;
    int32_t n;
    uint64_t tick;
    char vision[STEM_DIGEST]; /* what makes them where nobody else is named; "": it has no name */
};

void feats_init(struct feats *f, int32_t n); /* must-succeed */
void feats_clear(struct feats *f);
/* From now on features are made by what has this digest (model_vision_digest), where feats_take
 * names nothing else. Those that another made are not found any more. */
void feats_made_by(struct feats *f, const char *vision);

/* An entry for an owner's picture, or -1 when all are held by parts of `s`. vision: the digest of
 * what makes its features; NULL: as feats_made_by says. *is_filled: it has them already. */
int32_t feats_take(struct feats *f, const struct stems *s, uint64_t owner, const char *vision,
                   const char *digest, int *is_filled);

#endif
