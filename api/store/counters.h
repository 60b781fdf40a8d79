/* counters.h - what this program counts of itself: requests by route and status, how long they
 * took, pictures decoded.
 *
 * Atomics in flat arrays, so that counting takes no lock and no memory. GET /metrics reads them
 * (api/metrics.c). Thread: any.
 */
#ifndef API_STORE_COUNTERS_H
#define API_STORE_COUNTERS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { COUNTERS_ROUTES = 64, COUNTERS_STATUSES = 22, COUNTERS_BOUNDS = 14 };
extern const int counters_status[COUNTERS_STATUSES]; /* the last, 0, stands for any other */
extern const double counters_bound_s[COUNTERS_BOUNDS];

struct histogram {
    atomic_ullong buckets[COUNTERS_BOUNDS + 1]; /* not summed up yet; the last: beyond all */
    atomic_ullong sum_ns;
};

struct counters {
    /* a row for each route, in the order of their table; the last counts what matched none */
    atomic_ullong requests[COUNTERS_ROUTES + 1][COUNTERS_STATUSES];
    struct histogram durations[COUNTERS_ROUTES + 1];
    struct histogram decode;
    atomic_ullong images_refused;
};

struct counters *counters_new(void); /* must-succeed */
void counters_free(struct counters *c);
/* `row` of the route, COUNTERS_ROUTES for none. */
void counters_request(struct counters *c, size_t row, int status, uint64_t duration_ns);
void counters_decode(struct counters *c, uint64_t ns, int is_refused);

#endif
