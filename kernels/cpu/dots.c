/* dots.c - products of weights in few bits with rows in 8 bits: how rows come to be so. dots.h says
 * what is multiplied.
 *
 * x goes through scratch memory, once for all panels. The product is the ordinary one.
 */
#include "kernels/cpu/dots.h"

#include "kernels/cpu/cpu_kern.h"

enum { ROUND_ROWS = 8 }; /* of one task */

struct dots_job {
    struct kern *k;
    const struct cpu_product *a;
    float *to; /* (a->m, floats) */
    size_t floats;
};

static void dots_task(void *ctx, int task, int thread) {
    (void)thread;
    const struct dots_job *j = ctx;
    int more = j->a->keep == KERN_KEEP_INT8X8 ? 128 : 8;
    for (int r = task * ROUND_ROWS; r < (task + 1) * ROUND_ROWS && r < j->a->m; r++)
        j->k->dots->round(j->a->k, more, j->a->x + (size_t)r * (size_t)j->a->ldx,
                          j->to + (size_t)r * j->floats);
}

/* As many rows at a time as the scratch has room for. */
void cpu_multiply_dots(struct kern *k, const struct cpu_product *all) {
    size_t floats = (size_t)cpu_blocks(all->k) * (size_t)k->dots->block_floats;
    float *room = cpu_scratch(k, &k->shared, floats);
    int most = floats && k->shared.floats / floats < (size_t)all->m
                   ? (int)(k->shared.floats / floats)
                   : all->m;
    for (int row = 0; row < all->m; row += most) {
        struct cpu_product a = *all;
        a.m = all->m - row < most ? all->m - row : most;
        a.x = all->x + (size_t)row * (size_t)all->ldx;
        a.y = all->y + (size_t)row * (size_t)all->ldy;
        struct dots_job j = {k, &a, room, floats};
        pool_run(k->pool, (a.m + ROUND_ROWS - 1) / ROUND_ROWS, dots_task, &j);
        a.x = room;
        a.ldx = a.k = a.deep = (int)floats;
        cpu_multiply(k, &a);
    }
}
