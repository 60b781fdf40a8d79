/* call.h - what the files of this room share: the API's own state, and the life of one call.
 *
 * A call is one request on its way to one reply. Its endpoint's step function runs on a worker as
 * often as it is woken and returns an enum api_step:
 *
 *     START --ask--> ASKED --jobs end--> ANSWERED        (API_WAIT, API_WAIT, API_REPLY)
 *       |              '--stream: head ready--> STREAM   (API_STREAM, then call->read)
 *       '--fault--> call_fail()                          (API_REPLY)
 *
 * A call may have several jobs, at once or one after another. They are never taken off its list
 * before its end, so that whoever cancels it may walk the list without a lock.
 *
 * Ownership: the call owns its images, jobs, texts, body and the endpoint's state, and frees them
 * in api_call_free. The request's bytes are the server's and outlive the call.
 */
#ifndef API_CALL_H
#define API_CALL_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/api.h"
#include "api/store/counters.h"
#include "api/store/images.h"
#include "api/store/sessions.h"
#include "api/wire/problem.h"

struct input;
struct input_wants;

enum { CALL_JOBS_MAX = 128, CALL_TEXT_BYTES_MAX = 1 << 20 };

struct api {
    struct api_options opt; /* defaults filled in */
    struct eng *eng;
    struct images *images;
    struct sessions *sessions;
    struct counters *counters;
    double born_s; /* seconds since the epoch */
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
    struct eng_picture *pictures[ENG_PICTURES_MAX];
    uint32_t n_pictures;
    _Atomic(struct eng_job *) jobs[CALL_JOBS_MAX]; /* each is written once */
    atomic_int n_jobs;                             /* only grows */
    struct arena *texts;                           /* made with the first */
    atomic_int cancelled;
    atomic_int expired; /* too late, but somebody listens */
    api_wake_fn *wake;
    void *ud;
    int wakes_each_pass;              /* or only at a job's end. Fixed before the first ask */
    void *state;                      /* the endpoint's, one block */
    void (*state_clear)(void *state); /* what is inside it, or NULL */
    struct stream {                   /* of a reply that comes in events: stream.c */
        void (*next)(struct api_call *c);
        size_t read_at; /* of body */
        int ended;      /* the last event is in body */
        uint64_t last_ns;
    } stream;
    char summary[160];
};

/* ---- making the reply; each returns API_REPLY ---- */
int call_fail(struct api_call *c); /* c->problem is filled */
int call_fail_as(struct api_call *c, enum problem_code code);
/* c->body becomes the reply's; fails with no_memory when it went bad. */
int call_answer(struct api_call *c, int status, const char *content_type);
/* `value` is static; the other copies a short text. */
void call_header(struct api_call *c, const char *name, const char *value);
void call_header_printf(struct api_call *c, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A reply in events. `next` puts the next one, if there is one, into the empty c->body, and sets
 * c->stream.ended with the last. What is in c->body now comes first. Returns API_STREAM, or
 * API_REPLY when c->body went bad. */
int call_stream(struct api_call *c, void (*next)(struct api_call *c));
/* The event of a stream that failed: c->problem. */
void call_error_event(struct api_call *c);

/* The request, to be read; input_close it either way. 0, or -1 with c->problem. */
int call_open(struct api_call *c, struct input *in, const struct input_wants *wants);

/* ---- towards the engine ---- */
/* The request's pictures -> c->images, in their order: decoded, or found by id. 0, or -1 with
 * c->problem. */
int call_pictures(struct api_call *c, const struct input *in);
/* Queue a job. Without images of its own `ask` is about c->images; callbacks are filled in here.
 * `param`: the field that a text of `ask` came from, to which the engine's refusal of it belongs;
 * NULL: it has none. The job is the call's; NULL with c->problem. */
struct eng_job *call_ask(struct api_call *c, const struct eng_ask *ask, const char *param);
/* 1: the job is done; 0: not yet; -1: failed, c->problem says how. */
int call_job_outcome(struct api_call *c, const struct eng_job *job);
/* The same of all the call's jobs together; writes the summary when they are done. */
int call_outcome(struct api_call *c);
/* Of all the call's jobs together: first submit, first answer, last end; everything else added. */
void call_stats(struct api_call *c, struct eng_job_stats *out);
struct eng_job *call_job(struct api_call *c, int i); /* the i-th */

/* ---- endpoints (routes.c has the table) ---- */
int reconstruct_step(struct api_call *c);
int pixels_step(struct api_call *c);
int segment_step(struct api_call *c);
int refer_step(struct api_call *c);
int describe_step(struct api_call *c);
int vqa_step(struct api_call *c);
int act_step(struct api_call *c);
int session_new_step(struct api_call *c);
int session_act_step(struct api_call *c);
int session_delete_step(struct api_call *c);
int chat_step(struct api_call *c);
int images_put_step(struct api_call *c);
int images_delete_step(struct api_call *c);
int meta_models_step(struct api_call *c);
int meta_model_step(struct api_call *c);
int meta_livez_step(struct api_call *c);
int meta_readyz_step(struct api_call *c);
int meta_static_step(struct api_call *c);
int metrics_step(struct api_call *c);

#endif
