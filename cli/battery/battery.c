/* battery.c - asks the parts one after the other, by one model that stays open. See battery.h.
 *
 * A part that can't be read ends the run: a table with holes would be compared with whole ones.
 */
#include "cli/battery/battery.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/eval/eval.h"
#include "data/annot.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

enum { PATH_SIZE = 4096, LABEL_MAX = 200 };

struct part {
    const char *name, *mode, *path; /* borrowed from the tree */
};
struct battery_exam {
    char file[PATH_SIZE]; /* battery.json, for errors */
    json_t *root;
    const char *digest;
    struct part parts[BATTERY_PARTS_MAX];
    int n;
};

/* ---- battery.json ---- */

static int battery_part(struct battery_exam *x, const json_t *o, size_t i, struct err *e) {
    const struct annot_at at = {x->file, "parts", i};
    if (i == BATTERY_PARTS_MAX)
        return annot_bad(&at, e, "there may be %d parts", BATTERY_PARTS_MAX);
    struct part *p = &x->parts[i];
    int rc = annot_text(o, "name", 1, &at, &p->name, e);
    if (rc == 0) rc = annot_text(o, "mode", 1, &at, &p->mode, e);
    if (rc == 0) rc = annot_name(o, "path", &at, &p->path, e);
    if (rc == 0 && (!*p->name || strpbrk(p->name, "\t\r\n")))
        rc = annot_bad(&at, e, "\"name\" must be a line of text without tabs");
    x->n = (int)i + 1;
    return rc;
}

static int read_exam(const char *dir, struct battery_exam *x, struct err *e) {
    const json_t *parts;
    int n = snprintf(x->file, sizeof(x->file), "%s/battery.json", dir);
    if (n < 0 || (size_t)n >= sizeof(x->file)) return err_set(e, E_INVALID, "the path is too long");
    int rc = annot_open(x->file, &x->root, e);
    if (rc) return rc;
    const struct annot_at at = {x->file, "", 0};
    rc = annot_text(x->root, "digest", 1, &at, &x->digest, e);
    if (rc == 0 && strpbrk(x->digest, "\t\r\n"))
        rc = annot_bad(&at, e, "\"digest\" must be a line of text without tabs");
    if (rc == 0) rc = annot_array(x->root, "parts", x->file, &parts, e);
    for (size_t i = 0; rc == 0 && i < json_array_size(parts); i++)
        rc = battery_part(x, json_array_get(parts, i), i, e);
    if (rc == 0 && x->n == 0) rc = annot_bad(&at, e, "\"parts\" must not be empty");
    return rc;
}

/* ---- asking ---- */

static int ask_part(struct eval *v, const struct part *p, const char *dir, struct figures *f,
                    json_t *reports, struct err *e) {
    char path[PATH_SIZE];
    int n = snprintf(path, sizeof(path), "%s/%s", dir, p->path);
    if (n < 0 || (size_t)n >= sizeof(path)) return err_set(e, E_INVALID, "the path is too long");
    fprintf(stderr, "%s: %s\n", p->name, p->mode);
    int rc = eval_mode(v, p->mode, path, e);
    if (rc) return rc;
    figures_take(f, p->name, p->mode, v->report, v->items);
    json_object_set(v->report, "items", v->items);
    json_object_set_new(v->report, "part", json_string(p->name));
    json_array_append(reports, v->report);
    return 0;
}

static int ask_parts(const struct config *cfg, const struct battery_exam *x, const char *dir,
                     struct battery_run *run, struct figures *f, json_t *reports, struct err *e) {
    char model[PATH_SIZE];
    struct config quiet = *cfg;
    struct eval v = {.cfg = &quiet};
    uint64_t start = clock_ns();
    quiet.json = "-"; /* no table is printed */
    int rc = eval_open(&v, config_model(cfg, model), e);
    for (int i = 0; rc == 0 && i < x->n; i++)
        rc = ask_part(&v, &x->parts[i], dir, f, reports, e);
    if (rc == 0) {
        const struct eng_info *info = eng_info(v.eng);
        snprintf(run->model, sizeof(run->model), "%s", info->name);
        snprintf(run->digest, sizeof(run->digest), "%s", info->digest);
    }
    eval_close(&v);
    run->seconds = (double)(clock_ns() - start) / (double)CLOCK_S;
    return rc;
}

/* ---- the report ---- */

static json_t *figure_json(const struct figure *f) {
    json_t *o =
        json_pack("{s:s, s:s, s:I}", "part", f->part, "figure", f->name, "n", (json_int_t)f->n);
    json_t *trivial = json_object();
    eval_set(o, "value", f->value);
    if (!isnan(f->low)) {
        eval_set(o, "low", f->low);
        eval_set(o, "high", f->high);
    }
    for (int k = 0; k < BATTERY_TRIVIALS && f->trivial[k].name; k++)
        eval_set(trivial, f->trivial[k].name, f->trivial[k].value);
    json_object_set_new(o, "without_looking", trivial);
    if (!isnan(f->before)) eval_set(o, "before", f->before);
    return o;
}

static int battery_write(const struct config *cfg, const struct battery_run *run,
                         const struct figures *f, json_t *reports, struct err *e) {
    json_t *list = json_array();
    for (int i = 0; i < f->n; i++)
        json_array_append_new(list, figure_json(&f->at[i]));
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:O}", "eval", "battery", "date",
                          run->date, "label", run->label, "model", run->model, "sha256",
                          run->digest, "exam", run->exam, "figures", list, "parts", reports);
    eval_set(o, "seconds", run->seconds);
    int rc = eval_write(cfg, o, e);
    json_decref(o);
    return rc;
}

static int battery_check(const struct config *cfg, struct err *e) {
    if (cfg->is_whole_grid || cfg->is_given_boxes || cfg->out || cfg->images)
        return err_set(e, E_INVALID,
                       "eval battery takes neither --whole-grid, --given-boxes, --images nor "
                       "--output: its exams are always the same");
    if (cfg->label && (strlen(cfg->label) > LABEL_MAX || strpbrk(cfg->label, "\t\r\n")))
        return err_set(e, E_INVALID, "--label must be a line of at most %d bytes without tabs",
                       LABEL_MAX);
    return 0;
}

static int battery_ask(const struct config *cfg, const char *dir, struct battery_exam *x,
                       struct figures *f, json_t *reports, struct err *e) {
    time_t now = time(NULL);
    struct tm utc;
    struct battery_run run = {.exam = x->digest};
    strftime(run.date, sizeof(run.date), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    int rc = ask_parts(cfg, x, dir, &run, f, reports, e);
    run.label = cfg->label ? cfg->label : run.model;
    if (rc == 0 && cfg->table) rc = table_before(cfg->table, &run, f, e);
    if (rc == 0 && (!cfg->json || strcmp(cfg->json, "-") != 0)) table_print(&run, f);
    if (rc == 0) rc = battery_write(cfg, &run, f, reports, e);
    if (rc == 0 && cfg->table) rc = table_append(cfg->table, &run, f, e);
    return rc;
}

int battery_command(const struct config *cfg, const char *dir, struct err *e) {
    struct battery_exam *x = mem_must(sizeof(*x));
    struct figures *f = mem_must(sizeof(*f));
    json_t *reports = json_array();
    int rc = battery_check(cfg, e);
    if (rc == 0 && cfg->table) rc = table_check(cfg->table, e); /* before the minutes it takes */
    if (rc == 0) rc = read_exam(dir, x, e);
    if (rc == 0) rc = battery_ask(cfg, dir, x, f, reports, e);
    json_decref(reports);
    json_decref(x->root);
    mem_free(f);
    mem_free(x);
    return rc;
}
