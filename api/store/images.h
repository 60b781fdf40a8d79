/* images.h - the pictures that clients have stored: sent once, then named.
 *
 * The store keeps at most `max` pictures, each for ttl seconds after its last use. They belong to
 * the owner who sent them: nobody else finds or forgets one. They are counted against a payer, of
 * whom at most `payer_max` are kept; his own that was unused for longest makes room, never another
 * payer's. Whoever uses a picture holds a reference of its own: forgetting it harms nobody.
 * Thread: any.
 */
#ifndef API_STORE_IMAGES_H
#define API_STORE_IMAGES_H

#include "engine/engine.h"

struct images;
/* Must-succeed. payer_max 0: as many as there is room for. */
struct images *images_new(int max, int payer_max, unsigned ttl_s);
void images_free(struct images *s); /* NULL is legal */
/* The store takes a reference of its own. 0, also when it was there; E_BUSY: the store is full, and
 * nothing in it is this payer's. */
int images_put(struct images *s, uint64_t owner, uint64_t payer, const char *id,
               struct eng_picture *picture);
/* One reference for the caller, NULL when there is none. */
struct eng_picture *images_find(struct images *s, uint64_t owner, const char *id);
int images_forget(struct images *s, uint64_t owner, const char *id); /* 0, E_NOT_FOUND */
int images_count(struct images *s);

#endif
