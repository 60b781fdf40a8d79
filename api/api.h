/* api.h - the door to the API: what do these bytes ask, and how do we answer?
 *
 * No sockets here. The server hands over a complete, bounded request; the API parses, checks,
 * submits to the engine and renders. Tests and the command line call it directly:
 *
 *     route = api_route("POST", "/v1/reconstruct", &arg, &status, &allow);
 *     api_call_new(api, route, &input, wake, ud, &call);
 *     while ((step = api_call_step(call)) == API_WAIT) wait_for_wake();
 *     reply = api_call_reply(call);          // API_REPLY: whole body; API_STREAM: head only,
 *     n = api_call_read(call, p, max);       //   then read pieces until API_END; at API_STEP step
 *     api_call_free(call);                   // cancels what is still running
 *
 * Threads: api_call_step and api_call_free may take milliseconds (decode, resize, PNG): worker
 * threads. api_call_read copies bytes that are ready: any thread, one at a time per call. `wake` is
 * called from the engine's step thread and must return at once; a wake may come at any moment after
 * api_call_new, even before api_call_step has returned API_WAIT or api_call_read has returned 0,
 * and counts then too. After api_call_free has returned it is never called again. A call is used by
 * one thread at a time, but for api_call_cancel; the server's queues see to that. Errors: whatever
 * goes wrong becomes a reply (application/problem+json, one table in problem.c). No text of a
 * library, no path and no address ever gets into a reply.
 */
#ifndef API_API_H
#define API_API_H

#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "kernels/base/buf.h"

struct api;
struct api_call;
struct jobs; /* jobs/jobs.h */

/* What one caller may have at once: a key, or an address where there are none. 0: no limit but that
 * of all together. */
struct api_limits {
    unsigned requests;
    uint64_t tokens;     /* of the questions of these: what the engine's queue counts */
    uint64_t body_bytes; /* of these */
    int images, sessions;
    unsigned uploads; /* files on their way */
};

struct api_options {
    size_t json_max;        /* bytes of a JSON body; 0: 16 MiB */
    size_t picture_max;     /* bytes of an encoded picture; 0: 12 MiB */
    uint64_t pixels_max;    /* pixels of a picture; 0: 16 million */
    size_t upload_max;      /* bytes of a form with a file; 0: 1 GiB */
    uint64_t costly_max;    /* of one of the costly kinds (media/head.h); 0: 4 million */
    size_t decoded_max;     /* bytes of pictures found again by their uploads; 0: none */
    int stored_images;      /* pictures kept by PUT /v1/images; 0: 64 */
    unsigned image_ttl_s;   /* and for how long after the last use; 0: 3600 */
    int sessions;           /* games played at once through /v1/act/sessions; 0: 64 */
    unsigned session_ttl_s; /* after their last step they may make room; 0: 600 */
    const char *replica;    /* what ids begin with; NULL: nothing */
    struct api_limits limits;
    int is_queue_shared;  /* limits.tokens 0 is half of the engine's queue */
    uint64_t request_ns;  /* that a call has: what can't be done in it is refused; 0: any time */
    const char *adapters; /* folder of adapters and of their history (api/store/catalog.h); NULL:
                             none can be loaded */
    const char *shared_adapters; /* the folder that replicas share instead; NULL: there is none.
                                    What is in `adapters` is copied there when it is loaded */
    const char *picture_folder;  /* "file:a/1.jpg" in JSON is a picture in it; NULL: there are none.
                                   For the command line alone: a client names no files of ours */
};

enum { API_IMAGES_MAX = 100000, API_SESSIONS_MAX = 10000 }; /* of stored_images, sessions */

/* Borrows the engine until api_free; NULL: it is still being opened. Must-succeed but for the
 * options: E_INVALID; E_IO or E_FORMAT of the history of adapters; and what api_set_engine says. */
int api_new(const struct api_options *opt, struct eng *eng, struct api **out, struct err *e);
void api_free(struct api *a); /* no call may be left */

/* ---- what can go wrong ---- */

/* The word that a client reads is the name in small letters, "queue_full" (wire/problem.c). */
enum problem_code {
    PROBLEM_NONE,
    PROBLEM_HEADER_GATE,
    PROBLEM_BAD_MULTIPART,
    PROBLEM_INVALID_JSON,
    PROBLEM_INVALID_PARAMETER,
    PROBLEM_UNKNOWN_PARAMETER,
    PROBLEM_MISSING_PARAMETER,
    PROBLEM_MISSING_PICTURE,
    PROBLEM_TOO_MANY_PICTURES,
    PROBLEM_UNSUPPORTED_URL,
    PROBLEM_UNAUTHORIZED,
    PROBLEM_FORBIDDEN,
    PROBLEM_SCOPE_MISSING,
    PROBLEM_NOT_FOUND,
    PROBLEM_IMAGE_NOT_FOUND,
    PROBLEM_SESSION_NOT_FOUND,
    PROBLEM_FILE_NOT_FOUND,
    PROBLEM_JOB_NOT_FOUND,
    PROBLEM_BATCH_NOT_FOUND,
    PROBLEM_MODEL_NOT_FOUND,
    PROBLEM_ADAPTER_NOT_FOUND,
    PROBLEM_METHOD_NOT_ALLOWED,
    PROBLEM_NOT_ACCEPTABLE,
    PROBLEM_SESSION_BUSY,
    PROBLEM_STEP_IS_OLD,
    PROBLEM_RELOAD_FAILED,
    PROBLEM_FILE_IN_USE,
    PROBLEM_FILE_NOT_PROCESSED,
    PROBLEM_WRONG_STATE,
    PROBLEM_IDEMPOTENCY_CONFLICT,
    PROBLEM_ADAPTER_NOT_LOADED,
    PROBLEM_ADAPTER_IS_DEFAULT,
    PROBLEM_ADAPTER_CHANGED,
    PROBLEM_DEFAULT_MOVED,
    PROBLEM_GATE_REFUSED,
    PROBLEM_GATE_NOT_DECIDED,
    PROBLEM_NOTHING_BEFORE,
    PROBLEM_BODY_TOO_LARGE,
    PROBLEM_PICTURE_TOO_LARGE,
    PROBLEM_UNSUPPORTED_MEDIA_TYPE,
    PROBLEM_UNSUPPORTED_PICTURE,
    PROBLEM_BAD_PICTURE,
    PROBLEM_TOO_MUCH_WORK,
    PROBLEM_UNSUPPORTED_TASK,
    PROBLEM_TOO_BIG,
    PROBLEM_ADAPTER_DOES_NOT_FIT,
    PROBLEM_URI_TOO_LONG,
    PROBLEM_HEADERS_TOO_LARGE,
    PROBLEM_QUOTA_EXCEEDED,
    PROBLEM_TOO_MANY_OWN_JOBS,
    PROBLEM_TOO_MANY_JOBS,
    PROBLEM_TOO_MANY_OWN_BATCHES,
    PROBLEM_TOO_MANY_BATCHES,
    PROBLEM_TOO_MANY_OWN_BYTES,
    PROBLEM_NO_STATE,
    PROBLEM_NO_SPACE,
    PROBLEM_QUEUE_FULL,
    PROBLEM_STORE_FULL,
    PROBLEM_TOO_MANY_SESSIONS,
    PROBLEM_TOO_MANY_CONNECTIONS,
    PROBLEM_DRAINING,
    PROBLEM_AUDIT_UNAVAILABLE,
    PROBLEM_STATE_UNWRITABLE,
    PROBLEM_NO_SLOT,
    PROBLEM_LOADING,
    PROBLEM_STUCK,
    PROBLEM_NO_MEMORY,
    PROBLEM_DEVICE_LOST,
    PROBLEM_DEADLINE,
    PROBLEM_CANCELLED,
    PROBLEM_INTERNAL_ERROR,
    PROBLEM_CODES
};

/* ---- who asks, and what for ---- */

/* What a route is for, and what a key allows. A row of the table that names none is closed to
 * everybody. */
enum api_scope {
    API_NOBODY,
    API_ANYBODY, /* health, the page, the contract: no key is asked for */
    API_FILES,   /* files: of batches for API_ASK, to learn from for API_TRAIN */
    API_ASK,
    API_METRICS,
    API_TRAIN,
    API_PROMOTE,
    API_ADMIN,
    API_SCOPES
};
/* "ask", "metrics", ...; NULL for those that no key has to name. */
extern const char *const api_scope_words[API_SCOPES];
/* A set of scopes is an unsigned with these bits. API_FILES is none of them: it is open to those
 * who have API_ASK or API_TRAIN, and a file's purpose says which of them it is for. */
#define API_SCOPE(scope) (1u << (scope))
#define API_SCOPES_ALL   (API_SCOPE(API_SCOPES) - API_SCOPE(API_ASK))
/* What those may who need no key: on loopback, where there are none. */
#define API_SCOPES_OPEN (API_SCOPE(API_ASK) | API_SCOPE(API_METRICS))

enum { API_KEY_BYTES = 17, API_PEER_BYTES = 48, API_LIMIT_BYTES = 64 };

/* Who sends a request, as the server found out. */
struct api_caller {
    char key[API_KEY_BYTES];   /* the id of the key; "": there is none */
    char peer[API_PEER_BYTES]; /* where from, as far as callers are told apart: "192.0.2.7",
                                  "2001:db8:0:7::/64", "this-machine", "admin-socket" */
    unsigned scopes;
};

/* ---- routes: the one table of what exists (routes.c) ---- */
enum api_pace {
    API_WORK,  /* takes as long as the model does */
    API_QUICK, /* takes moments, and somebody counts them: a step of a game */
    API_WATCH  /* comes again and again: health, metrics, the page. Its first step replies, and
                  waits neither for the engine nor for a lock that is held long: any thread */
};
struct endpoint; /* the room's own: endpoint.h */
struct api_route {
    const char *method, *path; /* path template: "/v1/images/{id}" */
    const char *allow;         /* every method of this path: "GET, HEAD" */
    enum api_scope scope;
    enum api_pace pace;
    const struct endpoint *endpoint;
};
/* Exact match of a decoded path; *arg points at what the first {..} stands for and all behind it
 * (inside `path`), or is NULL: it goes into api_input as it is. NULL when there is none: *status is
 * 404, or 405 with e.g. *allow = "GET, HEAD". HEAD finds GET. */
const struct api_route *api_route(const char *method, const char *path, const char **arg,
                                  int *status, const char **allow);
const struct api_route *api_route_table(size_t *n);
/* May somebody with these scopes use it? */
int api_route_is_open(const struct api_route *r, unsigned scopes);
/* Most body bytes a route takes. 0: no body. */
size_t api_route_body_max(const struct api *a, const struct api_route *r);
/* Is its body a form whose part `file` goes to the disk? */
int api_route_takes_file(const struct api_route *r);
/* Is it one question with one answer, which a line of a batch may ask? */
int api_route_is_batchable(const struct api_route *r);
/* Does its stream go on for as long as what it tells of? Then no time limit ends it. */
int api_route_follows(const struct api_route *r);

/* A request on its way, counted against what its caller may have at once. */
struct api_visit {
    struct account *account; /* NULL: it is not counted */
    uint64_t body_bytes;
    int is_upload;                                       /* with a file */
    int is_inside;                                       /* it has not left */
    char why[API_LIMIT_BYTES + 40];                      /* of a refusal: its text, */
    char policy[API_LIMIT_BYTES], left[API_LIMIT_BYTES]; /* RateLimit-Policy and RateLimit */
};
/* Count a request for this route with so many bytes of body. E_BUSY: it is one too many,
 * PROBLEM_QUOTA_EXCEEDED. It leaves when it is answered, and ends when its call has been freed. Any
 * thread; the two take a visit that never entered, too. */
int api_enter(struct api *a, const struct api_route *r, const struct api_caller *who,
              uint64_t body_bytes, struct api_visit *visit);
void api_leave(struct api *a, struct api_visit *visit);
void api_visit_end(struct api *a, struct api_visit *visit);

/* ---- one call ---- */
struct api_field {            /* a part of a multipart/form-data body, or a pair of the query */
    const char *name;         /* NUL-terminated; borrowed until api_call_free */
    const char *content_type; /* NULL: none given */
    const uint8_t *data;
    size_t len;
};
struct api_file {       /* part `file` of a form, which went to the disk: api_route_takes_file */
    const char *path;   /* whoever accepts it moves it away, within its disk; else it goes with the
                         request. It will be there after a crash, too */
    const char *sha256; /* of its bytes, 64 hex digits */
    uint64_t bytes;
    const char *name, *content_type; /* as they were sent; NULL: none */
};
/* A call that is a line of a batch: it is never late, and its answer says nothing of when and how
 * fast it was made. So the same line has the same answer each time, byte by byte. */
struct api_batch {
    int64_t created;   /* seconds since the epoch, where an answer has to name a time */
    int is_background; /* others wait for theirs: it comes behind all of them (ENG_BATCH), and has
                          any time */
};
/* The call is about to do what needs more than the scope ask: it is written down first. Nonzero: it
 * can't be. Thread: a worker. */
typedef int api_record_fn(void *ud);
struct api_input {
    const char *arg; /* of api_route, or NULL */
    const struct api_field *query;
    size_t n_query;
    const char *content_type; /* header values; NULL: absent */
    const char *accept;
    const char *if_none_match;
    const char *idempotency_key;
    const char *last_event_id;
    const char *request_id;          /* never NULL */
    const struct api_caller *caller; /* NULL: the command line, which is alone */
    api_record_fn *record;           /* for routes of API_ASK and API_FILES, where only the call
                                        knows; of others the server knows. NULL: nobody does */
    void *record_ud;
    const struct api_visit *visit; /* NULL: it is not counted */
    const uint8_t *body;           /* raw or JSON body; borrowed until api_call_free */
    size_t body_len;
    const struct api_field *form; /* multipart body, already taken apart; then body is NULL */
    size_t n_form;
    const struct api_file *file;   /* NULL: none came */
    const struct api_batch *batch; /* NULL: somebody waits for the answer */
};

typedef void api_wake_fn(void *ud);

/* Copies nothing but small strings; `in`'s pointers stay the caller's and live as long as the call.
 * E_NOMEM. */
int api_call_new(struct api *a, const struct api_route *r, const struct api_input *in,
                 api_wake_fn *wake, void *ud, struct api_call **out, struct err *e);

enum api_step {
    API_WAIT,  /* call step again after the next wake */
    API_REPLY, /* the reply is whole */
    API_STREAM /* the reply's head is ready, its body comes by api_call_read */
};
enum api_step api_call_step(struct api_call *c);

struct api_header {
    const char *name, *value;
};
struct api_reply_file {
    int fd;
    uint64_t bytes; /* that it has, from its beginning */
};
struct api_reply {
    int status;
    const char *content_type;     /* NULL: no body */
    struct api_header headers[8]; /* e.g. Retry-After, Allow, Location, Vary */
    int n_headers;
    const uint8_t *body; /* borrowed from the call, or static */
    size_t body_len;
    int is_static;                     /* body lives for ever: need not be copied */
    const struct api_reply_file *file; /* the body is this file instead; the call's. NULL: no */
};
const struct api_reply *api_call_reply(const struct api_call *c);
/* When the reply is a problem: its text for people, without the JSON around it. Else NULL. */
const char *api_call_problem(const struct api_call *c);

enum { API_END = -1, API_BROKEN = -2, API_STEP = -3 };
/* Next bytes of a stream: > 0; 0: none yet, wait for wake; API_END; API_BROKEN: close hard;
 * API_STEP: the call has more to ask: step it (a worker; it says API_STREAM again), read then. A
 * stream that failed half-way says so in an `error` event before its end. A stream that has been
 * silent for 15 s gives a comment line, so that proxies keep it: call again that long after a 0. */
long api_call_read(struct api_call *c, char *to, size_t max);

/* Nobody listens any more: the engine's work for this call stops before its next pass. The call is
 * still to be freed. Any thread, once. */
void api_call_cancel(struct api_call *c);
/* It takes too long, or the server is closing: its work stops likewise, but somebody still listens:
 * a stream ends with an `error` event, `deadline` or `draining`. Any thread. */
void api_call_expire(struct api_call *c);
void api_call_free(struct api_call *c); /* NULL is legal */
/* Which model answers it, "fp_0123456789ab": the first digits of its digest. */
enum { API_PRINT_BYTES = 16 };
void api_call_print(const struct api_call *c, char out[API_PRINT_BYTES]);
/* Token rows that it took of the engine so far. */
uint64_t api_call_rows(struct api_call *c);
/* For the log: "answers=4096 rows=20993 cached=1" of this call, "" when there is nothing to say. */
const char *api_call_summary(const struct api_call *c);

/* An error reply that the server needs before there is a call (gate, limits, draining). `detail`
 * NULL: the table's text. Fills `body` (E_NOMEM) and returns the HTTP status. */
int api_problem(enum problem_code code, const char *detail, const char *request_id,
                struct buf *body);

/* ---- what the server knows and /readyz and /metrics must tell ---- */
struct api_server_stats {
    uint64_t connections, connections_total, shed_total, gate_refused_total;
    uint64_t cancelled_total; /* clients that left early */
    uint64_t body_bytes;      /* held in bodies now */
};
typedef void api_server_stats_fn(void *ud, struct api_server_stats *out);
void api_set_server(struct api *a, api_server_stats_fn *fn, void *ud);
/* What POST /v1/admin/reload does, on a worker's thread: read the keys again, *n_keys of them; -1:
 * there are no keys. An error's text is for the client. `fn` NULL: there is nothing to reload. */
typedef int api_reload_fn(void *ud, int *n_keys, struct err *e);
void api_set_reload(struct api *a, api_reload_fn *fn, void *ud);
/* The engine is open. Until then health, metrics and the page answer, and all else says `loading`.
 * Loads the adapters that were loaded before, and takes as long as that takes. Once, from any
 * thread. E_INVALID: the shared folder of adapters is that of another model; E_IO, E_FORMAT. Then
 * nothing else has changed. */
int api_set_engine(struct api *a, struct eng *eng, struct err *e);
/* An adapter has come into the folder: load it soon, if there is a slot for it. `by`: the key whose
 * it is, or NULL. Returns at once; any thread. */
void api_offer_adapter(struct api *a, const char *name, const char *by);
/* Files and jobs: borrowed until api_free. Before any request comes; without it those routes say
 * `no_state`. */
void api_set_jobs(struct api *a, struct jobs *jobs);
/* Engine or loop get on no more, or do again: readyz says 503 meanwhile. Any thread. */
void api_set_stuck(struct api *a, int is_stuck);
/* Leaving: readyz says 503 from now on, and all else goes on as before. Any thread. */
void api_set_leaving(struct api *a);
/* Draining: so does readyz, and who waits or streams is told. Any thread. */
void api_set_draining(struct api *a);
/* Count a finished request for /metrics; `route` NULL: none matched. Any thread. */
void api_count(struct api *a, const struct api_route *route, int status, uint64_t duration_ns);

#endif
