/* smallfile.c - see smallfile.h. One byte more than the limit is asked for: so a file that grows
 * while it is read is found out. */
#include "engine/files/smallfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/files/lfs.h"
#include "kernels/base/mem.h"

static int read_fd(int fd, size_t most, char *text, size_t *len, struct err *e) {
    size_t at = 0;
    while (at <= most) {
        ssize_t n = read(fd, text + at, most + 1 - at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_set(e, E_IO, "%s", strerror(errno));
        if (n == 0) break;
        at += (size_t)n;
    }
    if (at > most) return err_set(e, E_TOO_BIG, "more than %zu bytes", most);
    *len = at;
    return 0;
}

int smallfile_read(const char *path, size_t most, char **out, size_t *len, struct err *e) {
    /* O_NONBLOCK: a named pipe instead of a file must not block. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return err_set(e, errno == ENOENT ? E_NOT_FOUND : E_IO, "%s", strerror(errno));
    struct stat s;
    int rc = 0;
    char *text = NULL;
    if (fstat(fd, &s) || !S_ISREG(s.st_mode)) rc = err_set(e, E_FORMAT, "not a regular file");
    if (!rc && (uint64_t)s.st_size > most) rc = err_set(e, E_TOO_BIG, "more than %zu bytes", most);
    if (!rc && !(text = mem_try(most + 1))) rc = err_set(e, E_NOMEM, "no memory");
    if (!rc) rc = read_fd(fd, most, text, len, e);
    if (!rc) rc = lfs_refuse(text, *len, e);
    close(fd);
    if (rc)
        mem_free(text);
    else
        *out = text;
    return rc;
}
