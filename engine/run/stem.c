/* stem.c - a small table of parts: find, pin, evict.
 *
 * Invariants
 *   1. A user pins its whole chain: a part has at least as many users as each part below it.
 *   2. A part without users and without kids may be evicted. Every part without users is filled
 *      (done == len): one that is not goes with its last user.
 *   3. done <= planned <= len. Between passes done == planned. A part is filled after those above
 *      it.
 *   4. A row attends to the parts of its chain as one span each. They are never joined, even where
 *      their slots touch: the list of spans depends on the prompt alone, not on the cache.
 *
 * Taking a chain may evict parts. They are gone even when there is still no room in the end,
 * because of pinned parts. Those go when their jobs do. Reuse itself may be in the way: a cached
 * part in the middle of the region may leave no gap for what follows. Then the unused part is given
 * up and the chain is tried again. So a chain that fits an empty region is always served when
 * nothing is pinned. The table is scanned: it has some hundred entries at most and is asked a few
 * times per job. Thread: step.
 */
#include "engine/run/stem.h"

#include <string.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"

int32_t stem_parts_max(int32_t users_max, int32_t cached_max) {
    return STEM_PARTS * (users_max + (cached_max > 0 ? cached_max : 0) + 1);
}

void stem_init(struct stems *s, struct kv *kv, int32_t users_max, int32_t cached_max) {
    *s = (struct stems){.kv = kv, .cached_max = cached_max > 0 ? cached_max : 0};
    s->n_parts = stem_parts_max(users_max, cached_max);
    s->parts = mem_must((size_t)s->n_parts * sizeof s->parts[0]);
    for (int32_t i = 0; i < s->n_parts; i++)
        s->parts[i].bucket = s->parts[i].feat = -1;
}

void stem_clear(struct stems *s) {
    mem_free(s->parts);
    *s = (struct stems){0};
}

void stem_filled_by(struct stems *s, const char *model) {
    must(strlen(model) < sizeof s->model);
    memcpy(s->model, model, strlen(model) + 1);
}

/* ---- keys ---- */

int32_t stem_len(const struct stem_key *key) {
    int32_t len = 0;
    for (int32_t i = 0; i < key->n_ids; i++)
        len += key->ids[i] < 0 ? key->image_tokens : 1;
    return len;
}

/* One part of a key. */
struct piece {
    const char *model;
    uint64_t owner;
    const char *digest;
    const int32_t *ids;
    int32_t n, len;
};

/* The piece that begins at *at, which moves behind it. *picture counts pictures. 0: the key has
 * ended. */
static int next_piece(const struct stems *s, const struct stem_key *key, int32_t *at,
                      int32_t *picture, struct piece *p) {
    int32_t from = *at, to = from;
    while (to < key->n_ids && key->ids[to] >= 0)
        to++;
    int has_picture = to < key->n_ids;
    to += has_picture;
    *p = (struct piece){
        key->model ? key->model : s->model, key->owner, "", key->ids + from, to - from, to - from};
    if (has_picture) {
        p->digest = key->digests[(*picture)++];
        p->len += key->image_tokens - 1;
    }
    *at = to;
    return to > from;
}

int stem_is_legal(const struct stem_key *key) {
    static const struct stems none;
    struct piece p;
    int32_t at = 0, picture = 0, parts = 0;
    for (; next_piece(&none, key, &at, &picture, &p); parts++)
        if (p.n > STEM_IDS_MAX) return 0;
    return parts >= 1 && parts <= STEM_PARTS && picture <= ENG_PICTURES_MAX;
}

/* ---- finding ---- */

static int is_same(const struct stem_part *p, const struct stem_part *up, const struct piece *k) {
    return p->len > 0 && strcmp(p->model, k->model) == 0 && p->owner == k->owner && p->up == up &&
           p->n_ids == k->n && memcmp(p->ids, k->ids, (size_t)k->n * sizeof k->ids[0]) == 0 &&
           strcmp(p->digest, k->digest) == 0;
}

static struct stem_part *stem_find(struct stems *s, const struct stem_part *up,
                                   const struct piece *k) {
    for (int32_t i = 0; i < s->n_parts; i++)
        if (is_same(&s->parts[i], up, k)) return &s->parts[i];
    return NULL;
}

/* ---- freeing ---- */

static void free_part(struct stems *s, struct stem_part *p) {
    must(p->users == 0 && p->kids == 0 && p->bucket < 0);
    kv_range_give(s->kv, p->slot, p->len);
    s->counts.evicted += !p->up && p->done == p->len;
    if (p->up) p->up->kids--;
    p->len = 0;
    p->feat = -1;
}

/* Slots of an owner's parts that nobody uses. */
static int32_t unused_of(const struct stems *s, uint64_t owner) {
    int32_t n = 0;
    for (int32_t i = 0; i < s->n_parts; i++)
        if (s->parts[i].owner == owner && s->parts[i].users == 0) n += s->parts[i].len;
    return n;
}

static int is_evictable(const struct stem_part *p) {
    return p->len > 0 && p->users == 0 && p->kids == 0;
}

static int is_unused_first(const struct stem_part *p) {
    return p->len > 0 && !p->up && p->users == 0;
}

/* Of the parts that `may` go, the least recently used one of the owner who has most that is unused:
 * so an owner with much in the cache pushes out its own. NULL: there is none. *n: how many may. */
static struct stem_part *stem_victim(const struct stems *s, int (*may)(const struct stem_part *p),
                                     int32_t *n) {
    struct stem_part *victim = NULL;
    int32_t most = 0;
    *n = 0;
    for (int32_t i = 0; i < s->n_parts; i++) {
        struct stem_part *p = &s->parts[i];
        if (!may(p)) continue;
        ++*n;
        int is_other = !victim || p->owner != victim->owner;
        int32_t unused = is_other ? unused_of(s, p->owner) : most;
        if (unused < most || (unused == most && victim && p->used_at > victim->used_at)) continue;
        most = unused;
        victim = p;
    }
    return victim;
}

/* 0: there is nothing to evict. */
static int evict(struct stems *s) {
    int32_t n;
    struct stem_part *p = stem_victim(s, is_evictable, &n);
    if (!p) return 0;
    free_part(s, p);
    return 1;
}

/* A first part that nobody uses, and all below it. */
static void free_below(struct stems *s, struct stem_part *first) {
    while (first->kids > 0) {
        struct stem_part *p = first;
        for (int32_t i = 0; i < s->n_parts && p->kids > 0; i++) {
            if (s->parts[i].len == 0 || s->parts[i].up != p) continue;
            p = &s->parts[i];
            i = -1;
        }
        free_part(s, p);
    }
    free_part(s, first);
}

/* Keep no more than cached_max first parts that nobody uses. */
static void trim(struct stems *s) {
    for (;;) {
        int32_t unused;
        struct stem_part *p = stem_victim(s, is_unused_first, &unused);
        if (unused <= s->cached_max) return;
        free_below(s, p);
    }
}

/* ---- taking ---- */

static struct stem_part *free_entry(struct stems *s) {
    for (;;) {
        for (int32_t i = 0; i < s->n_parts; i++)
            if (s->parts[i].len == 0) return &s->parts[i];
        if (!evict(s)) return NULL;
    }
}

static struct stem_part *new_part(struct stems *s, struct stem_part *up, const struct piece *k,
                                  int32_t image_tokens) {
    struct stem_part *p = free_entry(s);
    if (!p) return NULL;
    int32_t slot;
    while (!kv_range_take(s->kv, k->len, &slot))
        if (!evict(s)) return NULL;
    memcpy(p->model, k->model, strlen(k->model) + 1);
    p->owner = k->owner;
    p->up = up;
    p->slot = slot;
    p->len = k->len;
    p->start = up ? up->start + up->len : 0;
    p->done = p->planned = p->users = p->kids = 0;
    p->feat = p->bucket = -1;
    p->image_tokens = k->digest[0] ? image_tokens : 0;
    p->n_ids = k->n;
    memcpy(p->ids, k->ids, (size_t)k->n * sizeof k->ids[0]);
    memcpy(p->digest, k->digest, strlen(k->digest) + 1);
    if (up) up->kids++;
    return p;
}

/* Find or make a part and pin it. */
static struct stem_part *pin(struct stems *s, struct stem_part *up, const struct piece *k,
                             int32_t image_tokens, int *found) {
    struct stem_part *p = stem_find(s, up, k);
    *found = p != NULL;
    if (!p) p = new_part(s, up, k, image_tokens);
    if (!p) return NULL;
    p->users++;
    p->used_at = ++s->tick;
    return p;
}

static void unpin(struct stems *s, struct stem_part *p) {
    must(p->users > 0);
    p->users--;
    p->used_at = ++s->tick;
    if (p->users == 0 && p->done < p->len) free_part(s, p);
}

static void unpin_chain(struct stems *s, struct stem_part *last) {
    for (struct stem_part *p = last, *up; p; p = up) {
        up = p->up;
        unpin(s, p);
    }
}

/* No room below `last`. Give the chain back. 1: a cached part that it reused is gone now, too, so
 * that another try may find room. */
static int stem_give_up(struct stems *s, struct stem_part *last) {
    struct stem_part *reused = NULL;
    for (struct stem_part *p = last; p && !reused; p = p->up)
        if (p->users == 1 && p->done == p->len) reused = p;
    unpin_chain(s, last);
    if (!reused || reused->kids > 0) return 0;
    free_part(s, reused);
    return 1;
}

struct stem_part *stem_take(struct stems *s, const struct stem_key *key, int32_t *cached) {
    must(stem_is_legal(key));
    for (;;) {
        struct stem_part *last = NULL;
        struct piece k;
        int32_t at = 0, picture = 0, rows = 0;
        int found, hit = 0, is_whole = 1;
        while (is_whole && next_piece(s, key, &at, &picture, &k)) {
            must(strlen(k.digest) < STEM_DIGEST && strlen(k.model) < STEM_DIGEST);
            struct stem_part *p = pin(s, last, &k, key->image_tokens, &found);
            is_whole = p != NULL;
            if (!p) break;
            if (!last) hit = found;
            rows += p->done;
            last = p;
        }
        if (is_whole) {
            *cached = rows;
            s->counts.hits += (uint64_t)hit;
            s->counts.misses += (uint64_t)!hit;
            return last;
        }
        if (!last || !stem_give_up(s, last)) return NULL;
    }
}

void stem_give(struct stems *s, struct stem_part *last) {
    unpin_chain(s, last);
    trim(s);
}

/* ---- filling ---- */

int32_t stem_chain(struct stem_part *last, struct stem_part *parts[STEM_PARTS]) {
    int32_t n = 0;
    for (struct stem_part *p = last; p; p = p->up)
        n++;
    must(n <= STEM_PARTS);
    int32_t i = n;
    for (struct stem_part *p = last; p; p = p->up)
        parts[--i] = p;
    return n;
}

struct stem_part *stem_next(struct stem_part *last) {
    struct stem_part *first = NULL;
    for (struct stem_part *p = last; p; p = p->up)
        if (p->planned < p->len) first = p;
    return first;
}

int stem_is_ready(const struct stem_part *p) { return p->image_tokens == 0 || p->feat >= 0; }

struct stem_part *stem_next_picture(struct stem_part *last) {
    struct stem_part *first = NULL;
    for (struct stem_part *p = last; p; p = p->up)
        if (p->planned < p->len && !stem_is_ready(p)) first = p;
    return first;
}

int32_t stem_chunk(const struct stem_part *p) {
    int32_t left = p->len - p->planned;
    return left < STEM_CHUNK ? left : STEM_CHUNK;
}

int32_t stem_src(const struct stem_part *p, int32_t i) {
    int32_t before = p->len - p->image_tokens; /* a picture ends its part */
    if (i < before) return p->ids[i];
    must(p->feat >= 0);
    return ~(p->feat * p->image_tokens + i - before);
}

void stem_settle(struct stem_part *p) {
    p->done = p->planned;
    if (p->done == p->len) p->feat = -1;
}

int stem_holds_feat(const struct stems *s, int32_t feat) {
    for (int32_t i = 0; i < s->n_parts; i++)
        if (s->parts[i].len > 0 && s->parts[i].feat == feat) return 1;
    return 0;
}

int32_t stem_cached_slots(const struct stems *s) {
    int32_t n = 0;
    for (int32_t i = 0; i < s->n_parts; i++)
        if (s->parts[i].users == 0) n += s->parts[i].len;
    return n;
}
