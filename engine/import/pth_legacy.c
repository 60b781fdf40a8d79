/* pth_legacy.c - the form of torch before 1.6 (and of _use_new_zipfile_serialization=False).
 *
 * Five pickles, one behind the other: a magic number, the version of the form, facts of the system,
 * the object, and the keys of the storages. Then the storages in the order of the keys, each with
 * the number of its elements (u64) in front.
 */
#include <string.h>

#include "engine/import/pth_internal.h"

enum { VERSION = 1001, COUNT_BYTES = 8 };

/* A pickle of 0x1950a86a20f9469cfc6c. Protocols differ in their number and in frames. */
static const uint8_t magic[] = {0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
enum { MAGIC_AT_MOST = 11 /* behind PROTO and FRAME */ };

int pth_legacy_may_be(const void *bytes, size_t len) {
    size_t head = len < MAGIC_AT_MOST + sizeof magic ? len : MAGIC_AT_MOST + sizeof magic;
    return len > 2 && *(const uint8_t *)bytes == 0x80 && memmem(bytes, head, magic, sizeof magic);
}

/* The next pickle of the file; *at moves behind it. */
static int next_pickle(const struct pth *p, size_t *at, const char *what, struct pickle **out,
                       struct err *e) {
    size_t used = 0;
    int rc = pickle_parse(p->bytes + *at, p->len - *at, &used, out, e);
    if (rc) (void)err_in(e, "%s", what);
    *at += used;
    return rc;
}

static int pth_legacy_check_version(const struct pth *p, size_t *at, struct err *e) {
    struct pickle *version;
    int64_t v = 0;
    int rc = next_pickle(p, at, "its version", &version, e);
    if (rc) return rc;
    if (!pickle_int(version, pickle_root(version), &v) || v != VERSION)
        rc = err_set(e, E_UNSUPPORTED, "of a version that isn't %d", VERSION);
    pickle_free(version);
    return rc;
}

static int check_system(const struct pth *p, size_t *at, struct err *e) {
    struct pickle *facts;
    int rc = next_pickle(p, at, "its facts", &facts, e);
    if (rc) return rc;
    uint32_t little = pickle_get(facts, pickle_root(facts), "little_endian");
    if (!pickle_is(facts, little, PICKLE_BOOL) || !pickle_at(facts, little)->i)
        rc = err_set(e, E_UNSUPPORTED, "not of a little-endian machine");
    pickle_free(facts);
    return rc;
}

/* The storage at *at, which moves behind it. */
static int read_storage(const struct pth *p, struct pth_storage *s, size_t *at, struct err *e) {
    size_t bytes;
    uint64_t n;
    if (p->len - *at < COUNT_BYTES) return err_set(e, E_FORMAT, "a storage is missing: truncated?");
    memcpy(&n, p->bytes + *at, sizeof n);
    *at += COUNT_BYTES;
    if (!s->type) return err_set(e, E_UNSUPPORTED, "a storage: %s", s->flaw);
    if (n != s->elements)
        return err_set(e, E_FORMAT, "a storage is of another length than it says");
    if (__builtin_mul_overflow(n, s->type->bytes, &bytes) || bytes > p->len - *at)
        return err_set(e, E_FORMAT, "a storage ends behind the end: truncated?");
    s->data = p->bytes + *at;
    *at += bytes;
    return 0;
}

static int read_storages(struct pth *p, const struct pickle *keys, size_t at, struct err *e) {
    struct pickle_walk w = pickle_walk(keys, pickle_root(keys));
    int rc = 0;
    for (uint32_t id; !rc && (id = pickle_next(&w)) != 0;) {
        struct pth_storage *s =
            pickle_is(keys, id, PICKLE_TEXT) ? pth_find_storage(p, pickle_at(keys, id)) : NULL;
        if (!s || s->data)
            rc = err_set(e, E_FORMAT, "a storage that the object doesn't name, or names twice");
        else
            rc = read_storage(p, s, &at, e);
    }
    for (size_t i = 0; i < p->n_storages && !rc; i++)
        if (!p->storages[i].data && !p->storages[i].flaw)
            p->storages[i].flaw = "its storage is not in the file";
    return rc;
}

int pth_read_legacy(struct pth *p, struct err *e) {
    struct pickle *first, *keys = NULL;
    size_t at = 0;
    int rc = next_pickle(p, &at, "its first bytes", &first, e);
    if (rc) return rc;
    pickle_free(first); /* which is the magic number */
    rc = pth_legacy_check_version(p, &at, e);
    if (!rc) rc = check_system(p, &at, e);
    if (!rc) rc = next_pickle(p, &at, "its object", &p->pickle, e);
    if (!rc) rc = pth_list_storages(p, e);
    if (!rc) rc = next_pickle(p, &at, "its list of storages", &keys, e);
    if (!rc) rc = read_storages(p, keys, at, e);
    pickle_free(keys);
    return rc;
}
