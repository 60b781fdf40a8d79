/* statedir.c - see statedir.h. The kernel frees the lock of a process that ends, however it ends,
 * so a file that is left behind means nothing. */
#include "server/statedir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int lock_it(const char *dir, int fd, struct err *e) {
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return 0;
    if (errno != EWOULDBLOCK) return err_set(e, E_IO, "%s: %s", dir, strerror(errno));
    return err_set(e, E_BUSY,
                   "%s is in use: another lammd serve has it; stop that one, or give this one a "
                   "folder of its own",
                   dir);
}

int statedir_open(const char *dir, int *fd, struct err *e) {
    char path[4096];
    struct stat s;
    *fd = -1;
    if (mkdir(dir, 0700) && errno != EEXIST)
        return err_set(e, E_IO, "--state %s can't be made: %s", dir, strerror(errno));
    if (stat(dir, &s) || !S_ISDIR(s.st_mode))
        return err_set(e, E_INVALID, "--state %s is no folder", dir);
    if (snprintf(path, sizeof(path), "%s/lammd.lock", dir) >= (int)sizeof(path))
        return err_set(e, E_INVALID, "the name of --state's folder is too long");
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (lock < 0) return err_set(e, E_IO, "%s: %s", path, strerror(errno));
    int rc = lock_it(dir, lock, e);
    if (rc)
        close(lock);
    else
        *fd = lock;
    return rc;
}

void statedir_close(int fd) {
    if (fd >= 0) close(fd);
}
