/* dying.c - a plugin for the tests of the whole program: the reference as "cuda", whose device is
 * lost when the first answer is fetched from it, and may take its time to open, and be small. */
#include <stdlib.h>
#include <unistd.h>

#include "kernels/ref/ref.h"

/* DYING_SLOW: milliseconds that the device takes to open. DYING_FREE: MiB that it has. */
static int dying_open(const struct kern_config *from, struct kern **out, struct err *e) {
    const char *ms = getenv("DYING_SLOW"), *mib = getenv("DYING_FREE");
    struct kern_config c = *from;
    if (ms) usleep((useconds_t)atoi(ms) * 1000u);
    if (mib) c.memory_max = (uint64_t)atoi(mib) << 20;
    return kern_ref.open(&c, out, e);
}

static int dying_get(struct kern *k, void *dst, struct kern_ptr src, size_t bytes, struct err *e) {
    (void)k, (void)dst, (void)src, (void)bytes;
    return err_set(e, E_DEVICE, "dying: it fell off the bus");
}

__attribute__((visibility("default"))) const struct kern_ops *lammd_kern_plugin(void);
const struct kern_ops *lammd_kern_plugin(void) {
    static struct kern_ops t;
    t = kern_ref;
    t.name = "cuda";
    t.get = dying_get;
    t.open = dying_open;
    return &t;
}
