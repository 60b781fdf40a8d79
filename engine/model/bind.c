/* bind.c - names of weights -> fields of the model, every shape checked before first use.
 *
 * A `struct bind` walks the network from the picture to the logits and asks for each tensor by name
 * and shape. The first error sticks: later calls bind nothing, so that the walk reads as a list.
 * Matrices go to the device in the type they have, vectors and positions are widened to f32. Every
 * tensor used is marked. What is left over at the end has to be one of the few that published
 * checkpoints carry along (docs/model.md sections 5.1 and 5.2). Anything else is a misspelled name.
 *
 * Of a model that learns, each tensor is told to the learner with its place (net.h).
 *
 * The same walk first counts what the device will hold, so that a model that is too large is
 * refused before minutes are spent on reading it: then the device is asked for sizes alone.
 *
 * TRAPS: k has no bias in the tower (bias = q_bias, zeros, v_bias). Without ln_vision its weight is
 * 1 and its bias 0. Thread: the one that opens the model.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/model/room.h"
#include "kernels/base/mem.h"
#include "kernels/base/str.h"

struct bind {
    struct model *m;
    struct weights *w;
    size_t n;                  /* tensors that are there */
    uint8_t *used;             /* (n) */
    char prefix[64];           /* in front of every name asked for */
    char missing[ST_NAME_MAX]; /* the first name that isn't there; empty: none */
    enum room_of where;        /* the matrices asked for from now on are there */
    int with_back;             /* the same */
    uint64_t *bytes;           /* what the device would hold: it is counted alone; NULL: filled */
    struct err *e;
    int rc; /* the first error */
};

/* ---- finding a tensor ---- */

/* A tensor that was made is not in the list. It is asked for once. */
static void mark_used(struct bind *b, const struct st_tensor *t) {
    size_t i = 0;
    while (i < b->n && b->w->each(b->w, i) != t)
        i++;
    if (i == b->n || !b->used[i]) b->m->parameters += t->elements;
    if (i < b->n) b->used[i] = 1;
}

/* "[3, 4]" */
static void print_shape(char *out, size_t size, const int64_t *shape, int ndim) {
    size_t at = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < ndim && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%lld", i ? ", " : "", (long long)shape[i]);
    if (at < size) snprintf(out + at, size - at, "]");
}

/* What the names asked for from now on begin with; %d stands for a layer. */
__attribute__((format(printf, 2, 3))) static void bind_in(struct bind *b, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(b->prefix, sizeof b->prefix, fmt, args);
    va_end(args);
}

/* Is there a vector of that name? */
static int bind_has(const struct bind *b, const char *name, int n) {
    char full[ST_NAME_MAX];
    const struct st_tensor *t;
    snprintf(full, sizeof full, "%s%s", b->prefix, name);
    return b->w->find(b->w, full, (int64_t[]){n}, 1, &t) != E_NOT_FOUND;
}

/* The tensor of that name and shape, or NULL and b->rc. -1 in `want` fits any size. */
static const struct st_tensor *bind_find(struct bind *b, const char *tail, const int64_t *want,
                                         int ndim) {
    if (b->rc && !b->missing[0]) return NULL;
    char name[ST_NAME_MAX];
    snprintf(name, sizeof name, "%s%s", b->prefix, tail);
    const struct st_tensor *t = NULL;
    int rc = b->w->find(b->w, name, want, ndim, &t);
    if (b->rc) { /* the rest of the walk only marks which names are good */
        if (t) mark_used(b, t);
        return NULL;
    }
    if (rc == E_NOT_FOUND) {
        snprintf(b->missing, sizeof b->missing, "%s", name);
        b->rc = E_FORMAT;
    } else if (rc) {
        b->rc = err_set(b->e, rc, "tensor %s: no memory", name);
    }
    if (!t) return NULL;
    if (t->dtype == ST_OTHER) {
        b->rc = err_set(b->e, E_UNSUPPORTED, "tensor %s: dtype %s is not F32, BF16 or F16", name,
                        t->dtype_name);
        return NULL;
    }
    int fits = t->ndim == ndim;
    for (int i = 0; fits && i < ndim; i++)
        fits = want[i] < 0 || want[i] == t->shape[i];
    if (!fits) {
        char has[64], needs[64];
        print_shape(has, sizeof has, t->shape, t->ndim);
        print_shape(needs, sizeof needs, want, ndim);
        b->rc = err_set(b->e, E_FORMAT, "tensor %s: has shape %s, needs %s", name, has, needs);
        return NULL;
    }
    mark_used(b, t);
    return t;
}

static enum kern_dtype dtype_of(const struct st_tensor *t) {
    if (t->dtype == ST_F32) return KERN_F32;
    return t->dtype == ST_BF16 ? KERN_BF16 : KERN_F16;
}

static void widen(const struct st_tensor *t, float *out) {
    st_floats(t, 0, out, (size_t)t->elements);
}

/* ---- sending it to the device ---- */

/* Tells the learner, if there is one, where a tensor's numbers (those of the file, or `f32`) went:
 * to a matrix, or a vector. */
static void bind_tell(struct bind *b, const char *name, const struct st_tensor *t, const float *f32,
                      size_t n, struct model_bound at) {
    const struct model_learn *learn = b->bytes ? NULL : b->m->learn;
    if (b->rc || !learn || !learn->bound) return;
    at.name = name;
    at.data = f32 ? f32 : t->data;
    at.dtype = f32 ? KERN_F32 : dtype_of(t);
    at.n = n;
    b->rc = learn->bound(learn->ud, &at, b->e);
}

static void bind_tell_vector(struct bind *b, const struct st_tensor *t, struct kern_ptr at) {
    bind_tell(b, t->name, t, NULL, (size_t)t->elements, (struct model_bound){.vec = at});
}

/* Is it all about counting? Then they are counted. */
static int bind_counts(struct bind *b, uint64_t bytes) {
    if (!b->bytes) return 0;
    *b->bytes = bytes > UINT64_MAX - *b->bytes ? UINT64_MAX : *b->bytes + bytes;
    return 1;
}

static struct kern_ptr bind_floats(struct bind *b, const float *v, size_t n) {
    struct kern_ptr p = {0};
    if (bind_counts(b, n * sizeof *v)) return p;
    if (!b->rc) b->rc = memory_alloc(b->m, n * sizeof *v, &p, b->e);
    if (!b->rc) b->m->ops->put(b->m->k, p, v, n * sizeof *v);
    return p;
}

/* Host memory for n floats; NULL and b->rc when there is none. */
static float *bind_scratch(struct bind *b, size_t n) {
    float *v = b->rc ? NULL : mem_try((n ? n : 1) * sizeof *v);
    if (!v && !b->rc) b->rc = err_set(b->e, E_NOMEM, "no memory for %zu floats", n);
    return v;
}

static struct kern_ptr bind_tensor_f32(struct bind *b, const struct st_tensor *t) {
    struct kern_ptr p = {0};
    if (!t || bind_counts(b, t->elements * sizeof(float))) return p;
    float *v = bind_scratch(b, (size_t)t->elements);
    if (!v) return p;
    widen(t, v);
    p = bind_floats(b, v, (size_t)t->elements);
    mem_free(v);
    bind_tell_vector(b, t, p);
    return p;
}

static struct kern_ptr bind_vector(struct bind *b, const char *name, int n) {
    return bind_tensor_f32(b, bind_find(b, name, (int64_t[]){n}, 1));
}

/* One that isn't in the file. */
static struct kern_ptr bind_constant(struct bind *b, const char *name, int n, float value) {
    char full[ST_NAME_MAX];
    struct kern_ptr p = {0};
    float *v = bind_scratch(b, (size_t)n);
    if (!v) return p;
    for (int i = 0; i < n; i++)
        v[i] = value;
    p = bind_floats(b, v, (size_t)n);
    snprintf(full, sizeof full, "%s%s", b->prefix, name);
    bind_tell(b, full, NULL, v, (size_t)n, (struct model_bound){.vec = p});
    mem_free(v);
    return p;
}

/* Up to three tensors stacked into one matrix with rows of k. */
static struct kern_mat *bind_stack(struct bind *b, const struct st_tensor *const *tensors, int n,
                                   int k) {
    enum kern_dtype type = KERN_F32;
    struct kern_mat_part list[3] = {0};
    struct kern_mat *mat = NULL;
    for (int i = 0; i < n && !b->rc; i++)
        list[i] = (struct kern_mat_part){.data = tensors[i]->data,
                                         .n = (int)tensors[i]->shape[0],
                                         .dtype = dtype_of(tensors[i])};
    if (b->rc) return NULL;
    for (int i = 0; i < n; i++)
        type = i == 0 || type == list[i].dtype ? list[i].dtype : KERN_F32;
    struct kern_mat_src src = {.parts = list,
                               .n_parts = n,
                               .k = k,
                               .keep = room_keep(b->m, b->where, type),
                               .with_back = b->with_back};
    if (b->bytes && bind_counts(b, b->m->ops->mat_bytes(b->m->k, &src))) return NULL;
    b->rc = memory_mat(b->m, &src, &mat, b->e);
    for (int i = 0, row = 0; i < n; row += list[i++].n)
        bind_tell(b, tensors[i]->name, tensors[i], NULL, (size_t)tensors[i]->elements,
                  (struct model_bound){.mat = mat, .row0 = row});
    return mat;
}

static struct kern_mat *bind_matrix(struct bind *b, const char *name, int n, int k) {
    const struct st_tensor *t = bind_find(b, name, (int64_t[]){n, k}, 2);
    return t ? bind_stack(b, &t, 1, k) : NULL;
}

/* ---- the vision tower and the connector ---- */

/* pos_embed (1, 1 + any square, E) -> (1+P, E). */
static struct kern_ptr bind_positions(struct bind *b) {
    enum { SIDE_MAX = 256 };
    const struct model_config *c = &b->m->c;
    struct kern_ptr p = {0};
    int width = c->vision.hidden_size, to = c->vision.image_size / c->vision.patch_size;
    const struct st_tensor *t = bind_find(b, "pos_embed", (int64_t[]){1, -1, width}, 3);
    if (!t) return p;
    int from = 1;
    while (from < SIDE_MAX && (int64_t)from * from + 1 < t->shape[1])
        from++;
    if ((int64_t)from * from + 1 != t->shape[1]) {
        b->rc = err_set(b->e, E_FORMAT, "tensor %spos_embed: %lld rows are not a square and one",
                        b->prefix, (long long)t->shape[1]);
        return p;
    }
    if (from == to) return bind_tensor_f32(b, t);
    size_t n = (size_t)(1 + c->n_patches) * (size_t)width;
    if (bind_counts(b, n * sizeof(float))) return p;
    float *src = bind_scratch(b, (size_t)t->elements), *dst = bind_scratch(b, n);
    if (!b->rc) {
        widen(t, src);
        positions_resize(src, from, dst, to, width);
        p = bind_floats(b, dst, n);
        bind_tell(b, t->name, NULL, dst, n, (struct model_bound){.vec = p});
    }
    mem_free(src);
    mem_free(dst);
    return p;
}

/* The bias of the fused product: q's, nothing for k, v's. */
static struct kern_ptr bind_qkv_bias(struct bind *b) {
    struct kern_ptr p = {0};
    int n = b->m->c.vision.hidden_size;
    const struct st_tensor *q = bind_find(b, "attn.q_bias", (int64_t[]){n}, 1);
    const struct st_tensor *v = bind_find(b, "attn.v_bias", (int64_t[]){n}, 1);
    if (!q || !v || bind_counts(b, 3 * (size_t)n * sizeof(float))) return p;
    float *all = bind_scratch(b, 3 * (size_t)n);
    if (!all) return p;
    widen(q, all);
    widen(v, all + 2 * (size_t)n);
    p = bind_floats(b, all, 3 * (size_t)n);
    mem_free(all);
    bind_tell_vector(b, q, p);
    bind_tell_vector(b, v, kern_at(p, 2 * (size_t)n * sizeof *all));
    return p;
}

static void bind_vit_block(struct bind *b, struct vit_block *w, int i) {
    const struct model_vision *v = &b->m->c.vision;
    int n = v->hidden_size, ffn = v->intermediate_size;
    bind_in(b, "visual_encoder.blocks.%d.", i);
    w->norm1_w = bind_vector(b, "norm1.weight", n);
    w->norm1_b = bind_vector(b, "norm1.bias", n);
    w->qkv = bind_matrix(b, "attn.qkv.weight", 3 * n, n);
    w->qkv_b = bind_qkv_bias(b);
    w->proj = bind_matrix(b, "attn.proj.weight", n, n);
    w->proj_b = bind_vector(b, "attn.proj.bias", n);
    w->norm2_w = bind_vector(b, "norm2.weight", n);
    w->norm2_b = bind_vector(b, "norm2.bias", n);
    w->fc1 = bind_matrix(b, "mlp.fc1.weight", ffn, n);
    w->fc1_b = bind_vector(b, "mlp.fc1.bias", ffn);
    w->fc2 = bind_matrix(b, "mlp.fc2.weight", n, ffn);
    w->fc2_b = bind_vector(b, "mlp.fc2.bias", n);
}

static void bind_vit(struct bind *b, struct vit *w) {
    const struct model_config *c = &b->m->c;
    int n = c->vision.hidden_size, p = c->vision.patch_size;
    bind_in(b, "visual_encoder.");
    w->cls = bind_tensor_f32(b, bind_find(b, "cls_token", (int64_t[]){1, 1, n}, 3));
    w->pos = bind_positions(b);
    const struct st_tensor *patch =
        bind_find(b, "patch_embed.proj.weight", (int64_t[]){n, 3, p, p}, 4);
    if (patch) w->patch = bind_stack(b, &patch, 1, 3 * p * p);
    w->patch_b = bind_vector(b, "patch_embed.proj.bias", n);
    b->with_back = b->m->learn && b->m->learn->has_tower;
    b->where = ROOM_TOWER;
    for (int i = 0; i < c->vision.layers; i++)
        bind_vit_block(b, &w->blocks[i], i);
    b->where = ROOM_BESIDE;
    bind_in(b, "ln_vision.");
    if (bind_has(b, "weight", n) || bind_has(b, "bias", n)) {
        w->ln_w = bind_vector(b, "weight", n);
        w->ln_b = bind_vector(b, "bias", n);
    } else {
        w->ln_w = bind_constant(b, "weight", n, 1.0f);
        w->ln_b = bind_constant(b, "bias", n, 0.0f);
    }
    bind_in(b, "llama_proj.");
    w->proj = bind_matrix(b, "weight", c->text.hidden_size, c->concat * n);
    w->proj_b = bind_vector(b, "bias", c->text.hidden_size);
}

/* ---- the decoder ---- */

/* Matrices of one width and `n` rows each, stacked. */
static struct kern_mat *bind_stacked(struct bind *b, const char *const *names, int count, int n,
                                     int k) {
    const struct st_tensor *tensors[3] = {0};
    for (int i = 0; i < count; i++)
        tensors[i] = bind_find(b, names[i], (int64_t[]){n, k}, 2);
    return bind_stack(b, tensors, count, k);
}

static void bind_llama_layer(struct bind *b, struct llama_layer *w, int i) {
    static const char *const qkv[] = {"self_attn.q_proj.weight", "self_attn.k_proj.weight",
                                      "self_attn.v_proj.weight"};
    static const char *const gate_up[] = {"mlp.gate_proj.weight", "mlp.up_proj.weight"};
    const struct model_text *t = &b->m->c.text;
    int n = t->hidden_size, ffn = t->intermediate_size;
    bind_in(b, "model.layers.%d.", i);
    w->norm1 = bind_vector(b, "input_layernorm.weight", n);
    w->qkv = bind_stacked(b, qkv, 3, n, n);
    w->o = bind_matrix(b, "self_attn.o_proj.weight", n, n);
    w->norm2 = bind_vector(b, "post_attention_layernorm.weight", n);
    w->gate_up = bind_stacked(b, gate_up, 2, ffn, n);
    w->down = bind_matrix(b, "mlp.down_proj.weight", n, ffn);
}

/* The table keeps its type, since its rows are looked up, not multiplied. One that learns is
 * f32. */
static void bind_embed(struct bind *b, const struct st_tensor *t, struct llama *w) {
    if (b->rc) return;
    if (b->m->learn && b->m->learn->has_table) {
        w->embed_dtype = KERN_F32;
        w->embed = bind_tensor_f32(b, t);
        return;
    }
    w->embed_dtype = dtype_of(t);
    if (bind_counts(b, t->bytes)) return;
    b->rc = memory_alloc(b->m, t->bytes, &w->embed, b->e);
    if (!b->rc) b->m->ops->put(b->m->k, w->embed, t->data, t->bytes);
}

/* Heads are cut out of lm_head later, when the file is closed. So a copy stays on the host. Who
 * learns wants all of it, on the device. */
static void bind_head(struct bind *b, const struct st_tensor *t, struct llama *w) {
    if (b->rc) return;
    if (b->m->learn || b->bytes) {
        w->head_mat = bind_stack(b, &t, 1, b->m->c.text.hidden_size);
        return;
    }
    w->head_dtype = dtype_of(t);
    w->head = mem_try(t->bytes);
    if (w->head)
        memcpy(w->head, t->data, t->bytes);
    else
        b->rc = err_set(b->e, E_NOMEM, "no memory for a copy of lm_head");
}

static void bind_llama(struct bind *b, struct llama *w) {
    const struct model_text *t = &b->m->c.text;
    const int64_t table[] = {t->vocab_size, t->hidden_size};
    bind_in(b, "%s", "");
    const struct st_tensor *embed = bind_find(b, "model.embed_tokens.weight", table, 2);
    bind_embed(b, embed, w);
    b->with_back = b->m->learn != NULL;
    if (t->is_tied) bind_head(b, embed, w); /* at once: one that was made doesn't last */
    b->where = ROOM_LAYER;
    for (int i = 0; i < t->layers; i++)
        bind_llama_layer(b, &w->layers[i], i);
    b->where = ROOM_BESIDE;
    bind_in(b, "%s", "");
    w->norm = bind_vector(b, "model.norm.weight", t->hidden_size);
    if (!t->is_tied) bind_head(b, bind_find(b, "lm_head.weight", table, 2), w);
}

/* ---- what is left over ---- */

/* Tensors of published checkpoints that the network does not use: the tower's own norm and head,
 * the block behind the last one in use, angle tables of old LLaMA exports. */
static int is_ignorable(const struct model_config *c, const char *name) {
    char block[64];
    int n = snprintf(block, sizeof block, "visual_encoder.blocks.%d.", c->vision.layers);
    return !strncmp(name, block, (size_t)n) || !strncmp(name, "visual_encoder.norm.", 20) ||
           !strncmp(name, "visual_encoder.head.", 20) || has_suffix(name, ".rotary_emb.inv_freq");
}

/* Edit distance of two names, counted up to `most` + 1. */
static int name_distance(const char *a, const char *b, int most) {
    size_t na = strlen(a), nb = strlen(b);
    int row[ST_NAME_MAX + 1];
    if (nb > ST_NAME_MAX || na > nb + (size_t)most || nb > na + (size_t)most) return most + 1;
    for (size_t j = 0; j <= nb; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int corner = row[0], least = (int)i;
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int best = corner + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            corner = row[j];
            row[j] = best;
            if (best < least) least = best;
        }
        if (least > most) return most + 1;
    }
    return row[nb];
}

/* What is missing, and the unused name that is most like it. */
static void report_missing(struct bind *b) {
    enum { SLIP_MAX = 4 };
    const char *near = NULL;
    int least = SLIP_MAX + 1;
    for (size_t i = 0; i < b->n; i++) {
        const char *other = b->w->each(b->w, i)->name;
        int d = b->used[i] ? least : name_distance(b->missing, other, SLIP_MAX);
        if (d < least) {
            least = d;
            near = other;
        }
    }
    if (near)
        err_set(b->e, E_FORMAT, "tensor %s: missing (there is %.80s)", b->missing, near);
    else
        err_set(b->e, E_FORMAT, "tensor %s: missing", b->missing);
}

static void refuse_left_over(struct bind *b) {
    for (size_t i = 0; i < b->n && !b->rc; i++) {
        const char *name = b->w->each(b->w, i)->name;
        if (!b->used[i] && !is_ignorable(&b->m->c, name))
            b->rc = err_set(b->e, E_FORMAT, "tensor %.80s: unexpected", name);
    }
}

/* bytes: as in struct bind. */
static int bind_walk(struct model *m, struct weights *w, uint64_t *bytes, struct err *e) {
    struct bind b = {.m = m, .w = w, .where = ROOM_BESIDE, .bytes = bytes, .e = e};

    m->parameters = 0;
    w->only_shapes = bytes != NULL;
    while (w->each(w, b.n))
        b.n++;
    b.used = mem_try(b.n + 1);
    if (!b.used) return err_set(e, E_NOMEM, "no memory for %zu marks", b.n);
    bind_vit(&b, &m->vit);
    bind_llama(&b, &m->llama);
    refuse_left_over(&b);
    if (b.missing[0]) report_missing(&b);
    mem_free(b.used);
    return b.rc;
}

int bind_count(struct model *m, struct weights *w, uint64_t *bytes, struct err *e) {
    *bytes = 0;
    return bind_walk(m, w, bytes, e);
}

int bind_weights(struct model *m, struct weights *w, struct err *e) {
    return bind_walk(m, w, NULL, e);
}
