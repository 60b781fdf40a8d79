/* aside.c - what of a source is set aside for judging: see internal.h. */
#include <stdlib.h>

#include "data/source/internal.h"
#include "kernels/base/mem.h"

static int by_unit(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int source_last_aside(const struct source *s, double held, uint64_t *last, struct err *e) {
    uint64_t *units = mem_try((s->n_groups + 1) * sizeof(*units));
    if (!units) return err_set(e, E_NOMEM, "%s: no memory", s->path);
    uint32_t n = 0;
    for (uint32_t g = 0; g < s->n_groups; g++)
        units[g] = s->groups[g].unit;
    if (s->n_groups) qsort(units, s->n_groups, sizeof(*units), by_unit);
    for (uint32_t g = 0; g < s->n_groups; g++)
        if (!n || units[g] != units[n - 1]) units[n++] = units[g];
    uint32_t take = (uint32_t)(held * n + 0.5);
    if (take < 1) take = 1;
    if (held < 1 && take >= n) take = n ? n - 1 : 0;
    *last = take ? units[take - 1] : 0;
    mem_free(units);
    return 0;
}
