/* req.h - one request, from its first line to its last byte, and the threads that work on it.
 *
 * Three parties handle a request. The HTTP loop (libmicrohttpd's thread) reads it and sends the
 * answer. A worker steps its API call. The engine wakes the call. While there is nothing to send,
 * the loop *parks* the request: its connection is suspended. libmicrohttpd does not see a suspended
 * connection, so the watcher (watch.h) looks after it. Whoever has news *signals* the request,
 * which ends the parking.
 *
 *     READING --body whole--> WORKING --API_REPLY--> REPLYING --sent--> over
 *                                     --API_STREAM-> STREAMING --end--> over
 *                                                      '--API_STEP--> WORKING
 *
 * Rules.
 * 1. Parking and signalling work like a semaphore that counts to one: a signal before the park is
 *    kept.
 * 2. Exactly one party takes a request out of the park, and only that one resumes the connection.
 * 3. One worker at a time steps the call: `turn`. A wake during a step means one more step.
 * 4. When libmicrohttpd is done with a request that has a call, a worker frees it: freeing may take
 *    a while, and a step may still be running. What comes again and again and waits for nobody
 *    (API_WATCH) needs no worker: the loop steps it, and frees it.
 * 5. The fields below the line "lock" are read and written under desk->mu. It is held for a few
 *    instructions, and no other lock is taken meanwhile.
 * 6. A request that is being read is parked while the disk is behind with its file. It has no call
 *    then.
 */
#ifndef SERVER_HTTP_REQ_H
#define SERVER_HTTP_REQ_H

#include <pthread.h>

#include "api/api.h"
#include "kernels/base/buf.h"
#include "kernels/base/queue.h"
#include "server/http/caller.h"
#include "server/http/form.h"
#include "server/http/target.h"

enum req_stage { REQ_READING, REQ_WORKING, REQ_REPLYING, REQ_STREAMING };
enum req_turn { TURN_NONE, TURN_QUEUED, TURN_RUNNING, TURN_AGAIN };

struct req;

enum { DESK_QUICK_MAX = 64 };

/* What all requests share: the workers and their queues. */
struct desk {
    pthread_mutex_t mu;
    struct queue *work;  /* of struct req * */
    struct queue *quick; /* the same: games, which don't wait behind others' pictures */
    pthread_t *threads;
    int n_threads; /* the first works for `quick` alone */
    struct api *api;
    int is_closing;      /* lock: nothing may be parked any more */
    int n_working;       /* lock: requests with a call that is not freed yet */
    int working_max;     /* and how many there may be */
    int n_fresh;         /* lock: in `quick`, not stepped yet; at most DESK_QUICK_MAX */
    pthread_cond_t idle; /* when there is none */
    /* Suspend and resume a connection, and let the watcher know. `suspend` is called on the HTTP
     * loop, with the lock; `resume` on any thread, without it. */
    void (*suspend)(struct req *r);
    void (*resume)(struct req *r);
};

struct req {
    struct desk *desk;
    struct MHD_Connection *mhd;
    struct conn *conn;
    uint64_t born_ns;
    char id[72], method[8];
    char *raw_target;
    struct target target;
    const struct api_route *route; /* NULL: none */
    struct caller caller;
    struct api_visit visit; /* counted against the caller's quota until the call is freed */
    const char *allow;
    struct buf body;
    struct form *form;
    struct api_input input;
    char *kept[5]; /* copies of headers: a worker may read them when the connection is gone */
    uint64_t body_bytes, discarded_bytes;
    size_t body_max;                /* bytes */
    enum problem_code problem_code; /* what to answer instead, once the body is read */
    const char *problem_detail;
    struct buf problem;
    struct buf last_words; /* the same as a whole answer, should the body not come in time */
    struct api_call *call;
    int status;       /* of the answer; 0: none yet */
    int is_seen;      /* its headers were looked at */
    int is_upload;    /* its route takes a file */
    int is_following; /* its stream may go on for as long as what it tells of */
    int is_here;      /* the loop steps its call and frees it */
    int is_http10;    /* it has no chunks: a stream's end is that of the connection */

    /* ---- lock ---- */
    enum req_stage stage;
    enum req_turn turn;
    int is_parked, is_signalled;
    int is_fresh; /* counts in n_fresh */
    int is_gone;  /* the client left */
    int is_late;  /* past its deadline */
    int is_over;  /* libmicrohttpd is done with it */
    uint64_t parked_ns;
};

/* `n_threads` workers, and one more for `quick`. suspend and resume are the caller's to set. */
void desk_open(struct desk *d, struct api *api, int n_threads, int working_max);
/* When no connection is left. Waits until the last call has been freed, then ends the workers. */
void desk_close(struct desk *d);

struct req *req_new(struct desk *d, const char *raw_target); /* NULL without memory */

/* Loop: hand r->call to the workers; park the request next. E_BUSY: working_max requests are at
 * work, among them those whose clients are gone but whose calls wait to be freed; or
 * DESK_QUICK_MAX quick ones wait for their worker. */
int req_work(struct req *r);
/* Loop: step r->call, of API_WATCH, here and now. It is REQ_REPLYING then. */
void req_work_here(struct req *r);
/* Loop: the call of a stream wants to be stepped before it is read on; park the request next. */
void req_step(struct req *r);
/* Loop: there is nothing to send. 1: it is parked; return to libmicrohttpd. 0: it was signalled;
 * look again. -1: the desk is closing; give the request up. */
int req_park(struct req *r);
/* Any thread: there is news. It is the api_wake_fn of the call, too. */
void req_signal(struct req *r);
/* Watcher, with the lock: take `r` out of the park because its client left (it is_gone), because it
 * is late (it is_late), or only so that the loop looks at it. 1: the caller has to req_release it,
 * without the lock. 0: it was not parked. */
enum req_why { REQ_LOOK, REQ_LATE, REQ_GONE };
int req_take(struct req *r, enum req_why why);
void req_release(struct req *r, enum req_why why);
/* Loop: libmicrohttpd is done with it; it is freed, soon. */
void req_over(struct req *r);

struct req_view { /* what the loop must know after a resume */
    enum req_stage stage;
    int is_gone, is_late;
};
struct req_view req_view(struct req *r);

#endif
