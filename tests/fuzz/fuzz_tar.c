/* fuzz_tar.c - bytes as a tar: every file that is told lies inside, with a name that may be. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "data/source/tar.h"
#include "kernels/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct bytes {
    const uint8_t *p;
    size_t n, files;
};

static int fuzz_read(void *ud, uint64_t at, void *to, size_t n, struct err *e) {
    const struct bytes *b = ud;
    (void)e;
    must(n <= b->n && at <= b->n - n); /* nobody asks for what isn't there */
    memcpy(to, b->p + at, n);
    return 0;
}

static int fuzz_file(void *ud, const struct tar_file *f, struct err *e) {
    struct bytes *b = ud;
    must(f->at <= b->n && f->size <= b->n - f->at && f->size <= TAR_FILE_MAX);
    must(tar_name_check(f->name, e) == 0 && utf8_is_plain(f->name));
    must(f->name[0] != '/' && strncmp(f->name, "../", 3) != 0 && !strstr(f->name, "/../"));
    b->files++;
    return b->files > 1000 ? E_TOO_BIG : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bytes b = {data, size, 0};
    struct err e = {0};
    int rc = tar_walk(fuzz_read, size, fuzz_file, &b, &e);
    must(rc || size < TAR_BLOCK || !data[0] || tar_may_be(data, TAR_BLOCK));
    must(rc == 0 || b.files > 1000 || (rc == e.code && e.text[0]));
    return 0;
}
