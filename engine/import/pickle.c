/* pickle.c - reading the nodes of a pickle. See pickle.h. */
#include <string.h>

#include "engine/import/pickle_internal.h"
#include "kernels/base/mem.h"

void pickle_free(struct pickle *p) {
    if (!p) return;
    mem_free(p->nodes);
    mem_free(p->cells);
    mem_free(p);
}

uint32_t pickle_root(const struct pickle *p) { return p->root; }
uint32_t pickle_count(const struct pickle *p) { return p->n_nodes; }

const struct pickle_node *pickle_at(const struct pickle *p, uint32_t id) {
    must(id >= 1 && id <= p->n_nodes);
    return &p->nodes[id];
}

int pickle_is(const struct pickle *p, uint32_t id, enum pickle_kind kind) {
    return id && pickle_at(p, id)->kind == kind;
}

int pickle_is_text(const struct pickle *p, uint32_t id, const char *text) {
    if (!pickle_is(p, id, PICKLE_TEXT)) return 0;
    const struct pickle_node *n = pickle_at(p, id);
    return n->n == strlen(text) && memcmp(n->text, text, n->n) == 0;
}

int pickle_is_global(const struct pickle *p, uint32_t id, const char *module, const char *name) {
    if (!pickle_is(p, id, PICKLE_GLOBAL)) return 0;
    const struct pickle_node *n = pickle_at(p, id);
    return pickle_is_text(p, n->a, module) && pickle_is_text(p, n->b, name);
}

struct pickle_walk pickle_walk(const struct pickle *p, uint32_t container) {
    struct pickle_walk w = {p, 0};
    if (pickle_is(p, container, PICKLE_LIST) || pickle_is(p, container, PICKLE_TUPLE) ||
        pickle_is(p, container, PICKLE_SET) || pickle_is(p, container, PICKLE_DICT))
        w.cell = pickle_at(p, container)->a;
    return w;
}

uint32_t pickle_next(struct pickle_walk *w) {
    if (!w->cell) return 0;
    const struct pickle_cell *c = &w->p->cells[w->cell];
    w->cell = c->next;
    return c->node;
}

uint32_t pickle_get(const struct pickle *p, uint32_t dict, const char *key) {
    if (!pickle_is(p, dict, PICKLE_DICT)) return 0;
    struct pickle_walk w = pickle_walk(p, dict);
    uint32_t found = 0;
    for (uint32_t k; (k = pickle_next(&w)) != 0;) {
        uint32_t value = pickle_next(&w);
        if (pickle_is_text(p, k, key)) found = value;
    }
    return found;
}

uint32_t pickle_item(const struct pickle *p, uint32_t list, uint32_t i) {
    struct pickle_walk w = pickle_walk(p, list);
    uint32_t id = pickle_next(&w);
    while (id && i--)
        id = pickle_next(&w);
    return id;
}

int pickle_int(const struct pickle *p, uint32_t id, int64_t *v) {
    if (!pickle_is(p, id, PICKLE_INT)) return 0;
    *v = pickle_at(p, id)->i;
    return 1;
}
