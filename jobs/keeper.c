/* keeper.c - the thread that writes. See state.h.
 *
 *     until it is closing: wait for a note, a fifth of a second at most while something runs
 *         a note: BEGIN, act, COMMIT (or ROLLBACK), then whoever asked is told
 *         look: checks, runs: each in a transaction of its own
 *         watches of what changed are woken
 *
 * 1. Nobody else has the writing connection, so states never race.
 * 2. A note lies on the stack of whoever waits for it. One that was not begun may be taken back;
 *    one that was begun is waited for.
 * 3. What a look finds out is found out again by the next one, if it could not be written.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "jobs/disk.h"
#include "jobs/state.h"
#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

enum { TICK_MS = 200, IDLE_MS = 1000 };

enum note_state { NOTE_WAITS, NOTE_BEGUN, NOTE_DONE };
struct note {
    note_fn *act;
    void *args;
    struct err *e;
    int rc;
    enum note_state state; /* Lock: mu */
    struct note *next;
};

struct jobs_watch {
    struct jobs *jobs;
    char id[JOBS_ID_BYTES];
    jobs_wake_fn *wake;
    void *ud;
    struct jobs_watch *next;
};

/* ---- whoever asks ---- */

static struct timespec moment(uint64_t ns) {
    return (struct timespec){(time_t)(ns / CLOCK_S), (long)(ns % CLOCK_S)};
}

static void note_add(struct jobs *j, struct note *n) {
    if (j->last)
        j->last->next = n;
    else
        j->first = n;
    j->last = n;
    pthread_cond_signal(&j->news);
}

/* Takes back a note that was not begun. */
static void note_remove(struct jobs *j, const struct note *n) {
    struct note *before = NULL;
    for (struct note *at = j->first; at && at != n; at = at->next)
        before = at;
    if (before)
        before->next = n->next;
    else
        j->first = n->next;
    if (j->last == n) j->last = before;
}

int keeper_ask(struct jobs *j, note_fn *act, void *args, struct err *e) {
    struct err mine = {0};
    struct note n = {.act = act, .args = args, .e = &mine};
    const struct timespec end = moment(clock_ns() + JOBS_WAIT_S * CLOCK_S);
    int rc = 0;
    pthread_mutex_lock(&j->mu);
    if (j->is_closing) {
        pthread_mutex_unlock(&j->mu);
        return err_set(e, E_CANCELLED, "it is being closed");
    }
    note_add(j, &n);
    while (n.state == NOTE_WAITS && rc == 0)
        rc = pthread_cond_timedwait(&j->done, &j->mu, &end);
    if (n.state == NOTE_WAITS) note_remove(j, &n);
    int is_late = n.state == NOTE_WAITS;
    while (n.state == NOTE_BEGUN)
        pthread_cond_wait(&j->done, &j->mu);
    pthread_mutex_unlock(&j->mu);
    if (is_late) return err_set(e, E_TIMEOUT, "the disk is too slow at present; nothing was done");
    if (n.rc && mine.code) (void)err_set(e, mine.code, "%s", mine.text);
    return n.rc;
}

/* ---- watches ---- */

int jobs_watch(struct jobs *j, const char *id, jobs_wake_fn *wake, void *ud,
               struct jobs_watch **out, struct err *e) {
    struct jobs_watch *w = mem_try(sizeof(*w));
    *out = NULL;
    if (!w) return err_set(e, E_NOMEM, "no memory for a watch");
    *w = (struct jobs_watch){.jobs = j, .wake = wake, .ud = ud};
    snprintf(w->id, sizeof(w->id), "%s", id);
    pthread_mutex_lock(&j->mu);
    w->next = j->watches;
    j->watches = w;
    pthread_mutex_unlock(&j->mu);
    *out = w;
    return 0;
}

void jobs_unwatch(struct jobs_watch *w) {
    if (!w) return;
    struct jobs *j = w->jobs;
    pthread_mutex_lock(&j->mu);
    for (struct jobs_watch **at = &j->watches; *at; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            break;
        }
    pthread_mutex_unlock(&j->mu);
    mem_free(w);
}

void jobs_wake(struct jobs *j) {
    pthread_mutex_lock(&j->mu);
    for (struct jobs_watch *w = j->watches; w; w = w->next)
        w->wake(w->ud);
    pthread_mutex_unlock(&j->mu);
}

void keeper_changed(struct jobs *j, const char *id) {
    for (int i = 0; i < j->n_changed; i++)
        if (strcmp(j->changed[i], id) == 0) return;
    if (j->n_changed == (int)ARRAY_LEN(j->changed)) return; /* they are read again in time */
    snprintf(j->changed[j->n_changed++], JOBS_ID_BYTES, "%s", id);
}

static void wake_watches(struct jobs *j) {
    pthread_mutex_lock(&j->mu);
    for (struct jobs_watch *w = j->watches; w; w = w->next)
        for (int i = 0; i < j->n_changed; i++)
            if (strcmp(w->id, j->changed[i]) == 0) w->wake(w->ud);
    pthread_mutex_unlock(&j->mu);
    j->n_changed = 0;
}

/* ---- room on the disk ---- */

/* A file of SPARE bytes that nobody reads: when the disk is full it is given up, so that it can be
 * noted that the disk is full. */
enum { SPARE = 1 << 20, SPARE_ABOVE = 16 << 20, FULL = 256 << 10 };

static void keep_spare(struct jobs *j) {
    char path[JOBS_PATH_MAX];
    if (j->has_spare || disk_free(j->dir) < SPARE_ABOVE) return;
    jobs_path(j, "spare", "", path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    j->has_spare = fd >= 0 && posix_fallocate(fd, 0, SPARE) == 0;
    if (fd >= 0) close(fd);
}

void keeper_make_room(struct jobs *j) {
    char path[JOBS_PATH_MAX];
    if (!j->has_spare || disk_free(j->dir) > FULL) return;
    jobs_path(j, "spare", "", path);
    log_event(LOG_LEVEL_ERROR, "jobs", "the disk of %s is full", j->dir);
    (void)unlink(path);
    j->has_spare = 0;
}

/* ---- the keeper ---- */

static void note_do(struct jobs *j, struct note *n) {
    int rc = store_begin(j->writer, n->e);
    if (rc == 0) rc = n->act(j, n->args, n->e);
    if (rc == 0) rc = store_commit(j->writer, n->e);
    if (rc) store_rollback(j->writer);
    if (rc == E_IO) keeper_make_room(j);
    pthread_mutex_lock(&j->mu);
    n->rc = rc;
    n->state = NOTE_DONE;
    pthread_cond_broadcast(&j->done);
    pthread_mutex_unlock(&j->mu);
}

static int is_busy(const struct jobs *j) {
    int n = j->check.id[0] != '\0';
    for (int i = 0; i < RUNS_MAX; i++)
        n += j->runs[i].id[0] != '\0';
    return n > 0;
}

/* The next note, or NULL after a while, or when it is closing. */
static struct note *note_next(struct jobs *j) {
    const struct timespec end =
        moment(clock_ns() + (uint64_t)(is_busy(j) ? TICK_MS : IDLE_MS) * CLOCK_MS);
    pthread_mutex_lock(&j->mu);
    while (!j->first && !j->is_closing)
        if (pthread_cond_timedwait(&j->news, &j->mu, &end)) break;
    struct note *n = j->first;
    if (n) {
        j->first = n->next;
        if (!j->first) j->last = NULL;
        n->state = NOTE_BEGUN;
    }
    pthread_mutex_unlock(&j->mu);
    return n;
}

static void count_jobs(struct jobs *j) {
    uint64_t counts[JOBS_STATES], batches[JOBS_BATCH_STATES];
    int64_t files = 0;
    if (store_job_counts(j->writer, counts, NULL) || store_file_count(j->writer, &files, NULL) ||
        store_batch_counts(j->writer, batches, NULL))
        return;
    pthread_mutex_lock(&j->mu);
    memcpy(j->stats.batches, batches, sizeof(batches));
    memcpy(j->stats.jobs, counts, sizeof(counts));
    j->stats.files = (uint64_t)files;
    pthread_mutex_unlock(&j->mu);
}

int keeper_is_closing(struct jobs *j) {
    pthread_mutex_lock(&j->mu);
    int is = j->is_closing;
    pthread_mutex_unlock(&j->mu);
    return is;
}

static int is_started(struct jobs *j) {
    pthread_mutex_lock(&j->mu);
    int is = j->is_started;
    pthread_mutex_unlock(&j->mu);
    return is;
}

static void *keeper_main(void *ud) {
    struct jobs *j = ud;
    int is_recovered = 0;
    while (!keeper_is_closing(j)) {
        struct note *n = note_next(j);
        if (n) note_do(j, n);
        if (is_started(j)) {
            if (!is_recovered) run_recover(j);
            is_recovered = 1;
            check_all(j);
            run_tick(j);
        }
        count_jobs(j);
        wake_watches(j);
        keep_spare(j);
    }
    check_close(j);
    run_close(j);
    wake_watches(j);
    return NULL;
}

int keeper_start(struct jobs *j, struct err *e) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&j->mu, NULL);
    pthread_cond_init(&j->news, &attr);
    pthread_cond_init(&j->done, &attr);
    pthread_condattr_destroy(&attr);
    count_jobs(j);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before); /* signals are main's */
    int rc = pthread_create(&j->keeper, NULL, keeper_main, j);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0) return 0;
    pthread_mutex_destroy(&j->mu);
    return err_set(e, E_IO, "no thread for jobs: %s", strerror(rc));
}

void keeper_stop(struct jobs *j) {
    pthread_mutex_lock(&j->mu);
    j->is_closing = 1;
    pthread_cond_signal(&j->news);
    pthread_mutex_unlock(&j->mu);
    pthread_join(j->keeper, NULL);
    must(!j->first); /* whoever asks is gone by now */
    pthread_mutex_destroy(&j->mu);
    pthread_cond_destroy(&j->news);
    pthread_cond_destroy(&j->done);
}

int keeper_say(struct jobs *j, struct store_job *job, const char *level, struct err *e,
               const char *fmt, ...) {
    char text[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    const struct jobs_event event = {
        .created = jobs_now(), .level = level, .type = "message", .message = text, .data = ""};
    keeper_changed(j, job->job.id);
    return store_event_add(j->writer, job, &event, e);
}
