/* mpi.h - the inside of the plugin lammd-mpi.so: mpi.c has the sums, watch.c hears whether the
 * other ranks live. Room-private. */
#ifndef ENGINE_TRAIN_MPI_MPI_H
#define ENGINE_TRAIN_MPI_MPI_H

#include <mpi.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "engine/train/comm.h"

/* What another rank was heard of. Owner: the watch's thread. */
struct watch_peer {
    MPI_Request sent, coming;
    int32_t out, in; /* WATCH_BEAT or WATCH_BYE */
    int has_left;
    uint64_t heard_ns;
};

struct watch {
    MPI_Comm comm;
    int rank, size;
    struct watch_peer *peers; /* (size) */
    pthread_t thread;
    _Atomic uint64_t expecting_ns; /* since when the trainer waits for the others; 0: it doesn't */
    atomic_int is_stopping;
};

/* Begins to send beats and to listen for those of the others. E_IO, E_NOMEM. */
int watch_start(struct watch *w, int rank, int size, struct err *e);
/* While the trainer is in something that ranks do together, a rank that has left is missed. */
void watch_expect(struct watch *w, int is_expecting);
/* Says goodbye and waits until all others have. 1; 0 when that failed: don't finalise. */
int watch_stop(struct watch *w);

/* E_IO with what MPI says. */
int mpi_fail(struct err *e, const char *what, int code);

#endif
