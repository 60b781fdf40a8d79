/* fake.c - plugins for the tests of the loader: FAKE_good is whole but has no device, FAKE_train
 * has the operations of training as well, FAKE_weak has a device that is no better than the CPU,
 * every other one is wrong in one way. Compiled once for each. */
#include <stdlib.h>
#include <string.h>

#include "kernels/kern.h"

#ifdef FAKE_weak
static int fake_score(void) { return 1; }
#else
static int fake_score(void) { return 0; }
#endif

static int fake_open(const struct kern_config *cfg, struct kern **out, struct err *e) {
    *out = NULL;
    if (e) { /* the floor is not linked in */
        e->code = E_NOT_FOUND;
        strncpy(e->text, cfg->device ? "fake: no such device" : "fake: there is no device", 99);
    }
    return E_NOT_FOUND;
}

/* What is never called, since nothing can be opened. */
static void fake_never(void) { abort(); }

#ifndef FAKE_mute
__attribute__((visibility("default"))) const struct kern_ops *lammd_kern_plugin(void);
const struct kern_ops *lammd_kern_plugin(void) {
    static struct kern_ops t;
    void (*never)(void) = fake_never;
    for (size_t at = offsetof(struct kern_ops, score); at < sizeof t; at += sizeof never)
        memcpy((char *)&t + at, &never, sizeof never);
    t.abi = KERN_ABI;
    t.size = sizeof t;
    t.name = "cuda";
    t.score = fake_score;
    t.open = fake_open;
#ifdef FAKE_abi
    t.abi++;
#endif
#ifdef FAKE_size
    t.size -= 8;
#endif
#ifdef FAKE_hole
    t.rope = NULL;
#endif
#if defined FAKE_train || defined FAKE_untrained
    static struct kern_train_ops train;
    for (size_t at = offsetof(struct kern_train_ops, mat_set); at < sizeof train;
         at += sizeof never)
        memcpy((char *)&train + at, &never, sizeof never);
    train.size = sizeof train;
    t.train = &train;
#ifdef FAKE_untrained
    train.xent = NULL;
#endif
#endif
#ifdef FAKE_null
    return NULL;
#endif
    return &t;
}
#endif
