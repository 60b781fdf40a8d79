/* config_file.c - see config_file.h. ini.c knows what a line is, value.c what an option may be. */
#include "cli/config_file.h"

#include <string.h>

#include "cli/near.h"
#include "cli/value.h"
#include "data/files.h"
#include "data/ini.h"
#include "kernels/base/mem.h"

/* The option of `lammd serve` whose name is nearest; NULL: none is near. */
static const char *near_option(const char *key) {
    size_t n;
    const struct config_row *rows = config_rows(&n);
    const char *found = NULL;
    int best = near_most(key);
    for (size_t i = 0; i < n; i++) {
        if (!(rows[i].cmds & CMD_SERVE) || rows[i].is_of_line) continue;
        int d = near_distance(key, rows[i].name);
        if (d >= best) continue;
        best = d;
        found = rows[i].name;
    }
    return found;
}

static int unknown_name(const struct ini *ini, const struct ini_entry *at, struct err *e) {
    const char *name = at->key + strspn(at->key, "-"), *near = near_option(name);
    if (name != at->key)
        return ini_bad(ini, at->line, e, "\"%s\": names stand here without dashes in front",
                       at->key);
    if (near)
        return ini_bad(ini, at->line, e, "there is no option \"%s\"; did you mean \"%s\"?", at->key,
                       near);
    return ini_bad(ini, at->line, e, "there is no option \"%s\"; lammd serve --help lists all",
                   at->key);
}

/* The line above in which the key stands already; 0: none. */
static int first_line_of(const struct ini_section *all, int i) {
    for (int k = 0; k < i; k++)
        if (strcmp(all->at[k].key, all->at[i].key) == 0) return all->at[k].line;
    return 0;
}

static int take_entry(const struct ini *ini, int i, struct config *cfg, struct err *e) {
    const struct ini_entry *at = &ini->at[0].at[i];
    const struct config_row *r = config_find(CMD_SERVE, at->key, strlen(at->key));
    struct err why = {0};
    if (!r) return unknown_name(ini, at, e);
    if (r->is_of_line)
        return ini_bad(ini, at->line, e, "\"%s\" can be said on the command line only", at->key);
    int before = r->kind == VALUE_LIST ? 0 : first_line_of(&ini->at[0], i);
    if (before)
        return ini_bad(ini, at->line, e,
                       "\"%s\" stands here a second time; the first is in line %d: take one out",
                       at->key, before);
    if (!*at->value)
        return ini_bad(ini, at->line, e,
                       "\"%s\" has no value: give it one, or take the line out for the default",
                       at->key);
    if (value_take(cfg, r, "", at->value, &why)) return ini_bad(ini, at->line, e, "%s", why.text);
    if (r->kind == VALUE_LIST)
        ((struct config_list *)(void *)((char *)cfg + r->at))->is_of_file = 1;
    return 0;
}

int config_file_parse(const char *path, const char *text, size_t len, struct config *cfg,
                      struct err *e) {
    struct ini ini;
    int rc = ini_parse_flat(path, text, len, &ini, e);
    if (rc) return rc;
    for (int i = 0; rc == 0 && i < ini.at[0].n; i++)
        rc = take_entry(&ini, i, cfg, e);
    if (rc == 0) {
        cfg->file_text = ini.text;
        ini.text = NULL;
    }
    ini_close(&ini);
    return rc;
}

int config_file_read(const char *path, struct config *cfg, struct err *e) {
    struct buf text;
    buf_init(&text, INI_BYTES_MAX);
    int rc = file_read(path, &text, e);
    if (rc == 0)
        rc = config_file_parse(strcmp(path, "-") == 0 ? "standard input" : path,
                               text.len ? (const char *)text.p : "", text.len, cfg, e);
    else
        (void)err_in(e, "--config");
    buf_clear(&text);
    return rc;
}
