/* str.h - small words for texts. Thread: any. */
#ifndef KERNELS_BASE_STR_H
#define KERNELS_BASE_STR_H

#include <string.h>

static inline int has_suffix(const char *s, const char *end) {
    size_t n = strlen(s), k = strlen(end);
    return n >= k && memcmp(s + n - k, end, k) == 0;
}

#endif
