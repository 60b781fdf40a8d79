/* check.c - see check.h. The report is one object, for people or as JSON:
 *
 *     {"status": "processed" | "error", "lines": good ones, "bad": others, "pictures": N,
 *      "tasks": {"refer": N, ...},
 *      "errors": [{"file", "line", "field", "code", "reason"}], "errors_total": N,
 *      "warnings": [...]}
 *
 * Every bad line is counted, and the first CHECK_TOLD are told. An error of the file as a whole has
 * line 0. Each picture and mask is decoded. docs/training-data.md has the codes.
 */
#include "cli/train/check.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "data/source.h"
#include "kernels/base/clock.h"

enum { CHECK_TOLD = 100, CHECK_FEW = 10, TERMINAL_MS = 200, ELSEWHERE_MS = 5000 };

struct check {
    const char *path;
    uint64_t said_ns;
    int is_terminal, is_open; /* a line of progress stands there */
};

static int check_progress(void *ud, uint64_t lines, uint64_t done, uint64_t all) {
    struct check *c = ud;
    uint64_t now = clock_ns();
    uint64_t wait = (c->is_terminal ? TERMINAL_MS : ELSEWHERE_MS) * CLOCK_MS;
    if (!c->said_ns) c->said_ns = now;
    if (now - c->said_ns < wait) return 0;
    c->said_ns = now;
    c->is_open = c->is_terminal;
    fprintf(stderr, "%schecking: %.0f %%, %" PRIu64 " lines%s", c->is_terminal ? "\r\033[K" : "",
            all ? 100 * (double)done / (double)all : 100.0, lines, c->is_terminal ? "" : "\n");
    return 0;
}

/* The name without the path that was given: "PATH: train.jsonl" -> "train.jsonl". */
static const char *check_inner(const struct check *c, const char *name) {
    size_t n = strlen(c->path);
    if (strncmp(name, c->path, n) != 0) return name;
    name += n;
    return name + strspn(name, ":/ ");
}

/* ---- JSON ---- */

static json_t *error_json(const char *file, uint64_t line, const char *field, const char *code,
                          const char *reason) {
    return json_pack("{s:s, s:I, s:s, s:s, s:s}", "file", file, "line", (json_int_t)line, "field",
                     field, "code", code, "reason", reason);
}

static json_t *tasks_json(const struct source_report *r) {
    json_t *tasks = json_object();
    for (int t = 0; t < SAMPLE_TASKS; t++)
        if (r->tasks[t])
            json_object_set_new(tasks, sample_task_words[t], json_integer((json_int_t)r->tasks[t]));
    return tasks;
}

static json_t *warnings_json(const struct source_report *r) {
    json_t *all = json_array();
    if (r->lines && r->lines < CHECK_FEW)
        json_array_append_new(all, json_sprintf("fewer than %d lines: a model learns little from "
                                                "so few",
                                                CHECK_FEW));
    return all;
}

/* Of a source that could be opened. */
static json_t *report_json(const struct check *c, const struct source_report *r, int is_fine) {
    json_t *errors = json_array();
    for (uint32_t i = 0; i < r->n_errors; i++) {
        const struct source_error *w = &r->errors[i];
        json_array_append_new(
            errors, error_json(check_inner(c, w->file), w->line, w->field, w->code, w->reason));
    }
    if (!r->lines && !r->bad)
        json_array_append_new(errors, error_json("", 0, "", "no_lines", "there is no line in it"));
    return json_pack(
        "{s:s, s:I, s:I, s:I, s:o, s:o, s:I, s:o}", "status", is_fine ? "processed" : "error",
        "lines", (json_int_t)r->lines, "bad", (json_int_t)r->bad, "pictures",
        (json_int_t)r->pictures, "tasks", tasks_json(r), "errors", errors, "errors_total",
        (json_int_t)(r->bad ? r->bad : json_array_size(errors)), "warnings", warnings_json(r));
}

/* Of one that couldn't. */
static json_t *refusal_json(const struct check *c, const struct err *e) {
    return json_pack("{s:s, s:i, s:i, s:i, s:{}, s:[o], s:i, s:[]}", "status", "error", "lines", 0,
                     "bad", 0, "pictures", 0, "tasks", "errors",
                     error_json("", 0, "", "bad_file", check_inner(c, e->text)), "errors_total", 1,
                     "warnings");
}

/* ---- for people ---- */

static void report_print(const json_t *report) {
    const char *key, *before = ": ";
    size_t i;
    json_t *v;
    printf("%s: %" JSON_INTEGER_FORMAT " lines, %" JSON_INTEGER_FORMAT " pictures",
           json_string_value(json_object_get(report, "status")),
           json_integer_value(json_object_get(report, "lines")),
           json_integer_value(json_object_get(report, "pictures")));
    json_object_foreach(json_object_get(report, "tasks"), key, v) {
        printf("%s%s %" JSON_INTEGER_FORMAT, before, key, json_integer_value(v));
        before = ", ";
    }
    putchar('\n');
    json_array_foreach(json_object_get(report, "errors"), i, v) {
        const char *file = json_string_value(json_object_get(v, "file"));
        const char *field = json_string_value(json_object_get(v, "field"));
        json_int_t line = json_integer_value(json_object_get(v, "line"));
        printf("%s%s", file, *file ? ": " : "");
        if (line) printf("line %" JSON_INTEGER_FORMAT ": ", line);
        printf("%s%s%s\n", field, *field ? ": " : "",
               json_string_value(json_object_get(v, "reason")));
    }
    json_int_t more = json_integer_value(json_object_get(report, "errors_total")) -
                      (json_int_t)json_array_size(json_object_get(report, "errors"));
    if (more > 0) printf("and %" JSON_INTEGER_FORMAT " errors more\n", more);
    json_array_foreach(json_object_get(report, "warnings"), i, v)
        printf("warning: %s\n", json_string_value(v));
}

static int check_tell(const struct config *cfg, json_t *report) {
    if (!report) return 3;
    if (cfg->is_json) {
        json_dumpf(report, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        report_print(report);
    }
    json_decref(report);
    return fflush(stdout) ? 3 : 0;
}

/* Is it our trouble, and not the data's? */
static int is_ours(int rc) { return rc == E_IO || rc == E_NOMEM || rc == E_INTERNAL; }

int check_data(const struct config *cfg) {
    struct check c = {.path = cfg->rest.at[0], .is_terminal = isatty(STDERR_FILENO)};
    const struct source_options o = {.is_deep = 1,
                                     .told_max = CHECK_TOLD,
                                     .check = eng_check_learnt,
                                     .progress = check_progress,
                                     .ud = &c};
    struct source *s = NULL;
    struct err e = {0};
    int rc = source_open(c.path, &o, &s, &e), is_fine = 0;
    if (c.is_open) fputs("\r\033[K", stderr);
    if (is_ours(rc)) {
        cmd_fail(&e);
        return 3;
    }
    const struct source_report *r = rc ? NULL : source_report(s);
    if (r) is_fine = r->lines && !r->bad;
    int told = check_tell(cfg, r ? report_json(&c, r, is_fine) : refusal_json(&c, &e));
    source_close(s);
    return told ? told : is_fine ? 0 : 1;
}
