/* partfolder.c - see partfolder.h. The lock is flock's, on the folder itself: it goes with the
 * process. */
#include "engine/import/partfolder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum {
    SPARE = 16 << 20, /* bytes for the small files */
    TRIES = 30,       /* for the lock: a process that was killed takes a moment to go */
    TRY_NS = 100 * 1000 * 1000
};

static int partfolder_fail(const char *path, struct err *e) {
    return err_set(e, E_IO, "%s: %s", path, strerror(errno));
}

/* One of the names, or the temporary of one. */
static int partfolder_knows(const char *const *names, const char *file) {
    if (!strcmp(file, ".") || !strcmp(file, "..")) return 1;
    for (; *names; names++) {
        size_t n = strlen(*names);
        if (!strncmp(file, *names, n) && (!file[n] || !strcmp(file + n, ".tmp"))) return 1;
    }
    return 0;
}

static int check_files(const struct partfolder *f, const char *const *names, struct err *e) {
    DIR *d = opendir(f->part);
    if (!d) return partfolder_fail(f->part, e);
    int rc = 0;
    for (struct dirent *entry; !rc && (entry = readdir(d)) != NULL;)
        if (!partfolder_knows(names, entry->d_name))
            rc = err_set(e, E_INVALID, "%s: has other files (%.64s): remove it", f->part,
                         entry->d_name);
    closedir(d);
    return rc;
}

static int partfolder_check_free(const struct partfolder *f, struct err *e) {
    struct stat s;
    if (lstat(f->path, &s)) return 0;
    return err_set(e, E_INVALID, "%s: is there already: remove it, or choose another name",
                   f->path);
}

static int partfolder_lock(const struct partfolder *f, struct err *e) {
    for (int i = 0; flock(f->fd, LOCK_EX | LOCK_NB); i++) {
        if (errno != EWOULDBLOCK) return partfolder_fail(f->part, e);
        if (i == TRIES) return err_set(e, E_BUSY, "%s: another process makes it", f->part);
        (void)nanosleep(&(struct timespec){.tv_nsec = TRY_NS}, NULL);
    }
    struct stat mine, there; /* the other one may have made it whole meanwhile */
    if (!fstat(f->fd, &mine) && !lstat(f->part, &there) && mine.st_dev == there.st_dev &&
        mine.st_ino == there.st_ino)
        return partfolder_check_free(f, e);
    return err_set(e, E_BUSY, "%s: another process made it meanwhile", f->path);
}

int partfolder_begin(struct partfolder *f, const char *path, const char *const *names,
                     struct err *e) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    f->fd = -1;
    if (!n || n > NEWFILE_PATH_MAX)
        return err_set(e, E_INVALID, "the folder's name is %s", n ? "too long" : "empty");
    (void)snprintf(f->path, sizeof f->path, "%.*s", (int)n, path);
    (void)snprintf(f->part, sizeof f->part, "%s.part", f->path);
    int rc = partfolder_check_free(f, e);
    if (rc) return rc;
    if (mkdir(f->part, 0777) && errno != EEXIST)
        return errno == ENOENT ? err_set(e, E_IO, "%s: the folder around it isn't there", f->path)
                               : partfolder_fail(f->part, e);
    f->fd = open(f->part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (f->fd < 0) return partfolder_fail(f->part, e);
    rc = partfolder_lock(f, e);
    if (rc == E_INVALID) (void)rmdir(f->part); /* made a moment too late, and empty */
    return rc ? rc : check_files(f, names, e);
}

const char *partfolder_file(struct partfolder *f, const char *name) {
    (void)snprintf(f->file, sizeof f->file, "%s/%.120s", f->part, name);
    return f->file;
}

int partfolder_check_room(struct partfolder *f, const char *name, uint64_t bytes, struct err *e) {
    struct statvfs v;
    struct stat s;
    if (fstatvfs(f->fd, &v)) return 0; /* writing will tell */
    uint64_t has = stat(partfolder_file(f, name), &s) ? 0 : (uint64_t)s.st_blocks * 512;
    uint64_t room = (uint64_t)v.f_bavail * v.f_frsize, need = bytes > has ? bytes - has : 0;
    if (need + SPARE <= room) return 0;
    return err_set(e, E_IO, "%s: needs %.1f GB, and %.1f GB are free there", f->path,
                   (double)(need + SPARE) / 1e9, (double)room / 1e9);
}

int partfolder_end(struct partfolder *f, int rc, struct err *e) {
    if (!rc) rc = newfile_sync_folder(f->part, e);
    if (!rc && renameat2(AT_FDCWD, f->part, AT_FDCWD, f->path, RENAME_NOREPLACE)) {
        if (errno != EINVAL || rename(f->part, f->path)) rc = partfolder_fail(f->path, e);
    }
    if (!rc) rc = newfile_sync_around(f->path, e);
    if (f->fd >= 0) close(f->fd);
    f->fd = -1;
    return rc;
}
