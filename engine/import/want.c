/* want.c - see want.h. engine/model/bind.c asks for the same names; what one of them forgot would
 * be missing, or unexpected, in the first model that is imported. */
#include "engine/import/want.h"

#include <stdarg.h>
#include <stdio.h>

struct walk {
    const struct model_config *c;
    int (*each)(void *ud, const struct want *w);
    void *ud;
    char prefix[64];
    int is_optional;
    int rc; /* the first error */
};

static void want_in(struct walk *w, const char *fmt, int i) {
    (void)snprintf(w->prefix, sizeof w->prefix, fmt, i);
}

static void want_one(struct walk *w, const char *name, int ndim, ...) {
    struct want want = {.ndim = ndim, .is_optional = w->is_optional};
    va_list sizes;
    if (w->rc) return;
    (void)snprintf(want.name, sizeof want.name, "%s%s", w->prefix, name);
    va_start(sizes, ndim);
    for (int i = 0; i < ndim; i++)
        want.shape[i] = va_arg(sizes, int);
    va_end(sizes);
    w->rc = w->each(w->ud, &want);
}

static void want_norm(struct walk *w, const char *name, int n) {
    char full[64];
    (void)snprintf(full, sizeof full, "%s.weight", name);
    want_one(w, full, 1, n);
    (void)snprintf(full, sizeof full, "%s.bias", name);
    want_one(w, full, 1, n);
}

static void want_linear(struct walk *w, const char *name, int n, int k) {
    char full[64];
    (void)snprintf(full, sizeof full, "%s.weight", name);
    want_one(w, full, 2, n, k);
    (void)snprintf(full, sizeof full, "%s.bias", name);
    want_one(w, full, 1, n);
}

static void want_tower(struct walk *w) {
    const struct model_vision *v = &w->c->vision;
    int n = v->hidden_size;
    want_in(w, "visual_encoder.", 0);
    want_one(w, "cls_token", 3, 1, 1, n);
    want_one(w, "pos_embed", 3, 1, -1, n);
    want_one(w, "patch_embed.proj.weight", 4, n, 3, v->patch_size, v->patch_size);
    want_one(w, "patch_embed.proj.bias", 1, n);
    for (int i = 0; i < v->layers; i++) {
        want_in(w, "visual_encoder.blocks.%d.", i);
        want_norm(w, "norm1", n);
        want_one(w, "attn.q_bias", 1, n);
        want_one(w, "attn.v_bias", 1, n);
        want_one(w, "attn.qkv.weight", 2, 3 * n, n);
        want_linear(w, "attn.proj", n, n);
        want_norm(w, "norm2", n);
        want_linear(w, "mlp.fc1", v->intermediate_size, n);
        want_linear(w, "mlp.fc2", n, v->intermediate_size);
    }
    want_in(w, "", 0);
    w->is_optional = 1;
    want_norm(w, "ln_vision", n);
    w->is_optional = 0;
    want_linear(w, "llama_proj", w->c->text.hidden_size, w->c->concat * n);
}

static void want_decoder(struct walk *w) {
    const struct model_text *t = &w->c->text;
    int n = t->hidden_size, f = t->intermediate_size;
    want_in(w, "", 0);
    want_one(w, "model.embed_tokens.weight", 2, t->vocab_size, n);
    for (int i = 0; i < t->layers; i++) {
        want_in(w, "model.layers.%d.", i);
        want_one(w, "input_layernorm.weight", 1, n);
        want_one(w, "self_attn.q_proj.weight", 2, n, n);
        want_one(w, "self_attn.k_proj.weight", 2, n, n);
        want_one(w, "self_attn.v_proj.weight", 2, n, n);
        want_one(w, "self_attn.o_proj.weight", 2, n, n);
        want_one(w, "post_attention_layernorm.weight", 1, n);
        want_one(w, "mlp.gate_proj.weight", 2, f, n);
        want_one(w, "mlp.up_proj.weight", 2, f, n);
        want_one(w, "mlp.down_proj.weight", 2, n, f);
    }
    want_in(w, "", 0);
    want_one(w, "model.norm.weight", 1, n);
    if (!t->is_tied) want_one(w, "lm_head.weight", 2, t->vocab_size, n);
}

int want_each(const struct model_config *c, int (*each)(void *ud, const struct want *w), void *ud) {
    struct walk w = {.c = c, .each = each, .ud = ud};
    want_tower(&w);
    want_decoder(&w);
    return w.rc;
}
