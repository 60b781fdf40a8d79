/* peer.c - see peer.h. RFC 4291 section 2.5.5.2 has the addresses of IPv4 among those of IPv6. */
#include "server/http/peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
static const char admin_mark[] = "admin";
enum { SITE_BITS = 64 };

static int is_v4(const uint8_t at[16]) { return memcmp(at, v4_prefix, sizeof(v4_prefix)) == 0; }

struct sockaddr_un peer_unix(enum peer_kind kind) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (kind == PEER_ADMIN) memcpy(a.sun_path, admin_mark, sizeof(admin_mark));
    return a;
}

struct peer peer_of(const struct sockaddr *a) {
    struct peer p = {.kind = PEER_UNIX};
    if (!a) return p;
    if (a->sa_family == AF_INET) {
        p.kind = PEER_ADDRESS;
        memcpy(p.at, v4_prefix, sizeof(v4_prefix));
        memcpy(p.at + 12, &((const struct sockaddr_in *)(const void *)a)->sin_addr, 4);
    } else if (a->sa_family == AF_INET6) {
        p.kind = PEER_ADDRESS;
        memcpy(p.at, &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, 16);
    } else if (a->sa_family == AF_UNIX &&
               strcmp(((const struct sockaddr_un *)(const void *)a)->sun_path, admin_mark) == 0) {
        p.kind = PEER_ADMIN;
    }
    return p;
}

int peer_is_loopback(const struct peer *p) {
    static const uint8_t one[16] = {[15] = 1};
    if (p->kind != PEER_ADDRESS) return 1;
    return is_v4(p->at) ? p->at[12] == 127 : memcmp(p->at, one, 16) == 0;
}

/* ---- text to address ---- */

/* An address, `len` bytes. */
static int read_address(const char *text, size_t len, uint8_t at[16]) {
    char one[INET6_ADDRSTRLEN];
    if (len == 0 || len >= sizeof(one)) return E_INVALID;
    memcpy(one, text, len);
    one[len] = '\0';
    if (strlen(one) != len) return E_INVALID;
    memcpy(at, v4_prefix, sizeof(v4_prefix));
    if (inet_pton(AF_INET, one, at + 12) == 1) return 0;
    return inet_pton(AF_INET6, one, at) == 1 ? 0 : E_INVALID;
}

static void mask(uint8_t at[16], int bits) {
    for (int i = 0; i < 16; i++) {
        int left = bits - 8 * i;
        if (left < 8) at[i] = (uint8_t)(left <= 0 ? 0 : at[i] & (0xff << (8 - left)));
    }
}

int peer_net_read(const char *text, struct peer_net *out, struct err *e) {
    size_t len = strcspn(text, "/");
    const char *digits = text[len] ? text + len + 1 : NULL;
    int is_bad = read_address(text, len, out->at) != 0;
    int most = !is_bad && is_v4(out->at) && !memchr(text, ':', len) ? 32 : 128;
    out->bits = 128;
    if (digits) {
        size_t n = strspn(digits, "0123456789");
        long bits = n >= 1 && n <= 3 && !digits[n] ? strtol(digits, NULL, 10) : -1;
        is_bad |= bits < 0 || bits > most;
        out->bits = (int)bits + 128 - most;
    }
    if (is_bad)
        return err_set(e, E_INVALID,
                       "\"%.60s\" is no address or net, such as 192.0.2.7 or 2001:db8::/32", text);
    mask(out->at, out->bits);
    return 0;
}

int peer_is_in(const struct peer *p, const struct peer_net *nets, int n) {
    for (int i = 0; i < n && p->kind == PEER_ADDRESS; i++) {
        uint8_t at[16];
        memcpy(at, p->at, sizeof(at));
        mask(at, nets[i].bits);
        if (memcmp(at, nets[i].at, sizeof(at)) == 0) return 1;
    }
    return 0;
}

/* ---- X-Forwarded-For ---- */

/* "192.0.2.7", "2001:db8::7", and with a port "192.0.2.7:80" or "[2001:db8::7]:80". */
static int read_hop(const char *s, size_t len, struct peer *out) {
    const char *colon = memchr(s, ':', len), *bracket = memchr(s, ']', len);
    *out = (struct peer){.kind = PEER_ADDRESS};
    if (len && s[0] == '[')
        return bracket ? read_address(s + 1, (size_t)(bracket - s) - 1, out->at) : E_INVALID;
    if (colon && !memchr(colon + 1, ':', len - (size_t)(colon + 1 - s))) len = (size_t)(colon - s);
    return read_address(s, len, out->at);
}

int peer_forward(struct peer *p, const char *field, const struct peer_net *nets, int n) {
    const char *end = field + strlen(field);
    while (peer_is_in(p, nets, n)) {
        const char *from = end;
        while (from > field && from[-1] != ',')
            from--;
        const char *s = from;
        while (s < end && (*s == ' ' || *s == '\t'))
            s++;
        size_t len = (size_t)(end - s);
        while (len && (s[len - 1] == ' ' || s[len - 1] == '\t'))
            len--;
        struct peer hop;
        if (read_hop(s, len, &hop)) return 0; /* "unknown", or worse: the proxy is all we know */
        *p = hop;
        if (from == field) return peer_is_in(p, nets, n);
        end = from - 1;
    }
    return 0;
}

int peer_is_same(const struct peer *a, const struct peer *b) {
    if (a->kind != PEER_ADDRESS || b->kind != PEER_ADDRESS) return 0;
    return memcmp(a->at, b->at, is_v4(a->at) || is_v4(b->at) ? 16 : SITE_BITS / 8) == 0;
}

/* ---- address to text ---- */

void peer_text(const struct peer *p, char out[PEER_TEXT]) {
    if (p->kind != PEER_ADDRESS)
        snprintf(out, PEER_TEXT, "%s", p->kind == PEER_ADMIN ? "admin-socket" : "unix");
    else if (is_v4(p->at))
        (void)inet_ntop(AF_INET, p->at + 12, out, PEER_TEXT);
    else
        (void)inet_ntop(AF_INET6, p->at, out, PEER_TEXT);
}

void peer_group_text(const struct peer *p, char out[PEER_TEXT]) {
    struct peer group = *p;
    int is_site = p->kind == PEER_ADDRESS && !is_v4(p->at);
    if (is_site) mask(group.at, SITE_BITS);
    peer_text(&group, out);
    if (is_site) snprintf(out + strlen(out), PEER_TEXT - strlen(out), "/64");
}

void peer_payer_text(const struct peer *p, char out[PEER_TEXT]) {
    peer_group_text(p, out);
    if (p->kind != PEER_ADMIN && peer_is_loopback(p)) snprintf(out, PEER_TEXT, "this-machine");
}
