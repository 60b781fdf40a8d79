/* newfile.c - see newfile.h. A full disk is found by write or by fsync, a broken one by fsync: so
 * the rename comes behind both. */
#include "engine/files/newfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The sentence of errno, with what to do about the usual one. */
static int newfile_fail(const char *path, struct err *e) {
    const char *hint = errno == ENOSPC || errno == EDQUOT ? ": free some of it and try again" : "";
    return err_set(e, E_IO, "%s: %s%s", path, strerror(errno), hint);
}

int newfile_begin(struct newfile *f, const char *path, struct err *e) {
    f->fd = -1;
    if (strlen(path) > NEWFILE_PATH_MAX) return err_set(e, E_INVALID, "the path is too long");
    (void)snprintf(f->path, sizeof f->path, "%s", path);
    (void)snprintf(f->temp, sizeof f->temp, "%s.tmp", path);
    f->fd = open(f->temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    return f->fd < 0 ? newfile_fail(f->temp, e) : 0;
}

int newfile_add(struct newfile *f, const void *bytes, size_t n, struct err *e) {
    const char *at = bytes;
    while (n) {
        ssize_t k = write(f->fd, at, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return newfile_fail(f->path, e);
        at += k;
        n -= (size_t)k;
    }
    return 0;
}

int newfile_sync_folder(const char *folder, struct err *e) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* A file system that can't sync folders says EINVAL, and needs no syncing. */
    int failed = fd < 0 || (fsync(fd) && errno != EINVAL);
    if (failed) (void)newfile_fail(folder, e);
    if (fd >= 0) close(fd);
    return failed ? E_IO : 0;
}

int newfile_sync_around(const char *path, struct err *e) {
    char folder[NEWFILE_PATH_MAX + 1];
    (void)snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (!slash) return newfile_sync_folder(".", e);
    slash[slash == folder] = '\0';
    return newfile_sync_folder(folder, e);
}

int newfile_end(struct newfile *f, int rc, struct err *e) {
    if (f->fd < 0) return rc;
    if (!rc && fsync(f->fd)) rc = newfile_fail(f->path, e);
    if (close(f->fd) && !rc) rc = newfile_fail(f->path, e);
    f->fd = -1;
    if (!rc && rename(f->temp, f->path)) rc = newfile_fail(f->path, e);
    if (rc)
        (void)unlink(f->temp);
    else
        rc = newfile_sync_around(f->path, e);
    return rc;
}

int newfile_write(const char *path, const void *bytes, size_t n, struct err *e) {
    struct newfile f;
    int rc = newfile_begin(&f, path, e);
    if (!rc) rc = newfile_add(&f, bytes, n, e);
    return newfile_end(&f, rc, e);
}

static int copy_all(struct newfile *f, int from, const char *name, struct err *e) {
    char piece[65536];
    for (;;) {
        ssize_t n = read(from, piece, sizeof piece);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return newfile_fail(name, e);
        if (n == 0) return 0;
        int rc = newfile_add(f, piece, (size_t)n, e);
        if (rc) return rc;
    }
}

int newfile_copy(const char *path, const char *from, struct err *e) {
    struct newfile f;
    struct stat s;
    int fd = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) return err_set(e, E_NOT_FOUND, "%s: %s", from, strerror(errno));
    if (fd < 0) return newfile_fail(from, e);
    int rc = fstat(fd, &s) || !S_ISREG(s.st_mode) ? err_set(e, E_IO, "%s: not a regular file", from)
                                                  : newfile_begin(&f, path, e);
    if (!rc) rc = newfile_end(&f, copy_all(&f, fd, from, e), e);
    close(fd);
    return rc;
}
