/* keys.c - see keys.h. A reload reads and checks the file without the lock, and swaps the tables
 * under it. Thread: any.
 */
#include "server/keys/keys.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "kernels/base/mem.h"
#include "server/keys/keyfile.h"

struct keys {
    char *path;
    pthread_mutex_t mu; /* guards the two below */
    struct key *table;  /* (n) */
    int n;
};

static int keys_read(const char *path, struct key **table, int *n, struct err *e) {
    struct buf text;
    int rc = keyfile_load(path, &text, e);
    if (rc) return rc;
    rc = keyfile_parse((const char *)text.p, text.len, table, n, e);
    buf_clear(&text);
    return rc;
}

int keys_open(const char *path, struct keys **out, struct err *e) {
    *out = NULL;
    struct key *table;
    int n, rc = keys_read(path, &table, &n, e);
    if (rc) {
        (void)err_in(e, "keys in %s", path);
        return rc;
    }
    struct keys *k = mem_must(sizeof(*k));
    size_t len = strlen(path) + 1;
    k->path = mem_must(len);
    memcpy(k->path, path, len);
    k->table = table;
    k->n = n;
    pthread_mutex_init(&k->mu, NULL);
    *out = k;
    return 0;
}

void keys_close(struct keys *k) {
    if (!k) return;
    pthread_mutex_destroy(&k->mu);
    mem_free(k->table);
    mem_free(k->path);
    mem_free(k);
}

int keys_reload(struct keys *k, int *n, struct err *e) {
    struct key *table;
    int rc = keys_read(k->path, &table, n, e);
    if (rc) return rc;
    pthread_mutex_lock(&k->mu);
    struct key *old = k->table;
    k->table = table;
    k->n = *n;
    pthread_mutex_unlock(&k->mu);
    mem_free(old);
    return 0;
}

/* "Bearer lammd_ID_SECRET" -> its two halves. 0, E_FORMAT. */
static int keys_split(const char *header, char id[KEY_ID_MAX + 1], const char **secret) {
    static const char scheme[] = "Bearer ";
    size_t prefix = strlen(KEY_PREFIX);
    if (strncasecmp(header, scheme, strlen(scheme)) != 0) return E_FORMAT;
    const char *key = header + strlen(scheme) + strspn(header + strlen(scheme), " ");
    if (strncmp(key, KEY_PREFIX, prefix) != 0) return E_FORMAT;
    size_t n = strcspn(key + prefix, "_");
    if (key[prefix + n] != '_' || !keyfile_id_is_legal(key + prefix, n)) return E_FORMAT;
    *secret = key + prefix + n + 1;
    if (strlen(*secret) != KEY_SECRET_CHARS) return E_FORMAT;
    memcpy(id, key + prefix, n);
    return 0;
}

/* Every row is looked at, and one digest is compared in any case. */
static int keys_find(struct keys *k, const char id[KEY_ID_MAX + 1],
                     const uint8_t digest[KEY_DIGEST_BYTES], struct key *out) {
    static const struct key nobody;
    pthread_mutex_lock(&k->mu);
    const struct key *at = &nobody;
    for (int i = 0; i < k->n; i++)
        if (CRYPTO_memcmp(k->table[i].id, id, KEY_ID_MAX + 1) == 0) at = &k->table[i];
    int is_same = CRYPTO_memcmp(at->digest, digest, KEY_DIGEST_BYTES) == 0;
    *out = *at;
    pthread_mutex_unlock(&k->mu);
    return is_same && out->id[0];
}

enum key_verdict keys_check(struct keys *k, const char *header, int64_t now,
                            struct key_found *found) {
    *found = (struct key_found){.scopes = 0};
    if (!header) return KEY_NONE;
    char id[KEY_ID_MAX + 1] = "";
    const char *secret;
    uint8_t digest[KEY_DIGEST_BYTES];
    struct key key;
    if (keys_split(header, id, &secret)) return KEY_BAD;
    memcpy(found->id, id, sizeof(found->id));
    if (keyfile_digest(secret, KEY_SECRET_CHARS, digest) || !keys_find(k, id, digest, &key))
        return KEY_BAD;
    if (key.expires && now >= key.expires) return KEY_EXPIRED;
    found->scopes = key.scopes;
    return KEY_GOOD;
}
