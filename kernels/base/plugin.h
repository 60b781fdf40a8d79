/* plugin.h - shared libraries that are opened when they are asked for. Thread: any. */
#ifndef KERNELS_BASE_PLUGIN_H
#define KERNELS_BASE_PLUGIN_H

#include <stddef.h>

#include "kernels/base/err.h"

typedef void plugin_fn(void); /* cast it to what the symbol is */

/* The library `name` in the program's folder, the one above, or ../lib/lammd. 0 when there is none.
 */
int plugin_find(const char *name, char *path, size_t size);
/* Loads it and looks up a function; it stays loaded. E_NOT_FOUND when it can't be loaded,
 * E_UNSUPPORTED when it has no such symbol. */
int plugin_load(const char *path, const char *symbol, plugin_fn **out, struct err *e);

#endif
