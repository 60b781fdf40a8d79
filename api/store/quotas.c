/* quotas.c - see quotas.h. Accounts stand in a table that grows to as many as there are requests,
 * and are searched one by one, under one lock.
 */
#include "api/store/quotas.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"

struct account {
    char name[API_PEER_BYTES + 1];    /* "=KEY" or "@PEER" */
    unsigned requests, uploads, refs; /* no refs: it is free */
    int tiles;
    uint64_t tokens, body_bytes;
    struct account *next;
};

struct quotas {
    struct api_limits limits;
    pthread_mutex_t mu;
    struct account *first; /* lock: all, free ones, too */
    int tiles;             /* lock: of all */
};

struct quotas *quotas_new(const struct api_limits *limits) {
    struct quotas *q = mem_must(sizeof(*q));
    q->limits = *limits;
    pthread_mutex_init(&q->mu, NULL);
    return q;
}

void quotas_set_tokens(struct quotas *q, uint64_t tokens) {
    pthread_mutex_lock(&q->mu);
    q->limits.tokens = tokens;
    pthread_mutex_unlock(&q->mu);
}

void quotas_free(struct quotas *q) {
    if (!q) return;
    while (q->first) {
        struct account *a = q->first;
        must(!a->refs);
        q->first = a->next;
        mem_free(a);
    }
    pthread_mutex_destroy(&q->mu);
    mem_free(q);
}

/* With the lock: the account of that name, perhaps a new one. */
static struct account *quotas_find(struct quotas *q, const char *name) {
    struct account *unused = NULL;
    for (struct account *a = q->first; a; a = a->next) {
        if (a->refs && strcmp(a->name, name) == 0) return a;
        if (!a->refs) unused = a;
    }
    if (!unused) {
        unused = mem_must(sizeof(*unused));
        unused->next = q->first;
        q->first = unused;
    }
    snprintf(unused->name, sizeof(unused->name), "%s", name);
    unused->tokens = unused->body_bytes = 0;
    unused->requests = unused->uploads = 0;
    unused->tiles = 0;
    return unused;
}

enum quota quotas_enter(struct quotas *q, const char *name, uint64_t body_bytes, int is_upload,
                        struct account **out) {
    const struct api_limits *l = &q->limits;
    enum quota over = QUOTA_NONE;
    pthread_mutex_lock(&q->mu);
    struct account *a = quotas_find(q, name);
    if (l->requests && a->requests >= l->requests)
        over = QUOTA_REQUESTS;
    else if (is_upload && l->uploads && a->uploads >= l->uploads)
        over = QUOTA_UPLOADS;
    else if (l->body_bytes && a->requests && a->body_bytes + body_bytes > l->body_bytes)
        over = QUOTA_BODY;
    if (over == QUOTA_NONE) {
        a->requests++;
        a->uploads += is_upload != 0;
        a->refs++;
        a->body_bytes += body_bytes;
    }
    pthread_mutex_unlock(&q->mu);
    *out = over == QUOTA_NONE ? a : NULL;
    return over;
}

void quotas_leave(struct quotas *q, struct account *a, uint64_t body_bytes, int is_upload) {
    pthread_mutex_lock(&q->mu);
    a->uploads -= is_upload != 0;
    a->body_bytes -= body_bytes;
    a->requests--;
    pthread_mutex_unlock(&q->mu);
}

void quotas_end(struct quotas *q, struct account *a) {
    pthread_mutex_lock(&q->mu);
    a->refs--;
    pthread_mutex_unlock(&q->mu);
}

int quotas_tokens(struct quotas *q, struct account *a, int64_t tokens) {
    const struct api_limits *l = &q->limits;
    pthread_mutex_lock(&q->mu);
    uint64_t sum = a->tokens + (uint64_t)tokens;
    int is_over = tokens > 0 && l->tokens && a->tokens && sum > l->tokens;
    if (!is_over) a->tokens = sum;
    pthread_mutex_unlock(&q->mu);
    return is_over ? E_BUSY : 0;
}

enum quota quotas_tiles(struct quotas *q, struct account *a, int n) {
    enum quota over = QUOTA_NONE;
    pthread_mutex_lock(&q->mu);
    if (n > 0 && a && a->tiles + n > QUOTAS_TILES_MAX / 2)
        over = QUOTA_TILES;
    else if (n > 0 && q->tiles + n > QUOTAS_TILES_MAX)
        over = QUOTA_REQUESTS;
    if (over == QUOTA_NONE) {
        q->tiles += n;
        if (a) a->tiles += n;
    }
    pthread_mutex_unlock(&q->mu);
    return over;
}

static uint64_t quotas_most(const struct quotas *q, enum quota what) {
    switch (what) {
    case QUOTA_REQUESTS: return q->limits.requests;
    case QUOTA_TOKENS: return q->limits.tokens;
    case QUOTA_BODY: return q->limits.body_bytes;
    case QUOTA_SESSIONS: return (uint64_t)q->limits.sessions;
    case QUOTA_UPLOADS: return q->limits.uploads;
    case QUOTA_TILES: return QUOTAS_TILES_MAX / 2;
    default: return 0;
    }
}

void quotas_fields(const struct quotas *q, enum quota what, char policy[API_LIMIT_BYTES],
                   char left[API_LIMIT_BYTES]) {
    static const char *const names[] = {"requests", "tokens",  "body-bytes",
                                        "sessions", "uploads", "tiles"};
    static const char *const units[] = {";qu=\"concurrent-requests\"", "",
                                        ";qu=\"content-bytes\"",       "",
                                        ";qu=\"concurrent-requests\"", ""};
    must(what < QUOTA_NONE);
    snprintf(policy, API_LIMIT_BYTES, "\"%s\";q=%llu%s", names[what],
             (unsigned long long)quotas_most(q, what), units[what]);
    snprintf(left, API_LIMIT_BYTES, "\"%s\";r=0", names[what]);
}

void quotas_text(const struct quotas *q, enum quota what, char out[API_LIMIT_BYTES]) {
    static const char *const words[] = {"requests at once",        "tokens of questions at once",
                                        "bytes of bodies at once", "games at once",
                                        "uploads at once",         "tiles at once"};
    must(what < QUOTA_NONE);
    snprintf(out, API_LIMIT_BYTES, "%llu %s", (unsigned long long)quotas_most(q, what),
             words[what]);
}
