/* badwrite.c - a disk that fails once: for LD_PRELOAD.
 *
 *     BADWRITE_FOLDER=/runs/a BADWRITE=fsync:3:5 lammd train ...     the third fsync says EIO
 *     BADWRITE_FOLDER=/runs/a BADWRITE=count:FILE lammd train ...    FILE gets a line for each call
 *
 * Only write, fsync and rename of what lies below the folder count, each for itself from 1 on. A
 * write that fails has stored half of its bytes, as a full disk does: the call before the failure
 * is cut short. Calls that libc makes within itself (stdio's) aren't seen.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum call { WRITE, FSYNC, RENAME, CALLS };
static const char *const words[CALLS] = {"write", "fsync", "rename"};
static _Atomic long seen[CALLS];
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_fsync)(int), (*real_rename)(const char *, const char *);

__attribute__((constructor)) static void badwrite_begin(void) {
    *(void **)&real_write = dlsym(RTLD_NEXT, "write");
    *(void **)&real_fsync = dlsym(RTLD_NEXT, "fsync");
    *(void **)&real_rename = dlsym(RTLD_NEXT, "rename");
}

static int is_below(const char *path) {
    const char *folder = getenv("BADWRITE_FOLDER");
    size_t n = folder ? strlen(folder) : 0;
    return n && strncmp(path, folder, n) == 0;
}

static int is_file_below(int fd) {
    char link[40], path[4096];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    return is_below(path);
}

static void note(const char *file, enum call call) {
    int fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    char line[16];
    int n = snprintf(line, sizeof line, "%s\n", words[call]);
    if (fd >= 0) (void)!real_write(fd, line, (size_t)n);
    if (fd >= 0) close(fd);
}

/* Is this the call that fails? *before: how many are left until then. */
static int fails(enum call call, long *before) {
    const char *how = getenv("BADWRITE");
    char word[16];
    long at = 0;
    int code = 0;
    *before = -1;
    long now = atomic_fetch_add(&seen[call], 1) + 1;
    if (!how) return 0;
    if (strncmp(how, "count:", 6) == 0) {
        note(how + 6, call);
        return 0;
    }
    if (sscanf(how, "%15[a-z]:%ld:%d", word, &at, &code) != 3 || strcmp(word, words[call]) != 0)
        return 0;
    *before = at - now;
    if (at == now) errno = code;
    return at == now;
}

ssize_t write(int fd, const void *bytes, size_t n) {
    long before;
    if (!is_file_below(fd)) return real_write(fd, bytes, n);
    if (fails(WRITE, &before)) return -1;
    return real_write(fd, bytes, before == 1 && n > 1 ? n / 2 : n);
}

int fsync(int fd) {
    long before;
    return is_file_below(fd) && fails(FSYNC, &before) ? -1 : real_fsync(fd);
}

int rename(const char *from, const char *to) {
    long before;
    return is_below(to) && fails(RENAME, &before) ? -1 : real_rename(from, to);
}
