/* pickle_internal.h - how nodes lie in memory: what pickle.c and pickle_parse.c share. */
#ifndef ENGINE_IMPORT_PICKLE_INTERNAL_H
#define ENGINE_IMPORT_PICKLE_INTERNAL_H

#include "engine/import/pickle.h"

/* One item of a container; `next` is 0 in the last. */
struct pickle_cell {
    uint32_t node, next;
};

struct pickle {
    struct pickle_node *nodes; /* (cap_nodes); number 0 stands for nothing */
    struct pickle_cell *cells; /* (cap_cells); the same */
    uint32_t n_nodes, n_cells; /* the highest in use */
    size_t cap_nodes, cap_cells;
    uint32_t root;
};

#endif
