/* adapter_card.c - lammd.json, read and written. Numbers of 64 bits are texts in it: readers of
 * JSON that know doubles alone would round them. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/adapter.h"
#include "engine/files/smalljson.h"
#include "kernels/base/mem.h"

enum { DEPTH_MAX = 8, MARKS_MAX = 1000, FORMAT = 1 };

/* 64 small hex digits, or "" where that is legal. */
static int read_digest(const json_t *root, const char *key, int is_needed, char out[ADAPTER_DIGEST],
                       struct err *e) {
    const json_t *v = json_object_get(root, key);
    out[0] = '\0';
    if ((!v || json_is_null(v)) && !is_needed) return 0;
    const char *word = json_string_value(v);
    if (!word || strlen(word) != ADAPTER_DIGEST - 1 ||
        strspn(word, "0123456789abcdef") != ADAPTER_DIGEST - 1)
        return err_set(e, E_FORMAT, "%s: not a SHA-256 of 64 hex digits", key);
    memcpy(out, word, ADAPTER_DIGEST);
    return 0;
}

static int read_u64(const json_t *root, const char *key, uint64_t *out, struct err *e) {
    const char *word = json_string_value(json_object_get(root, key));
    size_t digits = word ? strspn(word, "0123456789") : 0;
    errno = 0;
    *out = digits && digits <= 20 && !word[digits] ? strtoull(word, NULL, 10) : 0;
    if (!digits || digits > 20 || word[digits] || errno)
        return err_set(e, E_FORMAT, "%s: not a whole number of 64 bits in quotes", key);
    return 0;
}

static int adapter_card_read_root(const json_t *root, struct adapter_card *c, struct err *e) {
    if (!json_is_object(root)) return err_set(e, E_FORMAT, "not a JSON object");
    const json_t *format = json_object_get(root, "format");
    if (!json_is_integer(format)) return err_set(e, E_FORMAT, "format: missing");
    if (json_integer_value(format) != FORMAT)
        return err_set(e, E_UNSUPPORTED, "format: %lld is not %d: made by another version",
                       (long long)json_integer_value(format), FORMAT);
    int rc = read_digest(root, "base", 1, c->base, e);
    if (!rc) rc = read_digest(root, "vision", 1, c->vision, e);
    if (!rc) rc = read_digest(root, "text", 1, c->text, e);
    if (!rc) rc = read_digest(root, "data", 0, c->data, e);
    if (!rc) rc = read_digest(root, "recipe", 0, c->recipe, e);
    if (!rc) rc = read_u64(root, "seed", &c->seed, e);
    if (!rc) rc = read_u64(root, "steps", &c->steps, e);
    if (rc) return rc;
    const char *program = json_string_value(json_object_get(root, "program"));
    if (!program || strlen(program) > ADAPTER_VERSION_MAX)
        return err_set(e, E_FORMAT, "program: not a version");
    memcpy(c->program, program, strlen(program) + 1);
    return 0;
}

int adapter_parse_card(const void *text, size_t len, struct adapter_card *out, struct err *e) {
    static const struct smalljson_most most = {ADAPTER_CARD_MAX, DEPTH_MAX, MARKS_MAX};
    json_t *root;
    int rc = smalljson_parse(text, len, &most, &root, e);
    if (rc) return rc;
    struct adapter_card c = {0};
    rc = adapter_card_read_root(root, &c, e);
    json_decref(root);
    if (!rc) *out = c;
    return rc;
}

int adapter_print_card(const struct adapter_card *c, char **out, size_t *len, struct err *e) {
    char seed[24], steps[24];
    (void)snprintf(seed, sizeof seed, "%" PRIu64, c->seed);
    (void)snprintf(steps, sizeof steps, "%" PRIu64, c->steps);
    json_t *root = json_pack("{s:i, s:s, s:s, s:s, s:s, s:s*, s:s*, s:s, s:s}", "format", FORMAT,
                             "program", c->program, "base", c->base, "vision", c->vision, "text",
                             c->text, "data", c->data[0] ? c->data : NULL, "recipe",
                             c->recipe[0] ? c->recipe : NULL, "seed", seed, "steps", steps);
    size_t flags = JSON_INDENT(2), n = root ? json_dumpb(root, NULL, 0, flags) : 0;
    char *text = n ? mem_try(n + 1) : NULL;
    if (text) {
        (void)json_dumpb(root, text, n, flags);
        text[n] = '\n';
        *out = text;
        *len = n + 1;
    }
    json_decref(root);
    return text ? 0 : err_set(e, E_NOMEM, "no memory for " ADAPTER_CARD);
}
