/* comm.c - plugins for ranks that are good or wrong in one way each, for the tests of
 * engine/train/comm.c: -DFAKE_good, abi, size, hole, null. */
#include "engine/train/comm.h"

static int fake_open(struct train_comm *out, const char *version, struct err *e) {
    (void)e;
    *out = (struct train_comm){.state = (void *)(uintptr_t)version, .rank = 1, .size = 2};
    return 0;
}

__attribute__((visibility("default"))) const struct train_comm_plugin *lammd_comm_plugin(void);

const struct train_comm_plugin *lammd_comm_plugin(void) {
    static struct train_comm_plugin p = {TRAIN_COMM_ABI, sizeof(struct train_comm), fake_open};
#if defined FAKE_abi
    p.abi++;
#elif defined FAKE_size
    p.size += 8;
#elif defined FAKE_hole
    p.open = NULL;
#elif defined FAKE_null
    return NULL;
#endif
    return &p;
}
