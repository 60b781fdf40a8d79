/* tap.c - lets tests look at every named intermediate tensor. */
#include <string.h>

#include "engine/model/internal.h"
#include "kernels/base/mem.h"

void model_set_tap(struct model *m, model_tap_fn *fn, void *ud) {
    m->tap = fn;
    m->tap_ud = ud;
}

void tap_show(struct model *m, const char *name, struct kern_ptr p, int rows, int cols, int ld) {
    if (!m->tap || rows < 1) return;
    size_t n = (size_t)rows * (size_t)ld;
    float *host = mem_must(n * sizeof *host);
    must(!m->ops->get(m->k, host, p, n * sizeof *host, NULL));
    for (int i = 1; i < rows; i++)
        memmove(host + (size_t)i * (size_t)cols, host + (size_t)i * (size_t)ld,
                (size_t)cols * sizeof *host);
    m->tap(m->tap_ud, name, host, rows, cols);
    mem_free(host);
}
