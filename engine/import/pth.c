/* pth.c - opens a file that torch.save wrote, in one form or the other. See pth.h. */
#include "engine/import/pth.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/files/lfs.h"
#include "engine/import/pth_internal.h"
#include "kernels/base/mem.h"

int pth_may_be(const void *bytes, size_t len) {
    return zip_may_be(bytes, len) || pth_legacy_may_be(bytes, len);
}

/* What else people keep under these names. */
static int pth_refuse(const uint8_t *bytes, size_t len, struct err *e) {
    if (lfs_refuse(bytes, len, e)) return e->code;
    if (len > 262 && !memcmp(bytes + 257, "ustar", 5))
        return err_set(e, E_UNSUPPORTED, "a tar, which torch wrote before 0.1.10: save it again");
    if (len > 2 && bytes[0] == 0x80)
        return err_set(e, E_FORMAT, "a pickle, but not one of torch.save");
    return err_set(e, E_FORMAT, "not a file of torch.save%s", len ? "" : ": it is empty");
}

static int pth_read_all(struct pth *p, struct err *e) {
    int rc = zip_may_be(p->bytes, p->len)          ? pth_read_zip(p, e)
             : pth_legacy_may_be(p->bytes, p->len) ? pth_read_legacy(p, e)
                                                   : pth_refuse(p->bytes, p->len, e);
    return rc ? rc : pth_read_tensors(p, e);
}

static int pth_open_bytes(const void *bytes, size_t len, int is_mapped, struct pth **out,
                          struct err *e) {
    struct pth *p = mem_try(sizeof *p);
    if (!p && is_mapped) munmap((void *)bytes, len);
    if (!p) return err_set(e, E_NOMEM, "no memory for a file of torch");
    p->bytes = bytes;
    p->len = len;
    p->is_mapped = is_mapped;
    int rc = pth_read_all(p, e);
    if (rc) {
        pth_close(p);
        return rc;
    }
    *out = p;
    return 0;
}

int pth_parse(const void *bytes, size_t len, struct pth **out, struct err *e) {
    *out = NULL;
    return pth_open_bytes(bytes, len, 0, out, e);
}

int pth_open(const char *path, struct pth **out, struct err *e) {
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return err_set(e, errno == ENOENT ? E_NOT_FOUND : E_IO, "%s", strerror(errno));
    struct stat s;
    int rc = 0;
    void *bytes = NULL;
    if (fstat(fd, &s) || !S_ISREG(s.st_mode)) rc = err_set(e, E_FORMAT, "not a regular file");
    if (!rc && s.st_size == 0) rc = pth_refuse((const uint8_t *)"", 0, e);
    if (!rc && (bytes = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
        rc = err_set(e, E_IO, "%s", strerror(errno));
    close(fd);
    return rc ? rc : pth_open_bytes(bytes, (size_t)s.st_size, 1, out, e);
}

void pth_close(struct pth *p) {
    if (!p) return;
    zip_close(p->zip);
    pickle_free(p->pickle);
    mem_free(p->storages);
    arena_free(p->arena);
    if (p->is_mapped) munmap((void *)p->bytes, p->len);
    mem_free(p);
}

size_t pth_count(const struct pth *p) { return p->n_tensors; }
const struct pth_tensor *pth_at(const struct pth *p, size_t i) { return &p->tensors[i]; }
const char *pth_foreign(const struct pth *p) { return p->foreign; }

const void *pth_bytes(const struct pth *p, size_t *len) {
    *len = p->len;
    return p->bytes;
}

int pth_check(struct pth *p, const struct pth_tensor *t, struct err *e) {
    must(!t->flaw);
    struct zip_member *m = p->storages[t->storage].member;
    return m ? zip_check(p->zip, m, e) : 0;
}
