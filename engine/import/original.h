/* original.h - one of the things that a model is imported from: a file of tensors, or a folder in
 * Hugging Face's form.
 *
 * A file is safetensors or torch's (pth.h), known by its first bytes. A folder has config.json and
 * either model.safetensors or pytorch_model.bin, whole or in shards. Which shard holds a tensor is
 * what the index beside them says, never a pattern of names; a tensor that no index names is not
 * looked at. Thread: its owner's.
 */
#ifndef ENGINE_IMPORT_ORIGINAL_H
#define ENGINE_IMPORT_ORIGINAL_H

#include "engine/files/safetensors.h"

enum {
    ORIGINAL_FILES_MAX = 256,
    ORIGINAL_PATH_MAX = 3500,
    ORIGINAL_INDEX_MAX = 2 << 20,  /* bytes of an index */
    ORIGINAL_CONFIG_MAX = 1 << 18, /* of a config.json */
    ORIGINAL_TOKENIZER_MAX = 4 << 20
};

struct original_tensor {
    struct st_tensor t;    /* its name is the file's own */
    const int64_t *stride; /* (ndim) in elements; NULL: it is row-major */
    const char *flaw;      /* NULL: it is all right */
    int file;
    size_t i; /* of the file's own list */
};

struct original_file {
    char *path, *name; /* without symbolic links; the last word of how it was asked for. Owned */
    const void *bytes; /* (len), mapped */
    size_t len;
    struct st *st; /* one of the two */
    struct pth *pth;
};

struct original {
    char *path; /* as it was named; owned */
    int is_folder;
    struct original_file files[ORIGINAL_FILES_MAX];
    int n_files;
    struct original_tensor *tensors; /* (n) */
    size_t n;
    char *config, *tokenizer; /* bytes of these files of a folder; NULL: none. Owned */
    size_t n_config, n_tokenizer;
};

/* E_NOT_FOUND, E_IO, E_FORMAT, E_UNSUPPORTED, E_TOO_BIG, E_NOMEM; the text names the file. */
int original_open(const char *path, struct original **out, struct err *e);
void original_close(struct original *o); /* NULL is legal */
/* Are the tensor's bytes those that were stored? E_FORMAT: a sum says no. */
int original_check(struct original *o, const struct original_tensor *t, struct err *e);

#endif
