/* images.h - the pictures that clients have stored: sent once, then named.
 *
 * The store keeps at most `max` pictures, each for ttl seconds after its last use. They belong to
 * the owner who sent them: nobody else finds, forgets or pushes out one. Of an owner at most
 * `owner_max` are kept; the one unused for longest makes room. Whoever uses a picture holds a
 * reference of its own: forgetting it harms nobody.
 * Thread: any.
 */
#ifndef API_STORE_IMAGES_H
#define API_STORE_IMAGES_H

#include "engine/engine.h"

struct images;
/* Must-succeed. owner_max 0: as many as there is room for. */
struct images *images_new(int max, int owner_max, unsigned ttl_s);
void images_free(struct images *s); /* NULL is legal */
/* The store takes a reference of its own. 0, also when it was there; E_BUSY: the store is full, and
 * nothing in it is this owner's. */
int images_put(struct images *s, uint64_t owner, const char *id, struct eng_picture *picture);
/* One reference for the caller, NULL when there is none. */
struct eng_picture *images_find(struct images *s, uint64_t owner, const char *id);
int images_forget(struct images *s, uint64_t owner, const char *id); /* 0, E_NOT_FOUND */
int images_count(struct images *s);

#endif
