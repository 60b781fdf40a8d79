/* digest.c - see digest.h. When no thread can be made, digest_end hashes. */
#include "engine/model/digest.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/hex.h"

enum { SHA_BYTES = 32, STEP = 4 << 20 /* bytes between looks at `stop` */ };

static int hash(struct digest *d, EVP_MD_CTX *c, unsigned char *sum) {
    if (!EVP_DigestInit_ex(c, EVP_sha256(), NULL)) return 0;
    for (size_t at = 0; at < d->len && !atomic_load(&d->stop); at += STEP) {
        size_t n = d->len - at < STEP ? d->len - at : STEP;
        if (!EVP_DigestUpdate(c, (const char *)d->bytes + at, n)) return 0;
    }
    return EVP_DigestFinal_ex(c, sum, NULL);
}

static void *digest_main(void *ud) {
    struct digest *d = ud;
    unsigned char sum[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    d->is_good = c && hash(d, c, sum);
    EVP_MD_CTX_free(c);
    if (d->is_good) hex_write(sum, SHA_BYTES, d->hex);
    return NULL;
}

void digest_start(struct digest *d, const void *bytes, size_t len) {
    *d = (struct digest){.bytes = bytes, .len = len};
    d->has_thread = pthread_create(&d->thread, NULL, digest_main, d) == 0;
}

int digest_end(struct digest *d, int rc, char hex[65], struct err *e) {
    atomic_store(&d->stop, rc != 0);
    if (d->has_thread)
        (void)pthread_join(d->thread, NULL);
    else if (!rc)
        (void)digest_main(d);
    if (!rc && !d->is_good) rc = err_set(e, E_INTERNAL, "no SHA-256");
    if (!rc) memcpy(hex, d->hex, sizeof d->hex);
    return rc;
}

int digest_add(char hex[65], const char *word, struct err *e) {
    char text[96];
    unsigned char sum[EVP_MAX_MD_SIZE];
    int n = snprintf(text, sizeof text, "%s %s", hex, word);
    if (!EVP_Digest(text, (size_t)n, sum, NULL, EVP_sha256(), NULL))
        return err_set(e, E_INTERNAL, "no SHA-256");
    hex_write(sum, SHA_BYTES, hex);
    return 0;
}
