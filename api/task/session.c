/* session.c - games played frame by frame: POST /v1/act/sessions, POST and DELETE of one of them.
 *
 * A session keeps the frames before the one that comes (api/store/sessions.h); the engine caches their
 * features by what they show. Until enough were seen, the oldest is repeated. A frame counts as seen
 * when its step was answered with an action.
 * Thread: any worker.
 */
#include "api/task/act.h"
#include "kernels/base/mem.h"

/* ---- POST /v1/act/sessions ---- */

int session_new_step(struct api_call *c) {
    static const char *const known[] = {"game", NULL};
    static const struct input_wants wants = {.known = known};
    struct input in;
    const struct game *game = NULL;
    int rc = call_open(c, &in, &wants);
    if (!rc) rc = game_read(&in, &game);
    input_close(&in);
    if (rc) return call_fail(c);
    if (atomic_load(&c->api->draining)) return call_fail_as(c, PROBLEM_DRAINING);
    char id[2 * SESSION_ID_BYTES + 1];
    rc = sessions_create(c->api->sessions, game->task, game->frames, id);
    if (rc)
        return call_fail_as(c, rc == E_BUSY ? PROBLEM_TOO_MANY_SESSIONS : PROBLEM_INTERNAL_ERROR);
    buf_printf(&c->body, "{\"id\":\"%s\",\"game\":\"%s\",\"frames\":%u,\"ttl_s\":%u}\n", id,
               game->name, game->frames, c->api->opt.session_ttl_s);
    call_header_printf(c, "Location", "/v1/act/sessions/%s", id);
    return call_answer(c, 201, "application/json");
}

/* ---- POST /v1/act/sessions/{id} ---- */

struct step {
    struct act act;
    struct sessions *sessions;
    struct session session; /* a copy; its frames went to c->images */
    int is_inside;
};

static void step_clear(void *state) {
    struct step *p = state;
    if (p->is_inside) sessions_leave(p->sessions, p->session.id);
    p->is_inside = 0;
}

/* c->images: the session's last frames, the oldest as often as needed, and the new one. */
static void line_up(struct api_call *c, struct session *s) {
    uint32_t need = s->prompt_frames;
    struct eng_picture *new = c->pictures[0], *oldest = s->n_frames ? s->frames[0] : new;
    for (c->n_pictures = 0; c->n_pictures + s->n_frames + 1 < need;)
        c->pictures[c->n_pictures++] = eng_picture_get(oldest);
    for (uint32_t i = 0; i < s->n_frames; i++)
        c->pictures[c->n_pictures++] = s->frames[i];
    c->pictures[c->n_pictures++] = new;
}

static int read_frame(struct api_call *c, struct act *a) {
    static const char *const known[] = {ACT_FIELDS, NULL};
    static const struct input_wants wants = {.picture = "frame", .known = known};
    struct input in;
    int rc = call_open(c, &in, &wants);
    if (!rc) rc = act_read(&in, a);
    if (!rc) rc = call_pictures(c, &in);
    input_close(&in);
    return rc;
}

static int begin(struct api_call *c, struct step *p) {
    int rc = sessions_enter(c->api->sessions, c->in.arg, &p->session);
    if (rc)
        return problem_set(&c->problem,
                           rc == E_BUSY ? PROBLEM_SESSION_BUSY : PROBLEM_SESSION_NOT_FOUND, NULL,
                           NULL);
    p->is_inside = 1;
    p->sessions = c->api->sessions;
    p->act.game = game_of(p->session.game);
    if (read_frame(c, &p->act)) {
        for (uint32_t i = 0; i < p->session.n_frames; i++)
            eng_picture_put(p->session.frames[i]);
        return -1;
    }
    line_up(c, &p->session);
    return act_check_sizes(c, "frame");
}

static int take_step(struct api_call *c, struct step *p, int *is_over) {
    *is_over = 0;
    if (p->is_inside) return act_go_on(c, &p->act, is_over);
    return begin(c, p) ? call_fail(c) : act_ask(c, &p->act, is_over);
}

int session_act_step(struct api_call *c) {
    struct step *p = c->state;
    if (!p) p = c->state = mem_try(sizeof(*p));
    if (!p) return call_fail_as(c, PROBLEM_NO_MEMORY);
    c->state_clear = step_clear;
    int is_over, step = take_step(c, p, &is_over);
    if (is_over) sessions_see(p->sessions, p->session.id, c->pictures[c->n_pictures - 1]);
    /* The reply sets the session free, not the call's end: the next frame may come at once. */
    if (step == API_REPLY) step_clear(p);
    return step;
}

int session_delete_step(struct api_call *c) {
    if (sessions_forget(c->api->sessions, c->in.arg))
        return call_fail_as(c, PROBLEM_SESSION_NOT_FOUND);
    return call_answer(c, 204, NULL);
}
