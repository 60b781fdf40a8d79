/* endpoint.h - one skeleton for all calls; an endpoint is a row of what is its own.
 *
 *     room for its state                      state_size
 *     what comes before the request is read   enter
 *     which content type is wanted            media
 *     the fields of the request               wants, read
 *     its pictures: decoded, or found by id
 *     the questions to the engine             ask
 *     has the engine answered?                outcome         (API_WAIT until it has)
 *     the reply                               answer          (API_REPLY)
 *     or a stream of events                   first, next     (API_STREAM)
 *
 * The first fault ends the call; what stands above wins over what stands below. Whatever a row
 * leaves out is left out. `read` to `outcome` return -1 with the problem filled. `read` may return
 * 1: the answer is known, so pictures and questions are left out. Thread: as in api.h.
 */
#ifndef API_ENDPOINT_H
#define API_ENDPOINT_H

#include "api/call.h"
#include "api/wire/input.h"

/* Content types that an answer may have. */
struct media {
    const char *types[4]; /* best first, NULL at the end. text/event-stream: a stream */
    const char *refusal;  /* when Accept has none of them; NULL: the table's text */
};
extern const struct media media_json, media_json_or_events;

struct endpoint {
    const struct input_wants *wants; /* of the request; NULL: it has no body, and no query counts */
    int follows;                     /* its stream goes on for as long as what it tells of */
    int takes_file; /* the body is a form whose part `file` goes to the disk, and `wants` is NULL */
    const struct media *media; /* of the answer; NULL: Accept is not looked at */
    size_t state_size;         /* of c->state, zeroed; 0: none */
    int (*enter)(struct api_call *c);
    int (*read)(struct api_call *c, struct input *in);
    int (*ask)(struct api_call *c);
    int (*outcome)(struct api_call *c); /* 1: answer; 0: not yet; -1. NULL: call_outcome, if asked.
                                    Of a stream: asks what is due; see stream.h */
    int (*answer)(struct api_call *c);  /* fills the reply; API_REPLY */
    /* 1: the fault is no fault, and taken away: answer. 0: it stands. */
    int (*excuse)(struct api_call *c);
    void (*first)(struct api_call *c); /* writes the event that opens the stream */
    void (*next)(struct api_call *c);  /* stream.h */
    void (*clear)(void *state);        /* gives back what the state owns. Once, whatever happened */
};

/* What Accept likes most -> c->media, c->stream.is_wanted. For rows whose types depend on the
 * request: their `read` calls it. 0, or -1 with the problem. */
int endpoint_pick(struct api_call *c, const struct media *media);

/* The request's input, from its beginning: to be closed by input_close, whatever this returns. 0,
 * or -1 with the problem. */
int endpoint_open_input(struct api_call *c, struct input *in);

/* ---- the rows, each in the file of its endpoint; routes.c says where they are found ---- */
extern const struct endpoint reconstruct_endpoint, pixels_endpoint, segment_endpoint,
    refer_endpoint, describe_endpoint, vqa_endpoint, chat_endpoint;
extern const struct endpoint act_endpoint, session_new_endpoint, session_act_endpoint,
    session_delete_endpoint;
extern const struct endpoint images_put_endpoint, images_delete_endpoint;
extern const struct endpoint meta_models_endpoint, meta_model_endpoint, meta_livez_endpoint,
    meta_readyz_endpoint, meta_static_endpoint, metrics_endpoint, admin_reload_endpoint;
extern const struct endpoint adapters_list_endpoint, adapters_show_endpoint,
    adapters_history_endpoint, adapters_load_endpoint, adapters_unload_endpoint,
    adapters_promote_endpoint, adapters_rollback_endpoint;
extern const struct endpoint files_create_endpoint, files_list_endpoint, files_get_endpoint,
    files_content_endpoint, files_delete_endpoint;
extern const struct endpoint batches_create_endpoint, batches_list_endpoint, batches_get_endpoint,
    batches_cancel_endpoint;
extern const struct endpoint fine_tuning_recipes_endpoint;
extern const struct endpoint fine_tuning_create_endpoint, fine_tuning_list_endpoint,
    fine_tuning_get_endpoint, fine_tuning_events_endpoint, fine_tuning_checkpoints_endpoint,
    fine_tuning_cancel_endpoint, fine_tuning_pause_endpoint, fine_tuning_resume_endpoint;

#endif
