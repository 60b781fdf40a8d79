/* /v1/adapters over the fake engine: load, unload, promote, roll back, and what stays of it over a
 * restart. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "tests/unit/api/rig.h"

#define BASE "fake \"mini\""
#define ROW(after)                                                                     \
    "{\"task\":\"refer\",\"metric\":\"P@0.5\",\"higher_is_better\":true,\"n\":64,"     \
    "\"before\":0.41,\"after\":" after ",\"difference\":0.2,\"low\":0.1,\"high\":0.3," \
    "\"decision\":\"better\"}"
#define GATE(decision, after)                 \
    "{\"version\":1,\"decision\":\"" decision \
    "\",\"items\":64,\"tasks\":[" ROW(after) "],\"battery\":[],\"why\":\"it is " decision "\"}"
/* A good one, of weights that nobody has here. */
#define OTHER                                                                                \
    "{\"version\":1,\"decision\":\"better\",\"items\":64,\"tasks\":[],\"battery\":[],"       \
    "\"why\":\"it is better\",\"judged_by\":{\"adapter\":\"00000000000000000000000000000000" \
    "00000000000000000000000000000000\"}}"

struct state {
    struct rig r;
    char dir[64], adapters[80];
};

static void put(const struct state *s, const char *name, const char *file, const char *text) {
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", s->adapters, name);
    CHECK(mkdir(path, 0700) == 0 || errno == EEXIST);
    snprintf(path, sizeof(path), "%s/%s/%s", s->adapters, name, file);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void state_start(struct state *s) {
    rig_open_with(&s->r, 8, &(struct api_options){.adapters = NULL});
    api_free(s->r.api);
    fake_slots(s->r.eng, 3);
    struct err e = {0};
    if (api_new(&(struct api_options){.adapters = s->adapters}, s->r.eng, &s->r.api, &e))
        test_failed(__FILE__, __LINE__, "%s", e.text);
}

static void state_open(struct state *s) {
    log_set_level((enum log_level)0); /* what is done here needs no log */
    snprintf(s->dir, sizeof(s->dir), "/tmp/lammd-state-XXXXXX");
    CHECK(mkdtemp(s->dir));
    snprintf(s->adapters, sizeof(s->adapters), "%s/adapters", s->dir);
    CHECK(mkdir(s->adapters, 0700) == 0);
    put(s, "a", "adapter_config.json", "content of a");
    put(s, "b", "adapter_config.json", "content of b");
    put(s, "c", "adapter_config.json", "content of c");
    put(s, "foreign", "adapter_config.json", "foreign");
    put(s, "a", "gate.json", GATE("better", "0.62"));
    put(s, "b", "gate.json", GATE("worse", "0.12"));
    state_start(s);
}

static void restart(struct state *s) {
    rig_close(&s->r);
    state_start(s);
}

static int forget(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static void state_close(struct state *s) {
    rig_close(&s->r);
    CHECK(nftw(s->dir, forget, 8, FTW_DEPTH | FTW_PHYS) == 0);
}

static void ask(struct state *s, const char *method, const char *path, const char *json) {
    rig_begin(&s->r, &(struct rig_request){.method = method,
                                           .path = path,
                                           .type = json ? "application/json" : NULL,
                                           .body = json,
                                           .len = json ? strlen(json) : 0});
    CHECK_EQ(s->r.step, API_REPLY);
}

static void load(struct state *s, const char *name, int status) {
    char json[200];
    snprintf(json, sizeof(json), "{\"name\":\"%s\"}", name);
    ask(s, "POST", "/v1/adapters", json);
    CHECK_EQ(s->r.reply->status, status);
}

static void promote(struct state *s, const char *name, const char *json, int status) {
    char path[200];
    snprintf(path, sizeof(path), "/v1/adapters/%s/promote", name);
    ask(s, "POST", path, json);
    CHECK_EQ(s->r.reply->status, status);
}

/* What `model` (NULL: none) is answered by. */
static void answered_by(struct state *s, const char *model, const char *name) {
    char query[200] = "points=[[0,0]]";
    if (model) snprintf(query, sizeof(query), "points=[[0,0]]&model=%s", model);
    rig_send_png(&s->r, "/v1/pixels", query, NULL, 8, 8);
    CHECK_EQ(s->r.reply->status, 200);
    rig_send_png(&s->r, "/v1/describe", model ? query + 15 : NULL, "application/json", 8, 8);
    CHECK_EQ(s->r.reply->status, 200);
    json_t *o = rig_json(&s->r);
    CHECK_STR(rig_text(o, "model"), name);
    int is_base = strcmp(name, BASE) == 0;
    CHECK((fake_asked(s->r.eng)->adapter == NULL) == is_base);
    CHECK((strncmp(rig_text(o, "text"), "by ", 3) == 0) == !is_base);
    if (!is_base) CHECK_STR(rig_header(&s->r, "X-Lammd-Model"), name);
    json_decref(o);
}

static int count_lines(struct state *s) {
    ask(s, "GET", "/v1/adapters/history", NULL);
    CHECK_EQ(s->r.reply->status, 200);
    json_t *o = rig_json(&s->r);
    int n = (int)json_array_size(json_object_get(o, "data"));
    json_decref(o);
    return n;
}

TEST(adapters_are_loaded_named_and_unloaded) {
    struct state s;
    state_open(&s);
    answered_by(&s, NULL, BASE);
    load(&s, "a", 201);
    CHECK_STR(rig_header(&s.r, "Location"), "/v1/adapters/a");
    json_t *o = rig_json(&s.r);
    CHECK_STR(rig_text(o, "state"), "loaded");
    CHECK_STR(rig_text(o, "parent"), BASE);
    json_decref(o);
    load(&s, "a", 200);
    CHECK_EQ(fake_adapters_alive(s.r.eng), 1);
    answered_by(&s, NULL, BASE);
    answered_by(&s, "lammd", BASE);
    answered_by(&s, BASE, BASE);
    answered_by(&s, "a", "a");
    ask(&s, "GET", "/v1/models", NULL);
    o = rig_json(&s.r);
    json_t *list = json_object_get(o, "data");
    CHECK_EQ(json_array_size(list), 3);
    CHECK_STR(rig_text(json_array_get(list, 2), "id"), "a");
    CHECK_STR(rig_text(json_array_get(list, 2), "parent"), BASE);
    json_decref(o);
    ask(&s, "GET", "/v1/adapters", NULL);
    o = rig_json(&s.r);
    list = json_object_get(o, "data");
    CHECK_EQ(json_array_size(list), 4);
    CHECK_STR(rig_text(json_array_get(list, 0), "state"), "loaded");
    CHECK_STR(rig_text(json_array_get(list, 1), "state"), "not_loaded");
    CHECK_STR(rig_text(o, "default"), BASE);
    CHECK_EQ(rig_number(o, "slots"), 3);
    json_decref(o);
    ask(&s, "DELETE", "/v1/adapters/a", NULL);
    CHECK_EQ(s.r.reply->status, 200);
    ask(&s, "DELETE", "/v1/adapters/a", NULL);
    rig_check_problem(&s.r, 409, "adapter_not_loaded", NULL, NULL);
    api_call_free(s.r.call);
    s.r.call = NULL;
    fake_answer_all(s.r.eng);
    rig_send_png(&s.r, "/v1/describe", "model=a", NULL, 8, 8);
    rig_check_problem(&s.r, 404, "model_not_found", "model", "there are lammd, " BASE);
    state_close(&s);
}

TEST(adapters_refuse_what_cannot_be) {
    struct state s;
    state_open(&s);
    load(&s, "foreign", 422);
    rig_check_problem(&s.r, 422, "adapter_does_not_fit", NULL, "foreign: it was made for another");
    CHECK(!memmem(s.r.reply->body, s.r.reply->body_len, s.dir, strlen(s.dir)));
    static const char *const names[] = {"nothing", "..",    "../adapters/a", "a/b", ".",
                                        "a b",     "lammd", "history",       "-x"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        load(&s, names[i], 404);
        rig_check_problem(&s.r, 404, "adapter_not_found", NULL, NULL);
    }
    ask(&s, "POST", "/v1/adapters", "{}");
    rig_check_problem(&s.r, 400, "missing_parameter", "name", NULL);
    ask(&s, "POST", "/v1/adapters", "{\"name\":\"a\",\"path\":\"/etc\"}");
    rig_check_problem(&s.r, 400, "unknown_parameter", "path", NULL);
    load(&s, "a", 201);
    load(&s, "b", 201);
    load(&s, "c", 201);
    put(&s, "d", "adapter_config.json", "d");
    load(&s, "d", 503);
    rig_check_problem(&s.r, 503, "no_slot", NULL, "all 3 slots are taken");
    ask(&s, "GET", "/v1/adapters/nothing", NULL);
    rig_check_problem(&s.r, 404, "adapter_not_found", NULL, NULL);
    promote(&s, "nothing", NULL, 404);
    promote(&s, "d", NULL, 409);
    rig_check_problem(&s.r, 409, "adapter_not_loaded", NULL, NULL);
    state_close(&s);
}

TEST(adapters_gate_holds_back_what_is_worse) {
    struct state s;
    state_open(&s);
    load(&s, "a", 201);
    load(&s, "b", 201);
    load(&s, "c", 201);
    promote(&s, "b", NULL, 409);
    rig_check_problem(&s.r, 409, "gate_refused", NULL, "it is worse");
    json_t *o = rig_json(&s.r), *rows = json_object_get(json_object_get(o, "gate"), "tasks");
    CHECK_NEAR(rig_number(json_array_get(rows, 0), "before"), 0.41, 1e-9);
    CHECK_NEAR(rig_number(json_array_get(rows, 0), "after"), 0.12, 1e-9);
    json_decref(o);
    promote(&s, "c", "{\"force\":false}", 409);
    rig_check_problem(&s.r, 409, "gate_not_decided", NULL, "c has no gate.json");
    put(&s, "c", "gate.json", "{\"version\":1}");
    promote(&s, "c", NULL, 409);
    rig_check_problem(&s.r, 409, "gate_not_decided", NULL, "gate.json of c can't be read");
    put(&s, "c", "gate.json", GATE("not_decided", "0.5"));
    promote(&s, "c", NULL, 409);
    rig_check_problem(&s.r, 409, "gate_not_decided", NULL, "it is not_decided");
    CHECK_EQ(count_lines(&s), 3);
    answered_by(&s, NULL, BASE);
    promote(&s, "b", "{\"force\":true}", 200);
    answered_by(&s, NULL, "b");
    promote(&s, "b", NULL, 200); /* it is the default already */
    o = rig_json(&s.r);
    CHECK(json_is_false(json_object_get(o, "changed")));
    json_decref(o);
    CHECK_EQ(count_lines(&s), 4);
    put(&s, "c", "gate.json", OTHER);
    promote(&s, "c", NULL, 409);
    rig_check_problem(&s.r, 409, "gate_not_decided", NULL, "about other weights");
    put(&s, "c", "gate.json", GATE("not_worse", "0.5"));
    promote(&s, "c", NULL, 200);
    promote(&s, "a", "{\"force\":true}", 200);
    answered_by(&s, NULL, "a");
    ask(&s, "GET", "/v1/adapters/history", NULL);
    o = rig_json(&s.r);
    rows = json_object_get(o, "data");
    CHECK_EQ(json_array_size(rows), 6);
    CHECK_STR(rig_text(json_array_get(rows, 0), "name"), "a");
    CHECK(json_is_false(json_object_get(json_array_get(rows, 0), "forced")));
    CHECK(json_is_true(json_object_get(json_array_get(rows, 2), "forced")));
    json_decref(o);
    state_close(&s);
}

TEST(adapters_roll_back_in_one_call) {
    struct state s;
    state_open(&s);
    ask(&s, "POST", "/v1/adapters/rollback", NULL);
    rig_check_problem(&s.r, 409, "nothing_before", NULL, NULL);
    load(&s, "a", 201);
    load(&s, "b", 201);
    promote(&s, "a", NULL, 200);
    promote(&s, "b", "{\"force\":true}", 200);
    ask(&s, "DELETE", "/v1/adapters/b", NULL);
    rig_check_problem(&s.r, 409, "adapter_is_default", NULL, "b is the default");
    ask(&s, "DELETE", "/v1/adapters/a", NULL);
    CHECK_EQ(s.r.reply->status, 200);
    ask(&s, "POST", "/v1/adapters/rollback", "{}"); /* loads a again */
    CHECK_EQ(s.r.reply->status, 200);
    answered_by(&s, NULL, "a");
    ask(&s, "POST", "/v1/adapters/rollback", NULL);
    CHECK_EQ(s.r.reply->status, 200);
    json_t *o = rig_json(&s.r);
    CHECK_STR(rig_text(o, "default"), BASE);
    json_decref(o);
    answered_by(&s, NULL, BASE);
    ask(&s, "POST", "/v1/adapters/rollback", NULL);
    rig_check_problem(&s.r, 409, "nothing_before", NULL, NULL);
    promote(&s, "a", NULL, 200);
    promote(&s, BASE, NULL, 200);
    answered_by(&s, "lammd", BASE);
    ask(&s, "POST", "/v1/adapters/rollback", NULL);
    answered_by(&s, NULL, "a");
    state_close(&s);
}

TEST(adapters_roll_back_to_the_same_content_only) {
    struct state s;
    state_open(&s);
    load(&s, "a", 201);
    load(&s, "b", 201);
    promote(&s, "a", NULL, 200);
    promote(&s, "b", "{\"force\":true}", 200);
    put(&s, "a", "adapter_config.json", "other content");
    load(&s, "a", 201); /* another one under the same name */
    ask(&s, "POST", "/v1/adapters/rollback", NULL);
    rig_check_problem(&s.r, 409, "adapter_changed", NULL, "a was the default before");
    put(&s, "b", "adapter_config.json", "other content");
    load(&s, "b", 409);
    rig_check_problem(&s.r, 409, "adapter_is_default", NULL, "its folder holds something else");
    answered_by(&s, NULL, "b");
    CHECK_EQ(fake_adapters_alive(s.r.eng), 2);
    state_close(&s);
}

TEST(adapters_outlive_the_server) {
    struct state s;
    state_open(&s);
    load(&s, "a", 201);
    load(&s, "b", 201);
    load(&s, "c", 201);
    ask(&s, "DELETE", "/v1/adapters/c", NULL);
    promote(&s, "a", NULL, 200);
    restart(&s);
    answered_by(&s, NULL, "a");
    answered_by(&s, "b", "b");
    CHECK_EQ(fake_adapters_alive(s.r.eng), 2);
    CHECK_EQ(count_lines(&s), 5);
    /* What can't be loaded is missed, and its default falls back to the base. */
    put(&s, "a", "adapter_config.json", "foreign");
    restart(&s);
    answered_by(&s, NULL, BASE);
    ask(&s, "GET", "/v1/adapters/a", NULL);
    json_t *o = rig_json(&s.r);
    CHECK_STR(rig_text(o, "state"), "not_loaded");
    CHECK_HAS(rig_text(o, "why"), "a: it was made for another base");
    CHECK_STR(rig_text(json_object_get(o, "gate"), "decision"), "better");
    json_decref(o);
    /* What was promoted is the default again once it is there again. */
    put(&s, "a", "adapter_config.json", "something else");
    load(&s, "a", 201);
    answered_by(&s, NULL, BASE);
    put(&s, "a", "adapter_config.json", "content of a");
    load(&s, "a", 201);
    answered_by(&s, NULL, "a");
    ask(&s, "POST", "/v1/adapters/rollback", NULL);
    restart(&s);
    answered_by(&s, NULL, BASE);
    state_close(&s);
}

TEST(adapters_need_a_folder) {
    struct rig r;
    rig_open(&r, 8);
    static const char *const calls[][2] = {{"GET", "/v1/adapters"},
                                           {"GET", "/v1/adapters/history"},
                                           {"GET", "/v1/adapters/a"},
                                           {"DELETE", "/v1/adapters/a"},
                                           {"POST", "/v1/adapters/a/promote"},
                                           {"POST", "/v1/adapters/rollback"}};
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++) {
        rig_send(&r, &(struct rig_request){.method = calls[i][0], .path = calls[i][1]});
        rig_check_problem(&r, 503, "no_state", NULL, "--state DIR");
    }
    rig_send_json(&r, "/v1/adapters", "{\"name\":\"a\"}");
    rig_check_problem(&r, 503, "no_state", NULL, "--state DIR");
    rig_close(&r);
}

/* The call waits for the engine like a question, and may be given up meanwhile. */
TEST(adapters_load_takes_its_time) {
    struct state s;
    state_open(&s);
    const struct rig_request q = {
        .path = "/v1/adapters", .type = "application/json", .body = "{\"name\":\"a\"}", .len = 12};
    fake_load_slowly(s.r.eng, 1);
    rig_begin(&s.r, &q);
    CHECK_EQ(s.r.step, API_WAIT);
    CHECK_EQ(s.r.wakes, 0);
    fake_loaded(s.r.eng, 0);
    CHECK_EQ(s.r.wakes, 1);
    rig_step(&s.r);
    CHECK_EQ(s.r.reply->status, 201);
    ask(&s, "DELETE", "/v1/adapters/a", NULL);
    rig_begin(&s.r, &q);
    fake_loaded(s.r.eng, E_DEVICE);
    rig_step(&s.r);
    rig_check_problem(&s.r, 503, "device_lost", NULL, NULL);
    rig_begin(&s.r, &q);
    api_call_expire(s.r.call);
    rig_step(&s.r);
    rig_check_problem(&s.r, 504, "deadline", NULL, NULL);
    rig_begin(&s.r, &q);
    api_call_free(s.r.call);
    s.r.call = NULL;
    CHECK_EQ(fake_adapters_alive(s.r.eng), 0);
    state_close(&s);
}

/* A call ends on what it began with, whatever happens to the name. */
TEST(adapters_in_flight_end_on_what_they_began_with) {
    struct state s;
    state_open(&s);
    load(&s, "a", 201);
    promote(&s, "a", NULL, 200);
    struct buf png;
    rig_png(&png, 8, 8);
    struct rig other = s.r; /* a second caller of the same API */
    other.call = NULL;
    rig_begin(&other,
              &(struct rig_request){
                  .path = "/v1/describe", .type = "image/png", .body = png.p, .len = png.len});
    CHECK_EQ(other.step, API_WAIT);
    ask(&s, "POST", "/v1/adapters/rollback", NULL);
    ask(&s, "DELETE", "/v1/adapters/a", NULL);
    CHECK_EQ(s.r.reply->status, 200);
    CHECK_EQ(fake_adapters_alive(s.r.eng), 1);
    fake_answer_all(s.r.eng);
    rig_step(&other);
    CHECK_EQ(other.reply->status, 200);
    json_t *o = rig_json(&other);
    CHECK_STR(rig_text(o, "model"), "a");
    CHECK_HAS(rig_text(o, "text"), "by ");
    json_decref(o);
    api_call_free(other.call);
    buf_clear(&png);
    answered_by(&s, NULL, BASE);
    CHECK_EQ(fake_adapters_alive(s.r.eng), 0);
    state_close(&s);
}

/* A game that named no model goes with the default; one that did stays with it. */
TEST(adapters_in_games) {
    struct state s;
    state_open(&s);
    load(&s, "a", 201);
    char id[2][120];
    for (int i = 0; i < 2; i++) {
        ask(&s, "POST", "/v1/act/sessions",
            i ? "{\"game\":\"car_racing\",\"model\":\"a\"}" : "{\"game\":\"car_racing\"}");
        CHECK_EQ(s.r.reply->status, 201);
        snprintf(id[i], sizeof(id[i]), "%s", rig_header(&s.r, "Location"));
    }
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2; i++) {
            rig_send_png(&s.r, id[i], NULL, NULL, 8, 8);
            CHECK_EQ(s.r.reply->status, round == 2 && i ? 404 : 200);
            if (round == 2 && i) continue;
            json_t *o = rig_json(&s.r);
            CHECK_STR(rig_text(o, "model"), i || round == 1 ? "a" : BASE);
            json_decref(o);
        }
        if (round == 0) promote(&s, "a", NULL, 200);
        if (round == 1) {
            ask(&s, "POST", "/v1/adapters/rollback", NULL);
            ask(&s, "DELETE", "/v1/adapters/a", NULL);
        }
    }
    ask(&s, "POST", "/v1/act/sessions", "{\"game\":\"car_racing\",\"model\":\"a\"}");
    rig_check_problem(&s.r, 404, "model_not_found", "model", NULL);
    state_close(&s);
}

TEST(adapters_change_nothing_that_cannot_be_written) {
    struct state s;
    state_open(&s);
    load(&s, "a", 201);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit none = {1, RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_FSIZE, &none) == 0);
    promote(&s, "a", NULL, 503);
    rig_check_problem(&s.r, 503, "state_unwritable", NULL, NULL);
    load(&s, "b", 503);
    ask(&s, "DELETE", "/v1/adapters/a", NULL);
    CHECK_EQ(s.r.reply->status, 503);
    none.rlim_cur = RLIM_INFINITY;
    CHECK(setrlimit(RLIMIT_FSIZE, &none) == 0);
    answered_by(&s, NULL, BASE);
    answered_by(&s, "a", "a");
    CHECK_EQ(fake_adapters_alive(s.r.eng), 1);
    CHECK_EQ(count_lines(&s), 1);
    state_close(&s);
}

TEST(adapters_are_offered) {
    struct state s;
    state_open(&s);
    api_offer_adapter(s.r.api, "a", "k3v9");
    api_offer_adapter(s.r.api, "nothing", NULL);
    for (int i = 0; i < 500 && count_lines(&s) < 1; i++)
        usleep(10000);
    answered_by(&s, "a", "a");
    answered_by(&s, NULL, BASE);
    state_close(&s);
}

TEST(adapters_metrics) {
    struct state s;
    state_open(&s);
    load(&s, "a", 201);
    load(&s, "b", 201);
    promote(&s, "b", NULL, 409);
    promote(&s, "b", "{\"force\":true}", 200);
    promote(&s, "a", NULL, 200);
    ask(&s, "POST", "/v1/adapters/rollback", NULL);
    ask(&s, "GET", "/metrics", NULL);
    char *text = strndup((const char *)s.r.reply->body, s.r.reply->body_len);
    static const char *const lines[] = {
        "lammd_adapters{state=\"loaded\"} 2\n",
        "lammd_adapters{state=\"missing\"} 0\n",
        "lammd_adapter_slots 3\n",
        "lammd_adapter_info{name=\"a\",sha256=\"",
        ",default=\"true\"} 1\n",
        "lammd_adapter_promotions_total{outcome=\"promoted\"} 1\n",
        "lammd_adapter_promotions_total{outcome=\"forced\"} 1\n",
        "lammd_adapter_promotions_total{outcome=\"refused\"} 1\n",
        "lammd_adapter_promotions_total{outcome=\"rolled_back\"} 1\n"};
    for (unsigned i = 0; i < ARRAY_LEN(lines); i++)
        CHECK_HAS(text, lines[i]);
    free(text);
    state_close(&s);
}

/* ---- under load ---- */

struct asker {
    struct rig r; /* its calls; engine and API are everybody's */
    const char *query;
    const struct buf *png;
    atomic_int *is_over;
    int n, n_adapted;
};

static void *ask_on(void *ud) {
    struct asker *a = ud;
    while (!atomic_load(a->is_over)) {
        rig_begin(&a->r, &(struct rig_request){.path = "/v1/describe",
                                               .query = a->query,
                                               .type = "image/png",
                                               .body = a->png->p,
                                               .len = a->png->len});
        CHECK_EQ(a->r.step, API_REPLY);
        CHECK_EQ(a->r.reply->status, 200);
        json_t *o = rig_json(&a->r);
        int is_base = strcmp(rig_text(o, "model"), BASE) == 0;
        CHECK(is_base == (strncmp(rig_text(o, "text"), "by ", 3) != 0));
        json_decref(o);
        a->n++;
        a->n_adapted += !is_base;
    }
    api_call_free(a->r.call);
    a->r.call = NULL;
    return NULL;
}

/* All that an operator may do, again and again, while others ask without a pause: nobody fails. */
static void operate(struct state *s, int round) {
    char content[40];
    snprintf(content, sizeof(content), "content %d", round);
    put(s, "a", "adapter_config.json", content);
    load(s, "a", 201);
    promote(s, "a", NULL, 200);
    load(s, "b", 201);
    promote(s, "b", "{\"force\":true}", 200);
    snprintf(content, sizeof(content), "again %d", round);
    put(s, "a", "adapter_config.json", content);
    load(s, "a", 201);
    put(s, "c", "adapter_config.json", content);
    ask(s, "DELETE", "/v1/adapters/a", NULL);
    CHECK_EQ(s->r.reply->status, 200);
    promote(s, BASE, NULL, 200);
    ask(s, "DELETE", "/v1/adapters/b", NULL);
    CHECK_EQ(s->r.reply->status, 200);
}

TEST_LIMIT(adapters_change_under_load, 120) {
    static const char *const queries[] = {NULL, "model=lammd", "model=" BASE};
    struct state s;
    struct asker askers[3];
    pthread_t threads[3];
    atomic_int is_over = 0;
    struct buf png;
    state_open(&s);
    fake_slots(s.r.eng, 8); /* what is on its way holds its own a while */
    rig_png(&png, 8, 8);
    fake_answer_at_once(s.r.eng, 1);
    for (int i = 0; i < 3; i++) {
        askers[i] = (struct asker){.r = {.eng = s.r.eng, .api = s.r.api},
                                   .query = queries[i],
                                   .png = &png,
                                   .is_over = &is_over};
        CHECK_EQ(pthread_create(&threads[i], NULL, ask_on, &askers[i]), 0);
    }
    for (int round = 0; round < test_count(25, 500); round++)
        operate(&s, round);
    atomic_store(&is_over, 1);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        CHECK(askers[i].n > 10);
        CHECK((askers[i].n_adapted > 0) == (i < 2));
    }
    buf_clear(&png);
    answered_by(&s, NULL, BASE);
    CHECK_EQ(fake_adapters_alive(s.r.eng), 0);
    state_close(&s);
}
