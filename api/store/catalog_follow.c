/* catalog_follow.c - a replica takes over what others did: it reads the ledger's new lines into the
 * table, and then loads, one at a time, what they loaded.
 *
 * What answers by default changes when the adapter that should is loaded, with the content that was
 * promoted, and not before. What can't be loaded is tried again: after 2 s, 4 s and so on up to a
 * minute, and at once when somebody unloads something. */
#include <stdio.h>
#include <string.h>

#include "api/store/catalog_internal.h"
#include "kernels/base/clock.h"
#include "kernels/base/log.h"

static const uint64_t try_again_ns = 2 * CLOCK_S, try_again_most_ns = 60 * CLOCK_S;

/* ---- lines of others ---- */

/* With mu. */
static void follow_load(struct catalog *c, const struct history_line *line) {
    struct catalog_entry *it = catalog_find_or_add(c, line->name);
    memcpy(it->digest, line->digest, sizeof(it->digest));
    it->due_ns = it->tries = 0;
    snprintf(it->why, sizeof(it->why), "%s",
             catalog_is_current(it) ? "" : "it is loaded elsewhere, and on its way here");
}

/* With mu. Returns the reference of what is unloaded. */
static struct eng_adapter *follow_unload(struct catalog *c, const char *name) {
    struct catalog_entry *it = catalog_find(c, name);
    struct eng_adapter *adapter = it ? it->adapter : NULL;
    if (it) catalog_drop(c, it);
    for (int i = 0; i < c->n; i++)
        c->entries[i].due_ns = 0; /* there may be room now */
    return adapter;
}

/* With acts. */
static void follow_line(void *ud, const struct history_line *line) {
    struct catalog *c = ud;
    struct eng_adapter *dropped = NULL, *old;
    pthread_mutex_lock(&c->mu);
    catalog_apply(c, line);
    if (line->event == HISTORY_LOAD) follow_load(c, line);
    if (line->event == HISTORY_UNLOAD) dropped = follow_unload(c, line->name);
    old = catalog_settle(c);
    int is_off = catalog_is_off(c);
    pthread_mutex_unlock(&c->mu);
    eng_adapter_put(dropped);
    eng_adapter_put(old);
    log_event(LOG_LEVEL_INFO, "adapter", "act=%s name=%s digest=%.12s key=%s forced=%d from=shared",
              history_words[line->event], line->name, line->digest, line->key, line->is_forced);
    int is_default = line->event == HISTORY_PROMOTE || line->event == HISTORY_ROLLBACK;
    if (is_default && is_off)
        log_event(LOG_LEVEL_WARN, "default_behind",
                  "%s should be the default and isn't loaded here; what was the default answers "
                  "until it is",
                  line->name);
}

int catalog_catch_up(struct catalog *c) {
    struct err e = {0};
    int rc = c->ledger ? ledger_follow(c->ledger, follow_line, c, &e) : 0;
    if (rc && !c->is_blind)
        log_event(LOG_LEVEL_ERROR, "adapter_history",
                  "can't be read, so what others change isn't seen: %s", e.text);
    if (!rc && c->is_blind) log_event(LOG_LEVEL_WARN, "adapter_history", "can be read again");
    pthread_mutex_lock(&c->mu);
    if (!rc) c->looked_ns = clock_ns();
    c->is_blind = rc != 0;
    pthread_mutex_unlock(&c->mu);
    return rc;
}

/* ---- loading ---- */

/* With mu: is this what `it` means? Without a ledger that is whatever its folder has. */
static int is_wanted(const struct catalog *c, const struct catalog_entry *it,
                     const struct eng_adapter *adapter) {
    if (!adapter) return 0;
    return !c->ledger || strcmp(eng_adapter_info(adapter)->digest, it->digest) == 0;
}

/* With mu: why it isn't loaded, and when to try again. Returns whether that is news. */
static int put_off(struct catalog_entry *it, const char *why) {
    uint64_t wait = try_again_ns << (it->tries < 5 ? it->tries : 5);
    int is_said = strncmp(it->why, why, sizeof(it->why) - 1) == 0;
    it->tries++;
    it->due_ns = clock_ns() + (wait < try_again_most_ns ? wait : try_again_most_ns);
    snprintf(it->why, sizeof(it->why), "%s", why);
    return !is_said;
}

/* With acts: what was loaded for `name` (NULL: nothing, for `why`) is entered, if it is still
 * wanted. Takes the reference. */
static void follow_enter(struct catalog *c, const char *name, struct eng_adapter *adapter,
                         const char *why) {
    struct eng_adapter *rest = adapter, *was = NULL;
    struct catalog_entry now = {.adapter = NULL};
    int is_news = 0, is_good = 0;
    if (adapter) why = "its folder holds something else than what was loaded elsewhere";
    pthread_mutex_lock(&c->mu);
    struct catalog_entry *it = catalog_find(c, name); /* NULL: unloaded meanwhile */
    if (it && is_wanted(c, it, adapter)) {
        rest = it->adapter;
        it->adapter = adapter;
        it->why[0] = '\0';
        it->tries = 0;
        was = catalog_settle(c);
        is_news = is_good = 1;
    } else if (it) {
        is_news = put_off(it, why);
    }
    if (it) now = *it;
    int is_default = is_good && now.adapter == c->served;
    pthread_mutex_unlock(&c->mu);
    if (is_news && is_good)
        log_event(LOG_LEVEL_INFO, "adapter", "act=load name=%s digest=%.12s default=%d", name,
                  eng_adapter_info(now.adapter)->digest, is_default);
    else if (is_news)
        log_event(LOG_LEVEL_ERROR, "adapter_not_loaded", "name=%s why=\"%s\"", name, now.why);
    eng_adapter_put(was);
    eng_adapter_put(rest);
}

void catalog_load_again(struct catalog *c, const char *name) {
    struct eng_adapter *adapter = NULL;
    struct err e = {0};
    (void)catalog_load_wait(c, name, &adapter, &e);
    if (adapter && eng_adapter_state(adapter) != ENG_DONE) {
        err_set(&e, E_INTERNAL, "%s", eng_adapter_error(adapter)->text);
        eng_adapter_put(adapter);
        adapter = NULL;
    }
    if (!adapter && !e.text[0]) err_set(&e, E_NOT_FOUND, "its folder is not there");
    pthread_mutex_lock(&c->acts);
    follow_enter(c, name, adapter, e.text);
    pthread_mutex_unlock(&c->acts);
}

/* The next one that is to be loaded, the default before others. 0: there is none. */
static int follow_next(struct catalog *c, char name[CATALOG_NAME_BYTES]) {
    uint64_t now = clock_ns();
    pthread_mutex_lock(&c->mu);
    const struct catalog_level *top = catalog_top(c);
    const struct catalog_entry *next = NULL;
    for (int i = 0; i < c->n; i++) {
        const struct catalog_entry *it = &c->entries[i];
        if (catalog_is_current(it) || it->due_ns > now) continue;
        if (!next || (top && strcmp(it->name, top->name) == 0)) next = it;
    }
    if (next) memcpy(name, next->name, CATALOG_NAME_BYTES);
    pthread_mutex_unlock(&c->mu);
    return next != NULL;
}

int catalog_follow(struct catalog *c) {
    char name[CATALOG_NAME_BYTES];
    pthread_mutex_lock(&c->acts);
    (void)catalog_catch_up(c);
    pthread_mutex_unlock(&c->acts);
    if (!follow_next(c, name)) return 0;
    catalog_load_again(c, name);
    return 1;
}
