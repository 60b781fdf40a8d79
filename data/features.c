/* features.c - see features.h. */
#include "data/features.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/mem.h"

static const char MAGIC[] = "lammdfe1";
enum { HEAD = 16 + 4 * SAMPLE_FEATURES, ENTRY = FEATURES_DIGEST + 4 };

/* ---- reading ---- */

static uint32_t number_at(const uint8_t *p, int bytes) {
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (uint32_t)p[i] << 8 * i;
    return v;
}

static const uint8_t *entry_at(const struct features *f, uint32_t i) {
    return f->bytes + HEAD + (size_t)i * ENTRY;
}

static int features_head(struct features *f, struct err *e) {
    if (f->n_bytes < HEAD || memcmp(f->bytes, MAGIC, 8) != 0)
        return err_set(e, E_FORMAT, "no file of features");
    f->n = number_at(f->bytes + 8, 4);
    if (number_at(f->bytes + 12, 4) != SAMPLE_FEATURES)
        return err_set(e, E_FORMAT, "%u features a place, not %d", number_at(f->bytes + 12, 4),
                       SAMPLE_FEATURES);
    if (f->n > FEATURES_PICTURES_MAX || f->n_bytes - HEAD < (size_t)f->n * ENTRY)
        return err_set(e, E_FORMAT, "%u pictures are more than it has", f->n);
    for (int i = 0; i < SAMPLE_FEATURES; i++) {
        uint32_t bits = number_at(f->bytes + 16 + 4 * i, 4);
        memcpy(&f->scale[i], &bits, sizeof bits);
        if (!(f->scale[i] >= 0 && f->scale[i] < 1e6f))
            return err_set(e, E_FORMAT, "scale %d is none", i);
    }
    return 0;
}

/* Where the maps are, which must fill the file. */
static int features_places(struct features *f, struct err *e) {
    size_t at = HEAD + (size_t)f->n * ENTRY;
    f->at = mem_try((f->n + (size_t)1) * sizeof *f->at);
    if (!f->at) return err_set(e, E_NOMEM, "no memory for features");
    for (uint32_t i = 0; i < f->n; i++) {
        const uint8_t *entry = entry_at(f, i), *size = entry + FEATURES_DIGEST;
        size_t w = number_at(size, 2), h = number_at(size + 2, 2), all = w * h * SAMPLE_FEATURES;
        if (i && memcmp(entry - ENTRY, entry, FEATURES_DIGEST) >= 0)
            return err_set(e, E_FORMAT, "picture %u is out of order", i);
        if (!w || !h || w > FEATURES_SIDE_MAX || h > FEATURES_SIDE_MAX || all > f->n_bytes - at)
            return err_set(e, E_FORMAT, "picture %u has no map", i);
        f->at[i] = at;
        at += all;
    }
    return at == f->n_bytes ? 0 : err_set(e, E_FORMAT, "%zu bytes too many", f->n_bytes - at);
}

int features_read(const uint8_t *bytes, size_t n, struct features *f, struct err *e) {
    *f = (struct features){.bytes = bytes, .n_bytes = n};
    int rc = features_head(f, e);
    if (!rc) rc = features_places(f, e);
    if (rc) features_close(f);
    return rc;
}

/* ---- the file ---- */

static int features_map_file(int fd, void **bytes, size_t *n, struct err *e) {
    struct stat s;
    if (fstat(fd, &s)) return err_set(e, E_IO, "%s", strerror(errno));
    if (!S_ISREG(s.st_mode) || s.st_size < HEAD) return err_set(e, E_FORMAT, "no file of features");
    *n = (size_t)s.st_size;
    *bytes = mmap(NULL, *n, PROT_READ, MAP_PRIVATE, fd, 0);
    return *bytes == MAP_FAILED ? err_set(e, E_IO, "%s", strerror(errno)) : 0;
}

int features_open(const char *path, struct features *f, struct err *e) {
    void *bytes = NULL;
    size_t n = 0;
    *f = (struct features){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int rc = fd < 0 ? err_set(e, errno == ENOENT ? E_NOT_FOUND : E_IO, "%s", strerror(errno))
                    : features_map_file(fd, &bytes, &n, e);
    if (fd >= 0) (void)close(fd);
    if (!rc) {
        rc = features_read(bytes, n, f, e);
        f->is_mapped = !rc;
        if (rc) (void)munmap(bytes, n);
    }
    return rc ? (err_in(e, "%s", path), rc) : 0;
}

void features_close(struct features *f) {
    mem_free(f->at);
    if (f->is_mapped) (void)munmap((void *)(uintptr_t)f->bytes, f->n_bytes);
    *f = (struct features){0};
}

/* ---- what is where ---- */

int features_find(const struct features *f, const uint8_t digest[FEATURES_DIGEST],
                  struct features_map *out) {
    uint32_t from = 0, to = f->n;
    while (from < to) {
        uint32_t i = from + (to - from) / 2;
        const uint8_t *entry = entry_at(f, i), *size = entry + FEATURES_DIGEST;
        int order = memcmp(digest, entry, FEATURES_DIGEST);
        if (order == 0) {
            *out = (struct features_map){(const int8_t *)f->bytes + f->at[i],
                                         (int)number_at(size, 2), (int)number_at(size + 2, 2)};
            return 1;
        }
        if (order < 0)
            to = i;
        else
            from = i + 1;
    }
    return 0;
}

/* The two squares of n that a place lies between, and how near it is to the second. */
static float features_between(double at, int n, int near[2]) {
    double middle = at * n - 0.5, first = floor(middle);
    first = first < -1 ? -1 : first > n - 1 ? n - 1 : first;
    near[0] = first < 0 ? 0 : (int)first;
    near[1] = (int)first + 1 < n ? (int)first + 1 : n - 1;
    return (float)(middle - first);
}

void features_at(const struct features *f, const struct features_map *m, double x, double y,
                 float out[SAMPLE_FEATURES]) {
    int xs[2], ys[2];
    float right = features_between(x, m->w, xs), below = features_between(y, m->h, ys);
    const float share[4] = {(1 - below) * (1 - right), (1 - below) * right, below * (1 - right),
                            below * right};
    for (int c = 0; c < SAMPLE_FEATURES; c++)
        out[c] = 0;
    for (int i = 0; i < 4; i++) {
        const int8_t *from = m->at + (size_t)(ys[i / 2] * m->w + xs[i % 2]) * SAMPLE_FEATURES;
        for (int c = 0; c < SAMPLE_FEATURES; c++)
            out[c] += share[i] * f->scale[c] * (float)from[c];
    }
}
