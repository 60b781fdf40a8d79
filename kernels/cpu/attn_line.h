/* attn_line.h - one row and its line of scores, for each head: where its keys are, how the line
 * ends, and the whole attention of a row that shares its keys with no other.
 */
#ifndef KERNELS_CPU_ATTN_LINE_H
#define KERNELS_CPU_ATTN_LINE_H

#include "kernels/cpu/cpu_kern.h"

enum {
    CACHE_LINE = 64,
    ROW_BLOCK = 48 /* rows of a block, whose lines are one thread's scratch */
};

/* Room of a line of n shared and `own` own scores, both in whole panels. */
static inline int cpu_line_floats(const struct cpu_isa *isa, int n, int own) {
    return cpu_round_up(cpu_round_up(n, isa->nr) + cpu_round_up(own, isa->nr), CPU_PAD);
}

/* End a line of n scores: -inf up to the next multiple of 16, then the softmax's exponentials, as
 * `exp_sum` leaves them. Its sum; and the logarithm of the scores' own sum, if that is wanted. */
float cpu_line_end(cpu_exp_sum_fn *exp_sum, float *s, int n, float *lse);

/* Where that of a row and head goes: lse (rows, heads). */
static inline float *cpu_lse_at(struct kern_ptr lse, size_t row, int heads, int head) {
    return lse.addr ? cpu_f32(lse) + row * (size_t)heads + (size_t)head : NULL;
}

/* Shared keys of a group. */
int cpu_group_keys(const struct kern_attn_tree *a, const struct kern_attn_group *g);

/* The slots of a row's own keys: consecutive from `first`, or listed. */
struct cpu_own {
    const int32_t *list;
    int first, n;
};
struct cpu_own cpu_own(const struct kern_attn_tree *a, const struct kern_attn_group *g, int row);
static inline size_t cpu_own_slot(const struct cpu_own *o, int i) {
    return (size_t)(o->list ? o->list[i] : o->first + i);
}

/* A token's head in a pool: there, or widened in `room`. */
const float *cpu_pool_line(const struct cpu_isa *isa, const struct kern_attn_tree *a,
                           struct kern_ptr pool, size_t slot, int head, float *room);

/* Heads [head, head + heads) of a group of one row. `s` has room for as many lines, and for
 * CPU_LINES heads behind ROW_BLOCK of them. */
enum { CPU_LONE_HEADS = 16 }; /* at most */
void cpu_lone(const struct cpu_isa *isa, const struct kern_attn_tree *a,
              const struct kern_attn_group *g, int head, int heads, float *s);

#endif
