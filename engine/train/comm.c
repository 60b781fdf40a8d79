/* comm.c - chooses how ranks speak: one that is alone is compiled in, the others are plugins, so
 * that the program needs no MPI to run. */
#include "engine/train/comm.h"

#include <string.h>

#include "kernels/base/plugin.h"
#include "kernels/base/version.h"

static int one_sum_f32(void *state, float *x, size_t n, struct err *e) {
    return (void)state, (void)x, (void)n, (void)e, 0;
}
static int one_sum_f64(void *state, double *x, size_t n, struct err *e) {
    return (void)state, (void)x, (void)n, (void)e, 0;
}
static int one_broadcast(void *state, void *bytes, size_t n, struct err *e) {
    return (void)state, (void)bytes, (void)n, (void)e, 0;
}
static int one_barrier(void *state, struct err *e) { return (void)state, (void)e, 0; }

static int open_plugin(const char *path, struct train_comm *out, struct err *e) {
    plugin_fn *fn = NULL;
    int rc = plugin_load(path, TRAIN_COMM_SYMBOL, &fn, e);
    if (rc) return rc;
    const struct train_comm_plugin *p = ((train_comm_plugin_fn *)fn)();
    if (!p || p->abi != TRAIN_COMM_ABI || p->size != sizeof *out || !p->open)
        return err_set(e, E_UNSUPPORTED, "plugin %s: of another version of lammd", path);
    return p->open(out, LAMMD_VERSION, e);
}

int train_comm_open(const char *name, const char *plugin, struct train_comm *out, struct err *e) {
    static const struct train_comm alone = {.size = 1,
                                            .sum_f32 = one_sum_f32,
                                            .sum_f64 = one_sum_f64,
                                            .broadcast = one_broadcast,
                                            .barrier = one_barrier};
    char path[2200];
    *out = (struct train_comm){0};
    if (!strcmp(name, "one")) {
        *out = alone;
        return 0;
    }
    if (strcmp(name, "mpi"))
        return err_set(e, E_NOT_FOUND, "\"%.32s\": ranks speak by \"one\" or \"mpi\"", name);
    if (plugin) return open_plugin(plugin, out, e);
    if (plugin_find("lammd-mpi.so", path, sizeof path)) return open_plugin(path, out, e);
    return err_set(e, E_NOT_FOUND,
                   "lammd-mpi.so is not beside the program or in ../lib/lammd: `make` builds it "
                   "where mpicc is (libopenmpi-dev)");
}

void train_comm_close(struct train_comm *c) {
    if (c->close) c->close(c->state);
    *c = (struct train_comm){0};
}
