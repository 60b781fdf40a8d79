/* blocks.h - memory with an owner: blocks that are counted and are freed with it at the latest.
 *
 * What a host backend's device memory is made of. Thread: the owner's.
 */
#ifndef KERNELS_BASE_BLOCKS_H
#define KERNELS_BASE_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct block;
/* All zero: empty. */
struct blocks {
    struct block *first;
    uint64_t live_bytes, peak_bytes;
    uint64_t most_bytes;  /* that may be live; 0: no limit of ours */
    uint64_t allocations; /* blocks ever taken */
};

void *blocks_take(struct blocks *b, size_t bytes); /* zeroed, 64-byte aligned; NULL: no room */
void blocks_give(struct blocks *b, void *p);       /* NULL is legal */
void blocks_clear(struct blocks *b);               /* frees what is left */

#ifdef __cplusplus
}
#endif
#endif
