/* st_write.c - see st_write.h. The header is built by jansson, which escapes and refuses what isn't
 * UTF-8, and is padded with spaces so that the data begins at a multiple of 8 bytes, as the format
 * wants it. */
#include "engine/files/st_write.h"

#include <jansson.h>
#include <string.h>

#include "engine/files/newfile.h"
#include "kernels/base/mem.h"

enum { PREFIX = 8 /* bytes of the header's length */ };

static const char *const dtype_names[] = {[ST_F32] = "F32", [ST_F16] = "F16", [ST_BF16] = "BF16"};

/* Its bytes, or an error for what the reader wouldn't take. */
static int size_of(const struct st_tensor *t, size_t *bytes, struct err *e) {
    size_t len = strlen(t->name);
    if (!len || len > ST_NAME_MAX || !strcmp(t->name, "__metadata__"))
        return err_set(e, E_INVALID, "tensor \"%.64s\": a name of 1 to %d bytes", t->name,
                       ST_NAME_MAX);
    if (t->dtype == ST_OTHER || t->ndim < 0 || t->ndim > ST_NDIM_MAX)
        return err_set(e, E_INVALID, "tensor %.64s: its type or its dimensions can't be written",
                       t->name);
    *bytes = t->dtype == ST_F32 ? 4 : 2;
    for (int i = 0; i < t->ndim; i++) {
        if (t->shape[i] < 0 || t->shape[i] > INT64_C(1) << 31 ||
            !mem_mul(*bytes, (size_t)t->shape[i], bytes))
            return err_set(e, E_TOO_BIG, "tensor %.64s: its size overflows", t->name);
    }
    return 0;
}

/* The entry of a tensor that begins at *at, which moves behind it. */
static int add_tensor(json_t *root, const struct st_tensor *t, size_t *at, struct err *e) {
    size_t bytes, end;
    int rc = size_of(t, &bytes, e);
    if (rc) return rc;
    if (!mem_add(*at, bytes, &end) || end > INT64_MAX)
        return err_set(e, E_TOO_BIG, "tensor %.64s: the file's size overflows", t->name);
    if (json_object_get(root, t->name))
        return err_set(e, E_INVALID, "tensor %.64s: is there twice", t->name);
    json_t *shape = json_array();
    for (int i = 0; i < t->ndim; i++)
        json_array_append_new(shape, json_integer(t->shape[i]));
    json_t *entry = json_pack("{s:s, s:o, s:[I,I]}", "dtype", dtype_names[t->dtype], "shape", shape,
                              "data_offsets", (json_int_t)*at, (json_int_t)end);
    *at = end;
    return json_object_set_new(root, t->name, entry)
               ? err_set(e, E_INVALID, "tensor %.64s: its name isn't UTF-8", t->name)
               : 0;
}

static int add_texts(json_t *root, const struct st_new *file, struct err *e) {
    json_t *texts = json_object();
    int rc = 0;
    for (size_t i = 0; i < file->n_texts && !rc; i++)
        if (json_object_set_new(texts, file->texts[i].key, json_string(file->texts[i].value)))
            rc = err_set(e, E_INVALID, "__metadata__: %.64s isn't UTF-8", file->texts[i].key);
    if (json_object_set_new(root, "__metadata__", texts) && !rc)
        rc = err_set(e, E_NOMEM, "no memory for a header");
    return rc;
}

int st_write_header(const struct st_new *file, char **out, size_t *len, struct err *e) {
    if (file->n > ST_TENSORS_MAX)
        return err_set(e, E_TOO_BIG, "more than %d tensors", ST_TENSORS_MAX);
    json_t *root = json_object();
    if (!root) return err_set(e, E_NOMEM, "no memory for a header");
    int rc = file->n_texts ? add_texts(root, file, e) : 0;
    size_t at = 0;
    for (size_t i = 0; i < file->n && !rc; i++)
        rc = add_tensor(root, &file->tensors[i], &at, e);
    size_t text = rc ? 0 : json_dumpb(root, NULL, 0, JSON_COMPACT);
    size_t padded = (text + 7) / 8 * 8;
    if (!rc && padded > ST_HEADER_MAX)
        rc = err_set(e, E_TOO_BIG, "a header over %d bytes", ST_HEADER_MAX);
    if (!rc && !(*out = mem_try(PREFIX + padded)))
        rc = err_set(e, E_NOMEM, "no memory for a header");
    if (!rc) {
        for (int i = 0; i < PREFIX; i++)
            (*out)[i] = (char)(padded >> (8 * i) & 255);
        memset(*out + PREFIX + text, ' ', padded - text);
        (void)json_dumpb(root, *out + PREFIX, text, JSON_COMPACT);
        *len = PREFIX + padded;
    }
    json_decref(root);
    return rc;
}

static int add_data(struct newfile *f, const struct st_new *file, size_t i, char *room,
                    struct err *e) {
    size_t bytes;
    int rc = size_of(&file->tensors[i], &bytes, e);
    if (!rc && !file->fill) return newfile_add(f, file->tensors[i].data, bytes, e);
    for (size_t at = 0; at < bytes && !rc;) {
        size_t n = bytes - at < ST_FILL_MAX ? bytes - at : ST_FILL_MAX;
        rc = file->fill(file->ud, i, at, room, n, e);
        if (!rc) rc = newfile_add(f, room, n, e);
        at += n;
    }
    return rc;
}

int st_write(const char *path, const struct st_new *file, struct err *e) {
    struct newfile f = {.fd = -1};
    char *header = NULL, *room = NULL;
    size_t len = 0;
    int rc = st_write_header(file, &header, &len, e);
    if (!rc && file->fill && !(room = mem_try(ST_FILL_MAX)))
        rc = err_set(e, E_NOMEM, "no memory to write by");
    if (!rc) rc = newfile_begin(&f, path, e);
    if (!rc) rc = newfile_add(&f, header, len, e);
    for (size_t i = 0; i < file->n && !rc; i++)
        rc = add_data(&f, file, i, room, e);
    rc = newfile_end(&f, rc, e);
    mem_free(header);
    mem_free(room);
    return rc;
}
