/* watch.c - hears whether the other ranks live.
 *
 * Each rank sends every other one a beat a second, and a goodbye when it closes. Its thread looks
 * ten times a second at what has come. The run is lost when
 *
 *     a rank has been silent for SILENT_NS    dead, stopped, or cut off
 *     a rank has left, and we have waited     it ended in good order, but too early; LEFT_NS, since
 *     for it for LEFT_NS                      the last sum may still be on its way to us
 *     MPI itself reports an error
 *
 * Then the reason is logged, and MPI_Abort asks the launcher to end all ranks. Should that hang, an
 * alarm ends this one: both within 10 seconds of the last beat. A rank that ends without a goodbye
 * is noticed by the launcher at once, in most cases before we do.
 *
 * Beats have their own communicator and never more than one is on its way to a rank, so a hung rank
 * fills no buffers.
 */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/train/mpi/mpi.h"
#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

enum { WATCH_BEAT = 1, WATCH_BYE = 2, TAG = 2, ABORT_S = 2 };
#define BEAT_NS   (1 * CLOCK_S)
#define SILENT_NS (7 * CLOCK_S)
#define LEFT_NS   (4 * CLOCK_S)
#define LOOK_NS   (100 * CLOCK_MS)

static void lost(const struct watch *w, int peer, const char *why) {
    log_event(LOG_LEVEL_ERROR, "rank_lost", "rank=%d of=%d seen_by=%d: %s; the run ends", peer,
              w->size, w->rank, why);
    (void)alarm(ABORT_S);
    (void)MPI_Abort(MPI_COMM_WORLD, 1);
}

static int watch_send(struct watch *w, int peer, int32_t what) {
    struct watch_peer *p = &w->peers[peer];
    p->out = what;
    return MPI_Isend(&p->out, 1, MPI_INT32_T, peer, TAG, w->comm, &p->sent);
}

static int watch_listen(struct watch *w, int peer) {
    struct watch_peer *p = &w->peers[peer];
    return MPI_Irecv(&p->in, 1, MPI_INT32_T, peer, TAG, w->comm, &p->coming);
}

/* Takes what has come of a peer. */
static int hear(struct watch *w, int peer, uint64_t now) {
    struct watch_peer *p = &w->peers[peer];
    int has_come = 0, code = MPI_SUCCESS;
    if (!p->has_left) code = MPI_Test(&p->coming, &has_come, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS || !has_come) return code;
    p->heard_ns = now;
    p->has_left = p->in == WATCH_BYE;
    return p->has_left ? MPI_SUCCESS : watch_listen(w, peer);
}

/* Says what is due, once what was said before is on its way. 1 in *is_done: the goodbye is. */
static int speak(struct watch *w, int peer, int is_due, int is_stopping, int *is_done) {
    struct watch_peer *p = &w->peers[peer];
    int is_sent = 0, code = MPI_Test(&p->sent, &is_sent, MPI_STATUS_IGNORE);
    *is_done = is_sent && p->out == WATCH_BYE;
    if (code != MPI_SUCCESS || !is_sent || *is_done) return code;
    if (is_stopping) return watch_send(w, peer, WATCH_BYE);
    return is_due ? watch_send(w, peer, WATCH_BEAT) : MPI_SUCCESS;
}

/* Has it left, and have we waited for it for too long? */
static int is_missed(const struct watch *w, const struct watch_peer *p, uint64_t now) {
    uint64_t since = atomic_load(&w->expecting_ns);
    if (!p->has_left || !since) return 0;
    if (since < p->heard_ns) since = p->heard_ns;
    return now > since && now - since > LEFT_NS;
}

/* One look at all peers. 1: all goodbyes are said and heard. */
static int look(struct watch *w, uint64_t now, int is_due) {
    int is_over = 1, is_stopping = atomic_load(&w->is_stopping);
    for (int i = 0; i < w->size; i++) {
        struct watch_peer *p = &w->peers[i];
        int is_done = 0;
        if (i == w->rank) continue;
        int code = hear(w, i, now);
        if (code == MPI_SUCCESS) code = speak(w, i, is_due, is_stopping, &is_done);
        if (code != MPI_SUCCESS)
            lost(w, i, "MPI reports an error");
        else if (is_missed(w, p, now))
            lost(w, i, "it has left");
        else if (!p->has_left && now - p->heard_ns > SILENT_NS)
            lost(w, i, "silent for seven seconds");
        is_over &= is_done && p->has_left;
    }
    return is_over;
}

static void *watch_main(void *ud) {
    struct watch *w = ud;
    uint64_t beat_ns = 0;
    for (;;) {
        uint64_t now = clock_ns();
        int is_due = now - beat_ns >= BEAT_NS;
        if (is_due) beat_ns = now;
        if (look(w, now, is_due)) return NULL;
        (void)nanosleep(&(struct timespec){.tv_nsec = (long)LOOK_NS}, NULL);
    }
}

int watch_start(struct watch *w, int rank, int size, struct err *e) {
    *w = (struct watch){.rank = rank, .size = size};
    w->peers = mem_try((size_t)size * sizeof *w->peers);
    if (!w->peers) return err_set(e, E_NOMEM, "no memory for ranks");
    int code = MPI_Comm_dup(MPI_COMM_WORLD, &w->comm);
    if (code == MPI_SUCCESS) code = MPI_Comm_set_errhandler(w->comm, MPI_ERRORS_RETURN);
    for (int i = 0; i < size && code == MPI_SUCCESS; i++) {
        w->peers[i].sent = w->peers[i].coming = MPI_REQUEST_NULL;
        w->peers[i].heard_ns = clock_ns();
        if (i != rank) code = watch_listen(w, i);
    }
    if (code != MPI_SUCCESS) return mpi_fail(e, "watch", code);
    int error = pthread_create(&w->thread, NULL, watch_main, w);
    return error ? err_set(e, E_NOMEM, "a thread to watch ranks: %s", strerror(error)) : 0;
}

void watch_expect(struct watch *w, int is_expecting) {
    atomic_store(&w->expecting_ns, is_expecting ? clock_ns() : 0);
}

int watch_stop(struct watch *w) {
    atomic_store(&w->is_stopping, 1);
    if (pthread_join(w->thread, NULL)) return 0;
    mem_free(w->peers);
    return MPI_Comm_free(&w->comm) == MPI_SUCCESS;
}
