/* berth.c - reserving room for adapters on the device, and filling it.
 *
 * Each layer's tensors go through one block, `stage`: put there as they come, and from there into
 * their matrix by mat_set. Vectors go straight to their place.
 *
 * Invariants
 *   1. What is reserved is there from model_plan to model_close. A berth's matrices keep what an
 *      earlier adapter left in them until they are filled anew, and nobody reads that: `places` and
 *      the fields of `vit` say what is the present adapter's.
 *   2. The A of q, k, v stand on top of each other in one matrix, and so do those of gate and up:
 *      places that are there, without gaps, each with as many rows as the adapter's rank. One
 *      product makes the inside of all of them.
 *   3. B is kept (N, most rank). Columns behind the adapter's rank are whatever they are.
 */
#include <string.h>

#include "engine/model/cargo.h"
#include "engine/model/internal.h"
#include "kernels/base/mem.h"

static struct peft_sizes berth_sizes_of(const struct model_config *c) {
    const struct model_text *t = &c->text;
    return (struct peft_sizes){t->layers, t->hidden_size, t->intermediate_size};
}

int berth_stack(enum peft_place place) {
    static const int stacks[PEFT_PLACES] = {0, 0, 0, 1, 2, 2, 3};
    return stacks[place];
}

unsigned berth_places(int stack) {
    unsigned mask = 0;
    for (int i = 0; i < PEFT_PLACES; i++)
        if (berth_stack((enum peft_place)i) == stack) mask |= 1u << i;
    return mask;
}

/* Shape of the A of a stack, with room for rank `most`. */
static void shape_a(const struct model_config *c, int stack, int most, int *n, int *k) {
    struct peft_sizes s = berth_sizes_of(c);
    int unused;
    *n = 0;
    for (int i = 0; i < PEFT_PLACES; i++) {
        if (berth_stack((enum peft_place)i) != stack) continue;
        peft_shape(&s, (enum peft_place)i, &unused, k);
        *n += most;
    }
}

static int block_count(const struct model_config *c) { return c->vision.layers; }

/* Every field of a tower once, in order; 0 behind the last. *block begins at OVERLAY_TOWER and *row
 * at 0. */
static const struct overlay_row *next_field(const struct model_config *c, int *block, int *row) {
    while (*block < block_count(c)) {
        const struct overlay_row *r = overlay_row(*block, (*row)++);
        if (r && r->at == 0) return r;
        if (r) continue;
        ++*block;
        *row = 0;
    }
    return NULL;
}

static size_t vector_floats(const struct model_config *c, const struct overlay_row *r) {
    int n, k;
    overlay_size(c, r, &n, &k);
    return ((size_t)k * (size_t)r->vectors + 15) & ~(size_t)15;
}

/* ---- counting ---- */

/* Floats of the largest tensor that passes through the stage. */
static size_t stage_floats(const struct model_config *c, const struct model_plan *p) {
    const struct model_text *t = &c->text;
    int wide = t->intermediate_size > t->hidden_size ? t->intermediate_size : t->hidden_size;
    size_t most = (size_t)wide * (size_t)p->berth_rank;
    const struct overlay_row *r;
    for (int block = OVERLAY_TOWER, row = 0;
         p->berth_overlays && (r = next_field(c, &block, &row)) != NULL;) {
        int n, k;
        overlay_size(c, r, &n, &k);
        size_t floats = r->is_mat ? (size_t)n * (size_t)k : 0;
        if (floats > most) most = floats;
    }
    return most;
}

static void berth_count(uint64_t *sum, uint64_t bytes) {
    *sum = bytes > UINT64_MAX - *sum ? UINT64_MAX : *sum + bytes;
}

/* What reserve_mat takes. */
static uint64_t mat_bytes(const struct model *m, enum kern_keep keep, int n, int k) {
    struct kern_mat_part part = {.n = n, .dtype = KERN_F32};
    struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = k, .keep = keep};
    return m->ops->mat_bytes(m->k, &src);
}

static uint64_t lora_bytes(const struct model *m, enum kern_keep keep, int rank) {
    struct peft_sizes s = berth_sizes_of(&m->c);
    uint64_t sum = 0, all = 0;
    int n, k;
    for (int stack = 0; stack < BERTH_STACKS; stack++) {
        shape_a(&m->c, stack, rank, &n, &k);
        berth_count(&sum, mat_bytes(m, keep, n, k));
    }
    for (int i = 0; i < PEFT_PLACES; i++) {
        peft_shape(&s, (enum peft_place)i, &n, &k);
        berth_count(&sum, mat_bytes(m, keep, n, rank));
    }
    for (int i = 0; i < m->c.text.layers; i++)
        berth_count(&all, sum);
    return all;
}

static uint64_t tower_bytes(const struct model *m, enum kern_keep keep) {
    const struct model_config *c = &m->c;
    uint64_t sum = 0;
    const struct overlay_row *r;
    for (int block = OVERLAY_TOWER, row = 0; (r = next_field(c, &block, &row)) != NULL;) {
        int n, k;
        overlay_size(c, r, &n, &k);
        berth_count(&sum,
                    r->is_mat ? mat_bytes(m, keep, n, k) : sizeof(float) * vector_floats(c, r));
    }
    return sum;
}

uint64_t model_berth_bytes(const struct model *m, const struct model_plan *p) {
    uint64_t sum = 0;
    if (!p->berths) return 0;
    for (int i = 0; i < p->berths; i++)
        berth_count(&sum, lora_bytes(m, p->berth_keep, p->berth_rank));
    for (int i = 0; i < p->berth_overlays; i++)
        berth_count(&sum, tower_bytes(m, p->berth_keep));
    berth_count(&sum, sizeof(float) * stage_floats(&m->c, p));
    return sum;
}

/* ---- reserving ---- */

/* A matrix (n, k) of zeros. */
static int reserve_mat(struct model *m, const float *zeros, int n, int k, struct kern_mat **out,
                       struct err *e) {
    struct kern_mat_part part = {.data = zeros, .n = n, .dtype = KERN_F32};
    struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = k, .keep = m->plan.berth_keep};
    return m->ops->mat_new(m->k, &src, out, e);
}

static int reserve_lora(struct model *m, struct berth *b, const float *zeros, struct err *e) {
    struct peft_sizes s = berth_sizes_of(&m->c);
    int rank = m->plan.berth_rank, rc = 0, n, k;
    for (int i = 0; i < m->c.text.layers && !rc; i++) {
        struct berth_layer *l = &b->layers[i];
        for (int stack = 0; stack < BERTH_STACKS && !rc; stack++) {
            shape_a(&m->c, stack, rank, &n, &k);
            rc = reserve_mat(m, zeros, n, k, &l->a[stack], e);
        }
        for (int place = 0; place < PEFT_PLACES && !rc; place++) {
            peft_shape(&s, (enum peft_place)place, &n, &k);
            rc = reserve_mat(m, zeros, n, rank, &l->b[place], e);
        }
    }
    return rc;
}

static int reserve_tower(struct model *m, struct berth *b, const float *zeros, struct err *e) {
    const struct overlay_row *r;
    size_t floats = 0;
    int rc = 0;
    b->room.blocks = mem_try((size_t)block_count(&m->c) * sizeof *b->room.blocks);
    if (!b->room.blocks) return err_set(e, E_NOMEM, "no memory for an overlay");
    for (int block = OVERLAY_TOWER, row = 0; (r = next_field(&m->c, &block, &row)) != NULL;)
        if (!r->is_mat) floats += vector_floats(&m->c, r);
    rc = m->ops->alloc(m->k, floats * sizeof(float), &b->vectors, e);
    struct kern_ptr at = b->vectors;
    for (int block = OVERLAY_TOWER, row = 0;
         !rc && (r = next_field(&m->c, &block, &row)) != NULL;) {
        void *field = overlay_field(&b->room, block, r);
        int n, k;
        overlay_size(&m->c, r, &n, &k);
        if (r->is_mat) {
            rc = reserve_mat(m, zeros, n, k, field, e);
            continue;
        }
        *(struct kern_ptr *)field = at;
        at = kern_at(at, vector_floats(&m->c, r) * sizeof(float));
    }
    return rc;
}

static int reserve_berth(struct model *m, int i, const float *zeros, struct err *e) {
    struct berth *b = &m->berths[i];
    b->layers = mem_try((size_t)m->c.text.layers * sizeof *b->layers);
    b->vit.blocks = mem_try((size_t)block_count(&m->c) * sizeof *b->vit.blocks);
    if (!b->layers || !b->vit.blocks) return err_set(e, E_NOMEM, "no memory for a berth");
    int rc = reserve_lora(m, b, zeros, e);
    return rc || i >= m->plan.berth_overlays ? rc : reserve_tower(m, b, zeros, e);
}

int berth_plan(struct model *m, struct err *e) {
    const struct model_plan *p = &m->plan;
    if (!p->berths) return 0;
    size_t floats = stage_floats(&m->c, p), zeros = 3 * floats; /* A of three places */
    int rc = memory_alloc(m, floats * sizeof(float), &m->stage, e);
    float *host = rc ? NULL : mem_try(zeros * sizeof *host);
    m->berths = mem_try((size_t)p->berths * sizeof *m->berths);
    if (!rc && (!host || !m->berths)) rc = err_set(e, E_NOMEM, "no memory for berths");
    for (int i = 0; i < p->berths && !rc; i++)
        rc = reserve_berth(m, i, host, e);
    mem_free(host);
    return rc;
}

static void free_tower(struct model *m, struct berth *b) {
    const struct overlay_row *r;
    if (b->room.blocks)
        for (int block = OVERLAY_TOWER, row = 0; (r = next_field(&m->c, &block, &row)) != NULL;)
            if (r->is_mat)
                m->ops->mat_free(m->k, *(struct kern_mat **)overlay_field(&b->room, block, r));
    if (b->vectors.addr) m->ops->free(m->k, b->vectors);
    mem_free(b->room.blocks);
    mem_free(b->vit.blocks);
}

void berth_free_all(struct model *m) {
    for (int i = 0; m->berths && i < m->plan.berths; i++) {
        struct berth *b = &m->berths[i];
        for (int layer = 0; b->layers && layer < m->c.text.layers; layer++) {
            for (int stack = 0; stack < BERTH_STACKS; stack++)
                m->ops->mat_free(m->k, b->layers[layer].a[stack]);
            for (int place = 0; place < PEFT_PLACES; place++)
                m->ops->mat_free(m->k, b->layers[layer].b[place]);
        }
        free_tower(m, b);
        mem_free(b->layers);
    }
    mem_free(m->berths);
    m->berths = NULL;
}

/* ---- filling ---- */

void model_berth_clear(struct model *m, int berth) {
    must(berth >= 0 && berth < m->plan.berths);
    struct berth *b = &m->berths[berth];
    struct vit_block *blocks = b->vit.blocks;
    for (int i = 0; i < m->c.text.layers; i++)
        b->layers[i].places = 0;
    memcpy(blocks, m->vit.blocks, (size_t)block_count(&m->c) * sizeof *blocks);
    b->vit = m->vit;
    b->vit.blocks = blocks;
    b->rank = b->is_filled = 0;
}

/* Rows row0.. of a matrix become the piece's. Where the matrix has more columns, those are what
 * happens to lie behind in the stage, which has room for all of it. */
static void set_rows(struct model *m, const struct cargo_piece *p, const float *data,
                     struct kern_mat *w, int row0) {
    size_t bytes = (size_t)p->rows * (size_t)p->cols * sizeof *data;
    m->ops->put(m->k, m->stage, data, bytes);
    m->ops->train->mat_set(
        m->k, &(struct kern_mat_set){
                  .w = w, .row0 = row0, .rows = p->rows, .src = m->stage, .ld = p->cols});
}

static void berth_fill_lora(struct model *m, struct berth *b, const struct cargo_piece *p,
                            const float *data) {
    struct berth_layer *l = &b->layers[p->layer];
    int stack = berth_stack((enum peft_place)p->place);
    if (p->kind == CARGO_B) {
        set_rows(m, p, data, l->b[p->place], 0);
        return;
    }
    int before = __builtin_popcount(l->places & berth_places(stack));
    set_rows(m, p, data, l->a[stack], before * b->rank);
    l->places |= 1u << p->place;
}

static void fill_tower(struct model *m, struct berth *b, const struct cargo_piece *p,
                       const float *data) {
    const struct overlay_row *r = overlay_row(p->layer, p->place);
    void *room = overlay_field(&b->room, p->layer, r), *used = overlay_field(&b->vit, p->layer, r);
    if (r->is_mat) {
        struct kern_mat **mat = used;
        *mat = *(struct kern_mat **)room;
        set_rows(m, p, data, *mat, 0);
        return;
    }
    struct kern_ptr *at = used, own = *(struct kern_ptr *)room;
    size_t bytes = (size_t)p->cols * sizeof *data;
    /* A field of several vectors may have others that are the base's. */
    if (at->addr != own.addr) m->ops->copy(m->k, own, *at, bytes * (size_t)r->vectors);
    *at = own;
    m->ops->put(m->k, kern_at(own, bytes * (size_t)r->at), data, bytes);
}

void model_berth_fill(struct model *m, int berth, const struct cargo *c, int layer) {
    must(berth >= 0 && berth < m->plan.berths && layer >= 0 && layer < c->n);
    must(c->rank <= m->plan.berth_rank && (!c->has_overlay || berth < m->plan.berth_overlays));
    struct berth *b = &m->berths[berth];
    const struct cargo_layer *l = &c->layers[layer];
    b->rank = c->rank;
    for (int i = 0; i < l->n; i++) {
        const struct cargo_piece *p = &l->pieces[i];
        if (p->kind == CARGO_TOWER)
            fill_tower(m, b, p, l->data + p->at);
        else
            berth_fill_lora(m, b, p, l->data + p->at);
    }
    model_beat(m);
    b->is_filled = layer == c->n - 1;
}
