/* pixels.c - POST /v1/pixels: a list of points -> their colours, each with how sure the model is.
 *
 * The greedy answer (mode) of each point, in the order asked, with the probability of each chosen
 * channel given the channels before it, and the entropy of its distribution in bits.
 * Thread: a worker.
 */
#include "api/ask.h"
#include "api/endpoint.h"
#include "kernels/base/mem.h"

enum { POINTS_MAX = 4096 };

struct asked {
    struct eng_point *points; /* (n) */
    uint32_t n;
};

static void asked_clear(void *state) {
    struct asked *q = state;
    mem_free(q->points);
}

static int pixels_read(struct api_call *c, struct input *in) {
    struct asked *q = c->state;
    return input_points(in, "points", POINTS_MAX, eng_info(c->api->eng)->grid, &q->points, &q->n);
}

static int pixels_ask(struct api_call *c) {
    const struct asked *q = c->state;
    struct eng_ask ask = {.task = ENG_PIXELS,
                          .points = q->points,
                          .n_points = q->n,
                          .distribution = 1,
                          .urgency = ENG_PICTURE};
    return call_ask(c, &ask, NULL) ? 0 : -1;
}

static void write_one(struct buf *b, const struct eng_point *at, const struct eng_answer *a) {
    buf_printf(b, "{\"x\":%u,\"y\":%u,\"rgb\":[%u,%u,%u]", at->x, at->y, a->rgb[0], a->rgb[1],
               a->rgb[2]);
    buf_printf(b, ",\"prob\":[%.5f,%.5f,%.5f]", (double)a->prob[0], (double)a->prob[1],
               (double)a->prob[2]);
    buf_printf(b, ",\"entropy\":[%.4f,%.4f,%.4f]}", (double)a->entropy[0], (double)a->entropy[1],
               (double)a->entropy[2]);
}

static int pixels_answer(struct api_call *c) {
    const struct asked *q = c->state;
    uint32_t n;
    const struct eng_answer *answers = eng_job_answers(call_job(c, 0), &n);
    must(n == q->n);
    /* Found in any order, told in the order asked. */
    uint32_t *found = mem_try(n * sizeof(*found));
    if (!found) return call_fail_as(c, PROBLEM_NO_MEMORY);
    for (uint32_t i = 0; i < n; i++)
        found[answers[i].point] = i;
    buf_char(&c->body, '[');
    for (uint32_t i = 0; i < n; i++) {
        if (i) buf_char(&c->body, ',');
        write_one(&c->body, &q->points[i], &answers[found[i]]);
    }
    buf_str(&c->body, "]\n");
    mem_free(found);
    return call_answer(c, 200, "application/json");
}

static const char *const known[] = {"points", NULL};
static const struct input_wants wants = {.picture = "image", .known = known, .has_model = 1};
const struct endpoint pixels_endpoint = {.wants = &wants,
                                         .media = &media_json,
                                         .state_size = sizeof(struct asked),
                                         .read = pixels_read,
                                         .ask = pixels_ask,
                                         .answer = pixels_answer,
                                         .clear = asked_clear};
