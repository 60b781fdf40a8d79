/* tensor.h - pieces of a tensor whose elements may lie apart. Thread: any. */
#ifndef ENGINE_IMPORT_TENSOR_H
#define ENGINE_IMPORT_TENSOR_H

#include "engine/files/safetensors.h"

/* Bytes at .. at+n-1 of the tensor as if it were row-major. `stride` (ndim) in elements; NULL: it
 * is. at and n are multiples of an element's size. */
void tensor_read(const struct st_tensor *t, const int64_t *stride, size_t at, void *to, size_t n);

#endif
