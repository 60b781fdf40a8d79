/* verdict.c - see verdict.h. */
#include "api/store/verdict.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/files/smallfile.h"
#include "engine/files/smalljson.h"
#include "kernels/base/mem.h"

enum { VERDICT_NAME_MAX = 100, VERDICT_ITEMS_MAX = 100000000 };

const char *const verdict_words[] = {"better", "not_worse", "worse", "not_decided", NULL};

/* ---- one field ---- */

static int verdict_check_text(const json_t *o, const char *name, size_t most, struct err *e) {
    const json_t *v = json_object_get(o, name);
    const char *s = json_string_value(v);
    if (s && strlen(s) == json_string_length(v) && strlen(s) <= most) return 0;
    return err_set(e, E_FORMAT, "%s must be a text of at most %zu bytes", name, most);
}

static int check_number(const json_t *o, const char *name, struct err *e) {
    const json_t *v = json_object_get(o, name);
    if (json_is_number(v) && isfinite(json_number_value(v))) return 0;
    return err_set(e, E_FORMAT, "%s must be a number", name);
}

static int check_count(const json_t *o, const char *name, struct err *e) {
    const json_t *v = json_object_get(o, name);
    if (json_is_integer(v) && json_integer_value(v) >= 0 &&
        json_integer_value(v) <= VERDICT_ITEMS_MAX)
        return 0;
    return err_set(e, E_FORMAT, "%s must be a whole number from 0 to %d", name, VERDICT_ITEMS_MAX);
}

static int check_decision(const json_t *o, enum verdict_decision *out, struct err *e) {
    const char *word = json_string_value(json_object_get(o, "decision"));
    for (int i = 0; word && verdict_words[i]; i++) {
        if (strcmp(word, verdict_words[i]) != 0) continue;
        *out = (enum verdict_decision)i;
        return 0;
    }
    return err_set(e, E_FORMAT, "decision must be better, not_worse, worse or not_decided");
}

/* Further fields are figures or flags, with short names. */
static int check_others(const json_t *o, struct err *e) {
    static const char *const known[] = {"task",  "metric",  "decision", "why",
                                        "tasks", "battery", "judged_by"};
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)o, name, v) {
        int is_known = 0;
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            is_known |= strcmp(name, known[i]) == 0;
        if (is_known) continue;
        if (strlen(name) > VERDICT_NAME_MAX || !(json_is_number(v) || json_is_boolean(v)))
            return err_set(e, E_FORMAT, "%.40s must be a number or a flag", name);
    }
    return 0;
}

/* ---- rows ---- */

static int check_row(const json_t *row, struct err *e) {
    static const char *const numbers[] = {"before", "after", "difference", "low", "high"};
    enum verdict_decision decision;
    if (!json_is_object(row)) return err_set(e, E_FORMAT, "it must be an object");
    int rc = verdict_check_text(row, "task", VERDICT_NAME_MAX, e);
    if (!rc) rc = verdict_check_text(row, "metric", VERDICT_NAME_MAX, e);
    if (!rc && !json_is_boolean(json_object_get(row, "higher_is_better")))
        rc = err_set(e, E_FORMAT, "higher_is_better must be true or false");
    if (!rc) rc = check_count(row, "n", e);
    for (size_t i = 0; !rc && i < ARRAY_LEN(numbers); i++)
        rc = check_number(row, numbers[i], e);
    if (!rc) rc = check_decision(row, &decision, e);
    return rc ? rc : check_others(row, e);
}

static int verdict_check_rows(const json_t *root, const char *name, struct err *e) {
    const json_t *rows = json_object_get(root, name);
    if (!json_is_array(rows) || json_array_size(rows) > VERDICT_ROWS_MAX)
        return err_set(e, E_FORMAT, "%s must be a list of at most %d rows", name, VERDICT_ROWS_MAX);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        int rc = check_row(json_array_get(rows, i), e);
        if (!rc) continue;
        (void)err_in(e, "%s[%zu]", name, i);
        return rc;
    }
    return 0;
}

/* ---- what it was judged by ---- */

/* An object without fields of other names. */
static int check_known(const json_t *o, const char *const *known, struct err *e) {
    const char *name;
    json_t *v;
    if (!json_is_object(o)) return err_set(e, E_FORMAT, "it must be an object");
    json_object_foreach((json_t *)o, name, v) {
        int i = 0;
        while (known[i] && strcmp(known[i], name) != 0)
            i++;
        if (!known[i]) return err_set(e, E_FORMAT, "%.40s is not known", name);
    }
    return 0;
}

/* Of 64 hex digits, or not there. */
static int check_digest(const json_t *o, const char *name, struct err *e) {
    const json_t *v = json_object_get(o, name);
    const char *s = json_string_value(v);
    if (!v) return 0;
    if (s && json_string_length(v) == 64 && strspn(s, "0123456789abcdef") == 64) return 0;
    return err_set(e, E_FORMAT, "%s must be a digest of 64 hex digits", name);
}

static int check_validation(const json_t *data, struct err *e) {
    static const char *const known[] = {"digest", "share", NULL};
    if (!data) return 0;
    if (!json_is_array(data) || json_array_size(data) > VERDICT_ROWS_MAX)
        return err_set(e, E_FORMAT, "validation must be a list of at most %d", VERDICT_ROWS_MAX);
    for (size_t i = 0; i < json_array_size(data); i++) {
        const json_t *one = json_array_get(data, i);
        int rc = check_known(one, known, e);
        if (!rc) rc = check_digest(one, "digest", e);
        if (!rc) rc = check_number(one, "share", e);
        if (rc) return (err_in(e, "validation[%zu]", i), rc);
    }
    return 0;
}

static int check_basis(const json_t *by, struct verdict *out, struct err *e) {
    static const char *const known[] = {"base",         "adapter",    "model",
                                        "battery_seed", "validation", NULL};
    const json_t *seed = json_object_get(by, "battery_seed");
    if (!by) return 0;
    int rc = check_known(by, known, e);
    for (int i = 0; !rc && i < 3; i++)
        rc = check_digest(by, known[i], e);
    if (!rc && seed && !json_is_integer(seed))
        rc = err_set(e, E_FORMAT, "battery_seed must be a whole number");
    if (!rc) rc = check_validation(json_object_get(by, "validation"), e);
    if (rc) return (err_in(e, "judged_by"), rc);
    const char *adapter = json_string_value(json_object_get(by, "adapter"));
    snprintf(out->adapter, sizeof(out->adapter), "%s", adapter ? adapter : "");
    return 0;
}

static int check_root(const json_t *root, struct verdict *out, struct err *e) {
    const json_t *version = json_object_get(root, "version");
    if (!json_is_object(root)) return err_set(e, E_FORMAT, "it must be an object");
    if (!json_is_integer(version) || json_integer_value(version) != 1)
        return err_set(e, E_FORMAT, "version must be 1");
    int rc = check_decision(root, &out->decision, e);
    if (!rc) rc = check_count(root, "items", e);
    if (!rc) rc = verdict_check_text(root, "why", VERDICT_TEXT_MAX, e);
    if (!rc) rc = verdict_check_rows(root, "tasks", e);
    if (!rc) rc = verdict_check_rows(root, "battery", e);
    if (!rc) rc = check_basis(json_object_get(root, "judged_by"), out, e);
    return rc ? rc : check_others(root, e);
}

int verdict_parse(const char *text, size_t len, struct verdict *out, struct err *e) {
    static const struct smalljson_most most = {
        .bytes = VERDICT_BYTES_MAX, .depth = 4, .marks = 2 * VERDICT_ROWS_MAX * 64 + 1024};
    *out = (struct verdict){.root = NULL};
    json_t *root = NULL;
    int rc = smalljson_parse(text, len, &most, &root, e);
    if (!rc) rc = check_root(root, out, e);
    if (rc) {
        json_decref(root);
        return rc;
    }
    snprintf(out->why, sizeof(out->why), "%s", json_string_value(json_object_get(root, "why")));
    out->root = root;
    return 0;
}

int verdict_read(const char *folder, struct verdict *out, struct err *e) {
    char path[4096], *text = NULL;
    size_t len = 0;
    *out = (struct verdict){.root = NULL};
    if (snprintf(path, sizeof(path), "%s/gate.json", folder) >= (int)sizeof(path))
        return err_set(e, E_INVALID, "the folder's name is too long");
    int rc = smallfile_read(path, VERDICT_BYTES_MAX, &text, &len, e);
    if (!rc) rc = verdict_parse(text, len, out, e);
    mem_free(text);
    return rc;
}

void verdict_clear(struct verdict *g) {
    json_decref(g->root);
    *g = (struct verdict){.root = NULL};
}
