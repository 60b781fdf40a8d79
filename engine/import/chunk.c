/* chunk.c - see chunk.h. */
#include "engine/import/chunk.h"

#include <string.h>

#include "engine/files/merge.h"
#include "engine/import/tensor.h"
#include "kernels/base/mem.h"

int chunks_init(struct chunks *c, const struct import *i, struct err *e) {
    *c = (struct chunks){.i = i};
    c->room = mem_try(CHUNK_BYTES / 2 * sizeof *c->room);
    return c->room ? 0 : err_set(e, E_NOMEM, "no memory to read by");
}

static void drop_held(struct chunks *c) {
    mem_free(c->a);
    mem_free(c->b);
    mem_free(c->panel);
    c->a = c->b = c->panel = NULL;
    c->held = NULL;
}

void chunks_clear(struct chunks *c) {
    drop_held(c);
    mem_free(c->room);
}

static int is_merged(const struct import *i, const struct entry *t) {
    return t->lora.a && !i->o.adapter;
}

int chunk_is_plain(const struct import *i, const struct entry *t) {
    return !is_merged(i, t) && !t->from->t->stride;
}

struct st_tensor chunk_tensor(const struct entry *t) {
    struct st_tensor to = t->from->t->t;
    to.name = t->from->name;
    to.data = NULL;
    return to;
}

/* All numbers of a source; NULL and an error. mem_free. */
static float *floats_of(const struct source *s, struct err *e) {
    const struct original_tensor *t = s->t;
    float *out = mem_try((size_t)t->t.elements * sizeof *out + 1);
    void *raw = t->stride ? mem_try(t->t.bytes + 1) : NULL;
    struct st_tensor whole = t->t;
    if (!out || (t->stride && !raw)) {
        (void)err_set(e, E_NOMEM, "no memory to merge a LoRA");
        mem_free(out);
        mem_free(raw);
        return NULL;
    }
    if (t->stride) {
        tensor_read(&t->t, t->stride, 0, raw, t->t.bytes);
        whole.data = raw;
    }
    st_floats(&whole, 0, out, (size_t)whole.elements);
    mem_free(raw);
    return out;
}

static int hold(struct chunks *c, const struct entry *t, struct err *e) {
    if (c->held == t) return 0;
    drop_held(c);
    c->a = floats_of(t->lora.a, e);
    c->b = c->a ? floats_of(t->lora.b, e) : NULL;
    c->panel =
        c->b ? mem_try((size_t)t->lora.a->t->t.shape[0] * MERGE_COLUMNS * sizeof *c->panel) : NULL;
    if (!c->panel) return err_set(e, E_NOMEM, "no memory to merge a LoRA");
    c->held = t;
    return 0;
}

/* The numbers of a piece of n bytes. Those that lie apart come by way of `to`. */
static void chunk_floats(struct chunks *c, const struct original_tensor *from, size_t at, size_t n,
                         void *to) {
    struct st_tensor piece = from->t;
    size_t item = piece.dtype == ST_F32 ? 4 : 2;
    if (from->stride) {
        tensor_read(&from->t, from->stride, at, to, n);
        piece.data = to;
        piece.elements = n / item;
        at = 0;
    }
    st_floats(&piece, at / item, c->room, n / item);
}

static int chunk_merge(struct chunks *c, const struct entry *t, size_t at, size_t n, void *to,
                       struct err *e) {
    const struct original_tensor *from = t->from->t;
    size_t item = from->t.dtype == ST_F32 ? 4 : 2;
    int rc = hold(c, t, e);
    if (rc) return rc;
    struct merge m = {.a = c->a,
                      .b = c->b,
                      .r = (size_t)t->lora.a->t->t.shape[0],
                      .width = (size_t)t->lora.a->t->t.shape[1],
                      .scale = t->lora.scale,
                      .panel = c->panel};
    chunk_floats(c, from, at, n, to);
    merge_add(&m, at / item, c->room, n / item);
    st_narrow(c->room, from->t.dtype, to, n / item);
    return 0;
}

int chunk_get(struct chunks *c, const struct entry *t, size_t at, size_t n, void *to,
              struct err *e) {
    const struct original_tensor *from = t->from->t;
    must(n <= CHUNK_BYTES && at + n <= from->t.bytes);
    if (is_merged(c->i, t)) return chunk_merge(c, t, at, n, to, e);
    tensor_read(&from->t, from->stride, at, to, n);
    return 0;
}
