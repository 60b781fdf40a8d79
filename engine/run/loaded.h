/* loaded.h - an adapter that is loaded, or on its way: `struct eng_adapter` of the door.
 *
 *   state       in whose hands                              changes to
 *   WAITING     the queues of all units                     RUNNING
 *   RUNNING     step threads fill the berth of its number   DONE, FAILED
 *   DONE        jobs read it                                freed with the last reference
 *   FAILED      nobody                                      the same
 *
 * Its berth has the same number on every unit and is its own until the last reference is gone: so
 * whoever runs with it holds one. There are the callers' references (get, put), which count as one
 * together, one of each unit that is still loading, and one of each job until it has ended. The
 * last one of callers shuts the gate of `wake`.
 *
 * The table of berths is shared by the engine and its adapters, so an adapter may outlive the
 * engine.
 */
#ifndef ENGINE_RUN_LOADED_H
#define ENGINE_RUN_LOADED_H

#include <stdatomic.h>

#include "engine/engine.h"
#include "engine/model/berth.h"

/* What a unit's queue holds begins with one of these. */
enum mail { MAIL_JOB, MAIL_ADAPTER };

_Static_assert((int)ENG_ADAPTERS_MAX == (int)MODEL_BERTHS_MAX, "a berth for each");

struct berths {
    atomic_int refs;
    int n, overlays; /* 0 .. overlays-1 have room for an overlay */
    atomic_int taken[ENG_ADAPTERS_MAX];
};
struct berths *berths_new(int n, int overlays); /* must-succeed; one reference */
void berths_put(struct berths *b);              /* NULL is legal */
/* A free one, or -1. Without an overlay one that has no room for any comes first. Any thread. */
int berths_take(struct berths *b, int has_overlay);
void berths_give(struct berths *b, int berth);
int berths_taken(const struct berths *b); /* how many */

struct eng_adapter {
    enum mail mail; /* first */

    /* ---- Fixed when it is made. ---- */
    struct eng_adapter_info info;
    char vision[ADAPTER_DIGEST]; /* what makes its features; "": the base */
    struct berths *berths;
    int berth;
    struct cargo *cargo; /* its layers until all units have them */
    void (*wake)(void *ud, struct eng_adapter *adapter);
    void *ud;

    /* ---- Shared. ---- */
    atomic_int refs, users; /* all; of callers */
    atomic_int units;       /* that are still loading */
    atomic_int failed;      /* the first to fail has written the error */
    atomic_int state;       /* enum eng_state */
    atomic_int gate;        /* of wake: open, calling, shut */
    struct err error;
};

/* Takes the cargo and the berth, also when it fails (NULL: no memory). */
struct eng_adapter *loaded_new(struct berths *b, int berth, struct cargo *cargo, int units);
struct eng_adapter *loaded_get(struct eng_adapter *a);
void loaded_put(struct eng_adapter *a); /* NULL is legal */
/* Does any caller still want it? */
int loaded_is_wanted(const struct eng_adapter *a);
/* A unit begins to load it; has loaded it (code 0), or will not. That gives the unit's reference
 * back; the last unit wakes the caller. */
void loaded_begin(struct eng_adapter *a);
void loaded_end(struct eng_adapter *a, int code, const char *why);

#endif
