/* shelf.h - things that are kept under an id for a while: what the stores of this folder share.
 *
 *     struct toy { struct shelf_item at; ... };     // an item begins so
 *     shelf_lock(s);
 *     struct toy *t = shelf_find(s, owner, id);
 *     if (t) shelf_use(&t->at);
 *     shelf_unlock(s);
 *
 * At most `max` items. One that was not used for ttl seconds is dropped when anybody looks, unless
 * it is held. They are searched one by one, under one lock that its user holds for that alone.
 * Thread: any.
 */
#ifndef API_STORE_SHELF_H
#define API_STORE_SHELF_H

#include <stddef.h>
#include <stdint.h>

enum { SHELF_ID_BYTES = 96 };

struct shelf_item {
    char id[SHELF_ID_BYTES]; /* NUL-terminated */
    uint64_t owner;          /* who alone finds it */
    uint64_t payer;          /* whom it is counted against */
    int is_held;             /* it does not expire */
    uint64_t used_ns;        /* last */
};

struct shelf;
/* Must-succeed. `drop` gives back what an item owns; it is called under the lock. */
struct shelf *shelf_new(int max, unsigned ttl_s, size_t item_bytes, void (*drop)(void *item));
void shelf_free(struct shelf *s); /* drops what is left; NULL is legal */

void shelf_lock(struct shelf *s);
void shelf_unlock(struct shelf *s);

/* ---- under the lock; an item's address holds until the next of these calls ---- */
void *shelf_find(struct shelf *s, uint64_t owner, const char *id); /* NULL: there is none */
/* Of a payer's the one that was unused for longest; NULL: there is none. */
void *shelf_oldest(struct shelf *s, uint64_t payer);
/* A new item, zeroed but for its head, used now. `id` is not on the shelf. NULL: it is full. */
void *shelf_add(struct shelf *s, uint64_t owner, uint64_t payer, const char *id);
void shelf_use(struct shelf_item *item); /* now */
void shelf_remove(struct shelf *s, void *item);
int shelf_count(struct shelf *s);
int shelf_count_of(struct shelf *s, uint64_t payer);

#endif
