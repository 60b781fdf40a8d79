/* pth_tensor.c - from the object of a file to its tensors.
 *
 * A tensor is a call of torch._utils._rebuild_tensor_v2 with (storage, offset, sizes, strides, ..),
 * perhaps inside one of _rebuild_parameter. A name whose value is made in another way is kept with
 * its flaw: it is an error only for whoever needs it.
 */
#include <stdio.h>
#include <string.h>

#include "engine/import/pth_internal.h"
#include "kernels/base/mem.h"

#define DIM_MAX (INT64_C(1) << 31)

/* ---- one tensor ---- */

/* Whole numbers of a tuple, or of a torch.Size of one: at most ST_NDIM_MAX. -1: it is none. */
static int read_sizes(const struct pickle *p, uint32_t id, int64_t out[ST_NDIM_MAX]) {
    if (pickle_is(p, id, PICKLE_CALL) && pickle_is_global(p, pickle_at(p, id)->a, "torch", "Size"))
        id = pickle_item(p, pickle_at(p, id)->b, 0);
    if (!pickle_is(p, id, PICKLE_TUPLE) || pickle_at(p, id)->n > ST_NDIM_MAX) return -1;
    struct pickle_walk w = pickle_walk(p, id);
    int n = 0;
    for (uint32_t at; (at = pickle_next(&w)) != 0; n++)
        if (!pickle_int(p, at, &out[n]) || out[n] < 0) return -1;
    return n;
}

/* Sets elements, bytes and is_strided. The furthest element lies within `room` elements. */
static const char *pth_tensor_measure(struct pth_tensor *t, uint64_t offset, uint64_t room,
                                      size_t item) {
    uint64_t elements = 1, last = 0, dense = 1;
    for (int i = 0; i < t->t.ndim; i++) {
        if (t->t.shape[i] > DIM_MAX) return "a dimension is over 2^31";
        if (__builtin_mul_overflow(elements, (uint64_t)t->t.shape[i], &elements))
            return "its size overflows";
    }
    for (int i = t->t.ndim - 1; i >= 0 && elements; i--) {
        uint64_t reach, size = (uint64_t)t->t.shape[i], stride = (uint64_t)t->stride[i];
        if (__builtin_mul_overflow(size - 1, stride, &reach) ||
            __builtin_add_overflow(last, reach, &last))
            return "its strides overflow";
        if (size > 1 && stride != dense) t->is_strided = 1;
        dense *= size;
    }
    if (offset > room || (elements && last >= room - offset)) return "it leaves its storage";
    if (elements > room) return "its elements overlap";
    if (__builtin_mul_overflow(elements, item, &t->t.bytes)) return "its size overflows";
    t->t.elements = elements;
    return NULL;
}

/* The arguments of _rebuild_tensor_v2. */
static const char *pth_tensor_read_tensor(const struct pth *p, uint32_t args,
                                          struct pth_tensor *t) {
    const struct pickle *k = p->pickle;
    uint32_t id = pickle_item(k, args, 0);
    if (!pickle_is(k, id, PICKLE_PERSISTENT)) return "it has no storage";
    uint32_t key = pickle_item(k, pickle_at(k, id)->a, 2);
    struct pth_storage *s =
        pickle_is(k, key, PICKLE_TEXT) ? pth_find_storage(p, pickle_at(k, key)) : NULL;
    if (!s) return "it has no storage";
    if (s->flaw) return s->flaw;
    int64_t offset;
    if (!pickle_int(k, pickle_item(k, args, 1), &offset) || offset < 0) return "it has no offset";
    t->t.ndim = read_sizes(k, pickle_item(k, args, 2), t->t.shape);
    int strides = read_sizes(k, pickle_item(k, args, 3), t->stride);
    if (t->t.ndim < 0 || strides != t->t.ndim) {
        t->t.ndim = 0;
        return "its shape isn't one of up to 4 dimensions";
    }
    t->t.dtype = s->type->dtype;
    t->t.dtype_name = s->type->name;
    const char *flaw = pth_tensor_measure(t, (uint64_t)offset, s->elements, s->type->bytes);
    if (flaw) return flaw;
    t->t.data = s->data + (size_t)offset * s->type->bytes;
    t->storage = (size_t)(s - p->storages);
    return NULL;
}

/* The value of a name of the state dictionary. 0: it is no tensor, and none that failed. */
static int read_value(const struct pth *p, uint32_t id, struct pth_tensor *t) {
    const struct pickle *k = p->pickle;
    t->t.dtype = ST_OTHER;
    t->t.dtype_name = "nothing";
    for (int wraps = 0; wraps < 2; wraps++) {
        if (!pickle_is(k, id, PICKLE_CALL)) return 0;
        const struct pickle_node *call = pickle_at(k, id);
        if (pickle_is_global(k, call->a, "torch._utils", "_rebuild_tensor_v2") ||
            pickle_is_global(k, call->a, "torch._utils", "_rebuild_tensor")) {
            t->flaw = pth_tensor_read_tensor(p, call->b, t);
            return 1;
        }
        if (!pickle_is_global(k, call->a, "torch._utils", "_rebuild_parameter") &&
            !pickle_is_global(k, call->a, "torch._utils", "_rebuild_parameter_with_state"))
            break;
        id = pickle_item(k, call->b, 0);
    }
    t->flaw = "it is made by code, which is not called";
    return 1;
}

/* ---- the state dictionary ---- */

static int has_tensors(const struct pth *p, uint32_t dict) {
    struct pickle_walk w = pickle_walk(p->pickle, dict);
    for (uint32_t key; (key = pickle_next(&w)) != 0;) {
        struct pth_tensor t = {0};
        if (read_value(p, pickle_next(&w), &t) && !t.flaw) return 1;
    }
    return 0;
}

/* The dictionary with the tensors: below one of these names, or the object itself. */
static uint32_t find_state(const struct pth *p) {
    static const char *const names[] = {"model", "state_dict", "module"};
    uint32_t root = pickle_root(p->pickle);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        uint32_t below = pickle_get(p->pickle, root, names[i]);
        if (pickle_is(p->pickle, below, PICKLE_DICT) && has_tensors(p, below)) return below;
    }
    return root;
}

static int add_named(struct pth *p, uint32_t key, uint32_t value, struct err *e) {
    if (!pickle_is(p->pickle, key, PICKLE_TEXT)) return 0;
    const struct pickle_node *name = pickle_at(p->pickle, key);
    struct pth_tensor t = {0};
    if (!read_value(p, value, &t)) return 0;
    if (!name->n || name->n > ST_NAME_MAX || memchr(name->text, '\0', name->n))
        return err_set(e, E_FORMAT, "a tensor's name is not one of 1 to %d bytes", ST_NAME_MAX);
    if (p->n_tensors == PTH_TENSORS_MAX)
        return err_set(e, E_TOO_BIG, "more than %d tensors", PTH_TENSORS_MAX);
    t.t.name = arena_strdup(p->arena, name->text, name->n);
    if (!t.t.name) return err_set(e, E_NOMEM, "no memory for the tensors' names");
    p->tensors[p->n_tensors++] = t;
    return 0;
}

double pth_said(const struct pth *p, const char *key) {
    const struct pickle *k = p->pickle;
    uint32_t config = pickle_get(k, pickle_root(k), "config");
    uint32_t value = pickle_get(k, pickle_get(k, config, "model"), key);
    int64_t whole = 0;
    double v = pickle_int(k, value, &whole) ? (double)whole : 0;
    if (pickle_is(k, value, PICKLE_FLOAT)) v = pickle_at(k, value)->f;
    return v > 0 && v <= 1e6 ? v : 0;
}

/* Names that torch.save writes for tensors and what holds them. */
static int is_native(const struct pickle *p, uint32_t id) {
    static const char *const rebuild[] = {"_rebuild_tensor_v2", "_rebuild_tensor",
                                          "_rebuild_parameter", "_rebuild_parameter_with_state"};
    for (size_t i = 0; i < ARRAY_LEN(rebuild); i++)
        if (pickle_is_global(p, id, "torch._utils", rebuild[i])) return 1;
    return pth_type_of(p, id) || pickle_is_global(p, id, "collections", "OrderedDict") ||
           pickle_is_global(p, id, "torch", "Size") || pickle_is_global(p, id, "torch", "device");
}

static void find_foreign(struct pth *p) {
    const struct pickle *k = p->pickle;
    for (uint32_t i = 1; i <= pickle_count(k); i++) {
        if (!pickle_is(k, i, PICKLE_GLOBAL) || is_native(k, i)) continue;
        const struct pickle_node *g = pickle_at(k, i), *a = pickle_at(k, g->a),
                                 *b = pickle_at(k, g->b);
        (void)snprintf(p->foreign, sizeof p->foreign, "%.*s.%.*s", a->n > 60 ? 60 : (int)a->n,
                       a->text, b->n > 60 ? 60 : (int)b->n, b->text);
        (void)snprintf(p->foreign, sizeof p->foreign, "%s", st_show(p->foreign).text);
        return;
    }
}

int pth_read_tensors(struct pth *p, struct err *e) {
    uint32_t state = find_state(p);
    if (!pickle_is(p->pickle, state, PICKLE_DICT))
        return err_set(e, E_FORMAT,
                       "its object is no dictionary of tensors: save model.state_dict()");
    size_t n = pickle_at(p->pickle, state)->n / 2;
    if (n > PTH_TENSORS_MAX) return err_set(e, E_TOO_BIG, "more than %d tensors", PTH_TENSORS_MAX);
    p->arena = arena_new(n * (sizeof *p->tensors + ST_NAME_MAX + 64) + 4096);
    p->tensors = p->arena ? arena_take(p->arena, (n + 1) * sizeof *p->tensors) : NULL;
    if (!p->tensors) return err_set(e, E_NOMEM, "no memory for %zu tensors", n);
    struct pickle_walk w = pickle_walk(p->pickle, state);
    int rc = 0;
    for (uint32_t key; !rc && (key = pickle_next(&w)) != 0;)
        rc = add_named(p, key, pickle_next(&w), e);
    if (!rc && !p->n_tensors) rc = err_set(e, E_FORMAT, "no tensors in it");
    find_foreign(p);
    return rc;
}
