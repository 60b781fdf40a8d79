/* check.c - files: uploads are added, checked in a process of their own, and deleted.
 *
 * One file is checked at a time, by `lammd train --check PATH --json`: the parsers of uploaded
 * bytes run where they can't hurt, with bounds on memory, time and what they write. Its report is
 * the file's. A check that ends without one, or takes too long, makes the file an `error`. A check
 * that a daemon's end cut short begins again at the next start: nothing of it is kept but its
 * report.
 */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "jobs/disk.h"
#include "jobs/state.h"
#include "kernels/base/clock.h"
#include "kernels/base/log.h"

static const uint64_t check_memory = UINT64_C(2) << 30, check_cpu_s = 600;
static const uint64_t check_ns = 1200 * CLOCK_S;

/* ---- adding ---- */

struct adding {
    const struct jobs_file_new *new_;
    struct jobs_file file;
};

static int file_move_in(const struct adding *a, const char *to, struct err *e) {
    int rc = disk_move(a->new_->spooled, to, e);
    return rc == E_NOT_FOUND ? err_set(e, E_IO, "the spooled file is gone") : rc;
}

/* Has its owner room for it? */
static int file_fits(struct jobs *j, const struct jobs_file *f, struct err *e) {
    uint64_t most = j->opt.batch_bytes;
    int64_t has = 0;
    if (!most || strcmp(f->purpose, JOBS_BATCH_INPUT) != 0) return 0;
    int rc = store_batch_bytes(j->writer, f->owner, &has, e);
    uint64_t more = f->bytes > JOBS_BATCH_FILE_MIN ? f->bytes : JOBS_BATCH_FILE_MIN;
    if (rc || (uint64_t)has + more <= most) return rc;
    return err_set(e, E_BUSY,
                   "one caller's files of batches may have %llu MiB together; this one has %llu "
                   "MiB already: delete those that are not needed",
                   (unsigned long long)(most >> 20), (unsigned long long)has >> 20);
}

/* The bytes come first: a row always has them. Those without a row are swept away at the start.
 * What another file has already stays where it is: were it replaced, and the row not written, it
 * would be taken from that file too. The commit is here, since bytes may only be taken back before
 * anybody else comes with the same. */
static int add_file(struct jobs *j, void *args, struct err *e) {
    const struct adding *a = args;
    char to[JOBS_PATH_MAX];
    int64_t shares = 0;
    jobs_file_path(j, &a->file, to);
    int rc = file_fits(j, &a->file, e);
    if (rc == 0) rc = store_file_shares(j->writer, a->file.sha256, &shares, e);
    if (rc) return rc;
    int is_new = shares == 0 || access(to, F_OK);
    if (is_new) rc = file_move_in(a, to, e);
    if (rc == 0) rc = store_file_add(j->writer, &a->file, e);
    if (rc == 0) rc = store_commit(j->writer, e);
    if (rc == 0) return store_begin(j->writer, e);
    if (is_new) (void)rename(to, a->new_->spooled);
    return rc;
}

static int is_digest(const char *text) {
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

/* A name without what a client may have put in front, and without control characters. */
static void take_name(const char *name, char to[256]) {
    const char *slash = strrchr(name, '/'), *back = strrchr(name, '\\');
    if (slash) name = slash + 1;
    if (back && back >= name) name = back + 1;
    snprintf(to, 256, "%s", *name ? name : "file");
    size_t n = strlen(to);
    while (n == 255 && ((unsigned char)to[n - 1] & 0xc0) == 0x80)
        to[--n] = '\0'; /* a character that was cut */
    for (char *c = to; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127) *c = '_';
}

int jobs_file_add(struct jobs *j, const struct jobs_file_new *file, struct jobs_file *out,
                  struct err *e) {
    struct adding a = {.new_ = file, .file = {.bytes = file->bytes, .created = jobs_now()}};
    if (!is_digest(file->sha256)) return err_set(e, E_INVALID, "that is no SHA-256");
    if (strlen(file->purpose) >= sizeof(a.file.purpose) || !*file->purpose)
        return err_set(e, E_INVALID, "the purpose is too long, or empty");
    snprintf(a.file.sha256, sizeof(a.file.sha256), "%s", file->sha256);
    snprintf(a.file.purpose, sizeof(a.file.purpose), "%s", file->purpose);
    snprintf(a.file.owner, sizeof(a.file.owner), "%s", file->owner);
    take_name(file->name, a.file.name);
    if (strcmp(file->purpose, "fine-tune") != 0) a.file.status = JOBS_FILE_PROCESSED;
    int rc = jobs_new_id("file-", 12, a.file.id, e);
    if (rc == 0) rc = keeper_ask(j, add_file, &a, e);
    if (rc == 0) *out = a.file;
    return rc;
}

/* ---- deleting ---- */

static int delete_file(struct jobs *j, void *args, struct err *e) {
    const char *id = args;
    struct jobs_file f;
    int64_t users = 0, shares = 0;
    char path[JOBS_PATH_MAX];
    int rc = store_file_get(j->writer, id, &f, e);
    if (rc == 0) rc = store_file_users(j->writer, id, &users, e);
    if (rc == 0 && users)
        rc = err_set(e, E_BUSY, "a job or a batch that has not ended uses this file");
    if (rc == 0) rc = store_file_delete(j->writer, id, e);
    if (rc == 0) rc = store_file_shares(j->writer, f.sha256, &shares, e);
    if (rc || shares) return rc;
    jobs_file_path(j, &f, path);
    /* Before the commit. If that fails, which is rare, the file is there without bytes. */
    rc = store_commit(j->writer, e);
    if (rc) return rc;
    (void)unlink(path);
    return store_begin(j->writer, e);
}

int jobs_file_delete(struct jobs *j, const char *id, struct err *e) {
    char copy[JOBS_ID_BYTES];
    snprintf(copy, sizeof(copy), "%s", id);
    return keeper_ask(j, delete_file, copy, e);
}

/* ---- checking ---- */

static void check_paths(const struct jobs *j, const char *id, char out[JOBS_PATH_MAX],
                        char log[JOBS_PATH_MAX]) {
    char name[64];
    snprintf(name, sizeof(name), "check-%s.json", id);
    jobs_path(j, "spool", name, out);
    snprintf(name, sizeof(name), "check-%s.log", id);
    jobs_path(j, "spool", name, log);
}

static int write_result(struct jobs *j, const char *id, enum jobs_file_status status,
                        const char *report, size_t len) {
    struct err e = {0};
    int rc = store_begin(j->writer, &e);
    if (rc == 0) rc = store_file_checked(j->writer, id, status, report, len, &e);
    if (rc == 0) rc = store_commit(j->writer, &e);
    if (rc) store_rollback(j->writer);
    if (rc) log_event(LOG_LEVEL_ERROR, "jobs", "the check of a file can't be noted: %s", e.text);
    return rc;
}

static int is_object(const struct buf *text) {
    json_t *o = json_loadb((const char *)text->p, text->len, 0, NULL);
    int is = json_is_object(o);
    json_decref(o);
    return is;
}

/* Its report, whole; or one in its place that says why there is none. */
static int check_settle(struct jobs *j, const char *id, int status, const char *why) {
    static const char none[] =
        "{\"status\":\"error\",\"errors\":[{\"line\":0,\"field\":\"\",\"code\":\"check_failed\","
        "\"reason\":\"%s\"}]}";
    char out[JOBS_PATH_MAX], log[JOBS_PATH_MAX], text[400];
    struct buf report;
    buf_init(&report, JOBS_REPORT_MAX);
    check_paths(j, id, out, log);
    int rc;
    if (!why && disk_read(out, &report, NULL) == 0 && report.len && is_object(&report)) {
        rc = write_result(j, id, status == 0 ? JOBS_FILE_PROCESSED : JOBS_FILE_ERROR,
                          (const char *)report.p, report.len);
    } else {
        snprintf(text, sizeof(text), none,
                 why ? why : "the check ended without a report: the file needs too much of it");
        rc = write_result(j, id, JOBS_FILE_ERROR, text, strlen(text));
    }
    buf_clear(&report);
    if (rc) return rc;
    unlink(out);
    unlink(log);
    return 0;
}

static void check_begin(struct jobs *j) {
    struct check *c = &j->check;
    struct jobs_file f;
    char path[JOBS_PATH_MAX], out[JOBS_PATH_MAX], log[JOBS_PATH_MAX];
    struct err e = {0};
    if (store_file_unchecked(j->writer, &f, NULL)) return;
    jobs_file_path(j, &f, path);
    check_paths(j, f.id, out, log);
    const char *const argv[] = {j->program, "train", "--check", path, "--json", NULL};
    const struct runner_start how = {.argv = argv,
                                     .log = log,
                                     .out = out,
                                     .memory_bytes = check_memory,
                                     .cpu_s = check_cpu_s,
                                     .file_bytes = JOBS_REPORT_MAX};
    if (runner_begin(&how, &c->child, &e)) {
        log_event(LOG_LEVEL_ERROR, "jobs", "a file can't be checked: %s", e.text);
        return;
    }
    snprintf(c->id, sizeof(c->id), "%s", f.id);
    c->begun_ns = clock_ns();
}

void check_all(struct jobs *j) {
    struct check *c = &j->check;
    int status = 0;
    if (!c->id[0]) check_begin(j);
    if (!c->id[0]) return;
    int is_late = clock_ns() - c->begun_ns > check_ns;
    if (is_late) runner_signal(&c->child, SIGKILL);
    if (!runner_is_over(&c->child, &status)) return;
    if (check_settle(j, c->id, status, is_late ? "the check takes too long" : NULL)) return;
    runner_forget(&c->child);
    c->id[0] = '\0';
}

void check_close(struct jobs *j) {
    int status;
    if (!j->check.id[0]) return;
    runner_signal(&j->check.child, SIGKILL);
    (void)runner_wait(&j->check.child, 1000, &status);
    runner_forget(&j->check.child);
    j->check.id[0] = '\0';
}
