/* catalog.c - see catalog.h: the table, and who looks into it. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "api/store/catalog_internal.h"
#include "kernels/base/buf.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

static const char alias[] = "lammd";

/* ---- names ---- */

const char *catalog_base(const struct catalog *c) { return c->eng ? eng_info(c->eng)->name : ""; }

static int has_form(const char *name) {
    static const char legal[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-";
    size_t n = strspn(name, legal);
    return n >= 1 && n < CATALOG_NAME_BYTES && !name[n] && name[0] != '.' && name[0] != '-';
}

int catalog_is_name(const struct catalog *c, const char *name) {
    static const char *const taken[] = {alias, "history", "rollback"};
    for (size_t i = 0; i < ARRAY_LEN(taken); i++)
        if (strcmp(name, taken[i]) == 0) return 0;
    return has_form(name) && strcmp(name, catalog_base(c)) != 0;
}

int catalog_path(const struct catalog *c, const char *name, char path[4096]) {
    return snprintf(path, 4096, "%s/%s", c->folder, name) < 4096 ? 0 : E_TOO_BIG;
}

/* ---- the table ---- */

struct catalog_entry *catalog_find(struct catalog *c, const char *name) {
    for (int i = 0; i < c->n; i++)
        if (strcmp(c->entries[i].name, name) == 0) return &c->entries[i];
    return NULL;
}

struct catalog_entry *catalog_find_or_add(struct catalog *c, const char *name) {
    struct catalog_entry *it = catalog_find(c, name);
    if (it) return it;
    for (int i = 0; i < c->n && c->n == CATALOG_ENTRIES_MAX; i++)
        if (!c->entries[i].adapter) catalog_drop(c, &c->entries[i]);
    must(c->n < CATALOG_ENTRIES_MAX); /* there are more of them than slots */
    it = &c->entries[c->n++];
    *it = (struct catalog_entry){.adapter = NULL};
    snprintf(it->name, sizeof(it->name), "%s", name);
    return it;
}

void catalog_drop(struct catalog *c, struct catalog_entry *it) { *it = c->entries[--c->n]; }

const struct catalog_level *catalog_top(const struct catalog *c) {
    const struct catalog_level *top = c->depth ? &c->stack[c->depth - 1] : NULL;
    return top && top->digest[0] ? top : NULL;
}

static int catalog_is_content(const struct eng_adapter *a, const char *digest) {
    return a && strcmp(eng_adapter_info(a)->digest, digest) == 0;
}

int catalog_is_current(const struct catalog_entry *it) {
    return catalog_is_content(it->adapter, it->digest);
}

struct eng_adapter *catalog_settle(struct catalog *c) {
    const struct catalog_level *top = catalog_top(c);
    const struct catalog_entry *it = top ? catalog_find(c, top->name) : NULL;
    struct eng_adapter *old = c->served, *now = it ? it->adapter : NULL;
    if (top && !(now && catalog_is_content(now, top->digest))) return NULL;
    if (now == old) return NULL;
    c->served = now ? eng_adapter_get(now) : NULL;
    snprintf(c->served_name, sizeof(c->served_name), "%s", now ? top->name : "");
    return old;
}

int catalog_is_off(const struct catalog *c) {
    const struct catalog_level *top = catalog_top(c);
    return top ? !catalog_is_content(c->served, top->digest) : c->served != NULL;
}

void catalog_settle_now(struct catalog *c) {
    pthread_mutex_lock(&c->mu);
    struct eng_adapter *old = catalog_settle(c);
    pthread_mutex_unlock(&c->mu);
    eng_adapter_put(old);
}

static void stack_push(struct catalog *c, const struct history_line *line) {
    int is_again = c->depth && strcmp(c->stack[c->depth - 1].name, line->name) == 0;
    if (!is_again && c->depth == CATALOG_STACK_MAX) {
        memmove(c->stack, c->stack + 1, sizeof(c->stack) - sizeof(c->stack[0]));
        c->depth--;
    }
    struct catalog_level *top = &c->stack[is_again ? c->depth - 1 : c->depth++];
    memcpy(top->name, line->name, sizeof(top->name));
    memcpy(top->digest, line->digest, sizeof(top->digest));
}

/* What the line says counts, whatever the stack was cut down to. */
static void stack_pop(struct catalog *c, const struct history_line *line) {
    if (c->depth) c->depth--;
    const struct catalog_level *top = c->depth ? &c->stack[c->depth - 1] : NULL;
    int is_so = top ? strcmp(top->name, line->name) == 0 : !line->digest[0];
    if (is_so) return;
    c->depth = 0;
    if (line->digest[0]) stack_push(c, line);
}

void catalog_apply(struct catalog *c, const struct history_line *line) {
    if (line->event == HISTORY_PROMOTE) stack_push(c, line);
    if (line->event == HISTORY_ROLLBACK) stack_pop(c, line);
    c->n_defaults += line->event == HISTORY_PROMOTE || line->event == HISTORY_ROLLBACK;
    c->lines[c->n_lines++ % CATALOG_LINES_MAX] = *line;
}

/* ---- open and close ---- */

static void replay(void *ud, const struct history_line *line) {
    struct catalog *c = ud;
    catalog_apply(c, line);
    struct catalog_entry *it =
        line->event == HISTORY_LOAD ? catalog_find_or_add(c, line->name) : NULL;
    if (it) memcpy(it->digest, line->digest, sizeof(it->digest));
    it = line->event == HISTORY_UNLOAD ? catalog_find(c, line->name) : NULL;
    if (it) catalog_drop(c, it);
}

static int make_folder(const char *folder, mode_t mode, struct err *e) {
    if (mkdir(folder, mode) == 0 || errno == EEXIST) return 0;
    return err_set(e, E_IO, "%s: %s", folder, strerror(errno));
}

static int open_folder(struct catalog *c, const char *folder, struct err *e) {
    char path[4096];
    c->folder = mem_strdup(folder);
    if (catalog_path(c, "history.jsonl", path))
        return err_set(e, E_INVALID, "the name of the folder for adapters is too long");
    int rc = make_folder(folder, 0700, e);
    return rc ? rc : history_open(path, replay, c, &c->history, e);
}

static int catalog_open_shared(struct catalog *c, const char *folder, const char *shared,
                               struct err *e) {
    char path[4096];
    c->folder = mem_strdup(shared);
    if (folder) c->home = mem_strdup(folder);
    if (catalog_path(c, "history", path))
        return err_set(e, E_INVALID, "the name of the shared folder is too long");
    int rc = make_folder(shared, 0777, e);
    if (!rc) rc = ledger_open(path, &c->ledger, e);
    if (!rc) rc = ledger_follow(c->ledger, replay, c, e);
    c->looked_ns = clock_ns();
    return rc ? err_in(e, "%s", path) : 0;
}

int catalog_open(const char *folder, const char *shared, struct catalog **out, struct err *e) {
    struct catalog *c = mem_must(sizeof(*c));
    pthread_mutex_init(&c->acts, NULL);
    pthread_mutex_init(&c->mu, NULL);
    pthread_cond_init(&c->offered, NULL);
    int rc = shared   ? catalog_open_shared(c, folder, shared, e)
             : folder ? open_folder(c, folder, e)
                      : 0;
    if (rc) {
        catalog_close(c);
        return rc;
    }
    *out = c;
    return 0;
}

void catalog_close(struct catalog *c) {
    if (!c) return;
    catalog_stop_offers(c);
    for (int i = 0; i < c->n; i++)
        eng_adapter_put(c->entries[i].adapter);
    eng_adapter_put(c->served);
    history_close(c->history);
    ledger_close(c->ledger);
    pthread_cond_destroy(&c->offered);
    pthread_mutex_destroy(&c->mu);
    pthread_mutex_destroy(&c->acts);
    mem_free(c->folder);
    mem_free(c->home);
    mem_free(c);
}

int catalog_has_folder(const struct catalog *c) { return c->folder != NULL; }

/* ---- what answers ---- */

int catalog_pick(struct catalog *c, const char *model, struct catalog_model *out) {
    const char *base = catalog_base(c);
    int is_default = !model || strcmp(model, alias) == 0;
    *out = (struct catalog_model){.adapter = NULL};
    pthread_mutex_lock(&c->mu);
    const struct catalog_entry *it =
        is_default || strcmp(model, base) == 0 ? NULL : catalog_find(c, model);
    struct eng_adapter *adapter = is_default ? c->served : it ? it->adapter : NULL;
    const char *name = is_default ? c->served_name : it ? it->name : base;
    if (adapter) out->adapter = eng_adapter_get(adapter);
    int is_found = adapter || is_default || strcmp(model, base) == 0;
    snprintf(out->name, sizeof(out->name), "%s", adapter ? name : base);
    pthread_mutex_unlock(&c->mu);
    return is_found ? 0 : E_NOT_FOUND;
}

void catalog_put(struct catalog_model *m) {
    eng_adapter_put(m->adapter);
    m->adapter = NULL;
}

void catalog_names(struct catalog *c, char *to, size_t cap) {
    size_t at = (size_t)snprintf(to, cap, "%s, %.100s", alias, catalog_base(c));
    pthread_mutex_lock(&c->mu);
    for (int i = 0; i < c->n && at < cap; i++) {
        const struct catalog_entry *it = &c->entries[i];
        if (!it->adapter) continue;
        int fits = at + strlen(it->name) + 8 < cap;
        at += (size_t)snprintf(to + at, cap - at, ", %s", fits ? it->name : "...");
        if (!fits) break;
    }
    pthread_mutex_unlock(&c->mu);
}

/* ---- looking ---- */

static void fill_row(struct catalog *c, const struct catalog_entry *it, struct catalog_row *row) {
    *row = (struct catalog_row){.is_default = it->adapter && it->adapter == c->served};
    if (it->adapter) row->model.adapter = eng_adapter_get(it->adapter);
    memcpy(row->model.name, it->name, sizeof(row->model.name));
    memcpy(row->why, it->why, sizeof(row->why));
}

int catalog_row(struct catalog *c, const char *name, struct catalog_row *out) {
    char path[4096];
    struct stat s;
    *out = (struct catalog_row){.is_default = 0};
    if (!catalog_is_name(c, name)) return E_NOT_FOUND;
    pthread_mutex_lock(&c->mu);
    const struct catalog_entry *it = catalog_find(c, name);
    if (it) fill_row(c, it, out);
    pthread_mutex_unlock(&c->mu);
    if (it) return 0;
    snprintf(out->model.name, sizeof(out->model.name), "%s", name);
    if (c->folder && !catalog_path(c, name, path) && !stat(path, &s) && S_ISDIR(s.st_mode))
        return 0;
    int fits = c->home && snprintf(path, sizeof(path), "%s/%s", c->home, name) < (int)sizeof(path);
    return fits && !stat(path, &s) && S_ISDIR(s.st_mode) ? 0 : E_NOT_FOUND;
}

static int catalog_compare(const void *a, const void *b) {
    return strcmp(((const struct catalog_row *)a)->model.name,
                  ((const struct catalog_row *)b)->model.name);
}

/* Those in `folder` that aren't in rows[0..n) yet. */
static int add_folders(struct catalog *c, const char *folder, struct catalog_row *rows, int n,
                       int max) {
    int n_known = n;
    DIR *d = folder ? opendir(folder) : NULL;
    for (const struct dirent *f; d && n < max && (f = readdir(d)) != NULL;) {
        int is_known = 0;
        for (int i = 0; i < n_known; i++)
            is_known |= strcmp(rows[i].model.name, f->d_name) == 0;
        if (!is_known && catalog_row(c, f->d_name, &rows[n]) == 0) n++;
    }
    if (d) closedir(d);
    return n;
}

/* Also what is the default still, though its name means something else by now, or nothing. */
static int take_rows(struct catalog *c, int is_all, struct catalog_row *rows, int max) {
    int n = 0;
    pthread_mutex_lock(&c->mu);
    int has_served = c->served == NULL;
    for (int i = 0; i < c->n && n < max; i++)
        if (is_all || c->entries[i].adapter) fill_row(c, &c->entries[i], &rows[n++]);
    for (int i = 0; i < n; i++)
        has_served |= rows[i].is_default;
    if (!has_served && n < max) {
        const struct catalog_entry kept = {.adapter = c->served};
        fill_row(c, &kept, &rows[n]);
        memcpy(rows[n++].model.name, c->served_name, sizeof(c->served_name));
    }
    pthread_mutex_unlock(&c->mu);
    return n;
}

int catalog_loaded(struct catalog *c, struct catalog_row *rows, int max) {
    int n = take_rows(c, 0, rows, max);
    qsort(rows, (size_t)n, sizeof(*rows), catalog_compare);
    return n;
}

int catalog_all(struct catalog *c, struct catalog_row *rows, int max) {
    int n = add_folders(c, c->folder, rows, take_rows(c, 1, rows, max), max);
    n = add_folders(c, c->home, rows, n, max);
    qsort(rows, (size_t)n, sizeof(*rows), catalog_compare);
    return n;
}

int catalog_verdict(struct catalog *c, const char *name, struct verdict *out, struct err *e) {
    char path[4096];
    *out = (struct verdict){.root = NULL};
    if (!c->folder || catalog_path(c, name, path)) return E_NOT_FOUND;
    return verdict_read(path, out, e);
}

int catalog_history(struct catalog *c, struct history_line *out, int max) {
    int n = 0;
    pthread_mutex_lock(&c->mu);
    for (uint64_t i = c->n_lines; i > 0 && n < max && n < CATALOG_LINES_MAX; i--)
        out[n++] = c->lines[(i - 1) % CATALOG_LINES_MAX];
    pthread_mutex_unlock(&c->mu);
    return n;
}

void catalog_counts(struct catalog *c, struct catalog_counts *out) {
    pthread_mutex_lock(&c->mu);
    *out = c->counts;
    for (int i = 0; i < c->n; i++)
        ++*(c->entries[i].adapter ? &out->loaded : &out->missing);
    pthread_mutex_unlock(&c->mu);
}

void catalog_standing(struct catalog *c, struct catalog_standing *out) {
    *out = (struct catalog_standing){.is_shared = c->ledger != NULL};
    pthread_mutex_lock(&c->mu);
    const struct catalog_level *top = catalog_top(c);
    const struct catalog_entry *it = top ? catalog_find(c, top->name) : NULL;
    out->is_behind = catalog_is_off(c);
    out->lines = c->n_lines;
    if (c->ledger) out->age_s = (double)(clock_ns() - c->looked_ns) / 1e9;
    snprintf(out->wanted, sizeof(out->wanted), "%s", top ? top->name : catalog_base(c));
    if (out->is_behind) snprintf(out->why, sizeof(out->why), "%s", it ? it->why : "");
    const char *base = c->eng ? eng_info(c->eng)->digest : "";
    snprintf(out->name, sizeof(out->name), "%s", c->served ? c->served_name : catalog_base(c));
    snprintf(out->served, sizeof(out->served), "%s",
             c->served ? eng_adapter_info(c->served)->digest : base);
    pthread_mutex_unlock(&c->mu);
}
