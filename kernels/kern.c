/* kern.c - chooses the device that computes.
 *
 * The backends are tables compiled in (a plugin's table will come in by the same check). A table is
 * refused whole when its ABI or size differ or when any entry is missing: there is no "supports",
 * and no quiet fall-back to slow code. Owns nothing. Thread: any.
 */
#include "kernels/kern.h"

#include <string.h>

#include "kernels/ref/ref.h"
#ifdef KERN_HAS_CPU
#include "kernels/cpu/cpu.h"
#endif

static const struct kern_ops *const backends[] = {
    &kern_ref,
#ifdef KERN_HAS_CPU
    &kern_cpu,
#endif
};

/* Everything behind `name` is a function: look at the table as the array of pointers that it is. */
static int is_complete(const struct kern_ops *ops) {
    const char *at = (const char *)ops + offsetof(struct kern_ops, score);
    const char *end = (const char *)ops + sizeof(*ops);
    for (; at < end; at += sizeof(void (*)(void))) {
        void (*fn)(void);
        memcpy(&fn, at, sizeof(fn));
        if (!fn) return 0;
    }
    return 1;
}

int kern_check(const struct kern_ops *ops, struct err *e) {
    if (ops->abi != KERN_ABI || ops->size != sizeof(*ops))
        return err_set(e, E_UNSUPPORTED, "backend: ABI %u of %u bytes, not %u of %zu", ops->abi,
                       ops->size, KERN_ABI, sizeof(*ops));
    if (!ops->name) return err_set(e, E_UNSUPPORTED, "backend without a name");
    if (!is_complete(ops))
        return err_set(e, E_UNSUPPORTED, "backend %s: an operation is missing", ops->name);
    return 0;
}

int kern_find(const char *name, const struct kern_ops **out, struct err *e) {
    const struct kern_ops *best = NULL;
    int is_auto = strcmp(name, "auto") == 0;
    for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
        const struct kern_ops *ops = backends[i];
        if (is_auto ? ops->score() > (best ? best->score() : 0) : strcmp(name, ops->name) == 0)
            best = ops;
    }
    if (!best) return err_set(e, E_NOT_FOUND, "no backend \"%s\"", name);
    int rc = kern_check(best, e);
    if (!rc) *out = best;
    return rc;
}
