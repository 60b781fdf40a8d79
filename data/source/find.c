/* find.c - which format is it? A path -> the files of lines that it stands for: see source.h.
 *
 * What a folder holds is looked at in this order: COCO's files, a recorded round, lines and tars,
 * folders with recorded rounds, pictures alone.
 *
 * A file without one of the known suffixes, as uploads are stored, is what its bytes say: a tar or
 * lines. Such lines name no files beside them: those belong to others.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "data/files.h"
#include "data/source/internal.h"
#include "data/source/tar.h"
#include "kernels/base/mem.h"
#include "kernels/base/str.h"

enum { NAMES_MAX = SOURCE_LINES_MAX };

static int is_file(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static int find_join(char to[4096], const char *folder, const char *name, struct err *e) {
    int n = snprintf(to, 4096, "%s/%s", folder, name);
    return n > 0 && n < 4096 ? 0 : err_set(e, E_INVALID, "%s: the path is too long", folder);
}

static int find_has_file(const char *folder, const char *name) {
    char path[4096];
    return find_join(path, folder, name, NULL) == 0 && is_file(path);
}

/* ---- what a folder holds ---- */

struct names {
    char **at;
    uint32_t n, cap;
};

static int find_by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_free(struct names *l) {
    for (uint32_t i = 0; i < l->n; i++)
        mem_free(l->at[i]);
    mem_free(l->at);
}

/* Names of a folder, sorted, without hidden ones. names_free after failure, too. */
static int names_list(const char *folder, struct names *l, struct err *e) {
    DIR *d = opendir(folder);
    if (!d) return err_set(e, E_IO, "%s: %s", folder, strerror(errno));
    int rc = 0;
    for (const struct dirent *at; rc == 0 && (at = readdir(d));) {
        if (at->d_name[0] == '.') continue;
        if (l->n == NAMES_MAX) rc = err_set(e, E_TOO_BIG, "%s: over %d files", folder, NAMES_MAX);
        if (rc == 0 && l->n == l->cap) {
            uint32_t cap = l->cap ? 2 * l->cap : 256;
            char **more = mem_try_resize(l->at, l->n * sizeof(*more), cap * sizeof(*more));
            if (!more) rc = err_set(e, E_NOMEM, "%s: no memory for its names", folder);
            if (more) l->at = more;
            if (more) l->cap = cap;
        }
        if (rc == 0) l->at[l->n++] = mem_strdup(at->d_name);
    }
    closedir(d);
    if (rc == 0 && l->n) qsort(l->at, l->n, sizeof(*l->at), find_by_name);
    return rc;
}

/* ---- lines that are there ---- */

static int add_lines(struct source *s, const char *name, const struct store_file *file,
                     struct err *e) {
    struct source_file *f = source_make(s, name, e);
    if (!f) return e ? e->code : E_TOO_BIG;
    const char *slash = strrchr(file->name, '/');
    f->is_made = 0;
    f->file = *file;
    f->space = file->tar >= 0 ? file->tar : STORE_ANY;
    if (slash && file->tar >= 0) {
        mem_free(f->prefix);
        f->prefix = mem_strdup(file->name);
        f->prefix[slash + 1 - file->name] = '\0';
    }
    if (file->tar < 0) f->file.name = strrchr(f->name, '/') ? strrchr(f->name, '/') + 1 : f->name;
    return 0;
}

static int is_picture_name(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && (strcasecmp(dot, ".png") == 0 || strcasecmp(dot, ".jpg") == 0 ||
                   strcasecmp(dot, ".jpeg") == 0);
}

static int add_pixels(struct source_file *f, const char *name, struct err *e) {
    return source_make_line(f, json_pack("{s:s, s:s}", "task", "pixels", "image", name), e);
}

/* The lines inside of a tar; a tar without any is pictures for others, or alone. */
static int add_tar(struct source *s, const char *path, int *has_lines, struct err *e) {
    int32_t tar;
    int rc = store_add_tar(s->store, path, &tar, e);
    for (uint32_t i = 0; rc == 0 && i < store_tar_count(s->store, tar); i++) {
        struct store_file f;
        char name[4096 + 300];
        store_tar_file(s->store, tar, i, &f);
        if (!has_suffix(f.name, ".jsonl")) continue;
        snprintf(name, sizeof(name), "%s: %s", path, f.name);
        rc = add_lines(s, name, &f, e);
        *has_lines = 1;
    }
    return rc;
}

/* Pictures of tars that have no lines anywhere. */
static int add_tar_pixels(struct source *s, int32_t n_tars, struct err *e) {
    int rc = 0;
    for (int32_t t = 0; rc == 0 && t < n_tars; t++) {
        struct source_file *f = source_make(s, store_tar_path(s->store, t), e);
        if (!f) return E_TOO_BIG;
        f->space = t;
        for (uint32_t i = 0; rc == 0 && i < store_tar_count(s->store, t); i++) {
            struct store_file file;
            store_tar_file(s->store, t, i, &file);
            if (is_picture_name(file.name)) rc = add_pixels(f, file.name, e);
        }
        if (rc == 0 && !f->made.len)
            rc = err_set(e, E_NOT_FOUND, "%s: neither lines (*.jsonl) nor pictures are in it",
                         f->name);
    }
    return rc;
}

/* ---- folders ---- */

static int add_folder_lines(struct source *s, const char *folder, const struct names *l, int *found,
                            struct err *e) {
    int rc = 0, has_lines = 0;
    int32_t n_tars = 0;
    for (uint32_t i = 0; rc == 0 && i < l->n; i++) {
        char path[4096];
        int is_tar = has_suffix(l->at[i], ".tar");
        if (!is_tar && !has_suffix(l->at[i], ".jsonl")) continue;
        rc = find_join(path, folder, l->at[i], e);
        struct store_file f;
        if (rc == 0 && is_tar) {
            rc = add_tar(s, path, &has_lines, e);
            n_tars++;
        } else if (rc == 0) {
            rc = store_find(s->store, STORE_ANY, l->at[i], &f, e);
            if (rc == 0) rc = add_lines(s, path, &f, e);
            has_lines = 1;
        }
        *found = 1;
    }
    return rc || has_lines ? rc : add_tar_pixels(s, n_tars, e);
}

static int add_folder_pixels(struct source *s, const char *folder, const struct names *l,
                             struct err *e) {
    struct source_file *f = source_make(s, folder, e);
    int rc = f ? 0 : E_TOO_BIG;
    for (uint32_t i = 0; rc == 0 && i < l->n; i++)
        if (is_picture_name(l->at[i])) rc = add_pixels(f, l->at[i], e);
    if (rc || f->made.len) return rc;
    return err_set(e, E_NOT_FOUND,
                   "%s: neither *.jsonl, *.tar, annotations.json, instances.json with refs.json, "
                   "rollout.json nor pictures",
                   folder);
}

static int has_rounds_below(const char *folder, const struct names *l) {
    char path[4096];
    for (uint32_t i = 0; i < l->n; i++)
        if (find_join(path, folder, l->at[i], NULL) == 0 && find_has_file(path, "rollout.json"))
            return 1;
    return 0;
}

static int find_in_folder(struct source *s, const char *folder, struct err *e) {
    if (find_has_file(folder, "annotations.json") || find_has_file(folder, "instances.json"))
        return source_from_coco(s, folder, e);
    if (find_has_file(folder, "rollout.json")) return source_from_rounds(s, folder, e);
    struct names l = {0};
    int found = 0, rc = names_list(folder, &l, e);
    s->store = store_new(folder, NULL);
    if (rc == 0) rc = add_folder_lines(s, folder, &l, &found, e);
    if (rc == 0 && !found && has_rounds_below(folder, &l)) {
        for (uint32_t i = 0; rc == 0 && i < l.n; i++) {
            char path[4096];
            rc = find_join(path, folder, l.at[i], e);
            if (rc == 0 && find_has_file(path, "rollout.json")) rc = source_from_rounds(s, path, e);
        }
    } else if (rc == 0 && !found) {
        rc = add_folder_pixels(s, folder, &l, e);
    }
    names_free(&l);
    return rc;
}

/* ---- a path ---- */

/* The folder that the file lies in. */
static int folder_of(const char *path, char to[4096], struct err *e) {
    int n = snprintf(to, 4096, "%s", path);
    if (n < 0 || n >= 4096) return err_set(e, E_INVALID, "the path is too long");
    char *slash = strrchr(to, '/');
    if (slash)
        slash[slash == to] = '\0';
    else
        memcpy(to, ".", 2);
    return 0;
}

enum found { FOUND_TAR, FOUND_LINES, FOUND_OTHER };

/* By the suffix; *is_named: it has one. */
static enum found found_by_name(const char *path, int *is_named) {
    *is_named = 1;
    if (has_suffix(path, ".tar")) return FOUND_TAR;
    if (has_suffix(path, ".jsonl")) return FOUND_LINES;
    *is_named = 0;
    return FOUND_OTHER;
}

/* By its first bytes: lines begin with a bracket, tars are marked behind their first name. */
static enum found found_by_bytes(const char *path) {
    uint8_t head[TAR_BLOCK];
    FILE *f = fopen(path, "rbe");
    size_t n = f ? fread(head, 1, sizeof(head), f) : 0, at = 0;
    if (f) fclose(f);
    if (tar_may_be(head, n)) return FOUND_TAR;
    while (at < n && strchr(" \t\r\n", head[at]) && head[at])
        at++;
    return at < n && head[at] == '{' ? FOUND_LINES : FOUND_OTHER;
}

static int find_lines(struct source *s, const char *path, int is_alone, struct err *e) {
    struct store_file f;
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    int rc = store_find(s->store, STORE_ANY, name, &f, e);
    if (rc == 0) rc = add_lines(s, path, &f, e);
    if (rc == 0 && is_alone) s->files[s->n_files - 1].space = STORE_NOWHERE;
    return rc;
}

int source_find_files(struct source *s, const char *path, struct err *e) {
    char folder[4096];
    int has_lines = 0, is_named, rc = folder_of(path, folder, e);
    if (rc) return rc;
    if (file_is_folder(path)) return find_in_folder(s, path, e);
    if (!is_file(path)) return err_set(e, E_NOT_FOUND, "%s: no such file or folder", path);
    if (has_suffix(path, ".json")) return source_from_coco(s, path, e);
    enum found what = found_by_name(path, &is_named);
    if (!is_named) what = found_by_bytes(path);
    s->store = store_new(folder, NULL);
    if (what == FOUND_LINES) return find_lines(s, path, !is_named, e);
    if (what != FOUND_TAR)
        return err_set(e, E_FORMAT,
                       "%s: neither a tar (tar --format=ustar, not compressed) nor lines of JSON",
                       path);
    rc = add_tar(s, path, &has_lines, e);
    return rc || has_lines ? rc : add_tar_pixels(s, 1, e);
}
