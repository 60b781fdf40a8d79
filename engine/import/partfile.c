/* partfile.c - see partfile.h. */
#include "engine/import/partfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/mem.h"

enum { ROOM = 1 << 20, PUSH_BYTES = 32 << 20 };

static int partfile_fail(const struct partfile *f, struct err *e) {
    const char *hint = errno == ENOSPC || errno == EDQUOT ? ": free some of it and go on" : "";
    return err_set(e, E_IO, "%s: %s%s", f->path, strerror(errno), hint);
}

int partfile_open(struct partfile *f, const char *path, struct err *e) {
    *f = (struct partfile){.fd = -1, .path = path};
    f->room = mem_try(ROOM);
    if (!f->room) return err_set(e, E_NOMEM, "no memory to write by");
    f->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    return f->fd < 0 ? partfile_fail(f, e) : 0;
}

/* How many of n bytes, at most ROOM, are there already. */
static size_t partfile_same(const struct partfile *f, const char *bytes, size_t n) {
    size_t same = 0;
    ssize_t got = pread(f->fd, f->room, n, (off_t)f->at);
    if (got <= 0) return 0;
    if (!memcmp(f->room, bytes, (size_t)got)) return (size_t)got;
    while (((const char *)f->room)[same] == bytes[same])
        same++;
    return same;
}

/* The disk begins with what is there, so that little is left to wait for at the end. What fails
 * fails again at the fsync, which is looked at. */
static void partfile_push(struct partfile *f) {
    if (f->at - f->pushed < PUSH_BYTES) return;
    (void)sync_file_range(f->fd, (off_t)f->pushed, (off_t)(f->at - f->pushed),
                          SYNC_FILE_RANGE_WRITE);
    f->pushed = f->at;
}

int partfile_add(struct partfile *f, const void *bytes, size_t n, struct err *e) {
    const char *from = bytes;
    while (n && !f->is_new) {
        size_t most = n < ROOM ? n : ROOM, same = partfile_same(f, from, most);
        f->is_new = same < most;
        f->at += same;
        from += same;
        n -= same;
        if (f->is_new && ftruncate(f->fd, (off_t)f->at)) return partfile_fail(f, e);
    }
    while (n) {
        ssize_t k = pwrite(f->fd, from, n, (off_t)f->at);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return partfile_fail(f, e);
        f->at += (uint64_t)k;
        from += k;
        n -= (size_t)k;
    }
    partfile_push(f);
    return 0;
}

int partfile_close(struct partfile *f, int rc, struct err *e) {
    mem_free(f->room);
    if (f->fd < 0) return rc;
    if (!rc && (ftruncate(f->fd, (off_t)f->at) || fsync(f->fd))) rc = partfile_fail(f, e);
    if (close(f->fd) && !rc) rc = partfile_fail(f, e);
    f->fd = -1;
    return rc;
}
