/* reconstruct.c - POST /v1/reconstruct: a picture goes in, what the model sees of it comes out.
 *
 * The picture of the answer has width x height places. Place (i, j) asks about one point of the
 * model's grid: column region.x + floor((i + 0.5) * region.w / width), rows likewise; a picture
 * larger than its region shows some answers several times. The questions go to the engine coarse to
 * fine: first every 16th place in both directions, then what every 8th adds, and so on, so that a
 * stream can show the whole picture at once and then sharpen it.
 *
 * Three representations, picked by Accept: PNG, JSON, an event stream. The first two are made when
 * the job is done, the third while it runs (stream.c).
 *
 * Every pixel shown is the model's own answer; nothing is interpolated or filled in.
 * Thread: step on a worker, the stream's read wherever the server reads (api.h).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/ask.h"
#include "api/endpoint.h"
#include "api/stream.h"
#include "api/task/figures.h"
#include "api/wire/json_write.h"
#include "api/wire/sse.h"
#include "kernels/base/mem.h"
#include "media/picture.h"

enum { COARSEST = 16, EVENT_PIXELS_MAX = 512 };

enum { MEDIA_PNG };
static const struct media media = {
    .types = {"image/png", "application/json", SSE_CONTENT_TYPE},
    .refusal = "the answer comes as image/png, application/json or text/event-stream; none of them "
               "is in Accept"};

struct place {
    uint16_t x, y;
};

struct painting {
    int width, height;
    int region[4]; /* x, y, w, h in grid units */
    int estimate, uncertainty, compare;
    uint32_t n;           /* width * height */
    struct place *places; /* (n) in the order of the questions */
    uint8_t *truth;       /* (height, width, 3): the original at the places asked */
    /* of a stream */
    uint32_t told; /* answers already in an event */
};

static void painting_clear(void *state) {
    struct painting *p = state;
    mem_free(p->places);
    mem_free(p->truth);
}

/* ---- reading the request ---- */

static int read_region(struct input *in, struct painting *p, int grid) {
    int *r = p->region;
    r[2] = r[3] = grid;
    if (input_ints(in, "region", "x,y,width,height", 4, r)) return -1;
    if (r[0] >= 0 && r[1] >= 0 && r[2] >= 1 && r[3] >= 1 && r[0] + r[2] <= grid &&
        r[1] + r[3] <= grid)
        return 0;
    return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, "region",
                       "region must be x,y,width,height inside the model's %d x %d grid, with x + "
                       "width and y + height at most %d; got %d,%d,%d,%d",
                       grid, grid, grid, r[0], r[1], r[2], r[3]);
}

static int reconstruct_read(struct api_call *c, struct input *in) {
    struct painting *p = c->state;
    int grid = eng_info(c->api->eng)->grid;
    if (read_region(in, p, grid)) return -1;
    p->width = p->region[2];
    p->height = p->region[3];
    if (input_int(in, "width", 1, grid, &p->width)) return -1;
    if (input_int(in, "height", 1, grid, &p->height)) return -1;
    if (input_word(in, "estimate", eng_estimate_words, &p->estimate)) return -1;
    if (input_flag(in, "uncertainty", &p->uncertainty)) return -1;
    return input_flag(in, "compare", &p->compare);
}

/* The places from coarse to fine; see the file's story. */
static void order_places(struct painting *p) {
    uint32_t n = 0;
    for (int s = COARSEST; s >= 1; s /= 2) {
        for (int y = 0; y < p->height; y += s) {
            for (int x = 0; x < p->width; x += s) {
                int is_done = s < COARSEST && x % (2 * s) == 0 && y % (2 * s) == 0;
                if (!is_done) p->places[n++] = (struct place){(uint16_t)x, (uint16_t)y};
            }
        }
    }
    must(n == p->n);
}

/* (2i + 1) * span / 2n in whole numbers. */
static int spread(int from, int span, int i, int n) { return from + (2 * i + 1) * span / (2 * n); }

static int reconstruct_ask(struct api_call *c) {
    struct painting *p = c->state;
    int grid = eng_info(c->api->eng)->grid;
    p->n = (uint32_t)p->width * (uint32_t)p->height;
    p->places = mem_try(p->n * sizeof(*p->places));
    p->truth = mem_try((size_t)p->n * 3);
    struct eng_point *points = mem_try(p->n * sizeof(*points));
    int rc = -1;
    if (p->places && p->truth && points) {
        const uint8_t *truth = eng_picture_truth(c->pictures[0]);
        order_places(p);
        for (uint32_t i = 0; i < p->n; i++) {
            int x = spread(p->region[0], p->region[2], p->places[i].x, p->width);
            int y = spread(p->region[1], p->region[3], p->places[i].y, p->height);
            points[i] = (struct eng_point){(uint16_t)x, (uint16_t)y};
            memcpy(p->truth + 3 * (p->places[i].y * p->width + p->places[i].x),
                   truth + 3 * (y * grid + x), 3);
        }
        struct eng_ask ask = {.task = ENG_PIXELS,
                              .points = points,
                              .n_points = p->n,
                              .estimate = (enum eng_estimate)p->estimate,
                              .distribution = p->uncertainty,
                              .urgency = ENG_PICTURE};
        rc = call_ask(c, &ask, NULL) ? 0 : -1;
    } else {
        problem_set(&c->problem, PROBLEM_NO_MEMORY, NULL, NULL);
    }
    mem_free(points);
    return rc;
}

/* ---- figures ---- */

static float bits(const struct eng_answer *a) {
    return a->entropy[0] + a->entropy[1] + a->entropy[2];
}

/* Mean absolute error per channel in levels. RE is 300/255 of it (docs/model.md section 7.1). */
static double mae_levels(const struct painting *p, const struct eng_answer *answers) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        const struct place *at = &p->places[answers[i].point];
        const uint8_t *truth = p->truth + 3 * (at->y * p->width + at->x);
        for (int ch = 0; ch < 3; ch++)
            sum += (uint64_t)abs(answers[i].rgb[ch] - truth[ch]);
    }
    return (double)sum / (3.0 * p->n);
}

/* "NAME":"data:image/png;base64,..." */
static void write_picture(struct buf *b, const char *name, const uint8_t *rgb, int w, int h) {
    struct buf png;
    buf_init(&png, (size_t)16 << 20);
    if (picture_png(rgb, w, h, &png)) b->bad = E_NOMEM;
    buf_printf(b, "\"%s\":", name);
    json_write_png(b, png.p, png.len);
    buf_clear(&png);
}

/* "compare":{...}, : with the original itself where the client has not seen it yet. */
static void write_compare(const struct painting *p, const struct eng_answer *answers,
                          int with_original, struct buf *b) {
    double mae = mae_levels(p, answers);
    buf_str(b, "\"compare\":{");
    if (with_original) {
        write_picture(b, "original", p->truth, p->width, p->height);
        buf_char(b, ',');
    }
    buf_printf(b, "\"mae_levels\":%.3f,\"re_percent\":%.3f},", mae, mae * 300 / 255);
}

/* "id":...,"model":...,"width":... : what every form of the answer says about its question. */
static void write_question(const struct api_call *c, const struct painting *p, struct buf *b) {
    figures_head(c, b);
    buf_printf(b, ",\"width\":%d,\"height\":%d,\"region\":[%d,%d,%d,%d],\"estimate\":\"%s\"",
               p->width, p->height, p->region[0], p->region[1], p->region[2], p->region[3],
               eng_estimate_words[p->estimate]);
}

/* ---- PNG and JSON ---- */

/* Answers -> rgb (h, w, 3), and the entropy as grey: 24 bits are white. */
static void reconstruct_paint(const struct painting *p, const struct eng_answer *answers,
                              uint8_t *rgb, uint8_t *grey) {
    for (uint32_t i = 0; i < p->n; i++) {
        const struct place *at = &p->places[answers[i].point];
        size_t px = 3 * ((size_t)at->y * (size_t)p->width + at->x);
        memcpy(rgb + px, answers[i].rgb, 3);
        memset(grey + px, (int)lrintf(fminf(bits(&answers[i]), 24) * 255 / 24), 3);
    }
}

static int reconstruct_answer_png(struct api_call *c, const struct painting *p,
                                  const struct eng_answer *answers, const uint8_t *rgb) {
    if (picture_png(rgb, p->width, p->height, &c->body)) return call_fail_as(c, PROBLEM_NO_MEMORY);
    if (p->compare) call_header_printf(c, "X-Lammd-Mae-Levels", "%.3f", mae_levels(p, answers));
    call_header(c, "Vary", "Accept");
    return call_answer(c, 200, "image/png");
}

static int reconstruct_answer_json(struct api_call *c, const struct painting *p,
                                   const struct eng_answer *answers, const uint8_t *rgb,
                                   const uint8_t *grey) {
    struct buf *b = &c->body;
    buf_char(b, '{');
    write_question(c, p, b);
    buf_char(b, ',');
    write_picture(b, "image", rgb, p->width, p->height);
    buf_char(b, ',');
    if (p->uncertainty) {
        write_picture(b, "uncertainty", grey, p->width, p->height);
        buf_char(b, ',');
    }
    if (p->compare) write_compare(p, answers, 1, b);
    figures_tail_pixels(c, p->n, b);
    buf_str(b, "}\n");
    call_header(c, "Vary", "Accept");
    return call_answer(c, 200, "application/json");
}

static int reconstruct_answer(struct api_call *c) {
    const struct painting *p = c->state;
    uint32_t n;
    const struct eng_answer *answers = eng_job_answers(call_job(c, 0), &n);
    must(n == p->n);
    uint8_t *rgb = mem_try((size_t)n * 3), *grey = mem_try((size_t)n * 3);
    int step;
    if (!rgb || !grey) {
        step = call_fail_as(c, PROBLEM_NO_MEMORY);
    } else {
        reconstruct_paint(p, answers, rgb, grey);
        step = c->media == MEDIA_PNG ? reconstruct_answer_png(c, p, answers, rgb)
                                     : reconstruct_answer_json(c, p, answers, rgb, grey);
    }
    mem_free(rgb);
    mem_free(grey);
    return step;
}

/* ---- the event stream ---- */

static void write_start(struct api_call *c) {
    const struct painting *p = c->state;
    struct buf *b = &c->body;
    sse_begin(b, "start");
    buf_char(b, '{');
    write_question(c, p, b);
    buf_printf(b, ",\"grid\":%d,\"coarsest\":%d,\"pixels\":%u", eng_info(c->api->eng)->grid,
               COARSEST, p->n);
    buf_str(b, ",\"fields\":[\"x\",\"y\",\"r\",\"g\",\"b\"");
    if (p->uncertainty)
        buf_str(b, ",\"entropy\",\"expected_error\",\"prob_r\",\"prob_g\",\"prob_b\"");
    buf_str(b, "],");
    write_picture(b, "original", p->truth, p->width, p->height);
    buf_char(b, '}');
    sse_end(b);
}

static void reconstruct_write_pixels(struct buf *b, struct painting *p,
                                     const struct eng_answer *answers, uint32_t n) {
    sse_begin(b, "pixels");
    buf_printf(b, "{\"done\":%u,\"of\":%u,\"values\":[", n, p->n);
    for (; p->told < n; p->told++) {
        const struct eng_answer *a = &answers[p->told];
        const struct place *at = &p->places[a->point];
        if (b->p[b->len - 1] != '[') buf_char(b, ',');
        buf_printf(b, "%u,%u,%u,%u,%u", at->x, at->y, a->rgb[0], a->rgb[1], a->rgb[2]);
        if (p->uncertainty) {
            double expected = ((double)a->mean_abs[0] + a->mean_abs[1] + a->mean_abs[2]) / 3;
            buf_printf(b, ",%.2f,%.1f,%.3f,%.3f,%.3f", (double)bits(a), expected,
                       (double)a->prob[0], (double)a->prob[1], (double)a->prob[2]);
        }
    }
    buf_str(b, "]}");
    sse_end(b);
}

static void write_end(struct api_call *c, const struct painting *p,
                      const struct eng_answer *answers) {
    struct buf *b = &c->body;
    if (call_outcome(c) < 0) {
        stream_problem(c, "error");
        return;
    }
    sse_begin(b, "done");
    buf_char(b, '{');
    if (p->compare) write_compare(p, answers, 0, b);
    figures_tail_pixels(c, p->n, b);
    buf_char(b, '}');
    sse_end(b);
}

static void next_event(struct api_call *c) {
    struct painting *p = c->state;
    uint32_t ready;
    /* The state first: what was answered before the end is then surely counted below. */
    int is_over = eng_job_state(call_job(c, 0)) >= ENG_DONE;
    const struct eng_answer *answers = eng_job_answers(call_job(c, 0), &ready);
    if (ready > p->told) {
        uint32_t most = p->told + EVENT_PIXELS_MAX;
        reconstruct_write_pixels(&c->body, p, answers, ready < most ? ready : most);
    } else if (is_over) {
        write_end(c, p, answers);
        c->stream.ended = 1;
    }
}

static const char *const known[] = {"width",       "height",  "region", "estimate",
                                    "uncertainty", "compare", NULL};
static const struct input_wants wants = {.picture = "image", .known = known, .has_model = 1};
const struct endpoint reconstruct_endpoint = {.wants = &wants,
                                              .media = &media,
                                              .state_size = sizeof(struct painting),
                                              .read = reconstruct_read,
                                              .ask = reconstruct_ask,
                                              .answer = reconstruct_answer,
                                              .first = write_start,
                                              .next = next_event,
                                              .clear = painting_clear};
