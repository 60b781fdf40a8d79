/* jsonscan.h - a cheap look at JSON text before a parser spends memory on it.
 *
 * A parser pays up to a hundred bytes for two bytes of `[]`, and recurses for each bracket. One
 * pass over the bytes, without memory, bounds both. It does not validate: that is the parser's
 * work. Thread: any.
 */
#ifndef KERNELS_BASE_JSONSCAN_H
#define KERNELS_BASE_JSONSCAN_H

#include <stddef.h>

#include "kernels/base/err.h"

/* E_TOO_BIG when brackets nest deeper than `depth` or more than `marks` of `{ [ , :` stand outside
 * of strings. */
int jsonscan_bound(const char *text, size_t len, size_t depth, size_t marks, struct err *e);

#endif
