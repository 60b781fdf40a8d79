/* config.c - config.json: the sizes of the network and how its prompts are spelled.
 *
 * One table has it all: section, key, type, bounds, and the value of a key that may be missing.
 * Names are those of Hugging Face's LLaMA configs where they exist (docs/model.md sections 5.2 and
 * 9). Unknown keys are ignored, since published configs have many. A known key of the wrong type is
 * an error. Values below the lower bound can't be right (E_FORMAT), values above the upper one are
 * absurd (E_TOO_BIG). The bounds keep every product of two sizes within an int, and every buffer
 * plannable.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/files/smallfile.h"
#include "engine/files/smalljson.h"
#include "engine/model/internal.h"
#include "kernels/base/mem.h"

enum { CONFIG_BYTES_MAX = 1 << 20, CONFIG_DEPTH_MAX = 16, CONFIG_MARKS_MAX = 10000 };
enum { HEAD_MOST = 256 /* numbers, that attention is written for on every device */ };

enum type { INT, FLOAT, DOUBLE };
enum need { REQUIRED, OPTIONAL };

struct field {
    const char *section; /* NULL: the top level */
    const char *key;
    size_t offset; /* in struct model_config */
    enum type type;
    double lo, hi;
    enum need need;
    double fallback; /* of an OPTIONAL one */
};

#define VISION     "vision_config"
#define CONNECTOR  "connector_config"
#define TEXT       "text_config"
#define AT(member) offsetof(struct model_config, member)

static const struct field fields[] = {
    {VISION, "image_size", AT(vision.image_size), INT, 1, 4096, REQUIRED, 0},
    {VISION, "patch_size", AT(vision.patch_size), INT, 1, 128, REQUIRED, 0},
    {VISION, "hidden_size", AT(vision.hidden_size), INT, 1, 16384, REQUIRED, 0},
    {VISION, "num_attention_heads", AT(vision.heads), INT, 1, 512, REQUIRED, 0},
    {VISION, "num_hidden_layers", AT(vision.layers), INT, 1, 256, REQUIRED, 0},
    {VISION, "intermediate_size", AT(vision.intermediate_size), INT, 1, 131072, REQUIRED, 0},
    {VISION, "layer_norm_eps", AT(vision.layer_norm_eps), FLOAT, 1e-12, 0.1, REQUIRED, 0},
    {CONNECTOR, "concat", AT(concat), INT, 1, 64, REQUIRED, 0},
    {CONNECTOR, "ln_vision_eps", AT(ln_vision_eps), FLOAT, 1e-12, 0.1, REQUIRED, 0},
    {TEXT, "hidden_size", AT(text.hidden_size), INT, 1, 16384, REQUIRED, 0},
    {TEXT, "intermediate_size", AT(text.intermediate_size), INT, 1, 131072, REQUIRED, 0},
    {TEXT, "num_hidden_layers", AT(text.layers), INT, 1, 256, REQUIRED, 0},
    {TEXT, "num_attention_heads", AT(text.heads), INT, 1, 512, REQUIRED, 0},
    {TEXT, "vocab_size", AT(text.vocab_size), INT, 4, 1 << 20, REQUIRED, 0},
    {TEXT, "rms_norm_eps", AT(text.rms_eps), FLOAT, 1e-12, 0.1, REQUIRED, 0},
    {TEXT, "rope_theta", AT(text.rope_theta), DOUBLE, 1, 1e9, OPTIONAL, 10000},
    {TEXT, "max_position_embeddings", AT(text.max_positions), INT, 1, 1 << 20, REQUIRED, 0},
    {TEXT, "bos_token_id", AT(text.bos_id), INT, 0, 1 << 20, REQUIRED, 0},
    {TEXT, "eos_token_id", AT(text.eos_id), INT, 0, 1 << 20, REQUIRED, 0},
    {NULL, "pixel_grid", AT(pixel_grid), INT, 1, 1024, REQUIRED, 0},
    {NULL, "inst_spaces", AT(inst_spaces), INT, 1, 2, OPTIONAL, 1},
    {NULL, "bos_count", AT(bos_count), INT, 1, 2, OPTIONAL, 1},
    {NULL, "colour_error_scale", AT(colour_error_scale), DOUBLE, 0.01, 100, OPTIONAL, 1},
};

/* "vision_config.image_size", for error texts. */
struct path {
    char text[96];
};
static struct path config_path_of(const char *section, const char *key) {
    struct path p;
    snprintf(p.text, sizeof p.text, "%s%s%s", section ? section : "", section ? "." : "", key);
    return p;
}
#define PATH(section, key) (config_path_of(section, key).text)

/* The object with the keys of a section; NULL and an error when there is none. */
static const json_t *section_of(const json_t *root, const char *section, struct err *e) {
    if (!section) return root;
    const json_t *s = json_object_get(root, section);
    if (!json_is_object(s)) {
        err_set(e, E_FORMAT, "%s: %s", section, s ? "not an object" : "missing");
        return NULL;
    }
    return s;
}

static int check_bounds(const char *path, double v, double lo, double hi, struct err *e) {
    if (!(v >= lo)) return err_set(e, E_FORMAT, "%s: %g is below %g", path, v, lo);
    if (v > hi) return err_set(e, E_TOO_BIG, "%s: %g is above %g", path, v, hi);
    return 0;
}

static void config_store(struct model_config *out, const struct field *f, double v) {
    char *at = (char *)out + f->offset;
    if (f->type == INT)
        *(int *)(void *)at = (int)v;
    else if (f->type == FLOAT)
        *(float *)(void *)at = (float)v;
    else
        *(double *)(void *)at = v;
}

static int config_read_field(const json_t *root, const struct field *f, struct model_config *out,
                             struct err *e) {
    struct path path = config_path_of(f->section, f->key);
    const json_t *s = section_of(root, f->section, e);
    if (!s) return E_FORMAT;
    const json_t *v = json_object_get(s, f->key);
    if (!v && f->need == REQUIRED) return err_set(e, E_FORMAT, "%s: missing", path.text);
    if (!v) {
        config_store(out, f, f->fallback);
        return 0;
    }
    if (f->type == INT && !json_is_integer(v))
        return err_set(e, E_FORMAT, "%s: not a whole number", path.text);
    if (!json_is_number(v)) return err_set(e, E_FORMAT, "%s: not a number", path.text);
    int rc = check_bounds(path.text, json_number_value(v), f->lo, f->hi, e);
    if (!rc) config_store(out, f, json_number_value(v));
    return rc;
}

/* Three numbers, one per colour. */
static int read_triple(const json_t *root, const char *key, double lo, double hi, float out[3],
                       struct err *e) {
    struct path path = config_path_of(VISION, key);
    const json_t *s = section_of(root, VISION, e);
    if (!s) return E_FORMAT;
    const json_t *list = json_object_get(s, key);
    if (!json_is_array(list) || json_array_size(list) != 3)
        return err_set(e, E_FORMAT, "%s: not a list of three numbers", path.text);
    for (size_t i = 0; i < 3; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_number(v)) return err_set(e, E_FORMAT, "%s: not a number", path.text);
        int rc = check_bounds(path.text, json_number_value(v), lo, hi, e);
        if (rc) return rc;
        out[i] = (float)json_number_value(v);
    }
    return 0;
}

/* The keys that are not plain numbers. */
static int read_words(const json_t *root, struct model_config *out, struct err *e) {
    const json_t *type = json_object_get(root, "model_type");
    if (!json_is_string(type)) return err_set(e, E_FORMAT, "model_type: missing or not a string");
    if (strcmp(json_string_value(type), "pae_lamm"))
        return err_set(e, E_UNSUPPORTED, "model_type: not pae_lamm");

    const json_t *order = json_object_get(root, "coord_order");
    out->coord_order = MODEL_COORD_YX;
    if (order) {
        const char *word = json_string_value(order);
        if (!word || (strcmp(word, "yx") && strcmp(word, "xy")))
            return err_set(e, E_FORMAT, "coord_order: neither \"yx\" nor \"xy\"");
        if (!strcmp(word, "xy")) out->coord_order = MODEL_COORD_XY;
    }

    const json_t *text = section_of(root, TEXT, e);
    if (!text) return E_FORMAT;
    const json_t *tied = json_object_get(text, "tie_word_embeddings");
    if (tied && !json_is_boolean(tied))
        return err_set(e, E_FORMAT, "%s: not true or false", PATH(TEXT, "tie_word_embeddings"));
    out->text.is_tied = json_is_true(tied);
    const json_t *scaling = json_object_get(text, "rope_scaling");
    if (scaling && !json_is_null(scaling))
        return err_set(e, E_UNSUPPORTED, "%s: only null is", PATH(TEXT, "rope_scaling"));
    const json_t *kv = json_object_get(text, "num_key_value_heads");
    if (kv && !json_is_integer(kv))
        return err_set(e, E_FORMAT, "%s: not a whole number", PATH(TEXT, "num_key_value_heads"));
    if (kv && json_integer_value(kv) != out->text.heads)
        return err_set(e, E_UNSUPPORTED, "%s: differs from num_attention_heads",
                       PATH(TEXT, "num_key_value_heads"));
    return 0;
}

/* Multiplications with weights, and in the tower's attention, where each patch meets all. */
static int picture_rows(const struct model_config *c) {
    const struct model_vision *v = &c->vision;
    const struct model_text *t = &c->text;
    double wide = v->hidden_size, width = t->hidden_size;
    double patch = v->layers * wide * (4 * wide + 2.0 * v->intermediate_size + 2.0 * c->n_patches);
    double row = t->layers * width * (4 * width + 3.0 * t->intermediate_size);
    return (int)fmin(c->n_patches * patch / row, 1 << 20);
}

/* Sizes that must fit together, and those that follow from others. */
static int check_whole(struct model_config *c, struct err *e) {
    const struct model_vision *v = &c->vision;
    const struct model_text *t = &c->text;
    if (v->image_size % v->patch_size)
        return err_set(e, E_FORMAT, "%s: %d does not divide image_size %d",
                       PATH(VISION, "patch_size"), v->patch_size, v->image_size);
    int side = v->image_size / v->patch_size;
    if (side % c->concat)
        return err_set(e, E_FORMAT, "%s: %d does not divide the %d patches of a row",
                       PATH(CONNECTOR, "concat"), c->concat, side);
    if (side > 256)
        return err_set(e, E_TOO_BIG, "%s: more than 256 patches in a row",
                       PATH(VISION, "patch_size"));
    if (v->hidden_size % v->heads)
        return err_set(e, E_FORMAT, "%s: %d does not divide hidden_size %d",
                       PATH(VISION, "num_attention_heads"), v->heads, v->hidden_size);
    if (t->hidden_size % t->heads)
        return err_set(e, E_FORMAT, "%s: %d does not divide hidden_size %d",
                       PATH(TEXT, "num_attention_heads"), t->heads, t->hidden_size);
    int is_wide = v->hidden_size / v->heads > HEAD_MOST;
    if (is_wide || t->hidden_size / t->heads > HEAD_MOST)
        return err_set(e, E_UNSUPPORTED, "%s: heads of more than %d numbers",
                       is_wide ? PATH(VISION, "num_attention_heads")
                               : PATH(TEXT, "num_attention_heads"),
                       HEAD_MOST);
    if (t->hidden_size / t->heads % 2)
        return err_set(e, E_FORMAT, "%s: heads of odd size can't be rotated",
                       PATH(TEXT, "num_attention_heads"));
    if (t->bos_id >= t->vocab_size || t->eos_id >= t->vocab_size)
        return err_set(e, E_FORMAT, "%s: outside the vocabulary",
                       PATH(TEXT, t->bos_id >= t->vocab_size ? "bos_token_id" : "eos_token_id"));
    c->n_patches = side * side;
    c->n_image_tokens = c->n_patches / c->concat;
    c->n_picture_rows = picture_rows(c);
    if (c->n_image_tokens >= t->max_positions)
        return err_set(e, E_FORMAT, "%s: a picture of %d tokens does not fit",
                       PATH(TEXT, "max_position_embeddings"), c->n_image_tokens);
    return 0;
}

static int read_root(const json_t *root, struct model_config *out, struct err *e) {
    if (!json_is_object(root)) return err_set(e, E_FORMAT, "not a JSON object");
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        int rc = config_read_field(root, &fields[i], out, e);
        if (rc) return rc;
    }
    int rc = read_triple(root, "image_mean", -100, 100, out->vision.mean, e);
    if (!rc) rc = read_triple(root, "image_std", 1e-6, 1e6, out->vision.std, e);
    if (!rc) rc = read_words(root, out, e);
    return rc ? rc : check_whole(out, e);
}

int model_parse_config(const void *text, size_t len, struct model_config *out, struct err *e) {
    static const struct smalljson_most most = {CONFIG_BYTES_MAX, CONFIG_DEPTH_MAX,
                                               CONFIG_MARKS_MAX};
    json_t *root;
    int rc = smalljson_parse(text, len, &most, &root, e);
    if (rc) return rc;
    struct model_config c = {0};
    rc = read_root(root, &c, e);
    json_decref(root);
    if (!rc) *out = c;
    return rc;
}

int model_read_config(const char *dir, struct model_config *out, struct err *e) {
    char path[4096];
    if (snprintf(path, sizeof path, "%s/config.json", dir) >= (int)sizeof path)
        return err_set(e, E_INVALID, "the model folder's name is too long");
    char *text = NULL;
    size_t len = 0;
    int rc = smallfile_read(path, CONFIG_BYTES_MAX, &text, &len, e);
    if (!rc) {
        rc = model_parse_config(text, len, out, e);
        mem_free(text);
    }
    if (rc) err_in(e, "%s", path);
    return rc;
}
