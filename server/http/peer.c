/* peer.c - see peer.h. RFC 4291 section 2.5.5.2 (IPv4-mapped addresses), RFC 6177 (/64). */
#include "server/http/peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
enum { PREFIX_BYTES = 8 };

struct peer peer_of(const struct sockaddr *addr, socklen_t len) {
    struct peer p = {{0}};
    if (addr && addr->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in in;
        memcpy(&in, addr, sizeof(in));
        memcpy(p.at, mapped, sizeof(mapped));
        memcpy(p.at + sizeof(mapped), &in.sin_addr, 4);
    } else if (addr && addr->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 in;
        memcpy(&in, addr, sizeof(in));
        memcpy(p.at, &in.sin6_addr, sizeof(p.at));
    }
    return p;
}

static int is_v4(const struct peer *p) { return memcmp(p->at, mapped, sizeof(mapped)) == 0; }

static int peer_is_known(const struct peer *p) {
    static const struct peer none;
    return memcmp(p, &none, sizeof(none)) != 0;
}

int peer_is_same(const struct peer *a, const struct peer *b) {
    size_t n = is_v4(a) || is_v4(b) ? sizeof(a->at) : PREFIX_BYTES;
    return peer_is_known(a) && memcmp(a->at, b->at, n) == 0;
}

void peer_write(const struct peer *p, char out[PEER_TEXT]) {
    int family = is_v4(p) ? AF_INET : AF_INET6;
    const uint8_t *at = is_v4(p) ? p->at + sizeof(mapped) : p->at;
    if (!peer_is_known(p) || !inet_ntop(family, at, out, PEER_TEXT)) snprintf(out, PEER_TEXT, "-");
}
