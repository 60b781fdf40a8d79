/* queue.c - a ring under one mutex. No function holds it while calling out. Invariant:
 * items ring[head .. head+len) modulo cap; `poked` makes one sleeping popper return early. */
#include "kernels/base/queue.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"

struct queue {
    pthread_mutex_t mu;
    pthread_cond_t more;
    void **ring; /* Lock: mu, as is all below */
    size_t cap, head, len;
    int closed, poked;
};

struct queue *queue_new(size_t cap) {
    struct queue *q = mem_must(sizeof *q);
    q->cap = cap ? cap : 1;
    q->ring = mem_must(q->cap * sizeof *q->ring);
    must(pthread_mutex_init(&q->mu, NULL) == 0);
    pthread_condattr_t a;
    must(pthread_condattr_init(&a) == 0);
    must(pthread_condattr_setclock(&a, CLOCK_MONOTONIC) == 0);
    must(pthread_cond_init(&q->more, &a) == 0);
    pthread_condattr_destroy(&a);
    return q;
}

void queue_free(struct queue *q) {
    if (!q) return;
    pthread_cond_destroy(&q->more);
    pthread_mutex_destroy(&q->mu);
    mem_free(q->ring);
    mem_free(q);
}

int queue_push(struct queue *q, void *item) {
    int rc = 0;
    pthread_mutex_lock(&q->mu);
    if (q->closed) {
        rc = E_CANCELLED;
    } else if (q->len == q->cap) {
        rc = E_BUSY;
    } else {
        q->ring[(q->head + q->len++) % q->cap] = item;
        pthread_cond_signal(&q->more);
    }
    pthread_mutex_unlock(&q->mu);
    return rc;
}

/* Monotonic time `ns` from now, saturating. */
static struct timespec later(uint64_t ns) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    const uint64_t most = 100ull * 365 * 86400 * 1000000000;
    if (ns > most) ns = most;
    t.tv_sec += (time_t)(ns / 1000000000u);
    t.tv_nsec += (long)(ns % 1000000000u);
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

int queue_pop(struct queue *q, uint64_t timeout_ns, void **item) {
    int rc = 0;
    struct timespec until = later(timeout_ns);
    pthread_mutex_lock(&q->mu);
    while (q->len == 0 && !q->closed && !q->poked && rc == 0) {
        if (timeout_ns == 0) break;
        rc = pthread_cond_timedwait(&q->more, &q->mu, &until);
    }
    if (q->len) {
        *item = q->ring[q->head];
        q->head = (q->head + 1) % q->cap;
        q->len--;
        rc = 0;
    } else {
        rc = q->closed ? E_CANCELLED : E_TIMEOUT;
        q->poked = 0;
    }
    pthread_mutex_unlock(&q->mu);
    return rc;
}

void queue_poke(struct queue *q) {
    pthread_mutex_lock(&q->mu);
    q->poked = 1;
    pthread_cond_signal(&q->more);
    pthread_mutex_unlock(&q->mu);
}

void queue_close(struct queue *q) {
    pthread_mutex_lock(&q->mu);
    q->closed = 1;
    pthread_cond_broadcast(&q->more);
    pthread_mutex_unlock(&q->mu);
}

size_t queue_len(struct queue *q) {
    pthread_mutex_lock(&q->mu);
    size_t n = q->len;
    pthread_mutex_unlock(&q->mu);
    return n;
}
