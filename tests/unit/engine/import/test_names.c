/* test_names.c - names of published checkpoints, and the list of what a model has. */
#include "engine/import/names.h"

#include <stdio.h>
#include <string.h>

#include "engine/files/safetensors.h"
#include "engine/import/want.h"
#include "tests/check.h"

TEST(names_become_the_models) {
    static const struct {
        const char *from, *to;
        enum names_kind kind;
    } cases[] = {
        {"blocks.38.attn.q_bias", "visual_encoder.blocks.38.attn.q_bias", NAMES_WEIGHT},
        {"visual.cls_token", "visual_encoder.cls_token", NAMES_WEIGHT},
        {"visual_encoder.pos_embed", "visual_encoder.pos_embed", NAMES_WEIGHT},
        {"module.visual_encoder.patch_embed.proj.bias", "visual_encoder.patch_embed.proj.bias",
         NAMES_WEIGHT},
        {"ln_vision.weight", "ln_vision.weight", NAMES_WEIGHT},
        {"module.llama_proj.bias", "llama_proj.bias", NAMES_WEIGHT},
        {"lm_head.weight", "lm_head.weight", NAMES_WEIGHT},
        {"llama_model.model.norm.weight", "model.norm.weight", NAMES_WEIGHT},
        {"llama_model.base_model.model.lm_head.0.weight", "lm_head.weight", NAMES_WEIGHT},
        {"llama_model.base_model.model.model.embed_tokens.weight", "model.embed_tokens.weight",
         NAMES_WEIGHT},
        {"llama_model.base_model.model.model.layers.3.self_attn.v_proj.base_layer.weight",
         "model.layers.3.self_attn.v_proj.weight", NAMES_WEIGHT},
        {"llama_model.base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
         "model.layers.0.self_attn.q_proj.weight", NAMES_LORA_A},
        {"llama_model.base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight",
         "model.layers.0.self_attn.q_proj.weight", NAMES_LORA_B},
        {"base_model.model.model.layers.9.mlp.down_proj.lora_B.weight",
         "model.layers.9.mlp.down_proj.weight", NAMES_LORA_B},
        {"model.layers.0.self_attn.rotary_emb.inv_freq", "", NAMES_SPARE},
        {"norm.weight", "", NAMES_SPARE},
        {"visual.head.bias", "", NAMES_SPARE},
        {"text.positional_embedding", "", NAMES_SPARE},
        {"logit_scale", "", NAMES_SPARE},
        {"Qformer.bert.embeddings.LayerNorm.weight", "", NAMES_UNKNOWN},
        {"query_tokens", "", NAMES_UNKNOWN},
        {"llama_model.blocks.0.norm1.weight", "", NAMES_UNKNOWN},
        {"model.layers.0.self_attn.q_proj.lora_A.a.b.weight", "", NAMES_UNKNOWN},
        {"model.layers.0.self_attn.q_proj.lora_magnitude_vector", "", NAMES_UNKNOWN},
        {"visual_encoder.rope.freqs", "", NAMES_UNKNOWN},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char to[ST_NAME_MAX + 1];
        CHECK_EQ(names_map(cases[i].from, to), cases[i].kind);
        if (cases[i].kind == NAMES_UNKNOWN) CHECK_STR(to, cases[i].from);
        if (cases[i].to[0]) CHECK_STR(to, cases[i].to);
    }
    /* The longest name becomes longer still: it is cut, not run over. */
    char from[ST_NAME_MAX + 1] = "blocks.", to[ST_NAME_MAX + 1];
    memset(from + 7, 'x', ST_NAME_MAX - 7);
    CHECK_EQ(names_map(from, to), NAMES_WEIGHT);
    CHECK(strlen(to) <= ST_NAME_MAX);
}

struct counted {
    const struct st *st;
    size_t n;
};

static int is_there(void *ud, const struct want *w) {
    struct counted *c = ud;
    const struct st_tensor *t = st_find(c->st, w->name);
    CHECK(t != NULL || w->is_optional);
    if (!t) return 0;
    CHECK_EQ(t->ndim, w->ndim);
    for (int i = 0; i < t->ndim; i++)
        CHECK(w->shape[i] == t->shape[i] || w->shape[i] == -1);
    c->n++;
    return 0;
}

/* What is wanted is what a model's file has, no more and no less. */
TEST(want_is_what_a_model_has) {
    static const char *const folders[] = {"tests/golden/tiny", "tests/golden/tiny-digits",
                                          "models/lamm-mini"};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        char path[100];
        struct model_config c;
        struct counted counted = {0};
        struct st *st;
        struct err e = {0};
        snprintf(path, sizeof path, "%s/model.safetensors", folders[i]);
        CHECK_EQ(model_read_config(folders[i], &c, &e), 0);
        CHECK_EQ(st_open(path, &st, &e), 0);
        counted.st = st;
        CHECK_EQ(want_each(&c, is_there, &counted), 0);
        CHECK_EQ(counted.n, st_count(st));
        st_close(st);
    }
}

static int stop(void *ud, const struct want *w) {
    (void)w;
    return ++*(int *)ud == 3 ? E_NOMEM : 0;
}

TEST(want_stops_at_an_error) {
    struct model_config c;
    int n = 0;
    CHECK_EQ(model_read_config("models/shapes/pae-lamm-7b", &c, NULL), 0);
    CHECK_EQ(want_each(&c, stop, &n), E_NOMEM);
    CHECK_EQ(n, 3);
}
