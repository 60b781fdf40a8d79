/* share.c - see share.h. */
#include "engine/run/share.h"

/* What a row of a class counts: the inverse of its weight. */
static const uint64_t PRICE[ENG_CLASSES] = {
    [ENG_ACT] = 1, [ENG_MASK] = 4, [ENG_ANSWER] = 4, [ENG_PICTURE] = 8, [ENG_BATCH] = 8};

uint64_t share_price(enum eng_class class) { return PRICE[class]; }

struct share *share_of(struct shares *s, uint64_t owner) {
    struct share *unused = NULL;
    for (int i = 0; i < s->n; i++) {
        struct share *at = &s->at[i];
        if (at->n_jobs && at->owner == owner) return at;
        if (!at->n_jobs) unused = at;
    }
    if (!unused && s->n < SHARES) unused = &s->at[s->n++];
    if (!unused) return &s->at[owner % SHARES];
    *unused = (struct share){.owner = owner};
    return unused;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t share_most(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* Level with the other owners. */
static void enter_owner(struct share *own, struct eng_job *const *running, int n) {
    uint64_t served = UINT64_MAX, seen = UINT64_MAX;
    for (int i = 0; i < n; i++) {
        served = least(served, running[i]->share->served);
        seen = least(seen, running[i]->share->seen);
    }
    if (own->n_running || n == 0) return;
    own->served = share_most(own->served, served);
    own->seen = share_most(own->seen, seen);
}

void share_enter(struct eng_job *j, struct eng_job *const *running, int n) {
    struct share *own = j->share;
    uint64_t class_least = UINT64_MAX, job_least = UINT64_MAX;
    int is_alone = 1;
    enter_owner(own, running, n);
    for (int i = 0; i < n; i++) {
        const struct eng_job *other = running[i];
        if (other->share != own) continue;
        class_least = least(class_least, own->of_class[other->urgency]);
        if (other->urgency != j->urgency) continue;
        is_alone = 0;
        job_least = least(job_least, other->served);
    }
    j->served = is_alone ? 0 : job_least;
    if (is_alone && class_least != UINT64_MAX)
        own->of_class[j->urgency] = share_most(own->of_class[j->urgency], class_least);
    own->n_running++;
}

void share_took(struct eng_job *j, int32_t rows) {
    j->served += (uint64_t)rows;
    j->share->served += (uint64_t)rows;
    j->share->of_class[j->urgency] += (uint64_t)rows * PRICE[j->urgency];
}

/* Did a have less than b? */
static int has_less(const struct eng_job *a, const struct eng_job *b) {
    if (a->share != b->share) return a->share->served < b->share->served;
    const uint64_t *of_class = a->share->of_class;
    if (a->urgency != b->urgency) return of_class[a->urgency] < of_class[b->urgency];
    return a->served < b->served;
}

struct eng_job *share_next(struct eng_job *const *running, int n) {
    struct eng_job *next = NULL;
    for (int i = 0; i < n; i++)
        if (!running[i]->is_full && (!next || has_less(running[i], next))) next = running[i];
    return next;
}
