/* st_internal.h - how tensors of a file, or of several, lie in memory: what safetensors.c and
 * st_join.c share. */
#ifndef ENGINE_FILES_ST_INTERNAL_H
#define ENGINE_FILES_ST_INTERNAL_H

#include "engine/files/safetensors.h"
#include "kernels/base/mem.h"

struct st_map {
    const void *bytes;
    size_t len;
};

struct st {
    const uint8_t *bytes; /* of one file; NULL: of several */
    size_t len;
    int is_mapped;
    struct arena *arena;
    struct st_tensor *tensors; /* (count), sorted by name */
    size_t count;
    struct st_text *texts; /* (n_texts), of __metadata__ */
    size_t n_texts;
    /* Of several files. */
    struct st_map *maps; /* (n_maps) */
    size_t n_maps;
    char *header; /* of the one file that they stand for */
    size_t n_header;
    uint32_t *order; /* (count) tensors in that file's order */
};

/* Maps a regular file of at least `least` bytes read-only; *map is munmapped by the caller.
 * E_NOT_FOUND, E_FORMAT, E_IO; the text names the path. */
int st_map_file(const char *path, size_t least, struct st_map *map, struct err *e);
/* The type of that name, and bytes of an element; -1: there is none. */
int st_find_dtype(const char *name, size_t *item, const char **own_name);
/* Tensors in the order of names. */
int st_by_name(const void *a, const void *b);

#endif
