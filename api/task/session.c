/* session.c - games played frame by frame: POST /v1/act/sessions, POST and DELETE of one of them.
 *
 * A session keeps the frames before the one that comes, as the engine's pictures, whose features the
 * engine caches by what they show. Until enough were seen, the oldest is repeated. A frame counts as
 * seen when its step was answered with an action.
 *
 * The store holds at most `max`. Ids are 128 random bits: who knows one, plays. One step at a time
 * belongs to a session, because frames have an order; a second one is refused. Sessions that were
 * idle for ttl seconds are forgotten when anybody looks. A step that is on its way holds no pointer
 * into the store: it comes back by id, and finds its session gone or not.
 * Thread: any worker; the store's lock is held for looking up and copying references alone.
 */
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "api/task/act.h"
#include "kernels/base/clock.h"
#include "kernels/base/hex.h"
#include "kernels/base/mem.h"

enum { ID_BYTES = 16, KEPT_MAX = ENG_SHOOT_FRAMES - 1 };

struct session {
    char id[2 * ID_BYTES + 1];
    const struct game *game;
    struct eng_picture *frames[KEPT_MAX]; /* oldest first; one reference each */
    uint32_t n_frames;
    int is_busy;
    uint64_t used_ns;
};

struct sessions {
    pthread_mutex_t mu; /* guards all below */
    struct session *all;
    int n, max;
    unsigned ttl_s;
};

struct sessions *sessions_new(int max, unsigned ttl_s) {
    struct sessions *s = mem_must(sizeof(*s));
    pthread_mutex_init(&s->mu, NULL);
    s->all = mem_must((size_t)max * sizeof(s->all[0]));
    s->max = max;
    s->ttl_s = ttl_s;
    return s;
}

/* ---- under the lock ---- */

static void drop(struct sessions *s, int i) {
    for (uint32_t k = 0; k < s->all[i].n_frames; k++)
        eng_picture_put(s->all[i].frames[k]);
    s->all[i] = s->all[--s->n];
}

static void drop_expired(struct sessions *s) {
    uint64_t now = clock_ns(), ttl_ns = (uint64_t)s->ttl_s * 1000000000u;
    for (int i = s->n - 1; i >= 0; i--) {
        if (!s->all[i].is_busy && now - s->all[i].used_ns > ttl_ns) drop(s, i);
    }
}

static int look_up(struct sessions *s, const char *id) {
    drop_expired(s);
    for (int i = 0; i < s->n; i++) {
        if (strcmp(s->all[i].id, id) == 0) return i;
    }
    return -1;
}

/* ---- the store ---- */

void sessions_free(struct sessions *s) {
    if (!s) return;
    while (s->n)
        drop(s, s->n - 1);
    mem_free(s->all);
    pthread_mutex_destroy(&s->mu);
    mem_free(s);
}

int sessions_count(struct sessions *s) {
    pthread_mutex_lock(&s->mu);
    drop_expired(s);
    int n = s->n;
    pthread_mutex_unlock(&s->mu);
    return n;
}

static int create(struct sessions *s, const struct game *game, const char *id) {
    pthread_mutex_lock(&s->mu);
    drop_expired(s);
    int rc = s->n < s->max ? 0 : -1;
    if (rc == 0) {
        struct session *new = &s->all[s->n++];
        *new = (struct session){.game = game, .used_ns = clock_ns()};
        snprintf(new->id, sizeof(new->id), "%s", id);
    }
    pthread_mutex_unlock(&s->mu);
    return rc;
}

/* Copy the session with references to its frames, and mark it busy; or why not. */
static enum problem_code enter(struct sessions *s, const char *id, struct session *out) {
    pthread_mutex_lock(&s->mu);
    int i = look_up(s, id);
    enum problem_code why = i < 0               ? PROBLEM_SESSION_NOT_FOUND
                            : s->all[i].is_busy ? PROBLEM_SESSION_BUSY
                                                : PROBLEM_NONE;
    if (!why) {
        s->all[i].is_busy = 1;
        *out = s->all[i];
        for (uint32_t k = 0; k < out->n_frames; k++)
            eng_picture_get(out->frames[k]);
    }
    pthread_mutex_unlock(&s->mu);
    return why;
}

static void leave(struct sessions *s, const char *id) {
    pthread_mutex_lock(&s->mu);
    int i = look_up(s, id);
    if (i >= 0) {
        s->all[i].is_busy = 0;
        s->all[i].used_ns = clock_ns();
    }
    pthread_mutex_unlock(&s->mu);
}

/* `frame` was played. */
static void see(struct sessions *s, const char *id, struct eng_picture *frame) {
    pthread_mutex_lock(&s->mu);
    int i = look_up(s, id);
    struct session *it = i >= 0 ? &s->all[i] : NULL;
    if (it && it->n_frames == it->game->frames - 1) {
        eng_picture_put(it->frames[0]);
        memmove(it->frames, it->frames + 1, (it->n_frames - 1) * sizeof(it->frames[0]));
        it->n_frames--;
    }
    if (it) it->frames[it->n_frames++] = eng_picture_get(frame);
    pthread_mutex_unlock(&s->mu);
}

static int forget(struct sessions *s, const char *id) {
    pthread_mutex_lock(&s->mu);
    int i = look_up(s, id);
    if (i >= 0) drop(s, i);
    pthread_mutex_unlock(&s->mu);
    return i >= 0 ? 0 : -1;
}

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
    uint8_t random[ID_BYTES];
    char id[2 * ID_BYTES + 1];
    if (RAND_bytes(random, sizeof(random)) != 1) return call_fail_as(c, PROBLEM_INTERNAL_ERROR);
    hex_write(random, ID_BYTES, id);
    if (create(c->api->sessions, game, id)) return call_fail_as(c, PROBLEM_TOO_MANY_SESSIONS);
    buf_printf(&c->body, "{\"id\":\"%s\",\"game\":\"%s\",\"frames\":%u,\"ttl_s\":%u}\n", id,
               game->name, game->frames, c->api->sessions->ttl_s);
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
    if (p->is_inside) leave(p->sessions, p->session.id);
    p->is_inside = 0;
}

/* c->images: the session's last frames, the oldest as often as needed, and the new one. */
static void line_up(struct api_call *c, struct session *s) {
    uint32_t need = s->game->frames;
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
    enum problem_code why = enter(c->api->sessions, c->in.arg, &p->session);
    if (why) return problem_set(&c->problem, why, NULL, NULL);
    p->is_inside = 1;
    p->sessions = c->api->sessions;
    p->act.game = p->session.game;
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
    if (is_over) see(p->sessions, p->session.id, c->pictures[c->n_pictures - 1]);
    /* The reply sets the session free, not the call's end: the next frame may come at once. */
    if (step == API_REPLY) step_clear(p);
    return step;
}

int session_delete_step(struct api_call *c) {
    if (forget(c->api->sessions, c->in.arg)) return call_fail_as(c, PROBLEM_SESSION_NOT_FOUND);
    return call_answer(c, 204, NULL);
}
