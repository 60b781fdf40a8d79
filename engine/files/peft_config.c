/* peft_config.c - adapter_config.json, read and written.
 *
 * Fields come and go with peft's versions. So there are three kinds: those that are read; those
 * that change nothing here, whatever they say; and all others, known today or not, which are legal
 * as long as they say nothing (null, false, an empty list, object or text) and refused by name
 * otherwise. That way use_dora, rank_pattern or a field of next year can't be overlooked.
 */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "engine/files/peft.h"
#include "engine/files/smalljson.h"
#include "kernels/base/mem.h"

enum { DEPTH_MAX = 16, MARKS_MAX = 10000 };

static const char *const place_names[PEFT_PLACES] = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

const char *peft_place_name(enum peft_place place) { return place_names[place]; }

/* "q_proj" */
static const char *short_name(int place) { return strchr(place_names[place], '.') + 1; }

double peft_scale(const struct peft_config *c) {
    return c->alpha / (c->is_rslora ? sqrt((double)c->r) : (double)c->r);
}

/* ---- reading ---- */

static int peft_config_read_number(const json_t *root, const char *key, double lo, double hi,
                                   double fallback, double *out, struct err *e) {
    const json_t *v = json_object_get(root, key);
    *out = fallback;
    if (!v && fallback >= 0) return 0;
    if (!v) return err_set(e, E_FORMAT, "%s: missing", key);
    if (!json_is_number(v)) return err_set(e, E_FORMAT, "%s: not a number", key);
    *out = json_number_value(v);
    if (!(*out >= lo && *out <= hi))
        return err_set(e, E_FORMAT, "%s: %g is not in %g .. %g", key, *out, lo, hi);
    return 0;
}

static int read_rank(const json_t *root, struct peft_config *c, struct err *e) {
    const json_t *v = json_object_get(root, "r");
    if (!v) return err_set(e, E_FORMAT, "r: missing");
    if (!json_is_integer(v)) return err_set(e, E_FORMAT, "r: not a whole number");
    json_int_t r = json_integer_value(v);
    if (r < 1 || r > PEFT_RANK_MAX)
        return err_set(e, r < 1 ? E_FORMAT : E_TOO_BIG, "r: %lld is not in 1 .. %d", (long long)r,
                       PEFT_RANK_MAX);
    c->r = (int)r;
    return 0;
}

/* The text at `key`, or `fallback` when it is missing or null; NULL and an error for another type.
 */
static const char *peft_config_read_word(const json_t *root, const char *key, const char *fallback,
                                         struct err *e) {
    const json_t *v = json_object_get(root, key);
    if (!v || json_is_null(v)) return fallback;
    if (!json_is_string(v)) (void)err_set(e, E_FORMAT, "%s: not a text", key);
    return json_string_value(v);
}

static int peft_config_read_words(const json_t *root, struct peft_config *c, struct err *e) {
    const char *type = peft_config_read_word(root, "peft_type", "", e);
    if (!type) return E_FORMAT;
    if (strcmp(type, "LORA"))
        return err_set(e, E_UNSUPPORTED, "peft_type: \"%s\" is not LORA", st_show(type).text);
    const char *bias = peft_config_read_word(root, "bias", "none", e);
    if (!bias) return E_FORMAT;
    if (strcmp(bias, "none"))
        return err_set(e, E_UNSUPPORTED, "bias: \"%s\": only \"none\" is supported",
                       st_show(bias).text);
    const char *base = peft_config_read_word(root, "base_model_name_or_path", "", e);
    if (!base) return E_FORMAT;
    size_t n = strlen(base);
    if (n > PEFT_BASE_MAX)
        return err_set(e, E_TOO_BIG, "base_model_name_or_path: more than %d bytes", PEFT_BASE_MAX);
    memcpy(c->base, base, n + 1);
    const json_t *rslora = json_object_get(root, "use_rslora");
    if (rslora && !json_is_boolean(rslora))
        return err_set(e, E_FORMAT, "use_rslora: not true or false");
    c->is_rslora = json_is_true(rslora);
    return 0;
}

/* Ways to begin that leave the base model as it is. The others (pissa, olora, loftq, corda ...)
 * change it, so that the adapter is right beside the changed one alone. */
static int check_init(const json_t *root, struct err *e) {
    static const char *const harmless[] = {"gaussian", "eva", "orthogonal"};
    const json_t *v = json_object_get(root, "init_lora_weights");
    if (!v || json_is_boolean(v) || json_is_null(v)) return 0;
    const char *word = json_string_value(v);
    for (size_t i = 0; word && i < ARRAY_LEN(harmless); i++)
        if (!strcmp(word, harmless[i])) return 0;
    return err_set(e, E_UNSUPPORTED,
                   "init_lora_weights: \"%s\" changes the base model; save the adapter converted",
                   st_show(word ? word : "?").text);
}

/* One entry of target_modules: 0 and its bit; a dotted one is a pattern of a kind. */
static int read_target(const json_t *v, unsigned *places, int *is_pattern, struct err *e) {
    const char *word = json_string_value(v);
    if (!word) return err_set(e, E_FORMAT, "target_modules: not a list of texts");
    for (int i = 0; i < PEFT_PLACES; i++)
        if (!strcmp(word, short_name(i))) {
            *places |= 1u << i;
            return 0;
        }
    *is_pattern |= strchr(word, '.') != NULL;
    if (strchr(word, '.')) return 0;
    return err_set(e, E_UNSUPPORTED, "target_modules: \"%s\" is no matrix of a decoder's layer",
                   st_show(word).text);
}

static int says_nothing(const json_t *v) {
    return !v || json_is_null(v) || json_is_false(v) ||
           (json_is_string(v) && !json_string_length(v)) ||
           (json_is_array(v) && !json_array_size(v)) || (json_is_object(v) && !json_object_size(v));
}

static int read_targets(const json_t *root, struct peft_config *c, struct err *e) {
    static const char *const choosers[] = {"layers_to_transform", "layers_pattern",
                                           "exclude_modules"};
    const json_t *v = json_object_get(root, "target_modules");
    int is_pattern = json_is_string(v) || !v || json_is_null(v);
    if (!is_pattern && !json_is_array(v))
        return err_set(e, E_FORMAT, "target_modules: neither a list nor a pattern");
    for (size_t i = 0; i < json_array_size(v); i++) {
        int rc = read_target(json_array_get(v, i), &c->places, &is_pattern, e);
        if (rc) return rc;
    }
    if (!is_pattern && !c->places) return err_set(e, E_FORMAT, "target_modules: an empty list");
    for (size_t i = 0; i < ARRAY_LEN(choosers); i++)
        is_pattern |= !says_nothing(json_object_get(root, choosers[i]));
    if (is_pattern) c->places = 0;
    return 0;
}

/* All fields that are neither read above nor without effect here must say nothing. */
static int check_rest(const json_t *root, struct err *e) {
    static const char *const fine[] = {
        "peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "target_modules", "bias",
        "base_model_name_or_path", "init_lora_weights", "layers_to_transform", "layers_pattern",
        "exclude_modules",
        /* about peft, the file, or the way it was trained */
        "task_type", "auto_mapping", "revision", "inference_mode", "peft_version", "megatron_core",
        "qalora_group_size", "runtime_config", "eva_config"};
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)root, key, v) {
        int is_fine = says_nothing(v);
        for (size_t i = 0; i < ARRAY_LEN(fine) && !is_fine; i++)
            is_fine = !strcmp(key, fine[i]);
        if (!is_fine)
            return err_set(e, E_UNSUPPORTED, "%s: lammd doesn't do this", st_show(key).text);
    }
    return 0;
}

static int peft_config_read_root(const json_t *root, struct peft_config *c, struct err *e) {
    if (!json_is_object(root)) return err_set(e, E_FORMAT, "not a JSON object");
    int rc = peft_config_read_words(root, c, e);
    if (!rc) rc = check_rest(root, e);
    if (!rc) rc = check_init(root, e);
    if (!rc) rc = read_rank(root, c, e);
    if (!rc) rc = peft_config_read_number(root, "lora_alpha", 1e-6, 1e6, -1, &c->alpha, e);
    if (!rc) rc = peft_config_read_number(root, "lora_dropout", 0, 1, 0, &c->dropout, e);
    return rc ? rc : read_targets(root, c, e);
}

int peft_parse_config(const void *text, size_t len, struct peft_config *out, struct err *e) {
    static const struct smalljson_most most = {PEFT_CONFIG_MAX, DEPTH_MAX, MARKS_MAX};
    json_t *root;
    int rc = smalljson_parse(text, len, &most, &root, e);
    if (rc) return rc;
    struct peft_config c = {0};
    rc = peft_config_read_root(root, &c, e);
    json_decref(root);
    if (!rc) *out = c;
    return rc;
}

/* ---- writing ---- */

int peft_print_config(const struct peft_config *c, char **out, size_t *len, struct err *e) {
    json_t *targets = json_array();
    for (int i = 0; i < PEFT_PLACES; i++)
        if (c->places >> i & 1) json_array_append_new(targets, json_string(short_name(i)));
    int is_whole = c->alpha == floor(c->alpha);
    json_t *alpha = is_whole ? json_integer((json_int_t)c->alpha) : json_real(c->alpha);
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:i, s:o, s:f, s:b, s:s, s:o, s:b}", "peft_type", "LORA",
                  "task_type", "CAUSAL_LM", "base_model_name_or_path", c->base, "r", c->r,
                  "lora_alpha", alpha, "lora_dropout", c->dropout, "use_rslora", c->is_rslora,
                  "bias", "none", "target_modules", targets, "inference_mode", 1);
    if (!root) return err_set(e, E_INVALID, "the base model's name isn't UTF-8");
    size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(9), n = json_dumpb(root, NULL, 0, flags);
    char *text = n ? mem_try(n + 1) : NULL;
    if (text) {
        (void)json_dumpb(root, text, n, flags);
        text[n] = '\n';
        *out = text;
        *len = n + 1;
    }
    json_decref(root);
    return text ? 0 : err_set(e, E_NOMEM, "no memory for " PEFT_CONFIG);
}
