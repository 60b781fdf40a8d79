/* stem.c - a small table of parts: find, pin, evict.
 *
 * Invariants
 *   1. A user pins its whole chain: users of a picture part >= users of each text below it.
 *   2. Evictable is what has no users and no kids. An unused part is filled (done == len); others
 *      are freed with their last user.
 *   3. done <= planned <= len; between passes done == planned. A text is filled after its picture.
 *   4. The spans that a row sees are the parts of its chain, never joined even where their slots
 *      touch: the list of spans depends on the prompt alone, not on the cache.
 *
 * Taking a chain may need evictions, and what is evicted is gone even when there still is no room in
 * the end; the pinned parts decide that, and they go when their jobs do.
 * If reuse itself is in the way (a cached picture part in the middle of the region leaves no gap
 * for the text), the unused picture part is given up and the chain starts cold: so a chain that
 * fits an empty region is always served when nothing is pinned.
 * The table is scanned: it has some hundred places at most and is asked once per job.
 * Thread: step.
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

int32_t stem_len(const struct stem_key *key) { return key->n_ids - 1 + key->image_tokens; }

/* ---- finding ---- */

static int is_same(const struct stem_part *p, const struct stem_part *up, const char *digest,
                   const int32_t *ids, int32_t n) {
    return p->len > 0 && p->up == up && p->n_ids == n &&
           memcmp(p->ids, ids, (size_t)n * sizeof ids[0]) == 0 && strcmp(p->digest, digest) == 0;
}

static struct stem_part *find(struct stems *s, const struct stem_part *up, const char *digest,
                              const int32_t *ids, int32_t n) {
    for (int32_t i = 0; i < s->n_parts; i++)
        if (is_same(&s->parts[i], up, digest, ids, n)) return &s->parts[i];
    return NULL;
}

/* ---- freeing ---- */

static void free_part(struct stems *s, struct stem_part *p) {
    must(p->users == 0 && p->kids == 0 && p->bucket < 0);
    kv_run_give(s->kv, p->slot, p->len);
    s->counts.evicted += !p->up && p->done == p->len;
    if (p->up) p->up->kids--;
    p->len = 0;
    p->feat = -1;
}

/* Frees the evictable part that was used least recently. 0: there is none. */
static int evict(struct stems *s) {
    struct stem_part *oldest = NULL;
    for (int32_t i = 0; i < s->n_parts; i++) {
        struct stem_part *p = &s->parts[i];
        if (p->len == 0 || p->users > 0 || p->kids > 0) continue;
        if (!oldest || p->used_at < oldest->used_at) oldest = p;
    }
    if (!oldest) return 0;
    free_part(s, oldest);
    return 1;
}

/* Keep no more than cached_max picture parts that nobody uses. */
static void trim(struct stems *s) {
    for (;;) {
        int32_t unused = 0;
        struct stem_part *oldest = NULL;
        for (int32_t i = 0; i < s->n_parts; i++) {
            struct stem_part *p = &s->parts[i];
            if (p->len == 0 || p->up || p->users > 0) continue;
            unused++;
            if (!oldest || p->used_at < oldest->used_at) oldest = p;
        }
        if (unused <= s->cached_max) return;
        for (int32_t i = 0; i < s->n_parts; i++)
            if (s->parts[i].len > 0 && s->parts[i].up == oldest) free_part(s, &s->parts[i]);
        free_part(s, oldest);
    }
}

/* ---- taking ---- */

static struct stem_part *place(struct stems *s) {
    for (;;) {
        for (int32_t i = 0; i < s->n_parts; i++)
            if (s->parts[i].len == 0) return &s->parts[i];
        if (!evict(s)) return NULL;
    }
}

static struct stem_part *new_part(struct stems *s, struct stem_part *up, const char *digest,
                                  const int32_t *ids, int32_t n, int32_t len) {
    struct stem_part *p = place(s);
    if (!p) return NULL;
    int32_t slot;
    while (!kv_run_take(s->kv, len, &slot))
        if (!evict(s)) return NULL;
    *p = (struct stem_part){.up = up, .slot = slot, .len = len, .feat = -1, .bucket = -1};
    p->start = up ? up->len : 0;
    p->n_ids = n;
    memcpy(p->ids, ids, (size_t)n * sizeof ids[0]);
    memcpy(p->digest, digest, strlen(digest) + 1);
    if (up) up->kids++;
    return p;
}

/* Find or make a part and pin it. */
static struct stem_part *pin(struct stems *s, struct stem_part *up, const char *digest,
                             const int32_t *ids, int32_t n, int32_t len, int *found) {
    struct stem_part *p = find(s, up, digest, ids, n);
    *found = p != NULL;
    if (!p) p = new_part(s, up, digest, ids, n, len);
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

struct stem_part *stem_take(struct stems *s, const struct stem_key *key, int32_t *cached) {
    int32_t n_picture = key->picture_at + 1, n_text = key->n_ids - n_picture;
    must(n_text > 0 && n_picture <= STEM_IDS_MAX && n_text <= STEM_IDS_MAX);
    must(strlen(key->digest) < STEM_DIGEST);
    int32_t len = key->picture_at + key->image_tokens;
    for (;;) {
        int hit, found;
        struct stem_part *picture = pin(s, NULL, key->digest, key->ids, n_picture, len, &hit);
        if (!picture) return NULL;
        struct stem_part *text =
            pin(s, picture, key->digest, key->ids + n_picture, n_text, n_text, &found);
        if (text) {
            *cached = picture->done + text->done;
            s->counts.hits += (uint64_t)hit;
            s->counts.misses += (uint64_t)!hit;
            return text;
        }
        int is_in_the_way = picture->users == 1 && picture->done == picture->len;
        unpin(s, picture); /* freed at once when it is new */
        if (!is_in_the_way) return NULL;
        free_part(s, picture);
    }
}

void stem_give(struct stems *s, struct stem_part *text) {
    struct stem_part *picture = text->up;
    unpin(s, text);
    unpin(s, picture);
    trim(s);
}

/* ---- filling ---- */

struct stem_part *stem_next(struct stem_part *text) {
    if (text->up && text->up->planned < text->up->len) return text->up;
    return text->planned < text->len ? text : NULL;
}

int32_t stem_chunk(const struct stem_part *p) {
    int32_t left = p->len - p->planned;
    return left < STEM_CHUNK ? left : STEM_CHUNK;
}

int32_t stem_src(const struct stem_part *p, int32_t i, int32_t image_tokens) {
    int32_t before = p->n_ids - 1; /* a picture part ends with its picture */
    if (p->up || i < before) return p->ids[i];
    must(p->feat >= 0);
    return ~(p->feat * image_tokens + i - before);
}

void stem_settle(struct stem_part *p) {
    p->done = p->planned;
    if (p->done == p->len) p->feat = -1;
}

int32_t stem_feat_place(const struct stems *s, int32_t n) {
    for (int32_t feat = 0; feat < n; feat++) {
        int is_free = 1;
        for (int32_t i = 0; i < s->n_parts; i++)
            if (s->parts[i].len > 0 && s->parts[i].feat == feat) is_free = 0;
        if (is_free) return feat;
    }
    return -1;
}

int32_t stem_cached_slots(const struct stems *s) {
    int32_t n = 0;
    for (int32_t i = 0; i < s->n_parts; i++)
        if (s->parts[i].users == 0) n += s->parts[i].len;
    return n;
}
