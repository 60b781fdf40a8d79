/* prefetch.h - samples drawn on a thread of their own, a few ahead of the step that learns them.
 *
 *     prefetch_open(sampler, &(struct prefetch_range){.step = 100, .item = 0, .n = 4}, 8, &p);
 *     for each step: for each of its n items:
 *         rc = prefetch_next(p, &d, e);      // waits
 *         ... train_add(t, rc ? NULL : &d->sample, ...)
 *     prefetch_close(p);
 *
 * Samples come in order: items item .. item + n - 1 of step, then of step + 1, for ever. So a rank
 * names its own share. At most `ahead` samples wait. Thread: open, next and close of one owner.
 */
#ifndef DATA_PREFETCH_H
#define DATA_PREFETCH_H

#include "data/sampler.h"

enum { PREFETCH_AHEAD_MAX = 64 };

struct prefetch_range {
    uint64_t step;    /* the first */
    uint32_t item, n; /* of each step */
};
struct prefetch;
/* The sampler is borrowed until prefetch_close. `ahead`: 1 .. PREFETCH_AHEAD_MAX. E_INVALID,
 * E_NOMEM (no thread). */
int prefetch_open(const struct sampler *s, const struct prefetch_range *r, unsigned ahead,
                  struct prefetch **out, struct err *e);
/* The next sample, valid until the next call. Errors are those of sampler_draw for that sample; the
 * one behind it comes with the next call. */
int prefetch_next(struct prefetch *p, const struct sampler_draw **out, struct err *e);
void prefetch_close(struct prefetch *p); /* waits for the sample at hand; NULL is legal */

#endif
