/* segment.c - POST /v1/segment: a picture and sentences -> the masks of what they speak of.
 *
 * As the paper does it (docs/model.md section 7.3): the model points at a box first, then every
 * place of its grid inside the box is asked for one bit; outside the box there is nothing. A box
 * may be given, or the whole picture asked. One forward pass per place; the two logits make a
 * probability, so the mask may be soft.
 *
 * Each sentence is a `look` on its way, by itself:
 *
 *     REFER_DUE --ask--> REFER --box--> CUT_DUE --ask--> CUT --bits--> DONE
 *
 * With `refine` the bits are asked of another picture: the part of this one around the box
 * (media/crop.h), all places of its grid. So a small thing has as many places as a large one. Where
 * that part would be nearly the whole picture, the mask is asked as without `refine`. Second looks
 * wait until all boxes are known; then the parts are cut out, CROPS_MAX at a time.
 *
 * At most FLIGHT_MAX jobs of one call run at once; when the engine's queue is full while some of
 * ours are in it, the others wait for these. Masks are told at the picture's size (or the grid's)
 * as PNG, COCO run lengths and rings. Thread: a worker.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/ask.h"
#include "api/endpoint.h"
#include "api/task/crops.h"
#include "api/task/figures.h"
#include "api/wire/json_write.h"
#include "kernels/base/mem.h"
#include "media/mask.h"

enum { SENTENCES_MAX = 64, SENTENCE_MAX = 500, FLIGHT_MAX = 8 };
_Static_assert(2 * SENTENCES_MAX <= CALL_JOBS_MAX, "a look has two jobs");

enum size { SIZE_FULL, SIZE_GRID };
static const char *const sizes[] = {"full", "grid", NULL};

enum phase { REFER_DUE, REFER, CUT_DUE, CUT, DONE };
struct look {
    enum phase phase;
    struct eng_job *refer, *cut; /* the call's; NULL: there is none */
    double box[4];               /* pixels */
    double probability;          /* of the box, when the model named it */
    int x0, y0, x1, y1;          /* grid places asked, without x1 and y1 */
    struct crop crop;            /* that is looked at again; w 0: none is */
    struct eng_picture *picture; /* of it, until the bits are asked */
};

struct cutting {
    const char *const *sentences;
    uint32_t n;
    struct look looks[SENTENCES_MAX];
    int is_list; /* `sentences` was given */
    int has_box, is_whole, is_soft, with_png, refine, size;
    double box[4], threshold;
    int is_png;
    int grid, w, h; /* of the answer's masks */
    /* room for one mask */
    uint8_t *bits, *grey; /* (grid, grid) */
    float *chance;        /* (grid, grid) that the place belongs to it */
};

static void cutting_clear(void *state) {
    struct cutting *q = state;
    for (uint32_t i = 0; i < q->n; i++)
        eng_picture_put(q->looks[i].picture);
    mem_free(q->bits);
    mem_free(q->grey);
    mem_free(q->chance);
}

/* ---- reading the request ---- */

static int read_sentences(struct input *in, struct cutting *q) {
    const char *one = NULL;
    if (input_text(in, "sentence", SENTENCE_MAX, &one)) return -1;
    if (input_texts(in, "sentences", SENTENCES_MAX, SENTENCE_MAX, &q->sentences, &q->n)) return -1;
    q->is_list = q->n > 0;
    if (one && q->is_list)
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, "sentences",
                           "give either sentence or sentences");
    if (!one && !q->is_list)
        return problem_set(in->problem, PROBLEM_MISSING_PARAMETER, "sentence",
                           "sentence is missing: what to cut out, e.g. \"the red ball\"; or "
                           "sentences, an array of 1 to %d",
                           SENTENCES_MAX);
    if (q->is_list) return 0;
    const char **list = input_take(in, sizeof(*list));
    if (!list) return -1;
    list[0] = one;
    q->sentences = list;
    q->n = 1;
    return 0;
}

static int read_fields(struct input *in, struct cutting *q) {
    q->threshold = 0.5;
    if (read_sentences(in, q)) return -1;
    q->has_box = input_has(in, "box");
    if (input_numbers(in, "box", "x1,y1,x2,y2", 4, q->box)) return -1;
    if (input_flag(in, "whole", &q->is_whole)) return -1;
    if (input_flag(in, "soft", &q->is_soft)) return -1;
    if (input_flag(in, "png", &q->with_png)) return -1;
    if (input_flag(in, "refine", &q->refine)) return -1;
    if (q->refine && crops_check(in, "refine")) return -1;
    if (input_number(in, "threshold", 0, 1, &q->threshold)) return -1;
    if (input_word(in, "size", sizes, &q->size)) return -1;
    if (q->has_box && q->is_whole)
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, "box",
                           "give either box or whole");
    return 0;
}

/* A list of masks is no picture. */
static int pick_media(struct api_call *c, struct cutting *q) {
    static const struct media one = {
        .types = {"image/png", "application/json"},
        .refusal = "the answer comes as image/png or application/json; neither is in Accept"};
    static const struct media list = {
        .types = {"application/json"},
        .refusal = "the masks of sentences come as application/json, which is not in Accept; a PNG "
                   "has the mask of one sentence"};
    if (endpoint_pick(c, q->is_list ? &list : &one)) return -1;
    q->is_png = !q->is_list && c->media == 0;
    return 0;
}

static int segment_read(struct api_call *c, struct input *in) {
    return read_fields(in, c->state) || pick_media(c, c->state) ? -1 : 0;
}

/* What the answer will take of memory and time is known before anything is asked. */
static int set_size(struct api_call *c, struct cutting *q) {
    eng_picture_size(c->pictures[0], &q->w, &q->h);
    q->grid = eng_info(c->api->eng)->grid;
    must(q->grid <= MASK_GRID_MAX);
    if (q->has_box && figures_check_box(c, q->box)) return -1;
    if (q->size == SIZE_GRID) q->w = q->h = q->grid;
    uint64_t pixels = (uint64_t)q->w * (uint64_t)q->h * q->n;
    if (q->with_png && pixels > c->api->opt.pixels_max)
        return problem_set(&c->problem, PROBLEM_INVALID_PARAMETER, "png",
                           "%u PNGs of %d x %d would have more than %llu pixels together; leave "
                           "png out, or ask for size=grid",
                           q->n, q->w, q->h, (unsigned long long)c->api->opt.pixels_max);
    return 0;
}

/* ---- the looks ---- */

/* The box is known: is there something in it to look at again? */
static void set_crop(const struct api_call *c, const struct cutting *q, struct look *look) {
    int w, h;
    if (!q->refine || look->x0 >= look->x1 || look->y0 >= look->y1) return;
    eng_picture_size(c->pictures[0], &w, &h);
    if (!crop_around(look->box, w, h, &look->crop)) {
        look->crop = (struct crop){0};
        return;
    }
    look->x0 = look->y0 = 0;
    look->x1 = look->y1 = q->grid;
}

/* Where `look` has to be cut: pixels of the original and places of the grid. */
static void set_box(const struct api_call *c, const struct cutting *q, struct look *look,
                    const double box[4]) {
    int w, h;
    eng_picture_size(c->pictures[0], &w, &h);
    memcpy(look->box, box, sizeof(look->box));
    mask_range(box[0], box[2], w, q->grid, &look->x0, &look->x1);
    mask_range(box[1], box[3], h, q->grid, &look->y0, &look->y1);
    set_crop(c, q, look);
}

static void segment_take_box(const struct api_call *c, const struct cutting *q, struct look *look) {
    uint32_t n;
    const struct eng_answer *a = eng_job_answers(look->refer, &n);
    must(n == 1);
    int w, h, percent[4];
    eng_picture_size(c->pictures[0], &w, &h);
    look->probability = 1;
    for (int k = 0; k < 4; k++) {
        percent[k] = a->value[k];
        look->probability *= (double)a->prob[k];
    }
    figures_order(percent);
    for (int k = 0; k < 4; k++)
        look->box[k] = percent[k] * (k % 2 ? h : w) / 100.0;
    /* From the percents themselves: pixels would round. */
    mask_range(percent[0], percent[2], 100, q->grid, &look->x0, &look->x1);
    mask_range(percent[1], percent[3], 100, q->grid, &look->y0, &look->y1);
    set_crop(c, q, look);
}

static void start_look(const struct api_call *c, const struct cutting *q, struct look *look) {
    int w, h;
    eng_picture_size(c->pictures[0], &w, &h);
    if (q->has_box) set_box(c, q, look, q->box);
    if (q->is_whole) set_box(c, q, look, (double[]){0, 0, w, h});
    look->phase = q->has_box || q->is_whole ? CUT_DUE : REFER_DUE;
}

/* Token rows of all second looks together, at most. */
static uint64_t rest_of(const struct api_call *c, const struct cutting *q) {
    return q->refine ? q->n * eng_picture_cost(c->api->eng) : 0;
}

static struct eng_job *segment_ask_box(struct api_call *c, const struct cutting *q, uint32_t i) {
    struct eng_ask ask = {.task = ENG_REFER,
                          .text = q->sentences[i],
                          .distribution = 1,
                          .urgency = ENG_MASK,
                          .rest = rest_of(c, q)};
    return call_ask(c, &ask, q->is_list ? "sentences" : "sentence");
}

/* What is to be looked at again of look i, and of those behind it, becomes pictures. 0, or -1. */
static int cut_crops(struct api_call *c, struct cutting *q, uint32_t i) {
    struct look *looks[CROPS_MAX];
    struct crop crops[CROPS_MAX];
    struct eng_picture *pictures[CROPS_MAX];
    int n = 0;
    for (; i < q->n && n < CROPS_MAX; i++) {
        if (q->looks[i].phase != CUT_DUE || !q->looks[i].crop.w) continue;
        crops[n] = q->looks[i].crop;
        looks[n++] = &q->looks[i];
    }
    if (crops_take(c, crops, n, pictures)) return -1;
    for (int k = 0; k < n; k++)
        looks[k]->picture = pictures[k];
    return 0;
}

static struct eng_job *ask_bits(struct api_call *c, const struct cutting *q, uint32_t i) {
    const struct look *l = &q->looks[i];
    uint32_t n = (uint32_t)(l->x1 - l->x0) * (uint32_t)(l->y1 - l->y0), k = 0;
    struct eng_point *points = mem_try(n * sizeof(*points));
    if (!points) {
        problem_set(&c->problem, PROBLEM_NO_MEMORY, NULL, NULL);
        return NULL;
    }
    for (int y = l->y0; y < l->y1; y++) {
        for (int x = l->x0; x < l->x1; x++)
            points[k++] = (struct eng_point){(uint16_t)x, (uint16_t)y};
    }
    struct eng_ask ask = {.task = ENG_SEGMENT,
                          .text = q->sentences[i],
                          .points = points,
                          .n_points = n,
                          .distribution = 1,
                          .urgency = ENG_MASK,
                          .rest = rest_of(c, q)};
    if (l->picture) {
        ask.pictures = &l->picture;
        ask.n_pictures = 1;
    }
    struct eng_job *job = call_ask(c, &ask, q->is_list ? "sentences" : "sentence");
    mem_free(points);
    return job;
}

/* What has ended goes on to its next phase. 0, or -1 with the problem. */
static int harvest(struct api_call *c, struct cutting *q, uint32_t *n_flying) {
    *n_flying = 0;
    for (uint32_t i = 0; i < q->n; i++) {
        struct look *l = &q->looks[i];
        if (l->phase != REFER && l->phase != CUT) continue;
        int outcome = call_job_outcome(c, l->phase == REFER ? l->refer : l->cut);
        if (outcome < 0) return -1;
        if (outcome == 0) {
            ++*n_flying;
        } else if (l->phase == REFER) {
            segment_take_box(c, q, l);
            l->phase = CUT_DUE;
        } else {
            l->phase = DONE;
        }
    }
    return 0;
}

/* Some boxes are not known yet. */
static int is_referring(const struct cutting *q) {
    for (uint32_t i = 0; i < q->n; i++)
        if (q->looks[i].phase == REFER_DUE || q->looks[i].phase == REFER) return 1;
    return 0;
}

/* Ask for what is due. 1: something was asked or decided; 0: nothing is left to do now; -1. */
static int launch(struct api_call *c, struct cutting *q, uint32_t n_flying) {
    int moved = 0, only_boxes = q->refine && is_referring(q);
    for (uint32_t i = 0; i < q->n && n_flying < FLIGHT_MAX; i++) {
        struct look *l = &q->looks[i];
        if (l->phase != REFER_DUE && l->phase != CUT_DUE) continue;
        int is_box = l->phase == REFER_DUE;
        if (!is_box && only_boxes) continue;
        moved = 1;
        if (!is_box && (l->x0 >= l->x1 || l->y0 >= l->y1)) {
            l->phase = DONE; /* the model's box has no inside */
            continue;
        }
        if (!is_box && l->crop.w && !l->picture && cut_crops(c, q, i)) return -1;
        struct eng_job *job = is_box ? segment_ask_box(c, q, i) : ask_bits(c, q, i);
        int is_full =
            c->problem.code == PROBLEM_QUEUE_FULL || c->problem.code == PROBLEM_QUOTA_EXCEEDED;
        if (!job && n_flying && is_full) {
            c->problem = (struct problem){0}; /* those of ours in the queue make room */
            return 0;
        }
        if (!job) return -1;
        if (is_box)
            l->refer = job;
        else
            l->cut = job;
        eng_picture_put(l->picture); /* the job has a reference of its own */
        l->picture = NULL;
        l->phase = is_box ? REFER : CUT;
        n_flying++;
    }
    return moved;
}

static int segment_ask(struct api_call *c) {
    struct cutting *q = c->state;
    if (set_size(c, q)) return -1;
    for (uint32_t i = 0; i < q->n; i++)
        start_look(c, q, &q->looks[i]);
    return 0;
}

/* 1: all looks are done; 0: wait; -1. */
static int segment_outcome(struct api_call *c) {
    struct cutting *q = c->state;
    uint32_t n_flying, n_done = 0;
    int moved;
    do {
        if (harvest(c, q, &n_flying)) return -1;
        moved = launch(c, q, n_flying);
        if (moved < 0) return -1;
    } while (moved);
    for (uint32_t i = 0; i < q->n; i++)
        n_done += q->looks[i].phase == DONE;
    return n_done == q->n;
}

/* ---- the answer ---- */

/* The look's answers -> q->chance, q->bits, q->grey. */
static void segment_paint(struct cutting *q, const struct look *l) {
    size_t places = (size_t)q->grid * (size_t)q->grid;
    uint32_t n = 0;
    const struct eng_answer *answers = l->cut ? eng_job_answers(l->cut, &n) : NULL;
    memset(q->bits, 0, places);
    memset(q->grey, 0, places);
    memset(q->chance, 0, places * sizeof(*q->chance));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t wide = (uint32_t)(l->x1 - l->x0), at = answers[i].point;
        uint32_t x = (uint32_t)l->x0 + at % wide, y = (uint32_t)l->y0 + at / wide;
        size_t place = (size_t)y * (size_t)q->grid + x;
        float p = answers[i].value[0] ? answers[i].prob[0] : 1 - answers[i].prob[0];
        q->chance[place] = p;
        q->bits[place] = (double)p >= q->threshold;
        q->grey[place] = q->is_soft ? (uint8_t)lrintf(p * 255) : q->bits[place] * 255;
    }
}

/* Over the places that are set; 0 when none is. */
static double mean_chance(const struct cutting *q) {
    double sum = 0;
    uint32_t n = 0;
    for (int i = 0; i < q->grid * q->grid; i++) {
        sum += q->bits[i] ? (double)q->chance[i] : 0;
        n += q->bits[i];
    }
    return n ? sum / n : 0;
}

/* The painted bits of a look. A mask of the grid's size is that of the crop. */
static struct mask mask_of(const struct cutting *q, const struct look *l) {
    struct mask m = {.bits = q->bits, .grid = q->grid, .w = q->w, .h = q->h};
    if (q->size == SIZE_FULL) m.part = l->crop;
    return m;
}

static int segment_answer_png(struct api_call *c, struct cutting *q) {
    const struct look *l = &q->looks[0];
    const double *box = l->box;
    const struct crop *at = &l->crop;
    segment_paint(q, l);
    struct mask m = mask_of(q, l);
    if (mask_png(&m, q->grey, &c->body)) return call_fail_as(c, PROBLEM_NO_MEMORY);
    call_header_printf(c, "X-Lammd-Box", "%.2f,%.2f,%.2f,%.2f", box[0], box[1], box[2], box[3]);
    if (at->w)
        call_header_printf(c, "X-Lammd-Crop", "%d,%d,%d,%d", at->x, at->y, at->x + at->w,
                           at->y + at->h);
    call_header(c, "Vary", "Accept");
    return call_answer(c, 200, "image/png");
}

/* Where it was looked for, found or not. */
static void write_box(const struct api_call *c, const struct look *l, struct buf *b) {
    int w, h;
    eng_picture_size(c->pictures[0], &w, &h);
    buf_printf(b, "\"box\":{\"x1\":%.2f,\"y1\":%.2f,\"x2\":%.2f,\"y2\":%.2f},", l->box[0],
               l->box[1], l->box[2], l->box[3]);
    buf_printf(b, "\"percent\":[%.4g,%.4g,%.4g,%.4g],", 100 * l->box[0] / w, 100 * l->box[1] / h,
               100 * l->box[2] / w, 100 * l->box[3] / h);
}

/* What the grid covers, when it is not the whole picture. */
static void write_crop(const struct look *l, struct buf *b) {
    const struct crop *at = &l->crop;
    if (at->w)
        buf_printf(b, "\"crop\":{\"x1\":%d,\"y1\":%d,\"x2\":%d,\"y2\":%d},", at->x, at->y,
                   at->x + at->w, at->y + at->h);
    else
        buf_str(b, "\"crop\":null,");
}

static void write_rle(const struct mask *m, struct buf *b) {
    struct buf counts;
    buf_init(&counts, b->max);
    if (mask_rle(m, &counts)) b->bad = counts.bad;
    buf_printf(b, "\"mask\":{\"size\":[%d,%d],\"counts\":", m->h, m->w);
    json_write_text(b, (const char *)counts.p, counts.len);
    buf_str(b, "},");
    buf_clear(&counts);
}

static void segment_write_png(const struct cutting *q, const struct mask *m, struct buf *b) {
    struct buf png;
    buf_init(&png, b->max);
    if (mask_png(m, q->grey, &png)) b->bad = E_NOMEM;
    buf_str(b, ",\"png\":");
    json_write_png(b, png.p, png.len);
    buf_clear(&png);
}

static void write_mask(const struct api_call *c, struct cutting *q, uint32_t i, struct buf *b) {
    const struct look *l = &q->looks[i];
    struct mask m = mask_of(q, l);
    int bounds[4];
    segment_paint(q, l);
    int is_empty = mask_bounds(&m, bounds) != 0;
    buf_str(b, "{\"sentence\":");
    json_write_str(b, q->sentences[i]);
    buf_char(b, ',');
    write_box(c, l, b);
    if (l->refer)
        buf_printf(b, "\"box_probability\":%.6g,", l->probability);
    else
        buf_str(b, "\"box_probability\":null,");
    write_crop(l, b);
    write_rle(&m, b);
    buf_str(b, "\"polygon\":");
    mask_rings(&m, b);
    buf_printf(b, ",\"area\":%llu,\"bbox\":", (unsigned long long)mask_area(&m));
    if (is_empty)
        buf_str(b, "null");
    else
        buf_printf(b, "[%d,%d,%d,%d]", bounds[0], bounds[1], bounds[2], bounds[3]);
    buf_printf(b, ",\"mean_probability\":%.5f", mean_chance(q));
    if (q->with_png) segment_write_png(q, &m, b);
    buf_char(b, '}');
}

static int segment_answer_json(struct api_call *c, struct cutting *q) {
    struct buf *b = &c->body;
    buf_char(b, '{');
    figures_head(c, b);
    buf_printf(b, ",\"width\":%d,\"height\":%d,\"threshold\":%g,\"masks\":[", q->w, q->h,
               q->threshold);
    for (uint32_t i = 0; i < q->n; i++) {
        if (i) buf_char(b, ',');
        write_mask(c, q, i, b);
    }
    buf_str(b, "],");
    figures_tail(c, b);
    buf_str(b, "}\n");
    call_header(c, "Vary", "Accept");
    return call_answer(c, 200, "application/json");
}

static int segment_answer(struct api_call *c) {
    struct cutting *q = c->state;
    size_t places = (size_t)q->grid * (size_t)q->grid;
    q->bits = mem_try(places);
    q->grey = mem_try(places);
    q->chance = mem_try(places * sizeof(*q->chance));
    if (!q->bits || !q->grey || !q->chance) return call_fail_as(c, PROBLEM_NO_MEMORY);
    (void)call_outcome(c); /* for the log */
    return q->is_png ? segment_answer_png(c, q) : segment_answer_json(c, q);
}

static const char *const known[] = {"sentence", "sentences", "box",  "whole",  "soft",
                                    "png",      "threshold", "size", "refine", NULL};
static const struct input_wants wants = {.picture = "image", .known = known, .has_model = 1};
const struct endpoint segment_endpoint = {.wants = &wants,
                                          .state_size = sizeof(struct cutting),
                                          .read = segment_read,
                                          .ask = segment_ask,
                                          .outcome = segment_outcome,
                                          .answer = segment_answer,
                                          .clear = cutting_clear};
