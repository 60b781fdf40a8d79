/* decoded.c - see decoded.h. A key is empty where SHA-256 had no memory: such an upload is decoded,
 * and not kept.
 */
#include "api/store/decoded.h"

#include <openssl/evp.h>
#include <string.h>

#include "api/store/shelf.h"
#include "kernels/base/hex.h"
#include "kernels/base/mem.h"

enum { PICTURES_MAX = 1024, SHA_BYTES = 32, NEVER_S = UINT32_MAX };

struct kept {
    struct shelf_item at;
    struct eng_picture *picture;
};

struct decoded {
    struct shelf *shelf; /* all of one payer; its lock guards the rest */
    size_t bytes_max;
    uint64_t bytes, hits, misses;
};

static void kept_drop(void *item) { eng_picture_put(((struct kept *)item)->picture); }

struct decoded *decoded_new(size_t bytes_max) {
    if (!bytes_max) return NULL;
    struct decoded *s = mem_must(sizeof(*s));
    s->bytes_max = bytes_max;
    s->shelf = shelf_new(PICTURES_MAX, NEVER_S, sizeof(struct kept), kept_drop);
    return s;
}

void decoded_free(struct decoded *s) {
    if (!s) return;
    shelf_free(s->shelf);
    mem_free(s);
}

static void decoded_digest(const struct decoded_how *how, const uint8_t *bytes, size_t len,
                           char key[DECODED_KEY_BYTES]) {
    const uint64_t head[] = {how->pixels_max, how->costly_max, (uint64_t)how->is_stored,
                             (uint64_t)how->truth};
    uint8_t sum[SHA_BYTES];
    EVP_MD_CTX *sha = EVP_MD_CTX_new();
    int is_done = sha && EVP_DigestInit_ex(sha, EVP_sha256(), NULL) &&
                  EVP_DigestUpdate(sha, head, sizeof(head)) && EVP_DigestUpdate(sha, bytes, len) &&
                  EVP_DigestFinal_ex(sha, sum, NULL);
    EVP_MD_CTX_free(sha);
    key[0] = '\0';
    if (is_done) hex_write(sum, SHA_BYTES, key);
}

struct eng_picture *decoded_find(struct decoded *s, uint64_t owner, const struct decoded_how *how,
                                 const uint8_t *bytes, size_t len, char key[DECODED_KEY_BYTES]) {
    struct eng_picture *picture = NULL;
    key[0] = '\0';
    if (!s) return NULL;
    decoded_digest(how, bytes, len, key);
    shelf_lock(s->shelf);
    struct kept *kept = key[0] ? shelf_find(s->shelf, owner, key) : NULL;
    if (kept) {
        shelf_use(&kept->at);
        picture = eng_picture_get(kept->picture);
        s->hits++;
    } else {
        s->misses++;
    }
    shelf_unlock(s->shelf);
    return picture;
}

/* With the lock. Room for so many bytes, and for one picture. */
static void decoded_make_room(struct decoded *s, size_t bytes) {
    while (s->bytes + bytes > s->bytes_max || shelf_count(s->shelf) == PICTURES_MAX) {
        struct kept *oldest = shelf_oldest(s->shelf, 0);
        s->bytes -= eng_picture_bytes(oldest->picture);
        shelf_remove(s->shelf, oldest);
    }
}

void decoded_keep(struct decoded *s, uint64_t owner, const char *key, struct eng_picture *picture) {
    size_t bytes = eng_picture_bytes(picture);
    if (!s || !key[0] || bytes > s->bytes_max) return;
    shelf_lock(s->shelf);
    if (!shelf_find(s->shelf, owner, key)) { /* another request may have been sooner */
        decoded_make_room(s, bytes);
        struct kept *kept = shelf_add(s->shelf, owner, 0, key);
        kept->picture = eng_picture_get(picture);
        s->bytes += bytes;
    }
    shelf_unlock(s->shelf);
}

void decoded_stats(struct decoded *s, struct decoded_stats *out) {
    *out = (struct decoded_stats){0};
    if (!s) return;
    shelf_lock(s->shelf);
    *out = (struct decoded_stats){s->hits, s->misses, s->bytes, shelf_count(s->shelf)};
    shelf_unlock(s->shelf);
}
