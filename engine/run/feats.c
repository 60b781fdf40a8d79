/* feats.c - a handful of places, scanned. */
#include "engine/run/feats.h"

#include <string.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"

void feats_init(struct feats *f, int32_t n) {
    must(n > 0);
    *f = (struct feats){.n = n};
    f->places = mem_must((size_t)n * sizeof f->places[0]);
}

void feats_clear(struct feats *f) {
    mem_free(f->places);
    *f = (struct feats){0};
}

int32_t feats_take(struct feats *f, const struct stems *s, const char *digest, int *is_seen) {
    int32_t at = -1;
    *is_seen = 0;
    for (int32_t i = 0; i < f->n && !*is_seen; i++) {
        *is_seen = strcmp(f->places[i].digest, digest) == 0;
        int is_older = at < 0 || f->places[i].used_at < f->places[at].used_at;
        if (*is_seen || (is_older && !stem_holds_feat(s, i))) at = i;
    }
    if (at < 0) return -1;
    struct feats_place *p = &f->places[at];
    must(strlen(digest) < sizeof p->digest);
    memcpy(p->digest, digest, strlen(digest) + 1);
    p->used_at = ++f->tick;
    f->hits += (uint64_t)*is_seen;
    return at;
}
