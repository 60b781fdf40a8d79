/* adapters.c - /v1/adapters: what is loaded beside the base model, and which of it is the default.
 *
 * The catalogue does it (api/store/catalog.h); here are its words. Filling a slot takes the engine
 * a while, so POST /v1/adapters waits for it as a question waits for its answer, and holds no
 * worker. So does a rollback to what isn't loaded any more. Thread: a worker.
 */
#include <stdio.h>
#include <string.h>

#include "api/endpoint.h"
#include "api/wire/json_write.h"
#include "kernels/base/mem.h"

struct change {
    const char *name;
    int is_forced;
    struct eng_adapter *adapter; /* on its way into a slot, or in it */
    char before[CATALOG_NAME_BYTES];
};

static void change_clear(void *state) { eng_adapter_put(((struct change *)state)->adapter); }

/* Who did it, for the history. */
static const char *adapters_by(const struct api_call *c) {
    const struct api_caller *who = c->in.caller;
    return !who ? "" : who->key[0] ? who->key : who->peer;
}

/* The text for people, if there is one. Returns -1. */
static int adapters_refuse(struct api_call *c, enum problem_code code, const struct err *e) {
    if (e->text[0]) return problem_set(&c->problem, code, NULL, "%s", e->text);
    return problem_set(&c->problem, code, NULL, NULL);
}

/* ---- JSON ---- */

/* {"id":...,"why":... : without the end. */
static void write_row(const struct api_call *c, const struct catalog_row *row, struct buf *b) {
    const struct eng_adapter *a = row->model.adapter;
    buf_str(b, "{\"id\":");
    json_write_str(b, row->model.name);
    buf_str(b, ",\"object\":\"adapter\",\"parent\":");
    json_write_str(b, eng_info(c->api->eng)->name);
    buf_printf(b, ",\"state\":\"%s\",\"default\":%s,", a ? "loaded" : "not_loaded",
               row->is_default ? "true" : "false");
    if (a) {
        const struct eng_adapter_info *i = eng_adapter_info(a);
        buf_printf(b,
                   "\"digest\":\"%s\",\"rank\":%d,\"lora\":%s,\"overlay\":%s,\"parameters\":%llu,"
                   "\"bytes\":%llu,",
                   i->digest, i->rank, i->has_lora ? "true" : "false",
                   i->has_overlay ? "true" : "false", (unsigned long long)i->parameters,
                   (unsigned long long)i->bytes);
    }
    buf_str(b, "\"why\":");
    if (row->why[0])
        json_write_str(b, row->why);
    else
        buf_str(b, "null");
}

static void write_default(struct api_call *c, struct buf *b) {
    struct catalog_model m;
    struct catalog_standing s;
    catalog_standing(c->api->catalog, &s);
    (void)catalog_pick(c->api->catalog, NULL, &m);
    buf_str(b, "\"default\":");
    json_write_str(b, m.name);
    catalog_put(&m);
    buf_str(b, ",\"wanted\":");
    json_write_str(b, s.wanted);
    buf_printf(b, ",\"behind\":%s,\"shared\":%s,\"history\":%llu", s.is_behind ? "true" : "false",
               s.is_shared ? "true" : "false", (unsigned long long)s.lines);
}

static int adapters_list(struct api_call *c) {
    if (!catalog_has_folder(c->api->catalog)) return call_fail_as(c, PROBLEM_NO_STATE);
    struct catalog_row *rows = mem_try(CATALOG_ROWS_MAX * sizeof(*rows));
    if (!rows) return call_fail_as(c, PROBLEM_NO_MEMORY);
    struct buf *b = &c->body;
    struct eng_stats s;
    int n = catalog_all(c->api->catalog, rows, CATALOG_ROWS_MAX);
    buf_str(b, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < n; i++) {
        if (i) buf_char(b, ',');
        write_row(c, &rows[i], b);
        buf_char(b, '}');
        catalog_put(&rows[i].model);
    }
    mem_free(rows);
    buf_str(b, "],");
    write_default(c, b);
    eng_stats(c->api->eng, &s);
    buf_printf(b, ",\"slots\":%d,\"slots_taken\":%llu}\n", eng_info(c->api->eng)->adapters,
               (unsigned long long)s.adapters);
    return call_answer(c, 200, "application/json");
}

/* Figures as they were written, and not 0.99929999999999997. */
enum { GATE_FLAGS = JSON_COMPACT | JSON_REAL_PRECISION(9) };

/* The gate's figures, or null. */
static void write_gate(struct api_call *c, const char *name, struct buf *b) {
    struct verdict gate;
    struct err e = {0};
    char *text = NULL;
    size_t n = 0;
    if (catalog_verdict(c->api->catalog, name, &gate, &e) == 0) {
        n = json_dumpb(gate.root, NULL, 0, GATE_FLAGS);
        text = n ? mem_try(n) : NULL;
        if (text) (void)json_dumpb(gate.root, text, n, GATE_FLAGS);
    }
    buf_str(b, ",\"gate\":");
    if (text)
        buf_add(b, text, n);
    else
        buf_str(b, "null");
    mem_free(text);
    verdict_clear(&gate);
}

static int adapters_show(struct api_call *c) {
    struct catalog_row row;
    if (!catalog_has_folder(c->api->catalog)) return call_fail_as(c, PROBLEM_NO_STATE);
    if (catalog_row(c->api->catalog, c->in.arg, &row))
        return call_fail_as(c, PROBLEM_ADAPTER_NOT_FOUND);
    write_row(c, &row, &c->body);
    write_gate(c, c->in.arg, &c->body);
    buf_str(&c->body, "}\n");
    catalog_put(&row.model);
    return call_answer(c, 200, "application/json");
}

static int adapters_history(struct api_call *c) {
    if (!catalog_has_folder(c->api->catalog)) return call_fail_as(c, PROBLEM_NO_STATE);
    struct history_line *lines = mem_try(CATALOG_LINES_MAX * sizeof(*lines));
    if (!lines) return call_fail_as(c, PROBLEM_NO_MEMORY);
    struct buf *b = &c->body;
    int n = catalog_history(c->api->catalog, lines, CATALOG_LINES_MAX);
    buf_str(b, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < n; i++) {
        const struct history_line *l = &lines[i];
        buf_printf(b, "%s{\"time\":\"%s\",\"event\":\"%s\",\"name\":", i ? "," : "", l->time,
                   history_words[l->event]);
        json_write_str(b, l->name);
        buf_printf(b, ",\"digest\":\"%s\",\"key\":", l->digest);
        json_write_str(b, l->key);
        buf_printf(b, ",\"forced\":%s}", l->is_forced ? "true" : "false");
    }
    mem_free(lines);
    buf_str(b, "]}\n");
    return call_answer(c, 200, "application/json");
}

/* ---- load ---- */

/* On a step thread. */
static void adapters_wake(void *ud, struct eng_adapter *adapter) {
    struct api_call *c = ud;
    (void)adapter;
    c->wake(c->ud);
}

static int adapters_read_name(struct api_call *c, struct input *in) {
    struct change *q = c->state;
    if (input_text(in, "name", CATALOG_NAME_BYTES - 1, &q->name)) return -1;
    if (q->name) return 0;
    return problem_set(in->problem, PROBLEM_MISSING_PARAMETER, "name",
                       "name is missing: that of a folder in the server's folder of adapters");
}

static int adapters_ask_load(struct api_call *c) {
    struct change *q = c->state;
    struct err e = {0};
    enum problem_code code =
        catalog_load(c->api->catalog, q->name, adapters_wake, c, &q->adapter, &e);
    return code ? adapters_refuse(c, code, &e) : 0;
}

static int load_outcome(struct api_call *c) {
    const struct change *q = c->state;
    if (!q->adapter || eng_adapter_state(q->adapter) >= ENG_DONE) return 1;
    if (!atomic_load(&c->expired)) return 0;
    return problem_set(&c->problem,
                       atomic_load(&c->api->draining) ? PROBLEM_DRAINING : PROBLEM_DEADLINE, NULL,
                       NULL);
}

/* The adapter that was waited for is `name` from now on. 0, or -1 with the problem. */
static int take_loaded(struct api_call *c, const char *name, int *is_new) {
    struct change *q = c->state;
    struct eng_adapter *adapter = q->adapter;
    struct err e = {0};
    q->adapter = NULL;
    enum problem_code code =
        catalog_enter(c->api->catalog, name, adapter, adapters_by(c), is_new, &e);
    return code ? adapters_refuse(c, code, &e) : 0;
}

static int load_answer(struct api_call *c) {
    const struct change *q = c->state;
    struct catalog_row row;
    int is_new;
    if (take_loaded(c, q->name, &is_new)) return call_fail(c);
    (void)catalog_row(c->api->catalog, q->name, &row);
    write_row(c, &row, &c->body);
    buf_str(&c->body, "}\n");
    catalog_put(&row.model);
    if (is_new) call_header_printf(c, "Location", "/v1/adapters/%s", q->name);
    return call_answer(c, is_new ? 201 : 200, "application/json");
}

/* ---- unload ---- */

static int adapters_unload(struct api_call *c) {
    struct err e = {0};
    enum problem_code code = catalog_unload(c->api->catalog, c->in.arg, adapters_by(c), &e);
    if (code) {
        adapters_refuse(c, code, &e);
        return call_fail(c);
    }
    buf_str(&c->body, "{\"id\":");
    json_write_str(&c->body, c->in.arg);
    buf_str(&c->body, ",\"object\":\"adapter\",\"deleted\":true}\n");
    return call_answer(c, 200, "application/json");
}

/* ---- promote, roll back ---- */

static int read_force(struct api_call *c, struct input *in) {
    return input_flag(in, "force", &((struct change *)c->state)->is_forced);
}

/* What the gate measured goes with its refusal. */
static void show_gate(struct api_call *c, const struct verdict *gate) {
    static const char head[] = "\"gate\":";
    if (!gate->root) return;
    size_t n = json_dumpb(gate->root, NULL, 0, GATE_FLAGS);
    char *text = arena_take(c->texts, sizeof(head) + n);
    if (!text) return;
    memcpy(text, head, sizeof(head));
    (void)json_dumpb(gate->root, text + sizeof(head) - 1, n, GATE_FLAGS);
    c->problem.more = text;
}

static int answer_default(struct api_call *c, const char *name, int is_new) {
    buf_str(&c->body, "{\"default\":");
    json_write_str(&c->body, name);
    buf_printf(&c->body, ",\"changed\":%s}\n", is_new ? "true" : "false");
    return call_answer(c, 200, "application/json");
}

static int promote_answer(struct api_call *c) {
    const struct change *q = c->state;
    struct err e = {0};
    struct verdict gate;
    int is_new;
    enum problem_code code = catalog_promote(c->api->catalog, c->in.arg, q->is_forced,
                                             adapters_by(c), &gate, &is_new, &e);
    if (code) {
        adapters_refuse(c, code, &e);
        show_gate(c, &gate);
    }
    verdict_clear(&gate);
    return code ? call_fail(c) : answer_default(c, c->in.arg, is_new);
}

static int ask_before(struct api_call *c) {
    struct change *q = c->state;
    struct err e = {0};
    int is_loaded;
    enum problem_code code = catalog_before(c->api->catalog, q->before, &is_loaded);
    if (!code && !is_loaded)
        code = catalog_load(c->api->catalog, q->before, adapters_wake, c, &q->adapter, &e);
    if (code == PROBLEM_ADAPTER_NOT_FOUND) {
        problem_set(&c->problem, PROBLEM_ADAPTER_NOT_LOADED, NULL,
                    "%s was the default before, but its folder is gone; promote %.64s, or another "
                    "adapter",
                    q->before, eng_info(c->api->eng)->name);
        return -1;
    }
    return code ? adapters_refuse(c, code, &e) : 0;
}

static int rollback_answer(struct api_call *c) {
    struct change *q = c->state;
    struct err e = {0};
    int is_new;
    if (q->adapter && take_loaded(c, q->before, &is_new)) return call_fail(c);
    enum problem_code code = catalog_rollback(c->api->catalog, adapters_by(c), &e);
    if (!code) return answer_default(c, q->before, 1);
    adapters_refuse(c, code, &e);
    return call_fail(c);
}

/* ---- the rows ---- */

static const char *const load_known[] = {"name", NULL};
static const char *const promote_known[] = {"force", NULL};
static const char *const rollback_known[] = {NULL};
static const struct input_wants load_wants = {.known = load_known, .only_json = 1};
static const struct input_wants promote_wants = {.known = promote_known, .only_json = 1};
static const struct input_wants rollback_wants = {.known = rollback_known, .only_json = 1};

const struct endpoint adapters_list_endpoint = {.answer = adapters_list};
const struct endpoint adapters_show_endpoint = {.answer = adapters_show};
const struct endpoint adapters_history_endpoint = {.answer = adapters_history};
const struct endpoint adapters_load_endpoint = {.wants = &load_wants,
                                                .state_size = sizeof(struct change),
                                                .read = adapters_read_name,
                                                .ask = adapters_ask_load,
                                                .outcome = load_outcome,
                                                .answer = load_answer,
                                                .clear = change_clear};
const struct endpoint adapters_unload_endpoint = {.answer = adapters_unload};
const struct endpoint adapters_promote_endpoint = {.wants = &promote_wants,
                                                   .state_size = sizeof(struct change),
                                                   .read = read_force,
                                                   .answer = promote_answer,
                                                   .clear = change_clear};
const struct endpoint adapters_rollback_endpoint = {.wants = &rollback_wants,
                                                    .state_size = sizeof(struct change),
                                                    .ask = ask_before,
                                                    .outcome = load_outcome,
                                                    .answer = rollback_answer,
                                                    .clear = change_clear};
