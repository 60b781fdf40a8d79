/* loaded.c - references of an adapter, and its berth's. */
#include "engine/run/loaded.h"

#include <sched.h>

#include "kernels/base/mem.h"

enum { GATE_OPEN, GATE_CALLING, GATE_SHUT };

/* ---- berths ---- */

struct berths *berths_new(int n, int overlays) {
    struct berths *b = mem_must(sizeof *b);
    must(n >= 0 && n <= ENG_ADAPTERS_MAX && overlays >= 0 && overlays <= n);
    b->n = n;
    b->overlays = overlays;
    atomic_init(&b->refs, 1);
    return b;
}

void berths_put(struct berths *b) {
    if (b && atomic_fetch_sub(&b->refs, 1) == 1) mem_free(b);
}

int berths_take(struct berths *b, int has_overlay) {
    for (int i = (has_overlay ? b->overlays : b->n) - 1; i >= 0; i--) {
        int is_free = 0;
        if (atomic_compare_exchange_strong(&b->taken[i], &is_free, 1)) return i;
    }
    return -1;
}

void berths_give(struct berths *b, int berth) { atomic_store(&b->taken[berth], 0); }

int berths_taken(const struct berths *b) {
    int n = 0;
    for (int i = 0; i < b->n; i++)
        n += atomic_load(&b->taken[i]);
    return n;
}

/* ---- references ---- */

struct eng_adapter *loaded_new(struct berths *b, int berth, struct cargo *cargo, int units) {
    struct eng_adapter *a = mem_try(sizeof *a);
    if (!a) {
        cargo_free(cargo);
        berths_give(b, berth);
        return NULL;
    }
    *a = (struct eng_adapter){.mail = MAIL_ADAPTER, .berths = b, .berth = berth, .cargo = cargo};
    atomic_fetch_add(&b->refs, 1);
    atomic_init(&a->refs, 1 + units);
    atomic_init(&a->users, 1);
    atomic_init(&a->units, units);
    atomic_init(&a->state, ENG_WAITING);
    return a;
}

struct eng_adapter *loaded_get(struct eng_adapter *a) {
    atomic_fetch_add(&a->refs, 1);
    return a;
}

void loaded_put(struct eng_adapter *a) {
    if (!a || atomic_fetch_sub(&a->refs, 1) > 1) return;
    cargo_free(a->cargo);
    berths_give(a->berths, a->berth);
    berths_put(a->berths);
    mem_free(a);
}

struct eng_adapter *eng_adapter_get(struct eng_adapter *a) {
    atomic_fetch_add(&a->users, 1);
    return a;
}

void eng_adapter_put(struct eng_adapter *a) {
    if (!a || atomic_fetch_sub(&a->users, 1) > 1) return;
    int open = GATE_OPEN;
    while (!atomic_compare_exchange_strong(&a->gate, &open, GATE_SHUT)) {
        sched_yield(); /* wake is being called, and returns at once */
        open = GATE_OPEN;
    }
    loaded_put(a);
}

/* ---- loading ---- */

int loaded_is_wanted(const struct eng_adapter *a) { return atomic_load(&a->users) > 0; }

void loaded_begin(struct eng_adapter *a) {
    int waiting = ENG_WAITING;
    (void)atomic_compare_exchange_strong(&a->state, &waiting, ENG_RUNNING);
}

/* All units are through. */
static void loaded_announce(struct eng_adapter *a) {
    atomic_store(&a->state, atomic_load(&a->failed) ? ENG_FAILED : ENG_DONE);
    int open = GATE_OPEN;
    if (!a->wake || !atomic_compare_exchange_strong(&a->gate, &open, GATE_CALLING)) return;
    a->wake(a->ud, a);
    atomic_store(&a->gate, GATE_OPEN);
}

void loaded_end(struct eng_adapter *a, int code, const char *why) {
    int failed = 0;
    if (code && atomic_compare_exchange_strong(&a->failed, &failed, 1))
        (void)err_set(&a->error, code, "%s", why);
    if (atomic_fetch_sub(&a->units, 1) == 1) loaded_announce(a);
    loaded_put(a);
}

/* ---- reading ---- */

enum eng_state eng_adapter_state(const struct eng_adapter *a) {
    return (enum eng_state)atomic_load(&a->state);
}

const struct err *eng_adapter_error(const struct eng_adapter *a) {
    static const struct err none;
    return eng_adapter_state(a) == ENG_FAILED ? &a->error : &none;
}

const struct eng_adapter_info *eng_adapter_info(const struct eng_adapter *a) { return &a->info; }
