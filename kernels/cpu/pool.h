/* pool.h - the CPU backend's workers: one call runs a function over task numbers on all threads.
 *
 * The caller is one of the threads. Which thread takes which task is up to chance; results never
 * depend on it, for a task writes what no other task touches. Nothing is allocated in a call, and
 * an idle pool sleeps. Thread: the owner of the `struct kern`.
 */
#ifndef KERNELS_CPU_POOL_H
#define KERNELS_CPU_POOL_H

#include <stdint.h>

struct pool;

/* `task` in 0 .. n-1; `thread` in 0 .. pool_threads-1 says whose scratch may be used. */
typedef void pool_fn(void *ctx, int task, int thread);

/* Must-succeed; threads >= 1; 0: one per usable core. Each thread calls `begin` before its tasks of
 * a call, and `end` behind them, if they aren't NULL. */
struct pool *pool_new(int threads, void (*begin)(void), void (*end)(void));
void pool_free(struct pool *p); /* NULL is legal */
int pool_threads(const struct pool *p);
/* From now on calls take the time of their threads. */
void pool_watch(struct pool *p);
/* Nanoseconds that threads had no task in a watched call that wasn't over, all together. */
uint64_t pool_wait_ns(const struct pool *p);
void pool_run(struct pool *p, int n, pool_fn *fn, void *ctx);

#endif
