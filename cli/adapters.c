/* adapters.c - `lammd adapters`: what a server has loaded beside its model, and what answers.
 *
 * Each action is one call of /v1/adapters; the server decides, here it is asked and told. When the
 * gate refuses, both figures of each task are shown. Thread: main's.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/http_client.h"
#include "kernels/base/jsonscan.h"

enum { PATH_MAX_BYTES = 600, JSON_DEPTH = 8, JSON_MARKS = 200000 };

void cmd_adapters_arguments(FILE *to) {
    fputs(
        "Actions:\n"
        "  list                 adapters in the server's folder, and which of them is the default\n"
        "  load NAME            load the folder NAME; again after it has changed\n"
        "  unload NAME          free its slot; not of the default\n"
        "  promote NAME         what answers when no model is named; the base's name: none of "
        "them\n"
        "  rollback             the default is what it was before\n"
        "  history              what was the default when, and by whose key\n",
        to);
}

/* ---- one call ---- */

static const char *adapters_text(const json_t *o, const char *name) {
    const char *s = json_string_value(json_object_get(o, name));
    return s ? s : "";
}

static json_t *parse(const struct http_reply *r) {
    const char *text = (const char *)r->body.p;
    if (!r->body.len || jsonscan_bound(text, r->body.len, JSON_DEPTH, JSON_MARKS, NULL))
        return NULL;
    return json_loadb(text, r->body.len, 0, NULL);
}

/* What the gate measured, a line for each task. */
static void print_gate(const json_t *gate) {
    static const char *const lists[] = {"tasks", "battery"};
    for (int k = 0; k < 2; k++) {
        const json_t *rows = json_object_get(gate, lists[k]), *row;
        size_t i;
        json_array_foreach(rows, i, row) {
            fprintf(stderr, "  %-12s %-12s n=%-5d before %.4g, after %.4g (%s)\n",
                    adapters_text(row, "task"), adapters_text(row, "metric"),
                    (int)json_integer_value(json_object_get(row, "n")),
                    json_number_value(json_object_get(row, "before")),
                    json_number_value(json_object_get(row, "after")),
                    adapters_text(row, "decision"));
        }
    }
}

/* What the server answered, json_decref; NULL with the error. */
static json_t *ask(const struct config *cfg, const char *method, const char *path, const char *body,
                   struct err *e) {
    struct http_client c;
    struct http_reply r;
    const struct http_request q = {.method = method,
                                   .path = path,
                                   .type = body ? "application/json" : NULL,
                                   .body = body,
                                   .len = body ? strlen(body) : 0};
    if (http_client_open(&c, cfg->url, cfg->admin_socket, cfg->key_file, e)) return NULL;
    c.wait_s = 600; /* a large adapter takes its time */
    json_t *o = NULL;
    if (http_client_ask(&c, &q, &r, e) == 0) {
        o = parse(&r);
        if (http_client_check(&r, e)) {
            print_gate(json_object_get(o, "gate"));
            json_decref(o);
            o = NULL;
        } else if (!o) {
            err_set(e, E_FORMAT, "the server's answer is no JSON");
        }
    }
    http_client_drop(&r);
    return o;
}

/* /v1/adapters/NAME, and `behind`. */
static int adapters_path(const char *name, const char *behind, char path[PATH_MAX_BYTES],
                         struct err *e) {
    struct buf b;
    buf_init(&b, PATH_MAX_BYTES - 1);
    buf_str(&b, "/v1/adapters/");
    http_client_segment(&b, name);
    buf_str(&b, behind);
    int rc = b.bad || !*name ? err_set(e, E_INVALID, "that is no name of an adapter") : 0;
    if (!rc) memcpy(path, b.p, b.len + 1);
    buf_clear(&b);
    return rc;
}

/* ---- the actions ---- */

static void adapters_list(const struct config *cfg, struct err *e) {
    json_t *o = ask(cfg, "GET", "/v1/adapters", NULL, e), *row;
    const json_t *rows = json_object_get(o, "data");
    size_t i;
    if (!o) return;
    printf("%-40s  %-10s  %-5s  %-12s  %s\n", "NAME", "STATE", "RANK", "DIGEST", "");
    json_array_foreach(rows, i, row) {
        char rank[24] = "";
        const json_t *r = json_object_get(row, "rank");
        if (r) snprintf(rank, sizeof(rank), "%d", (int)json_integer_value(r));
        printf("%-40s  %-10s  %-5s  %-12.12s  %s%s\n", adapters_text(row, "id"),
               adapters_text(row, "state"), rank, adapters_text(row, "digest"),
               json_is_true(json_object_get(row, "default")) ? "default" : "",
               adapters_text(row, "why"));
    }
    if (json_is_true(json_object_get(o, "behind")))
        printf("%s should be the default, and isn't loaded here\n", adapters_text(o, "wanted"));
    printf("default: %s; %d of %d slots taken\n", adapters_text(o, "default"),
           (int)json_integer_value(json_object_get(o, "slots_taken")),
           (int)json_integer_value(json_object_get(o, "slots")));
    json_decref(o);
}

static void adapters_history(const struct config *cfg, struct err *e) {
    json_t *o = ask(cfg, "GET", "/v1/adapters/history", NULL, e), *row;
    const json_t *rows = json_object_get(o, "data");
    size_t i;
    json_array_foreach(rows, i, row) {
        printf("%-20s  %-8s  %-40s  %-12.12s  %s%s\n", adapters_text(row, "time"),
               adapters_text(row, "event"), adapters_text(row, "name"),
               adapters_text(row, "digest"), adapters_text(row, "key"),
               json_is_true(json_object_get(row, "forced")) ? " (forced)" : "");
    }
    json_decref(o);
}

static void adapters_load(const struct config *cfg, const char *name, struct err *e) {
    char *body = NULL;
    json_t *q = json_pack("{ss}", "name", name);
    char text[PATH_MAX_BYTES];
    size_t n = q ? json_dumpb(q, text, sizeof(text) - 1, JSON_COMPACT) : 0;
    if (n > 0 && n < sizeof(text)) {
        text[n] = '\0';
        body = text;
    }
    json_decref(q);
    if (!body) {
        err_set(e, E_INVALID, "that is no name of an adapter");
        return;
    }
    json_t *o = ask(cfg, "POST", "/v1/adapters", body, e);
    if (o)
        printf("%s is loaded: digest %.12s\n", adapters_text(o, "id"), adapters_text(o, "digest"));
    json_decref(o);
}

static void adapters_unload(const struct config *cfg, const char *name, struct err *e) {
    char path[PATH_MAX_BYTES];
    json_t *o = adapters_path(name, "", path, e) ? NULL : ask(cfg, "DELETE", path, NULL, e);
    if (o) printf("%s is unloaded\n", adapters_text(o, "id"));
    json_decref(o);
}

static void adapters_say_default(json_t *o) {
    if (o)
        printf("the default is %s%s\n", adapters_text(o, "default"),
               json_is_true(json_object_get(o, "changed")) ? "" : ", as before");
    json_decref(o);
}

static void adapters_promote(const struct config *cfg, const char *name, struct err *e) {
    char path[PATH_MAX_BYTES];
    const char *body = cfg->is_forced ? "{\"force\":true}" : "{}";
    if (adapters_path(name, "/promote", path, e) == 0)
        adapters_say_default(ask(cfg, "POST", path, body, e));
}

int cmd_adapters(const struct config *cfg) {
    const char *what = cfg->rest.n ? cfg->rest.at[0] : "list";
    const char *name = cfg->rest.n == 2 ? cfg->rest.at[1] : NULL;
    int n = cfg->rest.n;
    struct err e = {0};
    if (n <= 1 && strcmp(what, "list") == 0)
        adapters_list(cfg, &e);
    else if (n == 1 && strcmp(what, "history") == 0)
        adapters_history(cfg, &e);
    else if (n == 1 && strcmp(what, "rollback") == 0)
        adapters_say_default(ask(cfg, "POST", "/v1/adapters/rollback", "{}", &e));
    else if (name && strcmp(what, "load") == 0)
        adapters_load(cfg, name, &e);
    else if (name && strcmp(what, "unload") == 0)
        adapters_unload(cfg, name, &e);
    else if (name && strcmp(what, "promote") == 0)
        adapters_promote(cfg, name, &e);
    else
        return cmd_misused(CMD_ADAPTERS);
    return e.code ? cmd_fail(&e) : 0;
}
