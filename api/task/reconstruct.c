/* reconstruct.c - POST /v1/reconstruct: a picture goes in, what the model sees of it comes out.
 *
 * The picture of the answer has width x height places. Place (i, j) asks about one point of the
 * model's grid: column region.x + floor((i + 0.5) * region.w / width), rows likewise; a picture
 * larger than its region shows some answers several times. With `tiles` the original is cut into
 * tiles x tiles parts, and each is asked at every point of the grid, as a picture of its own. What
 * is asked in which order is painting.h's: coarse to fine, so that a stream can show the whole
 * picture at once and then sharpen it.
 *
 * Three representations, picked by Accept: PNG, JSON, an event stream. The first two are made when
 * all is answered, the third while it is (stream.c).
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
#include "api/task/painting.h"
#include "api/wire/json_write.h"
#include "api/wire/sse.h"
#include "kernels/base/mem.h"
#include "media/picture.h"

enum { EVENT_PIXELS_MAX = 512 };

enum { MEDIA_PNG };
static const struct media media = {
    .types = {"image/png", "application/json", SSE_CONTENT_TYPE},
    .refusal = "the answer comes as image/png, application/json or text/event-stream; none of them "
               "is in Accept"};

/* What a call paints, and, unless it is a stream, on what. */
struct reconstruct {
    struct painting painting;
    uint8_t *rgb;  /* (height, width, 3) */
    uint8_t *grey; /* (height, width) entropy: 24 bits are white */
};

static void reconstruct_clear(void *state) {
    struct reconstruct *r = state;
    painting_clear(&r->painting);
    mem_free(r->rgb);
    mem_free(r->grey);
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

/* Tiles are asked whole, and each is as large as the grid. */
static int read_tiles(struct api_call *c, struct input *in, struct painting *p, int grid) {
    int most = PAINTING_SIDE_MAX / grid;
    if (most > PAINTING_TILES_MAX) most = PAINTING_TILES_MAX;
    p->tiles = 1;
    if (input_int(in, "tiles", 1, most < 1 ? 1 : most, &p->tiles)) return -1;
    if (p->tiles == 1) return 0;
    for (int i = 0; i < 3; i++) {
        const char *name = ((const char *const[]){"width", "height", "region"})[i];
        if (input_has(in, name))
            return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, name,
                               "give either tiles or %s; with tiles=%d the picture has %d x %d "
                               "pixels",
                               name, p->tiles, p->tiles * grid, p->tiles * grid);
    }
    p->width = p->height = in->truth = p->tiles * grid;
    return crops_check(in, "tiles") || painting_check(c, p) ? -1 : 0;
}

static int reconstruct_read(struct api_call *c, struct input *in) {
    struct painting *p = &((struct reconstruct *)c->state)->painting;
    int grid = eng_info(c->api->eng)->grid;
    if (read_region(in, p, grid)) return -1;
    p->width = p->region[2];
    p->height = p->region[3];
    p->is_coarse_first = c->stream.is_wanted;
    if (input_int(in, "width", 1, grid, &p->width)) return -1;
    if (input_int(in, "height", 1, grid, &p->height)) return -1;
    if (input_word(in, "estimate", eng_estimate_words, &p->estimate)) return -1;
    if (input_flag(in, "uncertainty", &p->uncertainty)) return -1;
    if (input_flag(in, "compare", &p->compare)) return -1;
    return read_tiles(c, in, p, grid);
}

static int reconstruct_ask(struct api_call *c) {
    struct reconstruct *r = c->state;
    size_t n = (size_t)r->painting.width * (size_t)r->painting.height;
    if (!c->stream.is_wanted) {
        r->rgb = mem_try(n * 3);
        r->grey = r->painting.uncertainty ? mem_try(n) : NULL;
        if (!r->rgb || (r->painting.uncertainty && !r->grey))
            return problem_set(&c->problem, PROBLEM_NO_MEMORY, NULL, NULL);
    }
    return painting_begin(c, &r->painting);
}

/* ---- figures ---- */

static float bits(const struct eng_answer *a) {
    return a->entropy[0] + a->entropy[1] + a->entropy[2];
}

/* Mean absolute error per channel in levels. RE is 300/255 of it (docs/model.md section 7.1). */
static double mae_levels(const struct painting *p) { return (double)p->error / (3.0 * p->n); }

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
static void write_compare(const struct painting *p, int with_original, struct buf *b) {
    double mae = mae_levels(p);
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
    buf_printf(b, ",\"width\":%d,\"height\":%d,\"tiles\":%d", p->width, p->height, p->tiles);
    buf_printf(b, ",\"region\":[%d,%d,%d,%d],\"estimate\":\"%s\"", p->region[0], p->region[1],
               p->region[2], p->region[3], eng_estimate_words[p->estimate]);
}

/* ---- PNG and JSON ---- */

static void reconstruct_keep(void *ud, int x, int y, const struct eng_answer *a) {
    struct reconstruct *r = ud;
    size_t at = (size_t)y * (size_t)r->painting.width + (size_t)x;
    memcpy(r->rgb + 3 * at, a->rgb, 3);
    if (r->grey) r->grey[at] = (uint8_t)lrintf(fminf(bits(a), 24) * 255 / 24);
}

static int reconstruct_answer_png(struct api_call *c, const struct reconstruct *r) {
    const struct painting *p = &r->painting;
    if (picture_png(r->rgb, p->width, p->height, &c->body))
        return call_fail_as(c, PROBLEM_NO_MEMORY);
    if (p->compare) call_header_printf(c, "X-Lammd-Mae-Levels", "%.3f", mae_levels(p));
    call_header(c, "Vary", "Accept");
    return call_answer(c, 200, "image/png");
}

static void write_uncertainty(const struct reconstruct *r, struct buf *b) {
    uint8_t *three = mem_try((size_t)r->painting.n * 3);
    if (three) {
        for (uint32_t i = 0; i < r->painting.n; i++)
            memset(three + 3 * (size_t)i, r->grey[i], 3);
        write_picture(b, "uncertainty", three, r->painting.width, r->painting.height);
        buf_char(b, ',');
    } else {
        b->bad = E_NOMEM;
    }
    mem_free(three);
}

static int reconstruct_answer_json(struct api_call *c, const struct reconstruct *r) {
    const struct painting *p = &r->painting;
    struct buf *b = &c->body;
    buf_char(b, '{');
    write_question(c, p, b);
    buf_char(b, ',');
    write_picture(b, "image", r->rgb, p->width, p->height);
    buf_char(b, ',');
    if (p->uncertainty) write_uncertainty(r, b);
    if (p->compare) write_compare(p, 1, b);
    figures_tail_pixels(c, p->n, b);
    buf_str(b, "}\n");
    call_header(c, "Vary", "Accept");
    return call_answer(c, 200, "application/json");
}

static int reconstruct_answer(struct api_call *c) {
    const struct reconstruct *r = c->state;
    (void)call_outcome(c); /* for the log */
    painting_note(c, &r->painting);
    return c->media == MEDIA_PNG ? reconstruct_answer_png(c, r) : reconstruct_answer_json(c, r);
}

/* Of a whole answer: 1 when all is there. Of a stream: asks what is due. */
static int reconstruct_outcome(struct api_call *c) {
    struct reconstruct *r = c->state;
    struct painting *p = &r->painting;
    if (c->stream.is_wanted) return painting_go_on(c, p);
    for (;;) {
        int n_asked = p->n_asked;
        if (painting_tell(c, p, UINT32_MAX, reconstruct_keep, r)) return -1;
        if (painting_go_on(c, p)) return -1;
        if (p->told == p->n) return 1;
        if (p->n_asked == n_asked) return 0;
    }
}

/* ---- the event stream ---- */

static void write_start(struct api_call *c) {
    const struct painting *p = &((struct reconstruct *)c->state)->painting;
    struct buf *b = &c->body;
    sse_begin(b, "start");
    buf_char(b, '{');
    write_question(c, p, b);
    buf_printf(b, ",\"grid\":%d,\"coarsest\":%d,\"pixels\":%u", eng_info(c->api->eng)->grid,
               PAINTING_COARSEST, p->n);
    buf_str(b, ",\"fields\":[\"x\",\"y\",\"r\",\"g\",\"b\"");
    if (p->uncertainty)
        buf_str(b, ",\"entropy\",\"expected_error\",\"prob_r\",\"prob_g\",\"prob_b\"");
    buf_str(b, "],");
    write_picture(b, "original", p->truth, p->width, p->height);
    buf_char(b, '}');
    sse_end(b);
}

static void write_pixel(void *ud, int x, int y, const struct eng_answer *a) {
    struct api_call *c = ud;
    struct buf *b = &c->body;
    if (b->p[b->len - 1] != '[') buf_char(b, ',');
    buf_printf(b, "%d,%d,%u,%u,%u", x, y, a->rgb[0], a->rgb[1], a->rgb[2]);
    if (((struct reconstruct *)c->state)->painting.uncertainty) {
        double expected = ((double)a->mean_abs[0] + a->mean_abs[1] + a->mean_abs[2]) / 3;
        buf_printf(b, ",%.2f,%.1f,%.3f,%.3f,%.3f", (double)bits(a), expected, (double)a->prob[0],
                   (double)a->prob[1], (double)a->prob[2]);
    }
}

/* `n` of the answers that are there. */
static int write_pixels(struct api_call *c, struct painting *p, uint32_t n) {
    struct buf *b = &c->body;
    sse_begin(b, "pixels");
    buf_printf(b, "{\"done\":%u,\"of\":%u,\"values\":[", p->told + n, p->n);
    int rc = painting_tell(c, p, n, write_pixel, c);
    buf_str(b, "]}");
    sse_end(b);
    return rc;
}

static void write_done(struct api_call *c, const struct painting *p) {
    struct buf *b = &c->body;
    (void)call_outcome(c); /* for the log */
    painting_note(c, p);
    sse_begin(b, "done");
    buf_char(b, '{');
    if (p->compare) write_compare(p, 0, b);
    figures_tail_pixels(c, p->n, b);
    buf_char(b, '}');
    sse_end(b);
}

/* A problem stays until the pixels that are there have been told. */
static void next_event(struct api_call *c) {
    struct painting *p = &((struct reconstruct *)c->state)->painting;
    uint32_t ready = painting_ready(c, p);
    if (ready) {
        (void)write_pixels(c, p, ready < EVENT_PIXELS_MAX ? ready : EVENT_PIXELS_MAX);
    } else if (c->problem.code || painting_tell(c, p, 0, write_pixel, c)) {
        stream_problem(c, "error");
        c->stream.ended = 1;
    } else if (p->told == p->n) {
        write_done(c, p);
        c->stream.ended = 1;
    }
    c->stream.is_due = !c->stream.ended && !c->problem.code && painting_is_due(p);
}

static const char *const known[] = {"width",    "height",      "region",  "tiles",
                                    "estimate", "uncertainty", "compare", NULL};
static const struct input_wants wants = {.picture = "image", .known = known, .has_model = 1};
const struct endpoint reconstruct_endpoint = {.wants = &wants,
                                              .media = &media,
                                              .state_size = sizeof(struct reconstruct),
                                              .read = reconstruct_read,
                                              .ask = reconstruct_ask,
                                              .outcome = reconstruct_outcome,
                                              .answer = reconstruct_answer,
                                              .first = write_start,
                                              .next = next_event,
                                              .clear = reconstruct_clear};
