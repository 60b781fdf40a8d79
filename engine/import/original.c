/* original.c - see original.h. */
#include "engine/import/original.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/files/smallfile.h"
#include "engine/files/smalljson.h"
#include "engine/import/pth.h"
#include "kernels/base/mem.h"
#include "kernels/base/str.h"

enum { FIRST_BYTES = 64, HEADER_AT = 8, INDEX_DEPTH = 4, INDEX_MARKS = 4 * ST_TENSORS_MAX };

/* ---- one file ---- */

/* The first bytes of a file; how many. */
static size_t read_first(const char *path, char first[FIRST_BYTES]) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? 0 : read(fd, first, FIRST_BYTES);
    if (fd >= 0) close(fd);
    return n > 0 ? (size_t)n : 0;
}

/* Behind the length of its header a safetensors file has a JSON object. */
static int is_safetensors(const char *path, const char *first, size_t n) {
    return has_suffix(path, ".safetensors") || (n > HEADER_AT && first[HEADER_AT] == '{');
}

static int open_file(struct original *o, const char *path, struct err *e) {
    if (o->n_files == ORIGINAL_FILES_MAX)
        return err_set(e, E_TOO_BIG, "%s: more than %d files", path, ORIGINAL_FILES_MAX);
    struct original_file *f = &o->files[o->n_files];
    char first[FIRST_BYTES + 1] = "";
    size_t n = read_first(path, first);
    int rc;
    if (first[strspn(first, " \r\n\t")] == '<') /* what comes where a login was needed */
        return err_set(e, E_FORMAT, "%s: a web page, not a file of tensors: download it again",
                       path);
    if (is_safetensors(path, first, n))
        rc = st_open(path, &f->st, e);
    else if ((rc = pth_open(path, &f->pth, e)) != 0)
        (void)err_in(e, "%s", path);
    if (rc) return rc;
    o->n_files++;
    char real[PATH_MAX];
    const char *slash = strrchr(path, '/');
    f->path = mem_strdup(realpath(path, real) ? real : path);
    f->name = mem_strdup(slash ? slash + 1 : path);
    f->bytes = f->st ? st_bytes(f->st, &f->len) : pth_bytes(f->pth, &f->len);
    return 0;
}

static size_t count_of(const struct original_file *f) {
    return f->st ? st_count(f->st) : pth_count(f->pth);
}

/* Tensor i of a file. */
static struct original_tensor tensor_of(const struct original *o, int file, size_t i) {
    const struct original_file *f = &o->files[file];
    struct original_tensor t = {.file = file, .i = i};
    if (f->st) {
        t.t = *st_at(f->st, i);
        return t;
    }
    const struct pth_tensor *p = pth_at(f->pth, i);
    t.t = p->t;
    t.flaw = p->flaw;
    t.stride = p->is_strided ? p->stride : NULL;
    return t;
}

static int original_make_room(struct original *o, size_t n, struct err *e) {
    o->tensors = mem_try((n + 1) * sizeof *o->tensors);
    return o->tensors ? 0 : err_set(e, E_NOMEM, "no memory for %zu tensors", n);
}

static int list_file(struct original *o, struct err *e) {
    int rc = original_make_room(o, count_of(&o->files[0]), e);
    for (; !rc && o->n < count_of(&o->files[0]); o->n++)
        o->tensors[o->n] = tensor_of(o, 0, o->n);
    return rc;
}

/* ---- a folder with an index ---- */

static int path_in(const char *folder, const char *name, char path[ORIGINAL_PATH_MAX],
                   struct err *e) {
    int n = snprintf(path, ORIGINAL_PATH_MAX, "%s/%s", folder, name);
    return n < ORIGINAL_PATH_MAX ? 0 : err_set(e, E_INVALID, "%s: the path is too long", folder);
}

/* A byte that a terminal may obey. */
static int has_control(const char *name) {
    for (; *name; name++)
        if ((unsigned char)*name < 0x20 || *name == 0x7f) return 1;
    return 0;
}

/* The shard of that name, opened at its first mention. */
static int find_shard(struct original *o, const char *name, int *file, struct err *e) {
    char path[ORIGINAL_PATH_MAX];
    struct err why = {0};
    if (!*name || name[0] == '.' || strchr(name, '/') || has_control(name))
        return err_set(e, E_FORMAT, "a shard called %s", st_show(name).text);
    int rc = path_in(o->path, name, path, e);
    if (rc) return rc;
    for (*file = 0; *file < o->n_files; ++*file)
        if (!strcmp(o->files[*file].name, name)) return 0;
    rc = open_file(o, path, &why);
    if (rc == E_NOT_FOUND) return err_set(e, E_FORMAT, "%s: the index names it: missing", path);
    return rc ? err_set(e, rc, "%s", why.text) : 0;
}

static int by_name_in_file(const void *pa, const void *pb) {
    const struct original_tensor *a = pa, *b = pb;
    if (a->file != b->file) return a->file < b->file ? -1 : 1;
    return strcmp(a->t.name, b->t.name);
}

/* All tensors of all shards, to be looked up. */
static int list_shards(const struct original *o, struct original_tensor **out, size_t *n,
                       struct err *e) {
    size_t all = 0;
    for (int i = 0; i < o->n_files; i++)
        all += count_of(&o->files[i]);
    struct original_tensor *list = mem_try((all + 1) * sizeof *list);
    if (!list) return err_set(e, E_NOMEM, "no memory for %zu tensors", all);
    for (int i = 0; i < o->n_files; i++)
        for (size_t k = 0; k < count_of(&o->files[i]); k++)
            list[(*n)++] = tensor_of(o, i, k);
    qsort(list, *n, sizeof *list, by_name_in_file);
    *out = list;
    return 0;
}

static int follow_index(struct original *o, const json_t *map, struct err *e) {
    const char *name;
    json_t *value;
    struct original_tensor *list = NULL;
    size_t n = 0;
    int rc = 0, file;
    json_object_foreach((json_t *)map, name, value) {
        if (!json_is_string(value) || strlen(name) > ST_NAME_MAX)
            rc = err_set(e, E_FORMAT, "weight_map: %s is no name of a file", st_show(name).text);
        if (!rc) rc = find_shard(o, json_string_value(value), &file, e);
        if (rc) return rc;
    }
    rc = list_shards(o, &list, &n, e);
    if (!rc) rc = original_make_room(o, json_object_size(map), e);
    json_object_foreach((json_t *)map, name, value) {
        if (rc) break;
        struct original_tensor key = {.t = {.name = name}};
        rc = find_shard(o, json_string_value(value), &key.file, e);
        const struct original_tensor *found =
            rc ? NULL : bsearch(&key, list, n, sizeof key, by_name_in_file);
        if (found)
            o->tensors[o->n++] = *found;
        else if (!rc)
            rc = err_set(e, E_FORMAT, "%.100s: has no tensor %s, which the index puts there",
                         json_string_value(value), st_show(name).text);
    }
    mem_free(list);
    return rc;
}

static int read_index(struct original *o, const char *path, struct err *e) {
    static const struct smalljson_most most = {ORIGINAL_INDEX_MAX, INDEX_DEPTH, INDEX_MARKS};
    char *text = NULL;
    size_t len;
    json_t *root = NULL;
    int rc = smallfile_read(path, ORIGINAL_INDEX_MAX, &text, &len, e);
    if (!rc) rc = smalljson_parse(text, len, &most, &root, e);
    mem_free(text);
    const json_t *map = json_object_get(root, "weight_map");
    if (!rc && (!json_is_object(map) || json_object_size(map) > ST_TENSORS_MAX))
        rc = err_set(e, E_FORMAT, "weight_map: missing, or too large");
    if (rc) (void)err_in(e, "%s", path);
    if (!rc) rc = follow_index(o, map, e);
    json_decref(root);
    return rc;
}

/* ---- a folder ---- */

/* A small file that may be missing. */
static int read_beside(const struct original *o, const char *name, size_t most, char **out,
                       size_t *len, struct err *e) {
    char path[ORIGINAL_PATH_MAX];
    struct err why = {0};
    int rc = path_in(o->path, name, path, e);
    if (rc) return rc;
    rc = smallfile_read(path, most, out, len, &why);
    if (rc == E_NOT_FOUND) return 0;
    return rc ? err_set(e, rc, "%s: %s", path, why.text) : 0;
}

static int original_open_folder(struct original *o, struct err *e) {
    static const struct {
        const char *name;
        int is_index;
    } ways[] = {{"model.safetensors.index.json", 1},
                {"model.safetensors", 0},
                {"pytorch_model.bin.index.json", 1},
                {"pytorch_model.bin", 0}};
    char path[ORIGINAL_PATH_MAX];
    int rc = read_beside(o, "config.json", ORIGINAL_CONFIG_MAX, &o->config, &o->n_config, e);
    if (!rc)
        rc = read_beside(o, "tokenizer.model", ORIGINAL_TOKENIZER_MAX, &o->tokenizer,
                         &o->n_tokenizer, e);
    for (size_t i = 0; i < ARRAY_LEN(ways) && !rc; i++) {
        rc = path_in(o->path, ways[i].name, path, e);
        if (rc || access(path, F_OK)) continue;
        if (ways[i].is_index) return read_index(o, path, e);
        rc = open_file(o, path, e);
        return rc ? rc : list_file(o, e);
    }
    if (!rc && !path_in(o->path, "params.json", path, e) && !access(path, F_OK))
        return err_set(e, E_UNSUPPORTED,
                       "%s: Meta's own form (params.json): take Hugging Face's, Llama-2-7b-chat-hf",
                       o->path);
    return rc ? rc
              : err_set(e, E_NOT_FOUND,
                        "%s: neither model.safetensors nor pytorch_model.bin, nor the index of one",
                        o->path);
}

int original_open(const char *path, struct original **out, struct err *e) {
    struct stat s;
    *out = NULL;
    if (stat(path, &s))
        return err_set(e, errno == ENOENT ? E_NOT_FOUND : E_IO, "%s: %s", path, strerror(errno));
    struct original *o = mem_try(sizeof *o);
    if (!o) return err_set(e, E_NOMEM, "no memory for an original");
    o->path = mem_strdup(path);
    o->is_folder = S_ISDIR(s.st_mode);
    int rc = o->is_folder ? original_open_folder(o, e) : open_file(o, path, e);
    if (!rc && !o->is_folder) rc = list_file(o, e);
    if (rc) {
        original_close(o);
        return rc;
    }
    *out = o;
    return 0;
}

void original_close(struct original *o) {
    if (!o) return;
    for (int i = 0; i < o->n_files; i++) {
        st_close(o->files[i].st);
        pth_close(o->files[i].pth);
        mem_free(o->files[i].path);
        mem_free(o->files[i].name);
    }
    mem_free(o->tensors);
    mem_free(o->config);
    mem_free(o->tokenizer);
    mem_free(o->path);
    mem_free(o);
}

int original_check(struct original *o, const struct original_tensor *t, struct err *e) {
    struct original_file *f = &o->files[t->file];
    if (f->st) return 0;
    int rc = pth_check(f->pth, pth_at(f->pth, t->i), e);
    return rc ? (void)err_in(e, "%s", f->path), rc : 0;
}
