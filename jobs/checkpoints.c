/* checkpoints.c - the checkpoints of a run, as they lie in its folder. Thread: any. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jobs/disk.h"
#include "jobs/state.h"

static int checkpoints_newest_first(const void *a, const void *b) {
    int64_t x = ((const struct jobs_checkpoint *)a)->step;
    int64_t y = ((const struct jobs_checkpoint *)b)->step;
    return (x < y) - (x > y);
}

/* "step-00000100.safetensors" */
static int read_checkpoint(const char *folder, const char *name, struct jobs_checkpoint *to) {
    char path[JOBS_PATH_MAX + 300], *end;
    struct stat st;
    if (strncmp(name, "step-", 5) != 0) return 0;
    long long step = strtoll(name + 5, &end, 10);
    if (end == name + 5 || strcmp(end, ".safetensors") != 0) return 0;
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (stat(path, &st)) return 0;
    *to = (struct jobs_checkpoint){
        .step = step, .created = st.st_mtime, .judged = NAN, .bytes = (uint64_t)st.st_size};
    return 1;
}

int checkpoints_find(struct jobs *j, const char *id,
                     struct jobs_checkpoint out[JOBS_CHECKPOINTS_MAX], int *n, struct err *e) {
    char folder[JOBS_PATH_MAX];
    *n = 0;
    jobs_run_path(j, id, "", folder);
    DIR *d = opendir(folder);
    if (!d) return errno == ENOENT ? E_NOT_FOUND : disk_bad(folder, e);
    for (const struct dirent *at; *n < JOBS_CHECKPOINTS_MAX && (at = readdir(d));)
        *n += read_checkpoint(folder, at->d_name, &out[*n]);
    closedir(d);
    qsort(out, (size_t)*n, sizeof(out[0]), checkpoints_newest_first);
    return 0;
}

void checkpoints_drop(struct jobs *j, const char *id, enum jobs_state state) {
    struct jobs_checkpoint all[JOBS_CHECKPOINTS_MAX];
    char name[64], path[JOBS_PATH_MAX];
    int n = 0;
    if (j->opt.keeps_checkpoints || (state != JOBS_SUCCEEDED && state != JOBS_CANCELLED)) return;
    if (checkpoints_find(j, id, all, &n, NULL)) return;
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "step-%08" PRId64 ".safetensors", all[i].step);
        jobs_run_path(j, id, name, path);
        (void)unlink(path);
    }
}

int jobs_checkpoints(struct jobs *j, const char *id,
                     struct jobs_checkpoint out[JOBS_CHECKPOINTS_MAX], int *n, struct err *e) {
    struct jobs_job job = {.created = 0};
    int rc = jobs_get(j, id, &job, e);
    if (rc == 0) rc = checkpoints_find(j, id, out, n, e);
    if (rc == E_NOT_FOUND && job.created) rc = 0; /* nothing of it ran yet */
    pthread_mutex_lock(&j->read_mu);
    for (int i = 0; rc == 0 && i < *n; i++)
        rc = store_judged(j->reader, id, out[i].step, &out[i].judged, e);
    pthread_mutex_unlock(&j->read_mu);
    return rc;
}
