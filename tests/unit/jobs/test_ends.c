/* test_ends.c - how often a run may end without a word, and how long it waits then. */
#include <signal.h>

#include "jobs/state.h"
#include "kernels/base/clock.h"
#include "tests/check.h"

TEST(ends_are_told_apart) {
    static const struct {
        struct run_end end;
        enum end_kind kind;
    } cases[] = {
        {{.is_seen = 1}, END_CRASH}, /* it exited, or could not be started */
        {{.is_seen = 1, .signal = SIGSEGV}, END_CRASH},
        {{.is_seen = 1, .signal = SIGABRT}, END_CRASH},
        {{.is_seen = 1, .signal = SIGBUS}, END_CRASH},
        {{.is_seen = 1, .signal = SIGXCPU}, END_CRASH},
        {{.is_seen = 1, .signal = SIGKILL}, END_OUTSIDE},
        {{.is_seen = 1, .signal = SIGTERM}, END_OUTSIDE},
        {{.is_seen = 1, .signal = SIGHUP}, END_OUTSIDE},
        {{.is_seen = 1, .signal = SIGINT}, END_OUTSIDE},
        {{.is_seen = 0}, END_OUTSIDE},
        {{.is_seen = 1, .signal = SIGKILL, .is_memory = 1}, END_MEMORY},
        {{.is_seen = 0, .is_memory = 1}, END_MEMORY},
        /* What the kernel ended was something else. */
        {{.is_seen = 1, .is_memory = 1}, END_CRASH},
        {{.is_seen = 1, .signal = SIGSEGV, .is_memory = 1}, END_CRASH},
        {{.is_seen = 1, .signal = SIGTERM, .is_memory = 1}, END_OUTSIDE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CHECK_EQ(end_kind_of(&cases[i].end), cases[i].kind);
}

/* How many ends in a row it takes until the last one. */
static int until_last(enum end_kind kind) {
    struct store_job job = {.saved = 7, .begun = 7};
    int n = 0;
    while (!end_is_last(&job)) {
        end_count(&job, kind, 1);
        CHECK_EQ(job.job.attempts, ++n);
    }
    return n;
}

TEST(ends_are_counted) {
    CHECK_EQ(until_last(END_CRASH), 3);
    CHECK_EQ(until_last(END_MEMORY), 3);
    CHECK_EQ(until_last(END_OUTSIDE), 30);
    struct store_job job = {.saved = 7, .begun = 7};
    end_count(&job, END_CRASH, 1);
    end_count(&job, END_CRASH, 1);
    for (int i = 0; i < 29; i++)
        end_count(&job, END_OUTSIDE, 1); /* they don't add up */
    CHECK(!end_is_last(&job));
    end_count(&job, END_CRASH, 0);
    CHECK(!end_is_last(&job));
    job.saved = 8; /* it came further */
    end_count(&job, END_CRASH, 1);
    CHECK_EQ(job.job.attempts, 0);
    CHECK_EQ(job.crashes, 0);
}

TEST(ends_make_starts_wait) {
    static const uint64_t kills_s[] = {1, 2, 4, 8, 16, 32, 60, 60};
    struct store_job job = {.saved = 0};
    CHECK_EQ(end_pause_ns(&job, END_OUTSIDE), 0);
    for (size_t i = 0; i < ARRAY_LEN(kills_s); i++) {
        end_count(&job, END_OUTSIDE, 1);
        CHECK_EQ(end_pause_ns(&job, END_OUTSIDE), kills_s[i] * CLOCK_S);
    }
    CHECK_EQ(end_pause_ns(&job, END_CRASH), 0);
    end_count(&job, END_CRASH, 1);
    CHECK_EQ(end_pause_ns(&job, END_CRASH), 1 * CLOCK_S);
    end_count(&job, END_MEMORY, 1);
    CHECK_EQ(end_pause_ns(&job, END_MEMORY), 2 * CLOCK_S);
}
