/* images.h - the pictures that clients have stored: sent once, then named.
 *
 * The store keeps at most `max` pictures, each for ttl seconds after its last use; the one unused
 * for longest makes room. A picture's id is its digest, so sending it twice stores it once. Whoever
 * uses a picture holds a reference of its own: forgetting it harms nobody.
 * Thread: any.
 */
#ifndef API_STORE_IMAGES_H
#define API_STORE_IMAGES_H

#include "engine/engine.h"

struct images;
struct images *images_new(int max, unsigned ttl_s); /* must-succeed */
void images_free(struct images *s);                 /* NULL is legal */
/* 1: it is new; 0: it was there. The store takes a reference of its own. */
int images_put(struct images *s, struct eng_picture *picture);
/* One reference for the caller, NULL when there is none. */
struct eng_picture *images_find(struct images *s, const char *id);
int images_forget(struct images *s, const char *id); /* 0, E_NOT_FOUND */
int images_count(struct images *s);

#endif
