/* mem.c - the only malloc. Counters are relaxed atomics: exact when the process is quiet, which is
 * when tests read them. A block carries its size in a 64-byte header, so that live bytes are known
 * without asking the allocator. Thread: any. */
#include "kernels/base/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/base/err.h"

enum { ALIGN = 64 };

static _Atomic uint64_t n_allocations, n_frees, live, peak;
static _Atomic uint64_t fail_countdown; /* 0: off */
static _Thread_local uint64_t thread_allocations, thread_failures;

/* Large blocks are mostly weights, which are read from front to back once a row: by small pages
 * much of that time goes into looking them up. A wish, which the system may leave unheard. */
static void ask_huge(char *p, size_t bytes) {
    const uintptr_t page = 2 << 20, end = (uintptr_t)p + bytes;
    size_t before = (page - (uintptr_t)p % page) % page, behind = end % page;
    if (bytes >= 2 * page) (void)madvise(p + before, bytes - before - behind, MADV_HUGEPAGE);
}

static void *mem_take(size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    size_t total =
        (bytes + 2 * ALIGN - 1) / ALIGN * ALIGN; /* header, bytes, and up to a multiple */
    char *raw = aligned_alloc(ALIGN, total);
    if (!raw) return NULL;
    ask_huge(raw, total);
    memset(raw, 0, total);
    memcpy(raw, &bytes, sizeof bytes);
    atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    thread_allocations++;
    uint64_t now = atomic_fetch_add_explicit(&live, bytes, memory_order_relaxed) + bytes;
    uint64_t was = atomic_load_explicit(&peak, memory_order_relaxed);
    while (now > was && !atomic_compare_exchange_weak_explicit(
                            &peak, &was, now, memory_order_relaxed, memory_order_relaxed)) {}
    return raw + ALIGN;
}

/* Does the fault hook want this one to fail? */
static int should_fail(void) {
    uint64_t n = atomic_load_explicit(&fail_countdown, memory_order_relaxed);
    while (n) {
        if (atomic_compare_exchange_weak_explicit(&fail_countdown, &n, n - 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return n == 1;
    }
    return 0;
}

void *mem_must(size_t bytes) {
    void *p = mem_take(bytes);
    if (!p) {
        fprintf(stderr, "out of memory: %zu bytes\n", bytes);
        abort();
    }
    return p;
}

void *mem_try(size_t bytes) {
    void *p = should_fail() ? NULL : mem_take(bytes);
    thread_failures += !p;
    return p;
}

/* glibc keeps an arena for each thread, and raises its threshold for blocks of their own with the
 * biggest that was freed: a peak of each worker would stay for good. */
void mem_frugal(void) {
    enum { ARENAS = 2, BLOCK = 256 << 10, KEPT = 1 << 20 };
    (void)mallopt(M_ARENA_MAX, ARENAS);
    (void)mallopt(M_MMAP_THRESHOLD, BLOCK);
    (void)mallopt(M_TRIM_THRESHOLD, KEPT);
}

void *mem_plain(size_t bytes) {
    void *p = malloc(bytes);
    thread_failures += !p && bytes;
    return p;
}

void mem_plain_free(void *p) { free(p); }

uint64_t mem_thread_failures(void) { return thread_failures; }

void *mem_try_resize(void *p, size_t old_bytes, size_t new_bytes) {
    void *q = mem_try(new_bytes);
    if (!q) return NULL;
    if (p) memcpy(q, p, old_bytes < new_bytes ? old_bytes : new_bytes);
    mem_free(p);
    return q;
}

void mem_free(void *p) {
    if (!p) return;
    char *raw = (char *)p - ALIGN;
    size_t bytes;
    memcpy(&bytes, raw, sizeof bytes);
    atomic_fetch_sub_explicit(&live, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&n_frees, 1, memory_order_relaxed);
    free(raw);
}

char *mem_strdup(const char *s) {
    size_t n = strlen(s) + 1;
    return memcpy(mem_must(n), s, n);
}

int mem_mul(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
int mem_add(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }

void mem_stats(struct mem_stats *out) {
    out->allocations = atomic_load_explicit(&n_allocations, memory_order_relaxed);
    out->frees = atomic_load_explicit(&n_frees, memory_order_relaxed);
    out->live_bytes = atomic_load_explicit(&live, memory_order_relaxed);
    out->peak_bytes = atomic_load_explicit(&peak, memory_order_relaxed);
}

uint64_t mem_thread_allocations(void) { return thread_allocations; }

void mem_fail_at(uint64_t n) { atomic_store_explicit(&fail_countdown, n, memory_order_relaxed); }

/* ---- arena: a chain of blocks, pieces cut from the newest ---- */
enum { ARENA_BLOCK = 8192, ARENA_ALIGN = 16 };

struct block {
    struct block *next;
    size_t used, size;
};
struct arena {
    struct block *blocks;
    size_t taken, max;
};

struct arena *arena_new(size_t max_bytes) {
    struct arena *a = mem_try(sizeof *a);
    if (a) a->max = max_bytes;
    return a;
}

static char *block_bytes(struct block *b) { return (char *)b + 64; }

void *arena_take(struct arena *a, size_t bytes) {
    if (bytes > a->max - a->taken) return NULL;
    size_t need = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (need < bytes) return NULL;
    struct block *b = a->blocks;
    if (!b || b->size - b->used < need) {
        size_t size = need > ARENA_BLOCK ? need : ARENA_BLOCK;
        size_t total;
        if (!mem_add(size, 64, &total)) return NULL;
        b = mem_try(total);
        if (!b) return NULL;
        b->size = size;
        b->next = a->blocks;
        a->blocks = b;
    }
    void *p = block_bytes(b) + b->used;
    b->used += need;
    a->taken += bytes;
    return p;
}

char *arena_strdup(struct arena *a, const char *s, size_t len) {
    size_t n;
    if (!mem_add(len, 1, &n)) return NULL;
    char *p = arena_take(a, n);
    if (!p) return NULL;
    if (len) memcpy(p, s, len);
    p[len] = '\0';
    return p;
}

void arena_free(struct arena *a) {
    if (!a) return;
    for (struct block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        mem_free(b);
    }
    mem_free(a);
}
