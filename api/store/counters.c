/* counters.c - see counters.h. */
#include "api/store/counters.h"

#include "kernels/base/err.h"
#include "kernels/base/mem.h"

const int counters_status[COUNTERS_STATUSES] = {200, 201, 204, 304, 400, 401, 403, 404,
                                                405, 406, 409, 413, 414, 415, 422, 429,
                                                431, 499, 500, 503, 504, 0};
const double counters_bound_s[COUNTERS_BOUNDS] = {0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                                  0.5,   1,     2.5,  5,     10,   30,  60};

struct counters *counters_new(void) {
    return mem_must(sizeof(struct counters));
}

void counters_free(struct counters *c) { mem_free(c); }

static void observe(struct histogram *h, uint64_t ns) {
    size_t i = 0;
    while (i < COUNTERS_BOUNDS && (double)ns > counters_bound_s[i] * 1e9)
        i++;
    atomic_fetch_add(&h->buckets[i], 1);
    atomic_fetch_add(&h->sum_ns, ns);
}

void counters_request(struct counters *c, size_t row, int status, uint64_t duration_ns) {
    must(row <= COUNTERS_ROUTES);
    size_t s = 0;
    while (counters_status[s] && counters_status[s] != status)
        s++;
    atomic_fetch_add(&c->requests[row][s], 1);
    observe(&c->durations[row], duration_ns);
}

void counters_decode(struct counters *c, uint64_t ns, int is_refused) {
    observe(&c->decode, ns);
    if (is_refused) atomic_fetch_add(&c->images_refused, 1);
}
