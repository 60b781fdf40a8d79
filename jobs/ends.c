/* ends.c - a run ended without a word: how often may that be?
 *
 *     its own crash (it exited, SIGSEGV, SIGABRT ...)      CRASHES in a row
 *     SIGKILL, and memory ran out meanwhile                the same
 *     SIGKILL, SIGTERM, SIGHUP, SIGINT from outside        KILLS in a row
 *     another daemon's child, or on another machine        the same: its status isn't known
 *
 * In a row: without a new checkpoint. A job that always crashes at the same step would crash there
 * again, so it is given up soon. One that somebody kills is healthy, so it is given up only when
 * hardly anything else can be meant; and each start waits longer than the one before it. Both are
 * counted in the job's row: `attempts` has all ends in a row, `crashes` those that were its own.
 */
#include <signal.h>

#include "jobs/state.h"
#include "kernels/base/clock.h"

enum { CRASHES = 3, KILLS = 30, PAUSE_MAX_S = 60 };

static int is_from_outside(int signal) {
    return signal == SIGKILL || signal == SIGTERM || signal == SIGHUP || signal == SIGINT;
}

enum end_kind end_kind_of(const struct run_end *end) {
    int may_be_memory = !end->is_seen || end->signal == SIGKILL;
    if (may_be_memory && end->is_memory) return END_MEMORY;
    return !end->is_seen || is_from_outside(end->signal) ? END_OUTSIDE : END_CRASH;
}

void end_count(struct store_job *job, enum end_kind kind, int is_one) {
    if (job->saved > job->begun) {
        job->job.attempts = job->crashes = 0;
        return;
    }
    job->job.attempts += is_one;
    job->crashes += is_one && kind != END_OUTSIDE;
}

static int end_kills(const struct store_job *job) { return job->job.attempts - job->crashes; }

int end_is_last(const struct store_job *job) {
    return job->crashes >= CRASHES || end_kills(job) >= KILLS;
}

uint64_t end_pause_ns(const struct store_job *job, enum end_kind kind) {
    uint64_t s = (uint64_t)job->crashes;
    if (kind == END_OUTSIDE) {
        s = end_kills(job) > 0;
        for (int i = 1; i < end_kills(job) && s < PAUSE_MAX_S; i++)
            s *= 2;
    }
    return (s < PAUSE_MAX_S ? s : PAUSE_MAX_S) * CLOCK_S;
}
