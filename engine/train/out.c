/* out.c - see out.h. */
#include "engine/train/out.h"

#include "kernels/base/mem.h"

struct kern_ptr out_block(const struct train *t) {
    return t->is_average && t->params.average.addr ? t->params.average : t->params.value;
}

static struct kern_ptr place_of(struct kern_ptr block, const struct param *p, size_t at) {
    return kern_at(block, (p->at + at) * sizeof(float));
}

int out_get(const struct train *t, struct kern_ptr block, const struct param *p, size_t at,
            float *to, size_t n, struct err *e) {
    must(at + n <= p->n);
    return t->ops->get(t->k, to, place_of(block, p, at), n * sizeof *to, e);
}

void out_put(const struct train *t, struct kern_ptr block, const struct param *p, size_t at,
             const float *from, size_t n) {
    must(at + n <= p->n);
    t->ops->put(t->k, place_of(block, p, at), from, n * sizeof *from);
}

int out_put_tensor(const struct train *t, const struct kern_ptr *blocks, int n_blocks,
                   const struct param *p, const struct st_tensor *from, struct err *e) {
    enum { STEP = 1 << 20 };
    must(from->elements == p->n);
    size_t room = p->n < STEP ? p->n : STEP;
    float *piece = mem_try((room ? room : 1) * sizeof *piece);
    if (!piece) return err_set(e, E_NOMEM, "no memory for %zu numbers", room);
    for (size_t at = 0; at < p->n; at += room) {
        size_t n = p->n - at < room ? p->n - at : room;
        st_floats(from, at, piece, n);
        for (int i = 0; i < n_blocks; i++)
            if (blocks[i].addr) out_put(t, blocks[i], p, at, piece, n);
    }
    mem_free(piece);
    return 0;
}

struct st_tensor out_tensor(const char *name, const struct param *p) {
    struct st_tensor t = {.name = name, .dtype = ST_F32, .dtype_name = "F32", .ndim = p->ndim};
    for (int i = 0; i < p->ndim; i++)
        t.shape[i] = p->shape[i];
    t.elements = p->n;
    t.bytes = p->n * sizeof(float);
    return t;
}

int out_fits(const struct st_tensor *t, const struct param *p) {
    int fits = t->ndim == p->ndim;
    for (int i = 0; fits && i < p->ndim; i++)
        fits = t->shape[i] == p->shape[i];
    return fits;
}

int out_is_mine(const struct train *t) { return !t->o.comm || t->o.comm->rank == 0; }

int out_agree(const struct train *t, int rc, const char *path, struct err *e) {
    const struct train_comm *c = t->o.comm;
    if (!c || c->size == 1) return rc;
    int32_t said = rc;
    int lost = c->broadcast(c->state, &said, sizeof said, e);
    if (rc || lost) return rc ? rc : lost;
    return said ? err_set(e, said, "%s: rank 0 could not write it", path) : 0;
}
