/* take.c - see take.h. */
#include "cli/train/take.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/mem.h"

enum { WAITING_MAX = 256, NAME_MAX_BYTES = 64 };

struct waiting {
    char name[NAME_MAX_BYTES];
    struct timespec since;
};

static int has_flag(const char *runs, const char *name, const char *flag, struct timespec *since) {
    char path[FOLDER_PATH_MAX];
    struct stat st;
    int n = snprintf(path, sizeof(path), "%s/%s/%s", runs, name, flag);
    if (n <= 0 || n >= (int)sizeof(path) || stat(path, &st)) return 0;
    *since = st.st_mtim;
    return 1;
}

static int oldest_first(const void *a, const void *b) {
    const struct waiting *x = a, *y = b;
    if (x->since.tv_sec != y->since.tv_sec) return x->since.tv_sec < y->since.tv_sec ? -1 : 1;
    if (x->since.tv_nsec != y->since.tv_nsec) return x->since.tv_nsec < y->since.tv_nsec ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int find_waiting(const char *runs, struct waiting found[WAITING_MAX], int *n,
                        struct err *e) {
    *n = 0;
    DIR *d = opendir(runs);
    if (!d)
        return err_set(e, E_IO, "%s: %s; is it the --state of a server?", runs, strerror(errno));
    for (const struct dirent *at; *n < WAITING_MAX && (at = readdir(d));) {
        struct waiting *w = &found[*n];
        if (at->d_name[0] == '.' || strlen(at->d_name) >= sizeof(w->name)) continue;
        if (!has_flag(runs, at->d_name, "queued", &w->since)) continue;
        snprintf(w->name, sizeof(w->name), "%s", at->d_name);
        (*n)++;
    }
    closedir(d);
    qsort(found, (size_t)*n, sizeof(found[0]), oldest_first);
    return 0;
}

/* Once it has the lock it looks again: the run may have been done, or taken back, meanwhile. */
static int claim_one(const char *runs, const char *name, struct folder *out, struct err *e) {
    char path[FOLDER_PATH_MAX];
    struct timespec since;
    snprintf(path, sizeof(path), "%s/%s", runs, name);
    int rc = folder_open(path, out, e);
    if (rc) return rc;
    if (has_flag(runs, name, "queued", &since) && !take_is_stopped(out)) return 0;
    folder_close(out);
    return E_BUSY;
}

static int claim(const char *dir, struct folder *out, struct err *e) {
    char runs[2048];
    int n;
    if (snprintf(runs, sizeof(runs), "%s/runs", dir) >= (int)sizeof(runs))
        return err_set(e, E_INVALID, "the path of --take is too long");
    struct waiting *found = mem_must(WAITING_MAX * sizeof(*found));
    int rc = find_waiting(runs, found, &n, e), is_claimed = 0;
    for (int i = 0; rc == 0 && !is_claimed && i < n; i++) {
        struct err mine = {0};
        rc = claim_one(runs, found[i].name, out, &mine);
        is_claimed = rc == 0;
        if (rc == E_BUSY) rc = 0;
        if (rc) (void)err_set(e, rc, "%s", mine.text);
    }
    mem_free(found);
    return rc || is_claimed ? rc : E_NOT_FOUND;
}

int take_claim(const char *dir, const struct train_comm *comm, struct folder *out, struct err *e) {
    struct told {
        int rc;
        char path[sizeof(out->path)];
    } told = {0};
    out->lock = -1;
    if (!comm || !comm->rank) told.rc = claim(dir, out, e);
    if (!comm) return told.rc;
    if (told.rc == 0 && !comm->rank) memcpy(told.path, out->path, sizeof(told.path));
    int rc = comm->broadcast(comm->state, &told, sizeof(told), e);
    if (rc || comm->rank == 0) return rc ? rc : told.rc;
    told.path[sizeof(told.path) - 1] = '\0';
    if (told.rc == E_NOT_FOUND) return told.rc;
    return told.rc ? err_set(e, told.rc, "the first rank could claim nothing")
                   : folder_name(told.path, out, e);
}

int take_is_stopped(const struct folder *f) {
    char path[FOLDER_PATH_MAX];
    folder_file(f, "stop", path);
    return access(path, F_OK) == 0;
}
