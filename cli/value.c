/* value.c - see value.h. Numbers are decimal, whole and within the row's bounds. */
#include "cli/value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A value on its way into its field. */
struct value {
    const struct config_row *row;
    const char *dashes; /* in front of the name, where people read it */
    const char *text;
    struct err *e;
};

static int read_number(const struct value *v, const char *text, int64_t *out) {
    const struct config_row *r = v->row;
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    int is_number = text[strspn(text, "-0123456789")] == '\0' && end != text && *end == '\0';
    if (!is_number || errno || number < r->least || number > r->most)
        return err_set(v->e, E_INVALID,
                       "%s%s takes a whole number from %" PRId64 " to %" PRId64 ", not \"%s\"",
                       v->dashes, r->name, r->least, r->most, text);
    *out = number;
    return 0;
}

/* "512,1024" */
static int read_numbers(const struct value *v, struct config_ints *out) {
    const char *text = v->text;
    for (out->n = 0;; text += strcspn(text, ",") + 1) {
        char one[32];
        size_t len = strcspn(text, ",");
        (void)snprintf(one, sizeof one, "%.*s", (int)len, text);
        if (out->n == CONFIG_LIST_MAX)
            return err_set(v->e, E_INVALID, "%s%s takes %d numbers at most", v->dashes,
                           v->row->name, CONFIG_LIST_MAX);
        int rc = read_number(v, one, &out->at[out->n++]);
        if (rc || !text[len]) return rc;
    }
}

/* The index of the text among `words`. */
static int read_word(const struct value *v, const char *const *words, int64_t *out) {
    char list[100];
    size_t at = 0;
    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], v->text) == 0) {
            *out = i;
            return 0;
        }
        at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", i ? ", " : "", words[i]);
        must(at < sizeof(list));
    }
    return err_set(v->e, E_INVALID, "%s%s takes one of %s, not \"%s\"", v->dashes, v->row->name,
                   list, v->text);
}

static int value_append(const struct value *v, struct config_list *to) {
    if (to->n == CONFIG_LIST_MAX)
        return err_set(v->e, E_INVALID, "too many %s%s options: at most %d", v->dashes,
                       v->row->name, CONFIG_LIST_MAX);
    to->at[to->n++] = v->text;
    return 0;
}

const char *const value_flag_words[] = {"no", "yes", NULL};

int value_take(struct config *cfg, const struct config_row *r, const char *dashes, const char *text,
               struct err *e) {
    const struct value v = {r, dashes, text, e};
    void *field = (char *)cfg + r->at;
    if (r->check && r->check(text, e)) return err_in(e, "%s%s", dashes, r->name);
    switch (r->kind) {
    case VALUE_TEXT: *(const char **)field = text; break;
    case VALUE_WORD: return read_word(&v, r->words, field);
    case VALUE_NUMBER: return read_number(&v, text, field);
    case VALUE_NUMBERS: return read_numbers(&v, field);
    case VALUE_LIST: return value_append(&v, field);
    case VALUE_FLAG: return read_word(&v, value_flag_words, field);
    }
    return 0;
}
