/* queue.h - a bounded first-in first-out queue of pointers between threads.
 *
 * What is pushed belongs to the queue, what is popped to the popper: after sending, do not touch.
 * The only home of mutex and condition variable outside kernels/cpu/pool.c and server/.
 */
#ifndef KERNELS_BASE_QUEUE_H
#define KERNELS_BASE_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct queue;

struct queue *queue_new(size_t cap); /* must-succeed */
void queue_free(struct queue *q);    /* empty and unused by then; NULL is legal */

/* 0; E_BUSY when full; E_CANCELLED when closed. Never blocks. Any thread. */
int queue_push(struct queue *q, void *item);

/* Waits up to timeout_ns (0: not at all, UINT64_MAX: for ever). 0 and *item; E_TIMEOUT; E_CANCELLED
 * when the queue is closed and empty. */
int queue_pop(struct queue *q, uint64_t timeout_ns, void **item);

/* Wakes a sleeping popper once, which then returns E_TIMEOUT. For "look at your flags". */
void queue_poke(struct queue *q);

void queue_close(struct queue *q); /* no more pushes; what is inside may still be popped */
size_t queue_len(struct queue *q);

#ifdef __cplusplus
}
#endif
#endif
