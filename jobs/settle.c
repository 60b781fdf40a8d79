/* settle.c - a run has ended: what became of it?
 *
 * Known is what the run said last (its events), what was wanted, and what lies in its folder. Its
 * exit status is known of our own children alone, so it decides one thing only: how soon a run that
 * said nothing is given up (ends.c).
 *
 *     it was to be cancelled                      cancelled
 *     it said `end`                               succeeded: the adapter moves to its place
 *     it said `stop`, or was to be paused         paused, or queued again
 *     it failed and the disk is full              paused, no_space
 *     it said `failed`                            failed, with a code
 *     it said nothing                             queued again, from its last checkpoint; or, after
 *                                                 too many ends without a new one, failed:
 *                                                 `too_big` if memory ran out, else `crashed`
 *
 * All of it can be done again when the transaction around it failed.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jobs/disk.h"
#include "jobs/state.h"
#include "kernels/base/clock.h"

static const uint64_t space_least = UINT64_C(8) << 20;

int settle_as(struct jobs *j, struct store_job *job, enum jobs_state state, const char *code,
              const char *param, const char *text, struct err *e) {
    struct jobs_job *of = &job->job;
    of->state = state;
    of->phase[0] = '\0';
    of->want = state == JOBS_PAUSED ? JOBS_PAUSE : of->want;
    if (jobs_is_over(state)) of->finished = jobs_now();
    snprintf(of->error_code, sizeof(of->error_code), "%s", code);
    snprintf(of->error_param, sizeof(of->error_param), "%s", param);
    snprintf(of->error, sizeof(of->error), "%s", text);
    return keeper_say(j, job, state == JOBS_FAILED ? "error" : "info", e, "The job is %s%s%s%s%s",
                      jobs_state_words[state], *code ? ": " : "", code, *text ? ": " : "", text);
}

/* ---- the result ---- */

static int settle_is_there(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* runs/ID/adapter -> adapters/NAME, with the gate's figures in it. E_NOT_FOUND: there is none. */
static int move_adapter(struct jobs *j, const struct jobs_job *of, const char *name,
                        struct err *e) {
    char from[JOBS_PATH_MAX], to[JOBS_PATH_MAX];
    jobs_run_path(j, of->id, "gate.json", from);
    jobs_run_path(j, of->id, "adapter/gate.json", to);
    int rc = disk_move(from, to, e);
    if (rc && rc != E_NOT_FOUND) return rc;
    jobs_run_path(j, of->id, "adapter", from);
    jobs_path(j, "adapters", name, to);
    rc = disk_move(from, to, e);
    return rc == E_NOT_FOUND && settle_is_there(to) ? 0 : rc;
}

static int succeed(struct jobs *j, struct store_job *job, int *is_done, struct err *e) {
    struct jobs_job *of = &job->job;
    char name[JOBS_NAME_BYTES + JOBS_SUFFIX_MAX + JOBS_ID_BYTES + 8];
    int n = snprintf(name, sizeof(name), "ft:%s:%s:%s", of->base, of->suffix, of->id);
    must(n < JOBS_NAME_BYTES); /* or the suffix was refused */
    int rc = move_adapter(j, of, name, e);
    if (rc == E_NOT_FOUND)
        return settle_as(j, job, JOBS_FAILED, "internal", "",
                         "the run ended well, but left no adapter", e);
    if (rc) return rc;
    memcpy(of->name, name, (size_t)n + 1);
    of->want = JOBS_RUN;
    rc = keeper_say(j, job, "info", e, "New fine-tuned model created: %s", name);
    *is_done = rc == 0;
    return rc ? rc : settle_as(j, job, JOBS_SUCCEEDED, "", "", "", e);
}

/* ---- what went wrong ---- */

static int is_disk_full(struct jobs *j, const struct store_job *job) {
    struct jobs_checkpoint kept[JOBS_CHECKPOINTS_MAX];
    int n = 0;
    uint64_t most = 0, have = disk_free(j->dir);
    if (strstr(job->reason, strerror(ENOSPC)) || strstr(job->reason, strerror(EDQUOT)) ||
        strstr(job->reason, "there is room for"))
        return 1;
    (void)checkpoints_find(j, job->job.id, kept, &n, NULL);
    for (int i = 0; i < n; i++)
        most = kept[i].bytes > most ? kept[i].bytes : most;
    return have < space_least || have / 3 < most;
}

/* The word of a client for the word of a run. */
static const char *failure_code(const struct store_job *job) {
    if (strstr(job->reason, "diverged: ")) return "diverged";
    if (strcmp(job->failure, "no_memory") == 0) return "too_big";
    if (strcmp(job->failure, "format") == 0 || strcmp(job->failure, "invalid") == 0 ||
        strcmp(job->failure, "not_found") == 0 || strcmp(job->failure, "too_big") == 0)
        return "bad_data";
    return *job->failure ? job->failure : "internal";
}

static int queue_again(struct jobs *j, struct store_job *job, const char *why, struct err *e) {
    struct jobs_job *of = &job->job;
    of->state = JOBS_QUEUED;
    of->phase[0] = '\0';
    of->step = job->saved;
    return keeper_say(j, job, "warn", e, "%s; it goes on from step %lld", why,
                      (long long)job->saved);
}

/* By end_kind. */
static const struct {
    const char *why; /* it is queued again */
    const char *code, *text;
} silent_ends[] = {
    {"The run crashed", "crashed",
     "the run crashed three times without coming further; its log says more"},
    {"The kernel ended the run because memory ran out", "too_big",
     "the kernel ended the run because memory ran out; it came no further three times in a row"},
    {"The run was killed", "crashed",
     "the run was killed again and again without coming further, by somebody or something outside"},
};

/* It ended without a word. What never said that it began, and may not have begun, doesn't count. */
static int end_silently(struct jobs *j, const struct run *r, struct store_job *job, struct err *e) {
    enum end_kind kind = end_kind_of(&r->end);
    end_count(job, kind, r->is_ours || job->last[0]);
    if (end_is_last(job))
        return settle_as(j, job, JOBS_FAILED, silent_ends[kind].code, "", silent_ends[kind].text,
                         e);
    j->not_before_ns = clock_ns() + end_pause_ns(job, kind);
    pthread_mutex_lock(&j->mu);
    j->stats.restarts++;
    pthread_mutex_unlock(&j->mu);
    return queue_again(j, job, silent_ends[kind].why, e);
}

static int settle_end(struct jobs *j, const struct run *r, struct store_job *job, int *is_done,
                      struct err *e) {
    enum jobs_want want = job->job.want;
    if (want == JOBS_CANCEL) return settle_as(j, job, JOBS_CANCELLED, "", "", "", e);
    if (strcmp(job->last, "end") == 0) return succeed(j, job, is_done, e);
    int is_stopped = strcmp(job->last, "stop") == 0, has_failed = strcmp(job->last, "failed") == 0;
    if (!is_stopped && is_disk_full(j, job))
        return settle_as(j, job, JOBS_PAUSED, "no_space", "",
                         "the disk is full; resume the job when there is room again", e);
    if (has_failed)
        return settle_as(j, job, JOBS_FAILED, failure_code(job),
                         strcmp(failure_code(job), "bad_data") == 0 ? "training_file" : "",
                         job->reason, e);
    job->job.step = job->saved;
    if (is_stopped) end_count(job, END_OUTSIDE, 0);
    if (want == JOBS_PAUSE) return settle_as(j, job, JOBS_PAUSED, "", "", "", e);
    if (is_stopped) return queue_again(j, job, "The run was stopped", e);
    return end_silently(j, r, job, e);
}

int settle(struct jobs *j, const struct run *r, struct store_job *job, int *is_done,
           struct err *e) {
    *is_done = 0;
    int rc = settle_end(j, r, job, is_done, e);
    return rc ? rc : store_job_save(j->writer, job, e);
}
