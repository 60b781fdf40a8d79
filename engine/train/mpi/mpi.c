/* mpi.c - ranks over MPI: the plugin lammd-mpi.so (engine/train/comm.h).
 *
 * Sums. MPI_Allreduce adds in an order that depends on the number of ranks, the length and the
 * library's version. Here ranks exchange whole pieces with the rank at distance 1, 2, 4 ..., and
 * both add the lower rank's to the higher one's. So each rank ends with the sum of the binary tree,
 * the same bits on all, and nothing but MPI_Sendrecv is asked of MPI:
 *
 *     rank 0: (0 + 1) + (2 + 3)      distance 1: 0 <-> 1, 2 <-> 3;  distance 2: 0 <-> 2, 1 <-> 3
 *
 * Lost ranks. MPI waits for ever for one that hangs, and a deadline for each sum would end runs in
 * which one rank writes a large file. So a thread of each rank, the watch (watch.c), sends a beat
 * to every other rank each second, over a communicator of its own, whatever the trainer is at.
 */
#include "engine/train/mpi/mpi.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"

enum { PIECE = 1 << 20, TAG = 1 }; /* PIECE: bytes exchanged at a time */

struct ranks {
    MPI_Comm comm;
    int rank, size;
    char *other; /* (PIECE) what the other rank sent */
    struct watch watch;
    int is_lost; /* an error was returned */
};

int mpi_fail(struct err *e, const char *what, int code) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int len = 0;
    (void)MPI_Error_string(code, text, &len);
    text[strcspn(text, "\n")] = '\0';
    return err_set(e, E_IO, "mpi: %s: %s", what, text);
}

/* ---- what ranks do together ---- */

static void mpi_begin(struct ranks *r) { watch_expect(&r->watch, 1); }
static int mpi_end(struct ranks *r, const char *what, int code, struct err *e) {
    watch_expect(&r->watch, 0);
    if (code == MPI_SUCCESS) return 0;
    r->is_lost = 1;
    return mpi_fail(e, what, code);
}

static void add_f32(void *mine, const void *other, size_t n, int is_lower) {
    float *x = mine;
    const float *y = other;
    for (size_t i = 0; i < n; i++)
        x[i] = is_lower ? x[i] + y[i] : y[i] + x[i];
}

static void add_f64(void *mine, const void *other, size_t n, int is_lower) {
    double *x = mine;
    const double *y = other;
    for (size_t i = 0; i < n; i++)
        x[i] = is_lower ? x[i] + y[i] : y[i] + x[i];
}

typedef void add_fn(void *mine, const void *other, size_t n, int is_lower);

static int sum(struct ranks *r, void *x, size_t n, size_t width, add_fn *add) {
    int code = MPI_SUCCESS;
    for (size_t at = 0; at < n && code == MPI_SUCCESS;) {
        size_t count = n - at < PIECE / width ? n - at : PIECE / width;
        char *mine = (char *)x + at * width;
        int bytes = (int)(count * width);
        for (int distance = 1; distance < r->size && code == MPI_SUCCESS; distance *= 2) {
            int other = r->rank ^ distance;
            code = MPI_Sendrecv(mine, bytes, MPI_BYTE, other, TAG, r->other, bytes, MPI_BYTE, other,
                                TAG, r->comm, MPI_STATUS_IGNORE);
            if (code == MPI_SUCCESS) add(mine, r->other, count, r->rank < other);
        }
        at += count;
    }
    return code;
}

static int mpi_sum_f32(void *state, float *x, size_t n, struct err *e) {
    mpi_begin(state);
    return mpi_end(state, "sum", sum(state, x, n, sizeof *x, add_f32), e);
}

static int mpi_sum_f64(void *state, double *x, size_t n, struct err *e) {
    mpi_begin(state);
    return mpi_end(state, "sum", sum(state, x, n, sizeof *x, add_f64), e);
}

static int mpi_broadcast(void *state, void *bytes, size_t n, struct err *e) {
    struct ranks *r = state;
    int code = MPI_SUCCESS;
    mpi_begin(r);
    for (size_t at = 0; at < n && code == MPI_SUCCESS; at += PIECE) {
        size_t count = n - at < PIECE ? n - at : PIECE;
        code = MPI_Bcast((char *)bytes + at, (int)count, MPI_BYTE, 0, r->comm);
    }
    return mpi_end(r, "broadcast", code, e);
}

static int mpi_barrier(void *state, struct err *e) {
    struct ranks *r = state;
    mpi_begin(r);
    return mpi_end(r, "barrier", MPI_Barrier(r->comm), e);
}

/* ---- opening and closing ---- */

/* A run that is lost isn't finalised: MPI would wait for the lost rank. The process ends with its
 * own status, and the launcher, which hears that it ended without MPI_Finalize, ends the others.
 * Until then the watch goes on, and has its memory. */
static void mpi_close(void *state) {
    struct ranks *r = state;
    if (r->is_lost || !watch_stop(&r->watch)) return;
    (void)MPI_Comm_free(&r->comm);
    (void)MPI_Finalize();
    mem_free(r->other);
    mem_free(r);
}

static int start_mpi(struct err *e) {
    int is_begun = 0, level = 0;
    if (MPI_Initialized(&is_begun) == MPI_SUCCESS && is_begun)
        return err_set(e, E_INVALID, "mpi: is opened once in a process");
    int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &level);
    if (code != MPI_SUCCESS) return mpi_fail(e, "init", code);
    if (level < MPI_THREAD_MULTIPLE)
        return err_set(e, E_UNSUPPORTED, "mpi: this library was built without threads");
    return 0;
}

/* All ranks have to be of one version: their steps must have the same bits. */
static int check_version(struct ranks *r, const char *version, struct err *e) {
    char first[64] = "";
    double differ = 0;
    if (r->rank == 0) (void)snprintf(first, sizeof first, "%s", version);
    int rc = mpi_broadcast(r, first, sizeof first, e);
    if (!rc) differ = strncmp(first, version, sizeof first - 1) != 0;
    if (!rc) rc = mpi_sum_f64(r, &differ, 1, e);
    if (!rc && differ > 0)
        rc = err_set(e, E_INVALID, "mpi: not all ranks run the same version of lammd (here %.20s)",
                     version);
    return rc;
}

static int find_ranks(struct ranks *r, struct err *e) {
    int code = MPI_Comm_dup(MPI_COMM_WORLD, &r->comm);
    if (code == MPI_SUCCESS) code = MPI_Comm_set_errhandler(r->comm, MPI_ERRORS_RETURN);
    if (code == MPI_SUCCESS) code = MPI_Comm_rank(r->comm, &r->rank);
    if (code == MPI_SUCCESS) code = MPI_Comm_size(r->comm, &r->size);
    if (code != MPI_SUCCESS) return mpi_fail(e, "ranks", code);
    if (r->size & (r->size - 1))
        return err_set(e, E_INVALID, "mpi: %d ranks; sums are trees, start a power of two of them",
                       r->size);
    return 0;
}

static int mpi_open(struct train_comm *out, const char *version, struct err *e) {
    struct ranks *r = mem_try(sizeof *r);
    char *other = mem_try(PIECE);
    int rc = r && other ? 0 : err_set(e, E_NOMEM, "no memory for ranks");
    if (!rc) rc = start_mpi(e);
    if (!rc) rc = find_ranks(r, e);
    if (!rc) rc = watch_start(&r->watch, r->rank, r->size, e);
    if (rc) { /* what MPI has begun, the end of the process ends */
        mem_free(other);
        mem_free(r);
        return rc;
    }
    r->other = other;
    rc = check_version(r, version, e);
    if (rc) {
        mpi_close(r);
        return rc;
    }
    *out = (struct train_comm){.state = r,
                               .rank = r->rank,
                               .size = r->size,
                               .sum_f32 = mpi_sum_f32,
                               .sum_f64 = mpi_sum_f64,
                               .broadcast = mpi_broadcast,
                               .barrier = mpi_barrier,
                               .close = mpi_close};
    return 0;
}

__attribute__((visibility("default"))) const struct train_comm_plugin *lammd_comm_plugin(void);

const struct train_comm_plugin *lammd_comm_plugin(void) {
    static const struct train_comm_plugin plugin = {TRAIN_COMM_ABI, sizeof(struct train_comm),
                                                    mpi_open};
    return &plugin;
}
