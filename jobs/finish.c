/* finish.c - when will a job be over? Thread: any. */
#include <math.h>

#include "jobs/state.h"

/* Seconds that it has still to go once it is its turn; NaN: not known. Needs the reader. */
static double finish_left(struct jobs *j, const struct jobs_job *job) {
    struct store_pace pace = {NAN, NAN};
    int64_t steps = job->steps ? job->steps : job->how.steps, exported;
    (void)store_job_pace(j->reader, job, &pace, NULL);
    if (job->step > 0 && job->seconds > 0) pace.step = job->seconds / (double)job->step;
    if (job->state == JOBS_RUNNING && steps && job->step >= steps) {
        if (store_job_exported(j->reader, job->id, &exported, NULL) || !exported) return NAN;
        double rest = pace.rest - (double)(jobs_now() - exported);
        return rest < 0 ? 0 : rest;
    }
    double left = steps ? pace.step * (double)(steps - job->step) : NAN;
    if (job->state == JOBS_RUNNING && isnan(pace.rest)) return left;
    return left + pace.rest;
}

/* What runs, and what was there before it: all of that comes first. */
static double finish_before(struct jobs *j, const char *id) {
    static const enum jobs_state live[] = {JOBS_RUNNING, JOBS_QUEUED, JOBS_VALIDATING};
    struct store_job own, job;
    double sum = 0;
    if (store_job_get(j->reader, id, &own, NULL)) return NAN;
    for (size_t i = 0; i < ARRAY_LEN(live); i++) {
        job.n = 0;
        while (store_job_next(j->reader, live[i], job.n, &job, NULL) == 0)
            if (job.n != own.n && (live[i] == JOBS_RUNNING || job.n < own.n))
                sum += finish_left(j, &job.job);
    }
    return sum;
}

int64_t jobs_finish(struct jobs *j, const struct jobs_job *job) {
    int is_waiting = job->state == JOBS_VALIDATING || job->state == JOBS_QUEUED;
    if (job->want != JOBS_RUN || (!is_waiting && job->state != JOBS_RUNNING)) return 0;
    if (is_waiting && j->opt.launcher == JOBS_PULL) return 0;
    pthread_mutex_lock(&j->read_mu);
    double left = finish_left(j, job);
    if (is_waiting) left += finish_before(j, job->id);
    pthread_mutex_unlock(&j->read_mu);
    return isfinite(left) ? jobs_now() + (int64_t)left : 0;
}
