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
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "jobs/disk.h"
#include "jobs/recipe.h"
#include "jobs/state.h"

enum { RECIPE_MAX = 128 << 10, TAR_MAGIC_AT = 257 };

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
