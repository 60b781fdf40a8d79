/* catalog_start.c - what the catalogue loads without a request: at the start what was loaded
 * before, and later what is offered to it, such as the adapter of a run that has just succeeded,
 * and what other replicas have loaded. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "api/store/catalog_internal.h"
#include "kernels/base/log.h"

enum { CATALOG_WAIT_S = 120, CATALOG_LOOK_S = 1 };

/* ---- waiting for the engine ---- */

struct catalog_wait {
    pthread_mutex_t mu;
    pthread_cond_t woken;
    int is_over; /* guarded by mu */
};

/* On a step thread. */
static void wait_wake(void *ud, struct eng_adapter *adapter) {
    struct catalog_wait *w = ud;
    (void)adapter;
    pthread_mutex_lock(&w->mu);
    w->is_over = 1;
    pthread_cond_signal(&w->woken);
    pthread_mutex_unlock(&w->mu);
}

static int wait_for_it(struct catalog_wait *w) {
    struct timespec end;
    int rc = 0;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += CATALOG_WAIT_S;
    pthread_mutex_lock(&w->mu);
    while (!w->is_over && rc == 0)
        rc = pthread_cond_timedwait(&w->woken, &w->mu, &end);
    int is_over = w->is_over;
    pthread_mutex_unlock(&w->mu);
    return is_over ? 0 : E_TIMEOUT;
}

enum problem_code catalog_load_wait(struct catalog *c, const char *name, struct eng_adapter **out,
                                    struct err *e) {
    struct catalog_wait w = {.is_over = 0};
    pthread_mutex_init(&w.mu, NULL);
    pthread_cond_init(&w.woken, NULL);
    enum problem_code code = catalog_load(c, name, wait_wake, &w, out, e);
    if (!code && wait_for_it(&w)) {
        err_set(e, E_TIMEOUT, "it was not loaded in %d s", CATALOG_WAIT_S);
        eng_adapter_put(*out);
        *out = NULL;
        code = PROBLEM_DEADLINE;
    }
    pthread_cond_destroy(&w.woken);
    pthread_mutex_destroy(&w.mu);
    return code;
}

enum problem_code catalog_load_now(struct catalog *c, const char *name, const char *by,
                                   struct err *e) {
    struct eng_adapter *adapter;
    int is_new;
    enum problem_code code = catalog_load_wait(c, name, &adapter, e);
    return code ? code : catalog_enter(c, name, adapter, by, &is_new, e);
}

/* ---- at the start ---- */

/* The default first: there may be fewer slots than there were. */
static void load_all(struct catalog *c) {
    const char *first = c->depth ? c->stack[c->depth - 1].name : "";
    char names[CATALOG_ENTRIES_MAX][CATALOG_NAME_BYTES];
    int n = c->n;
    for (int i = 0; i < n; i++)
        memcpy(names[i], c->entries[i].name, sizeof(names[i]));
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], first) == 0) catalog_load_again(c, names[i]);
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], first) != 0) catalog_load_again(c, names[i]);
}

static void catalog_start_say_default(struct catalog *c) {
    const struct catalog_level *top = catalog_top(c);
    if (c->served)
        log_event(LOG_LEVEL_INFO, "default", "name=%s digest=%.12s", c->served_name,
                  eng_adapter_info(c->served)->digest);
    else if (top)
        log_event(
            LOG_LEVEL_ERROR, "default_lost",
            "%s was promoted, but what was promoted can't be loaded, so the base answers; put "
            "its folder back and load it, or roll back",
            top->name);
}

int catalog_begin(struct catalog *c, struct eng *eng, struct err *e) {
    c->eng = eng;
    if (!c->folder) return 0;
    const struct eng_info *info = eng_info(eng);
    int rc = c->ledger ? ledger_claim(c->ledger, info->name, info->digest, e) : 0;
    if (rc) return err_in(e, "the folder of --shared-adapters");
    load_all(c);
    catalog_start_say_default(c);
    catalog_start_offers(c);
    return 0;
}

/* ---- offers ---- */

/* With mu: until something is offered, or it is time to look at the ledger. */
static void wait_for_offers(struct catalog *c) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += CATALOG_LOOK_S;
    if (c->ledger)
        (void)pthread_cond_timedwait(&c->offered, &c->mu, &end);
    else
        pthread_cond_wait(&c->offered, &c->mu);
}

/* 1: *out is the next one; its name is "": there is none. 0: it is over. */
static int next_wish(struct catalog *c, int is_busy, struct catalog_wish *out) {
    *out = (struct catalog_wish){.name = ""};
    pthread_mutex_lock(&c->mu);
    if (!c->n_wishes && !c->is_closing && !is_busy) wait_for_offers(c);
    int has = c->n_wishes && !c->is_closing, is_over = c->is_closing;
    if (has) {
        *out = c->wishes[0];
        memmove(c->wishes, c->wishes + 1, (size_t)--c->n_wishes * sizeof(c->wishes[0]));
    }
    pthread_mutex_unlock(&c->mu);
    return !is_over;
}

static void *take_offers(void *ud) {
    struct catalog *c = ud;
    struct catalog_wish wish;
    int is_busy = 0;
    while (next_wish(c, is_busy, &wish)) {
        struct err e = {0};
        is_busy = c->ledger && catalog_follow(c);
        if (!wish.name[0]) continue;
        enum problem_code code = catalog_load_now(c, wish.name, wish.by, &e);
        if (code)
            log_event(LOG_LEVEL_WARN, "adapter_not_loaded", "name=%s why=\"%s\"", wish.name,
                      e.text);
    }
    return NULL;
}

void catalog_start_offers(struct catalog *c) {
    c->has_thread = pthread_create(&c->thread, NULL, take_offers, c) == 0;
    if (!c->has_thread)
        log_event(LOG_LEVEL_WARN, "adapter",
                  "no thread: adapters of runs are not loaded by themselves, and what other "
                  "replicas do isn't seen");
}

void catalog_stop_offers(struct catalog *c) {
    pthread_mutex_lock(&c->mu);
    c->is_closing = 1;
    pthread_cond_signal(&c->offered);
    pthread_mutex_unlock(&c->mu);
    if (c->has_thread) pthread_join(c->thread, NULL);
    c->has_thread = 0;
}

void catalog_offer(struct catalog *c, const char *name, const char *by) {
    pthread_mutex_lock(&c->mu);
    int is_taken = c->n_wishes < CATALOG_OFFERS_MAX && !c->is_closing;
    if (is_taken) {
        struct catalog_wish *w = &c->wishes[c->n_wishes++];
        *w = (struct catalog_wish){.by = ""};
        snprintf(w->name, sizeof(w->name), "%s", name);
        snprintf(w->by, sizeof(w->by), "%s", by ? by : "");
    }
    pthread_cond_signal(&c->offered);
    pthread_mutex_unlock(&c->mu);
    if (!is_taken)
        log_event(LOG_LEVEL_WARN, "adapter_not_loaded", "name=%s why=\"too many at once\"", name);
}
