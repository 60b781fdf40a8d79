/* crew.c - see crew.h. */
#include "batch/crew.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "kernels/base/mem.h"
#include "kernels/base/queue.h"

enum { REST, DUE, STEP, AGAIN };
enum { REPLY_MAX = 80 << 20, THREADS_MAX = 64 };

struct crew {
    struct api *api;
    struct crew_options o;
    struct crew_item *items, *unused;
    int n_items, n_sent, n_threads;
    struct queue *due, *done;
    pthread_t threads[THREADS_MAX];
};

/* ---- whose turn it is ---- */

static void crew_on_wake(void *ud) {
    struct crew_item *item = ud;
    int turn = atomic_load(&item->_turn);
    for (;;) {
        int next = turn == REST ? DUE : turn == STEP ? AGAIN : turn;
        if (!atomic_compare_exchange_weak(&item->_turn, &turn, next)) continue;
        if (turn == REST) (void)queue_push(item->_crew->due, item); /* closed: it is not stepped */
        return;
    }
}

/* The step said that it waits. Was it woken meanwhile? */
static void rest(struct crew_item *item) {
    int turn = STEP;
    if (atomic_compare_exchange_strong(&item->_turn, &turn, REST)) return;
    atomic_store(&item->_turn, DUE);
    (void)queue_push(item->_crew->due, item);
}

/* ---- one item ---- */

static int crew_begin(struct crew_item *item) {
    const struct crew_options *o = &item->_crew->o;
    snprintf(item->_id, sizeof(item->_id), "%s-%llu", o->name, (unsigned long long)item->line);
    item->_in = (struct api_input){.content_type = "application/json",
                                   .accept = "application/json",
                                   .request_id = item->_id,
                                   .caller = o->caller,
                                   .visit = o->visit,
                                   .body = item->question.body.p,
                                   .body_len = item->question.body.len,
                                   .batch = &item->batch};
    return api_call_new(item->_crew->api, item->question.route, &item->_in, crew_on_wake, item,
                        &item->_call, NULL);
}

/* A line has no line end inside: between tokens of JSON a blank means the same. */
static void keep_reply(struct crew_item *item, const struct api_reply *reply) {
    size_t len = reply->body_len;
    while (len && reply->body[len - 1] == '\n')
        len--;
    (void)buf_add(&item->reply, reply->body, len);
    for (size_t i = 0; i < item->reply.len; i++)
        if (item->reply.p[i] == '\n') item->reply.p[i] = ' ';
}

static void crew_finish(struct crew_item *item) {
    const struct api_reply *reply = item->_call ? api_call_reply(item->_call) : NULL;
    const char *problem = item->_call ? api_call_problem(item->_call) : NULL;
    item->status = reply ? reply->status : 503;
    item->is_busy = item->status == 503 || item->status == 429;
    snprintf(item->problem, sizeof(item->problem), "%s", problem ? problem : "");
    item->print[0] = '\0';
    item->rows = item->_call ? api_call_rows(item->_call) : 0;
    if (item->_call) api_call_print(item->_call, item->print);
    if (reply) keep_reply(item, reply);
    if (item->reply.bad) item->is_busy = 1;
    api_call_free(item->_call);
    item->_call = NULL;
    (void)queue_push(item->_crew->done, item);
}

static void *crew_work(void *ud) {
    struct crew *d = ud;
    void *next;
    if (d->o.niceness) (void)setpriority(PRIO_PROCESS, (id_t)gettid(), d->o.niceness);
    for (int rc; (rc = queue_pop(d->due, UINT64_MAX, &next)) != E_CANCELLED;) {
        struct crew_item *item = next;
        if (rc) continue;
        atomic_store(&item->_turn, STEP);
        int is_begun = item->_call != NULL || crew_begin(item) == 0;
        if (is_begun && api_call_step(item->_call) == API_WAIT)
            rest(item);
        else
            crew_finish(item);
    }
    return NULL;
}

/* ---- the owner ---- */

struct crew *crew_open(struct api *api, const struct crew_options *o, struct err *e) {
    struct crew *d = mem_must(sizeof(*d));
    int places = o->places;
    d->api = api;
    d->o = *o;
    d->n_items = places;
    d->items = mem_must((size_t)places * sizeof(*d->items));
    d->due = queue_new((size_t)places);
    d->done = queue_new((size_t)places);
    for (int i = places - 1; i >= 0; i--) {
        d->items[i]._crew = d;
        buf_init(&d->items[i].reply, REPLY_MAX);
        crew_give(d, &d->items[i]);
    }
    for (int i = 0; i < o->threads && i < THREADS_MAX; i++) {
        if (pthread_create(&d->threads[d->n_threads], NULL, crew_work, d)) break;
        d->n_threads++;
    }
    if (d->n_threads) return d;
    crew_close(d);
    err_set(e, E_NOMEM, "no thread could be started");
    return NULL;
}

struct crew_item *crew_take(struct crew *d) {
    struct crew_item *item = d->unused;
    if (item) d->unused = item->next;
    return item;
}

void crew_give(struct crew *d, struct crew_item *item) {
    question_clear(&item->question);
    buf_clear(&item->reply);
    item->next = d->unused;
    d->unused = item;
}

void crew_send(struct crew *d, struct crew_item *item) {
    buf_clear(&item->reply);
    atomic_store(&item->_turn, DUE);
    d->n_sent++;
    must(!queue_push(d->due, item)); /* a place for each item, and each is there once */
}

struct crew_item *crew_next(struct crew *d, uint64_t timeout_ns) {
    void *item;
    if (queue_pop(d->done, timeout_ns, &item)) return NULL;
    d->n_sent--;
    return item;
}

int crew_sent(const struct crew *d) { return d->n_sent; }

void crew_close(struct crew *d) {
    if (!d) return;
    queue_close(d->due);
    for (int i = 0; i < d->n_threads; i++)
        pthread_join(d->threads[i], NULL);
    for (int i = 0; i < d->n_items; i++) {
        api_call_free(d->items[i]._call); /* from here on nobody wakes it */
        question_clear(&d->items[i].question);
        buf_clear(&d->items[i].reply);
    }
    void *item;
    while (queue_pop(d->due, 0, &item) == 0 || queue_pop(d->done, 0, &item) == 0)
        continue;
    queue_free(d->due);
    queue_free(d->done);
    mem_free(d->items);
    mem_free(d);
}
