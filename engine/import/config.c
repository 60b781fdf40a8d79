/* config.c - config.json of what is imported.
 *
 * The decoder's numbers are those of LLaMA's own config.json. The tower's are in the shapes of its
 * tensors. What no shape tells is known of EVA ViT-g (docs/model.md section 1), which is known by
 * its width: 16 heads, 39 blocks in use, pictures of 448. Of another tower it is asked for. Both
 * norms' eps and CLIP's mean and deviation are those of MiniGPT-v2's code. How prompts are spelled
 * is in no checkpoint: those are attributes, with a default (section 4 of docs/model.md).
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/smallfile.h"
#include "engine/files/smalljson.h"
#include "engine/import/internal.h"
#include "engine/import/pth.h"
#include "kernels/base/mem.h"

enum { DEPTH_MAX = 16, MARKS_MAX = 10000, SIDE_MAX = 4096, GRID = 64 };

/* EVA ViT-g as published, and what MiniGPT-v2 makes of it. */
enum { EVA_WIDTH = 1408, EVA_HEADS = 16, EVA_BLOCKS = 40, EVA_PLACES = 16, EVA_SIDE = 448 };

#define BLOCKS "visual_encoder.blocks."

static int config_parse(const char *text, size_t len, json_t **root, struct err *e) {
    static const struct smalljson_most most = {ORIGINAL_CONFIG_MAX, DEPTH_MAX, MARKS_MAX};
    int rc = smalljson_parse(text, len, &most, root, e);
    if (!rc && !json_is_object(*root)) {
        json_decref(*root);
        *root = NULL;
        rc = err_set(e, E_FORMAT, "not a JSON object");
    }
    return rc;
}

/* ---- the decoder ---- */

/* What LLaMA's family has and this program has not. */
static int check_family(const json_t *llama, struct err *e) {
    const char *type = json_string_value(json_object_get(llama, "model_type"));
    const char *act = json_string_value(json_object_get(llama, "hidden_act"));
    const json_t *head = json_object_get(llama, "head_dim");
    json_int_t width = json_integer_value(json_object_get(llama, "hidden_size"));
    json_int_t heads = json_integer_value(json_object_get(llama, "num_attention_heads"));
    if (type && strcmp(type, "llama"))
        return err_set(e, E_UNSUPPORTED, "model_type: %s; only llama is read", st_show(type).text);
    if (act && strcmp(act, "silu"))
        return err_set(e, E_UNSUPPORTED, "hidden_act: %s; only silu is", st_show(act).text);
    if (json_is_object(json_object_get(llama, "quantization_config")))
        return err_set(e, E_UNSUPPORTED,
                       "quantization_config: take the weights of 16 bits; `lammd serve "
                       "--weights-as` packs them");
    if (json_is_true(json_object_get(llama, "attention_bias")) ||
        json_is_true(json_object_get(llama, "mlp_bias")))
        return err_set(e, E_UNSUPPORTED, "attention_bias, mlp_bias: only false is");
    if (json_is_integer(head) && json_integer_value(head) * heads != width)
        return err_set(e, E_UNSUPPORTED, "head_dim: not hidden_size / num_attention_heads");
    return 0;
}

/* How rows are turned by their positions. transformers 5 has it in an object of its own, which
 * counts before the keys of earlier ones. */
static int check_rope(const json_t *llama, json_t *text, struct err *e) {
    const json_t *rope = json_object_get(llama, "rope_parameters");
    const json_t *part = json_object_get(llama, "partial_rotary_factor");
    if (rope && !json_is_null(rope)) {
        if (!json_is_object(rope)) return err_set(e, E_FORMAT, "rope_parameters: not an object");
        const char *type = json_string_value(json_object_get(rope, "rope_type"));
        json_t *theta = json_object_get(rope, "rope_theta");
        if (type && strcmp(type, "default"))
            return err_set(e, E_UNSUPPORTED, "rope_parameters.rope_type: %s; only default is read",
                           st_show(type).text);
        if (theta) json_object_set(text, "rope_theta", theta);
        if (!part) part = json_object_get(rope, "partial_rotary_factor");
    }
    if (part && !json_is_null(part) && json_number_value(part) != 1.0)
        return err_set(e, E_UNSUPPORTED, "partial_rotary_factor: only 1 is read");
    return 0;
}

/* *out: our text_config. */
static int config_text_of(const json_t *llama, json_t **out, struct err *e) {
    static const char *const keys[] = {
        "hidden_size",        "intermediate_size",   "num_hidden_layers", "num_attention_heads",
        "vocab_size",         "num_key_value_heads", "rms_norm_eps",      "rope_theta",
        "rope_scaling",       "bos_token_id",        "eos_token_id",      "max_position_embeddings",
        "tie_word_embeddings"};
    int rc = check_family(llama, e);
    if (rc) return rc;
    *out = json_object();
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        json_t *v = json_object_get(llama, keys[i]);
        if (v && !json_is_null(v)) json_object_set(*out, keys[i], v);
    }
    if (!json_object_get(*out, "bos_token_id"))
        json_object_set_new(*out, "bos_token_id", json_integer(1));
    if (!json_object_get(*out, "eos_token_id"))
        json_object_set_new(*out, "eos_token_id", json_integer(2));
    return check_rope(llama, *out, e);
}

static int find_text(const struct import *i, json_t **out, struct err *e) {
    const struct original *from = NULL;
    json_t *llama;
    for (int k = 0; k < i->o.n_originals; k++)
        if (i->originals[k]->config) from = i->originals[k];
    if (!from)
        return err_set(e, E_NOT_FOUND,
                       "no original is LLaMA-2's folder, with config.json in it: name it first");
    int rc = config_parse(from->config, from->n_config, &llama, e);
    if (!rc) {
        rc = config_text_of(llama, out, e);
        json_decref(llama);
    }
    if (rc) (void)err_in(e, "%s/config.json", from->path);
    return rc;
}

/* ---- tower and connector ---- */

/* Size `dim` of a tensor with ndim of them. */
static int size_in(const struct import *i, const char *name, int ndim, int dim, json_int_t *out,
                   struct err *e) {
    const struct source *s = import_find(i, name, NAMES_WEIGHT);
    if (!s)
        return err_set(e, E_NOT_FOUND, "no original has %s%s", name,
                       strncmp(name, "llama_proj", 10)
                           ? ": add the tower, eva_vit_g.pth"
                           : ": add a checkpoint of MiniGPT-v2 or PAE-LaMM");
    if (s->t->flaw) return err_set(e, E_FORMAT, "tensor %s: %s", name, s->t->flaw);
    if (s->t->t.ndim != ndim || s->t->t.shape[dim] < 1)
        return err_set(e, E_FORMAT, "tensor %s: doesn't have %d dimensions, or is empty", name,
                       ndim);
    *out = s->t->t.shape[dim];
    return 0;
}

/* The number of the block that a tensor is of; -1: it is of none. */
static long block_of(const char *name) {
    char *end;
    if (strncmp(name, BLOCKS, sizeof BLOCKS - 1)) return -1;
    const char *digits = name + sizeof BLOCKS - 1;
    long n = strtol(digits, &end, 10);
    return *digits >= '0' && *digits <= '9' && *end == '.' && n < 1000 ? n : -1;
}

/* Blocks of the tower: up to the last of which there is anything, so that one without some of its
 * tensors is missing them. Of the published 40 the last is never used. */
static json_int_t count_blocks(const struct import *i, json_int_t width) {
    long last = -1;
    for (size_t k = 0; k < i->n_sources; k++) {
        long n = i->sources[k].kind == NAMES_WEIGHT ? block_of(i->sources[k].name) : -1;
        if (n > last) last = n;
    }
    return width == EVA_WIDTH && last + 1 == EVA_BLOCKS ? EVA_BLOCKS - 1 : last + 1;
}

int config_is_spare_block(const struct import *i, const char *name) {
    return i->c.vision.hidden_size == EVA_WIDTH && i->c.vision.layers == EVA_BLOCKS - 1 &&
           block_of(name) == EVA_BLOCKS - 1;
}

static int find_heads(const struct import *i, json_int_t width, json_int_t *out, struct err *e) {
    *out = i->o.vision_heads ? i->o.vision_heads : EVA_HEADS;
    if (i->o.vision_heads || width == EVA_WIDTH) return 0;
    return err_set(e, E_INVALID,
                   "the tower is %lld wide, so it isn't EVA ViT-g, which has %d heads at %d: say "
                   "how many it has by --vision-heads, or all sizes by --config",
                   (long long)width, EVA_HEADS, EVA_WIDTH);
}

/* What the last checkpoint that has config.model.KEY says; 0: none does. */
static double config_said(const struct import *i, const char *key) {
    for (int k = i->o.n_originals - 1; k >= 0; k--)
        for (int f = 0; f < i->originals[k]->n_files; f++) {
            const struct pth *pth = i->originals[k]->files[f].pth;
            double v = pth ? pth_said(pth, key) : 0;
            if (v > 0) return v;
        }
    return 0;
}

/* The side of pictures. Positions of the published tower are enlarged; those that were trained are
 * as many as there are patches. */
static int find_side(const struct import *i, json_int_t width, json_int_t patch, json_int_t *out,
                     struct err *e) {
    static const char name[] = "visual_encoder.pos_embed";
    const struct source *s = import_find(i, name, NAMES_WEIGHT);
    double said = config_said(i, "image_size");
    int is_said = said >= 1 && said <= SIDE_MAX && said == floor(said);
    json_int_t side = 1, places = s && s->t->t.ndim == 3 ? s->t->t.shape[1] : 0;
    *out = i->o.image_size ? i->o.image_size : is_said ? (json_int_t)said : EVA_SIDE;
    if (i->o.image_size || is_said || !s) return 0;
    while (side <= SIDE_MAX && side * side + 1 < places)
        side++;
    if (side * side + 1 != places)
        return err_set(e, E_FORMAT, "tensor %s: has %lld places, needs a square and 1", name,
                       (long long)places);
    if (width != EVA_WIDTH || side != EVA_PLACES) *out = side * patch;
    return 0;
}

static int find_vision(const struct import *i, json_t **vision, json_t **connector, struct err *e) {
    json_int_t width, patch, ffn, joined, heads, side;
    int rc = size_in(i, "visual_encoder.cls_token", 3, 2, &width, e);
    if (!rc) rc = size_in(i, "visual_encoder.patch_embed.proj.weight", 4, 3, &patch, e);
    if (!rc) rc = size_in(i, "visual_encoder.blocks.0.mlp.fc1.weight", 2, 0, &ffn, e);
    if (!rc) rc = size_in(i, "llama_proj.weight", 2, 1, &joined, e);
    if (!rc && joined % width)
        rc = err_set(e, E_FORMAT, "llama_proj.weight: takes %lld numbers, the tower gives %lld",
                     (long long)joined, (long long)width);
    if (!rc) rc = find_heads(i, width, &heads, e);
    if (!rc) rc = find_side(i, width, patch, &side, e);
    if (rc) return rc;
    *vision = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:[f,f,f], s:[f,f,f]}", "image_size",
                        side, "patch_size", patch, "hidden_size", width, "num_attention_heads",
                        heads, "num_hidden_layers", count_blocks(i, width), "intermediate_size",
                        ffn, "layer_norm_eps", 1e-6, "image_mean", 0.48145466, 0.4578275,
                        0.40821073, "image_std", 0.26862954, 0.26130258, 0.27577711);
    *connector = json_pack("{s:I, s:f}", "concat", joined / width, "ln_vision_eps", 1e-5);
    return 0;
}

/* ---- all of it ---- */

static int derive(const struct import *i, json_t **root, struct err *e) {
    json_t *text = NULL, *vision = NULL, *connector = NULL;
    int rc = find_text(i, &text, e);
    if (!rc) rc = find_vision(i, &vision, &connector, e);
    if (rc) {
        json_decref(text);
        return rc;
    }
    *root = json_pack("{s:s, s:o, s:o, s:o, s:i, s:s, s:i, s:i}", "model_type", "pae_lamm",
                      "vision_config", vision, "connector_config", connector, "text_config", text,
                      "pixel_grid", GRID, "coord_order", "yx", "inst_spaces", 1, "bos_count", 1);
    return *root ? 0 : err_set(e, E_NOMEM, "no memory for a config");
}

static int read_given(const struct import *i, json_t **root, struct err *e) {
    char *text = NULL;
    size_t len;
    int rc = smallfile_read(i->o.config, ORIGINAL_CONFIG_MAX, &text, &len, e);
    if (!rc) rc = config_parse(text, len, root, e);
    mem_free(text);
    if (rc) (void)err_in(e, "%s", i->o.config);
    return rc;
}

/* What the user said about what a checkpoint leaves open. */
static void set_attributes(const struct import *i, json_t *root) {
    const struct {
        const char *key;
        int value;
    } numbers[] = {{"inst_spaces", i->o.inst_spaces},
                   {"bos_count", i->o.bos_count},
                   {"pixel_grid", i->o.pixel_grid}};
    json_t *vision = json_object_get(root, "vision_config");
    if (i->o.image_size) json_object_set_new(vision, "image_size", json_integer(i->o.image_size));
    if (i->o.vision_heads)
        json_object_set_new(vision, "num_attention_heads", json_integer(i->o.vision_heads));
    for (size_t k = 0; k < ARRAY_LEN(numbers); k++)
        if (numbers[k].value)
            json_object_set_new(root, numbers[k].key, json_integer(numbers[k].value));
    if (i->o.coord_order) json_object_set_new(root, "coord_order", json_string(i->o.coord_order));
    if (i->o.rms_eps > 0)
        json_object_set_new(json_object_get(root, "text_config"), "rms_norm_eps",
                            json_real(i->o.rms_eps));
}

static int config_print(struct import *i, const json_t *root, struct err *e) {
    size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(9);
    size_t n = json_dumpb(root, NULL, 0, flags);
    i->config = n ? mem_try(n + 2) : NULL;
    if (!i->config) return err_set(e, E_NOMEM, "no memory for a config");
    (void)json_dumpb(root, i->config, n, flags);
    i->config[n] = '\n';
    i->n_config = n + 1;
    return 0;
}

/* What a model of these originals is taken for, so that a wrong guess is seen. */
static void note_sizes(const struct import *i) {
    const struct model_vision *v = &i->c.vision;
    const struct model_text *t = &i->c.text;
    import_note(
        i,
        "tower: %d blocks of %d, %d heads, patches of %d, pictures of %d; decoder: %d layers "
        "of %d, %d heads, theta %g, eps %g; pixels on a grid of %d",
        v->layers, v->hidden_size, v->heads, v->patch_size, v->image_size, t->layers,
        t->hidden_size, t->heads, t->rope_theta, (double)t->rms_eps, i->c.pixel_grid);
}

int config_make(struct import *i, struct err *e) {
    json_t *root = NULL;
    int rc = i->o.config ? read_given(i, &root, e) : derive(i, &root, e);
    if (rc) return rc;
    set_attributes(i, root);
    rc = config_print(i, root, e);
    json_decref(root);
    if (!rc) rc = model_parse_config(i->config, i->n_config, &i->c, e);
    if (!rc) note_sizes(i);
    return rc;
}
