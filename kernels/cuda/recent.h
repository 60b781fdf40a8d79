/* recent.h - a few keys, of which the one that was not used for longest makes room for the next.
 * Host logic alone, apart so that it can be tested without a device. C11 and C++. */
#ifndef KERNELS_CUDA_RECENT_H
#define KERNELS_CUDA_RECENT_H

#include <stdint.h>

enum { RECENT_MOST = 64 };

/* All zeros but for `places`: nothing is there yet. */
struct recent {
    int places; /* at most RECENT_MOST */
    uint64_t now;
    uint64_t key[RECENT_MOST], used[RECENT_MOST]; /* used: `now` at its last use; 0: free */
};

/* The place of a key, which counts as a use of it; -1: it is not there. */
static inline int recent_find(struct recent *r, uint64_t key) {
    for (int i = 0; i < r->places; i++)
        if (r->used[i] && r->key[i] == key) {
            r->used[i] = ++r->now;
            return i;
        }
    return -1;
}

/* The place of a key that was not there: a free one, or that of the key which has to go. */
static inline int recent_put(struct recent *r, uint64_t key) {
    int oldest = 0;
    for (int i = 1; i < r->places; i++)
        if (r->used[i] < r->used[oldest]) oldest = i;
    r->key[oldest] = key;
    r->used[oldest] = ++r->now;
    return oldest;
}

#endif
