/* gate.c - see gate.h. */
#include "api/store/gate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/files/smallfile.h"
#include "engine/files/smalljson.h"
#include "kernels/base/mem.h"

enum { GATE_NAME_MAX = 100, GATE_ITEMS_MAX = 100000000 };

const char *const gate_words[] = {"better", "not_worse", "worse", "not_decided", NULL};

/* ---- one field ---- */

static int check_text(const json_t *o, const char *name, size_t most, struct err *e) {
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
    if (json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= GATE_ITEMS_MAX)
        return 0;
    return err_set(e, E_FORMAT, "%s must be a whole number from 0 to %d", name, GATE_ITEMS_MAX);
}

static int check_decision(const json_t *o, enum gate_decision *out, struct err *e) {
    const char *word = json_string_value(json_object_get(o, "decision"));
    for (int i = 0; word && gate_words[i]; i++) {
        if (strcmp(word, gate_words[i]) != 0) continue;
        *out = (enum gate_decision)i;
        return 0;
    }
    return err_set(e, E_FORMAT, "decision must be better, not_worse, worse or not_decided");
}

/* ---- rows ---- */

static int check_row(const json_t *row, struct err *e) {
    static const char *const numbers[] = {"before", "after", "difference", "low", "high"};
    enum gate_decision decision;
    if (!json_is_object(row)) return err_set(e, E_FORMAT, "it must be an object");
    int rc = check_text(row, "task", GATE_NAME_MAX, e);
    if (!rc) rc = check_text(row, "metric", GATE_NAME_MAX, e);
    if (!rc && !json_is_boolean(json_object_get(row, "higher_is_better")))
        rc = err_set(e, E_FORMAT, "higher_is_better must be true or false");
    if (!rc) rc = check_count(row, "n", e);
    for (size_t i = 0; !rc && i < ARRAY_LEN(numbers); i++)
        rc = check_number(row, numbers[i], e);
    if (!rc) rc = check_decision(row, &decision, e);
    if (!rc && json_object_size(row) != 10) rc = err_set(e, E_FORMAT, "there is an unknown field");
    return rc;
}

static int check_rows(const json_t *root, const char *name, struct err *e) {
    const json_t *rows = json_object_get(root, name);
    if (!json_is_array(rows) || json_array_size(rows) > GATE_ROWS_MAX)
        return err_set(e, E_FORMAT, "%s must be a list of at most %d rows", name, GATE_ROWS_MAX);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        int rc = check_row(json_array_get(rows, i), e);
        if (!rc) continue;
        (void)err_in(e, "%s[%zu]", name, i);
        return rc;
    }
    return 0;
}

static int check_root(const json_t *root, struct gate *out, struct err *e) {
    const json_t *version = json_object_get(root, "version");
    if (!json_is_object(root)) return err_set(e, E_FORMAT, "it must be an object");
    if (!json_is_integer(version) || json_integer_value(version) != 1)
        return err_set(e, E_FORMAT, "version must be 1");
    int rc = check_decision(root, &out->decision, e);
    if (!rc) rc = check_count(root, "items", e);
    if (!rc) rc = check_text(root, "why", GATE_TEXT_MAX, e);
    if (!rc) rc = check_rows(root, "tasks", e);
    if (!rc) rc = check_rows(root, "battery", e);
    if (!rc && json_object_size(root) != 6) rc = err_set(e, E_FORMAT, "there is an unknown field");
    return rc;
}

int gate_parse(const char *text, size_t len, struct gate *out, struct err *e) {
    static const struct smalljson_most most = {
        .bytes = GATE_BYTES_MAX, .depth = 3, .marks = 2 * GATE_ROWS_MAX * 24 + 32};
    *out = (struct gate){.root = NULL};
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

int gate_read(const char *folder, struct gate *out, struct err *e) {
    char path[4096], *text = NULL;
    size_t len = 0;
    *out = (struct gate){.root = NULL};
    if (snprintf(path, sizeof(path), "%s/gate.json", folder) >= (int)sizeof(path))
        return err_set(e, E_INVALID, "the folder's name is too long");
    int rc = smallfile_read(path, GATE_BYTES_MAX, &text, &len, e);
    if (!rc) rc = gate_parse(text, len, out, e);
    mem_free(text);
    return rc;
}

void gate_clear(struct gate *g) {
    json_decref(g->root);
    *g = (struct gate){.root = NULL};
}
