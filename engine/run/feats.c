/* feats.c - a handful of entries, scanned. */
#include "engine/run/feats.h"

#include <string.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"

void feats_init(struct feats *f, int32_t n) {
    must(n > 0);
    *f = (struct feats){.n = n};
    f->entries = mem_must((size_t)n * sizeof f->entries[0]);
}

void feats_clear(struct feats *f) {
    mem_free(f->entries);
    *f = (struct feats){0};
}

void feats_made_by(struct feats *f, const char *vision) {
    must(strlen(vision) < sizeof f->vision);
    memcpy(f->vision, vision, strlen(vision) + 1);
}

static int feats_is_of(const struct feats_entry *p, const char *vision, uint64_t owner,
                       const char *digest) {
    return p->owner == owner && strcmp(p->digest, digest) == 0 && strcmp(p->vision, vision) == 0;
}

static int32_t feats_of(const struct feats *f, uint64_t owner) {
    int32_t n = 0;
    for (int32_t i = 0; i < f->n; i++)
        n += f->entries[i].owner == owner;
    return n;
}

/* The entry that is given away: an empty one first. -1: all are held. */
static int32_t feats_victim(const struct feats *f, const struct stems *s) {
    int32_t at = -1, most = 0;
    for (int32_t i = 0; i < f->n; i++) {
        const struct feats_entry *p = &f->entries[i];
        if (stem_holds_feat(s, i)) continue;
        int is_other = at < 0 || p->owner != f->entries[at].owner;
        int32_t n = !p->digest[0] ? f->n + 1 : is_other ? feats_of(f, p->owner) : most;
        if (n < most || (n == most && at >= 0 && p->used_at >= f->entries[at].used_at)) continue;
        most = n;
        at = i;
    }
    return at;
}

int32_t feats_take(struct feats *f, const struct stems *s, uint64_t owner, const char *vision,
                   const char *digest, int *is_filled) {
    int32_t at = -1;
    if (!vision) vision = f->vision;
    for (int32_t i = 0; i < f->n && at < 0; i++)
        if (feats_is_of(&f->entries[i], vision, owner, digest)) at = i;
    *is_filled = at >= 0;
    if (at < 0) at = feats_victim(f, s);
    if (at < 0) return -1;
    struct feats_entry *p = &f->entries[at];
    must(strlen(digest) < sizeof p->digest && strlen(vision) < sizeof p->vision);
    memcpy(p->digest, digest, strlen(digest) + 1);
    memcpy(p->vision, vision, strlen(vision) + 1);
    p->owner = owner;
    p->used_at = ++f->tick;
    return at;
}
