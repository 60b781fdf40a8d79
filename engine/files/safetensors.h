/* safetensors.h - named tensors in a file that is not trusted.
 *
 * The format: a u64 (little-endian) with the length of a JSON header, the header {name: {dtype,
 * shape, data_offsets}}, then raw little-endian data. Opening checks everything: limits before any
 * allocation, every size by checked arithmetic, data that neither overlaps nor leaves gaps nor ends
 * before or behind the file. What comes out may be read without further checks.
 *
 *     struct st *st;
 *     int rc = st_open("model.safetensors", &st, &e);   // "tensor lm_head.weight: ..." on failure
 *     const struct st_tensor *t = st_find(st, "lm_head.weight");   // NULL: no such tensor
 *
 * Immutable once opened: any thread may read. A tensor lives until st_close.
 */
#ifndef ENGINE_FILES_SAFETENSORS_H
#define ENGINE_FILES_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

enum {
    ST_HEADER_MAX = 8 << 20, /* bytes of JSON */
    ST_TENSORS_MAX = 20000,
    ST_NAME_MAX = 255, /* bytes of a name */
    ST_NDIM_MAX = 4,
    ST_SHOWN_MAX = 100 /* bytes of a name in an error text */
};

/* Anything else (I64, BOOL, F8...) is ST_OTHER: listed, but not computed with. */
enum st_dtype { ST_F32, ST_F16, ST_BF16, ST_OTHER };

struct st_tensor {
    const char *name;
    const char *dtype_name; /* as written: "BF16" */
    enum st_dtype dtype;
    int ndim;
    int64_t shape[ST_NDIM_MAX]; /* (ndim), each 0 .. 2^31 */
    const void *data;           /* row-major, of any alignment */
    size_t bytes;
    uint64_t elements;
};

/* A pair of the header's __metadata__. */
struct st_text {
    const char *key, *value; /* UTF-8 without NUL */
};

struct st;

/* Map a regular file read-only. E_NOT_FOUND, E_IO, E_FORMAT, E_TOO_BIG, E_NOMEM. Shortening the
 * file while it is open kills the reader (SIGBUS), so keep it open no longer than needed. */
int st_open(const char *path, struct st **out, struct err *e);
/* The same over memory of the caller, kept until close. */
int st_parse(const void *bytes, size_t len, struct st **out, struct err *e);
void st_close(struct st *st); /* NULL is legal */

size_t st_count(const struct st *st);
const struct st_tensor *st_at(const struct st *st, size_t i);           /* sorted by name */
const struct st_tensor *st_find(const struct st *st, const char *name); /* NULL: not there */
const void *st_bytes(const struct st *st, size_t *len); /* the file; NULL: of several (st_join.h) */
/* Piece i of the file, or of the one that several stand for: together they are all of its bytes.
 * NULL behind the last. */
const void *st_piece(const struct st *st, size_t i, size_t *len);
const char *st_text(const struct st *st, const char *key); /* of __metadata__; NULL: not there */
/* A name that isn't trusted as an error text may show it: short, one line. */
struct st_shown {
    char text[ST_SHOWN_MAX + 4];
};
struct st_shown st_show(const char *name);
/* Is every element a number, neither infinite nor NaN? 1 for ST_OTHER. */
int st_is_finite(const struct st_tensor *t);
/* Elements at .. at+n-1 of a tensor that isn't ST_OTHER, widened to floats. */
void st_floats(const struct st_tensor *t, uint64_t at, float *to, size_t n);
/* n floats as numbers of that type, which isn't ST_OTHER, rounded to nearest. */
void st_narrow(const float *x, enum st_dtype dtype, void *to, size_t n);

#endif
