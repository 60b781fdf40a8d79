/* count.c - the bytes of a run, counted from a config before anything is opened.
 *
 * Weights are counted as the backend keeps them: in the types that the file has them in (without a
 * file: bf16), padded and packed as kern_mat_form says, a second time only where it says so and
 * gradients go back through them. What learns is in f32 beside.
 */
#include <stdio.h>

#include "engine/files/st_join.h"
#include "engine/train/internal.h"
#include "engine/train/losses/dense.h"

/* ---- types ---- */

struct count_types {
    enum kern_dtype tower, patch, connector, text, table, head;
};

static enum kern_dtype count_type(const struct st *st, const char *name,
                                  enum kern_dtype otherwise) {
    const struct st_tensor *t = st ? st_find(st, name) : NULL;
    if (!t || t->dtype == ST_OTHER) return otherwise;
    return t->dtype == ST_F32 ? KERN_F32 : t->dtype == ST_BF16 ? KERN_BF16 : KERN_F16;
}

/* Of the matrices of a layer, or a block. Where they differ one is f32, or becomes it in a stack
 * with another: all count as f32, which is what they take at most. */
static enum kern_dtype count_alike(const struct st *st, const char *layer, const char *const *names,
                                   enum kern_dtype otherwise) {
    enum kern_dtype first = otherwise;
    for (int i = 0; names[i]; i++) {
        char name[ST_NAME_MAX];
        (void)snprintf(name, sizeof name, "%s.%s.weight", layer, names[i]);
        enum kern_dtype type = count_type(st, name, otherwise);
        if (i && type != first) return KERN_F32;
        first = type;
    }
    return first;
}

/* A model without a file, or with a bad one, which opening it will tell, has bf16. What is in layer
 * 0 is in all of them. */
static struct count_types read_types(const struct train_options *o) {
    static const char *const of_block[] = {"attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", NULL};
    static const char *const of_layer[] = {
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj",    NULL};
    char sha256[65];
    struct st *st = NULL;
    if (!o->is_seeded && st_open_model(o->model, &st, sha256, NULL)) st = NULL;
    struct count_types types;
    types.tower = count_alike(st, "visual_encoder.blocks.0", of_block, KERN_BF16);
    types.patch = count_type(st, "visual_encoder.patch_embed.proj.weight", types.tower);
    types.connector = count_type(st, "llama_proj.weight", KERN_BF16);
    types.text = count_alike(st, "model.layers.0", of_layer, KERN_BF16);
    types.table = count_type(st, "model.embed_tokens.weight", types.text);
    types.head = count_type(st, "lm_head.weight", types.table);
    st_close(st);
    return types;
}

/* bf16, whatever the 16 bits of the weights are: it has the range of f32, and gemm_dw rounds to it
 * at any rate. */
struct kept_types kept_types(const struct train_options *o, const struct kern_ops *ops) {
    const struct kern_mat_form form = ops->train->form(o->isa);
    struct kept_types kept = {KERN_F32, KERN_F32};
    if (!form.keeps_16bit || !plan_goes_back(o)) return kept;
    struct count_types types = read_types(o);
    if (o->tower && types.tower != KERN_F32) kept.tower = KERN_BF16;
    if (types.text != KERN_F32) kept.text = KERN_BF16;
    return kept;
}

/* ---- weights ---- */

struct counted {
    const struct kern_mat_form *form;
    uint64_t bytes, numbers;
};

static void add_mat(struct counted *n, int count, int rows, int k, enum kern_dtype type,
                    int with_back) {
    n->numbers += (uint64_t)count * (uint64_t)rows * (uint64_t)k;
    n->bytes += (uint64_t)count * kern_mat_bytes(n->form, rows, k, type, with_back);
}

/* Those of a LoRA count as numbers in params. */
static void add_loras(struct counted *n, const struct train_options *o,
                      const struct model_config *c) {
    for (int i = 0; i < LORA_TARGETS && o->text == TRAIN_TEXT_LORA; i++) {
        int out, in;
        if (!(o->lora.targets >> i & 1)) continue;
        params_lora_shape(c, i, &out, &in);
        add_mat(n, c->text.layers, o->lora.r, in, KERN_F32, 1);
        add_mat(n, c->text.layers, out, o->lora.r, KERN_F32, 1);
    }
}

/* Heads of dense questions, which are none of the model's weights, and the matrix of what they ask
 * for, which is no weight at all. */
static void add_heads(struct counted *n, const struct train_options *o, const struct params *p) {
    if (o->dense[TRAIN_DENSE_INSIDE] > 0)
        n->bytes += kern_mat_bytes(n->form, 2 * DENSE_QUERIES, DENSE_KEY, KERN_F32, 1);
    for (int i = 0; i < p->n; i++) {
        const struct param *at = &p->at[i];
        if (!at->is_dense) continue;
        if (at->ndim == 2) {
            add_mat(n, 1, (int)at->shape[0], (int)at->shape[1], KERN_F32, 1);
        } else {
            n->numbers += at->n;
            n->bytes += at->n * sizeof(float);
        }
    }
}

static struct counted count_mats(const struct train_options *o, const struct model_config *c,
                                 const struct kern_mat_form *form) {
    const struct count_types type = read_types(o);
    struct counted n = {.form = form};
    int e = c->vision.hidden_size, f = c->vision.intermediate_size, blocks = c->vision.layers;
    int d = c->text.hidden_size, g = c->text.intermediate_size, layers = c->text.layers;
    add_mat(&n, 1, e, 3 * c->vision.patch_size * c->vision.patch_size, type.patch, 0);
    add_mat(&n, blocks, 3 * e, e, type.tower, o->tower);
    add_mat(&n, blocks, e, e, type.tower, o->tower);
    add_mat(&n, blocks, f, e, type.tower, o->tower);
    add_mat(&n, blocks, e, f, type.tower, o->tower);
    add_mat(&n, 1, d, c->concat * e, type.connector, o->tower);
    add_mat(&n, layers, 3 * d, d, type.text, 1);
    add_mat(&n, layers, d, d, type.text, 1);
    add_mat(&n, layers, 2 * g, d, type.text, 1);
    add_mat(&n, layers, d, g, type.text, 1);
    add_mat(&n, 1, c->text.vocab_size, d, type.head, 1);
    add_loras(&n, o, c);
    uint64_t table = (uint64_t)c->text.vocab_size * (uint64_t)d;
    n.numbers += c->text.is_tied ? 0 : table;
    n.bytes += table * kern_dtype_bytes(o->text == TRAIN_TEXT_FULL ? KERN_F32 : type.table);
    return n;
}

/* The k third of the bias of a tower's qkv is there, as zeros, and is no weight. */
static uint64_t count_vectors(const struct model_config *c, uint64_t *zeros) {
    uint64_t e = (uint64_t)c->vision.hidden_size, f = (uint64_t)c->vision.intermediate_size;
    uint64_t d = (uint64_t)c->text.hidden_size, blocks = (uint64_t)c->vision.layers;
    *zeros = blocks * e;
    return blocks * (8 * e + f) + (4 + (uint64_t)c->n_patches + 1) * e + d +
           (uint64_t)c->text.layers * 2 * d + d;
}

int plan_count(const struct train_options *o, const struct model_config *c, const struct params *p,
               int samples, const struct kern_ops *ops, struct train_memory *out, struct err *e) {
    struct buffers b = {0};
    uint64_t f = sizeof(float), floats = p->floats, zeros;
    if (!ops->train) return err_set(e, E_UNSUPPORTED, "backend %s can't train", ops->name);
    size_t bytes = buffers_lay(o, c, kept_types(o, ops), (struct kern_ptr){0}, &b);
    if (bytes == SIZE_MAX) return err_set(e, E_TOO_BIG, "buffers of a sample: size overflows");
    const struct kern_mat_form form = ops->train->form(o->isa);
    struct counted mats = count_mats(o, c, &form);
    add_heads(&mats, o, p);
    uint64_t vectors = count_vectors(c, &zeros);
    *out = (struct train_memory){
        .weights = mats.bytes + (vectors + zeros) * f,
        .masters = floats * f,
        .gradients = floats * f * (uint64_t)params_levels(params_lanes(o, samples)),
        .optimiser = floats * f * (o->average > 0 ? 3 : 2),
        .activations = bytes + dense_bytes(o, c),
        .own = form.own_bytes,
        .parameters = mats.numbers + vectors,
        .learning = floats,
    };
    snprintf(out->backend, sizeof out->backend, "%s", ops->name);
    out->total =
        out->weights + out->masters + out->gradients + out->optimiser + out->activations + out->own;
    return 0;
}
