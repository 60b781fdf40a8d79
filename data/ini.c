/* ini.c - one pass over the lines; see ini.h.
 *
 * The text is copied and cut in place: keys and values are stretches of the copy. Nothing is taken
 * before the bytes and lines are counted, so memory is bounded by the size of the file.
 */
#include "data/ini.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

struct cut {
    struct ini *ini;
    struct err *e;
    int line, n_entries;
    int is_flat; /* there are no sections, and keys may stand several times */
};

int ini_bad(const struct ini *i, int line, struct err *e, const char *fmt, ...) {
    char text[200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return err_set(e, E_FORMAT, "%s:%d: %s", i->file, line, text);
}

static int is_control(const char *s) {
    unsigned char c = (unsigned char)s[0];
    return (c < 0x20 && c != '\t') || c == 0x7f || (c == 0xc2 && (unsigned char)s[1] < 0xa0);
}

/* UTF-8 without control characters; `line` is NUL-ended behind its `len` bytes. */
static int ini_is_text(const char *line, size_t len) {
    for (const char *s = line; s < line + len;) {
        int n = utf8_length(s);
        if (n < 1 || is_control(s)) return 0;
        s += n;
    }
    return 1;
}

static int is_blank(char c) { return c == ' ' || c == '\t'; }

/* Blanks at both ends cut off, in place. */
static char *ini_trim(char *s) {
    while (is_blank(*s))
        s++;
    size_t n = strlen(s);
    while (n && is_blank(s[n - 1]))
        n--;
    s[n] = '\0';
    return s;
}

/* Letters, digits, `_`, `-` and `.`: what a name is written with. */
static int ini_is_name(const char *s) {
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");
    return n > 0 && s[n] == '\0' && n <= INI_NAME_MAX;
}

static int cut_section(struct cut *c, char *s) {
    struct ini *ini = c->ini;
    if (c->is_flat)
        return ini_bad(ini, c->line, c->e, "this file has no sections: take the line out");
    char *end = strchr(s, ']');
    if (!end || end[1]) return ini_bad(ini, c->line, c->e, "a section is written [kind name]");
    *end = '\0';
    char *kind = ini_trim(s + 1), *name = kind + strcspn(kind, " \t");
    if (*name) *name++ = '\0';
    name = ini_trim(name);
    if (!ini_is_name(kind) || (*name && !ini_is_name(name)))
        return ini_bad(ini, c->line, c->e,
                       "a section's kind and name have letters, digits, \"_\", \"-\" and \".\", "
                       "%d at most",
                       INI_NAME_MAX);
    for (int i = 0; i < ini->n; i++) {
        const struct ini_section *o = &ini->at[i];
        if (strcmp(o->kind, kind) == 0 && strcmp(o->name, name) == 0)
            return ini_bad(ini, c->line, c->e,
                           "[%s%s%s] stands here a second time; the first is in line %d", kind,
                           *name ? " " : "", name, o->line);
    }
    if (ini->n == INI_SECTIONS_MAX)
        return ini_bad(ini, c->line, c->e, "more than %d sections", INI_SECTIONS_MAX);
    ini->at[ini->n++] = (struct ini_section){
        .kind = kind, .name = name, .line = c->line, .at = ini->entries + c->n_entries};
    return 0;
}

static int cut_entry(struct cut *c, char *s) {
    struct ini *ini = c->ini;
    char *equals = strchr(s, '=');
    if (!equals)
        return ini_bad(ini, c->line, c->e, "neither a %skey = value, nor a comment",
                       c->is_flat ? "" : "[section], nor a ");
    *equals = '\0';
    char *key = ini_trim(s), *value = ini_trim(equals + 1);
    if (!ini_is_name(key))
        return ini_bad(ini, c->line, c->e, "a key has letters, digits, \"_\" and \"-\", %d at most",
                       INI_NAME_MAX);
    if (!ini->n) return ini_bad(ini, c->line, c->e, "\"%s\" stands before any [section]", key);
    struct ini_section *in = &ini->at[ini->n - 1];
    for (int i = 0; i < in->n && !c->is_flat; i++)
        if (strcmp(in->at[i].key, key) == 0)
            return ini_bad(ini, c->line, c->e,
                           "\"%s\" stands here a second time; the first is in line %d", key,
                           in->at[i].line);
    if (c->n_entries == INI_ENTRIES_MAX)
        return ini_bad(ini, c->line, c->e, "more than %d keys", INI_ENTRIES_MAX);
    ini->entries[c->n_entries++] = (struct ini_entry){key, value, c->line};
    in->n++;
    return 0;
}

/* A comment begins with # or ; at the start, or with # behind a blank. */
static void cut_comment(char *s) {
    for (char *at = s; (at = strchr(at, '#')); at++) {
        if (at != s && !is_blank(at[-1])) continue;
        *at = '\0';
        return;
    }
}

static int cut_line(struct cut *c, char *s, size_t len) {
    if (len > INI_LINE_MAX)
        return ini_bad(c->ini, c->line, c->e, "a line of more than %d bytes", INI_LINE_MAX);
    if (len && s[len - 1] == '\r') s[--len] = '\0';
    if (!ini_is_text(s, len))
        return ini_bad(c->ini, c->line, c->e, "a control character, or text that is not UTF-8");
    cut_comment(s);
    s = ini_trim(s);
    if (!*s || *s == ';') return 0;
    return *s == '[' ? cut_section(c, s) : cut_entry(c, s);
}

static size_t count_lines(const char *text, size_t len) {
    size_t n = 1;
    for (size_t i = 0; i < len; i++)
        n += text[i] == '\n';
    return n;
}

static int cut_lines(struct ini *ini, size_t len, int is_flat, struct err *e) {
    struct cut c = {.ini = ini, .e = e, .is_flat = is_flat};
    if (is_flat)
        ini->at[ini->n++] =
            (struct ini_section){.kind = "", .name = "", .line = 1, .at = ini->entries};
    for (char *s = ini->text, *end = s + len; s <= end;) {
        char *stop = memchr(s, '\n', (size_t)(end - s));
        if (!stop) stop = end;
        *stop = '\0';
        c.line++;
        int rc = cut_line(&c, s, (size_t)(stop - s));
        if (rc) return rc;
        s = stop + 1;
    }
    return 0;
}

static int ini_read(const char *file, const char *text, size_t len, int is_flat, struct ini *out,
                    struct err *e) {
    if (len > INI_BYTES_MAX)
        return err_set(e, E_TOO_BIG, "%s: larger than %d MiB", file, INI_BYTES_MAX >> 20);
    size_t lines = count_lines(text, len);
    size_t entries = lines < INI_ENTRIES_MAX ? lines : INI_ENTRIES_MAX;
    size_t sections = lines < INI_SECTIONS_MAX ? lines : INI_SECTIONS_MAX;
    struct ini ini = {.file = file,
                      .text = mem_try(len + 1),
                      .entries = mem_try(entries * sizeof(*ini.entries)),
                      .at = mem_try(sections * sizeof(*ini.at))};
    int rc = 0;
    if (!ini.text || !ini.entries || !ini.at)
        rc = err_set(e, E_NOMEM, "%s: no memory to read it", file);
    if (rc == 0) {
        if (len) memcpy(ini.text, text, len);
        rc = cut_lines(&ini, len, is_flat, e);
    }
    if (rc)
        ini_close(&ini);
    else
        *out = ini;
    return rc;
}

int ini_parse(const char *file, const char *text, size_t len, struct ini *out, struct err *e) {
    return ini_read(file, text, len, 0, out, e);
}

int ini_parse_flat(const char *file, const char *text, size_t len, struct ini *out, struct err *e) {
    return ini_read(file, text, len, 1, out, e);
}

void ini_close(struct ini *i) {
    mem_free(i->text);
    mem_free(i->entries);
    mem_free(i->at);
    *i = (struct ini){0};
}
