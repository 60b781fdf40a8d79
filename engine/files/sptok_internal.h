/* sptok_internal.h - the inside of a tokenizer: its pieces and the table of their texts.
 *
 * sptok_open.c fills it from a file, sptok.c encodes and decodes with it. No other file includes
 * this.
 */
#ifndef ENGINE_FILES_SPTOK_INTERNAL_H
#define ENGINE_FILES_SPTOK_INTERNAL_H

#include <string.h>

#include "engine/files/sptok.h"

enum { SPTOK_PIECE_BYTES_MAX = 512 };
enum sptok_kind { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };

struct sptok_piece {
    const char *text; /* NUL-terminated, in blob */
    uint32_t len;
    float score;
    uint8_t kind;
};
/* Immutable after opening. The table holds what may be joined or matched, i.e. normal, user-defined
 * and unused pieces, not control or byte pieces, so "<s>" in a text is text. */
struct sptok {
    struct sptok_piece *pieces;
    int n;
    char *blob;
    int32_t *table; /* hash -> id, -1 free; power of two */
    uint32_t mask;
    int32_t byte_id[256];
    int32_t bos, eos, unk;
    uint32_t user_bytes_max; /* longest user-defined piece; 0: none */
    int add_prefix, byte_fallback;
};

/* FNV-1a, a byte at a time, from SPTOK_HASH on. */
#define SPTOK_HASH 2166136261u
static inline uint32_t sptok_hash_more(uint32_t h, char c) { return (h ^ (uint8_t)c) * 16777619u; }
static inline uint32_t sptok_hash(const char *s, size_t n) {
    uint32_t h = SPTOK_HASH;
    for (size_t i = 0; i < n; i++)
        h = sptok_hash_more(h, s[i]);
    return h;
}

/* The piece in the table that reads s (n bytes, of that hash), or -1. */
static inline int32_t sptok_find_hashed(const struct sptok *t, uint32_t hash, const char *s,
                                        size_t n) {
    for (uint32_t at = hash & t->mask;; at = (at + 1) & t->mask) {
        int32_t id = t->table[at];
        if (id < 0) return -1;
        if (t->pieces[id].len == n && !memcmp(t->pieces[id].text, s, n)) return id;
    }
}
static inline int32_t sptok_find(const struct sptok *t, const char *s, size_t n) {
    return sptok_find_hashed(t, sptok_hash(s, n), s, n);
}

#endif
