/* bench_replicas.c - `lammd bench replicas`: how much more do two and three servers get done?
 *
 * One, two and three lammd serve behind one HAProxy (replicas.h), each with as many threads: those
 * of --threads, or a third of the cores. Clients, CLIENTS for each replica, ask /v1/reconstruct
 * about pictures that nobody has seen, 16 x 16 places each, until each replica has had
 * --limit of them on average. Time runs from the first question to the last answer. A figure is the
 * median of --repeat such turns. A failed request ends it: under load alone none may fail.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/http_client.h"
#include "cli/replicas.h"
#include "cli/runs.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "media/picture.h"

enum { CLIENTS = 6, SIDE = 64, EACH = 8, PNG_MAX = 1 << 16 };

struct bench_replicas {
    const struct config *cfg;
    char url[64];
    _Atomic uint64_t next, end;     /* pictures: the next one, and where this turn ends */
    _Atomic int failed;             /* a request, with this status; -1: without one */
    struct runs pace[REPLICAS_MAX]; /* pictures a second, of each turn */
};

static int replicas_draw(uint64_t k, struct buf *png) {
    uint8_t rgb[SIDE * SIDE * 3];
    for (size_t i = 0; i < sizeof(rgb); i++)
        rgb[i] = (uint8_t)(60 + i / (SIDE * 3) * 2 + rng_u64(k, i) % 48);
    buf_init(png, PNG_MAX);
    return picture_png(rgb, SIDE, SIDE, png);
}

/* The status of the answer; -1: there is none. */
static int replicas_ask(const struct http_client *c, uint64_t k) {
    char header[64];
    struct buf png;
    struct http_reply reply = {.status = 0};
    struct err none = {0};
    snprintf(header, sizeof(header), "X-Picture-Digest: bench-%llu", (unsigned long long)k);
    int rc = replicas_draw(k, &png);
    struct http_request q = {.method = "POST",
                             .path = "/v1/reconstruct?width=16&height=16",
                             .type = "image/png",
                             .header = header,
                             .body = png.p,
                             .len = png.len};
    if (rc == 0) rc = http_client_ask(c, &q, &reply, &none);
    int status = rc ? -1 : reply.status;
    http_client_drop(&reply);
    buf_clear(&png);
    return status;
}

static void *replicas_client(void *ud) {
    struct bench_replicas *b = ud;
    struct http_client c;
    struct err e = {0};
    int status = http_client_open(&c, b->url, NULL, NULL, &e) ? -1 : 200;
    c.wait_s = 0;
    while (status == 200 && !atomic_load(&b->failed)) {
        uint64_t k = atomic_fetch_add(&b->next, 1);
        if (k >= atomic_load(&b->end)) return NULL;
        status = replicas_ask(&c, k);
    }
    if (status != 200) atomic_store(&b->failed, status);
    return NULL;
}

static int replicas_turn(struct bench_replicas *b, int n, struct err *e) {
    pthread_t clients[CLIENTS * REPLICAS_MAX];
    uint64_t each = b->cfg->limit ? (uint64_t)b->cfg->limit : EACH, count = each * (uint64_t)n;
    int started = 0;
    uint64_t first = atomic_load(&b->end), start = clock_ns();
    atomic_store(&b->next, first);
    atomic_store(&b->end, first + count);
    while (started < CLIENTS * n &&
           pthread_create(&clients[started], NULL, replicas_client, b) == 0)
        started++;
    for (int i = 0; i < started; i++)
        pthread_join(clients[i], NULL);
    if (started == 0) return err_set(e, E_NOMEM, "no thread could be started");
    if (atomic_load(&b->failed))
        return err_set(e, E_IO, "a request failed with status %d", atomic_load(&b->failed));
    runs_add(&b->pace[n - 1], (double)count / ((double)(clock_ns() - start) / 1e9));
    return 0;
}

static int replicas_measure(struct bench_replicas *b, const struct replicas_how *how,
                            struct err *e) {
    struct replicas *r = NULL;
    int rc = replicas_start(how, &r, e);
    if (rc) return rc;
    snprintf(b->url, sizeof(b->url), "http://127.0.0.1:%d", replicas_port(r));
    for (int i = 0; rc == 0 && i <= b->cfg->repeat; i++) {
        rc = replicas_turn(b, how->n, e);
        if (i == 0) b->pace[how->n - 1].n = 0; /* starts threads and touches pages: not counted */
    }
    replicas_end(r);
    return rc;
}

static void replicas_print(struct bench_replicas *b, int threads) {
    double one = runs_part(&b->pace[0], 0.5);
    if (b->cfg->is_json)
        printf("{\"threads\":%d,\"cores\":%ld", threads, sysconf(_SC_NPROCESSORS_ONLN));
    else
        printf("replicas of %d threads behind HAProxy, on %ld cores\n", threads,
               sysconf(_SC_NPROCESSORS_ONLN));
    for (int n = 1; n <= REPLICAS_MAX; n++) {
        struct runs *p = &b->pace[n - 1];
        double middle = runs_part(p, 0.5);
        if (b->cfg->is_json)
            printf(",\"pictures_per_second_%d\":%.4f", n, middle);
        else
            printf("  %d: %7.2f pictures a second (%.2f .. %.2f), %.2f times one\n", n, middle,
                   runs_part(p, 0), runs_part(p, 1), middle / one);
    }
    if (b->cfg->is_json) puts("}");
}

int cmd_bench_replicas(const struct config *cfg) {
    struct err e = {0};
    char model[4096];
    struct bench_replicas *b = mem_must(sizeof(*b));
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct replicas_how how = {.config = cfg->rest.n > 1 ? cfg->rest.at[1] : "deploy/haproxy.cfg",
                               .model = config_model(cfg, model),
                               .threads = cfg->threads           ? (int)cfg->threads
                                          : cores > REPLICAS_MAX ? (int)(cores / REPLICAS_MAX)
                                                                 : 1};
    int rc = 0;
    b->cfg = cfg;
    for (how.n = 1; rc == 0 && how.n <= REPLICAS_MAX; how.n++)
        rc = replicas_measure(b, &how, &e);
    if (rc == 0) replicas_print(b, how.threads);
    mem_free(b);
    return rc ? cmd_fail(&e) : 0;
}
