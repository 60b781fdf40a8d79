/* call.h - one call: a request on its way to one reply.
 *
 * endpoint.c steps it on a worker, as often as it is woken; a step returns an enum api_step:
 *
 *     START --ask--> ASKED --jobs end--> ANSWERED        (API_WAIT, API_WAIT, API_REPLY)
 *       |              '--stream: head ready--> STREAM   (API_STREAM, then api_call_read)
 *       '--fault--> call_fail()                          (API_REPLY)
 *
 * A call may have several jobs, at once or one after another. Whoever cancels it walks the list of
 * them without a lock. A job that has ended and was told may leave the list before the call's end
 * (call_drop): its place is NULL then.
 *
 * Ownership: the call owns its pictures, jobs, texts, body and the endpoint's state, and frees them
 * in api_call_free. The request's bytes are the server's and outlive the call.
 */
#ifndef API_CALL_H
#define API_CALL_H

#include <stdatomic.h>

#include "api/state.h"
#include "api/wire/problem.h"

enum { CALL_JOBS_MAX = 128, CALL_TEXT_BYTES_MAX = 1 << 20, ROUTE_ARGS_MAX = 2 };

struct api_call {
    struct api *api;
    const struct api_route *route;
    struct api_input in;              /* arg: what the first {..} of the path stands for */
    char *arg_text;                   /* args, one behind the other */
    const char *args[ROUTE_ARGS_MAX]; /* what each {..} stands for; NULL: the row has no such */
    char request_id[72];
    uint64_t born_ns, decode_ns;
    uint64_t owner; /* whose pictures and sessions are its; 0: of all who have no key */
    uint64_t payer; /* whom they, and its questions, are counted against: store/ids.h */
    struct problem problem;
    enum quota over;                      /* of the problem quota_exceeded */
    struct catalog_model model;           /* what answers; name "": nobody is asked */
    char model_asked[CATALOG_NAME_BYTES]; /* as the request names it; "": it doesn't */
    struct api_reply reply;
    char header_text[3][80]; /* storage for header values that are made per call */
    int n_header_text;
    struct api_reply_file file; /* of the reply, where `reply` points at it */
    int has_file;               /* its fd is open */
    struct buf body;            /* of the reply; of a stream: what is ready and not yet read */
    struct eng_picture *pictures[ENG_PICTURES_MAX];
    uint32_t n_pictures;
    _Atomic(struct eng_job *) jobs[CALL_JOBS_MAX]; /* set once; NULL again when dropped */
    atomic_int n_jobs;                             /* only grows */
    atomic_int n_stopping;                         /* threads that walk them to cancel them */
    struct eng_job_stats gone;                     /* of the jobs that were dropped */
    uint32_t gone_answers;
    uint64_t costs[CALL_JOBS_MAX]; /* of each, while it counts against the caller's quota */
    struct arena *texts;           /* of the request; NULL: nothing was read */
    atomic_int cancelled;
    atomic_int expired; /* too late, but somebody listens */
    api_wake_fn *wake;
    void *ud;
    int wakes_each_pass;              /* or only at a job's end. Fixed before the first ask */
    int is_begun;                     /* the first step was taken */
    int media;                        /* of the answer: index into the endpoint's types */
    void *state;                      /* the endpoint's, one block; gone when the reply is whole */
    void (*state_clear)(void *state); /* what is inside it, or NULL */
    struct stream {                   /* of a reply that comes in events: stream.c */
        int is_wanted;                /* instead of a whole one */
        void (*next)(struct api_call *c);
        size_t read_at; /* of body */
        int ended;      /* the last event is in body */
        int is_due;     /* the call wants to be stepped before the next event */
        uint64_t last_ns;
    } stream;
    char summary[160];
};

/* `text` is what stands in a path from the first {..} of its row on. It is cut in place, and args
 * (of the row: that many are returned) become what each {..} stands for. routes.c. */
int route_cut(const struct api_route *r, char *text, const char *args[ROUTE_ARGS_MAX]);

/* ---- making the reply; each returns API_REPLY ---- */
int call_fail(struct api_call *c); /* c->problem is filled */
int call_fail_as(struct api_call *c, enum problem_code code);
/* The caller has too much of something; fills the problem. Returns -1. */
int call_over_quota(struct api_call *c, enum quota what);
/* The model of that name, NULL: of none, answers this call to its end. 0, or -1 with the
 * problem. */
int call_pick(struct api_call *c, const char *model);
/* c->body becomes the reply's; fails with no_memory when it went bad. */
int call_answer(struct api_call *c, int status, const char *content_type);
/* The file's bytes become the reply's body; takes the descriptor. */
int call_answer_file(struct api_call *c, int fd, uint64_t bytes, const char *content_type);
/* `value` is static; the other copies a short text. */
void call_header(struct api_call *c, const char *name, const char *value);
void call_header_printf(struct api_call *c, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The endpoint needs its state no more. */
void call_clear_state(struct api_call *c);

#endif
