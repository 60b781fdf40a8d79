/* /v1/adapters of replicas that share a folder: two APIs over two fake engines, in one process.
 * What one does the other follows; who can't says so and answers with what it had. */
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "api/state.h"
#include "api/store/catalog_internal.h"
#include "kernels/base/log.h"
#include "tests/unit/api/rig.h"

#define BASE "fake \"mini\""
#define GATE                                                                           \
    "{\"version\":1,\"decision\":\"better\",\"items\":64,\"tasks\":[],\"battery\":[]," \
    "\"why\":\"it is better\"}"

enum { SOON_MS = 10000 };

struct place {
    char dir[64], shared[80], home[80];
};

static void put(const char *folder, const char *name, const char *content) {
    char path[400];
    const char *const files[][2] = {{"adapter_config.json", content}, {"gate.json", GATE}};
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    CHECK(mkdir(path, 0700) == 0 || errno == EEXIST);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s/%s", folder, name, files[i][0]);
        FILE *f = fopen(path, "w");
        CHECK(f && fputs(files[i][1], f) >= 0 && fclose(f) == 0);
    }
}

static void place_make(struct place *p) {
    log_set_level((enum log_level)0); /* what is done here needs no log */
    snprintf(p->dir, sizeof(p->dir), "/tmp/lammd-shared-XXXXXX");
    CHECK(mkdtemp(p->dir));
    snprintf(p->shared, sizeof(p->shared), "%s/shared", p->dir);
    snprintf(p->home, sizeof(p->home), "%s/home", p->dir);
    CHECK(mkdir(p->shared, 0700) == 0 && mkdir(p->home, 0700) == 0);
    put(p->shared, "a", "content of a");
    put(p->shared, "b", "content of b");
}

static int forget(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static void place_drop(struct place *p) {
    CHECK(nftw(p->dir, forget, 8, FTW_DEPTH | FTW_PHYS) == 0);
}

static void replica_start(struct rig *r, const struct place *p, int slots) {
    struct err e = {0};
    rig_open(r, 8);
    api_free(r->api);
    fake_slots(r->eng, slots);
    if (api_new(&(struct api_options){.shared_adapters = p->shared, .adapters = p->home}, r->eng,
                &r->api, &e))
        test_failed(__FILE__, __LINE__, "%s", e.text);
}

static void ask(struct rig *r, const char *method, const char *path, const char *json, int status) {
    rig_begin(r, &(struct rig_request){.method = method,
                                       .path = path,
                                       .type = json ? "application/json" : NULL,
                                       .body = json,
                                       .len = json ? strlen(json) : 0});
    CHECK_EQ(r->step, API_REPLY);
    CHECK_EQ(r->reply->status, status);
}

static void load(struct rig *r, const char *name, int status) {
    char json[200];
    snprintf(json, sizeof(json), "{\"name\":\"%s\"}", name);
    ask(r, "POST", "/v1/adapters", json, status);
}

static void promote(struct rig *r, const char *name, int status) {
    char path[200];
    snprintf(path, sizeof(path), "/v1/adapters/%s/promote", name);
    ask(r, "POST", path, NULL, status);
}

/* Who answers when no model is named, as the answer says it; "": it says what it isn't. */
static void who(struct rig *r, char name[96]) {
    rig_send_png(r, "/v1/describe", NULL, "application/json", 8, 8);
    CHECK_EQ(r->reply->status, 200);
    json_t *o = rig_json(r);
    const char *said = rig_text(o, "model");
    int is_base = strcmp(said, BASE) == 0;
    CHECK((fake_asked(r->eng)->adapter == NULL) == is_base);
    snprintf(name, 96, "%s", said);
    json_decref(o);
}

static void pause_ms(int ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

/* A look at what others did, which comes once a second otherwise. */
static void look(struct rig *r) {
    (void)catalog_follow(r->api->catalog);
    pause_ms(5);
}

/* It comes to that. */
static void soon_answers(struct rig *r, const char *name) {
    char said[96] = "";
    for (int ms = 0; ms < SOON_MS && strcmp(said, name) != 0; ms += 20) {
        look(r);
        who(r, said);
    }
    CHECK_STR(said, name);
}

/* {"default", "wanted", "behind" ...} of GET /v1/adapters; json_decref. */
static json_t *listed(struct rig *r) {
    ask(r, "GET", "/v1/adapters", NULL, 200);
    return rig_json(r);
}

static int lines(struct rig *r) {
    json_t *o = listed(r);
    int n = (int)rig_number(o, "history");
    json_decref(o);
    return n;
}

static void soon_has_lines(struct rig *r, int n) {
    for (int ms = 0; ms < SOON_MS && lines(r) < n; ms += 20)
        look(r);
    CHECK_EQ(lines(r), n);
}

/* So many are loaded. */
static void soon_loaded(struct rig *r, int n) {
    int loaded = -1;
    for (int ms = 0; ms < SOON_MS && loaded != n; ms += 20) {
        struct catalog_counts now;
        look(r);
        catalog_counts(r->api->catalog, &now);
        loaded = now.loaded;
    }
    CHECK_EQ(loaded, n);
}

/* Why `name` isn't loaded there; soon there is a reason with that piece. */
static void soon_says(struct rig *r, const char *name, const char *piece) {
    char path[200], why[300] = "";
    snprintf(path, sizeof(path), "/v1/adapters/%s", name);
    for (int ms = 0; ms < SOON_MS && !strstr(why, piece); ms += 20) {
        look(r);
        ask(r, "GET", path, NULL, 200);
        json_t *o = rig_json(r);
        const char *text = rig_text(o, "why");
        snprintf(why, sizeof(why), "%s", text ? text : "");
        json_decref(o);
    }
    CHECK_HAS(why, piece);
}

static void is_behind(struct rig *r, const char *served, const char *wanted) {
    json_t *o = listed(r);
    CHECK_STR(rig_text(o, "default"), served);
    CHECK_STR(rig_text(o, "wanted"), wanted);
    CHECK_EQ(json_is_true(json_object_get(o, "behind")), strcmp(served, wanted) != 0);
    CHECK(json_is_true(json_object_get(o, "shared")));
    json_decref(o);
    ask(r, "GET", "/readyz", NULL, 200);
    o = rig_json(r);
    CHECK_EQ(json_is_true(json_object_get(o, "behind")), strcmp(served, wanted) != 0);
    json_decref(o);
    ask(r, "GET", "/metrics", NULL, 200);
    char *text = strndup((const char *)r->reply->body, r->reply->body_len);
    CHECK_HAS(text, strcmp(served, wanted) != 0 ? "\nlammd_default_behind 1\n"
                                                : "\nlammd_default_behind 0\n");
    free(text);
}

TEST(shared_adapters_reach_all) {
    struct place p;
    struct rig one, two;
    place_make(&p);
    replica_start(&one, &p, 3);
    replica_start(&two, &p, 3);
    load(&one, "a", 201);
    load(&one, "b", 201);
    promote(&one, "a", 200);
    soon_answers(&two, "a");
    is_behind(&two, "a", "a");
    soon_has_lines(&two, 3);
    soon_loaded(&two, 2);
    load(&two, "b", 200); /* it is there already */
    CHECK_EQ(lines(&two), 3);
    promote(&two, "b", 200);
    soon_answers(&one, "b");
    ask(&one, "POST", "/v1/adapters/rollback", NULL, 200);
    soon_answers(&two, "a");
    ask(&two, "DELETE", "/v1/adapters/a", NULL, 409);
    ask(&two, "DELETE", "/v1/adapters/b", NULL, 200);
    soon_has_lines(&one, 6);
    soon_answers(&one, "a"); /* of b there is no job left, either */
    soon_loaded(&one, 1);
    CHECK_EQ(fake_adapters_alive(one.eng), 1);
    ask(&two, "POST", "/v1/adapters/rollback", NULL, 200);
    soon_answers(&one, BASE);
    /* A start is where the history is. */
    rig_close(&two);
    promote(&one, "a", 200);
    replica_start(&two, &p, 3);
    is_behind(&two, "a", "a");
    soon_answers(&two, "a");
    rig_close(&one);
    rig_close(&two);
    place_drop(&p);
}

TEST(shared_adapters_one_that_has_no_room_keeps_what_it_serves) {
    struct place p;
    struct rig one, two;
    place_make(&p);
    replica_start(&one, &p, 3);
    replica_start(&two, &p, 1);
    load(&one, "a", 201);
    promote(&one, "a", 200);
    soon_answers(&two, "a");
    load(&one, "b", 201);
    promote(&one, "b", 200);
    soon_says(&two, "b", "all 1 slots are taken");
    is_behind(&two, "a", "b");
    soon_answers(&two, "a");
    /* Unloaded elsewhere, it answers here as long as it is the default. */
    ask(&one, "DELETE", "/v1/adapters/a", NULL, 200);
    soon_has_lines(&two, 5);
    is_behind(&two, "a", "b");
    soon_answers(&two, "a");
    /* What others serve isn't unloaded or changed from here. */
    ask(&two, "DELETE", "/v1/adapters/b", NULL, 409);
    rig_check_problem(&two, 409, "adapter_is_default", NULL, "b is the default");
    promote(&two, "b", 409);
    rig_check_problem(&two, 409, "adapter_not_loaded", NULL, NULL);
    ask(&one, "POST", "/v1/adapters/rollback", NULL, 200); /* loads a again */
    soon_has_lines(&two, 7);
    is_behind(&two, "a", "a");
    rig_close(&one);
    rig_close(&two);
    place_drop(&p);
}

TEST(shared_adapters_are_the_same_content_everywhere) {
    struct place p;
    struct rig one, two;
    place_make(&p);
    replica_start(&one, &p, 3);
    load(&one, "a", 201);
    promote(&one, "a", 200);
    put(p.shared, "a", "other content");
    replica_start(&two, &p, 3);
    soon_says(&two, "a", "its folder holds something else");
    is_behind(&two, BASE, "a");
    soon_answers(&two, BASE);
    load(&two, "a", 409); /* nobody promoted that */
    rig_check_problem(&two, 409, "adapter_is_default", NULL, "its folder holds something else");
    put(p.shared, "a", "content of a"); /* and it is tried again */
    soon_answers(&two, "a");
    /* Loaded again under the same name, it is so at all. */
    load(&one, "b", 201);
    soon_has_lines(&two, 3);
    put(p.shared, "b", "a new b");
    load(&one, "b", 201);
    soon_has_lines(&two, 4);
    promote(&one, "b", 200);
    soon_answers(&two, "b");
    rig_close(&one);
    rig_close(&two);
    place_drop(&p);
}

TEST(shared_adapters_of_own_runs_are_copied) {
    struct place p;
    struct rig one, two;
    char path[200];
    place_make(&p);
    put(p.home, "mine", "content of mine");
    replica_start(&one, &p, 3);
    replica_start(&two, &p, 3);
    api_offer_adapter(one.api, "mine", "k3v9");
    soon_has_lines(&two, 1);
    snprintf(path, sizeof(path), "%s/mine/gate.json", p.shared);
    CHECK(access(path, R_OK) == 0);
    promote(&one, "mine", 200);
    soon_answers(&two, "mine");
    /* What can't be copied isn't half there. */
    put(p.home, "odd", "content");
    snprintf(path, sizeof(path), "%s/odd/folder", p.home);
    CHECK_EQ(mkdir(path, 0700), 0);
    load(&one, "odd", 422);
    rig_check_problem(&one, 422, "adapter_does_not_fit", NULL, "folder is not a regular file");
    snprintf(path, sizeof(path), "%s/odd", p.shared);
    CHECK(access(path, F_OK) != 0);
    rig_close(&one);
    rig_close(&two);
    place_drop(&p);
}

/* A folder is that of one model. */
TEST(shared_adapters_refuse_another_model) {
    struct place p;
    struct rig one;
    struct err e = {0};
    char path[200];
    place_make(&p);
    replica_start(&one, &p, 3);
    rig_close(&one);
    snprintf(path, sizeof(path), "%s/history/model.json", p.shared);
    FILE *f = fopen(path, "w");
    CHECK(f && fprintf(f, "{\"model\":\"other\",\"sha256\":\"%064d\"}\n", 7) > 0 && !fclose(f));
    rig_open(&one, 8);
    struct api *api = NULL;
    CHECK_EQ(api_new(&(struct api_options){.shared_adapters = p.shared}, one.eng, &api, &e),
             E_INVALID);
    CHECK_HAS(e.text, "the folder of --shared-adapters: it is the folder of other");
    CHECK(!api);
    rig_close(&one);
    place_drop(&p);
}

/* The folder goes away, as a network does: what is served stays, and nothing changes. */
TEST(shared_adapters_outlast_their_folder) {
    struct place p;
    struct rig one;
    char away[200];
    place_make(&p);
    replica_start(&one, &p, 3);
    load(&one, "a", 201);
    load(&one, "b", 201);
    promote(&one, "a", 200);
    snprintf(away, sizeof(away), "%s/away", p.dir);
    CHECK_EQ(rename(p.shared, away), 0);
    promote(&one, "b", 503);
    rig_check_problem(&one, 503, "state_unwritable", NULL, NULL);
    ask(&one, "POST", "/v1/adapters/rollback", NULL, 503);
    soon_answers(&one, "a");
    CHECK_EQ(rename(away, p.shared), 0);
    promote(&one, "b", 200);
    soon_answers(&one, "b");
    rig_close(&one);
    place_drop(&p);
}

struct race {
    struct rig rig;
    pthread_t thread;
    const char *name;
    int status, done;
};

static void *race_go(void *ud) {
    struct race *q = ud;
    char path[100];
    snprintf(path, sizeof(path), "/v1/adapters/%s/promote", q->name);
    rig_begin(&q->rig, &(struct rig_request){.method = "POST", .path = path});
    q->status = q->rig.reply->status;
    return NULL;
}

/* Two promotions at once: both are in the history, one after the other, or one was told to look
 * again; and both replicas come to the same end. */
TEST(shared_adapters_two_promotions_at_once) {
    struct place p;
    static struct race q[2];
    place_make(&p);
    for (int i = 0; i < 2; i++) {
        replica_start(&q[i].rig, &p, 3);
        q[i].name = i ? "b" : "a";
    }
    load(&q[0].rig, "a", 201);
    load(&q[0].rig, "b", 201);
    soon_loaded(&q[1].rig, 2);
    int n = 2, moved = 0;
    for (int turn = 0; turn < 10; turn++) {
        for (int i = 0; i < 2; i++)
            CHECK_EQ(pthread_create(&q[i].thread, NULL, race_go, &q[i]), 0);
        for (int i = 0; i < 2; i++)
            pthread_join(q[i].thread, NULL);
        for (int i = 0; i < 2; i++) {
            CHECK(q[i].status == 200 || q[i].status == 409);
            if (q[i].status == 409) rig_check_problem(&q[i].rig, 409, "default_moved", NULL, NULL);
            moved += q[i].status == 409;
        }
        CHECK(q[0].status == 200 || q[1].status == 200);
    }
    char said[96];
    ask(&q[0].rig, "GET", "/v1/adapters/history", NULL, 200);
    json_t *o = rig_json(&q[0].rig);
    n = (int)json_array_size(json_object_get(o, "data"));
    json_decref(o);
    soon_has_lines(&q[0].rig, lines(&q[1].rig) > n ? lines(&q[1].rig) : n);
    soon_has_lines(&q[1].rig, lines(&q[0].rig));
    who(&q[0].rig, said);
    soon_answers(&q[1].rig, said);
    printf("of 20 promotions %d were told that another was first\n", moved);
    rig_close(&q[0].rig);
    rig_close(&q[1].rig);
    place_drop(&p);
}
