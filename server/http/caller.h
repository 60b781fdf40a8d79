/* caller.h - who sends a request, and may he? The one place where a key is held against a route.
 *
 *     where from                          scopes
 *     the admin socket                    all
 *     a key that is known and not over    those of the key
 *     no keys are set up                  ask, metrics
 *     else                                none
 *
 * What the route that matched asks for decides; nothing looks at the path again. Refusals and acts
 * of an administrator go to the audit file. Thread: the HTTP loop's; caller_act: any.
 */
#ifndef SERVER_HTTP_CALLER_H
#define SERVER_HTTP_CALLER_H

#include "api/api.h"
#include "server/http/peer.h"
#include "server/keys/audit.h"
#include "server/keys/keys.h"

struct caller_rules {
    struct keys *keys;   /* NULL: there are none, and none are needed to ask */
    struct audit *audit; /* NULL: none is kept */
    const struct peer_net *proxies;
    int n_proxies;
};

struct caller {
    struct api_caller who;
    struct peer peer;        /* who asks: behind trusted proxies, the one they ask for */
    char address[PEER_TEXT]; /* the same, for the log */
    char group[PEER_TEXT];   /* and for the audit: of IPv6 the /64 */
    char challenge[120];     /* WWW-Authenticate of a refusal; "": none */
    char why[120];           /* its text */
};

/* Fill c->who and where from. `forwarded` (n): the fields X-Forwarded-For, in their order.
 * `authorization` and `route` may be NULL. PROBLEM_NONE: the request may come in; else c->why and
 * c->challenge say more. */
enum problem_code caller_admit(struct caller *c, const struct caller_rules *rules,
                               const struct peer *from, const char *const *forwarded, int n,
                               const char *authorization, const struct api_route *route,
                               const char *request_id);
/* Of a request that came in: an act, which goes to the audit file before it is done. Nonzero: it
 * can't. Routes whose scope alone makes them acts had that from caller_admit. */
int caller_act(const struct caller *c, const struct caller_rules *rules,
               const struct api_route *route, const char *request_id);

#endif
