/* pairs.c - products of numbers that were rounded to bf16, with sums in f32: what is packed and how
 * x comes to it. isa.h says what pairs are; dW is in gemm_back.c.
 *
 * Weights are rounded when they are set. x goes through scratch memory, once for all panels. The
 * product is the ordinary one, with half as many places along its sum.
 */
#include <string.h>

#include "kernels/base/half.h"
#include "kernels/cpu/cpu_kern.h"

/* One row of the pack for the way back, which shares its places with the row beside it. */
static void set_half(const struct cpu_isa *isa, const struct kern_mat *m, int row, const float *x) {
    size_t nr = (size_t)isa->nr, panel = (size_t)m->n_places * nr;
    char *to = (char *)(m->back + (size_t)row / 2 * nr) + (size_t)row % 2 * sizeof(uint16_t);
    for (size_t c = 0; c < (size_t)m->k; c++) {
        uint16_t h = half_to_bf16(x[c]);
        memcpy(to + (c / nr * panel + c % nr) * sizeof(float), &h, sizeof h);
    }
}

size_t cpu_pairs_room(const struct cpu_isa *isa, const struct kern_mat *m) {
    return (size_t)cpu_pairs(isa->nr) * 2 * (size_t)m->k_places;
}

void cpu_pairs_set(const struct cpu_isa *isa, const struct kern_mat *m, int row, int rows,
                   const float *x, int ldx, float *room) {
    size_t nr = (size_t)isa->nr, ld = (size_t)ldx;
    for (size_t i = 0; i < (size_t)rows; i++)
        isa->pair_line(m->k, x + i * ld, room + i * (size_t)m->k_places);
    isa->transpose(rows, m->k_places, room, m->k_places,
                   m->data + (size_t)row / nr * nr * (size_t)m->k_places + (size_t)row % nr,
                   isa->nr);
    if (!m->back) return;
    if (row % 2) set_half(isa, m, row++, x), x += ld, rows--;
    if (rows % 2) set_half(isa, m, row + rows - 1, x + (size_t)(rows - 1) * ld), rows--;
    isa->pair_rows(rows, m->k, x, ldx, room, m->k);
    isa->panels(rows / 2, m->k, room, m->k, m->back + (size_t)row / 2 * nr,
                (size_t)m->n_places * nr);
}

void cpu_pairs_turn(const struct cpu_isa *isa, int rows, int K, const float *x, int ldx, float *to,
                    float *room) {
    int places = cpu_pairs(K), nr = isa->nr;
    for (size_t i = 0; i < (size_t)rows; i++)
        isa->pair_line(K, x + i * (size_t)ldx, room + i * (size_t)places);
    for (int at = 0; at < rows; at += nr, to += (size_t)nr * (size_t)places) {
        int n = rows - at < nr ? rows - at : nr;
        if (n < nr) memset(to, 0, (size_t)nr * (size_t)places * sizeof *to);
        isa->transpose(n, places, room + (size_t)at * (size_t)places, places, to, nr);
    }
}

void cpu_pairs_panels(const struct cpu_isa *isa, int rows, int K, const float *x, int ldx,
                      float *to, float *room) {
    isa->pair_rows(rows, K, x, ldx, room, K);
    isa->panels(cpu_pairs(rows), K, room, K, to, (size_t)cpu_pairs(rows) * (size_t)isa->nr);
}

enum { PAIR_ROWS = 8 }; /* of one task */

struct pairs_job {
    struct kern *k;
    const struct cpu_product *a;
    float *to; /* (a->m, cpu_pairs(a->k)) */
};

static void pairs_task(void *ctx, int task, int thread) {
    (void)thread;
    const struct pairs_job *j = ctx;
    size_t ld = (size_t)cpu_pairs(j->a->k);
    for (int r = task * PAIR_ROWS; r < (task + 1) * PAIR_ROWS && r < j->a->m; r++)
        j->k->isa->pair_line(j->a->k, j->a->x + (size_t)r * (size_t)j->a->ldx,
                             j->to + (size_t)r * ld);
}

/* As many rows at a time as the scratch has room for. */
void cpu_multiply_pairs(struct kern *k, const struct cpu_product *all) {
    size_t places = (size_t)cpu_pairs(all->k);
    float *room = cpu_scratch(k, &k->shared, places);
    int most = places && k->shared.floats / places < (size_t)all->m
                   ? (int)(k->shared.floats / places)
                   : all->m;
    for (int row = 0; row < all->m; row += most) {
        struct cpu_product a = *all;
        a.m = all->m - row < most ? all->m - row : most;
        a.x = all->x + (size_t)row * (size_t)all->ldx;
        a.y = all->y + (size_t)row * (size_t)all->ldy;
        struct pairs_job j = {k, &a, room};
        pool_run(k->pool, (a.m + PAIR_ROWS - 1) / PAIR_ROWS, pairs_task, &j);
        a.is_pairs = 1;
        a.x = room;
        a.ldx = a.k = (int)places;
        a.deep = cpu_pairs(all->deep);
        cpu_multiply(k, &a);
    }
}
