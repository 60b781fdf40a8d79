/* pth_zip.c - the form of torch 1.6 and later: a zip with one folder of any name, data.pkl in it,
 * and a member data/KEY for each storage. */
#include <stdio.h>
#include <string.h>

#include "engine/import/pth_internal.h"

enum { ROOT_MAX = 200, PATH_ROOM = 600 };

/* The folder, which is what stands before the first `/` of the first member. */
static int read_root_name(const struct zip *z, char root[ROOT_MAX + 1], struct err *e) {
    const char *first = zip_count(z) ? zip_at(z, 0)->name : "";
    size_t n = strcspn(first, "/");
    if (!first[n]) return err_set(e, E_FORMAT, "a zip, but not one of torch.save: no folder in it");
    if (n > ROOT_MAX) return err_set(e, E_TOO_BIG, "zip: the name of its folder is too long");
    memcpy(root, first, n);
    root[n] = '\0';
    return 0;
}

/* Numbers of a big-endian machine would be read the wrong way round. */
static int pth_zip_check_order(struct zip *z, const char *root, struct err *e) {
    char path[PATH_ROOM];
    (void)snprintf(path, sizeof path, "%s/byteorder", root);
    const struct zip_member *m = zip_find(z, path);
    if (!m || (m->bytes == 6 && !memcmp(m->data, "little", 6))) return 0;
    return err_set(e, E_UNSUPPORTED, "%s: only \"little\" is read", path);
}

static void find_storage(const struct pth *p, const char *root, struct pth_storage *s) {
    char path[PATH_ROOM];
    const struct pickle_node *key = pickle_at(p->pickle, s->key);
    size_t need;
    if (s->flaw) return;
    if (key->n > 64 || memchr(key->text, '\0', key->n)) {
        s->flaw = "its storage has no legal name";
        return;
    }
    (void)snprintf(path, sizeof path, "%s/data/%.*s", root, (int)key->n, key->text);
    s->member = zip_find(p->zip, path);
    if (!s->member)
        s->flaw = "its storage is not in the file";
    else if (__builtin_mul_overflow(s->elements, s->type->bytes, &need) || need > s->member->bytes)
        s->flaw = "its storage is shorter than the pickle says";
    else
        s->data = s->member->data;
}

int pth_read_zip(struct pth *p, struct err *e) {
    char root[ROOT_MAX + 1], path[PATH_ROOM];
    int rc = zip_open(p->bytes, p->len, &p->zip, e);
    if (!rc) rc = read_root_name(p->zip, root, e);
    if (!rc) rc = pth_zip_check_order(p->zip, root, e);
    if (rc) return rc;
    (void)snprintf(path, sizeof path, "%s/data.pkl", root);
    struct zip_member *m = zip_find(p->zip, path);
    if (!m) return err_set(e, E_FORMAT, "a zip, but not one of torch.save: no %.100s", path);
    if (m->bytes > PICKLE_BYTES_MAX)
        return err_set(e, E_TOO_BIG, "%.100s: over %d bytes", path, PICKLE_BYTES_MAX);
    size_t used;
    rc = zip_check(p->zip, m, e);
    if (!rc) rc = pickle_parse(m->data, m->bytes, &used, &p->pickle, e);
    if (!rc) rc = pth_list_storages(p, e);
    for (size_t i = 0; i < p->n_storages && !rc; i++)
        find_storage(p, root, &p->storages[i]);
    return rc;
}
