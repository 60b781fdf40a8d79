/* pool.c - a round of work is published by raising `round`; workers and caller draw task numbers
 * from one counter until it runs dry. A worker spins a little before it sleeps, since the
 * operations of a pass follow each other within microseconds.
 *
 * Invariants: (1) fn, ctx, n and next are written only while no worker is inside a round (`inside`
 * is 0 and the mutex is held); (2) a worker enters a round under the mutex, so it sees them whole.
 */
#include "kernels/cpu/pool.h"

#include <pthread.h>
#include <stdatomic.h>

#include "kernels/base/cgroup.h"
#include "kernels/base/clock.h"
#include "kernels/base/err.h"
#include "kernels/base/mem.h"

enum { SPINS = 2000 };

struct pool {
    pthread_mutex_t mu;
    pthread_cond_t start, done;
    struct worker *workers; /* (count - 1) */
    int count;
    void (*begin)(void), (*end)(void);
    _Atomic unsigned round; /* raised under mu; spun on without it */
    _Atomic int next;       /* next task number to draw */
    _Atomic int inside;     /* workers in the round; changed under mu, spun on without it */
    int is_watched;         /* set before the first round that it is about */
    _Atomic uint64_t busy;  /* ns of the threads in this round */
    uint64_t wait_ns;       /* the caller's */
    int n, closing;         /* Lock: mu */
    pool_fn *fn;            /* Lock: mu */
    void *ctx;              /* Lock: mu */
};
struct worker {
    pthread_t id;
    struct pool *p;
    int thread; /* its number; 0 is the caller's */
};

static void pool_draw(struct pool *p, pool_fn *fn, void *ctx, int n, int thread) {
    uint64_t start = p->is_watched ? clock_ns() : 0;
    if (p->begin) p->begin();
    for (int t; (t = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed)) < n;)
        fn(ctx, t, thread);
    if (p->end) p->end();
    if (p->is_watched)
        atomic_fetch_add_explicit(&p->busy, clock_ns() - start, memory_order_relaxed);
}

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void *pool_work(void *arg) {
    const struct worker *self = arg;
    struct pool *p = self->p;
    unsigned seen = 0;
    for (;;) {
        for (int i = 0; i < SPINS && atomic_load_explicit(&p->round, memory_order_relaxed) == seen;
             i++)
            relax();
        pthread_mutex_lock(&p->mu);
        while (p->round == seen && !p->closing)
            pthread_cond_wait(&p->start, &p->mu);
        if (p->closing) break;
        seen = p->round;
        pool_fn *fn = p->fn;
        void *ctx = p->ctx;
        int n = p->n;
        if (fn) p->inside++;
        pthread_mutex_unlock(&p->mu);
        if (!fn) continue; /* the round was over before we woke */
        pool_draw(p, fn, ctx, n, self->thread);
        pthread_mutex_lock(&p->mu);
        if (--p->inside == 0) pthread_cond_signal(&p->done);
        pthread_mutex_unlock(&p->mu);
    }
    pthread_mutex_unlock(&p->mu);
    return NULL;
}

struct pool *pool_new(int threads, void (*begin)(void), void (*end)(void)) {
    struct pool *p = mem_must(sizeof *p);
    p->count = threads > 0 ? threads : cgroup_processors();
    p->begin = begin;
    p->end = end;
    p->workers = mem_must((size_t)p->count * sizeof *p->workers);
    must(pthread_mutex_init(&p->mu, NULL) == 0);
    must(pthread_cond_init(&p->start, NULL) == 0);
    must(pthread_cond_init(&p->done, NULL) == 0);
    for (int i = 1; i < p->count; i++) {
        struct worker *w = &p->workers[i - 1];
        w->p = p;
        w->thread = i;
        must(pthread_create(&w->id, NULL, pool_work, w) == 0);
    }
    return p;
}

void pool_free(struct pool *p) {
    if (!p) return;
    pthread_mutex_lock(&p->mu);
    p->closing = 1;
    pthread_cond_broadcast(&p->start);
    pthread_mutex_unlock(&p->mu);
    for (int i = 1; i < p->count; i++)
        pthread_join(p->workers[i - 1].id, NULL);
    pthread_cond_destroy(&p->start);
    pthread_cond_destroy(&p->done);
    pthread_mutex_destroy(&p->mu);
    mem_free(p->workers);
    mem_free(p);
}

int pool_threads(const struct pool *p) { return p->count; }
void pool_watch(struct pool *p) { p->is_watched = 1; }
uint64_t pool_wait_ns(const struct pool *p) { return p->wait_ns; }

/* A round is over, which began at `start`. */
static void pool_add_wait(struct pool *p, uint64_t start) {
    uint64_t all = (uint64_t)p->count * (clock_ns() - start), busy = atomic_exchange(&p->busy, 0);
    if (all > busy) p->wait_ns += all - busy;
}

void pool_run(struct pool *p, int n, pool_fn *fn, void *ctx) {
    uint64_t start = p->is_watched ? clock_ns() : 0;
    if (n <= 1 || p->count == 1) {
        if (n > 0 && p->begin) p->begin();
        for (int t = 0; t < n; t++)
            fn(ctx, t, 0);
        if (n > 0 && p->end) p->end();
        if (p->is_watched) p->wait_ns += (uint64_t)(p->count - 1) * (clock_ns() - start);
        return;
    }
    pthread_mutex_lock(&p->mu);
    p->fn = fn;
    p->ctx = ctx;
    p->n = n;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    p->round++;
    pthread_cond_broadcast(&p->start);
    pthread_mutex_unlock(&p->mu);
    pool_draw(p, fn, ctx, n, 0);
    for (int i = 0; i < SPINS && atomic_load_explicit(&p->inside, memory_order_relaxed); i++)
        relax();
    pthread_mutex_lock(&p->mu);
    while (p->inside)
        pthread_cond_wait(&p->done, &p->mu);
    p->fn = NULL; /* late wakers find nothing */
    pthread_mutex_unlock(&p->mu);
    if (p->is_watched) pool_add_wait(p, start);
}
