/* ids.h - what pictures and sessions are called, and by what the engine tells callers apart.
 *
 *     [REPLICA-]64 hex digits     a picture
 *     [REPLICA-]32 hex digits     a session: random
 *
 * A picture's id is an HMAC of its owner and its digest under a secret that was drawn at start. So
 * the same picture has the same id for the same owner, and nobody can work out the id that it has
 * for another. The replica's name in front lets a proxy find the process that keeps it.
 * Thread: any.
 */
#ifndef API_STORE_IDS_H
#define API_STORE_IDS_H

#include "kernels/base/err.h"

#include <stddef.h>
#include <stdint.h>

enum { IDS_REPLICA_MAX = 16, IDS_BYTES = 96 };

struct ids;
/* `replica`: small letters and digits, at most IDS_REPLICA_MAX; NULL or "": no prefix. E_INVALID,
 * E_INTERNAL (no random bits). */
int ids_new(const char *replica, struct ids **out, struct err *e);
void ids_free(struct ids *s); /* NULL is legal */
/* The owner that a key's id stands for; 0 for "", who has none: they are one group. */
uint64_t ids_owner(const struct ids *s, const char *key);
/* Who pays for what a caller has: its owner, or without a key the place that it comes from. 0 for
 * "" and "". */
uint64_t ids_payer(const struct ids *s, const char *key, const char *peer);
void ids_picture(const struct ids *s, uint64_t owner, const char *digest, char out[IDS_BYTES]);
int ids_session(const struct ids *s, char out[IDS_BYTES]); /* 0, E_INTERNAL */

#endif
