/* pickle.h - a pickle as plain data. Nothing in it is ever called.
 *
 * Python's own reader of pickles runs what the bytes ask for. This one is a stack machine over the
 * opcodes that torch.save writes, protocols 2 to 4. What would make an object becomes a node that
 * says so, and whoever reads the nodes decides which of them mean something.
 *
 *     struct pickle *p;
 *     int rc = pickle_parse(bytes, len, &used, &p, &e);
 *     uint32_t model = pickle_get(p, pickle_root(p), "model");   // 0: there is no such key
 *
 * Nodes are numbered from 1. They may share and even contain each other, so never walk them without
 * a bound of your own. Texts point into the bytes, which the caller keeps until pickle_free.
 * Immutable once parsed: any thread may read.
 */
#ifndef ENGINE_IMPORT_PICKLE_H
#define ENGINE_IMPORT_PICKLE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

enum {
    PICKLE_BYTES_MAX = 64 << 20,
    PICKLE_NODES_MAX = 4 << 20, /* cells of containers, too */
    PICKLE_MEMO_MAX = 1 << 20,
    PICKLE_STACK_MAX = 1 << 20
};

enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INT,
    PICKLE_FLOAT,
    PICKLE_TEXT,
    PICKLE_BYTES, /* bytes, or a whole number of over 64 bits */
    PICKLE_LIST,
    PICKLE_TUPLE,
    PICKLE_SET,
    PICKLE_DICT,       /* a key and its value in turns. An OrderedDict is one */
    PICKLE_GLOBAL,     /* `a` module, `b` name, both texts */
    PICKLE_CALL,       /* what would come of calling `a` with `b` */
    PICKLE_PERSISTENT, /* what the id `a` stands for outside */
};

struct pickle_node {
    enum pickle_kind kind;
    uint32_t n; /* items of a container; bytes of a text */
    union {
        int64_t i; /* also of a bool */
        double f;
        const char *text; /* n bytes, without a NUL */
        struct {
            uint32_t a, b; /* nodes; of a container: its first and last cell */
        };
    };
};

struct pickle;

/* The first pickle of these bytes; *used: where it ends. E_FORMAT (the text has the place),
 * E_UNSUPPORTED (a protocol or an opcode that torch.save doesn't write), E_TOO_BIG, E_NOMEM. */
int pickle_parse(const void *bytes, size_t len, size_t *used, struct pickle **out, struct err *e);
void pickle_free(struct pickle *p); /* NULL is legal */

uint32_t pickle_root(const struct pickle *p);
uint32_t pickle_count(const struct pickle *p); /* nodes are 1 .. count */
/* id: 1 .. count */
const struct pickle_node *pickle_at(const struct pickle *p, uint32_t id);
/* Of that kind? 0 is of none. */
int pickle_is(const struct pickle *p, uint32_t id, enum pickle_kind kind);
int pickle_is_text(const struct pickle *p, uint32_t id, const char *text);
int pickle_is_global(const struct pickle *p, uint32_t id, const char *module, const char *name);
/* The value of a text key of a dict, the last one of that name; 0: none, or not a dict. */
uint32_t pickle_get(const struct pickle *p, uint32_t dict, const char *key);
/* Item i of a list or tuple; 0: none. Takes as long as i is large. */
uint32_t pickle_item(const struct pickle *p, uint32_t list, uint32_t i);
/* Is it a whole number? Then *v. */
int pickle_int(const struct pickle *p, uint32_t id, int64_t *v);

/* The items of a container, one after the other. */
struct pickle_walk {
    const struct pickle *p;
    uint32_t cell;
};
struct pickle_walk pickle_walk(const struct pickle *p, uint32_t container);
uint32_t pickle_next(struct pickle_walk *w); /* 0 behind the last */

#endif
