/* comm.h - more than one machine: what ranks say to each other.
 *
 *     struct train_comm c;
 *     int rc = train_comm_open("mpi", NULL, &c, &e);    // under mpirun or srun
 *     struct train_options o = {..., .comm = &c};
 *     ...
 *     train_comm_close(&c);
 *
 * Every rank calls the same functions in the same order. Buffers are the host's. Thread: the
 * trainer's. After an error the run is lost: the process ends with a status that isn't 0, and its
 * launcher ends the others.
 *
 * A rank that dies, hangs or is cut off ends the run within 10 seconds: all others are told by its
 * silence, log which one it was, and end. A rank that is merely busy is not lost, however long: it
 * lives as long as its process does.
 */
#ifndef ENGINE_TRAIN_COMM_H
#define ENGINE_TRAIN_COMM_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

struct train_comm {
    void *state;
    int rank, size; /* size: a power of two */
    /* x[i] of all ranks, added as a binary tree over the ranks ((0+1)+(2+3)), on all of them. */
    int (*sum_f32)(void *state, float *x, size_t n, struct err *e);
    int (*sum_f64)(void *state, double *x, size_t n, struct err *e);
    int (*broadcast)(void *state, void *bytes, size_t n, struct err *e); /* of rank 0 */
    int (*barrier)(void *state, struct err *e);
    void (*close)(void *state); /* NULL: nothing to close */
};

/* `name`: "one", alone, or "mpi", the ranks that mpirun or srun started, once in a process.
 * `plugin`: the file that "mpi" comes from; NULL: lammd-mpi.so in the program's folder, the one
 * above, or ../lib/lammd. E_NOT_FOUND: an unknown name, no plugin. E_UNSUPPORTED: a plugin of
 * another version, an MPI without threads. E_INVALID: a number of ranks that is no power of two, or
 * programs that differ. */
int train_comm_open(const char *name, const char *plugin, struct train_comm *out, struct err *e);
/* Waits for the other ranks to come here, too, unless the run is lost. A struct that is all zero is
 * legal. */
void train_comm_close(struct train_comm *c);

/* A plugin exports TRAIN_COMM_SYMBOL, a train_comm_plugin_fn. */
#define TRAIN_COMM_ABI    1u
#define TRAIN_COMM_SYMBOL "lammd_comm_plugin"
struct train_comm_plugin {
    uint32_t abi;  /* TRAIN_COMM_ABI */
    uint32_t size; /* sizeof(struct train_comm) */
    int (*open)(struct train_comm *out, const char *version, struct err *e);
};
typedef const struct train_comm_plugin *train_comm_plugin_fn(void);

#endif
