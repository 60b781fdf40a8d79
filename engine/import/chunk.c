/* chunk.c - see chunk.h. */
#include "engine/import/chunk.h"

#include <string.h>

#include "engine/files/merge.h"
#include "engine/import/tensor.h"
#include "kernels/base/half.h"
#include "kernels/base/mem.h"

int chunks_init(struct chunks *c, const struct import *i, struct err *e) {
    *c = (struct chunks){.i = i};
    c->room = mem_try(CHUNK_BYTES / 2 * sizeof *c->room);
    c->bytes = mem_try(CHUNK_BYTES);
    return c->room && c->bytes ? 0 : err_set(e, E_NOMEM, "no memory to read by");
}

static void drop_held(struct chunks *c) {
    mem_free(c->a);
    mem_free(c->b);
    mem_free(c->delta);
    c->a = c->b = c->delta = NULL;
    c->held = NULL;
}

void chunks_clear(struct chunks *c) {
    drop_held(c);
    mem_free(c->room);
    mem_free(c->bytes);
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
    c->delta = c->b ? mem_try((size_t)t->lora.a->t->t.shape[1] * sizeof *c->delta) : NULL;
    if (!c->delta) return err_set(e, E_NOMEM, "no memory to merge a LoRA");
    c->held = t;
    return 0;
}

static void chunk_narrow(const float *x, enum st_dtype dtype, void *to, size_t n) {
    uint16_t *half = to;
    if (dtype == ST_F32) memcpy(to, x, n * sizeof *x);
    for (size_t i = 0; i < n && dtype != ST_F32; i++)
        half[i] = dtype == ST_BF16 ? half_to_bf16(x[i]) : half_to_f16(x[i]);
}

/* The piece at c->bytes, of n bytes, with its LoRA. */
static int merge_piece(struct chunks *c, const struct entry *t, size_t at, size_t n,
                       struct err *e) {
    struct st_tensor piece = t->from->t->t;
    size_t item = piece.dtype == ST_F32 ? 4 : 2;
    int rc = hold(c, t, e);
    if (rc) return rc;
    struct merge m = {.a = c->a,
                      .b = c->b,
                      .r = (size_t)t->lora.a->t->t.shape[0],
                      .width = (size_t)t->lora.a->t->t.shape[1],
                      .scale = t->lora.scale,
                      .delta = c->delta};
    piece.data = c->bytes;
    piece.elements = n / item;
    st_floats(&piece, 0, c->room, n / item);
    merge_add(&m, at / item, c->room, n / item);
    chunk_narrow(c->room, piece.dtype, c->bytes, n / item);
    return 0;
}

int chunk_get(struct chunks *c, const struct entry *t, size_t at, size_t n, const void **out,
              struct err *e) {
    const struct original_tensor *from = t->from->t;
    must(n <= CHUNK_BYTES && at + n <= from->t.bytes);
    tensor_read(&from->t, from->stride, at, c->bytes, n);
    *out = c->bytes;
    return is_merged(c->i, t) ? merge_piece(c, t, at, n, e) : 0;
}
