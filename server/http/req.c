/* req.c - see req.h.
 *
 * What makes it safe is an order: decide under the lock, act after it. Once a request is out of the
 * park and resumed, the loop may end and free it at any moment. So resuming is always the last
 * thing that anybody does with it. A worker that has no turn any more does not touch it either.
 */
#include "server/http/req.h"

#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

enum { PROBLEM_BYTES_MAX = 16384 };

static void req_free(struct req *r) {
    api_call_free(r->call);
    api_visit_end(r->desk->api, &r->visit);
    form_free(r->form);
    buf_clear(&r->body);
    buf_clear(&r->problem);
    buf_clear(&r->last_words);
    target_clear(&r->target);
    for (size_t i = 0; i < ARRAY_LEN(r->kept); i++)
        mem_free(r->kept[i]);
    mem_free(r->raw_target);
    mem_free(r);
}

static void req_push(struct req *r) {
    int rc = queue_push(r->route->pace == API_WORK ? r->desk->work : r->desk->quick, r);
    must(rc == 0); /* the queue is open while a request is at work, and has room for all of them */
}

/* With the lock: 1 when the caller has to resume it. */
static int unpark(struct req *r) {
    int is_mine = r->is_parked;
    if (!is_mine) r->is_signalled = 1;
    r->is_parked = 0;
    return is_mine;
}

/* ---- the workers ---- */

/* With the lock: what follows from a step. 1: the caller has to resume it; *again: one more step.
 */
static int req_settle(struct req *r, enum api_step step, int *again) {
    *again = step == API_WAIT && (r->turn == TURN_AGAIN || r->is_over);
    r->turn = *again || r->is_over ? TURN_RUNNING : TURN_NONE;
    if (step == API_WAIT) return 0;
    r->stage = step == API_REPLY ? REQ_REPLYING : REQ_STREAMING;
    return unpark(r);
}

/* Nobody else holds the request any more. */
static void end(struct req *r) {
    struct desk *d = r->desk;
    req_free(r);
    pthread_mutex_lock(&d->mu);
    if (--d->n_working == 0) pthread_cond_signal(&d->idle);
    pthread_mutex_unlock(&d->mu);
}

static void take_turn(struct req *r) {
    struct desk *d = r->desk;
    int is_over, is_mine = 0, again = 1;
    while (again) {
        pthread_mutex_lock(&d->mu);
        is_over = r->is_over;
        r->turn = TURN_RUNNING;
        d->n_fresh -= r->is_fresh;
        r->is_fresh = 0;
        pthread_mutex_unlock(&d->mu);
        if (is_over) break;
        enum api_step step = api_call_step(r->call);
        pthread_mutex_lock(&d->mu);
        is_mine = req_settle(r, step, &again);
        is_over = r->is_over;
        pthread_mutex_unlock(&d->mu);
    }
    if (is_over)
        end(r);
    else if (is_mine)
        d->resume(r);
}

static void *req_worker(void *ud) {
    struct queue *from = ud;
    void *item;
    while (queue_pop(from, UINT64_MAX, &item) != E_CANCELLED)
        take_turn(item);
    return NULL;
}

void desk_open(struct desk *d, struct api *api, int n_threads, int working_max) {
    pthread_mutex_init(&d->mu, NULL);
    pthread_cond_init(&d->idle, NULL);
    d->api = api;
    d->working_max = working_max;
    d->work = queue_new((size_t)working_max);
    d->quick = queue_new((size_t)working_max);
    d->n_threads = n_threads + 1;
    d->threads = mem_must((size_t)d->n_threads * sizeof(*d->threads));
    for (int i = 0; i < d->n_threads; i++)
        must(pthread_create(&d->threads[i], NULL, req_worker, i ? d->work : d->quick) == 0);
}

void desk_close(struct desk *d) {
    pthread_mutex_lock(&d->mu);
    while (d->n_working)
        pthread_cond_wait(&d->idle, &d->mu);
    pthread_mutex_unlock(&d->mu);
    queue_close(d->work);
    queue_close(d->quick);
    for (int i = 0; i < d->n_threads; i++)
        pthread_join(d->threads[i], NULL);
    mem_free(d->threads);
    queue_free(d->work);
    queue_free(d->quick);
    pthread_cond_destroy(&d->idle);
    pthread_mutex_destroy(&d->mu);
}

/* ---- one request ---- */

struct req *req_new(struct desk *d, const char *raw_target) {
    struct req *r = mem_try(sizeof(*r));
    size_t n = strlen(raw_target);
    char *text = r ? mem_try(n + 1) : NULL;
    if (!text) {
        mem_free(r);
        return NULL;
    }
    memcpy(text, raw_target, n);
    r->desk = d;
    r->raw_target = text;
    r->born_ns = clock_ns();
    buf_init(&r->problem, PROBLEM_BYTES_MAX);
    buf_init(&r->last_words, PROBLEM_BYTES_MAX);
    return r;
}

int req_work(struct req *r) {
    struct desk *d = r->desk;
    pthread_mutex_lock(&d->mu);
    int is_quick = r->route->pace != API_WORK;
    int is_full = d->n_working == d->working_max || (is_quick && d->n_fresh == DESK_QUICK_MAX);
    if (!is_full) {
        r->is_fresh = is_quick;
        d->n_fresh += is_quick;
        r->stage = REQ_WORKING;
        r->turn = TURN_QUEUED;
        d->n_working++;
    }
    pthread_mutex_unlock(&d->mu);
    if (is_full) return E_BUSY;
    req_push(r);
    return 0;
}

void req_step(struct req *r) {
    pthread_mutex_lock(&r->desk->mu);
    must(r->stage == REQ_STREAMING && r->turn == TURN_NONE);
    r->stage = REQ_WORKING;
    r->turn = TURN_QUEUED;
    pthread_mutex_unlock(&r->desk->mu);
    req_push(r);
}

void req_work_here(struct req *r) {
    r->is_here = 1;
    enum api_step step = api_call_step(r->call);
    must(step == API_REPLY);
    pthread_mutex_lock(&r->desk->mu);
    r->stage = REQ_REPLYING;
    pthread_mutex_unlock(&r->desk->mu);
}

int req_park(struct req *r) {
    int is_parked = 0;
    pthread_mutex_lock(&r->desk->mu);
    if (r->desk->is_closing) {
        is_parked = -1;
    } else if (r->is_signalled) {
        r->is_signalled = 0;
    } else {
        is_parked = r->is_parked = 1;
        r->parked_ns = clock_ns();
        r->desk->suspend(r);
    }
    pthread_mutex_unlock(&r->desk->mu);
    return is_parked;
}

void req_signal(struct req *r) {
    int is_mine = 0, is_due = 0;
    pthread_mutex_lock(&r->desk->mu);
    if (r->stage == REQ_STREAMING || r->stage == REQ_READING) {
        is_mine = unpark(r);
    } else if (r->stage == REQ_WORKING) {
        is_due = r->turn == TURN_NONE && !r->is_over;
        if (is_due)
            r->turn = TURN_QUEUED;
        else if (r->turn == TURN_RUNNING)
            r->turn = TURN_AGAIN;
    }
    pthread_mutex_unlock(&r->desk->mu);
    if (is_due) req_push(r);
    if (is_mine) r->desk->resume(r);
}

int req_take(struct req *r, enum req_why why) {
    if (!r->is_parked) return 0;
    unpark(r);
    if (why == REQ_GONE) r->is_gone = 1;
    if (why == REQ_LATE) r->is_late = 1;
    return 1;
}

void req_release(struct req *r, enum req_why why) {
    /* The call lives: only after the resume can anyone end the request. */
    if (why == REQ_GONE && r->call) api_call_cancel(r->call);
    if (why == REQ_LATE && r->call) api_call_expire(r->call);
    r->desk->resume(r);
}

void req_over(struct req *r) {
    if (!r->call || r->is_here) {
        req_free(r);
        return;
    }
    pthread_mutex_lock(&r->desk->mu);
    r->is_over = 1;
    int is_due = r->turn == TURN_NONE;
    if (is_due) r->turn = TURN_QUEUED;
    pthread_mutex_unlock(&r->desk->mu);
    if (is_due) req_push(r);
}

struct req_view req_view(struct req *r) {
    pthread_mutex_lock(&r->desk->mu);
    struct req_view v = {.stage = r->stage, .is_gone = r->is_gone, .is_late = r->is_late};
    pthread_mutex_unlock(&r->desk->mu);
    return v;
}
