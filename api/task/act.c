/* act.c - POST /v1/act: the last frames of a game -> what to do now.
 *
 * An action is told three times: in the game's own units, as the model's integers, and as the text
 * they make. CarRacing: value v is c = v / 10 - 1, gas and brake at least 0 (docs/model.md section
 * 4.3). A game doesn't wait: `deadline_ms` counts from when the request was whole, and an answer
 * that would come later, or finds the queue full, is the client's own `default`, marked `late`.
 * Thread: a worker.
 */
#include "api/task/act.h"

#include <stdio.h>
#include <string.h>

#include "api/ask.h"
#include "api/task/figures.h"
#include "kernels/base/clock.h"

enum { DEADLINE_MAX_MS = 60000, SHOTS = 6 };

static const struct game games[] = {{"car_racing", ENG_DRIVE, ENG_DRIVE_FRAMES},
                                    {"space_invaders", ENG_SHOOT, ENG_SHOOT_FRAMES}};
static const char *const game_names[] = {"car_racing", "space_invaders", NULL};
static const char *const shots[SHOTS + 1] = {"NOOP",      "FIRE",     "RIGHT", "LEFT",
                                             "RIGHTFIRE", "LEFTFIRE", NULL};

/* ---- reading the request ---- */

int game_read(struct input *in, const struct game **out) {
    int i = -1;
    if (input_word(in, "game", game_names, &i)) return -1;
    if (i < 0)
        return problem_set(in->problem, PROBLEM_MISSING_PARAMETER, "game",
                           "game is missing: car_racing or space_invaders");
    *out = &games[i];
    return 0;
}

const struct game *game_of(enum eng_task task) { return &games[task == ENG_SHOOT]; }

static int read_axis(struct input *in, const json_t *v, const char *name, double lo, double *out) {
    const json_t *axis = json_object_get(v, name);
    double x = json_number_value(axis);
    char what[64], at[40];
    if (!axis) return 1; /* counted by the caller */
    if (json_is_number(axis) && x >= lo && x <= 1) {
        *out = x;
        return 0;
    }
    snprintf(what, sizeof(what), "a number from %g to 1", lo);
    snprintf(at, sizeof(at), "default.%s", name);
    json_must_be(in->problem, at, axis, what);
    return -1;
}

static int read_driving(struct input *in, const json_t *v, struct act *a) {
    int missing[] = {read_axis(in, v, "steering", -1, &a->steering),
                     read_axis(in, v, "gas", 0, &a->gas), read_axis(in, v, "brake", 0, &a->brake)};
    if (in->problem->code) return -1;
    if (missing[0] || missing[1] || missing[2] || json_object_size(v) != 3)
        return json_must_be(in->problem, "default", v,
                            "{\"steering\": -1..1, \"gas\": 0..1, \"brake\": 0..1}");
    return 0;
}

/* 5, "LEFTFIRE", {"id": 5} or {"name": "LEFTFIRE"}; an answer's own action, too, which has both. */
static int read_shot(struct input *in, const json_t *v, struct act *a) {
    const json_t *id = json_is_object(v) ? json_object_get(v, "id") : v;
    const json_t *name = json_is_object(v) ? json_object_get(v, "name") : v;
    a->id = -1;
    if (json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < SHOTS)
        a->id = (int)json_integer_value(id);
    for (int i = 0; i < SHOTS && json_is_string(name); i++) {
        if (strcmp(json_string_value(name), shots[i]) == 0) a->id = i;
    }
    if (a->id >= 0) return 0;
    return json_must_be(in->problem, "default", v,
                        "0 to 5, or NOOP, FIRE, RIGHT, LEFT, RIGHTFIRE, LEFTFIRE");
}

int act_read(struct input *in, struct act *a) {
    json_t *fallback;
    if (input_int(in, "deadline_ms", 1, DEADLINE_MAX_MS, &a->deadline_ms)) return -1;
    if (input_flag(in, "probability", &a->has_probability)) return -1;
    if (input_json(in, "default", &fallback)) return -1;
    int is_drive = a->game->task == ENG_DRIVE;
    a->has_fallback = fallback != NULL;
    int rc = 0;
    if (fallback) rc = is_drive ? read_driving(in, fallback, a) : read_shot(in, fallback, a);
    json_decref(fallback);
    return rc;
}

static int act_check_sizes(struct api_call *c, const char *param) {
    int w, h, w0, h0;
    eng_picture_size(c->pictures[0], &w0, &h0);
    for (uint32_t i = 1; i < c->n_pictures; i++) {
        eng_picture_size(c->pictures[i], &w, &h);
        if (w != w0 || h != h0)
            return problem_set(&c->problem, PROBLEM_INVALID_PARAMETER, param,
                               "frames of one game have one size; one is %d x %d, the next %d x %d",
                               w0, h0, w, h);
    }
    return 0;
}

/* ---- the answer ---- */

static void write_driving(struct buf *b, double steering, double gas, double brake) {
    buf_printf(b, "{\"steering\":%.4g,\"gas\":%.4g,\"brake\":%.4g}", steering, gas, brake);
}

static void write_shot(struct buf *b, int id) {
    buf_printf(b, "{\"id\":%d,\"name\":\"%s\"}", id, shots[id]);
}

static double axis(int value, int may_be_negative) {
    double x = value / 10.0 - 1;
    return x < 0 && !may_be_negative ? 0 : x;
}

static void write_said(const struct act *a, const struct eng_answer *said, struct buf *b) {
    const uint8_t *v = said->value;
    double probability = (double)said->prob[0];
    if (a->game->task == ENG_DRIVE) {
        write_driving(b, axis(v[0], 1), axis(v[1], 0), axis(v[2], 0));
        buf_printf(b, ",\"values\":[%d,%d,%d],\"text\":\"[%d,%d,%d]\"", v[0], v[1], v[2], v[0],
                   v[1], v[2]);
        probability *= (double)said->prob[1] * (double)said->prob[2];
    } else {
        must(v[0] < SHOTS);
        write_shot(b, v[0]);
        buf_printf(b, ",\"values\":[%d],\"text\":\"%d\"", v[0], v[0]);
    }
    if (a->has_probability) buf_printf(b, ",\"probability\":%.6g", probability);
}

static void write_fallback(const struct act *a, struct buf *b) {
    if (a->game->task == ENG_DRIVE)
        write_driving(b, a->steering, a->gas, a->brake);
    else
        write_shot(b, a->id);
    buf_str(b, ",\"values\":null,\"text\":null");
}

int act_answer(struct api_call *c) {
    const struct act *a = c->state;
    struct buf *b = &c->body;
    buf_char(b, '{');
    figures_head(c, b);
    buf_printf(b, ",\"game\":\"%s\",\"action\":", a->game->name);
    if (a->is_late) {
        write_fallback(a, b);
        snprintf(c->summary, sizeof(c->summary), "late=1");
    } else {
        uint32_t n;
        const struct eng_answer *said = eng_job_answers(call_job(c, 0), &n);
        must(n == 1);
        write_said(a, said, b);
    }
    buf_printf(b, ",\"late\":%s", a->is_late ? "true" : "false");
    if (!c->in.batch)
        buf_printf(b, ",\"latency_ms\":%.3f", (double)(clock_ns() - c->born_ns) / 1e6);
    buf_str(b, "}\n");
    return call_answer(c, 200, "application/json");
}

/* ---- the question ---- */

int act_ask(struct api_call *c, const char *param) {
    const struct act *a = c->state;
    uint64_t deadline_ns = 0;
    if (a->deadline_ms && !c->in.batch)
        deadline_ns = c->born_ns + (uint64_t)a->deadline_ms * 1000000u;
    struct eng_ask ask = {.task = a->game->task,
                          .distribution = a->has_probability,
                          .urgency = ENG_ACT,
                          .deadline_ns = deadline_ns};
    if (act_check_sizes(c, param)) return -1;
    if (deadline_ns && clock_ns() >= deadline_ns)
        return problem_set(&c->problem, PROBLEM_DEADLINE, "deadline_ms", NULL);
    return call_ask(c, &ask, NULL) ? 0 : -1;
}

int act_excuse(struct api_call *c) {
    struct act *a = c->state;
    enum problem_code code = c->problem.code;
    int is_late =
        code == PROBLEM_DEADLINE || code == PROBLEM_QUEUE_FULL || code == PROBLEM_QUOTA_EXCEEDED;
    if (!a || !a->has_fallback || !is_late || c->in.batch) return 0;
    c->problem = (struct problem){0};
    a->is_late = 1;
    return 1;
}

/* ---- POST /v1/act ---- */

static int act_fields(struct api_call *c, struct input *in) {
    struct act *a = c->state;
    if (game_read(in, &a->game) || act_read(in, a)) return -1;
    if (in->n_pictures == (int)a->game->frames) return 0;
    return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, "frames",
                       "%s takes exactly %u frames, oldest first; got %d", a->game->name,
                       a->game->frames, in->n_pictures);
}

static int act_submit(struct api_call *c) { return act_ask(c, "frames"); }

static const char *const known[] = {"game", ACT_FIELDS, NULL};
static const struct input_wants wants = {.picture = "frame",
                                         .pictures = "frames",
                                         .known = known,
                                         .pixels_max = ACT_PIXELS_MAX,
                                         .has_model = 1};
static const struct media media = {.types = {"application/json"}};
const struct endpoint act_endpoint = {.wants = &wants,
                                      .media = &media,
                                      .state_size = sizeof(struct act),
                                      .read = act_fields,
                                      .ask = act_submit,
                                      .answer = act_answer,
                                      .excuse = act_excuse};
