/* pth.h - the tensors of a file that torch.save wrote: a .pth, a .bin or a .pt.
 *
 * Both forms are read: the zip of torch 1.6 and later, and the older one, pickles with storages
 * behind them. The pickle is read as plain data (pickle.h). The state dictionary is found, which is
 * the file's object itself or what stands in it under `model`, `state_dict` or `module`, and each
 * of its tensors is checked against its storage: whole numbers, bounds, overflow.
 *
 *     pth_open("eva_vit_g.pth", &p, &e);
 *     for (size_t i = 0; i < pth_count(p); i++)
 *         use(pth_at(p, i));                     // ->flaw: it can't be used, and why
 *     pth_check(p, pth_at(p, i), &e);            // before its numbers are
 *
 * Storages are mapped and stay unread until somebody looks: those of an optimizer never are.
 * Thread: its owner's.
 */
#ifndef ENGINE_IMPORT_PTH_H
#define ENGINE_IMPORT_PTH_H

#include "engine/files/safetensors.h"

enum { PTH_TENSORS_MAX = ST_TENSORS_MAX, PTH_STORAGES_MAX = 100000 };

struct pth_tensor {
    /* `data` is the first element's place. Where strides say otherwise the elements lie apart. */
    struct st_tensor t;
    int64_t stride[ST_NDIM_MAX]; /* in elements */
    int is_strided;              /* its elements aren't row-major one behind the other */
    const char *flaw;            /* NULL: it is all right */
    size_t storage;
};

struct pth;

/* Map a regular file read-only; shortening it meanwhile kills the reader, as in st_open. The
 * texts of errors don't name the path. E_NOT_FOUND, E_IO, E_FORMAT, E_UNSUPPORTED, E_TOO_BIG,
 * E_NOMEM. */
int pth_open(const char *path, struct pth **out, struct err *e);
/* The same over memory of the caller, kept until close. */
int pth_parse(const void *bytes, size_t len, struct pth **out, struct err *e);
void pth_close(struct pth *p); /* NULL is legal */
/* Does a file begin as one of the two forms does? */
int pth_may_be(const void *bytes, size_t len);

size_t pth_count(const struct pth *p);
const struct pth_tensor *pth_at(const struct pth *p, size_t i); /* in the order of the file */
const void *pth_bytes(const struct pth *p, size_t *len);        /* the whole file */
/* Is the tensor's storage as it was stored? The old form has no sums: yes. E_FORMAT. */
int pth_check(struct pth *p, const struct pth_tensor *t, struct err *e);
/* A number above 0 that the checkpoint's config.model has under a key, such as lora_alpha; 0: it
 * has none. */
double pth_said(const struct pth *p, const char *key);
/* The first name in it that isn't one of torch's own, "os.system": code that was not called. "":
 * there is none. */
const char *pth_foreign(const struct pth *p);

#endif
