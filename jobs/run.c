/* run.c - the life of a run: it begins, is followed, ends.
 *
 * A run is at work as long as its process lives, or somebody holds runs/ID/lock: `lammd train`
 * takes that lock, and the kernel gives it back however the process ends. So:
 *
 *     our child lives                            at work
 *     it has ended, the lock is free             over
 *     it has ended, the lock is held             another one is at work there: it is adopted
 *     a daemon before us started it              adopted, by the lock and the number in it
 *     somebody else claimed it (JOBS_PULL)       at work while the lock is held, wherever that is
 *
 * Pause and cancel are SIGTERM, at which a run writes a checkpoint and ends. It is sent once,
 * because a second one kills. Who can't be sent a signal finds the file runs/ID/stop.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "jobs/disk.h"
#include "jobs/state.h"
#include "kernels/base/cgroup.h"
#include "kernels/base/clock.h"
#include "kernels/base/log.h"

enum { CLOSE_MS = 20000, STEP_MS = 50 };
static const uint64_t kill_ns = 10 * CLOCK_S; /* between SIGTERM and SIGKILL, of a cancel */
static const uint64_t grace_ns = 5 * CLOCK_S; /* of an adopted run that may have had its SIGTERM */
static const uint64_t again_ns = 5 * CLOCK_S; /* behind a start that failed */

static void trouble(struct jobs *j, const char *what, const struct err *e) {
    if (!j->is_in_trouble) log_event(LOG_LEVEL_ERROR, "jobs", "%s: %s", what, e->text);
    j->is_in_trouble = 1;
}

/* What was found out is written; or all of it is found out again. */
static int run_commit(struct jobs *j, int rc, const char *what, struct err *e) {
    if (rc == 0) rc = store_commit(j->writer, e);
    if (rc == 0) {
        j->is_in_trouble = 0;
        return 0;
    }
    store_rollback(j->writer);
    trouble(j, what, e);
    if (rc == E_IO) keeper_make_room(j);
    return rc;
}

/* ---- who is at work ---- */

static struct run *run_of(struct jobs *j, const char *id) {
    for (int i = 0; i < RUNS_MAX; i++)
        if (strcmp(j->runs[i].id, id) == 0) return &j->runs[i];
    return NULL;
}

static struct run *run_take(struct jobs *j, const char *id) {
    struct run *r = run_of(j, "");
    if (!r) return NULL;
    *r = (struct run){.child = {.fd = -1}, .found_ns = clock_ns()};
    snprintf(r->id, sizeof(r->id), "%s", id);
    return r;
}

static void run_drop(struct run *r) {
    runner_forget(&r->child);
    r->id[0] = '\0';
}

static int run_is_locked(struct jobs *j, const char *id, pid_t *pid) {
    char path[JOBS_PATH_MAX];
    struct err e = {0};
    jobs_run_path(j, id, "lock", path);
    int held = runner_lock_is_held(path, pid, &e);
    if (held < 0) trouble(j, "the lock of a run can't be looked at", &e);
    return held != 0; /* who knows? It is asked again */
}

/* The process that holds the lock becomes the run's, if it still holds it then. */
static void run_adopt(struct jobs *j, struct run *r, pid_t pid) {
    pid_t now = 0;
    if (!pid || runner_adopt(pid, &r->child, NULL)) return;
    if (run_is_locked(j, r->id, &now) && now == pid) {
        r->is_ours = 0;
        r->found_ns = clock_ns();
        r->oom_kills = cgroup_oom_kills(NULL, NULL, NULL);
        log_event(LOG_LEVEL_INFO, "job_adopted", "job=%s process=%ld", r->id, (long)pid);
        return;
    }
    runner_forget(&r->child);
}

static int run_is_over(struct jobs *j, struct run *r) {
    int status;
    pid_t pid = 0;
    if (r->is_over) return 1;
    if (r->child.pid && !runner_is_over(&r->child, &status)) return 0;
    if (r->child.pid)
        r->end = (struct run_end){
            .is_seen = r->child.is_mine,
            .signal = r->child.signal,
            .is_memory = r->oom_kills < cgroup_oom_kills(NULL, NULL, NULL),
        };
    runner_forget(&r->child);
    r->is_over = !run_is_locked(j, r->id, &pid);
    if (r->is_over) return 1;
    r->end = (struct run_end){0}; /* another one is at work there */
    if (j->opt.launcher == JOBS_LOCAL) run_adopt(j, r, pid);
    return 0;
}

/* ---- stopping ---- */

/* Makes or removes one of the files that those look at who claimed a run. */
static void run_flag(struct jobs *j, const char *id, const char *name, int is_set) {
    char path[JOBS_PATH_MAX];
    if (j->opt.launcher != JOBS_PULL) return;
    jobs_run_path(j, id, name, path);
    if (!is_set) {
        (void)unlink(path);
        return;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd >= 0) close(fd);
}

static void run_stop(struct jobs *j, struct run *r) {
    if (r->asked_ns) return;
    r->asked_ns = clock_ns();
    run_flag(j, r->id, "stop", 1);
    runner_signal(&r->child, SIGTERM);
}

/* Does what is wanted of it. */
static void run_urge(struct jobs *j, struct run *r, const struct store_job *job) {
    uint64_t now = clock_ns();
    if (job->job.want == JOBS_RUN || r->is_over) return;
    /* A daemon before us may have sent it. */
    int is_early =
        !r->is_ours && r->child.pid && now - r->found_ns < grace_ns && job->job.want == JOBS_PAUSE;
    if (!is_early) run_stop(j, r);
    if (job->job.want != JOBS_CANCEL || r->is_killed || now - r->asked_ns < kill_ns) return;
    r->is_killed = 1;
    runner_signal(&r->child, SIGKILL);
}

/* ---- following ---- */

/* Reads what the run wrote; settles it when it is over. *is_done: it succeeded. */
static int follow(struct jobs *j, struct run *r, struct store_job *job, int *is_done,
                  struct err *e) {
    int is_over = run_is_over(j, r), is_all = 0;
    int rc = store_begin(j->writer, e);
    if (rc == 0) rc = store_job_get(j->writer, r->id, job, e);
    struct store_job before = *job;
    if (rc == 0) rc = tail_read(j, job, &is_all, e);
    while (rc == 0 && is_over && !is_all)
        rc = tail_read(j, job, &is_all, e);
    if (rc == 0 && is_over) rc = settle(j, r, job, is_done, e);
    int is_new = is_over || before.tail_at != job->tail_at;
    if (rc == 0 && !is_over && is_new) rc = store_job_save(j->writer, job, e);
    if (rc == 0 && !is_new) {
        store_rollback(j->writer);
        return 0;
    }
    return run_commit(j, rc, "what a run did can't be noted", e);
}

static void run_follow(struct jobs *j, struct run *r) {
    struct store_job job = {0};
    struct err e = {0};
    int is_done = 0;
    if (follow(j, r, &job, &is_done, &e)) return;
    if (!r->is_over) {
        run_urge(j, r, &job);
        return;
    }
    log_event(LOG_LEVEL_INFO, "job", "job=%s state=%s code=%s step=%lld", r->id,
              jobs_state_words[job.job.state], job.job.error_code, (long long)job.job.step);
    run_flag(j, r->id, "queued", 0);
    checkpoints_drop(j, r->id, job.job.state);
    run_drop(r);
    if (is_done && j->opt.done) j->opt.done(j->opt.ud, job.job.name);
}

/* ---- beginning ---- */

/* From the row on: what the run of before wrote last counts no more. */
static int note_begin(struct jobs *j, struct store_job *job, struct err *e) {
    int is_all = j->opt.launcher == JOBS_PULL; /* what is new there, this run wrote */
    int rc = store_begin(j->writer, e);
    while (rc == 0 && !is_all)
        rc = tail_read(j, job, &is_all, e);
    job->job.state = JOBS_RUNNING;
    if (!job->job.started) job->job.started = jobs_now();
    job->job.phase[0] = job->last[0] = job->failure[0] = job->reason[0] = '\0';
    job->begun = job->saved;
    if (rc == 0) rc = store_job_save(j->writer, job, e);
    keeper_changed(j, job->job.id);
    return run_commit(j, rc, "the start of a run can't be noted", e);
}

static int spawn_run(struct jobs *j, struct run *r, struct err *e) {
    char recipe[JOBS_PATH_MAX], out[JOBS_PATH_MAX], log[JOBS_PATH_MAX];
    jobs_run_path(j, r->id, "job.ini", recipe);
    jobs_run_path(j, r->id, "", out);
    jobs_run_path(j, r->id, "log", log);
    const char *const argv[] = {j->program, "train", recipe, "--out", out, "--idle", NULL};
    const struct runner_start how = {.argv = argv, .log = log};
    return runner_begin(&how, &r->child, e);
}

/* A run that could not be started is followed like any other: it is over, and said nothing. */
static void run_begin(struct jobs *j, struct store_job *job) {
    struct err e = {0};
    struct run *r = run_take(j, job->job.id);
    if (!r) return;
    if (note_begin(j, job, &e)) {
        run_drop(r);
        return;
    }
    r->is_ours = r->end.is_seen = 1;
    r->oom_kills = cgroup_oom_kills(NULL, NULL, NULL);
    if (spawn_run(j, r, &e)) {
        log_event(LOG_LEVEL_ERROR, "jobs", "%s", e.text);
        j->not_before_ns = clock_ns() + again_ns;
        return;
    }
    log_event(LOG_LEVEL_INFO, "job_started", "job=%s process=%ld", r->id, (long)r->child.pid);
}

/* Did somebody write events that were not read? A claimed run may be over before anybody looks. */
static int has_news(struct jobs *j, const struct store_job *job) {
    char path[JOBS_PATH_MAX];
    struct stat st;
    jobs_run_path(j, job->job.id, "events.jsonl", path);
    return stat(path, &st) == 0 && st.st_size > job->tail_at;
}

/* JOBS_PULL: the oldest that are queued may be claimed. Who holds a lock has claimed. */
static void offer_all(struct jobs *j) {
    struct store_job job = {0};
    pid_t pid;
    while (store_job_next(j->writer, JOBS_QUEUED, job.n, &job, NULL) == 0) {
        const char *id = job.job.id;
        struct err e = {0};
        run_flag(j, id, "stop", 0);
        run_flag(j, id, "queued", 1);
        if (!run_is_locked(j, id, &pid) && !has_news(j, &job)) continue;
        struct run *r = run_take(j, id);
        if (!r) return;
        if (note_begin(j, &job, &e)) run_drop(r);
    }
    /* Those that were taken back in the moment when they were claimed. */
    static const enum jobs_state back[] = {JOBS_PAUSED, JOBS_CANCELLED};
    for (size_t i = 0; i < ARRAY_LEN(back); i++)
        for (job.n = 0; store_job_next(j->writer, back[i], job.n, &job, NULL) == 0;) {
            run_flag(j, job.job.id, "queued", 0);
            if (run_is_locked(j, job.job.id, &pid)) run_flag(j, job.job.id, "stop", 1);
        }
}

/* ---- files that are checked by now ---- */

/* 1: both files are good, *pictures of the first; 0: not yet; -1: one is not: settled. */
static int files_are_good(struct jobs *j, struct store_job *job, int64_t *pictures, struct err *e) {
    const char *const ids[] = {job->job.training_file, job->job.validation_file};
    static const char *const params[] = {"training_file", "validation_file"};
    struct buf report;
    for (int i = 0; i < 2; i++) {
        struct jobs_file f;
        if (!*ids[i]) continue;
        if (store_file_get(j->writer, ids[i], &f, e)) return 0;
        if (f.status == JOBS_FILE_UPLOADED) return 0;
        if (f.status == JOBS_FILE_PROCESSED) continue;
        int rc = settle_as(j, job, JOBS_FAILED, "bad_data", params[i],
                           "the file has errors; GET /v1/files/{id} tells them", e);
        return rc ? 0 : -1;
    }
    buf_init(&report, JOBS_REPORT_MAX + 1);
    if (store_file_report(j->writer, ids[0], &report, NULL) == 0 && report.len)
        *pictures = make_count((const char *)report.p, report.len);
    buf_clear(&report);
    return 1;
}

static int admit(struct jobs *j, struct store_job *job, struct err *e) {
    int64_t pictures = 0;
    const char *param = "";
    int good = files_are_good(j, job, &pictures, e);
    if (good == 0) return E_BUSY;
    if (good > 0) {
        int rc = make_folder(j, job, pictures, &job->job.how, &param, e);
        if (rc == E_IO || rc == E_NOMEM) return rc;
        job->job.steps = job->job.how.steps;
        int is_paused = job->job.want == JOBS_PAUSE;
        if (rc)
            rc = settle_as(j, job, JOBS_FAILED, "invalid", param ? param : "", e->text, NULL);
        else
            rc = settle_as(j, job, is_paused ? JOBS_PAUSED : JOBS_QUEUED, "", "", "", e);
        if (rc) return rc;
    }
    return store_job_save(j->writer, job, e);
}

static void admit_all(struct jobs *j) {
    struct store_job job = {0};
    while (store_job_next(j->writer, JOBS_VALIDATING, job.n, &job, NULL) == 0) {
        struct err e = {0};
        int rc = store_begin(j->writer, &e);
        if (rc == 0) rc = admit(j, &job, &e);
        if (rc == E_BUSY)
            store_rollback(j->writer);
        else
            (void)run_commit(j, rc, "a job can't be queued", &e);
    }
}

/* ---- the door of this file ---- */

void run_tick(struct jobs *j) {
    struct store_job job = {0};
    int n = 0;
    admit_all(j);
    for (int i = 0; i < RUNS_MAX; i++)
        if (j->runs[i].id[0]) run_follow(j, &j->runs[i]);
    for (int i = 0; i < RUNS_MAX; i++)
        n += j->runs[i].id[0] != '\0';
    if (j->opt.launcher == JOBS_PULL) {
        offer_all(j);
        return;
    }
    if (n || clock_ns() < j->not_before_ns || keeper_is_closing(j)) return;
    if (store_job_next(j->writer, JOBS_QUEUED, 0, &job, NULL) == 0) run_begin(j, &job);
}

void run_recover(struct jobs *j) {
    struct store_job job = {0};
    while (store_job_next(j->writer, JOBS_RUNNING, job.n, &job, NULL) == 0)
        if (!run_take(j, job.job.id)) return;
}

/* Those that somebody else claimed go on. */
void run_close(struct jobs *j) {
    int n = 1;
    for (int i = 0; i < RUNS_MAX; i++)
        if (j->runs[i].id[0] && j->runs[i].child.pid) run_stop(j, &j->runs[i]);
    for (int ms = 0; n && ms < CLOSE_MS; ms += STEP_MS) {
        const struct timespec nap = {0, STEP_MS * 1000000L};
        n = 0;
        for (int i = 0; i < RUNS_MAX; i++) {
            struct run *r = &j->runs[i];
            if (r->id[0] && (r->child.pid || r->is_over)) run_follow(j, r);
            n += r->id[0] && (r->child.pid || r->is_over);
        }
        if (n) nanosleep(&nap, NULL);
    }
    for (int i = 0; i < RUNS_MAX; i++)
        if (j->runs[i].id[0]) run_drop(&j->runs[i]);
}
