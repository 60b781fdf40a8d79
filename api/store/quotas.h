/* quotas.h - how much one caller may have at once.
 *
 * A caller is a key, or where there is none the peer that a request comes from. Whoever has a
 * request on its way, or work of one that is over, has an account here. It ends with the last of
 * them. A limit of 0 is none. Thread: any.
 */
#ifndef API_STORE_QUOTAS_H
#define API_STORE_QUOTAS_H

#include <stddef.h>
#include <stdint.h>

#include "api/api.h"

struct quotas;
struct account;

enum quota {
    QUOTA_REQUESTS, /* on their way */
    QUOTA_TOKENS,   /* of the questions of these */
    QUOTA_BODY,     /* bytes of their bodies */
    QUOTA_SESSIONS,
    QUOTA_UPLOADS, /* files on their way */
    QUOTA_TILES,   /* of pictures that are being painted in tiles */
    QUOTA_NONE
};

struct quotas *quotas_new(const struct api_limits *limits); /* must-succeed */
/* The most tokens of one account, where that is known later. Before the first question. */
void quotas_set_tokens(struct quotas *q, uint64_t tokens);
void quotas_free(struct quotas *q); /* no account may be left */
/* One more request with a body of so many bytes, or with a file. QUOTA_NONE, and *out is its
 * account; else what there is too much of, and *out is NULL. */
enum quota quotas_enter(struct quotas *q, const char *name, uint64_t body_bytes, int is_upload,
                        struct account **out);
void quotas_leave(struct quotas *q, struct account *a, uint64_t body_bytes, int is_upload);
/* Nothing of a request that entered is left; it has left before. */
void quotas_end(struct quotas *q, struct account *a);
/* So many tokens more; they are given back by a negative number. 0, E_BUSY: they are too many. What
 * is alone is never too much. */
int quotas_tokens(struct quotas *q, struct account *a, int64_t tokens);
/* So many tiles more, given back by a negative number. All callers together have QUOTAS_TILES_MAX
 * of them, so that their memory has an end, and one caller half of that. `a` NULL: who has no
 * account. QUOTA_NONE; QUOTA_TILES: they are too many for this caller; QUOTA_REQUESTS: for now, of
 * all. */
enum { QUOTAS_TILES_MAX = 256 };
enum quota quotas_tiles(struct quotas *q, struct account *a, int n);
/* The fields RateLimit-Policy and RateLimit of a refusal (draft-ietf-httpapi-ratelimit-headers). */
void quotas_fields(const struct quotas *q, enum quota what, char policy[API_LIMIT_BYTES],
                   char left[API_LIMIT_BYTES]);
/* For people: "64 requests at once". */
void quotas_text(const struct quotas *q, enum quota what, char out[API_LIMIT_BYTES]);

#endif
