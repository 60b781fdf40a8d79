/* params.c - the list of what learns, made from config and options alone.
 *
 * The list walks the network as bind.c does and notes the index of each weight in a map, so that
 * the walks of training find gradients without names. Then places are given out, group by group: a
 * group is all parameters of one rate and one decay. Inside a group the order of the list stays. So
 * q, k and v of a layer are neighbours, and so are gate and up: the gradient of their one matrix is
 * one product.
 *
 * Decay falls on matrices whose names have no "bias", "ln" or "norm" (docs/model.md section 6).
 * cls_token and pos_embed do decay, as in MiniGPT-4's code.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/train/internal.h"
#include "engine/train/losses/dense.h"
#include "kernels/base/mem.h"

/* ---- the list ---- */

struct lister {
    struct params *p;
    const struct model_config *c;
    const struct train_options *o;
    char prefix[80];
    int is_tower, is_dense;
};

__attribute__((format(printf, 2, 3))) static void list_in(struct lister *l, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(l->prefix, sizeof l->prefix, fmt, args);
    va_end(args);
}

/* The next parameter; sizes end with 0. Returns its index. */
static int list_add(struct lister *l, const char *name, const int64_t *shape) {
    struct param *p = &l->p->at[l->p->n];
    *p = (struct param){.n = 1, .scale = 1, .is_tower = l->is_tower, .is_dense = l->is_dense};
    int len = snprintf(p->name, sizeof p->name, "%s%s", l->prefix, name);
    must(len < (int)sizeof p->name);
    for (; shape[p->ndim]; p->ndim++) {
        p->shape[p->ndim] = shape[p->ndim];
        p->n *= (size_t)shape[p->ndim];
    }
    p->decays = p->ndim > 1 && !strstr(p->name, "bias") && !strstr(p->name, "ln") &&
                !strstr(p->name, "norm");
    return l->p->n++;
}

static int list_vector(struct lister *l, const char *name, int n) {
    return list_add(l, name, (int64_t[]){n, 0});
}

static int list_matrix(struct lister *l, const char *name, int n, int k) {
    return list_add(l, name, (int64_t[]){n, k, 0});
}

static void list_vit_block(struct lister *l, struct params_vit_block *b, int i) {
    int e = l->c->vision.hidden_size, f = l->c->vision.intermediate_size;
    list_in(l, "visual_encoder.blocks.%d.", i);
    b->norm1_w = list_vector(l, "norm1.weight", e);
    b->norm1_b = list_vector(l, "norm1.bias", e);
    b->qkv = list_matrix(l, "attn.qkv.weight", 3 * e, e);
    b->q_b = list_vector(l, "attn.q_bias", e);
    b->v_b = list_vector(l, "attn.v_bias", e);
    b->proj = list_matrix(l, "attn.proj.weight", e, e);
    b->proj_b = list_vector(l, "attn.proj.bias", e);
    b->norm2_w = list_vector(l, "norm2.weight", e);
    b->norm2_b = list_vector(l, "norm2.bias", e);
    b->fc1 = list_matrix(l, "mlp.fc1.weight", f, e);
    b->fc1_b = list_vector(l, "mlp.fc1.bias", f);
    b->fc2 = list_matrix(l, "mlp.fc2.weight", e, f);
    b->fc2_b = list_vector(l, "mlp.fc2.bias", e);
}

static void list_vit(struct lister *l) {
    struct params_map *m = &l->p->map;
    int e = l->c->vision.hidden_size, p = l->c->vision.patch_size;
    list_in(l, "visual_encoder.");
    m->cls = list_add(l, "cls_token", (int64_t[]){1, 1, e, 0});
    m->pos = list_add(l, "pos_embed", (int64_t[]){1, 1 + l->c->n_patches, e, 0});
    m->patch = list_add(l, "patch_embed.proj.weight", (int64_t[]){e, 3, p, p, 0});
    m->patch_b = list_vector(l, "patch_embed.proj.bias", e);
    for (int i = 0; i < l->c->vision.layers; i++)
        list_vit_block(l, &m->blocks[i], i);
    list_in(l, "ln_vision.");
    m->ln_w = list_vector(l, "weight", e);
    m->ln_b = list_vector(l, "bias", e);
}

static void list_layer(struct lister *l, struct params_layer *at, int i) {
    int d = l->c->text.hidden_size, f = l->c->text.intermediate_size;
    list_in(l, "model.layers.%d.", i);
    at->norm1 = list_vector(l, "input_layernorm.weight", d);
    at->q = list_matrix(l, "self_attn.q_proj.weight", d, d);
    at->k = list_matrix(l, "self_attn.k_proj.weight", d, d);
    at->v = list_matrix(l, "self_attn.v_proj.weight", d, d);
    at->o = list_matrix(l, "self_attn.o_proj.weight", d, d);
    at->norm2 = list_vector(l, "post_attention_layernorm.weight", d);
    at->gate = list_matrix(l, "mlp.gate_proj.weight", f, d);
    at->up = list_matrix(l, "mlp.up_proj.weight", f, d);
    at->down = list_matrix(l, "mlp.down_proj.weight", d, f);
}

static void list_text(struct lister *l) {
    const struct model_text *t = &l->c->text;
    struct params_map *m = &l->p->map;
    list_in(l, "%s", "");
    m->embed = list_matrix(l, "model.embed_tokens.weight", t->vocab_size, t->hidden_size);
    for (int i = 0; i < t->layers; i++)
        list_layer(l, &m->layers[i], i);
    list_in(l, "%s", "");
    m->norm = list_vector(l, "model.norm.weight", t->hidden_size);
    m->head =
        t->is_tied ? m->embed : list_matrix(l, "lm_head.weight", t->vocab_size, t->hidden_size);
}

/* ---- heads of dense questions ---- */

static void list_dense(struct lister *l) {
    struct params_dense *at = &l->p->map.dense;
    struct dense_shape s = dense_shape_of(l->c);
    const float *asked = l->o->dense;
    list_in(l, "dense.");
    if (asked[TRAIN_DENSE_INSIDE] > 0) {
        at->key = list_matrix(l, "key.weight", s.cells * DENSE_KEY, s.width);
        at->key_b = list_vector(l, "key.bias", s.cells * DENSE_KEY);
        at->query = list_matrix(l, "query.weight", DENSE_KEY, s.width);
    }
    if (asked[TRAIN_DENSE_BOX] > 0) {
        at->box = list_matrix(l, "box.weight", 4 * DENSE_STEPS, s.width);
        at->box_b = list_vector(l, "box.bias", 4 * DENSE_STEPS);
    }
    if (asked[TRAIN_DENSE_COLOUR] > 0) {
        at->colour = list_matrix(l, "colour.weight", s.cells * 3, s.width);
        at->colour_b = list_vector(l, "colour.bias", s.cells * 3);
    }
    if (asked[TRAIN_DENSE_FEATURE] > 0) {
        at->feature = list_matrix(l, "feature.weight", SAMPLE_FEATURES, s.width);
        at->feature_b = list_vector(l, "feature.bias", SAMPLE_FEATURES);
    }
}

/* ---- LoRAs ---- */

void params_lora_shape(const struct model_config *c, int target, int *out, int *in) {
    int bit = 1 << target, d = c->text.hidden_size, f = c->text.intermediate_size;
    *out = bit == TRAIN_LORA_GATE || bit == TRAIN_LORA_UP ? f : d;
    *in = bit == TRAIN_LORA_DOWN ? f : d;
}

float params_scale(const struct train_lora *l) {
    return l->is_rslora ? l->alpha / sqrtf((float)l->r) : l->alpha / (float)l->r;
}

static void list_lora(struct lister *l, int layer) {
    const struct train_lora *lora = &l->o->lora;
    struct params_layer *at = &l->p->map.layers[layer];
    for (int i = 0; i < LORA_TARGETS; i++) {
        char name[64];
        int out, in;
        if (!(lora->targets >> i & 1)) continue;
        params_lora_shape(l->c, i, &out, &in);
        list_in(l, "model.layers.%d.%s.%s_proj.", layer, i < 4 ? "self_attn" : "mlp",
                train_lora_words[i]);
        snprintf(name, sizeof name, "lora_A.weight");
        at->lora_a[i] = list_matrix(l, name, lora->r, in);
        snprintf(name, sizeof name, "lora_B.weight");
        at->lora_b[i] = list_matrix(l, name, out, lora->r);
        l->p->at[at->lora_a[i]].is_lora = l->p->at[at->lora_b[i]].is_lora = 1;
        l->p->at[at->lora_b[i]].scale = params_scale(lora);
    }
}

/* ---- places ---- */

/* Nothing learns, until it is listed. */
static void map_clear(struct params_map *m, int blocks, int layers) {
    m->cls = m->pos = m->patch = m->patch_b = m->ln_w = m->ln_b = m->proj = m->proj_b = -1;
    m->embed = m->head = m->norm = -1;
    memset(&m->dense, -1, sizeof m->dense);
    memset(m->blocks, -1, (size_t)blocks * sizeof *m->blocks);
    memset(m->layers, -1, (size_t)layers * sizeof *m->layers);
}

static void place(struct params *p) {
    for (int g = 0; g < PARAM_GROUPS; g++) {
        struct param_group group = {
            .at = p->floats, .is_tower = g < 2, .is_dense = g >= 4, .decays = g % 2 == 0};
        for (int i = 0; i < p->n; i++) {
            struct param *at = &p->at[i];
            if (at->is_tower != group.is_tower || at->is_dense != group.is_dense ||
                at->decays != group.decays)
                continue;
            at->at = p->floats;
            p->floats += at->n;
        }
        group.n = p->floats - group.at;
        if (group.n) p->groups[p->n_groups++] = group;
    }
}

int params_list(struct params *p, const struct model_config *c, const struct train_options *o,
                struct err *e) {
    int blocks = c->vision.layers, layers = c->text.layers;
    size_t most = 26 + 13 * (size_t)blocks + (9 + 2 * LORA_TARGETS) * (size_t)layers;
    *p = (struct params){0};
    p->at = mem_try(most * sizeof *p->at);
    p->map.blocks = mem_try((size_t)blocks * sizeof *p->map.blocks);
    p->map.layers = mem_try((size_t)layers * sizeof *p->map.layers);
    if (!p->at || !p->map.blocks || !p->map.layers) {
        params_clear(p);
        return err_set(e, E_NOMEM, "no memory for a list of %zu weights", most);
    }
    map_clear(&p->map, blocks, layers);
    struct lister l = {.p = p, .c = c, .o = o, .is_tower = 1};
    if (o->tower) list_vit(&l);
    l.is_tower = 0;
    list_in(&l, "llama_proj.");
    if (o->connector) {
        p->map.proj =
            list_matrix(&l, "weight", c->text.hidden_size, c->concat * c->vision.hidden_size);
        p->map.proj_b = list_vector(&l, "bias", c->text.hidden_size);
    }
    if (o->text == TRAIN_TEXT_FULL) list_text(&l);
    for (int i = 0; i < layers && o->text == TRAIN_TEXT_LORA; i++)
        list_lora(&l, i);
    l.is_dense = 1;
    list_dense(&l);
    place(p);
    return 0;
}

void params_clear(struct params *p) {
    mem_free(p->at);
    mem_free(p->map.blocks);
    mem_free(p->map.layers);
    *p = (struct params){0};
}

int params_lanes(const struct train_options *o, int samples) {
    int lanes = PARAM_LANES / (o->comm ? o->comm->size : 1);
    while (lanes > 1 && samples % lanes)
        lanes /= 2;
    return lanes > 1 ? lanes : 1;
}

int params_levels(int lanes) {
    int n = 1;
    for (; lanes > 1; lanes /= 2)
        n++;
    return n;
}

const struct param *params_find(const struct params *p, const char *name) {
    for (int i = 0; i < p->n; i++)
        if (!strcmp(p->at[i].name, name)) return &p->at[i];
    return NULL;
}

/* ---- to the model ---- */

static void settle(struct train *t, const struct param *p, struct kern_ptr from) {
    struct kern_ptr src = kern_at(from, p->at * sizeof(float));
    if (p->scale != 1) {
        t->back->zero(t->k, t->b.scaled, p->n * sizeof(float));
        t->back->axpy(t->k,
                      &(struct kern_axpy){.n = p->n, .by = p->scale, .x = src, .y = t->b.scaled});
        src = t->b.scaled;
    }
    int rows = (int)p->shape[0], k = (int)(p->n / (size_t)p->shape[0]);
    if (p->mat)
        t->back->mat_set(t->k,
                         &(struct kern_mat_set){
                             .w = p->mat, .row0 = p->row0, .rows = rows, .src = src, .ld = k});
    if (p->vec.addr) t->ops->copy(t->k, p->vec, src, p->n * sizeof(float));
}

void params_settle(struct train *t) {
    const struct params *p = &t->params;
    for (int i = 0; i < p->n; i++)
        settle(t, &p->at[i], t->is_average ? p->average : p->value);
}

/* ---- gradients ---- */

struct kern_ptr params_grad(const struct train *t, int index) {
    if (index < 0) return (struct kern_ptr){0};
    return kern_at(t->grad, t->params.at[index].at * sizeof(float));
}

void params_grad_stack(struct train *t, const int *index, int n, int m, struct kern_ptr dy,
                       int lddy, struct kern_ptr x, int ldx) {
    for (int i = 0; i < n;) {
        if (index[i] < 0) return; /* neighbours learn together */
        const struct param *p = &t->params.at[index[i]];
        struct kern_gemm_dw a = {.m = m,
                                 .n = (int)p->shape[0],
                                 .k = (int)(p->n / (size_t)p->shape[0]),
                                 .dy = dy,
                                 .lddy = lddy,
                                 .x = x,
                                 .ldx = ldx,
                                 .dw = params_grad(t, index[i]),
                                 .accumulate = 1};
        a.lddw = a.k;
        size_t end = p->at + p->n;
        for (i++; i < n && t->params.at[index[i]].at == end; i++) {
            end += t->params.at[index[i]].n;
            a.n += (int)t->params.at[index[i]].shape[0];
        }
        t->back->gemm_dw(t->k, &a);
        dy = kern_at(dy, (size_t)a.n * sizeof(float));
    }
}

void params_grad_bias(struct train *t, int index, int m, struct kern_ptr dy, int lddy) {
    if (index < 0) return;
    t->back->colsum(t->k, &(struct kern_colsum){.m = m,
                                                .n = (int)t->params.at[index].n,
                                                .dy = dy,
                                                .lddy = lddy,
                                                .db = params_grad(t, index),
                                                .accumulate = 1});
}
