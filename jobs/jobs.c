/* jobs.c - the door: folders and connections, and what is asked of jobs. See jobs.h, state.h.
 *
 * Whatever changes something is a note to the keeper. Reading has a connection of its own, under
 * read_mu, which is held for a query and never across one.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "jobs/disk.h"
#include "jobs/state.h"
#include "kernels/base/hex.h"
#include "kernels/base/mem.h"

const char *const jobs_launcher_words[] = {"local", "pull", NULL};
const char *const jobs_file_words[] = {"uploaded", "processed", "error", NULL};
const char *const jobs_state_words[] = {"validating_files", "queued", "running",   "paused",
                                        "succeeded",        "failed", "cancelled", NULL};

enum { LIVE_MAX = 64, OWNER_MAX = 16 };

int jobs_is_over(enum jobs_state s) {
    return s == JOBS_SUCCEEDED || s == JOBS_FAILED || s == JOBS_CANCELLED;
}

int64_t jobs_now(void) { return (int64_t)time(NULL); }

const char *jobs_dir(const struct jobs *j) { return j->dir; }

int jobs_owner_max(const struct jobs *j) { return j->opt.owner_max; }

uint64_t jobs_batch_bytes(const struct jobs *j) { return j->opt.batch_bytes; }

void jobs_path(const struct jobs *j, const char *folder, const char *name,
               char path[JOBS_PATH_MAX]) {
    int n = snprintf(path, JOBS_PATH_MAX, "%s/%s%s%s", j->dir, folder, *name ? "/" : "", name);
    must(n > 0 && n < JOBS_PATH_MAX);
}

void jobs_run_path(const struct jobs *j, const char *id, const char *name,
                   char path[JOBS_PATH_MAX]) {
    int n = snprintf(path, JOBS_PATH_MAX, "%s/runs/%s%s%s", j->dir, id, *name ? "/" : "", name);
    must(n > 0 && n < JOBS_PATH_MAX);
}

int jobs_new_id(const char *prefix, int bytes, char id[JOBS_ID_BYTES], struct err *e) {
    uint8_t random[12];
    char digits[2 * sizeof(random) + 1];
    must(bytes <= (int)sizeof(random));
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return err_set(e, E_IO, "no random numbers: %s", strerror(errno));
    hex_write(random, (size_t)bytes, digits);
    snprintf(id, JOBS_ID_BYTES, "%s%s", prefix, digits);
    return 0;
}

/* ---- open, close ---- */

static int take_dir(struct jobs *j, const char *dir, struct err *e) {
    static const char *const folders[] = {"", "files", "runs", "batches", "adapters", "spool"};
    char path[JOBS_PATH_MAX], here[2048];
    if (*dir == '/')
        snprintf(path, sizeof(path), "%s", dir);
    else if (getcwd(here, sizeof(here)))
        snprintf(path, sizeof(path), "%s/%.2000s", here, dir);
    else
        return disk_bad(".", e);
    if (strlen(path) + 200 > JOBS_DIR_MAX)
        return err_set(e, E_INVALID, "the path of the state folder is too long");
    snprintf(j->dir, sizeof(j->dir), "%.*s", (int)sizeof(j->dir) - 1, path);
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        snprintf(path, sizeof(path), "%s/%s", j->dir, folders[i]);
        int rc = disk_folder(path, e);
        if (rc) return rc;
    }
    return 0;
}

/* What lies in one folder gets a name in another: are they on one disk, which has such names? */
static int jobs_check_links(const struct jobs *j, struct err *e) {
    static const char *const folders[] = {"spool", "batches"};
    char from[JOBS_PATH_MAX], to[JOBS_PATH_MAX];
    jobs_path(j, "files", ".link", to);
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        jobs_path(j, folders[i], ".link", from);
        (void)unlink(to);
        int fd = open(from, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0) return disk_bad(from, e);
        close(fd);
        int why = link(from, to) ? errno : 0;
        (void)unlink(from);
        (void)unlink(to);
        if (why)
            return err_set(e, E_INVALID,
                           "%s/%s: no file of it can be linked into %s/files: %s; both must be on "
                           "one file system that has hard links",
                           j->dir, folders[i], j->dir, strerror(why));
    }
    return 0;
}

static int jobs_take_lock(struct jobs *j, struct err *e) {
    char path[JOBS_PATH_MAX];
    jobs_path(j, "lock", "", path);
    j->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (j->lock < 0) return disk_bad(path, e);
    if (flock(j->lock, LOCK_EX | LOCK_NB))
        return err_set(e, E_BUSY, "%s: another lammd has this folder", j->dir);
    return 0;
}

static int keep_none(void *ud, const char *name) {
    (void)ud;
    (void)name;
    return 0;
}

static int keep_run(void *ud, const char *name) {
    struct jobs *j = ud;
    struct store_job job;
    int rc = store_job_get(j->writer, name, &job, NULL);
    if (rc == 0) checkpoints_drop(j, name, job.job.state);
    return rc != E_NOT_FOUND;
}

static int keep_batch(void *ud, const char *name) {
    struct jobs *j = ud;
    struct jobs_batch b;
    int rc = store_batch_get(j->writer, name, &b, NULL);
    return rc == 0 ? !jobs_batch_is_over(b.state) : rc != E_NOT_FOUND;
}

static int keep_file(void *ud, const char *name) {
    struct jobs *j = ud;
    int64_t n = 1;
    return store_file_shares(j->writer, name, &n, NULL) || n > 0;
}

/* What a daemon that was killed was about to add, or to remove. */
static void sweep(struct jobs *j) {
    char path[JOBS_PATH_MAX];
    jobs_path(j, "spool", "", path);
    disk_sweep(path, keep_none, NULL);
    jobs_path(j, "runs", "", path);
    disk_sweep(path, keep_run, j);
    jobs_path(j, "batches", "", path);
    disk_sweep(path, keep_batch, j);
    jobs_path(j, "files", "", path);
    disk_sweep(path, keep_file, j);
}

static void copy_text(char *to, size_t size, const char *from) {
    snprintf(to, size, "%s", from ? from : "");
}

static void jobs_take_options(struct jobs *j, const struct jobs_options *o) {
    j->opt = *o;
    copy_text(j->program, sizeof(j->program), o->program);
    copy_text(j->model, sizeof(j->model), o->model);
    copy_text(j->recipes, sizeof(j->recipes), o->recipes);
    copy_text(j->device, sizeof(j->device), o->device ? o->device : "cpu");
    j->opt.dir = j->dir;
    j->opt.program = j->program;
    j->opt.model = j->model;
    j->opt.recipes = j->recipes;
    j->opt.device = j->device;
    if (!j->opt.threads) j->opt.threads = 1;
    if (!j->opt.live_max) j->opt.live_max = LIVE_MAX;
    if (!j->opt.owner_max) j->opt.owner_max = OWNER_MAX;
    j->stats.loss = NAN;
}

static void jobs_free(struct jobs *j) {
    store_close(j->reader);
    store_close(j->writer);
    pthread_mutex_destroy(&j->read_mu);
    if (j->lock >= 0) close(j->lock);
    mem_free(j);
}

int jobs_open(const struct jobs_options *opt, struct jobs **out, struct err *e) {
    char path[JOBS_PATH_MAX];
    struct jobs *j = mem_must(sizeof(*j));
    *out = NULL;
    j->lock = -1;
    for (int i = 0; i < RUNS_MAX; i++)
        j->runs[i].child.fd = -1;
    pthread_mutex_init(&j->read_mu, NULL);
    jobs_take_options(j, opt);
    int rc = take_dir(j, opt->dir, e);
    if (rc == 0) rc = jobs_take_lock(j, e);
    if (rc == 0) rc = jobs_check_links(j, e);
    if (rc == 0) {
        jobs_path(j, "jobs.db", "", path);
        rc = store_open(path, 1, &j->writer, e);
    }
    if (rc == 0) rc = store_open(path, 0, &j->reader, e);
    if (rc == 0) sweep(j);
    if (rc == 0) rc = keeper_start(j, e);
    if (rc) {
        jobs_free(j);
        return rc;
    }
    *out = j;
    return 0;
}

int jobs_start(struct jobs *j, const char *base, struct err *e) {
    if (strspn(base, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") !=
            strlen(base) ||
        !*base || strlen(base) > 48)
        return err_set(e, E_INVALID,
                       "the model's folder is called \"%.60s\"; names of adapters begin with that, "
                       "so it may have up to 48 letters, digits, dots, _ and -",
                       base);
    pthread_mutex_lock(&j->mu);
    snprintf(j->base, sizeof(j->base), "%s", base);
    j->is_started = 1;
    pthread_cond_signal(&j->news);
    pthread_mutex_unlock(&j->mu);
    return 0;
}

void jobs_close(struct jobs *j) {
    if (!j) return;
    keeper_stop(j);
    jobs_free(j);
}

void jobs_stats(struct jobs *j, struct jobs_stats *out) {
    pthread_mutex_lock(&j->mu);
    *out = j->stats;
    pthread_mutex_unlock(&j->mu);
}

/* ---- reading ---- */

void jobs_begin_read(struct jobs *j) { pthread_mutex_lock(&j->read_mu); }
int jobs_end_read(struct jobs *j, int rc) {
    pthread_mutex_unlock(&j->read_mu);
    return rc;
}

int jobs_get(struct jobs *j, const char *id, struct jobs_job *out, struct err *e) {
    struct store_job row;
    jobs_begin_read(j);
    int rc = jobs_end_read(j, store_job_get(j->reader, id, &row, e));
    if (rc == 0) *out = row.job;
    return rc;
}

int jobs_list(struct jobs *j, const char *after, int max, struct jobs_job *out, int *n, int *more,
              struct err *e) {
    jobs_begin_read(j);
    return jobs_end_read(j, store_job_list(j->reader, after, max, out, n, more, e));
}

int jobs_metadata(struct jobs *j, const char *id, struct buf *out, struct err *e) {
    jobs_begin_read(j);
    return jobs_end_read(j, store_job_metadata(j->reader, id, out, e));
}

int jobs_events(struct jobs *j, const char *id, int64_t after, int max, jobs_event_fn *fn, void *ud,
                int *more, int *is_over, struct err *e) {
    struct store_job row;
    jobs_begin_read(j);
    int rc = store_job_get(j->reader, id, &row, e); /* before its events: then none is missed */
    if (rc == 0) rc = store_events(j->reader, id, after, max, fn, ud, more, e);
    if (rc == 0) *is_over = jobs_is_over(row.job.state);
    return jobs_end_read(j, rc);
}

int jobs_file_get(struct jobs *j, const char *id, struct jobs_file *out, struct err *e) {
    jobs_begin_read(j);
    return jobs_end_read(j, store_file_get(j->reader, id, out, e));
}

int jobs_file_report(struct jobs *j, const char *id, struct buf *out, struct err *e) {
    jobs_begin_read(j);
    return jobs_end_read(j, store_file_report(j->reader, id, out, e));
}

int jobs_file_list(struct jobs *j, const struct jobs_file_page *page, struct jobs_file *out, int *n,
                   int *more, struct err *e) {
    jobs_begin_read(j);
    return jobs_end_read(j, store_file_list(j->reader, page, out, n, more, e));
}

void jobs_file_path(const struct jobs *j, const struct jobs_file *f, char path[JOBS_PATH_MAX]) {
    jobs_path(j, "files", f->sha256, path);
}

int jobs_file_is_seen(const struct jobs_file *f, const struct jobs_eyes *by) {
    int is_batch =
        strcmp(f->purpose, JOBS_BATCH_INPUT) == 0 || strcmp(f->purpose, JOBS_BATCH_OUTPUT) == 0;
    return is_batch ? !by->owner || strcmp(f->owner, by->owner) == 0 : by->trains;
}
