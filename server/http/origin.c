/* origin.c - see origin.h. */
#include "server/http/origin.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HOST_MAX = 260 }; /* a name has at most 253 bytes, a port 5 */

int origin_read_host(const char *s, size_t n, struct origin_host *out) {
    static const char digits[] = "0123456789", hex[] = "0123456789abcdefABCDEF:.";
    static const char name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    char text[HOST_MAX];
    if (n >= sizeof(text)) return E_FORMAT;
    memcpy(text, s, n);
    text[n] = '\0';
    size_t len = text[0] == '[' ? 1 + strspn(text + 1, hex) : strspn(text, name);
    if (text[0] == '[') len = len > 2 && text[len] == ']' ? len + 1 : 0;
    if (len == 0) return E_FORMAT;
    *out = (struct origin_host){.name = s, .len = len, .port = -1};
    if (len == n) return 0;
    size_t port = strspn(text + len + 1, digits);
    if (text[len] != ':' || port < 1 || port > 5 || len + 1 + port != n) return E_FORMAT;
    out->port = strtol(text + len + 1, NULL, 10);
    return 0;
}

/* An address can't be rebound by DNS, so it is always served. */
static int is_address(const struct origin_host *h) {
    int dots = 0;
    if (h->name[0] == '[') return 1;
    for (size_t i = 0; i < h->len; i++) {
        if (h->name[i] == '.')
            dots++;
        else if (h->name[i] < '0' || h->name[i] > '9')
            return 0;
    }
    return dots == 3;
}

static int is_named(const struct origin_host *h, const char *name, size_t len) {
    return h->len == len && strncasecmp(h->name, name, len) == 0;
}

int origin_is_served(const struct origin_rules *r, const struct origin_host *host) {
    if (is_address(host) || is_named(host, "localhost", 9)) return 1;
    for (size_t i = 0; i < r->n_hosts; i++) {
        if (strcmp(r->hosts[i], "*") == 0 || is_named(host, r->hosts[i], strlen(r->hosts[i])))
            return 1;
    }
    return 0;
}

/* ---- origins ---- */

struct origin {
    int is_https;
    struct origin_host host; /* its port is known */
};

static long port_of(const struct origin_host *h, int is_https) {
    return h->port >= 0 ? h->port : is_https ? 443 : 80;
}

static int origin_read(const char *s, size_t n, struct origin *out) {
    out->is_https = n > 8 && strncasecmp(s, "https://", 8) == 0;
    size_t skip = out->is_https ? 8 : n > 7 && strncasecmp(s, "http://", 7) == 0 ? 7 : 0;
    if (!skip || origin_read_host(s + skip, n - skip, &out->host)) return E_FORMAT;
    out->host.port = port_of(&out->host, out->is_https);
    return 0;
}

int origin_may_ask(const struct origin_rules *r, const char *origin, size_t n,
                   const struct origin_host *host) {
    struct origin from, known;
    if (origin_read(origin, n, &from)) return 0;
    if (host && is_named(host, from.host.name, from.host.len) &&
        port_of(host, from.is_https) == from.host.port)
        return 1;
    for (size_t i = 0; i < r->n_origins; i++) {
        if (origin_read(r->origins[i], strlen(r->origins[i]), &known) == 0 &&
            known.is_https == from.is_https && known.host.port == from.host.port &&
            is_named(&known.host, from.host.name, from.host.len))
            return 1;
    }
    return 0;
}

int origin_check_rules(const struct origin_rules *r, struct err *e) {
    for (size_t i = 0; i < r->n_hosts; i++) {
        const char *s = r->hosts[i];
        struct origin_host host;
        if (strcmp(s, "*") == 0) continue;
        if (origin_read_host(s, strlen(s), &host) || host.port >= 0)
            return err_set(e, E_INVALID,
                           "--allow-host takes a name without scheme, port or pattern, such as "
                           "see.example, or * for every name; got %.60s",
                           s);
    }
    for (size_t i = 0; i < r->n_origins; i++) {
        const char *s = r->origins[i];
        struct origin origin;
        if (origin_read(s, strlen(s), &origin))
            return err_set(e, E_INVALID,
                           "--allow-origin takes what a browser sends as Origin, such as "
                           "https://see.example or http://see.example:8080; got %.60s",
                           s);
    }
    return 0;
}
