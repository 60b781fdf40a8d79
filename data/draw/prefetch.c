/* prefetch.c - see data/prefetch.h.
 *
 * A seat is a sample in waiting. Empty seats go through `empty` to the thread, in the order in
 * which their samples are wanted, and come back through `full` in that same order. Both queues
 * have room for all seats, so nobody ever waits to push.
 */
#include "data/prefetch.h"

#include <pthread.h>

#include "kernels/base/mem.h"
#include "kernels/base/queue.h"

struct seat {
    uint64_t step;
    uint32_t item;
    struct sampler_draw *draw; /* NULL: rc and err tell why */
    int rc;
    struct err err;
};
struct prefetch {
    const struct sampler *sampler;
    struct prefetch_range range;
    uint64_t step; /* of the next seat that is sent. Owner: who calls */
    uint32_t item;
    struct seat *seats; /* (n). A seat is owned by whoever popped it */
    unsigned n;
    struct seat *held; /* what the caller looks at */
    struct queue *empty, *full;
    pthread_t thread;
    int has_thread;
};

static void *prefetch_main(void *ud) {
    struct prefetch *p = ud;
    void *at;
    while (queue_pop(p->empty, UINT64_MAX, &at) == 0) {
        struct seat *s = at;
        s->err = (struct err){0};
        s->rc = sampler_draw(p->sampler, s->step, s->item, &s->draw, &s->err);
        if (queue_push(p->full, s)) break;
    }
    return NULL;
}

/* The seat is sent for the next sample in order. */
static void prefetch_send(struct prefetch *p, struct seat *s) {
    sampler_give_back(s->draw);
    s->draw = NULL;
    s->step = p->step;
    s->item = p->range.item + p->item;
    if (++p->item == p->range.n) {
        p->item = 0;
        p->step++;
    }
    must(queue_push(p->empty, s) == 0);
}

int prefetch_open(const struct sampler *s, const struct prefetch_range *r, unsigned ahead,
                  struct prefetch **out, struct err *e) {
    *out = NULL;
    if (!r->n || ahead < 1 || ahead > PREFETCH_AHEAD_MAX)
        return err_set(e, E_INVALID, "samples ahead must be 1 to %d", PREFETCH_AHEAD_MAX);
    struct prefetch *p = mem_must(sizeof(*p));
    *p = (struct prefetch){.sampler = s, .range = *r, .step = r->step, .n = ahead + 1};
    p->seats = mem_must(p->n * sizeof(*p->seats));
    p->empty = queue_new(p->n);
    p->full = queue_new(p->n);
    p->has_thread = pthread_create(&p->thread, NULL, prefetch_main, p) == 0;
    if (!p->has_thread) {
        prefetch_close(p);
        return err_set(e, E_NOMEM, "no thread for samples");
    }
    for (unsigned i = 0; i < p->n; i++)
        prefetch_send(p, &p->seats[i]);
    *out = p;
    return 0;
}

int prefetch_next(struct prefetch *p, const struct sampler_draw **out, struct err *e) {
    void *at;
    *out = NULL;
    if (p->held) prefetch_send(p, p->held);
    must(queue_pop(p->full, UINT64_MAX, &at) == 0);
    p->held = at;
    if (p->held->rc) return err_set(e, p->held->rc, "%s", p->held->err.text);
    *out = p->held->draw;
    return 0;
}

void prefetch_close(struct prefetch *p) {
    if (!p) return;
    /* What is still to be drawn is taken away from the thread. */
    void *at;
    while (queue_pop(p->empty, 0, &at) == 0)
        ;
    queue_close(p->empty);
    if (p->has_thread) (void)pthread_join(p->thread, NULL);
    for (unsigned i = 0; i < p->n; i++)
        sampler_give_back(p->seats[i].draw);
    queue_free(p->empty);
    queue_close(p->full);
    queue_free(p->full);
    mem_free(p->seats);
    mem_free(p);
}
