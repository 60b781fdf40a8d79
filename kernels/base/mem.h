/* mem.h - the only place that calls malloc.
 *
 * Three lifetimes: process (mem_must, sizes we choose), request (an arena, freed whole), step
 * (buffers made at start, never in a pass). mem_must dies when memory is short; mem_try fails and
 * is for sizes that a client chose, after a cap has been checked. Everything is zeroed and aligned
 * to 64 bytes. Counters let a test demand that a thousand passes allocate nothing; the fault hook
 * lets a test make the n-th mem_try fail.
 * Thread: any.
 */
#ifndef KERNELS_BASE_MEM_H
#define KERNELS_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void *mem_must(size_t bytes); /* zeroed, 64-byte aligned; aborts when out of memory */
void *mem_try(size_t bytes);  /* the same, or NULL */
void *mem_try_resize(void *p, size_t old_bytes, size_t new_bytes); /* NULL leaves p as it was */
void mem_free(void *p);                                            /* NULL is legal */
char *mem_strdup(const char *s); /* must-succeed copy, freed with mem_free */

/* a*b and a+b with overflow -> false. */
int mem_mul(size_t a, size_t b, size_t *out); /* 1 on success, 0 on overflow */
int mem_add(size_t a, size_t b, size_t *out);

struct mem_stats {
    uint64_t allocations; /* calls that returned memory since start */
    uint64_t frees;
    uint64_t live_bytes;
    uint64_t peak_bytes;
};
void mem_stats(struct mem_stats *out);
/* Allocations made by the calling thread since it began: what "the step allocates nothing"
 * counts. */
uint64_t mem_thread_allocations(void);

/* For a process that lives long: what was needed for a moment goes back to the kernel. Before other
 * threads start. */
void mem_frugal(void);

/* How often the calling thread was refused memory since it began: by the functions above, or by
 * mem_plain. A library may take that for the fault of what it reads. */
uint64_t mem_thread_failures(void);
/* malloc and free for a library that takes such functions. */
void *mem_plain(size_t bytes);
void mem_plain_free(void *p);

/* Tests only: the n-th next mem_try from now on (1 = the very next) fails, then all work; 0:
 * off. */
void mem_fail_at(uint64_t n);

/* Arena: many small pieces, freed together. A piece is zeroed, aligned to 16 bytes. */
struct arena;
struct arena *arena_new(size_t max_bytes); /* may-fail: NULL; max_bytes caps the sum of pieces */
void *arena_take(struct arena *a, size_t bytes); /* NULL over the cap or without memory */
char *arena_strdup(struct arena *a, const char *s, size_t len); /* NUL-terminated copy, or NULL */
void arena_free(struct arena *a);                               /* NULL is legal */

#ifdef __cplusplus
}
#endif
#endif
