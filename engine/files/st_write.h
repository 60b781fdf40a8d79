/* st_write.h - writes safetensors files, whole or not at all (newfile.h).
 *
 * The data is asked for piece by piece, so that weights on a device need no second home on the
 * host:
 *
 *     static int fill(void *ud, size_t i, uint64_t at, void *to, size_t n, struct err *e);
 *     rc = st_write(path, &(struct st_new){tensors, n, texts, n_texts, fill, ud}, &e);
 *
 * Tensors lie in the order they are given in. What this writes, st_open reads. Thread: the
 * caller's.
 */
#ifndef ENGINE_FILES_ST_WRITE_H
#define ENGINE_FILES_ST_WRITE_H

#include "engine/files/safetensors.h"

/* Bytes at .. at+n-1 of tensor i go to `to`. Asked in order; n is a multiple of its elements' size.
 * An error ends the writing. */
typedef int st_fill_fn(void *ud, size_t i, uint64_t at, void *to, size_t n, struct err *e);

enum { ST_FILL_MAX = 4 << 20 /* bytes that are asked for at a time, at most */ };

/* A file to be. Tensors need name, dtype (not ST_OTHER), ndim and shape alone. fill NULL: the bytes
 * are those at `data`. All borrowed. */
struct st_new {
    const struct st_tensor *tensors;
    size_t n;
    const struct st_text *texts; /* of __metadata__ */
    size_t n_texts;
    st_fill_fn *fill;
    void *ud;
};

/* E_INVALID, E_TOO_BIG: a name, shape or text that st_open would refuse. E_IO: the sentence says
 * what the system said; an earlier file is whole, and no temporary is left. E_NOMEM, and what fill
 * returns. */
int st_write(const char *path, const struct st_new *file, struct err *e);
/* What stands before the data of such a file; *out is given, mem_free. */
int st_write_header(const struct st_new *file, char **out, size_t *len, struct err *e);

#endif
