/* json.c - JSON that came from outside, made safe to read.
 *
 * TRAPS
 * - jansson takes 82 bytes of heap for each byte of `[{},{},...`: 16 MiB of body would be 1.3 GiB.
 *   So brackets, commas and colons are counted before it sees anything (test_json: token bomb).
 * - it accepts duplicate names unless told not to, and the last one wins (test_json: duplicates).
 * - its error texts stay inside: what a client reads is made here from the error's code and place.
 *
 * Thread: any; nothing here is mutable.
 */
#include "api/wire/json.h"

#include <string.h>

#include "kernels/base/jsonscan.h"

static int refuse(struct problem *p, const json_error_t *e) {
    const char *why = "it is not valid JSON";
    switch (json_error_code(e)) {
    case json_error_duplicate_key: why = "a name is given twice"; break;
    case json_error_numeric_overflow: why = "a number is far too large"; break;
    case json_error_invalid_utf8: why = "it is not UTF-8"; break;
    case json_error_premature_end_of_input: why = "it ends too early"; break;
    case json_error_end_of_input_expected: why = "something follows after its end"; break;
    case json_error_null_byte_in_key:
    case json_error_null_character: why = "it has a NUL character"; break;
    default: break;
    }
    return problem_set(p, PROBLEM_INVALID_JSON, NULL,
                       "the JSON can't be read: %s (line %d, column %d)", why, e->line, e->column);
}

int json_open(const uint8_t *bytes, size_t len, json_t **root, struct problem *p) {
    *root = NULL;
    if (len == 0) return problem_set(p, PROBLEM_INVALID_JSON, NULL, "the JSON body is empty");
    if (jsonscan_bound((const char *)bytes, len, JSON_DEPTH_MAX, JSON_TOKENS_MAX, NULL)) {
        return problem_set(p, PROBLEM_INVALID_JSON, NULL,
                           "the JSON is too complex: at most %d values and commas, %d levels deep",
                           JSON_TOKENS_MAX, JSON_DEPTH_MAX);
    }
    json_error_t e;
    *root = json_loadb((const char *)bytes, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    return *root ? 0 : refuse(p, &e);
}

void json_quote(const char *text, size_t len, char *to, size_t cap) {
    size_t n = 0, shown = len > 32 ? 32 : len;
    to[n++] = '"';
    for (size_t i = 0; i < shown && n + 6 < cap; i++) {
        char c = text[i];
        to[n++] = c >= ' ' && c <= '~' && c != '"' && c != '\\' ? c : '?';
    }
    snprintf(to + n, cap - n, "%s\"", shown < len ? "..." : "");
}

void json_describe(const json_t *v, char *to, size_t cap) {
    char text[48];
    switch (json_typeof(v)) {
    case JSON_INTEGER: snprintf(to, cap, "%lld", (long long)json_integer_value(v)); return;
    case JSON_REAL:
        snprintf(text, sizeof(text), "%.6g", json_real_value(v));
        snprintf(to, cap, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
        return;
    case JSON_STRING:
        json_quote(json_string_value(v), json_string_length(v), text, sizeof(text));
        snprintf(to, cap, "the string %s", text);
        return;
    case JSON_OBJECT: snprintf(to, cap, "an object"); return;
    case JSON_ARRAY: snprintf(to, cap, "an array of %zu", json_array_size(v)); return;
    case JSON_TRUE: snprintf(to, cap, "true"); return;
    case JSON_FALSE: snprintf(to, cap, "false"); return;
    default: snprintf(to, cap, "null"); return;
    }
}

int json_must_be(struct problem *p, const char *name, const json_t *v, const char *what) {
    char got[64];
    json_describe(v, got, sizeof(got));
    return problem_set(p, PROBLEM_INVALID_PARAMETER, name, "%s must be %s; got %s", name, what,
                       got);
}
