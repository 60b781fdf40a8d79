/* decoded.h - pictures that were decoded already, found again by the bytes they came as.
 *
 * Clients send the same file again and again: another question about it, the frame before the next
 * one. The key of a picture is the SHA-256 over those bytes and over all that decides what becomes
 * of them, so what is found is what decoding would give. Only pictures that could be decoded are
 * kept; each is found by the owner who sent it alone. At most `bytes_max` bytes of them stay: those
 * unused for longest make room, whosever they are, for who loses one loses the time of a decoding.
 * Whoever finds a picture holds a reference of its own. Thread: any.
 */
#ifndef API_STORE_DECODED_H
#define API_STORE_DECODED_H

#include "engine/engine.h"

enum { DECODED_KEY_BYTES = 65 };

/* What decides, beside its bytes, what becomes of an upload, or whether it is refused. */
struct decoded_how {
    uint64_t pixels_max, costly_max; /* media/head.h */
    int is_stored;                   /* EXIF's orientation is left aside */
    int truth;                       /* eng_intake_open's */
};

struct decoded_stats {
    uint64_t hits, misses;
    size_t bytes; /* of the pictures that are kept */
    int pictures;
};

struct decoded;
/* Must-succeed; NULL where bytes_max is 0: nothing is kept. */
struct decoded *decoded_new(size_t bytes_max);
void decoded_free(struct decoded *s); /* NULL is legal, here and below */
/* The picture these bytes became, one reference for the caller; else NULL, and `key` is what to
 * keep theirs under. */
struct eng_picture *decoded_find(struct decoded *s, uint64_t owner, const struct decoded_how *how,
                                 const uint8_t *bytes, size_t len, char key[DECODED_KEY_BYTES]);
/* Keep it, with a reference of the store's own. A picture that is larger than all may be is not
 * kept. */
void decoded_keep(struct decoded *s, uint64_t owner, const char *key, struct eng_picture *picture);
void decoded_stats(struct decoded *s, struct decoded_stats *out);

#endif
