/* hasher.c - see hasher.h. A piece is in one of the two queues, or in the hands of one of the two
 * threads: h->next is in the maker's. */
#include "engine/import/hasher.h"

#include <openssl/evp.h>

#include "kernels/base/hex.h"
#include "kernels/base/mem.h"

/* Bytes that are hashed and then looked at. That they have to come from memory costs the first of
 * the two nothing, since it computes meanwhile; the second finds them in the processor's cache. */
enum { SHA_BYTES = 32, STEP = 128 << 10 };

int hasher_is_finite(const struct st_tensor *of, const void *bytes, size_t n) {
    struct st_tensor part = *of;
    part.data = bytes;
    part.elements = n / (of->dtype == ST_F32 ? 4 : 2);
    return st_is_finite(&part);
}

int hasher_refuse(const struct st_tensor *of, struct err *e) {
    return err_set(e, E_FORMAT, "tensor %s has a weight that is infinite or not a number",
                   st_show(of->name).text);
}

static void hash_piece(struct hasher *h, const struct hasher_piece *p) {
    for (size_t at = 0; at < p->n && !hasher_is_over(h); at += STEP) {
        const char *from = (const char *)p->bytes + at;
        size_t n = p->n - at < STEP ? p->n - at : STEP;
        if (!EVP_DigestUpdate(h->sha, from, n)) h->is_broken = 1;
        if (p->of && !hasher_is_finite(p->of, from, n)) h->refused = p->of;
        if (h->refused || h->is_broken) atomic_store(&h->is_over, 1);
    }
}

static void *hasher_main(void *ud) {
    struct hasher *h = ud;
    void *item;
    while (queue_pop(h->todo, UINT64_MAX, &item) == 0) {
        hash_piece(h, item);
        must(queue_push(h->idle, item) == 0);
    }
    return NULL;
}

int hasher_start(struct hasher *h, struct err *e) {
    *h = (struct hasher){0};
    h->todo = queue_new(HASHER_PIECES);
    h->idle = queue_new(HASHER_PIECES);
    for (int i = 0; i < HASHER_PIECES; i++)
        must(queue_push(h->idle, &h->pieces[i]) == 0);
    h->sha = EVP_MD_CTX_new();
    if (!h->sha || !EVP_DigestInit_ex(h->sha, EVP_sha256(), NULL))
        return err_set(e, E_INTERNAL, "no SHA-256");
    h->has_thread = pthread_create(&h->thread, NULL, hasher_main, h) == 0;
    return h->has_thread ? 0 : err_set(e, E_NOMEM, "no thread");
}

int hasher_is_over(const struct hasher *h) { return atomic_load(&h->is_over); }

static struct hasher_piece *hasher_next(struct hasher *h) {
    void *item = h->next;
    if (!item) must(queue_pop(h->idle, UINT64_MAX, &item) == 0);
    return h->next = item;
}

void *hasher_room(struct hasher *h, struct err *e) {
    struct hasher_piece *p = hasher_next(h);
    if (!p->room) p->room = mem_try(HASHER_ROOM);
    if (!p->room) (void)err_set(e, E_NOMEM, "no memory to read by");
    return p->room;
}

void hasher_give(struct hasher *h, const struct st_tensor *of, const void *bytes, size_t n) {
    struct hasher_piece *p = hasher_next(h);
    *p = (struct hasher_piece){of, bytes, n, p->room};
    h->next = NULL;
    must(queue_push(h->todo, p) == 0);
}

int hasher_end(struct hasher *h, int rc, char hex[65], struct err *e) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    void *item;
    if (!h->todo) return rc;
    if (rc) atomic_store(&h->is_over, 1);
    queue_close(h->todo);
    if (h->has_thread) (void)pthread_join(h->thread, NULL);
    if (!rc && h->refused) rc = hasher_refuse(h->refused, e);
    if (!rc && (h->is_broken || !EVP_DigestFinal_ex(h->sha, sum, NULL)))
        rc = err_set(e, E_INTERNAL, "no SHA-256");
    if (!rc) hex_write(sum, SHA_BYTES, hex);
    EVP_MD_CTX_free(h->sha);
    while (queue_pop(h->idle, 0, &item) == 0) {}
    for (int i = 0; i < HASHER_PIECES; i++)
        mem_free(h->pieces[i].room);
    queue_free(h->idle);
    queue_free(h->todo);
    h->todo = NULL;
    return rc;
}
