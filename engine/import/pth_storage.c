/* pth_storage.c - what a pickle says about storages: ('storage', class, key, device, elements), and
 * in the old form a sixth, a view. All persistent ids are looked at, wherever they stand, because
 * the old form's storages have no table of their own. */
#include <stdlib.h>
#include <string.h>

#include "engine/import/pth_internal.h"
#include "kernels/base/mem.h"

static const struct pth_type types[] = {
    {"FloatStorage", "F32", 4, ST_F32},      {"HalfStorage", "F16", 2, ST_F16},
    {"BFloat16Storage", "BF16", 2, ST_BF16}, {"DoubleStorage", "F64", 8, ST_OTHER},
    {"LongStorage", "I64", 8, ST_OTHER},     {"IntStorage", "I32", 4, ST_OTHER},
    {"ShortStorage", "I16", 2, ST_OTHER},    {"CharStorage", "I8", 1, ST_OTHER},
    {"ByteStorage", "U8", 1, ST_OTHER},      {"BoolStorage", "BOOL", 1, ST_OTHER},
};

const struct pth_type *pth_type_of(const struct pickle *p, uint32_t class) {
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (pickle_is_global(p, class, "torch", types[i].storage) ||
            pickle_is_global(p, class, "torch.cuda", types[i].storage))
            return &types[i];
    return NULL;
}

static int compare_keys(const struct pickle_node *x, const struct pickle_node *y) {
    int order = memcmp(x->text, y->text, x->n < y->n ? x->n : y->n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

static int compare_texts(const struct pickle *p, uint32_t a, uint32_t b) {
    return compare_keys(pickle_at(p, a), pickle_at(p, b));
}

static int pth_storage_by_key(const void *a, const void *b, void *p) {
    return compare_texts(p, ((const struct pth_storage *)a)->key,
                         ((const struct pth_storage *)b)->key);
}

/* What the id says. Not a storage: key 0. */
static struct pth_storage read_id(const struct pickle *p, uint32_t id) {
    struct pth_storage s = {0};
    int64_t elements = 0;
    if (!pickle_is(p, id, PICKLE_TUPLE) || !pickle_is_text(p, pickle_item(p, id, 0), "storage") ||
        !pickle_is(p, pickle_item(p, id, 2), PICKLE_TEXT))
        return s;
    s.key = pickle_item(p, id, 2);
    if (pickle_at(p, s.key)->n >
        PTH_KEY_MAX) /* a long one, named often, would take hours to sort */
        return (struct pth_storage){0};
    s.type = pth_type_of(p, pickle_item(p, id, 1));
    uint32_t view = pickle_item(p, id, 5);
    if (!s.type) s.flaw = "its type is none of torch's";
    if (!pickle_int(p, pickle_item(p, id, 4), &elements) || elements < 0)
        s.flaw = "its storage has no length";
    if (view && !pickle_is(p, view, PICKLE_NONE)) s.flaw = "its storage is a view of another one";
    s.elements = elements < 0 ? 0 : (uint64_t)elements;
    return s;
}

/* Equal keys have to say the same. Leaves one of each. */
static void drop_repeated(struct pth *p) {
    size_t n = 0;
    for (size_t i = 0; i < p->n_storages; i++) {
        struct pth_storage *s = &p->storages[i], *last = n ? &p->storages[n - 1] : NULL;
        if (!last || compare_texts(p->pickle, last->key, s->key))
            p->storages[n++] = *s;
        else if (last->type != s->type || last->elements != s->elements)
            last->flaw = "its storage is described in two ways";
        else if (s->flaw)
            last->flaw = s->flaw;
    }
    p->n_storages = n;
}

int pth_list_storages(struct pth *p, struct err *e) {
    uint32_t all = pickle_count(p->pickle);
    size_t n = 0;
    for (uint32_t i = 1; i <= all; i++)
        n += pickle_at(p->pickle, i)->kind == PICKLE_PERSISTENT;
    if (n > PTH_STORAGES_MAX)
        return err_set(e, E_TOO_BIG, "more than %d storages", PTH_STORAGES_MAX);
    p->storages = mem_try((n + 1) * sizeof *p->storages);
    if (!p->storages) return err_set(e, E_NOMEM, "no memory for %zu storages", n);
    for (uint32_t i = 1; i <= all; i++) {
        if (pickle_at(p->pickle, i)->kind != PICKLE_PERSISTENT) continue;
        p->storages[p->n_storages] = read_id(p->pickle, pickle_at(p->pickle, i)->a);
        p->n_storages += p->storages[p->n_storages].key != 0;
    }
    qsort_r(p->storages, p->n_storages, sizeof *p->storages, pth_storage_by_key, p->pickle);
    drop_repeated(p);
    return 0;
}

struct pth_storage *pth_find_storage(const struct pth *p, const struct pickle_node *key) {
    size_t lo = 0, hi = p->n_storages;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int order = compare_keys(pickle_at(p->pickle, p->storages[mid].key), key);
        if (!order) return &p->storages[mid];
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}
