/* idset.c - see idset.h. Open addressing, at most half full. */
#include "batch/idset.h"

#include <string.h>

#include "kernels/base/mem.h"

enum { FIRST_ROOM = 1024 };

struct idset {
    struct idset_entry *at;
    size_t room, n; /* room is a power of two */
};

struct idset *idset_new(void) {
    struct idset *s = mem_must(sizeof(*s));
    s->room = FIRST_ROOM;
    s->at = mem_must(s->room * sizeof(*s->at));
    return s;
}

void idset_free(struct idset *s) {
    if (!s) return;
    for (size_t i = 0; i < s->room; i++)
        mem_free(s->at[i].id);
    mem_free(s->at);
    mem_free(s);
}

/* FNV-1a, and its upper bits folded into the lower ones. */
static size_t idset_hash(const char *id) {
    uint64_t h = UINT64_C(14695981039346656037);
    for (; *id; id++)
        h = (h ^ (uint8_t)*id) * UINT64_C(1099511628211);
    return (size_t)(h ^ h >> 32);
}

/* Where the id is, or may be put. */
static struct idset_entry *idset_place(const struct idset *s, const char *id) {
    size_t i = idset_hash(id);
    while (s->at[i & (s->room - 1)].id && strcmp(s->at[i & (s->room - 1)].id, id) != 0)
        i++;
    return &s->at[i & (s->room - 1)];
}

static void idset_grow(struct idset *s) {
    struct idset old = *s;
    s->room *= 2;
    s->at = mem_must(s->room * sizeof(*s->at));
    for (size_t i = 0; i < old.room; i++)
        if (old.at[i].id) *idset_place(s, old.at[i].id) = old.at[i];
    mem_free(old.at);
}

struct idset_entry *idset_at(struct idset *s, const char *id) {
    if (2 * s->n >= s->room) idset_grow(s);
    struct idset_entry *entry = idset_place(s, id);
    if (!entry->id) {
        entry->id = mem_strdup(id);
        s->n++;
    }
    return entry;
}
