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

int32_t feats_take(struct feats *f, const struct stems *s, const char *digest, int *is_filled) {
    int32_t at = -1;
    *is_filled = 0;
    for (int32_t i = 0; i < f->n && !*is_filled; i++) {
        *is_filled = strcmp(f->entries[i].digest, digest) == 0;
        int is_older = at < 0 || f->entries[i].used_at < f->entries[at].used_at;
        if (*is_filled || (is_older && !stem_holds_feat(s, i))) at = i;
    }
    if (at < 0) return -1;
    struct feats_entry *p = &f->entries[at];
    must(strlen(digest) < sizeof p->digest);
    memcpy(p->digest, digest, strlen(digest) + 1);
    p->used_at = ++f->tick;
    return at;
}
