/* wait.c - see wait.h. */
#include "engine/run/wait.h"

#include <math.h>

#include "engine/run/share.h"

/* Of a sample; what counts as recent when the device got faster, and when slower: who is told too
 * short a wait gets no answer in time. */
static const double SAMPLE_S = 0.25, FASTER_S = 4, SLOWER_S = 1.5;

/* Rows of all that waits and runs. */
static uint64_t wait_work(const struct wait_owner *o) {
    uint64_t sum = 0;
    for (int c = 0; c < ENG_BATCH; c++)
        sum += o->waiting[c] + o->left[c];
    return sum;
}

int wait_is_idle(const struct wait_load *l) {
    for (int i = 0; i < WAIT_OWNERS; i++)
        for (int c = 0; c < ENG_BATCH; c++)
            if (l->of[i].waiting[c] || l->of[i].running[c]) return 0;
    return 1;
}

/* Rows of its owner before a job's end, without its own. */
static double wait_own(const struct wait_owner *o, enum eng_class class, uint64_t cost) {
    double weight = 0, own = 1.0 / (double)share_price(class), beside = 0;
    for (int c = 0; c < ENG_BATCH; c++) {
        if (c == (int)class || !(o->waiting[c] || o->running[c])) continue;
        weight += 1.0 / (double)share_price((enum eng_class)c);
        beside += (double)(o->waiting[c] + o->left[c]);
    }
    double before = (double)o->waiting[class] + (double)o->running[class] * (double)cost;
    double shared = (before + (double)cost) * weight / own; /* rows of other classes meanwhile */
    return before + fmin(shared, beside);
}

double wait_before(const struct wait_load *l, int place, enum eng_class class, uint64_t cost) {
    if (l->pace <= 0) return 0;
    double own = wait_own(&l->of[place], class, cost), others = 0;
    for (int i = 0; i < WAIT_OWNERS; i++)
        if (i != place) others += fmin((double)wait_work(&l->of[i]), own + (double)cost);
    return (own + others) / l->pace;
}

double wait_of_all(const struct wait_load *l) {
    struct wait_owner all = {.waiting = {0}};
    for (int i = 0; i < WAIT_OWNERS; i++) {
        for (int c = 0; c < ENG_BATCH; c++) {
            all.waiting[c] += l->of[i].waiting[c];
            all.left[c] += l->of[i].left[c];
            all.running[c] += l->of[i].running[c];
        }
    }
    return l->pace > 0 ? wait_own(&all, ENG_PICTURE, 0) / l->pace : 0;
}

void wait_turn(struct wait_pace *p, double seconds, uint64_t rows, int is_full) {
    p->seconds += seconds;
    p->busy_seconds += is_full ? seconds : 0;
    p->rows += rows;
    if (p->seconds < SAMPLE_S) return;
    double now = (double)p->rows / p->seconds;
    int is_telling = p->busy_seconds > 0.5 * p->seconds;
    if (is_telling || (p->rate > 0 && now > p->rate)) {
        p->known += p->seconds;
        double recent = now > p->rate ? FASTER_S : SLOWER_S;
        p->rate += (now - p->rate) * fmax(p->seconds / p->known, 1 - exp(-p->seconds / recent));
    }
    *p = (struct wait_pace){.rate = p->rate, .known = p->known};
}
