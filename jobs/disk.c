/* disk.c - see disk.h. */
#include "jobs/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "jobs/jobs.h"

enum { DEEP = 2 };

int disk_bad(const char *path, struct err *e) {
    return err_set(e, E_IO, "%s: %s", path, strerror(errno));
}

int disk_folder(const char *path, struct err *e) {
    return mkdir(path, 0700) && errno != EEXIST ? disk_bad(path, e) : 0;
}

/* The names in the folder of this path are on the disk. */
static int sync_folder(const char *path, struct err *e) {
    char folder[JOBS_PATH_MAX];
    snprintf(folder, sizeof(folder), "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) *slash = '\0';
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return disk_bad(folder, e);
    int rc = fsync(fd) ? disk_bad(folder, e) : 0;
    close(fd);
    return rc;
}

static int disk_write_all(int fd, const uint8_t *p, size_t len) {
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return -1;
        p += n;
        len -= (size_t)n;
    }
    return fsync(fd);
}

int disk_write(const char *path, const void *bytes, size_t len, struct err *e) {
    char beside[JOBS_PATH_MAX + 8];
    snprintf(beside, sizeof(beside), "%s.tmp", path);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return disk_bad(path, e);
    int rc = disk_write_all(fd, bytes, len) ? disk_bad(path, e) : 0;
    close(fd);
    if (rc == 0) rc = disk_move(beside, path, e);
    if (rc) unlink(beside);
    return rc;
}

int disk_read(const char *path, struct buf *out, struct err *e) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return E_NOT_FOUND;
    if (fd < 0) return disk_bad(path, e);
    int rc = 0;
    for (;;) {
        char part[16 << 10];
        ssize_t n = read(fd, part, sizeof(part));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) rc = disk_bad(path, e);
        if (n > 0 && buf_add(out, part, (size_t)n)) rc = err_set(e, out->bad, "%s: too big", path);
        if (n <= 0 || rc) break;
    }
    close(fd);
    return rc;
}

int disk_move(const char *from, const char *to, struct err *e) {
    if (rename(from, to)) return errno == ENOENT ? E_NOT_FOUND : disk_bad(to, e);
    return sync_folder(to, e);
}

int disk_link(const char *from, const char *to, struct err *e) {
    if (link(from, to) && errno != EEXIST) return disk_bad(to, e);
    return sync_folder(to, e);
}

static void remove_at(int dir, const char *name, int deep) {
    if (unlinkat(dir, name, 0) == 0 || deep == 0) return;
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        if (fd >= 0) close(fd);
        return;
    }
    for (const struct dirent *at; (at = readdir(d));)
        if (strcmp(at->d_name, ".") != 0 && strcmp(at->d_name, "..") != 0)
            remove_at(fd, at->d_name, deep - 1);
    closedir(d);
    (void)unlinkat(dir, name, AT_REMOVEDIR);
}

void disk_remove(const char *path) { remove_at(AT_FDCWD, path, DEEP + 1); }

void disk_sweep(const char *folder, disk_keep_fn *is_kept, void *ud) {
    DIR *d = opendir(folder);
    if (!d) return;
    for (const struct dirent *at; (at = readdir(d));)
        if (at->d_name[0] != '.' && !is_kept(ud, at->d_name))
            remove_at(dirfd(d), at->d_name, DEEP + 1);
    closedir(d);
}

uint64_t disk_free(const char *path) {
    struct statvfs s;
    return statvfs(path, &s) ? UINT64_MAX : (uint64_t)s.f_bavail * s.f_frsize;
}
