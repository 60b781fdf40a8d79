/* flow.c - many questions in flight: see eval_run in eval.h.
 *
 * Questions stand in a ring. The oldest is waited for, and the next question of its item goes to
 * the end. An item whose first question is refused is done at once.
 */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli/eval/eval.h"
#include "kernels/base/clock.h"

enum { FLIGHT = 32, SAY_MS = 200, RETRY_MS = 2 };

struct flight {
    struct eng_job *job;
    uint32_t item;
    int phase;
};
struct flow {
    struct eval *v;
    const struct eval_flow *how;
    void *ud;
    struct flight at[FLIGHT];
    uint32_t first, n; /* of the ring */
    uint32_t items, begun, done;
    uint64_t said_ns;
};

int eval_submit(struct eval *v, const struct eng_ask *ask, struct eng_job **job, struct err *e) {
    const struct timespec pause = {0, RETRY_MS * 1000000L};
    for (;;) {
        struct err why = {0};
        int rc = eng_submit(v->eng, ask, job, &why);
        if (rc == 0) return 0;
        if (rc == E_INVALID || rc == E_TOO_BIG) {
            *job = NULL;
            if (v->refused++ == 0)
                fprintf(stderr, "lammd: a question was refused and counts as wrong: %s\n",
                        why.text);
            return 0;
        }
        if (rc != E_BUSY) return err_set(e, rc, "%s", why.text);
        nanosleep(&pause, NULL);
    }
}

static void flow_say(struct flow *f, int last) {
    uint64_t now = clock_ns();
    if (!isatty(STDERR_FILENO) || (!last && now - f->said_ns < SAY_MS * CLOCK_MS)) return;
    f->said_ns = now;
    char score[80] = "";
    if (f->how->say && f->done) f->how->say(f->ud, score, sizeof(score));
    fprintf(stderr, "\r%u of %u  %-50s%s", f->done, f->items, score, last ? "\n" : "");
}

/* Submit the item's question `phase`. An item that has nothing to ask is done at once. */
static int flow_begin(struct flow *f, uint32_t item, int phase, struct err *e) {
    for (int more = 1; more; phase++) {
        struct eng_job *job = NULL;
        int rc = f->how->start(f->ud, item, phase, &job, e);
        if (rc) return rc;
        if (job) {
            f->at[(f->first + f->n++) % FLIGHT] = (struct flight){job, item, phase};
            return 0;
        }
        more = 0;
        rc = f->how->done(f->ud, item, phase, NULL, &more, e);
        if (rc) return rc;
    }
    f->done++;
    return 0;
}

static int end_oldest(struct flow *f, struct err *e) {
    struct flight t = f->at[f->first];
    f->first = (f->first + 1) % FLIGHT;
    f->n--;
    (void)eng_job_wait(t.job, UINT32_MAX, UINT64_MAX);
    int rc = 0, more = 0;
    if (eng_job_state(t.job) != ENG_DONE) {
        const struct err *why = eng_job_error(t.job);
        rc = err_set(e, why->code ? why->code : E_INTERNAL, "a question failed: %s", why->text);
    }
    if (rc == 0) rc = f->how->done(f->ud, t.item, t.phase, t.job, &more, e);
    eng_job_put(t.job);
    if (rc) return rc;
    if (more) return flow_begin(f, t.item, t.phase + 1, e);
    f->done++;
    return 0;
}

int eval_run(struct eval *v, const struct eval_flow *how, void *ud, uint32_t n, struct err *e) {
    struct flow f = {.v = v, .how = how, .ud = ud, .items = n};
    uint64_t start = clock_ns();
    int rc = 0;
    while (rc == 0 && f.done < n) {
        if (f.n < FLIGHT && f.begun < n)
            rc = flow_begin(&f, f.begun++, 0, e);
        else
            rc = end_oldest(&f, e);
        flow_say(&f, 0);
    }
    flow_say(&f, 1);
    for (; f.n; f.n--, f.first = (f.first + 1) % FLIGHT)
        eng_job_put(f.at[f.first].job);
    v->ns += clock_ns() - start;
    return rc;
}
