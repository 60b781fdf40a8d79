/* want.h - the tensors that a model of these sizes has, in the order of its file: tower, connector,
 * decoder. Thread: any. */
#ifndef ENGINE_IMPORT_WANT_H
#define ENGINE_IMPORT_WANT_H

#include "engine/files/safetensors.h"
#include "engine/model/model.h"

struct want {
    char name[ST_NAME_MAX + 1];
    int ndim;
    int64_t shape[ST_NDIM_MAX]; /* -1: any */
    int is_optional;
};

/* Calls `each` for all of them, until it returns an error. */
int want_each(const struct model_config *c, int (*each)(void *ud, const struct want *w), void *ud);

#endif
