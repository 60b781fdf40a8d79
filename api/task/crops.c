/* crops.c - see crops.h. */
#include "api/task/crops.h"

#include "api/ask.h"
#include "api/endpoint.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

int crops_check(struct input *in, const char *param) {
    if (!in->pictures[0].id) return 0;
    return problem_set(
        in->problem, PROBLEM_INVALID_PARAMETER, param,
        "a stored picture is kept as small as the model sees it; to use %s, send the "
        "picture itself",
        param);
}

/* A picture's crops on their way from the decoder to the engine. */
struct crops_way {
    struct eng *eng;
    const struct crop *crops;
    int n, is_stored;
    struct crop at[CROPS_MAX];          /* as stored */
    struct eng_intake *rows[CROPS_MAX]; /* NULL: not begun */
    int y;                              /* of the next row */
    int rc;                             /* the engine's */
};

static int crops_begin(void *ud, const struct head *head, struct err *e) {
    struct crops_way *way = ud;
    int orientation = way->is_stored ? 1 : head->orientation, is_crossed = orientation >= 5;
    int w = is_crossed ? head->h : head->w, h = is_crossed ? head->w : head->h;
    for (int i = 0; i < way->n && !way->rc; i++) {
        struct crop at = way->at[i] = crop_stored(way->crops[i], orientation, w, h);
        way->rc = eng_intake_open(way->eng, at.w, at.h, orientation, 0, &way->rows[i], NULL);
    }
    return way->rc ? err_set(e, way->rc, "the engine takes no picture") : 0;
}

static void crops_row(void *ud, const uint8_t *rgb) {
    struct crops_way *way = ud;
    for (int i = 0; i < way->n; i++) {
        const struct crop *at = &way->at[i];
        if (way->y >= at->y && way->y < at->y + at->h)
            eng_intake_row(way->rows[i], rgb + 3 * (size_t)at->x);
    }
    way->y++;
}

/* Ends all intakes; the first error counts. */
static int crops_close(struct crops_way *way, int rc, struct eng_picture **out) {
    for (int i = 0; i < way->n; i++) {
        if (!way->rows[i]) continue;
        int one = eng_intake_close(way->rows[i], rc ? NULL : &out[i], NULL);
        if (!rc) rc = one;
    }
    for (int i = 0; rc && i < way->n; i++) {
        eng_picture_put(out[i]);
        out[i] = NULL;
    }
    return rc;
}

static int crops_decode(struct api_call *c, const struct input *in, const struct crop *crops, int n,
                        struct eng_picture **out) {
    struct err e = {0};
    struct crops_way way = {.eng = c->api->eng, .crops = crops, .n = n, .is_stored = in->is_stored};
    const struct picture_limits limits = call_limits(c, in);
    const struct picture_sink sink = {crops_begin, crops_row, &way};
    uint64_t start = clock_ns();
    int rc = picture_read(in->pictures[0].bytes, in->pictures[0].len, &limits, &sink, &e);
    rc = crops_close(&way, rc, out);
    c->decode_ns += clock_ns() - start;
    /* It was decoded before, so what can go wrong now is memory. */
    return rc ? problem_set(&c->problem, problem_code_of(rc), NULL, NULL) : 0;
}

int crops_take(struct api_call *c, const struct crop *crops, int n, struct eng_picture **out) {
    struct input in = {0};
    must(n <= CROPS_MAX);
    for (int i = 0; i < n; i++)
        out[i] = NULL;
    int rc = endpoint_open_input(c, &in);
    if (!rc) rc = crops_decode(c, &in, crops, n, out);
    input_close(&in);
    return rc;
}
