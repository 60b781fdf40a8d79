/* catalog_acts.c - the acts of catalog.h. Each holds `acts` from its first look to its end, so two
 * of them come one after the other; the line of the history comes before the change. Where replicas
 * share the history an act catches up first. If another replica's line comes in between all the
 * same, the act is thought over with it; if that changed the default, too, the caller is told.
 *
 * Only filling a slot takes its time outside of the lock: between catalog_load and catalog_enter.
 */
#include <stdio.h>
#include <string.h>

#include "api/store/catalog_internal.h"
#include "kernels/base/log.h"

enum { TURNS_MAX = 8 };

/* ---- what all of them need ---- */

void catalog_hide_path(const char *path, const char *name, char *text, size_t cap) {
    char whole[4096];
    snprintf(whole, sizeof(whole), "%s", text);
    const char *at = strstr(whole, path);
    if (!at) return;
    snprintf(text, cap, "%.*s%s%s", (int)(at - whole), whole, name, at + strlen(path));
}

static enum problem_code refuse_load(int rc, const struct eng_info *info, struct err *e) {
    switch (rc) {
    case E_NOT_FOUND: return PROBLEM_ADAPTER_NOT_FOUND;
    case E_BUSY:
        *e = (struct err){0};
        err_set(e, rc,
                info->adapters ? "all %d slots are taken; unload an adapter first"
                               : "there are %d slots; start lammd serve with --adapters N",
                info->adapters);
        return PROBLEM_NO_SLOT;
    case E_NOMEM: return PROBLEM_NO_MEMORY;
    case E_DEVICE: return PROBLEM_DEVICE_LOST;
    case E_IO: *e = (struct err){0}; return PROBLEM_INTERNAL_ERROR;
    default: return PROBLEM_ADAPTER_DOES_NOT_FIT;
    }
}

/* With acts: write the line, then let it count. */
static enum problem_code record(struct catalog *c, enum history_event event, const char *name,
                                const char *digest, const char *by, int is_forced) {
    struct history_line line = {.event = event, .is_forced = is_forced};
    struct err e = {0};
    snprintf(line.name, sizeof(line.name), "%s", name);
    snprintf(line.digest, sizeof(line.digest), "%s", digest);
    snprintf(line.key, sizeof(line.key), "%s", by);
    int rc = c->ledger ? ledger_add(c->ledger, &line, &e) : history_add(c->history, &line, &e);
    if (rc == E_BUSY) return PROBLEM_DEFAULT_MOVED; /* or only something else: see acts_take_turn */
    if (rc) {
        log_event(LOG_LEVEL_ERROR, "adapter_history", "can't be written, so nothing changes: %s",
                  e.text);
        return PROBLEM_STATE_UNWRITABLE;
    }
    log_event(LOG_LEVEL_INFO, "adapter", "act=%s name=%s digest=%.12s key=%s forced=%d",
              history_words[event], name, digest, by, is_forced);
    pthread_mutex_lock(&c->mu);
    catalog_apply(c, &line);
    struct eng_adapter *old = catalog_settle(c);
    pthread_mutex_unlock(&c->mu);
    eng_adapter_put(old);
    return PROBLEM_NONE;
}

/* One try of an act, with acts; PROBLEM_DEFAULT_MOVED: a line of another replica came first. */
struct turn {
    struct catalog *c;
    const char *name, *by;
    struct eng_adapter *adapter; /* given, once it is taken */
    int is_forced;
    struct verdict *gate;
    int *is_new;
    struct err *e;
};

/* The act, behind all that others did. An act that changes the default is not tried again when
 * another one changed it at the same moment: whoever asked did not know of that. */
static enum problem_code acts_take_turn(struct turn *t, enum problem_code (*act)(struct turn *t),
                                        int is_default) {
    struct catalog *c = t->c;
    enum problem_code code = PROBLEM_NONE;
    if (!c->folder) return PROBLEM_NO_STATE;
    pthread_mutex_lock(&c->acts);
    for (int i = 0; i < TURNS_MAX; i++) {
        uint64_t before = c->n_defaults;
        if (catalog_catch_up(c)) {
            code = PROBLEM_STATE_UNWRITABLE;
            break;
        }
        if (i > 0 && is_default && c->n_defaults != before) break;
        code = act(t);
        if (code != PROBLEM_DEFAULT_MOVED) break;
    }
    pthread_mutex_unlock(&c->acts);
    return code;
}

/* A copy of the entry: with acts nobody changes it. 0: there is none. */
static int has_entry(struct catalog *c, const char *name, struct catalog_entry *out,
                     int *is_default) {
    pthread_mutex_lock(&c->mu);
    struct catalog_entry *it = catalog_find(c, name);
    if (it) *out = *it;
    const struct catalog_level *top = catalog_top(c);
    int is_top = c->ledger && top && strcmp(name, top->name) == 0; /* others serve it */
    *is_default = is_top || (it && it->adapter && it->adapter == c->served);
    pthread_mutex_unlock(&c->mu);
    return it != NULL;
}

/* And, where the history is shared, what the others have by that name. */
static int is_loaded(struct catalog *c, const char *name, struct catalog_entry *out,
                     int *is_default) {
    return has_entry(c, name, out, is_default) && out->adapter &&
           (!c->ledger || catalog_is_current(out));
}

/* Why an act about `name` can't be. */
static enum problem_code no_such(struct catalog *c, const char *name) {
    struct catalog_row row;
    int rc = catalog_row(c, name, &row);
    catalog_put(&row.model);
    return rc ? PROBLEM_ADAPTER_NOT_FOUND : PROBLEM_ADAPTER_NOT_LOADED;
}

/* ---- load ---- */

enum problem_code catalog_load(struct catalog *c, const char *name,
                               void (*wake)(void *ud, struct eng_adapter *adapter), void *ud,
                               struct eng_adapter **out, struct err *e) {
    char path[4096];
    struct catalog_row row;
    *out = NULL;
    if (!c->folder) return PROBLEM_NO_STATE;
    int rc = catalog_row(c, name, &row);
    catalog_put(&row.model);
    if (rc || catalog_path(c, name, path)) return PROBLEM_ADAPTER_NOT_FOUND;
    if (c->ledger && catalog_bring(c, name, e)) {
        log_event(LOG_LEVEL_WARN, "adapter_refused", "name=%s why=\"%s\"", name, e->text);
        return refuse_load(e->code, eng_info(c->eng), e);
    }
    const struct eng_info *info = eng_info(c->eng);
    rc = info->adapters ? eng_adapter_load(c->eng, path, wake, ud, out, e) : E_BUSY;
    if (rc == 0) return PROBLEM_NONE;
    catalog_hide_path(path, name, e->text, sizeof(e->text));
    log_event(LOG_LEVEL_WARN, "adapter_refused", "name=%s why=\"%s\"", name, e->text);
    return refuse_load(rc, info, e);
}

/* With acts: `name` means `adapter` now. */
static void put_in(struct catalog *c, const char *name, struct eng_adapter *adapter) {
    pthread_mutex_lock(&c->mu);
    struct catalog_entry *it = catalog_find_or_add(c, name);
    struct eng_adapter *old = it->adapter;
    it->adapter = adapter;
    it->why[0] = '\0';
    memcpy(it->digest, eng_adapter_info(adapter)->digest, sizeof(it->digest));
    struct eng_adapter *was = catalog_settle(c);
    pthread_mutex_unlock(&c->mu);
    eng_adapter_put(was);
    eng_adapter_put(old);
}

static enum problem_code take_in(struct turn *t) {
    struct catalog *c = t->c;
    const char *digest = eng_adapter_info(t->adapter)->digest;
    struct catalog_entry it = {.adapter = NULL};
    int is_default, has = has_entry(c, t->name, &it, &is_default);
    int is_known = has && c->ledger && strcmp(it.digest, digest) == 0; /* loaded elsewhere */
    *t->is_new = !has || !it.adapter || strcmp(eng_adapter_info(it.adapter)->digest, digest) != 0;
    if (!*t->is_new) return PROBLEM_NONE;
    if (is_default && !is_known) {
        err_set(t->e, E_BUSY,
                "%s is the default, and its folder holds something else by now; give "
                "that another name, or promote another adapter first",
                t->name);
        return PROBLEM_ADAPTER_IS_DEFAULT;
    }
    enum problem_code code =
        is_known ? PROBLEM_NONE : record(c, HISTORY_LOAD, t->name, digest, t->by, 0);
    if (code) return code;
    put_in(c, t->name, t->adapter);
    t->adapter = NULL;
    return PROBLEM_NONE;
}

enum problem_code catalog_enter(struct catalog *c, const char *name, struct eng_adapter *adapter,
                                const char *by, int *is_new, struct err *e) {
    *is_new = 0;
    if (eng_adapter_state(adapter) == ENG_DONE) {
        struct turn t = {
            .c = c, .name = name, .by = by, .adapter = adapter, .is_new = is_new, .e = e};
        enum problem_code code = acts_take_turn(&t, take_in, 0);
        eng_adapter_put(t.adapter);
        return code;
    }
    const struct err *why = eng_adapter_error(adapter);
    int rc = why->code ? why->code : E_INTERNAL;
    char path[4096];
    err_set(e, rc, "%s", why->text);
    if (!catalog_path(c, name, path)) catalog_hide_path(path, name, e->text, sizeof(e->text));
    log_event(LOG_LEVEL_WARN, "adapter_refused", "name=%s why=\"%s\"", name, e->text);
    eng_adapter_put(adapter);
    return refuse_load(rc, eng_info(c->eng), e);
}

/* ---- unload ---- */

/* Also one that the start could not load: then nobody tries again. */
static enum problem_code take_out(struct turn *t) {
    struct catalog *c = t->c;
    struct catalog_entry it;
    int is_default;
    if (!has_entry(c, t->name, &it, &is_default)) return no_such(c, t->name);
    if (is_default) {
        err_set(t->e, E_BUSY, "%s is the default; promote another, or roll back, then unload it",
                t->name);
        return PROBLEM_ADAPTER_IS_DEFAULT;
    }
    const char *digest = it.adapter ? eng_adapter_info(it.adapter)->digest : "";
    enum problem_code code = record(c, HISTORY_UNLOAD, t->name, digest, t->by, 0);
    if (code) return code;
    pthread_mutex_lock(&c->mu);
    catalog_drop(c, catalog_find(c, t->name));
    pthread_mutex_unlock(&c->mu);
    eng_adapter_put(it.adapter);
    return PROBLEM_NONE;
}

enum problem_code catalog_unload(struct catalog *c, const char *name, const char *by,
                                 struct err *e) {
    struct turn t = {.c = c, .name = name, .by = by, .e = e};
    return acts_take_turn(&t, take_out, 0);
}

/* ---- promote ---- */

/* PROBLEM_NONE: the gate lets it through. */
static enum problem_code ask_gate(struct catalog *c, const char *name, const char *digest,
                                  struct verdict *gate, struct err *e) {
    struct err why = {0};
    int rc = catalog_verdict(c, name, gate, &why);
    if (rc && rc != E_NOT_FOUND) {
        err_set(e, E_FORMAT, "gate.json of %s can't be read: %s; force promotes it all the same",
                name, why.text);
        return PROBLEM_GATE_NOT_DECIDED;
    }
    if (rc) {
        err_set(e, E_NOT_FOUND,
                "%s has no gate.json, so nobody compared it with what answers now; force promotes "
                "it all the same",
                name);
        return PROBLEM_GATE_NOT_DECIDED;
    }
    if (gate->adapter[0] && strcmp(gate->adapter, digest) != 0) {
        err_set(e, E_INVALID,
                "gate.json of %s is about other weights than those that are loaded; force promotes "
                "them all the same",
                name);
        return PROBLEM_GATE_NOT_DECIDED;
    }
    if (gate->decision != VERDICT_WORSE && gate->decision != VERDICT_NOT_DECIDED)
        return PROBLEM_NONE;
    err_set(e, E_INVALID, "%.120s; force promotes it all the same", gate->why);
    return gate->decision == VERDICT_WORSE ? PROBLEM_GATE_REFUSED : PROBLEM_GATE_NOT_DECIDED;
}

static void catalog_acts_count(struct catalog *c, uint64_t *which) {
    pthread_mutex_lock(&c->mu);
    ++*which;
    pthread_mutex_unlock(&c->mu);
}

/* With acts: is the base the default, because it was promoted or nothing was? */
static int base_is_default(struct catalog *c) {
    pthread_mutex_lock(&c->mu);
    int is = catalog_top(c) == NULL;
    pthread_mutex_unlock(&c->mu);
    return is;
}

/* The base has been there before any gate. */
static enum problem_code promote_base(struct catalog *c, const char *by, int *is_new) {
    *is_new = !base_is_default(c);
    enum problem_code code =
        *is_new ? record(c, HISTORY_PROMOTE, catalog_base(c), "", by, 0) : PROBLEM_NONE;
    if (!code && *is_new) catalog_acts_count(c, &c->counts.promoted);
    return code;
}

static enum problem_code promote(struct turn *t) {
    struct catalog *c = t->c;
    struct catalog_entry it;
    int is_default;
    if (strcmp(t->name, catalog_base(c)) == 0) return promote_base(c, t->by, t->is_new);
    if (!is_loaded(c, t->name, &it, &is_default)) return no_such(c, t->name);
    *t->is_new = !is_default;
    if (is_default) return PROBLEM_NONE;
    const char *digest = eng_adapter_info(it.adapter)->digest;
    verdict_clear(t->gate);
    enum problem_code against = ask_gate(c, t->name, digest, t->gate, t->e);
    if (against && !t->is_forced) {
        catalog_acts_count(c, &c->counts.refused);
        return against;
    }
    *t->e = (struct err){0};
    verdict_clear(t->gate);
    enum problem_code code =
        record(c, HISTORY_PROMOTE, t->name, digest, t->by, against != PROBLEM_NONE);
    if (!code) catalog_acts_count(c, against ? &c->counts.forced : &c->counts.promoted);
    return code;
}

enum problem_code catalog_promote(struct catalog *c, const char *name, int is_forced,
                                  const char *by, struct verdict *gate, int *is_new,
                                  struct err *e) {
    *gate = (struct verdict){.root = NULL};
    *is_new = 0;
    struct turn t = {.c = c,
                     .name = name,
                     .by = by,
                     .is_forced = is_forced,
                     .gate = gate,
                     .is_new = is_new,
                     .e = e};
    return acts_take_turn(&t, promote, 1);
}

/* ---- roll back ---- */

static enum problem_code look_before(struct catalog *c, struct catalog_level *to, int *is_there) {
    struct catalog_level base = {.digest = ""};
    snprintf(base.name, sizeof(base.name), "%s", catalog_base(c));
    pthread_mutex_lock(&c->mu);
    int depth = c->depth;
    *to = depth >= 2 ? c->stack[depth - 2] : base;
    const struct catalog_entry *it = to->digest[0] ? catalog_find(c, to->name) : NULL;
    *is_there = !to->digest[0] || (it && it->adapter);
    pthread_mutex_unlock(&c->mu);
    return depth ? PROBLEM_NONE : PROBLEM_NOTHING_BEFORE;
}

enum problem_code catalog_before(struct catalog *c, char name[CATALOG_NAME_BYTES],
                                 int *is_loaded_now) {
    struct catalog_level to;
    if (!c->folder) return PROBLEM_NO_STATE;
    pthread_mutex_lock(&c->acts);
    int rc = catalog_catch_up(c);
    pthread_mutex_unlock(&c->acts);
    if (rc) return PROBLEM_STATE_UNWRITABLE;
    enum problem_code code = look_before(c, &to, is_loaded_now);
    memcpy(name, to.name, sizeof(to.name));
    return code;
}

static enum problem_code roll_back(struct turn *t) {
    struct catalog *c = t->c;
    struct err *e = t->e;
    struct catalog_level to;
    struct catalog_entry it;
    int is_there, is_default;
    enum problem_code code = look_before(c, &to, &is_there);
    if (code) return code;
    if (to.digest[0] && !is_loaded(c, to.name, &it, &is_default)) {
        err_set(e, E_NOT_FOUND, "%s was the default before, and isn't loaded", to.name);
        return PROBLEM_ADAPTER_NOT_LOADED;
    }
    if (to.digest[0] && strcmp(eng_adapter_info(it.adapter)->digest, to.digest) != 0) {
        err_set(e, E_INVALID,
                "%s was the default before, but its folder holds something else by now; promote "
                "%s, or another adapter",
                to.name, catalog_base(c));
        return PROBLEM_ADAPTER_CHANGED;
    }
    return record(c, HISTORY_ROLLBACK, to.name, to.digest, t->by, 0);
}

enum problem_code catalog_rollback(struct catalog *c, const char *by, struct err *e) {
    struct turn t = {.c = c, .by = by, .e = e};
    enum problem_code code = acts_take_turn(&t, roll_back, 1);
    if (code == PROBLEM_NONE) catalog_acts_count(c, &c->counts.rolled_back);
    return code;
}
