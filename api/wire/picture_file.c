/* picture_file.c - see picture_file.h. */
#include "api/wire/picture_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

enum { PATH_BYTES = 4096, SHOWN = 80 };

/* Does it stay below where it begins? */
static int leads_down(const char *path) {
    for (const char *part = path; *part;) {
        size_t n = strcspn(part, "/");
        if (n == 0 || (n == 2 && memcmp(part, "..", 2) == 0)) return 0;
        part += n + (part[n] == '/');
    }
    return *path != '\0';
}

static int picture_file_read_all(int fd, uint8_t *to, size_t len) {
    for (size_t at = 0; at < len;) {
        ssize_t n = read(fd, to + at, len - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return E_IO;
        at += (size_t)n;
    }
    return 0;
}

static int read_open(int fd, const char *path, size_t max, uint8_t **bytes, size_t *len,
                     struct err *e) {
    struct stat s;
    if (fstat(fd, &s) || !S_ISREG(s.st_mode))
        return err_set(e, E_INVALID, "file:%.*s is no file", SHOWN, path);
    if (s.st_size < 0 || (uint64_t)s.st_size > max)
        return err_set(e, E_TOO_BIG, "file:%.*s has %lld bytes; at most %zu are taken", SHOWN, path,
                       (long long)s.st_size, max);
    size_t n = (size_t)s.st_size;
    uint8_t *p = mem_try(n ? n : 1);
    if (!p) return err_set(e, E_NOMEM, "no memory for a picture");
    if (picture_file_read_all(fd, p, n)) {
        mem_free(p);
        return err_set(e, E_INVALID, "file:%.*s can't be read", SHOWN, path);
    }
    *bytes = p;
    *len = n;
    return 0;
}

int picture_file_read(const char *folder, const char *path, size_t max, uint8_t **bytes,
                      size_t *len, struct err *e) {
    char whole[PATH_BYTES];
    if (!utf8_is_plain(path) || !leads_down(path))
        return err_set(e, E_INVALID,
                       "file: takes a path that leads down from the folder of the batch, such as "
                       "file:photos/1.jpg");
    int n = snprintf(whole, sizeof(whole), "%s/%s", folder, path);
    if (n < 0 || (size_t)n >= sizeof(whole))
        return err_set(e, E_INVALID, "the path of a picture is too long");
    int fd = open(whole, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_set(e, E_INVALID, "file:%.*s: %s", SHOWN, path,
                       errno == ENOENT ? "there is no such file" : "it can't be opened");
    int rc = read_open(fd, path, max, bytes, len, e);
    close(fd);
    return rc;
}
