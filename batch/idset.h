/* idset.h - the custom_ids of a batch: which were met, and which are done. Thread: its owner's. */
#ifndef BATCH_IDSET_H
#define BATCH_IDSET_H

#include <stddef.h>
#include <stdint.h>

struct idset;
struct idset_entry {
    char *id;
    uint64_t line; /* of the file of questions; 0: it was not met there */
    int is_done;
};

struct idset *idset_new(void);
void idset_free(struct idset *s);
/* The entry of an id, perhaps a new one; until the next call. */
struct idset_entry *idset_at(struct idset *s, const char *id);

#endif
