/* test_runs.c - which of the runs is quoted. */
#include "cli/runs.h"

#include "kernels/base/mem.h"
#include "tests/check.h"

TEST(runs_parts) {
    struct runs *r = mem_must(sizeof(*r));
    CHECK_NEAR(runs_part(r, 0.5), 0, 0);
    runs_add(r, 7);
    CHECK_NEAR(runs_part(r, 0.99), 7, 0);
    runs_add(r, 1);
    CHECK_NEAR(runs_part(r, 0.5), 4, 1e-12);
    runs_add(r, 3);
    CHECK_NEAR(runs_part(r, 0.5), 3, 0);
    CHECK_NEAR(runs_part(r, 1), 7, 0);
    CHECK_NEAR(runs_part(r, 0.75), 5, 1e-12);
    r->n = 0;
    for (int i = 100; i >= 0; i--)
        runs_add(r, i);
    CHECK_NEAR(runs_part(r, 0.99), 99, 1e-9);
    for (int i = 0; i < 2 * RUNS_MAX; i++)
        runs_add(r, 0);
    CHECK_EQ(r->n, RUNS_MAX);
    mem_free(r);
}
