/* pth_internal.h - what the files of the reader of torch's files share. See pth.h. */
#ifndef ENGINE_IMPORT_PTH_INTERNAL_H
#define ENGINE_IMPORT_PTH_INTERNAL_H

#include "engine/import/pickle.h"
#include "engine/import/pth.h"
#include "engine/import/zip.h"

enum { PTH_KEY_MAX = 64 /* bytes; torch writes a number */ };

struct pth_type {
    const char *storage; /* torch's name of the class */
    const char *name;    /* as safetensors calls it */
    size_t bytes;        /* of an element */
    enum st_dtype dtype;
};
/* The type of a class of storages; NULL: it isn't one of torch's typed ones. */
const struct pth_type *pth_type_of(const struct pickle *p, uint32_t class);

/* What a persistent id stands for. */
struct pth_storage {
    uint32_t key; /* text node */
    const struct pth_type *type;
    uint64_t elements;
    const uint8_t *data;       /* NULL: not there */
    struct zip_member *member; /* NULL: the old form */
    const char *flaw;          /* of every tensor in it; NULL: none */
};

struct pth {
    const uint8_t *bytes;
    size_t len;
    int is_mapped;
    struct zip *zip;
    struct pickle *pickle;        /* of the object */
    struct pth_storage *storages; /* (n_storages), by key */
    size_t n_storages;
    struct arena *arena; /* names and tensors */
    struct pth_tensor *tensors;
    size_t n_tensors;
    char foreign[128];
};

/* pth_zip.c, pth_legacy.c: the pickle, and the storages with their places. */
int pth_read_zip(struct pth *p, struct err *e);
int pth_read_legacy(struct pth *p, struct err *e);
int pth_legacy_may_be(const void *bytes, size_t len);

/* pth_storage.c: all storages that the pickle names, sorted by key, without their places. */
int pth_list_storages(struct pth *p, struct err *e);
/* The one of that key, a text node of any pickle; NULL: the object names none. */
struct pth_storage *pth_find_storage(const struct pth *p, const struct pickle_node *key);

/* pth_tensor.c: what the object of the file is. */
int pth_read_tensors(struct pth *p, struct err *e);

#endif
