/* source.c - see source.h and internal.h. */
#include "data/source.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "data/source/internal.h"
#include "kernels/base/hex.h"
#include "kernels/base/mem.h"

enum { SAY_EVERY = 256 /* lines */, ERRORS_ARENA = 8 << 20 };

/* ---- files of lines ---- */

struct source_file *source_make(struct source *s, const char *name, struct err *e) {
    if (s->n_files == SOURCE_FILES_MAX) {
        err_set(e, E_TOO_BIG, "%s: over %d files of lines", s->path, SOURCE_FILES_MAX);
        return NULL;
    }
    if (!s->files) s->files = mem_must(SOURCE_FILES_MAX * sizeof(*s->files));
    struct source_file *f = &s->files[s->n_files++];
    *f = (struct source_file){.name = mem_strdup(name), .space = STORE_ANY, .is_made = 1};
    f->prefix = mem_strdup("");
    buf_init(&f->made, SOURCE_MADE_MAX);
    return f;
}

int source_make_line(struct source_file *f, json_t *line, struct err *e) {
    int rc = E_NOMEM;
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    if (text) rc = buf_str(&f->made, text);
    if (rc == 0) rc = buf_char(&f->made, '\n');
    if (text) {
        json_malloc_t take;
        json_free_t give;
        json_get_alloc_funcs(&take, &give);
        give(text);
    }
    return rc ? err_set(e, rc, "%s: no room for its lines", f->name) : 0;
}

/* ---- what is wrong ---- */

static void source_tell(struct source *s, const struct lines *r, const struct line_fault *why) {
    struct source_report *p = &s->report;
    p->bad++;
    if (p->n_errors == s->o.told_max) return;
    const char *field = arena_strdup(s->texts, why->field, strlen(why->field));
    const char *reason = arena_strdup(s->texts, why->reason, strlen(why->reason));
    if (!field || !reason) return;
    s->errors[p->n_errors++] =
        (struct source_error){r->f->name, r->number, field, why->code, reason};
}

/* ---- one line ---- */

static int grow_lines(struct source *s, struct err *e) {
    if (s->n_lines < s->cap_lines) return 0;
    uint32_t cap = s->cap_lines ? 2 * s->cap_lines : 1024;
    struct source_line *lines =
        mem_try_resize(s->lines, s->n_lines * sizeof(*lines), cap * sizeof(*lines));
    if (!lines) return err_set(e, E_NOMEM, "%s: no memory for its lines", s->path);
    s->lines = lines;
    s->cap_lines = cap;
    return 0;
}

static int keep_line(struct source *s, struct source_line *at, const struct line *l,
                     const struct source_key *key, struct err *e) {
    int is_new, rc = grow_lines(s, e);
    if (rc) return rc;
    at->tasks = (uint16_t)l->tasks;
    at->has_picture = l->n_pictures > 0;
    at->unit = key->unit;
    at->group = table_add(s->keys, key->text.p, key->text.len, &is_new);
    if (at->group == TABLE_NONE) return err_set(e, E_NOMEM, "%s: no memory", s->path);
    s->lines[s->n_lines++] = *at;
    for (int t = 0; t < SAMPLE_TASKS; t++)
        s->report.tasks[t] += l->tasks >> t & 1;
    return 0;
}

static int read_line(struct source *s, const struct lines *r, struct source_line *at,
                     const char *text, struct err *e) {
    struct line l;
    struct line_fault why = {0};
    struct source_key key = {.unit = 0};
    buf_init(&key.text, 4096);
    memset(&l, 0, sizeof(l));
    int rc = r->is_long
                 ? line_bad(&why, "too_long", "", "the line has over %d MiB", SOURCE_LINE_MAX >> 20)
                 : line_read(text, at->len, s->o.check, &l, &why);
    if (rc == 0) rc = source_check_line(s, at, &l, &why, &key);
    if (rc == 0) rc = keep_line(s, at, &l, &key, e);
    if (rc == E_FORMAT && why.code) {
        source_tell(s, r, &why);
        rc = 0;
    }
    line_clear(&l);
    buf_clear(&key.text);
    return rc ? err_set(e, rc, "%s: no memory", s->path) : 0;
}

/* ---- all lines ---- */

static int say_progress(struct source *s, const struct lines *r, int is_last, struct err *e) {
    uint64_t n = s->report.bad + s->n_lines;
    if (!s->o.progress || (!is_last && n % SAY_EVERY)) return 0;
    if (s->o.progress(s->o.ud, n, s->bytes + (r ? r->at + r->used : 0), s->bytes_all))
        return err_set(e, E_CANCELLED, "%s: reading was stopped", s->path);
    return 0;
}

static int read_file(struct source *s, uint32_t file, struct err *e) {
    struct lines r;
    struct source_line at = {.file = file};
    const char *text;
    size_t len;
    int more, rc = 0;
    lines_begin(&r, s, file);
    while (rc == 0 && (more = lines_next(&r, &text, &len, &at.at, e)) != 0) {
        if (more < 0) rc = more;
        at.len = (uint32_t)len;
        at.number = r.number;
        if (rc == 0 && s->n_lines + s->report.bad >= SOURCE_LINES_MAX)
            rc = err_set(e, E_TOO_BIG, "%s: over %d lines", s->files[file].name, SOURCE_LINES_MAX);
        if (rc == 0) EVP_DigestUpdate(s->sha, text, len + 1);
        if (rc == 0) rc = read_line(s, &r, &at, text, e);
        if (rc == 0) rc = say_progress(s, &r, 0, e);
    }
    s->bytes += s->files[file].is_made ? s->files[file].made.len : s->files[file].file.size;
    lines_end(&r);
    return rc;
}

/* Lines in the order of their groups. */
static int group_lines(struct source *s, struct err *e) {
    s->n_groups = table_count(s->keys);
    s->groups = mem_try((s->n_groups + 1) * sizeof(*s->groups));
    s->order = mem_try((s->n_lines + 1) * sizeof(*s->order));
    if (!s->groups || !s->order) return err_set(e, E_NOMEM, "%s: no memory", s->path);
    for (uint32_t i = 0; i < s->n_lines; i++)
        s->groups[s->lines[i].group].n++;
    for (uint32_t g = 1; g < s->n_groups; g++)
        s->groups[g].first = s->groups[g - 1].first + s->groups[g - 1].n;
    for (uint32_t g = 0; g < s->n_groups; g++)
        s->groups[g].n = 0;
    for (uint32_t i = 0; i < s->n_lines; i++) {
        struct source_group *g = &s->groups[s->lines[i].group];
        if (!g->n) g->unit = s->lines[i].unit;
        s->order[g->first + g->n++] = i;
    }
    return 0;
}

static int finish_digest(struct source *s, struct err *e) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (!EVP_DigestFinal_ex(s->sha, sum, &n)) return err_set(e, E_INTERNAL, "no SHA-256");
    hex_write(sum, 32, s->report.digest);
    return 0;
}

static int source_read_all(struct source *s, struct err *e) {
    int rc = 0;
    for (uint32_t i = 0; i < s->n_files; i++)
        s->bytes_all += s->files[i].is_made ? s->files[i].made.len : s->files[i].file.size;
    for (uint32_t i = 0; rc == 0 && i < s->n_files; i++)
        rc = read_file(s, i, e);
    if (rc == 0) rc = say_progress(s, NULL, 1, e);
    if (rc == 0) rc = group_lines(s, e);
    if (rc == 0) rc = finish_digest(s, e);
    s->report.lines = s->n_lines;
    s->report.pictures = table_count(s->names) + table_count(s->inner);
    return rc;
}

/* ---- the door ---- */

int source_open(const char *path, const struct source_options *o, struct source **out,
                struct err *e) {
    struct source *s = mem_must(sizeof(*s));
    *out = NULL;
    s->o = *o;
    s->path = mem_strdup(path);
    if (!s->o.told_max) s->o.told_max = 20;
    if (s->o.told_max > SOURCE_TOLD_MAX) s->o.told_max = SOURCE_TOLD_MAX;
    s->names = table_new();
    s->inner = table_new();
    s->keys = table_new();
    s->errors = mem_must(s->o.told_max * sizeof(*s->errors));
    s->texts = arena_new(ERRORS_ARENA);
    s->sha = EVP_MD_CTX_new();
    s->report.path = s->path;
    s->report.errors = s->errors;
    int rc = 0;
    if (!s->texts || !s->sha || !EVP_DigestInit_ex(s->sha, EVP_sha256(), NULL))
        rc = err_set(e, E_NOMEM, "%s: no memory", path);
    if (rc == 0) rc = source_find_files(s, path, e);
    if (rc == 0) rc = source_read_all(s, e);
    if (rc)
        source_close(s);
    else
        *out = s;
    return rc;
}

void source_close(struct source *s) {
    if (!s) return;
    for (uint32_t i = 0; i < s->n_files; i++) {
        mem_free(s->files[i].name);
        mem_free(s->files[i].prefix);
        buf_clear(&s->files[i].made);
    }
    EVP_MD_CTX_free(s->sha);
    store_free(s->store);
    table_free(s->names);
    table_free(s->inner);
    table_free(s->keys);
    arena_free(s->texts);
    mem_free(s->files);
    mem_free(s->pictures);
    mem_free(s->lines);
    mem_free(s->groups);
    mem_free(s->order);
    mem_free(s->errors);
    mem_free(s->path);
    mem_free(s);
}

const struct source_report *source_report(const struct source *s) { return &s->report; }
