/* call.h - what the files of this room share: the API's own state, and the life of one call.
 *
 * A call is one request on its way to one reply. Its endpoint's step function runs on a worker as
 * often as it is woken and returns an enum api_step:
 *
 *     START --submit--> ASKED --job ends--> ANSWERED        (API_WAIT, API_WAIT, API_REPLY)
 *       |                 '--stream: head ready--> STREAM   (API_STREAM, then call->read)
 *       '--fault--> call_fail()                             (API_REPLY)
 *
 * Ownership: the call owns its image, job, body and the endpoint's state, and frees them in
 * api_call_free. The request's bytes are the server's and outlive the call.
 */
#ifndef API_CALL_H
#define API_CALL_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/api.h"
#include "api/wire/problem.h"

struct images;  /* images.c: the pictures that clients have stored */
struct metrics; /* metrics.c: counters and histograms */
struct input;

struct api {
    struct api_options opt; /* defaults filled in */
    struct eng *eng;
    struct images *images;
    struct metrics *metrics;
    atomic_int draining;
    pthread_mutex_t mu; /* guards the two below */
    api_server_stats_fn *server_stats;
    void *server_ud;
};

struct api_call {
    struct api *api;
    const struct api_route *route;
    struct api_input in;
    char request_id[72];
    uint64_t born_ns, decode_ns;
    struct problem problem;
    struct api_reply reply;
    char header_text[3][80]; /* storage for header values that are made per call */
    int n_header_text;
    struct buf body; /* of the reply; of a stream: what is ready and not yet read */
    struct eng_image *image;
    _Atomic(struct eng_job *) job;
    atomic_int cancelled;
    atomic_int expired; /* too late, but somebody listens */
    api_wake_fn *wake;
    void *ud;
    int wakes_each_pass;              /* or only at the job's end. Fixed before submit */
    void *state;                      /* the endpoint's, one block */
    void (*state_clear)(void *state); /* what is inside it, or NULL */
    long (*read)(struct api_call *c, char *to, size_t max);
    char summary[160];
};

/* ---- making the reply; each returns API_REPLY ---- */
int call_fail(struct api_call *c); /* c->problem is filled */
int call_fail_as(struct api_call *c, const char *code);
/* c->body becomes the reply's; fails with no_memory when it went bad. */
int call_answer(struct api_call *c, int status, const char *content_type);
/* `value` is static; the other copies a short text. */
void call_header(struct api_call *c, const char *name, const char *value);
void call_header_printf(struct api_call *c, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- towards the engine ---- */
/* The request's picture -> c->image: decoded, or found by its id. 0, or -1 with c->problem. */
int call_image(struct api_call *c, const struct input *in);
/* Queue the questions about c->image -> c->job. `each_pass`: wake for every pass that brings
 * answers, not only for the end. 0, or -1 with c->problem. */
int call_submit(struct api_call *c, const struct eng_point *points, uint32_t n,
                enum eng_estimate estimate, int distribution, int each_pass);
/* 1: the job is done; 0: not yet; -1: failed, c->problem says how. */
int call_outcome(struct api_call *c);

/* Index of the type in `types` (n of them, best first) that Accept likes most; -1: none. */
int call_accept(const char *accept, const char *const *types, int n);

/* ---- endpoints (routes.c has the table) ---- */
int reconstruct_step(struct api_call *c);
int pixels_step(struct api_call *c);
int images_put_step(struct api_call *c);
int images_delete_step(struct api_call *c);
int meta_models_step(struct api_call *c);
int meta_livez_step(struct api_call *c);
int meta_readyz_step(struct api_call *c);
int meta_static_step(struct api_call *c);
int metrics_step(struct api_call *c);

/* ---- the room's own stores ---- */
struct images *images_new(int max, unsigned ttl_s);
void images_free(struct images *s);
/* One reference for the caller, NULL when there is none. Any thread. */
struct eng_image *images_find(struct images *s, const char *id);
int images_count(struct images *s);

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
void metrics_count_decode(struct metrics *m, uint64_t ns, int failed);
void metrics_count_request(struct metrics *m, const struct api_route *route, int status,
                           uint64_t duration_ns);

#endif
