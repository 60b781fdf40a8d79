/* batches.c - see batches.h. */
#include "batch/batches.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "batch/turn.h"
#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/base/queue.h"

enum { REST_S = 5, AGAIN_S = 5, BATCHES_NICENESS = 10 };

struct batches {
    struct turn_options turn;
    struct api_visit visit;
    struct jobs_watch *watch; /* NULL: it looks every REST_S */
    struct queue *wakes;      /* nothing is ever in it: it is poked */
    pthread_t thread;
    _Atomic int wish; /* enum work_wish */
    atomic_int is_idle;
    char waits[JOBS_ID_BYTES]; /* the batch that can't go on, and of which that was logged */
    const char *waits_for;
};

static enum work_wish batches_wish(void *ud) {
    return (enum work_wish)atomic_load(&((struct batches *)ud)->wish);
}

static void batches_on_wake(void *ud) { queue_poke(((struct batches *)ud)->wakes); }

/* Until then, or until something is new. */
static void batches_rest(struct batches *b, unsigned seconds) {
    void *none;
    atomic_store(&b->is_idle, 1);
    if (batches_wish(b) != WORK_STOP) (void)queue_pop(b->wakes, seconds * CLOCK_S, &none);
}

/* It can't go on. Whoever looks at it is told. */
static void batches_wait(struct batches *b, struct jobs_batch *batch, int rc, const struct err *e) {
    b->waits_for = rc == E_NOMEM ? "memory" : "disk";
    snprintf(batch->waits, sizeof(batch->waits), "%s", b->waits_for);
    if (strcmp(b->waits, batch->id) != 0)
        log_event(LOG_LEVEL_ERROR, "batch_waits", "id=%s for=%s: %s", batch->id, batch->waits,
                  e->text);
    snprintf(b->waits, sizeof(b->waits), "%s", batch->id);
    struct jobs_batch now;
    if (jobs_batch_get(b->turn.jobs, batch->id, NULL, &now, NULL) == 0) {
        memcpy(now.waits, batch->waits, sizeof(now.waits));
        jobs_batch_show(b->turn.jobs, &now, 0, 0);
    }
    batches_rest(b, AGAIN_S);
}

/* One turn. 0: there was nothing to do. */
static int batches_turn(struct batches *b) {
    struct jobs_batch batch;
    struct err e = {0};
    int rc = jobs_batch_take(b->turn.jobs, &batch, &e);
    if (rc == E_NOT_FOUND) return 0;
    if (rc) {
        batches_rest(b, AGAIN_S); /* the log of jobs has why */
        return 1;
    }
    if (strcmp(b->waits, batch.id) == 0) /* until a line is written */
        snprintf(batch.waits, sizeof(batch.waits), "%s", b->waits_for);
    rc = turn_take(&b->turn, &batch, &e);
    if (rc) {
        batches_wait(b, &batch, rc, &e);
    } else {
        b->waits[0] = '\0';
        jobs_batch_show(b->turn.jobs, NULL, 0, 0);
    }
    return 1;
}

static void *batches_main(void *ud) {
    struct batches *b = ud;
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), BATCHES_NICENESS);
    for (enum work_wish wish; (wish = batches_wish(b)) != WORK_STOP;) {
        atomic_store(&b->is_idle, 0);
        if (wish == WORK_LAND || !batches_turn(b)) batches_rest(b, REST_S);
    }
    atomic_store(&b->is_idle, 1);
    return NULL;
}

int batches_open(const struct batches_options *o, struct batches **out, struct err *e) {
    static const struct api_caller all = {.peer = "batches", .scopes = API_SCOPE(API_ASK)};
    const char *arg, *allow;
    int status;
    struct batches *b = mem_must(sizeof(*b));
    *out = NULL;
    b->turn = (struct turn_options){.api = o->api,
                                    .eng = o->eng,
                                    .jobs = o->jobs,
                                    .keep = o->keep,
                                    .visit = &b->visit,
                                    .wish = batches_wish,
                                    .ud = b};
    (void)api_enter(o->api, api_route("POST", "/v1/vqa", &arg, &status, &allow), &all, 0,
                    &b->visit);
    b->wakes = queue_new(1);
    (void)jobs_watch(o->jobs, JOBS_BATCHES, batches_on_wake, b, &b->watch, NULL);
    sigset_t signals, before;
    sigfillset(&signals);
    pthread_sigmask(SIG_BLOCK, &signals, &before); /* signals are main's */
    int rc = pthread_create(&b->thread, NULL, batches_main, b);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0) {
        *out = b;
        return 0;
    }
    jobs_unwatch(b->watch);
    queue_free(b->wakes);
    api_visit_end(o->api, &b->visit);
    mem_free(b);
    return err_set(e, E_NOMEM, "no thread for batches: %s", strerror(rc));
}

static void batches_want(struct batches *b, enum work_wish wish) {
    atomic_store(&b->wish, (int)wish);
    queue_poke(b->wakes);
}

void batches_drain(struct batches *b) {
    if (b) batches_want(b, WORK_LAND);
}

int batches_is_idle(const struct batches *b) { return !b || atomic_load(&b->is_idle); }

void batches_close(struct batches *b) {
    if (!b) return;
    batches_want(b, WORK_STOP);
    pthread_join(b->thread, NULL);
    jobs_unwatch(b->watch);
    queue_free(b->wakes);
    api_visit_end(b->turn.api, &b->visit);
    mem_free(b);
}
