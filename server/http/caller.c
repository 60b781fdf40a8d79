/* caller.c - see caller.h. The challenges are those of RFC 6750 section 3. */
#include "server/http/caller.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

_Static_assert((int)API_PEER_BYTES == (int)PEER_TEXT, "the same text");

/* Whom the connection, or the last proxy that is trusted, speaks for. */
static void caller_place(struct caller *c, const struct caller_rules *rules,
                         const struct peer *from, const char *const *forwarded, int n) {
    struct peer p = *from;
    int more = 1;
    while (n > 0 && more)
        more = peer_forward(&p, forwarded[--n], rules->proxies, rules->n_proxies);
    c->peer = p;
    peer_text(&p, c->address);
    peer_group_text(&p, c->group);
    peer_payer_text(&p, c->who.peer);
}

static enum key_verdict caller_name(struct caller *c, const struct caller_rules *rules,
                                    const struct peer *from, const char *authorization) {
    struct key_found found = {.scopes = 0};
    enum key_verdict verdict = KEY_NONE;
    if (from->kind == PEER_ADMIN) {
        c->who.scopes = API_SCOPES_ALL;
    } else if (!rules->keys) {
        c->who.scopes = API_SCOPES_OPEN;
    } else {
        verdict = keys_check(rules->keys, authorization, (int64_t)time(NULL), &found);
        c->who.scopes = found.scopes;
        memcpy(c->who.key, found.id, sizeof(c->who.key));
    }
    return verdict;
}

static void caller_explain(struct caller *c, enum key_verdict verdict, const char *scope) {
    static const char realm[] = "Bearer realm=\"lammd\"";
    static const char *const why[] = {
        [KEY_BAD] = "this key is not known here", [KEY_EXPIRED] = "this key has expired"};
    if (verdict == KEY_GOOD) {
        snprintf(c->challenge, sizeof(c->challenge),
                 "%s, error=\"insufficient_scope\", scope=\"%s\"", realm, scope);
        snprintf(c->why, sizeof(c->why), "this call needs a key with the scope %s", scope);
    } else if (verdict == KEY_NONE) {
        snprintf(c->challenge, sizeof(c->challenge), "%s", realm);
        snprintf(c->why, sizeof(c->why),
                 "this call needs a key with the scope %s; send it as Authorization: Bearer KEY",
                 scope);
    } else {
        snprintf(c->challenge, sizeof(c->challenge), "%s, error=\"invalid_token\"", realm);
        snprintf(c->why, sizeof(c->why), "%s", why[verdict]);
    }
}

static int caller_record(const struct caller *c, const struct caller_rules *rules,
                         const struct api_route *route, const char *event, const char *result,
                         const char *request_id) {
    struct audit_line line = {event,  c->who.key, route->method, route->path,
                              result, request_id, c->group};
    return rules->audit ? audit_write(rules->audit, &line) : 0;
}

int caller_act(const struct caller *c, const struct caller_rules *rules,
               const struct api_route *route, const char *request_id) {
    return caller_record(c, rules, route, "admin", "accepted", request_id);
}

/* Who only looks changes nothing. Whose a file or a batch is the call finds out. */
static int is_act(const struct api_route *route) {
    if (strcmp(route->method, "GET") == 0) return 0;
    return route->scope == API_TRAIN || route->scope == API_PROMOTE || route->scope == API_ADMIN;
}

enum problem_code caller_admit(struct caller *c, const struct caller_rules *rules,
                               const struct peer *from, const char *const *forwarded, int n,
                               const char *authorization, const struct api_route *route,
                               const char *request_id) {
    static const char *const results[] = {[KEY_GOOD] = "scope_missing",
                                          [KEY_NONE] = "no_key",
                                          [KEY_BAD] = "bad_key",
                                          [KEY_EXPIRED] = "expired_key"};
    *c = (struct caller){.who = {.scopes = 0}};
    caller_place(c, rules, from, forwarded, n);
    if (!route) return PROBLEM_NONE; /* there is nothing to be had */
    enum key_verdict verdict = caller_name(c, rules, from, authorization);
    if (!api_route_is_open(route, c->who.scopes)) {
        const char *scope =
            route->scope == API_FILES ? "ask or train" : api_scope_words[route->scope];
        caller_explain(c, verdict, scope ? scope : "of nobody");
        (void)caller_record(c, rules, route, "refused", results[verdict], request_id);
        return verdict == KEY_GOOD ? PROBLEM_SCOPE_MISSING : PROBLEM_UNAUTHORIZED;
    }
    if (verdict != KEY_GOOD) c->who.key[0] = '\0'; /* an open route: nobody vouches for the id */
    if (is_act(route) && caller_act(c, rules, route, request_id)) return PROBLEM_AUDIT_UNAVAILABLE;
    return PROBLEM_NONE;
}
