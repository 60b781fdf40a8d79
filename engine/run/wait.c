/* wait.c - see wait.h. */
#include "engine/run/wait.h"

#include <math.h>

#include "engine/run/share.h"

static const double SAMPLE_S = 0.25, RECENT_S = 4; /* of a sample; what counts as recent */

int wait_is_idle(const struct wait_load *l) {
    for (int c = 0; c < ENG_CLASSES; c++)
        if (l->waiting[c] || l->running[c]) return 0;
    return 1;
}

double wait_before(const struct wait_load *l, enum eng_class class, uint64_t cost) {
    double weight = 0, own = 1.0 / (double)share_price(class), beside = 0;
    if (l->pace <= 0) return 0;
    for (int c = 0; c < ENG_CLASSES; c++) {
        if (c == (int)class || !(l->waiting[c] || l->running[c])) continue;
        weight += 1.0 / (double)share_price((enum eng_class)c);
        beside += (double)(l->waiting[c] + l->left[c]);
    }
    double before = (double)l->waiting[class] + (double)l->running[class] * (double)cost;
    double shared = (before + (double)cost) * weight / own; /* rows of others meanwhile */
    return (before + (shared < beside ? shared : beside)) / l->pace;
}

void wait_turn(struct wait_pace *p, double seconds, uint64_t rows, int is_full) {
    p->seconds += seconds;
    p->busy_seconds += is_full ? seconds : 0;
    p->rows += rows;
    if (p->seconds < SAMPLE_S) return;
    double now = (double)p->rows / p->seconds;
    int is_telling = p->busy_seconds > 0.5 * p->seconds;
    if (p->rate <= 0 && is_telling)
        p->rate = now;
    else if (p->rate > 0 && (is_telling || now > p->rate))
        p->rate += (now - p->rate) * (1 - exp(-p->seconds / RECENT_S));
    *p = (struct wait_pace){.rate = p->rate};
}
