/* st_join.h - tensors that lie in several files, read as if they were one.
 *
 * A model folder that was imported without copying has weights.json in the place of
 * model.safetensors:
 *
 *     {"format": 1, "sha256": HEX,
 *      "files": [{"path": "/data/llama/model-00001-of-00002.safetensors", "bytes": N}, ...],
 *      "tensors": [{"name": NAME, "dtype": "F16", "shape": [4096], "file": 0, "at": BYTE}, ...]}
 *
 * A path that begins without `/` is meant from the folder. The files may be of any form: what
 * counts is the bytes at that place, so no format but this one is parsed. `sha256` is that of the
 * model.safetensors that holds these tensors in this order, which is the model's digest in both
 * forms. Whoever may write this file may name any file that the reader can open, as by a link.
 *
 * Immutable once opened: any thread may read.
 */
#ifndef ENGINE_FILES_ST_JOIN_H
#define ENGINE_FILES_ST_JOIN_H

#include "engine/files/safetensors.h"

#define ST_JOIN_FILE "weights.json"

enum { ST_JOIN_FORMAT = 1, ST_JOIN_BYTES_MAX = 8 << 20, ST_JOIN_FILES_MAX = 1024 };

/* What the text says, checked. Given: st_join_clear. */
struct st_join {
    char sha256[65];
    struct st_join_file {
        char *path;
        uint64_t bytes;
    } * files; /* (n_files) */
    size_t n_files;
    struct st_join_place {
        struct st_tensor t; /* without data */
        size_t file;
        uint64_t at; /* all of it lies within the file's bytes */
    } * places;      /* (n), in the order of the one file */
    size_t n;
    struct arena *arena;
};
/* E_FORMAT, E_UNSUPPORTED, E_TOO_BIG, E_NOMEM. */
int st_join_parse(const void *text, size_t len, struct st_join *out, struct err *e);
void st_join_clear(struct st_join *j);

/* The weights of a model folder: model.safetensors, or what weights.json names. sha256: what its
 * digest has to be; "" when nothing says so. E_NOT_FOUND: neither is there. Those of st_open. */
int st_open_model(const char *folder, struct st **out, char sha256[65], struct err *e);

#endif
