/* shelf.c - see shelf.h. Items lie side by side, the last one moves into a gap. */
#include "api/store/shelf.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

struct shelf {
    pthread_mutex_t mu; /* guards all below */
    char *items;        /* (n) of item_bytes */
    size_t item_bytes;
    int n, max;
    uint64_t ttl_ns;
    void (*drop)(void *item);
};

struct shelf *shelf_new(int max, unsigned ttl_s, size_t item_bytes, void (*drop)(void *item)) {
    struct shelf *s = mem_must(sizeof(*s));
    pthread_mutex_init(&s->mu, NULL);
    s->items = mem_must((size_t)max * item_bytes);
    s->item_bytes = item_bytes;
    s->max = max;
    s->ttl_ns = (uint64_t)ttl_s * 1000000000u;
    s->drop = drop;
    return s;
}

static void *shelf_at(struct shelf *s, int i) { return s->items + (size_t)i * s->item_bytes; }

void shelf_remove(struct shelf *s, void *item) {
    s->drop(item);
    void *last = shelf_at(s, --s->n);
    if (item != last) memcpy(item, last, s->item_bytes);
}

void shelf_free(struct shelf *s) {
    if (!s) return;
    while (s->n)
        shelf_remove(s, shelf_at(s, s->n - 1));
    mem_free(s->items);
    pthread_mutex_destroy(&s->mu);
    mem_free(s);
}

void shelf_lock(struct shelf *s) { pthread_mutex_lock(&s->mu); }

void shelf_unlock(struct shelf *s) { pthread_mutex_unlock(&s->mu); }

static void drop_expired(struct shelf *s) {
    uint64_t now = clock_ns();
    for (int i = s->n - 1; i >= 0; i--) {
        const struct shelf_item *item = shelf_at(s, i);
        if (!item->is_held && now - item->used_ns > s->ttl_ns) shelf_remove(s, shelf_at(s, i));
    }
}

void *shelf_find(struct shelf *s, uint64_t owner, const char *id) {
    drop_expired(s);
    for (int i = 0; i < s->n; i++) {
        struct shelf_item *item = shelf_at(s, i);
        if (item->owner == owner && strcmp(item->id, id) == 0) return item;
    }
    return NULL;
}

void *shelf_oldest(struct shelf *s, uint64_t payer) {
    struct shelf_item *oldest = NULL;
    for (int i = 0; i < s->n; i++) {
        struct shelf_item *item = shelf_at(s, i);
        if (item->payer != payer) continue;
        if (!oldest || item->used_ns < oldest->used_ns) oldest = item;
    }
    return oldest;
}

void *shelf_add(struct shelf *s, uint64_t owner, uint64_t payer, const char *id) {
    drop_expired(s);
    if (s->n == s->max) return NULL;
    struct shelf_item *item = shelf_at(s, s->n++);
    memset(item, 0, s->item_bytes);
    snprintf(item->id, sizeof(item->id), "%s", id);
    item->owner = owner;
    item->payer = payer;
    shelf_use(item);
    return item;
}

void shelf_use(struct shelf_item *item) { item->used_ns = clock_ns(); }

int shelf_count_of(struct shelf *s, uint64_t payer) {
    int n = 0;
    drop_expired(s);
    for (int i = 0; i < s->n; i++)
        n += ((const struct shelf_item *)shelf_at(s, i))->payer == payer;
    return n;
}

int shelf_count(struct shelf *s) {
    drop_expired(s);
    return s->n;
}
