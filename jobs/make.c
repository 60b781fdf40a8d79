/* make.c - what was asked becomes a folder that `lammd train` can run.
 *
 *     runs/ID/job.ini                 the recipe; its paths are relative to it
 *     runs/ID/train.tar, check.jsonl  links to files/SHA256, so that their ends say what they are
 *
 * All of it can be made again from the job's row, so nothing of it has to be there when a daemon
 * was killed. Thread: any, one for each job.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs/disk.h"
#include "jobs/recipe.h"
#include "jobs/state.h"
#include "kernels/base/cgroup.h"
#include "kernels/base/num.h"

enum { RECIPE_MAX = 128 << 10, PLAN_MS = 30000, PLAN_TEXT_MAX = 16 << 10, TAR_MAGIC_AT = 257 };

/* ---- data ---- */

static int is_tar(const char *path) {
    char magic[5] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = pread(fd, magic, sizeof(magic), TAR_MAGIC_AT);
    close(fd);
    return n == (ssize_t)sizeof(magic) && memcmp(magic, "ustar", sizeof(magic)) == 0;
}

/* runs/ID/train.tar -> ../../files/SHA256; `name` takes "train.tar". */
static int link_file(struct jobs *j, const char *id, const char *file_id, const char *stem,
                     char name[32], struct err *e) {
    struct jobs_file f;
    char bytes[JOBS_PATH_MAX], link[JOBS_PATH_MAX], target[96];
    int rc = jobs_file_get(j, file_id, &f, e);
    if (rc == E_NOT_FOUND) return err_set(e, rc, "there is no file %s", file_id);
    if (rc) return rc;
    jobs_file_path(j, &f, bytes);
    snprintf(name, 32, "%s.%s", stem, is_tar(bytes) ? "tar" : "jsonl");
    jobs_run_path(j, id, name, link);
    snprintf(target, sizeof(target), "../../files/%s", f.sha256);
    return symlink(target, link) && errno != EEXIST ? disk_bad(link, e) : 0;
}

int make_folder(struct jobs *j, const struct store_job *job, int64_t pictures, struct jobs_how *how,
                const char **param, struct err *e) {
    char path[JOBS_PATH_MAX], train[32], check[32];
    const struct jobs_job *of = &job->job;
    struct recipe_ask ask = {.how = of->how,
                             .seed = of->seed,
                             .model = j->model,
                             .device = j->device,
                             .threads = j->opt.threads,
                             .training = train,
                             .pictures = pictures};
    struct buf text;
    buf_init(&text, RECIPE_MAX);
    jobs_run_path(j, of->id, "", path);
    int rc = disk_folder(path, e);
    if (rc == 0) rc = link_file(j, of->id, of->training_file, "train", train, e);
    if (rc == 0 && of->validation_file[0]) {
        rc = link_file(j, of->id, of->validation_file, "check", check, e);
        ask.validation = check;
    }
    if (rc == 0) rc = recipe_make_from(j->recipes, &ask, how, param, &text, e);
    jobs_run_path(j, of->id, "job.ini", path);
    if (rc == 0) rc = disk_write(path, text.p, text.len, e);
    buf_clear(&text);
    return rc;
}

int64_t make_count(const char *report, size_t len) {
    json_t *o = json_loadb(report, len, 0, NULL);
    json_t *n = json_object_get(o, "pictures");
    if (!n) n = json_object_get(json_object_get(o, "counts"), "pictures");
    int64_t count = json_integer_value(n);
    json_decref(o);
    return count > 0 ? count : 0;
}

/* ---- does it fit? ---- */

static uint64_t memory_mib(const struct jobs *j) {
    if (j->opt.memory_mib) return j->opt.memory_mib;
    if (strncmp(j->device, "cuda", 4) == 0) return 0; /* the plan asks the card */
    struct cgroup group;
    char text[4096] = "";
    uint64_t free_bytes = UINT64_MAX;
    cgroup_read(NULL, NULL, &group);
    int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!read(fd, text, sizeof(text) - 1);
        close(fd);
        const char *at = strstr(text, "MemAvailable:");
        if (at) free_bytes = strtoull(at + 13, NULL, 10) * 1024;
    }
    if (group.memory_left < free_bytes) free_bytes = group.memory_left;
    return free_bytes == UINT64_MAX ? 0 : free_bytes >> 20;
}

/* The last line that it wrote, without what a program puts in front. */
static void last_line(struct buf *text, char *to, size_t size) {
    while (text->len && strchr("\n\r ", text->p[text->len - 1]))
        text->p[--text->len] = '\0';
    const char *all = text->len ? (const char *)text->p : "";
    const char *line = strrchr(all, '\n');
    line = line ? line + 1 : all;
    if (strncmp(line, "lammd: ", 7) == 0) line += 7;
    snprintf(to, size, "%s", line);
}

/* MiB that the run at work was counted to take, which are free when it is over: its turn comes
 * first. */
static double held_mib(struct jobs *j) {
    static const char word[] = "  together  ";
    char path[JOBS_PATH_MAX];
    struct store_job job;
    struct buf text;
    double most = 0;
    pthread_mutex_lock(&j->read_mu);
    int rc = store_job_next(j->reader, JOBS_RUNNING, 0, &job, NULL);
    pthread_mutex_unlock(&j->read_mu);
    if (rc || j->opt.launcher != JOBS_LOCAL) return 0;
    buf_init(&text, PLAN_TEXT_MAX);
    jobs_run_path(j, job.job.id, "plan.txt", path);
    if (disk_read(path, &text, NULL) == 0 && text.len)
        for (const char *at = (const char *)text.p; (at = strstr(at, word)) != NULL;) {
            at += sizeof(word) - 1;
            most = fmax(most, strtod(at, NULL));
        }
    buf_clear(&text);
    return most;
}

/* "[stage a] takes 99 MiB, and there are 20; ..." */
static int fits_beside(const char *said, double held) {
    const char *takes = strstr(said, " takes "), *have = strstr(said, " MiB, and there are ");
    if (!takes || !have) return 0;
    return strtod(takes + 7, NULL) <= strtod(have + 20, NULL) + held;
}

static int plan_result(struct jobs *j, const char *log, int status, struct err *e) {
    struct buf text;
    char said[220];
    if (status == 0) return 0;
    buf_init(&text, PLAN_TEXT_MAX);
    (void)disk_read(log, &text, NULL);
    last_line(&text, said, sizeof(said));
    buf_clear(&text);
    if (fits_beside(said, held_mib(j))) return 0;
    if (strstr(said, " MiB, and there are "))
        return err_set(e, E_TOO_BIG, "%s, beside what serving holds", said);
    return err_set(e, E_INVALID, "the run can't be planned: %s",
                   strchr(said, '/') ? "see its log"
                   : *said           ? said
                                     : "no word");
}

int make_plan(struct jobs *j, const char *id, struct err *e) {
    char recipe[JOBS_PATH_MAX], log[JOBS_PATH_MAX], out[JOBS_PATH_MAX], most[32];
    struct runner_child child;
    int status = -1;
    jobs_run_path(j, id, "job.ini", recipe);
    jobs_run_path(j, id, "plan.log", log);
    jobs_run_path(j, id, "plan.txt", out);
    snprintf(most, sizeof(most), "%" PRIu64, memory_mib(j));
    const char *const argv[] = {j->program, "train", recipe, "--plan", "--memory-mib", most, NULL};
    const struct runner_start how = {.argv = argv, .log = log, .out = out, .cpu_s = 60};
    int rc = runner_begin(&how, &child, e);
    if (rc) return rc;
    if (!runner_wait(&child, PLAN_MS, &status)) {
        runner_signal(&child, 9);
        (void)runner_wait(&child, 1000, &status);
        rc = err_set(e, E_TIMEOUT, "to count its memory takes too long at present");
    }
    runner_forget(&child);
    if (rc == 0) rc = plan_result(j, log, status, e);
    unlink(log);
    return rc;
}
