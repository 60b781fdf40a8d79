/* ids.c - see ids.h. */
#include "api/store/ids.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "kernels/base/hex.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

enum { SECRET_BYTES = 32, MAC_BYTES = 32, SESSION_BYTES = 16 };

struct ids {
    uint8_t secret[SECRET_BYTES];
    char prefix[IDS_REPLICA_MAX + 2]; /* "NAME-", or "" */
};

static int ids_mac(const struct ids *s, const char *text, size_t n, uint8_t out[MAC_BYTES]) {
    unsigned len = 0;
    int ok = HMAC(EVP_sha256(), s->secret, SECRET_BYTES, (const uint8_t *)text, n, out, &len) &&
             len == MAC_BYTES;
    return ok ? 0 : E_INTERNAL;
}

int ids_new(const char *replica, struct ids **out, struct err *e) {
    static const char legal[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    size_t n = replica ? strlen(replica) : 0;
    uint8_t mac[MAC_BYTES];
    *out = NULL;
    if (n > IDS_REPLICA_MAX || (n && strspn(replica, legal) != n))
        return err_set(e, E_INVALID, "a replica's name has at most %d small letters and digits",
                       IDS_REPLICA_MAX);
    struct ids *s = mem_must(sizeof(*s));
    if (n) snprintf(s->prefix, sizeof(s->prefix), "%s-", replica);
    if (getrandom(s->secret, SECRET_BYTES, 0) != SECRET_BYTES || ids_mac(s, "", 0, mac)) {
        mem_free(s);
        return err_set(e, E_INTERNAL, "there are no random bytes, or no HMAC");
    }
    *out = s;
    return 0;
}

void ids_free(struct ids *s) { mem_free(s); }

/* What stands for somebody, one of `kind`; 0 for "". Every request asks, so it takes no memory, as
 * the HMAC does. Nobody ever sees these numbers, so a secret where the mixing begins is enough. */
static uint64_t ids_number(const struct ids *s, uint64_t kind, const char *who) {
    uint64_t number;
    if (!*who) return 0;
    memcpy(&number, s->secret, sizeof(number));
    number = rng_u64(number, kind);
    for (; *who; who++)
        number = rng_u64(number, (uint8_t)*who);
    return number ? number : 1;
}

uint64_t ids_owner(const struct ids *s, const char *key) { return ids_number(s, 1, key); }

uint64_t ids_payer(const struct ids *s, const char *key, const char *peer) {
    return *key ? ids_owner(s, key) : ids_number(s, 2, peer);
}

void ids_picture(const struct ids *s, uint64_t owner, const char *digest, char out[IDS_BYTES]) {
    uint8_t mac[MAC_BYTES];
    char text[128], hex[2 * MAC_BYTES + 1];
    int n = snprintf(text, sizeof(text), "picture %016llx %s", (unsigned long long)owner, digest);
    must(n > 0 && (size_t)n < sizeof(text) && ids_mac(s, text, (size_t)n, mac) == 0);
    hex_write(mac, MAC_BYTES, hex);
    snprintf(out, IDS_BYTES, "%s%s", s->prefix, hex);
}

int ids_session(const struct ids *s, char out[IDS_BYTES]) {
    uint8_t random[SESSION_BYTES];
    char hex[2 * SESSION_BYTES + 1];
    /* OpenSSL's generator stays broken once it had no memory; the kernel's needs none. */
    if (getrandom(random, SESSION_BYTES, 0) != SESSION_BYTES) return E_INTERNAL;
    hex_write(random, SESSION_BYTES, hex);
    snprintf(out, IDS_BYTES, "%s%s", s->prefix, hex);
    return 0;
}
