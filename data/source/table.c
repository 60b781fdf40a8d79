/* table.c - open addressing over slots of numbers; at most half of the slots are taken. Keys lie
 * one behind the other in one buffer. */
#include "data/source/table.h"

#include <string.h>
#include <sys/random.h>

#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

enum { SLOTS_MIN = 64, KEYS_MAX = 1 << 30 };

struct key {
    size_t at, len; /* in the buffer */
    uint64_t hash;
};
struct table {
    uint64_t secret;
    struct buf text;
    struct key *keys; /* (cap_keys), n of them in use */
    uint32_t n, cap_keys;
    uint32_t *slots; /* (n_slots): number + 1, or 0 */
    uint32_t n_slots;
};

struct table *table_new(void) {
    struct table *t = mem_must(sizeof(*t));
    buf_init(&t->text, KEYS_MAX);
    t->n_slots = SLOTS_MIN;
    t->slots = mem_must(t->n_slots * sizeof(*t->slots));
    if (getrandom(&t->secret, sizeof(t->secret), GRND_NONBLOCK) < 0) t->secret = (uintptr_t)t;
    return t;
}

void table_free(struct table *t) {
    if (!t) return;
    buf_clear(&t->text);
    mem_free(t->keys);
    mem_free(t->slots);
    mem_free(t);
}

static uint64_t table_hash(const struct table *t, const void *key, size_t len) {
    const uint8_t *p = key;
    uint64_t h = t->secret;
    for (size_t i = 0; i < len; i += 8) {
        uint64_t piece = 0;
        memcpy(&piece, p + i, len - i < 8 ? len - i : 8);
        h = rng_u64(h ^ piece, len);
    }
    return h;
}

/* The slot that has the key, or the free one where it would go. */
static uint32_t table_slot(const struct table *t, const void *key, size_t len, uint64_t hash) {
    for (uint32_t i = (uint32_t)hash & (t->n_slots - 1);; i = (i + 1) & (t->n_slots - 1)) {
        if (!t->slots[i]) return i;
        const struct key *k = &t->keys[t->slots[i] - 1];
        if (k->hash == hash && k->len == len && memcmp(t->text.p + k->at, key, len) == 0) return i;
    }
}

static int table_grow_keys(struct table *t) {
    uint32_t cap = t->cap_keys ? 2 * t->cap_keys : SLOTS_MIN;
    struct key *keys =
        mem_try_resize(t->keys, t->cap_keys * sizeof(*keys), (size_t)cap * sizeof(*keys));
    if (!keys) return 0;
    t->keys = keys;
    t->cap_keys = cap;
    return 1;
}

static int table_grow_slots(struct table *t) {
    uint32_t n = 2 * t->n_slots, *slots = mem_try(n * sizeof(*slots));
    if (!slots) return 0;
    mem_free(t->slots);
    t->slots = slots;
    t->n_slots = n;
    for (uint32_t k = 0; k < t->n; k++) {
        uint32_t i = (uint32_t)t->keys[k].hash & (n - 1);
        while (slots[i])
            i = (i + 1) & (n - 1);
        slots[i] = k + 1;
    }
    return 1;
}

uint32_t table_add(struct table *t, const void *key, size_t len, int *is_new) {
    uint64_t hash = table_hash(t, key, len);
    uint32_t slot = table_slot(t, key, len, hash);
    *is_new = !t->slots[slot];
    if (!*is_new) return t->slots[slot] - 1;
    if (t->n == t->cap_keys && !table_grow_keys(t)) return TABLE_NONE;
    if (2 * (t->n + 1) > t->n_slots) {
        if (!table_grow_slots(t)) return TABLE_NONE;
        slot = table_slot(t, key, len, hash);
    }
    size_t at = t->text.len;
    if (buf_reserve(&t->text, len + 1)) return TABLE_NONE;
    buf_add(&t->text, key, len);
    buf_char(&t->text, '\0');
    t->keys[t->n] = (struct key){at, len, hash};
    t->slots[slot] = ++t->n;
    return t->n - 1;
}

uint32_t table_find(const struct table *t, const void *key, size_t len) {
    uint32_t slot = table_slot(t, key, len, table_hash(t, key, len));
    return t->slots[slot] ? t->slots[slot] - 1 : TABLE_NONE;
}

uint32_t table_count(const struct table *t) { return t->n; }

const char *table_key(const struct table *t, uint32_t number) {
    return (const char *)t->text.p + t->keys[number].at;
}
