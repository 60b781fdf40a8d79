/* hex.h - bytes as text: two small digits each. Thread: any. */
#ifndef KERNELS_BASE_HEX_H
#define KERNELS_BASE_HEX_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* `to` takes 2 * n digits and a NUL. */
void hex_write(const void *bytes, size_t n, char *to);

#ifdef __cplusplus
}
#endif
#endif
