/* attn_line.c - see attn_line.h.
 *
 * A row alone meets its keys and values where they are in the pool, token by token, and several
 * heads at a time, which lie side by side there. Each is read once, from memory: packing would be
 * for this row only, and takes longer than that. */
#include "kernels/cpu/attn_line.h"

#include <math.h>
#include <string.h>

float cpu_line_end(cpu_exp_sum_fn *exp_sum, float *s, int n, float *lse) {
    int padded = cpu_round_up(n, CPU_PAD);
    for (int i = n; i < padded; i++)
        s[i] = -INFINITY;
    float max, sum = exp_sum(padded, s, &max);
    if (lse) *lse = max + logf(sum);
    return sum;
}

int cpu_group_keys(const struct kern_attn_tree *a, const struct kern_attn_group *g) {
    int n = 0;
    for (int i = 0; i < g->spans; i++)
        n += a->spans[g->span0 + i].len;
    return n;
}

struct cpu_own cpu_own(const struct kern_attn_tree *a, const struct kern_attn_group *g, int row) {
    if (g->own_slot >= 0) return (struct cpu_own){NULL, g->own_slot, row - g->row0 + 1};
    int from = cpu_i32(a->tail_off)[row];
    return (struct cpu_own){cpu_i32(a->tail) + from, 0, cpu_i32(a->tail_off)[row + 1] - from};
}

const float *cpu_pool_line(const struct cpu_isa *isa, const struct kern_attn_tree *a,
                           struct kern_ptr pool, size_t slot, int head, float *room) {
    int K = a->head_size;
    const char *at =
        pool.addr + (slot * (size_t)a->heads + (size_t)head) * kern_head_bytes(a->pool_dtype, K);
    if (a->pool_dtype == KERN_F32) return (const float *)(const void *)at;
    if (a->pool_dtype == KERN_BF16) {
        isa->widen(K, (const uint16_t *)(const void *)at, room);
        return room;
    }
    float scale;
    memcpy(&scale, at, sizeof scale);
    isa->from_ints(K, (const int8_t *)at + sizeof scale, scale, room);
    return room;
}

/* ---- a row alone ---- */

/* Its list of keys, shared ones and own, few by few. */
struct lone_keys {
    const struct kern_attn_span *spans;
    int n_spans, at; /* spans that are left; keys that were given of the first, or of `own` */
    struct cpu_own own;
};

/* The slots of up to CPU_LINES more, whose number it returns. */
static int lone_next(struct lone_keys *l, size_t *slots) {
    int n = 0;
    while (n < CPU_LINES) {
        int len = l->n_spans ? l->spans->len : l->own.n;
        if (l->at < len) {
            slots[n++] =
                l->n_spans ? (size_t)(l->spans->slot + l->at) : cpu_own_slot(&l->own, l->at);
            l->at++;
        } else if (l->n_spans) {
            l->spans++, l->n_spans--, l->at = 0;
        } else {
            break;
        }
    }
    return n;
}

struct lone {
    const struct cpu_isa *isa;
    const struct kern_attn_tree *a;
    int head, heads;
    const float *q;
    float *s, *y; /* (heads, ld) scores; (heads, K) sums */
    int ld;
    float *room; /* of CPU_LINES heads */
};

/* n keys or values of a pool, number `at` and those that follow, and all heads. */
static void lone_some(const struct lone *w, struct kern_ptr pool, int is_key, int n,
                      const size_t *slots, int at) {
    const float *lines[CPU_LINES];
    int K = w->a->head_size;
    for (int h = 0; h < w->heads; h++) {
        float *s = w->s + (size_t)h * (size_t)w->ld + at;
        for (int i = 0; i < n; i++)
            lines[i] = cpu_pool_line(w->isa, w->a, pool, slots[i], w->head + h, w->room + i * K);
        if (is_key)
            w->isa->score_lines(n, K, w->q + h * K, lines, w->a->scale, s);
        else
            w->isa->add_lines(n, K, lines, s, w->y + h * K);
    }
}

/* All of them in their order, whose number it returns. Those that follow are asked for
 * meanwhile. */
static int lone_all(const struct lone *w, struct kern_ptr pool, int is_key, struct lone_keys l) {
    size_t head = kern_head_bytes(w->a->pool_dtype, w->a->head_size);
    size_t token = head * (size_t)w->a->heads, slots[2][CPU_LINES] = {{0}};
    const char *first = pool.addr + (size_t)w->head * head;
    int at = 0, turn = 0, n = lone_next(&l, slots[0]), more;
    for (; n > 0; at += n, n = more, turn = !turn) {
        more = lone_next(&l, slots[!turn]);
        for (int i = 0; i < more; i++)
            for (size_t byte = 0; byte < (size_t)w->heads * head; byte += CACHE_LINE)
                __builtin_prefetch(first + slots[!turn][i] * token + byte, 0, 2);
        lone_some(w, pool, is_key, n, slots[turn], at);
    }
    return at;
}

void cpu_lone(const struct cpu_isa *isa, const struct kern_attn_tree *a,
              const struct kern_attn_group *g, int head, int heads, float *s) {
    size_t row = (size_t)g->row0, K = (size_t)a->head_size, col = (size_t)head * K;
    struct lone_keys keys = {
        .spans = a->spans + g->span0, .n_spans = g->spans, .own = cpu_own(a, g, g->row0)};
    int ld = cpu_line_floats(isa, cpu_group_keys(a, g), keys.own.n);
    struct lone w = {.isa = isa,
                     .a = a,
                     .head = head,
                     .heads = heads,
                     .q = cpu_f32(a->q) + row * (size_t)a->ldq + col,
                     .s = s,
                     .y = cpu_f32(a->y) + row * (size_t)a->ldy + col,
                     .ld = ld,
                     .room = s + (size_t)ROW_BLOCK * (size_t)ld};
    float sum[CPU_LONE_HEADS];
    int n = lone_all(&w, a->pool_k, 1, keys);
    for (int h = 0; h < heads; h++)
        sum[h] = cpu_line_end(isa->exp_sum, s + (size_t)h * (size_t)ld, n,
                              cpu_lse_at(a->lse, row, a->heads, head + h));
    memset(w.y, 0, (size_t)heads * K * sizeof *w.y);
    (void)lone_all(&w, a->pool_v, 0, keys);
    for (int h = 0; h < heads; h++)
        isa->scale(a->head_size, w.y + (size_t)h * K, 1.0f / sum[h]);
}
