/* store.c - see store.h. */
#include "data/source/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/source/table.h"
#include "data/source/tar.h"
#include "kernels/base/mem.h"

struct span {
    uint64_t at;
    uint32_t size;
};
struct store_tar {
    char *path;
    struct table *names;
    struct span *files; /* (cap), one for each of the names */
    uint32_t cap;
};
struct store {
    char *folder[2];        /* [1] may be NULL */
    struct store_tar *tars; /* (cap) */
    int32_t n, cap;
    uint32_t n_files; /* of all tars */
};

struct store *store_new(const char *folder, const char *more) {
    struct store *s = mem_must(sizeof(*s));
    s->folder[0] = mem_strdup(folder);
    s->folder[1] = more ? mem_strdup(more) : NULL;
    return s;
}

void store_free(struct store *s) {
    if (!s) return;
    for (int32_t i = 0; i < s->n; i++) {
        mem_free(s->tars[i].path);
        table_free(s->tars[i].names);
        mem_free(s->tars[i].files);
    }
    mem_free(s->tars);
    mem_free(s->folder[0]);
    mem_free(s->folder[1]);
    mem_free(s);
}

/* ---- reading ---- */

static int store_read_at(int fd, const char *name, uint64_t at, void *to, size_t n, struct err *e) {
    uint8_t *p = to;
    while (n) {
        ssize_t got = pread(fd, p, n, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return err_set(e, E_IO, "%s: %s", name, strerror(errno));
        if (got == 0) return err_set(e, E_IO, "%s: the file has become shorter", name);
        p += got;
        at += (uint64_t)got;
        n -= (size_t)got;
    }
    return 0;
}

/* The path of what holds the file. */
static int store_path(const struct store *s, const struct store_file *f, char to[4096],
                      struct err *e) {
    int n = f->tar >= 0 ? snprintf(to, 4096, "%s", s->tars[f->tar].path)
                        : snprintf(to, 4096, "%s/%s", s->folder[f->tar == STORE_MORE], f->name);
    return n > 0 && n < 4096 ? 0 : err_set(e, E_INVALID, "the path is too long");
}

int store_read(const struct store *s, const struct store_file *f, uint64_t from, void *to, size_t n,
               struct err *e) {
    char path[4096];
    must(from <= f->size && n <= f->size - from);
    int rc = store_path(s, f, path, e);
    if (rc) return rc;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return err_set(e, E_IO, "%s: %s", path, strerror(errno));
    rc = store_read_at(fd, path, f->at + from, to, n, e);
    close(fd);
    return rc;
}

int store_read_head(const struct store *s, const struct store_file *f, size_t most, struct buf *out,
                    struct err *e) {
    size_t n = f->size < most ? (size_t)f->size : most;
    int rc = buf_reserve(out, n);
    if (rc) return err_set(e, rc, "%s: no room for %zu bytes", f->name, n);
    rc = store_read(s, f, 0, out->p + out->len, n, e);
    if (rc == 0) {
        out->len += n;
        out->p[out->len] = 0;
    }
    return rc;
}

/* ---- tars ---- */

struct adding {
    struct store *store;
    struct store_tar *tar;
    int fd;
};

static int adding_read(void *ud, uint64_t at, void *to, size_t n, struct err *e) {
    const struct adding *a = ud;
    return store_read_at(a->fd, "it", at, to, n, e);
}

static int adding_file(void *ud, const struct tar_file *f, struct err *e) {
    struct adding *a = ud;
    struct store_tar *t = a->tar;
    int is_new;
    if (a->store->n_files == STORE_FILES_MAX)
        return err_set(e, E_TOO_BIG, "over %d files in all tars", STORE_FILES_MAX);
    uint32_t i = table_add(t->names, f->name, strlen(f->name), &is_new);
    if (i != TABLE_NONE && !is_new) return err_set(e, E_FORMAT, "%.80s is in it twice", f->name);
    if (i != TABLE_NONE && i == t->cap) {
        uint32_t cap = t->cap ? 2 * t->cap : 64;
        struct span *files =
            mem_try_resize(t->files, t->cap * sizeof(*files), cap * sizeof(*files));
        if (!files) i = TABLE_NONE;
        if (files) {
            t->files = files;
            t->cap = cap;
        }
    }
    if (i == TABLE_NONE) return err_set(e, E_NOMEM, "no memory for its names");
    t->files[i] = (struct span){f->at, f->size};
    a->store->n_files++;
    return 0;
}

int store_add_tar(struct store *s, const char *path, int32_t *tar, struct err *e) {
    struct stat st;
    if (s->n == STORE_TARS_MAX) return err_set(e, E_TOO_BIG, "over %d tars", STORE_TARS_MAX);
    if (s->n == s->cap) {
        int32_t cap = s->cap ? 2 * s->cap : 8;
        struct store_tar *tars = mem_must((size_t)cap * sizeof(*tars));
        if (s->n) memcpy(tars, s->tars, (size_t)s->n * sizeof(*tars));
        mem_free(s->tars);
        s->tars = tars;
        s->cap = cap;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return err_set(e, E_IO, "%s: %s", path, strerror(errno));
    int rc = fstat(fd, &st) || !S_ISREG(st.st_mode) ? err_set(e, E_IO, "it is no regular file") : 0;
    if (rc == 0) {
        struct store_tar *t = &s->tars[s->n++];
        *t = (struct store_tar){.path = mem_strdup(path), .names = table_new()};
        struct adding a = {s, t, fd};
        rc = tar_walk(adding_read, (uint64_t)st.st_size, adding_file, &a, e);
    }
    close(fd);
    if (rc) return err_in(e, "%s", path), rc;
    *tar = s->n - 1;
    return 0;
}

uint32_t store_tar_count(const struct store *s, int32_t tar) {
    return table_count(s->tars[tar].names);
}

void store_tar_file(const struct store *s, int32_t tar, uint32_t i, struct store_file *out) {
    const struct store_tar *t = &s->tars[tar];
    *out = (struct store_file){tar, t->files[i].at, t->files[i].size, table_key(t->names, i)};
}

const char *store_tar_path(const struct store *s, int32_t tar) { return s->tars[tar].path; }

/* ---- finding ---- */

static int store_find_in_tar(const struct store *s, int32_t tar, const char *name,
                             struct store_file *out) {
    uint32_t i = table_find(s->tars[tar].names, name, strlen(name));
    if (i == TABLE_NONE) return 0;
    store_tar_file(s, tar, i, out);
    return 1;
}

static int store_find_in_folder(const struct store *s, int32_t which, const char *name,
                                struct store_file *out) {
    struct stat st;
    char path[4096];
    const struct store_file f = {which, 0, 0, name};
    if (!s->folder[which == STORE_MORE] || store_path(s, &f, path, NULL)) return 0;
    if (stat(path, &st) || !S_ISREG(st.st_mode)) return 0;
    *out = (struct store_file){which, 0, (uint64_t)st.st_size, name};
    return 1;
}

int store_find(const struct store *s, int32_t tar, const char *name, struct store_file *out,
               struct err *e) {
    int found = 0;
    if (tar_name_check(name, NULL))
        return err_set(e, E_INVALID, "%.100s is not the name of a file below the folder", name);
    if (tar == STORE_NOWHERE)
        return err_set(e, E_NOT_FOUND,
                       "%.100s: a file of lines alone has its pictures inside, as data URLs; put "
                       "lines and pictures into a tar",
                       name);
    if (tar >= 0)
        found = store_find_in_tar(s, tar, name, out);
    else
        found = store_find_in_folder(s, STORE_FOLDER, name, out) ||
                store_find_in_folder(s, STORE_MORE, name, out);
    if (found || tar >= 0)
        return found ? 0 : err_set(e, E_NOT_FOUND, "there is no file %.100s", name);
    for (int32_t i = 0; i < s->n && found < 2; i++)
        found += store_find_in_tar(s, i, name, out);
    if (found == 2) return err_set(e, E_FORMAT, "%.100s is in several tars", name);
    return found ? 0 : err_set(e, E_NOT_FOUND, "there is no file %.100s", name);
}
