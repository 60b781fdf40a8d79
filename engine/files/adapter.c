/* adapter.c - opens an adapter folder, strictly: each file that is there is checked, alone and
 * against the card. */
#include "engine/files/adapter.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/files/smallfile.h"
#include "kernels/base/hex.h"
#include "kernels/base/mem.h"

/* ---- digests ---- */

static int hash_tensors(EVP_MD_CTX *c, const struct st *st) {
    int ok = 1;
    for (size_t i = 0; st && i < st_count(st); i++) {
        const struct st_tensor *t = st_at(st, i);
        char head[ST_NAME_MAX + 160];
        int n = snprintf(head, sizeof head, "%s %s", t->name, t->dtype_name);
        for (int k = 0; k < t->ndim; k++)
            n += snprintf(head + n, sizeof head - (size_t)n, " %lld", (long long)t->shape[k]);
        /* The NUL too: no name can run into what follows. */
        ok &= EVP_DigestUpdate(c, head, (size_t)n + 1) && EVP_DigestUpdate(c, t->data, t->bytes);
    }
    return ok;
}

static int digest_of(const char *head, const struct st *st, char hex[ADAPTER_DIGEST],
                     struct err *e) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    int ok = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) &&
             EVP_DigestUpdate(c, head, strlen(head) + 1) && hash_tensors(c, st) &&
             EVP_DigestFinal_ex(c, sum, NULL);
    EVP_MD_CTX_free(c);
    if (!ok) return err_set(e, E_INTERNAL, "no SHA-256");
    hex_write(sum, 32, hex);
    return 0;
}

int adapter_vision_digest(const char *base, const struct st *overlay, char hex[ADAPTER_DIGEST],
                          struct err *e) {
    char head[128];
    (void)snprintf(head, sizeof head, overlay ? "vision %.64s" : "%.64s", base);
    if (overlay) return digest_of(head, overlay, hex, e);
    memcpy(hex, head, strlen(head) + 1);
    return 0;
}

int adapter_text_digest(const char *base, const struct peft *p, char hex[ADAPTER_DIGEST],
                        struct err *e) {
    char head[160];
    if (p)
        (void)snprintf(head, sizeof head, "text %.64s %.17g", base, peft_scale(&p->c));
    else
        (void)snprintf(head, sizeof head, "%.64s", base);
    if (p) return digest_of(head, p->st, hex, e);
    memcpy(hex, head, strlen(head) + 1);
    return 0;
}

int adapter_content_digest(const char *vision, const char *text, char hex[ADAPTER_DIGEST],
                           struct err *e) {
    char head[160];
    (void)snprintf(head, sizeof head, "adapter %.64s %.64s", vision, text);
    return digest_of(head, NULL, hex, e);
}

static uint64_t tensor_bytes(const struct st *st) {
    uint64_t sum = 0;
    for (size_t i = 0; st && i < st_count(st); i++)
        sum += st_at(st, i)->bytes;
    return sum;
}

uint64_t adapter_bytes(const struct adapter *a) {
    return tensor_bytes(a->overlay) + (a->peft ? tensor_bytes(a->peft->st) : 0);
}

/* ---- opening ---- */

int adapter_is_vision(const char *name) {
    static const char *const prefixes[] = {"visual_encoder.", "ln_vision.", "llama_proj."};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (!strncmp(name, prefixes[i], strlen(prefixes[i]))) return 1;
    return 0;
}

struct path {
    char text[4096];
};
/* An empty text when it is too long: no such file. */
static struct path adapter_path(const char *folder, const char *name) {
    struct path p;
    if (snprintf(p.text, sizeof p.text, "%s/%s", folder, name) >= (int)sizeof p.text)
        p.text[0] = '\0';
    return p;
}

static int adapter_has_file(const char *folder, const char *name) {
    struct path p = adapter_path(folder, name);
    return access(p.text, F_OK) == 0;
}

static int open_card(const char *folder, struct adapter *a, struct err *e) {
    struct path p = adapter_path(folder, ADAPTER_CARD);
    char *text = NULL;
    size_t len = 0;
    int rc = smallfile_read(p.text, ADAPTER_CARD_MAX, &text, &len, e);
    if (!rc) rc = adapter_parse_card(text, len, &a->card, e);
    mem_free(text);
    if (rc) err_in(e, "%s", p.text);
    a->has_card = !rc;
    return rc;
}

static int open_overlay(const char *folder, struct adapter *a, struct err *e) {
    struct path p = adapter_path(folder, ADAPTER_OVERLAY);
    int rc = st_open(p.text, &a->overlay, e);
    if (rc) return rc;
    if (!a->has_card)
        return err_set(e, E_FORMAT, "%s: without " ADAPTER_CARD " nobody knows what it fits",
                       p.text);
    if (!st_count(a->overlay)) return err_set(e, E_FORMAT, "%s: no tensors", p.text);
    for (size_t i = 0; i < st_count(a->overlay); i++) {
        const struct st_tensor *t = st_at(a->overlay, i);
        if (t->dtype == ST_OTHER)
            return err_set(e, E_UNSUPPORTED, "%s: tensor %s: %s is not F32, BF16 or F16", p.text,
                           st_show(t->name).text, t->dtype_name);
        if (!adapter_is_vision(t->name))
            return err_set(e, E_FORMAT, "%s: tensor %s: not of tower, ln_vision or connector",
                           p.text, st_show(t->name).text);
    }
    return 0;
}

/* Does the card speak of this base, and of these files? */
static int check_card(const struct adapter *a, const char *base, struct err *e) {
    char hex[ADAPTER_DIGEST];
    const struct adapter_card *c = &a->card;
    if (strcmp(c->base, base))
        return err_set(e, E_FORMAT, ADAPTER_CARD ": for the base model %.12s, this one is %.12s",
                       c->base, base);
    int rc = adapter_vision_digest(base, a->overlay, hex, e);
    if (!rc && strcmp(hex, c->vision))
        rc = err_set(e, E_FORMAT, ADAPTER_OVERLAY " isn't what " ADAPTER_CARD " was written for");
    if (!rc) rc = adapter_text_digest(base, a->peft, hex, e);
    if (!rc && strcmp(hex, c->text))
        rc = err_set(e, E_FORMAT, PEFT_MODEL " isn't what " ADAPTER_CARD " was written for");
    return rc;
}

static int adapter_open_all(const char *folder, const struct peft_sizes *sizes, const char *base,
                            struct adapter *a, struct err *e) {
    int has_lora = adapter_has_file(folder, PEFT_CONFIG) || adapter_has_file(folder, PEFT_MODEL);
    int has_overlay = adapter_has_file(folder, ADAPTER_OVERLAY);
    if (!has_lora && !has_overlay)
        return err_set(e, E_NOT_FOUND, "%s: neither " PEFT_CONFIG " nor " ADAPTER_OVERLAY, folder);
    int rc = adapter_has_file(folder, ADAPTER_CARD) ? open_card(folder, a, e) : 0;
    if (!rc && has_overlay) rc = open_overlay(folder, a, e);
    if (!rc && has_lora) rc = peft_open(folder, sizes, &a->peft, e);
    if (!rc && a->has_card) {
        rc = check_card(a, base, e);
        if (rc) err_in(e, "%s", folder);
    }
    return rc;
}

int adapter_open(const char *folder, const struct peft_sizes *sizes, const char *base,
                 struct adapter **out, struct err *e) {
    *out = NULL;
    struct adapter *a = mem_try(sizeof *a);
    if (!a) return err_set(e, E_NOMEM, "no memory for an adapter");
    int rc = adapter_open_all(folder, sizes, base, a, e);
    if (rc) {
        adapter_close(a);
        return rc;
    }
    *out = a;
    return 0;
}

void adapter_close(struct adapter *a) {
    if (!a) return;
    peft_close(a->peft);
    st_close(a->overlay);
    mem_free(a);
}
