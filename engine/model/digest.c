/* digest.c - see digest.h. When no thread can be made, digest_end hashes. */
#include "engine/model/digest.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/hex.h"

enum { SHA_BYTES = 32, STEP = 4 << 20 /* bytes between looks at `stop` */ };

static int add(const struct digest *d, EVP_MD_CTX *c, const void *bytes, size_t len) {
    for (size_t at = 0; at < len && !atomic_load(&d->stop); at += STEP) {
        size_t n = len - at < STEP ? len - at : STEP;
        if (!EVP_DigestUpdate(c, (const char *)bytes + at, n)) return 0;
    }
    return 1;
}

static int add_all(const struct digest *d, EVP_MD_CTX *c) {
    const void *piece;
    size_t len;
    if (!d->what.st) return add(d, c, d->what.bytes, d->what.len);
    for (size_t i = 0; (piece = st_piece(d->what.st, i, &len)) != NULL; i++)
        if (!add(d, c, piece, len)) return 0;
    return 1;
}

static int digest_is_text(const struct st_tensor *t) {
    return strncmp(t->name, "model.", 6) == 0 || strncmp(t->name, "lm_head.", 8) == 0;
}

/* What a tensor is: name, type, shape, and then its numbers. */
static int digest_tensor(const struct digest *d, EVP_MD_CTX *c, const struct st_tensor *t) {
    char head[ST_NAME_MAX + 200];
    int n = snprintf(head, sizeof head, "%s %s", t->name, t->dtype_name);
    for (int i = 0; i < t->ndim; i++)
        n += snprintf(head + n, sizeof head - (size_t)n, " %lld", (long long)t->shape[i]);
    return EVP_DigestUpdate(c, head, (size_t)n + 1) && add(d, c, t->data, t->bytes);
}

/* Of all tensors that are not the decoder's, sorted by name, as they come. */
static int add_vision(const struct digest *d, EVP_MD_CTX *c) {
    const struct st_tensor *t;
    if (!d->weights || !d->weights->each(d->weights, 0))
        return EVP_DigestUpdate(c, d->ids.all, sizeof d->ids.all);
    for (size_t i = 0; (t = d->weights->each(d->weights, i)) != NULL; i++)
        if (!digest_is_text(t) && !digest_tensor(d, c, t)) return 0;
    return 1;
}

static int finish(EVP_MD_CTX *c, char hex[65]) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    if (!EVP_DigestFinal_ex(c, sum, NULL)) return 0;
    hex_write(sum, SHA_BYTES, hex);
    return 1;
}

static void *digest_main(void *ud) {
    struct digest *d = ud;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    d->is_good = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) && add_all(d, c) &&
                 finish(c, d->ids.all) && EVP_DigestInit_ex(c, EVP_sha256(), NULL) &&
                 add_vision(d, c) && finish(c, d->ids.vision);
    EVP_MD_CTX_free(c);
    return NULL;
}

void digest_start(struct digest *d, const struct digest_of *what, const struct weights *weights) {
    *d = (struct digest){.what = *what, .weights = weights};
    d->has_thread = pthread_create(&d->thread, NULL, digest_main, d) == 0;
}

int digest_end(struct digest *d, int rc, struct model_ids *ids, struct err *e) {
    atomic_store(&d->stop, rc != 0);
    if (d->has_thread)
        (void)pthread_join(d->thread, NULL);
    else if (!rc)
        (void)digest_main(d);
    if (!rc && !d->is_good) rc = err_set(e, E_INTERNAL, "no SHA-256");
    if (!rc) *ids = d->ids;
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
