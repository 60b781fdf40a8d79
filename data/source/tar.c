/* tar.c - see tar.h. The layout is that of POSIX.1-1988's ustar: blocks of 512 bytes, a header
 * before each file, two blocks of zeros at the end. One zero block is taken as the end, too.
 *
 * GNU tar marks its headers `ustar  ` and has times where ustar has the name's prefix, so the
 * prefix is read of true ustar alone.
 */
#include "data/source/tar.h"

#include <string.h>

#include "kernels/base/utf8.h"

struct raw { /* a header as it lies in the file */
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[100], magic[6],
        version[2], user[32], group[32], major[8], minor[8], prefix[155], rest[12];
};
_Static_assert(sizeof(struct raw) == TAR_BLOCK, "a header is a block");

/* Digits of base 8, blanks before and a blank or NUL behind; -1 for anything else. */
static int64_t tar_octal(const char *p, size_t n) {
    int64_t v = 0;
    size_t i = 0, digits = 0;
    while (i < n && p[i] == ' ')
        i++;
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++, digits++)
        v = v * 8 + (p[i] - '0');
    if (!digits || (i < n && p[i] != ' ' && p[i] != '\0')) return -1;
    return v;
}

static int is_sum_right(const struct raw *h) {
    const uint8_t *p = (const uint8_t *)h;
    int64_t sum = 0;
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += i >= offsetof(struct raw, sum) && i < offsetof(struct raw, type) ? ' ' : p[i];
    return tar_octal(h->sum, sizeof(h->sum)) == sum;
}

static int tar_is_zero(const struct raw *h) {
    const uint8_t *p = (const uint8_t *)h;
    for (size_t i = 0; i < TAR_BLOCK; i++)
        if (p[i]) return 0;
    return 1;
}

int tar_name_check(const char *name, struct err *e) {
    if (!*name) return err_set(e, E_FORMAT, "a file has no name");
    if (strlen(name) > TAR_NAME_MAX)
        return err_set(e, E_FORMAT, "a file's name has over %d bytes", TAR_NAME_MAX);
    if (!utf8_is_plain(name)) return err_set(e, E_FORMAT, "a file's name isn't plain UTF-8");
    if (*name == '/') return err_set(e, E_FORMAT, "%.80s: an absolute name", name);
    for (const char *part = name; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL) {
        size_t n = strcspn(part, "/");
        if (n == 2 && memcmp(part, "..", 2) == 0)
            return err_set(e, E_FORMAT, "%.80s: a name with ..", name);
        if (n == 0 || (n == 1 && *part == '.'))
            return err_set(e, E_FORMAT, "%.80s: a name with an empty part", name);
    }
    return 0;
}

/* prefix/name, without "./" in front and "/" behind. */
static int tar_read_name(const struct raw *h, char *to, struct err *e) {
    char all[sizeof(h->prefix) + sizeof(h->name) + 2];
    size_t n = 0, len = strnlen(h->prefix, sizeof(h->prefix));
    if (memcmp(h->magic, "ustar", 6) == 0 && len) {
        memcpy(all, h->prefix, len);
        all[len] = '/';
        n = len + 1;
    }
    len = strnlen(h->name, sizeof(h->name));
    memcpy(all + n, h->name, len);
    n += len;
    while (h->type == '5' && n && all[n - 1] == '/')
        n--;
    all[n] = '\0';
    const char *name = all;
    while (name[0] == '.' && name[1] == '/')
        name += 2;
    if (strlen(name) > TAR_NAME_MAX)
        return err_set(e, E_FORMAT, "a file's name has over %d bytes", TAR_NAME_MAX);
    memcpy(to, name, strlen(name) + 1);
    return 0;
}

static int tar_check_type(const struct raw *h, const char *name, struct err *e) {
    static const char again[] = "write the tar with plain headers (tar --format=ustar, Python's "
                                "tarfile.USTAR_FORMAT)";
    switch (h->type) {
    case '0':
    case '\0':
    case '5': return 0;
    case '1':
    case '2': return err_set(e, E_UNSUPPORTED, "%.80s is a link; store the file itself", name);
    case 'x':
    case 'g': return err_set(e, E_UNSUPPORTED, "it has pax headers; %s", again);
    case 'L':
    case 'K': return err_set(e, E_UNSUPPORTED, "it has GNU long names; %s", again);
    case 'S': return err_set(e, E_UNSUPPORTED, "%.80s is a sparse file; %s", name, again);
    default: return err_set(e, E_UNSUPPORTED, "%.80s is not a regular file", name);
    }
}

/* gzip, bzip2, xz, zstd. */
static int is_packed(const uint8_t *p) {
    static const uint8_t xz[] = {0xfd, '7', 'z', 'X', 'Z'}, zstd[] = {0x28, 0xb5, 0x2f, 0xfd};
    return (p[0] == 0x1f && p[1] == 0x8b) || memcmp(p, "BZh", 3) == 0 ||
           memcmp(p, xz, sizeof(xz)) == 0 || memcmp(p, zstd, sizeof(zstd)) == 0;
}

int tar_may_be(const uint8_t *head, size_t n) {
    size_t at = offsetof(struct raw, magic);
    if (n >= 8 && is_packed(head)) return 1;
    return n >= at + 5 && memcmp(head + at, "ustar", 5) == 0;
}

static int tar_read_header(const struct raw *h, struct tar_file *f, struct err *e) {
    if (memcmp(h->magic, "ustar", 5) != 0 || !is_sum_right(h)) {
        if (is_packed((const uint8_t *)h))
            return err_set(e, E_UNSUPPORTED, "the tar is compressed; unpack it (gunzip, unzstd)");
        return err_set(e, E_FORMAT, "not a tar, or a damaged one");
    }
    int rc = tar_read_name(h, f->name, e);
    if (rc == 0) rc = tar_check_type(h, f->name, e);
    if (rc == 0 && !(h->type == '5' && (!*f->name || strcmp(f->name, ".") == 0)))
        rc = tar_name_check(f->name, e);
    if (rc) return rc;
    int64_t size = tar_octal(h->size, sizeof(h->size));
    if (size < 0) return err_set(e, E_FORMAT, "%.80s: its size is no octal number", f->name);
    if (size > TAR_FILE_MAX)
        return err_set(e, E_TOO_BIG, "%.80s has %lld bytes, at most %d MiB", f->name,
                       (long long)size, TAR_FILE_MAX >> 20);
    f->size = (uint32_t)size;
    return 0;
}

int tar_walk(tar_read_fn *read, uint64_t size, tar_file_fn *each, void *ud, struct err *e) {
    struct raw h;
    struct tar_file f;
    uint64_t at = 0;
    for (int n = 0;; n++) {
        if (size - at < TAR_BLOCK) return err_set(e, E_FORMAT, "the tar is cut short");
        int rc = read(ud, at, &h, sizeof(h), e);
        if (rc) return rc;
        if (tar_is_zero(&h)) return 0;
        if (n == TAR_ENTRIES_MAX)
            return err_set(e, E_TOO_BIG, "over %d entries; make several tars", TAR_ENTRIES_MAX);
        rc = tar_read_header(&h, &f, e);
        if (rc) return rc;
        at += TAR_BLOCK;
        f.at = at;
        uint64_t blocks = ((uint64_t)f.size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
        if (h.type == '5') blocks = 0;
        if (blocks > size - at) return err_set(e, E_FORMAT, "the tar is cut short");
        rc = h.type == '5' ? 0 : each(ud, &f, e);
        if (rc) return rc;
        at += blocks;
    }
}
