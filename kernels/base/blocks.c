/* blocks.c - see blocks.h. A block has a header as long as its alignment, which links it to its
 * neighbours. */
#include "kernels/base/blocks.h"

#include "kernels/base/mem.h"

enum { HEADER = 64 };
struct block {
    struct block *before, *after;
    size_t bytes;
    char pad[HEADER - 2 * sizeof(void *) - sizeof(size_t)];
};

void *blocks_take(struct blocks *b, size_t bytes) {
    size_t total;
    if (b->most_bytes && bytes > b->most_bytes - b->live_bytes) return NULL;
    struct block *h = mem_add(bytes, sizeof *h, &total) ? mem_try(total) : NULL;
    if (!h) return NULL;
    h->bytes = bytes;
    h->after = b->first;
    if (b->first) b->first->before = h;
    b->first = h;
    b->allocations++;
    b->live_bytes += bytes;
    if (b->peak_bytes < b->live_bytes) b->peak_bytes = b->live_bytes;
    return h + 1;
}

void blocks_give(struct blocks *b, void *p) {
    if (!p) return;
    struct block *h = (struct block *)p - 1;
    if (h->before)
        h->before->after = h->after;
    else
        b->first = h->after;
    if (h->after) h->after->before = h->before;
    b->live_bytes -= h->bytes;
    mem_free(h);
}

void blocks_clear(struct blocks *b) {
    while (b->first)
        blocks_give(b, b->first + 1);
}
