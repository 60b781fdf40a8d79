/* folder.c - see folder.h. */
#include "cli/train/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/num.h"
#include "kernels/base/str.h"

static int folder_bad(const char *path, struct err *e) {
    return err_set(e, E_IO, "%s: %s", path, strerror(errno));
}

/* mkdir -p */
static int make_folders(const char *path, struct err *e) {
    char part[sizeof(((struct folder *)0)->path)];
    for (const char *s = path;; s++) {
        if (*s && (*s != '/' || s == path)) continue;
        snprintf(part, sizeof(part), "%.*s", (int)(s - path), path);
        if (mkdir(part, 0777) && errno != EEXIST) return folder_bad(part, e);
        if (!*s) break;
    }
    struct stat st;
    if (stat(path, &st)) return folder_bad(path, e);
    return S_ISDIR(st.st_mode) ? 0 : err_set(e, E_IO, "%s: it is not a folder", path);
}

/* What the run that has the lock wrote into it. */
static int folder_taken(struct folder *f, struct err *e) {
    char who[32] = "";
    ssize_t n = pread(f->lock, who, sizeof(who) - 1, 0);
    who[n > 0 ? n : 0] = '\0';
    who[strcspn(who, "\n")] = '\0';
    return err_set(e, E_BUSY, "%s: another lammd train is at work here%s%s", f->path,
                   *who ? ", process " : "", who);
}

/* A server looks at the lock for a moment by taking it (shared): so it is tried again. */
static int take_it(int fd) {
    const struct timespec moment = {0, 10 * 1000 * 1000};
    int rc = flock(fd, LOCK_EX | LOCK_NB);
    for (int i = 0; rc && errno == EWOULDBLOCK && i < 10; i++) {
        nanosleep(&moment, NULL);
        rc = flock(fd, LOCK_EX | LOCK_NB);
    }
    return rc;
}

static int take_lock(struct folder *f, struct err *e) {
    char path[FOLDER_PATH_MAX];
    folder_file(f, "lock", path);
    f->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (f->lock < 0) return folder_bad(path, e);
    if (take_it(f->lock)) return errno == EWOULDBLOCK ? folder_taken(f, e) : folder_bad(path, e);
    char who[32];
    int n = snprintf(who, sizeof(who), "%ld\n", (long)getpid());
    if (ftruncate(f->lock, 0) == 0) (void)!pwrite(f->lock, who, (size_t)n, 0); /* only told */
    return 0;
}

int folder_name(const char *path, struct folder *f, struct err *e) {
    f->lock = -1;
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (!n || n >= sizeof(f->path)) return err_set(e, E_INVALID, "the path of --out is too long");
    snprintf(f->path, sizeof(f->path), "%.*s", (int)n, path);
    return 0;
}

int folder_open(const char *path, struct folder *f, struct err *e) {
    int rc = folder_name(path, f, e);
    if (rc == 0) rc = make_folders(f->path, e);
    if (rc == 0) rc = take_lock(f, e);
    if (rc) folder_close(f);
    return rc;
}

void folder_close(struct folder *f) {
    if (f->lock >= 0) close(f->lock);
    f->lock = -1;
}

void folder_file(const struct folder *f, const char *name, char to[FOLDER_PATH_MAX]) {
    int n = snprintf(to, FOLDER_PATH_MAX, "%s/%s", f->path, name);
    must(n > 0 && n < FOLDER_PATH_MAX);
}

void folder_checkpoint(const struct folder *f, uint64_t step, char to[FOLDER_PATH_MAX]) {
    char name[40];
    snprintf(name, sizeof(name), "step-%08" PRIu64 ".safetensors", step);
    folder_file(f, name, to);
}

/* "step-00000100.safetensors" -> 100 */
static int is_checkpoint(const char *name, uint64_t *step) {
    if (strncmp(name, "step-", 5) != 0) return 0;
    size_t n = strspn(name + 5, "0123456789");
    if (n < 8 || n > 18 || strcmp(name + 5 + n, ".safetensors") != 0) return 0;
    *step = strtoull(name + 5, NULL, 10);
    return 1;
}

/* What a run that was killed was writing when it ended. */
static void drop_half(const struct folder *f, const char *name) {
    char path[FOLDER_PATH_MAX];
    if (strncmp(name, "step-", 5) != 0 || !has_suffix(name, ".tmp") || strlen(name) > 60) return;
    folder_file(f, name, path);
    unlink(path);
}

static int newest_first(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

int folder_steps(const struct folder *f, uint64_t steps[FOLDER_STEPS_MAX], int *n, struct err *e) {
    DIR *d = opendir(f->path);
    if (!d) return folder_bad(f->path, e);
    uint64_t step;
    *n = 0;
    for (const struct dirent *at; (at = readdir(d));) {
        drop_half(f, at->d_name);
        if (*n < FOLDER_STEPS_MAX && is_checkpoint(at->d_name, &step)) steps[(*n)++] = step;
    }
    closedir(d);
    qsort(steps, (size_t)*n, sizeof(steps[0]), newest_first);
    return 0;
}

int folder_prune(const struct folder *f, uint64_t best, struct err *e) {
    uint64_t steps[FOLDER_STEPS_MAX];
    int n;
    int rc = folder_steps(f, steps, &n, e);
    for (int i = 2; rc == 0 && i < n; i++) {
        char path[FOLDER_PATH_MAX];
        if (best && steps[i] == best) continue;
        folder_checkpoint(f, steps[i], path);
        if (unlink(path) && errno != ENOENT) rc = folder_bad(path, e);
    }
    return rc;
}

int folder_check_space(const struct folder *f, uint64_t bytes, struct err *e) {
    struct statvfs s;
    if (statvfs(f->path, &s)) return folder_bad(f->path, e);
    uint64_t free_bytes = (uint64_t)s.f_bavail * s.f_frsize;
    if (free_bytes / 3 >= bytes) return 0;
    return err_set(
        e, E_IO,
        "%s: there is room for %.1f MiB, and three checkpoints take %.1f MiB: free some, "
        "or give another --out",
        f->path, in_mib(free_bytes), in_mib(3 * bytes));
}
