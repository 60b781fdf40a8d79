/* st_join.c - see st_join.h.
 *
 * Invariants of what was parsed:
 *   1. Names are unique, as in a safetensors file, and types are those that are computed with.
 *   2. The bytes of each tensor lie within the length that its file is said to have. A file of
 *      another length is refused when it is opened.
 */
#include "engine/files/st_join.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/files/smallfile.h"
#include "engine/files/smalljson.h"
#include "engine/files/st_internal.h"
#include "engine/files/st_write.h"

enum { DEPTH_MAX = 5, MARKS_MAX = 24 * ST_TENSORS_MAX, PATH_ROOM = 4096, HEX = 64 };

#define JOIN_DIM_MAX (INT64_C(1) << 31)

/* ---- the text ---- */

static int join_whole(const json_t *from, const char *key, int64_t most, int64_t *out,
                      struct err *e) {
    const json_t *v = json_object_get(from, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > most)
        return err_set(e, E_FORMAT, "%s: not a whole number of 0 to %lld", key, (long long)most);
    *out = json_integer_value(v);
    return 0;
}

static int join_file(struct st_join *j, const json_t *from, struct err *e) {
    struct st_join_file *f = &j->files[j->n_files];
    const char *path = json_string_value(json_object_get(from, "path"));
    int64_t bytes;
    if (!path || !*path || strlen(path) >= PATH_ROOM / 2)
        return err_set(e, E_FORMAT, "file %zu: no path", j->n_files);
    int rc = join_whole(from, "bytes", INT64_MAX, &bytes, e);
    if (rc) return rc;
    f->path = arena_strdup(j->arena, path, strlen(path));
    f->bytes = (uint64_t)bytes;
    if (!f->path) return err_set(e, E_NOMEM, "no memory for the paths");
    j->n_files++;
    return 0;
}

static int join_shape(struct st_tensor *t, const json_t *shape, struct err *e) {
    size_t elements = 1;
    if (!json_is_array(shape) || json_array_size(shape) > ST_NDIM_MAX)
        return err_set(e, E_FORMAT, "shape: not a list of up to %d sizes", ST_NDIM_MAX);
    t->ndim = (int)json_array_size(shape);
    for (int i = 0; i < t->ndim; i++) {
        const json_t *v = json_array_get(shape, (size_t)i);
        t->shape[i] = json_integer_value(v);
        if (!json_is_integer(v) || t->shape[i] < 0 || t->shape[i] > JOIN_DIM_MAX ||
            !mem_mul(elements, (size_t)t->shape[i], &elements))
            return err_set(e, E_FORMAT, "shape: a size that can't be");
    }
    t->elements = elements;
    return 0;
}

static int join_place(struct st_join *j, const json_t *from, struct err *e) {
    struct st_join_place *p = &j->places[j->n];
    const char *name = json_string_value(json_object_get(from, "name"));
    const char *dtype = json_string_value(json_object_get(from, "dtype"));
    int64_t file, at;
    size_t item;
    if (!name || !*name || strlen(name) > ST_NAME_MAX || !strcmp(name, "__metadata__"))
        return err_set(e, E_FORMAT, "tensor %zu: no name", j->n);
    p->t.name = arena_strdup(j->arena, name, strlen(name));
    if (!p->t.name) return err_set(e, E_NOMEM, "no memory for the tensors' names");
    int type = dtype ? st_find_dtype(dtype, &item, &p->t.dtype_name) : -1;
    int rc = type < 0 || type == ST_OTHER ? err_set(e, E_UNSUPPORTED, "dtype: not F32, BF16 or F16")
                                          : join_shape(&p->t, json_object_get(from, "shape"), e);
    if (!rc) rc = join_whole(from, "file", (int64_t)j->n_files - 1, &file, e);
    if (!rc) rc = join_whole(from, "at", INT64_MAX, &at, e);
    if (!rc &&
        (!mem_mul((size_t)p->t.elements, item, &p->t.bytes) ||
         (uint64_t)at > j->files[file].bytes || p->t.bytes > j->files[file].bytes - (uint64_t)at))
        rc = err_set(e, E_FORMAT, "ends behind the end of its file");
    if (rc) return (void)err_in(e, "tensor %s", st_show(name).text), rc;
    p->t.dtype = (enum st_dtype)type;
    p->file = (size_t)file;
    p->at = (uint64_t)at;
    j->n++;
    return 0;
}

static int join_by_name(const void *pa, const void *pb) {
    const struct st_join_place *const *a = pa, *const *b = pb;
    return strcmp((*a)->t.name, (*b)->t.name);
}

static int join_check_names(const struct st_join *j, struct err *e) {
    const struct st_join_place **list = mem_try((j->n + 1) * sizeof *list);
    int rc = list ? 0 : err_set(e, E_NOMEM, "no memory for %zu tensors", j->n);
    for (size_t i = 0; i < j->n && !rc; i++)
        list[i] = &j->places[i];
    if (!rc) qsort(list, j->n, sizeof *list, join_by_name);
    for (size_t i = 1; i < j->n && !rc; i++)
        if (!join_by_name(&list[i - 1], &list[i]))
            rc = err_set(e, E_FORMAT, "tensor %s: is there twice", st_show(list[i]->t.name).text);
    mem_free(list);
    return rc;
}

static int join_root(struct st_join *j, const json_t *root, size_t len, struct err *e) {
    const char *sha = json_string_value(json_object_get(root, "sha256"));
    const json_t *files = json_object_get(root, "files");
    const json_t *tensors = json_object_get(root, "tensors");
    int64_t made;
    int rc = join_whole(root, "format", INT64_MAX, &made, e);
    if (!rc && made != ST_JOIN_FORMAT)
        rc = err_set(e, E_UNSUPPORTED, "format: %lld is not %d", (long long)made, ST_JOIN_FORMAT);
    if (rc) return rc;
    if (!sha || strlen(sha) != HEX || strspn(sha, "0123456789abcdef") != HEX)
        return err_set(e, E_FORMAT, "sha256: not 64 hex digits");
    memcpy(j->sha256, sha, HEX + 1);
    size_t n_files = json_array_size(files), n = json_array_size(tensors);
    if (!json_is_array(files) || !json_is_array(tensors))
        return err_set(e, E_FORMAT, "files, tensors: not lists");
    if (n_files > ST_JOIN_FILES_MAX || n > ST_TENSORS_MAX)
        return err_set(e, E_TOO_BIG, "more than %d files or %d tensors", ST_JOIN_FILES_MAX,
                       ST_TENSORS_MAX);
    j->arena = arena_new(len + 32 * (n + n_files) + 4096);
    j->files = mem_try((n_files + 1) * sizeof *j->files);
    j->places = mem_try((n + 1) * sizeof *j->places);
    if (!j->arena || !j->files || !j->places)
        return err_set(e, E_NOMEM, "no memory for %zu tensors", n);
    for (size_t i = 0; i < n_files && !rc; i++)
        rc = join_file(j, json_array_get(files, i), e);
    for (size_t i = 0; i < n && !rc; i++)
        rc = join_place(j, json_array_get(tensors, i), e);
    return rc ? rc : join_check_names(j, e);
}

int st_join_parse(const void *text, size_t len, struct st_join *out, struct err *e) {
    static const struct smalljson_most most = {ST_JOIN_BYTES_MAX, DEPTH_MAX, MARKS_MAX};
    json_t *root;
    *out = (struct st_join){0};
    int rc = smalljson_parse(text, len, &most, &root, e);
    if (rc) return rc;
    rc = join_root(out, root, len, e);
    json_decref(root);
    if (rc) st_join_clear(out);
    return rc;
}

void st_join_clear(struct st_join *j) {
    mem_free(j->files);
    mem_free(j->places);
    arena_free(j->arena);
    *j = (struct st_join){0};
}

/* ---- the files ---- */

static int join_map(struct st *st, const struct st_join *j, const char *folder, size_t i,
                    struct err *e) {
    char path[PATH_ROOM];
    const struct st_join_file *f = &j->files[i];
    int is_absolute = f->path[0] == '/';
    int n = snprintf(path, sizeof path, "%s%s%s", is_absolute ? "" : folder, is_absolute ? "" : "/",
                     f->path);
    if (n >= (int)sizeof path) return err_set(e, E_INVALID, "%s: the path is too long", f->path);
    int rc = st_map_file(path, 1, &st->maps[st->n_maps], e);
    if (rc == E_NOT_FOUND) return E_FORMAT; /* the folder isn't whole */
    if (rc) return rc;
    if (st->maps[st->n_maps++].len == f->bytes) return 0;
    return err_set(e, E_FORMAT, "%s: isn't what was imported: it had %llu bytes", path,
                   (unsigned long long)f->bytes);
}

struct join_ranked {
    struct st_tensor t; /* first, so that st_by_name sorts it */
    uint32_t rank;      /* in the one file */
};

/* The table by name, and the order of the one file. */
static int join_table(struct st *st, const struct st_join *j, struct err *e) {
    struct join_ranked *list = mem_try((j->n + 1) * sizeof *list);
    st->arena = arena_new((j->n + 1) * (sizeof *st->tensors + ST_NAME_MAX + 33) + 4096);
    st->tensors = st->arena ? arena_take(st->arena, (j->n + 1) * sizeof *st->tensors) : NULL;
    st->order = mem_try((j->n + 1) * sizeof *st->order);
    int rc = list && st->tensors && st->order
                 ? 0
                 : err_set(e, E_NOMEM, "no memory for %zu tensors", j->n);
    for (size_t i = 0; i < j->n && !rc; i++) {
        const struct st_join_place *p = &j->places[i];
        list[i] = (struct join_ranked){p->t, (uint32_t)i};
        list[i].t.name = arena_strdup(st->arena, p->t.name, strlen(p->t.name));
        list[i].t.data = (const char *)st->maps[p->file].bytes + p->at;
        if (!list[i].t.name) rc = err_set(e, E_NOMEM, "no memory for the tensors' names");
    }
    if (!rc) qsort(list, j->n, sizeof *list, st_by_name);
    for (; st->count < j->n && !rc; st->count++) {
        st->tensors[st->count] = list[st->count].t;
        st->order[list[st->count].rank] = (uint32_t)st->count;
    }
    mem_free(list);
    return rc;
}

/* What the one file would begin with. */
static int join_header(struct st *st, const struct st_join *j, struct err *e) {
    static const struct st_text format = {"format", "pt"};
    struct st_tensor *list = mem_try((j->n + 1) * sizeof *list);
    if (!list) return err_set(e, E_NOMEM, "no memory for %zu tensors", j->n);
    for (size_t i = 0; i < j->n; i++)
        list[i] = j->places[i].t;
    struct st_new file = {.tensors = list, .n = j->n, .texts = &format, .n_texts = 1};
    int rc = st_write_header(&file, &st->header, &st->n_header, e);
    mem_free(list);
    return rc;
}

static int join_open(const struct st_join *j, const char *folder, struct st **out, struct err *e) {
    struct st *st = mem_try(sizeof *st);
    if (!st) return err_set(e, E_NOMEM, "no memory for a model's files");
    st->maps = mem_try((j->n_files + 1) * sizeof *st->maps);
    int rc = st->maps ? 0 : err_set(e, E_NOMEM, "no memory for %zu files", j->n_files);
    for (size_t i = 0; i < j->n_files && !rc; i++)
        rc = join_map(st, j, folder, i, e);
    if (!rc) rc = join_table(st, j, e);
    if (!rc) rc = join_header(st, j, e);
    if (rc) {
        st_close(st);
        return rc;
    }
    *out = st;
    return 0;
}

int st_open_model(const char *folder, struct st **out, char sha256[65], struct err *e) {
    char path[PATH_ROOM], *text = NULL;
    struct st_join j = {0};
    struct err why = {0};
    size_t len;
    *out = NULL;
    sha256[0] = '\0';
    if (snprintf(path, sizeof path, "%s/model.safetensors", folder) >= PATH_ROOM)
        return err_set(e, E_INVALID, "the model folder's name is too long");
    char table[PATH_ROOM];
    (void)snprintf(table, sizeof table, "%s/" ST_JOIN_FILE, folder);
    if (!access(path, F_OK) || access(table, F_OK)) return st_open(path, out, e);
    int rc = smallfile_read(table, ST_JOIN_BYTES_MAX, &text, &len, &why);
    if (!rc) rc = st_join_parse(text, len, &j, &why);
    mem_free(text);
    if (!rc) rc = join_open(&j, folder, out, &why);
    if (!rc) memcpy(sha256, j.sha256, sizeof j.sha256);
    st_join_clear(&j);
    return rc ? err_set(e, rc, "%s: %s", table, why.text) : 0;
}
