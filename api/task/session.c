/* session.c - games played frame by frame: POST /v1/act/sessions, POST and DELETE of one of them.
 *
 * A session keeps the frames before the one that comes (api/store/sessions.h); the engine caches
 * their features by what they show. Until enough were seen, the oldest is repeated. A frame counts
 * as seen when its step was answered with an action. A step may have a sequence number: the same
 * one again gets the same answer again, and nothing counts twice. So a client may send a step again
 * when it lost the answer. Thread: any worker.
 */
#include "api/task/act.h"

#include <stdio.h>

/* ---- POST /v1/act/sessions ---- */

struct opening {
    const struct game *game;
};

static int session_read_game(struct api_call *c, struct input *in) {
    struct opening *o = c->state;
    return game_read(in, &o->game);
}

static int open_session(struct api_call *c) {
    const struct game *game = ((const struct opening *)c->state)->game;
    char id[IDS_BYTES];
    if (atomic_load(&c->api->draining)) return call_fail_as(c, PROBLEM_DRAINING);
    int rc = ids_session(c->api->ids, id);
    if (!rc)
        rc = sessions_create(c->api->sessions, c->owner, c->payer, id, game->task, game->frames,
                             c->model_asked);
    if (rc == E_TOO_BIG) {
        call_over_quota(c, QUOTA_SESSIONS);
        return call_fail(c);
    }
    if (rc == E_BUSY) return call_fail_as(c, PROBLEM_TOO_MANY_SESSIONS);
    if (rc) return call_fail_as(c, PROBLEM_INTERNAL_ERROR);
    buf_printf(&c->body, "{\"id\":\"%s\",\"game\":\"%s\",\"frames\":%u,\"ttl_s\":%u}\n", id,
               game->name, game->frames, c->api->opt.session_ttl_s);
    call_header_printf(c, "Location", "/v1/act/sessions/%s", id);
    return call_answer(c, 201, "application/json");
}

static const char *const new_known[] = {"game", NULL};
static const struct input_wants new_wants = {.known = new_known, .has_model = 1};
const struct endpoint session_new_endpoint = {.wants = &new_wants,
                                              .state_size = sizeof(struct opening),
                                              .read = session_read_game,
                                              .answer = open_session};

/* ---- POST /v1/act/sessions/{id} ---- */

struct step {
    struct act act; /* first: act.h */
    struct sessions *sessions;
    struct session session; /* a copy; its frames are ours until they are the call's pictures */
    int is_inside;
    uint64_t sequence; /* NO_SEQUENCE: it has none */
    int is_again;      /* its answer is in c->body */
};
static const uint64_t NO_SEQUENCE = UINT64_MAX;

/* The reply sets the session free: the next frame may come at once. */
static void step_clear(void *state) {
    struct step *p = state;
    for (uint32_t i = 0; i < p->session.n_frames; i++)
        eng_picture_put(p->session.frames[i]);
    if (p->is_inside) sessions_leave(p->sessions, p->session.owner, p->session.id);
}

static int session_enter(struct api_call *c) {
    struct step *p = c->state;
    int rc = sessions_enter(c->api->sessions, c->owner, c->in.arg, &p->session);
    if (rc)
        return problem_set(&c->problem,
                           rc == E_BUSY ? PROBLEM_SESSION_BUSY : PROBLEM_SESSION_NOT_FOUND, NULL,
                           NULL);
    p->is_inside = 1;
    p->sessions = c->api->sessions;
    p->act.game = game_of(p->session.game);
    return call_pick(c, p->session.model[0] ? p->session.model : NULL);
}

static int session_read_frame(struct api_call *c, struct input *in) {
    struct step *p = c->state;
    p->sequence = NO_SEQUENCE;
    if (input_seed(in, "sequence", &p->sequence) || act_read(in, &p->act)) return -1;
    if (p->sequence == NO_SEQUENCE) return 0;
    enum sessions_step step =
        sessions_again(p->sessions, c->owner, p->session.id, p->sequence, &c->body);
    if (step == SESSIONS_OLD)
        return problem_set(&c->problem, PROBLEM_STEP_IS_OLD, "sequence", NULL);
    p->is_again = step == SESSIONS_AGAIN;
    return p->is_again;
}

/* c->pictures: the session's last frames, the oldest as often as needed, and the new one. */
static void line_up(struct api_call *c, struct session *s) {
    struct eng_picture *new = c->pictures[0], *oldest = s->n_frames ? s->frames[0] : new;
    for (c->n_pictures = 0; c->n_pictures + s->n_frames + 1 < s->prompt_frames;)
        c->pictures[c->n_pictures++] = eng_picture_get(oldest);
    for (uint32_t i = 0; i < s->n_frames; i++)
        c->pictures[c->n_pictures++] = s->frames[i];
    c->pictures[c->n_pictures++] = new;
    s->n_frames = 0;
}

static int session_ask(struct api_call *c) {
    struct step *p = c->state;
    line_up(c, &p->session);
    return act_ask(c, "frame");
}

static int session_answer(struct api_call *c) {
    const struct step *p = c->state;
    if (p->is_again) {
        snprintf(c->summary, sizeof(c->summary), "again=1");
        return call_answer(c, 200, "application/json");
    }
    int step = act_answer(c);
    if (c->reply.status != 200) return step; /* no memory: the frame was not seen */
    if (p->sequence != NO_SEQUENCE && sessions_keep(p->sessions, c->owner, p->session.id,
                                                    p->sequence, c->reply.body, c->reply.body_len))
        return call_fail_as(c, PROBLEM_NO_MEMORY);
    sessions_see(p->sessions, c->owner, p->session.id, c->pictures[c->n_pictures - 1]);
    return step;
}

static const char *const act_known[] = {ACT_FIELDS, "sequence", NULL};
static const struct input_wants act_wants = {
    .picture = "frame", .known = act_known, .pixels_max = ACT_PIXELS_MAX};
const struct endpoint session_act_endpoint = {.wants = &act_wants,
                                              .state_size = sizeof(struct step),
                                              .enter = session_enter,
                                              .read = session_read_frame,
                                              .ask = session_ask,
                                              .answer = session_answer,
                                              .excuse = act_excuse,
                                              .clear = step_clear};

/* ---- DELETE /v1/act/sessions/{id} ---- */

static int session_forget(struct api_call *c) {
    if (sessions_forget(c->api->sessions, c->owner, c->in.arg))
        return call_fail_as(c, PROBLEM_SESSION_NOT_FOUND);
    return call_answer(c, 204, NULL);
}

const struct endpoint session_delete_endpoint = {.answer = session_forget};
