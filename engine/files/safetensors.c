/* safetensors.c - the checked reader of safetensors files.
 *
 * Owns the mapping (st_open) or borrows the bytes (st_parse), and one arena with the table, the
 * names and the texts. Format: huggingface/safetensors, README "Format". The reader is stricter in
 * three ways: at most four dimensions, no fields but the three known ones, no name over ST_NAME_MAX
 * bytes.
 *
 * Invariants of an opened file:
 *   1. The bytes of every tensor lie inside the file, and there are elements * size of dtype.
 *   2. In the order of their offsets the tensors cover the data exactly: no gap, no overlap.
 *   3. The table is sorted by name. Names are unique, UTF-8 and not empty.
 * Memory is bounded before jansson gets the header: it is at most 8 MiB, lies in the file, nests
 * three deep and has a bounded number of items (jsonscan).
 */
#include "engine/files/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/files/lfs.h"
#include "engine/files/st_internal.h"
#include "kernels/base/half.h"
#include "kernels/base/jsonscan.h"

enum {
    PREFIX = 8,    /* bytes of the header's length */
    DEPTH_MAX = 3, /* {name: {shape: [ */
    MARKS_PER_TENSOR = 24,
    METADATA_MARKS = 4096
};
#define DIM_MAX ((json_int_t)1 << 31)

struct dtype {
    const char *name;
    size_t bytes;
    enum st_dtype dtype;
};
static const struct dtype dtypes[] = {
    {"F32", 4, ST_F32},    {"F16", 2, ST_F16},       {"BF16", 2, ST_BF16},     {"F64", 8, ST_OTHER},
    {"I64", 8, ST_OTHER},  {"I32", 4, ST_OTHER},     {"I16", 2, ST_OTHER},     {"I8", 1, ST_OTHER},
    {"U64", 8, ST_OTHER},  {"U32", 4, ST_OTHER},     {"U16", 2, ST_OTHER},     {"U8", 1, ST_OTHER},
    {"BOOL", 1, ST_OTHER}, {"F8_E4M3", 1, ST_OTHER}, {"F8_E5M2", 1, ST_OTHER},
};

static const struct dtype *find_dtype(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(dtypes); i++)
        if (!strcmp(dtypes[i].name, name)) return &dtypes[i];
    return NULL;
}

int st_find_dtype(const char *name, size_t *item, const char **own_name) {
    const struct dtype *d = find_dtype(name);
    if (!d) return -1;
    *item = d->bytes;
    *own_name = d->name;
    return (int)d->dtype;
}

struct st_shown st_show(const char *name) {
    struct st_shown s;
    size_t n = strlen(name), cut = n < ST_SHOWN_MAX ? n : ST_SHOWN_MAX;
    for (size_t i = 0; i < cut; i++) {
        unsigned char c = (unsigned char)name[i];
        s.text[i] = c < 0x20 || c == 0x7f ? '?' : name[i];
    }
    memcpy(s.text + cut, n > cut ? "..." : "", n > cut ? 4 : 1);
    return s;
}
#define SHOW(name) (st_show(name).text)

/* ---- one entry of the header ---- */

static int read_shape(struct st_tensor *t, const json_t *shape, struct err *e) {
    const char *name = t->name;
    if (!json_is_array(shape))
        return err_set(e, E_FORMAT, "tensor %s: shape is not a list", SHOW(name));
    if (json_array_size(shape) > ST_NDIM_MAX)
        return err_set(e, E_TOO_BIG, "tensor %s: more than %d dimensions", SHOW(name), ST_NDIM_MAX);
    t->ndim = (int)json_array_size(shape);
    size_t elements = 1;
    for (int i = 0; i < t->ndim; i++) {
        const json_t *dim = json_array_get(shape, (size_t)i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return err_set(e, E_FORMAT, "tensor %s: a dimension is not a whole number >= 0",
                           SHOW(name));
        if (json_integer_value(dim) > DIM_MAX)
            return err_set(e, E_TOO_BIG, "tensor %s: a dimension over 2^31", SHOW(name));
        t->shape[i] = json_integer_value(dim);
        if (!mem_mul(elements, (size_t)t->shape[i], &elements))
            return err_set(e, E_TOO_BIG, "tensor %s: its size overflows", SHOW(name));
    }
    t->elements = elements;
    return 0;
}

/* Check data_offsets against the length of the data and against the shape. */
static int read_offsets(struct st_tensor *t, const json_t *pair, size_t item, const uint8_t *data,
                        size_t data_len, struct err *e) {
    const char *name = t->name;
    const json_t *begin = json_array_get(pair, 0), *end = json_array_get(pair, 1);
    if (json_array_size(pair) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return err_set(e, E_FORMAT, "tensor %s: data_offsets are not two whole numbers",
                       SHOW(name));
    json_int_t a = json_integer_value(begin), b = json_integer_value(end);
    if (a < 0 || b < a)
        return err_set(e, E_FORMAT, "tensor %s: data_offsets run backwards", SHOW(name));
    if ((uint64_t)b > data_len)
        return err_set(e, E_FORMAT, "tensor %s: ends at byte %lld of %zu bytes of data: truncated?",
                       SHOW(name), (long long)b, data_len);
    size_t need;
    if (!mem_mul((size_t)t->elements, item, &need))
        return err_set(e, E_TOO_BIG, "tensor %s: its size overflows", SHOW(name));
    if ((uint64_t)(b - a) != need)
        return err_set(e, E_FORMAT, "tensor %s: has %lld bytes, its shape needs %zu", SHOW(name),
                       (long long)(b - a), need);
    t->data = data + a;
    t->bytes = need;
    return 0;
}

static int read_tensor(struct st *st, struct st_tensor *t, const char *name, const json_t *entry,
                       const uint8_t *data, size_t data_len, struct err *e) {
    size_t name_len = strlen(name);
    if (name_len == 0) return err_set(e, E_FORMAT, "a tensor has no name");
    if (name_len > ST_NAME_MAX)
        return err_set(e, E_TOO_BIG, "tensor %s: a name over %d bytes", SHOW(name), ST_NAME_MAX);
    t->name = arena_strdup(st->arena, name, name_len);
    if (!t->name) return err_set(e, E_NOMEM, "no memory for the tensors' names");
    const json_t *dtype = json_object_get(entry, "dtype");
    const json_t *shape = json_object_get(entry, "shape");
    const json_t *offsets = json_object_get(entry, "data_offsets");
    if (!dtype || !shape || !offsets || json_object_size(entry) != 3)
        return err_set(e, E_FORMAT, "tensor %s: needs dtype, shape and data_offsets, nothing else",
                       SHOW(name));
    if (!json_is_string(dtype))
        return err_set(e, E_FORMAT, "tensor %s: dtype is not a string", SHOW(name));
    const struct dtype *d = find_dtype(json_string_value(dtype));
    if (!d)
        return err_set(e, E_UNSUPPORTED, "tensor %s: unknown dtype %s", SHOW(name),
                       SHOW(json_string_value(dtype)));
    t->dtype = d->dtype;
    t->dtype_name = d->name;
    int rc = read_shape(t, shape, e);
    return rc ? rc : read_offsets(t, offsets, d->bytes, data, data_len, e);
}

static int read_metadata(struct st *st, const json_t *meta, struct err *e) {
    const char *key;
    json_t *value;
    if (!json_is_object(meta)) return err_set(e, E_FORMAT, "__metadata__ is not an object");
    st->texts = arena_take(st->arena, (json_object_size(meta) + 1) * sizeof *st->texts);
    if (!st->texts) return err_set(e, E_NOMEM, "no memory for __metadata__");
    json_object_foreach((json_t *)meta, key, value) {
        if (!json_is_string(value))
            return err_set(e, E_FORMAT, "__metadata__: %s is not a string", SHOW(key));
        struct st_text *t = &st->texts[st->n_texts];
        t->key = arena_strdup(st->arena, key, strlen(key));
        t->value = arena_strdup(st->arena, json_string_value(value), json_string_length(value));
        if (!t->key || !t->value) return err_set(e, E_NOMEM, "no memory for __metadata__");
        st->n_texts++;
    }
    return 0;
}

/* ---- the whole table ---- */

static int by_offset(const void *pa, const void *pb) {
    const struct st_tensor *a = pa, *b = pb;
    if (a->data != b->data) return (const uint8_t *)a->data < (const uint8_t *)b->data ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes); /* empty ones first */
}

int st_by_name(const void *pa, const void *pb) {
    const struct st_tensor *a = pa, *b = pb;
    return strcmp(a->name, b->name);
}

/* Invariant 2. Leaves the table sorted by name. */
static int check_cover(struct st *st, const uint8_t *data, size_t data_len, struct err *e) {
    const uint8_t *at = data;
    qsort(st->tensors, st->count, sizeof *st->tensors, by_offset);
    for (size_t i = 0; i < st->count; i++) {
        const struct st_tensor *t = &st->tensors[i];
        if ((const uint8_t *)t->data < at)
            return err_set(e, E_FORMAT, "tensor %s: overlaps the one before it", SHOW(t->name));
        if ((const uint8_t *)t->data > at)
            return err_set(e, E_FORMAT, "tensor %s: %zu bytes before it belong to nobody",
                           SHOW(t->name), (size_t)((const uint8_t *)t->data - at));
        at += t->bytes;
    }
    if (at != data + data_len)
        return err_set(e, E_FORMAT, "%zu bytes behind the last tensor",
                       (size_t)(data + data_len - at));
    qsort(st->tensors, st->count, sizeof *st->tensors, st_by_name);
    return 0;
}

static int read_table(struct st *st, json_t *root, size_t header_len, struct err *e) {
    const uint8_t *data = st->bytes + PREFIX + header_len;
    size_t data_len = st->len - PREFIX - header_len;
    size_t entries = json_object_size(root);
    if (entries > ST_TENSORS_MAX + 1)
        return err_set(e, E_TOO_BIG, "more than %d tensors", ST_TENSORS_MAX);
    /* Names and texts are bounded by the header that they stand in. */
    size_t texts = json_object_size(json_object_get(root, "__metadata__"));
    size_t cap = entries * (sizeof(struct st_tensor) + 32) + texts * (sizeof(struct st_text) + 32) +
                 header_len + 4096;
    st->arena = arena_new(cap);
    if (!st->arena) return err_set(e, E_NOMEM, "no memory for %zu tensors", entries);
    st->tensors = arena_take(st->arena, (entries + 1) * sizeof *st->tensors);
    if (!st->tensors) return err_set(e, E_NOMEM, "no memory for %zu tensors", entries);

    const char *name;
    json_t *entry;
    int rc;
    json_object_foreach(root, name, entry) {
        if (!strcmp(name, "__metadata__"))
            rc = read_metadata(st, entry, e);
        else if (!json_is_object(entry))
            rc = err_set(e, E_FORMAT, "tensor %s: its entry is not an object", SHOW(name));
        else
            rc = read_tensor(st, &st->tensors[st->count++], name, entry, data, data_len, e);
        if (rc) return rc;
    }
    return check_cover(st, data, data_len, e);
}

static int read_header(struct st *st, struct err *e) {
    if (st->len < PREFIX + 2)
        return err_set(e, E_FORMAT, "%zu bytes are too few for a header", st->len);
    uint64_t header_len = 0;
    for (int i = PREFIX - 1; i >= 0; i--)
        header_len = header_len << 8 | st->bytes[i];
    int rc = lfs_refuse(st->bytes, st->len, e);
    if (rc) return rc;
    if (header_len > ST_HEADER_MAX)
        return err_set(e, E_TOO_BIG, "a header over %d bytes (or not a safetensors file)",
                       ST_HEADER_MAX);
    if (header_len > st->len - PREFIX)
        return err_set(e, E_FORMAT, "the header runs behind the end of the file: truncated?");
    const char *text = (const char *)st->bytes + PREFIX;
    size_t len = (size_t)header_len;
    if (len < 2 || text[0] != '{') return err_set(e, E_FORMAT, "the header is not a JSON object");
    rc = jsonscan_bound(text, len, DEPTH_MAX,
                        (size_t)ST_TENSORS_MAX * MARKS_PER_TENSOR + METADATA_MARKS, e);
    if (rc) {
        err_in(e, "header");
        return rc;
    }
    json_error_t why;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    if (!root) {
        /* jansson's own text may quote the input */
        return err_set(e, E_FORMAT, "header, byte %d: %s", why.position, SHOW(why.text));
    }
    rc = read_table(st, root, len, e);
    json_decref(root);
    return rc;
}

/* ---- door ---- */

int st_parse(const void *bytes, size_t len, struct st **out, struct err *e) {
    *out = NULL;
    struct st *st = mem_try(sizeof *st);
    if (!st) return err_set(e, E_NOMEM, "no memory for a table of tensors");
    st->bytes = bytes;
    st->len = len;
    int rc = read_header(st, e);
    if (rc) {
        st_close(st);
        return rc;
    }
    *out = st;
    return 0;
}

int st_map_file(const char *path, size_t least, struct st_map *map, struct err *e) {
    /* O_NONBLOCK: a named pipe instead of a file must not block. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_set(e, errno == ENOENT ? E_NOT_FOUND : E_IO, "%s: %s", path, strerror(errno));
    struct stat s;
    void *bytes = MAP_FAILED;
    int rc = 0;
    if (fstat(fd, &s))
        rc = err_set(e, E_IO, "%s: fstat: %s", path, strerror(errno));
    else if (!S_ISREG(s.st_mode))
        rc = err_set(e, E_FORMAT, "%s: not a regular file", path);
    else if (s.st_size < (off_t)least)
        rc = err_set(e, E_FORMAT, "%s: %lld bytes are too few for a header", path,
                     (long long)s.st_size);
    else if ((bytes = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
        rc = err_set(e, E_IO, "%s: mmap: %s", path, strerror(errno));
    close(fd);
    if (!rc) *map = (struct st_map){bytes, (size_t)s.st_size};
    return rc;
}

int st_open(const char *path, struct st **out, struct err *e) {
    struct st_map map = {0};
    *out = NULL;
    int rc = st_map_file(path, PREFIX + 2, &map, e);
    if (rc) return rc;
    rc = st_parse(map.bytes, map.len, out, e);
    if (rc) {
        munmap((void *)(uintptr_t)map.bytes, map.len);
        (void)err_in(e, "%s", path);
    } else {
        (*out)->is_mapped = 1;
    }
    return rc;
}

void st_close(struct st *st) {
    if (!st) return;
    if (st->is_mapped) munmap((void *)(uintptr_t)st->bytes, st->len);
    for (size_t i = 0; i < st->n_maps; i++)
        munmap((void *)(uintptr_t)st->maps[i].bytes, st->maps[i].len);
    mem_free(st->maps);
    mem_free(st->order);
    mem_free(st->header);
    arena_free(st->arena);
    mem_free(st);
}

size_t st_count(const struct st *st) { return st->count; }

const struct st_tensor *st_at(const struct st *st, size_t i) {
    must(i < st->count);
    return &st->tensors[i];
}

const struct st_tensor *st_find(const struct st *st, const char *name) {
    struct st_tensor key = {.name = name};
    if (!st->count) return NULL;
    return bsearch(&key, st->tensors, st->count, sizeof key, st_by_name);
}

const char *st_text(const struct st *st, const char *key) {
    for (size_t i = 0; i < st->n_texts; i++)
        if (!strcmp(st->texts[i].key, key)) return st->texts[i].value;
    return NULL;
}

const void *st_bytes(const struct st *st, size_t *len) {
    *len = st->len;
    return st->bytes;
}

const void *st_piece(const struct st *st, size_t i, size_t *len) {
    if (st->bytes) {
        *len = st->len;
        return i ? NULL : st->bytes;
    }
    if (i > st->count) return NULL;
    const struct st_tensor *t = i ? &st->tensors[st->order[i - 1]] : NULL;
    *len = t ? t->bytes : st->n_header;
    return t ? t->data : st->header;
}

/* Has one of n numbers an exponent of all ones? Found in lanes of their own width, so that the
 * loops become vector code. */
static int has_full_exponent16(const uint8_t *p, size_t n, uint16_t mask) {
    uint16_t found = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t x;
        memcpy(&x, p + 2 * i, sizeof x);
        found |= (uint16_t) - ((x & mask) == mask);
    }
    return found != 0;
}

static int has_full_exponent32(const uint8_t *p, size_t n, uint32_t mask) {
    uint32_t found = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t x;
        memcpy(&x, p + 4 * i, sizeof x);
        found |= -(uint32_t)((x & mask) == mask);
    }
    return found != 0;
}

int st_is_finite(const struct st_tensor *t) {
    switch (t->dtype) {
    case ST_F32: return !has_full_exponent32(t->data, t->elements, 0x7f800000u);
    case ST_F16: return !has_full_exponent16(t->data, t->elements, 0x7c00u);
    case ST_BF16: return !has_full_exponent16(t->data, t->elements, 0x7f80u);
    default: return 1;
    }
}

void st_floats(const struct st_tensor *t, uint64_t at, float *to, size_t n) {
    must(t->dtype != ST_OTHER && at + n <= t->elements);
    const uint8_t *in = (const uint8_t *)t->data + at * (t->dtype == ST_F32 ? 4 : 2);
    if (t->dtype == ST_F32)
        memcpy(to, in, n * sizeof *to);
    else if (t->dtype == ST_BF16)
        half_read_bf16(in, to, n);
    else
        half_read_f16(in, to, n);
}

void st_narrow(const float *x, enum st_dtype dtype, void *to, size_t n) {
    must(dtype != ST_OTHER);
    if (dtype == ST_F32)
        memcpy(to, x, n * sizeof *x);
    else if (dtype == ST_BF16)
        half_write_bf16(x, to, n);
    else
        half_write_f16(x, to, n);
}
