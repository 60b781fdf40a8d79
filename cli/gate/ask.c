/* ask.c - see ask.h.
 *
 * An item is asked in four phases, two for each model. A mask asks for its box first and then for
 * every STEP-th place inside of it, in rows and columns, as `lammd eval seg` does with all; all
 * else has one phase. Pixels are asked at one place of each of PIXELS x PIXELS squares. Pictures
 * are decoded once for both models, and only what the answers are held against is kept until then.
 */
#include "cli/gate/ask.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/eval/metric.h"
#include "cli/gate/score.h"
#include "kernels/base/rng.h"
#include "media/coco.h"

enum { STEP = 2, PIXELS = 16, PHASES = 2, SHORT = 20, LONG = 96 };

struct asked {
    struct exam_item x; /* without its pixels */
    struct eng_picture *pictures[2][SAMPLE_PICTURES_MAX];
    int w, h; /* of the first picture */
    uint8_t box[4];
    int is_boxed;
    uint8_t *truth; /* (grid, grid) of mask */
};

/* ---- loading ---- */

static void ask_let_go(struct gate_item *it) {
    struct asked *q = it->asked;
    if (!q) return;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < SAMPLE_PICTURES_MAX; i++)
            eng_picture_put(q->pictures[k][i]);
    mem_free(q->truth);
    exam_clear(&q->x);
    mem_free(q);
    it->asked = NULL;
}

/* For both models; the same ones where they share an engine. */
static int make_pictures(struct asking *a, struct asked *q, struct err *e) {
    struct eng *eng[2] = {a->models.eval[0].eng, a->models.eval[1].eng};
    for (uint32_t i = 0; i < q->x.n_pictures; i++) {
        struct picture *p = &q->x.pictures[i];
        int rc = eng_picture_new(eng[0], p->rgb, p->w, p->h, &q->pictures[0][i], e);
        if (rc == 0 && eng[1] != eng[0])
            rc = eng_picture_new(eng[1], p->rgb, p->w, p->h, &q->pictures[1][i], e);
        else if (rc == 0)
            q->pictures[1][i] = eng_picture_get(q->pictures[0][i]);
        if (rc) return rc;
        if (i == 0) q->w = p->w;
        if (i == 0) q->h = p->h;
        mem_free(p->rgb);
        p->rgb = NULL;
    }
    return 0;
}

static int ask_load(struct asking *a, struct gate_item *it, struct err *e) {
    uint64_t cluster;
    struct asked *q = it->asked = mem_must(sizeof(*q));
    int grid = a->models.eval[0].grid;
    int rc = it->part == GATE_DATA
                 ? exam_read(a->o->data[it->data].source, it->task, &it->pick, &q->x, e)
                 : battery_read(a->battery, it->task, it->pick.line, &cluster, &q->x, e);
    if (rc == 0) rc = make_pictures(a, q, e);
    if (rc || !q->x.mask) return rc;
    q->truth = mem_must((size_t)grid * (size_t)grid);
    coco_resize(q->x.mask, q->w, q->h, q->truth, grid, grid);
    mem_free(q->x.mask);
    q->x.mask = NULL;
    return 0;
}

/* ---- asking ---- */

static const enum eng_task tasks[SAMPLE_TASKS] = {
    [SAMPLE_PIXELS] = ENG_PIXELS,       [SAMPLE_MASK] = ENG_REFER,
    [SAMPLE_REFER] = ENG_REFER,         [SAMPLE_IDENTIFY] = ENG_IDENTIFY,
    [SAMPLE_CAPTION] = ENG_CAPTION,     [SAMPLE_GROUNDING] = ENG_GROUNDING,
    [SAMPLE_DETECTION] = ENG_DETECTION, [SAMPLE_VQA] = ENG_VQA,
    [SAMPLE_CHAT] = ENG_CHAT,           [SAMPLE_DRIVE] = ENG_DRIVE,
    [SAMPLE_SHOOT] = ENG_SHOOT};

static struct eng_ask ask_of(const struct asking *a, const struct gate_item *it, int k) {
    const struct asked *q = it->asked;
    int is_short = it->task == SAMPLE_VQA || it->task == SAMPLE_IDENTIFY;
    return (struct eng_ask){
        .task = tasks[it->task],
        .pictures = q->pictures[k],
        .n_pictures = q->x.n_pictures,
        .adapter = k ? a->models.adapter : NULL,
        .text = q->x.text,
        .generate = {.max_tokens = is_short ? SHORT : LONG, .may_be_shorter = 1},
        .urgency = it->task == SAMPLE_PIXELS ? ENG_PICTURE : ENG_ANSWER};
}

/* A place of each square, drawn by the item's digest. */
static uint32_t places(const struct asking *a, const struct gate_item *it, struct eng_point *to) {
    int grid = a->models.eval[0].grid, side = grid < PIXELS ? grid : PIXELS;
    uint32_t n = 0;
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++, n++) {
            int x1 = x * grid / side, x2 = (x + 1) * grid / side;
            int y1 = y * grid / side, y2 = (y + 1) * grid / side;
            uint64_t r = rng_u64(it->pick.order, n);
            to[n].x = (uint16_t)(x1 + (int)((r & 0xffff) % (uint64_t)(x2 - x1)));
            to[n].y = (uint16_t)(y1 + (int)((r >> 16 & 0xffff) % (uint64_t)(y2 - y1)));
        }
    return n;
}

/* The places of a mask that are asked: of the box that was said. */
static uint32_t places_inside(const struct asking *a, const struct asked *q, struct eng_point *to) {
    uint32_t n = 0;
    if (!q->is_boxed) return 0;
    struct metric_cells c = metric_box_cells(q->box, a->models.eval[0].grid);
    for (int y = (c.y1 + STEP - 1) / STEP * STEP; y < c.y2; y += STEP)
        for (int x = (c.x1 + STEP - 1) / STEP * STEP; x < c.x2; x += STEP)
            to[n++] = (struct eng_point){(uint16_t)x, (uint16_t)y};
    return n;
}

static int submit_text(struct asking *a, struct gate_item *it, int k, struct eng_ask *ask,
                       struct eng_job **job, struct err *e) {
    const struct exam_item *x = &it->asked->x;
    struct eng_turn turns[SAMPLE_TURNS_MAX];
    uint8_t spoken[4];
    if (it->task == SAMPLE_IDENTIFY) {
        metric_box_spoken(x->box, it->asked->w, it->asked->h, spoken);
        for (int i = 0; i < 4; i++)
            ask->box[i] = spoken[i];
    }
    for (uint32_t i = 0; i < x->n_turns; i++)
        turns[i] = (struct eng_turn){x->turns[i].n_pictures, x->turns[i].question,
                                     i + 1 < x->n_turns ? x->turns[i].answer : NULL};
    ask->turns = x->n_turns ? turns : NULL;
    ask->n_turns = x->n_turns;
    return eval_submit(&a->models.eval[k], ask, job, e);
}

static int ask_start(void *ud, uint32_t i, int phase, struct eng_job **job, struct err *e) {
    struct asking *a = ud;
    struct gate_item *it = &a->items[i];
    int k = phase / PHASES, is_second = phase % PHASES, rc = 0;
    if (a->o->stop && a->o->stop(a->o->ud)) return err_set(e, E_CANCELLED, "the gate was stopped");
    if (phase == 0) rc = ask_load(a, it, e);
    if (rc) return rc;
    struct eng_ask ask = ask_of(a, it, k);
    if (!is_second && it->task != SAMPLE_PIXELS) return submit_text(a, it, k, &ask, job, e);
    if (is_second && it->task != SAMPLE_MASK) return 0;
    ask.task = is_second ? ENG_SEGMENT : ENG_PIXELS;
    if (is_second) ask.urgency = ENG_MASK;
    ask.n_points = is_second ? places_inside(a, it->asked, a->points) : places(a, it, a->points);
    ask.points = a->points;
    if (!ask.n_points) return 0; /* nothing lies inside: an empty mask */
    return eval_submit(&a->models.eval[k], &ask, job, e);
}

/* ---- scoring ---- */

static void score_pixels(struct asking *a, struct gate_item *it, const struct eng_answer *got,
                         uint32_t n, double *num, double *guess) {
    const uint8_t *truth = eng_picture_truth(it->asked->pictures[0][0]);
    int grid = a->models.eval[0].grid;
    size_t all = (size_t)grid * (size_t)grid;
    double off = 0, off_mean = 0, mean[3] = {0};
    uint32_t asked = places(a, it, a->points);
    for (size_t p = 0; p < 3 * all; p++)
        mean[p % 3] += (double)truth[p] / (double)all;
    for (uint32_t i = 0; i < n; i++) {
        const struct eng_point *at = &a->points[got[i].point];
        const uint8_t *right = truth + 3 * ((size_t)at->y * (size_t)grid + at->x);
        for (int c = 0; c < 3; c++) {
            off += abs(got[i].rgb[c] - right[c]);
            off_mean += fabs(mean[c] - right[c]);
        }
    }
    *num = n == asked ? off / (3.0 * n) : 255; /* refused: as wrong as can be */
    *guess = n == asked ? off_mean / (3.0 * n) : 255;
}

/* Intersection and union of the places that may be asked, every STEP-th. */
static void score_mask(struct asking *a, struct gate_item *it, const struct eng_answer *got,
                       uint32_t n, double *num, double *den, double guess[2]) {
    int grid = a->models.eval[0].grid;
    const uint8_t *truth = it->asked->truth;
    uint64_t both = 0, said = 0, right = 0, all = 0;
    (void)places_inside(a, it->asked, a->points);
    for (int y = 0; y < grid; y += STEP)
        for (int x = 0; x < grid; x += STEP, all++)
            right += truth[y * grid + x];
    for (uint32_t i = 0; i < n; i++) {
        const struct eng_point *at = &a->points[got[i].point];
        said += got[i].value[0];
        both += got[i].value[0] & truth[at->y * grid + at->x];
    }
    *num = (double)both;
    *den = (double)(said + right - both);
    guess[0] = (double)right; /* everything painted */
    guess[1] = (double)all;
}

static double score_box(const struct asked *q, const double pixels[4]) {
    return metric_hit(pixels, q->x.box);
}

static double score_text(const struct gate_item *it, const char *said, size_t len) {
    const struct exam_item *x = &it->asked->x;
    if (it->task == SAMPLE_GROUNDING || it->task == SAMPLE_DETECTION)
        return score_boxes(said, len, x->answers[0]);
    return score_words(said, len, x->answers, x->n_answers);
}

/* All but pixels and masks: 0 .. 1, and of the battery what the guess gets. */
static double score_answer(struct asking *a, struct gate_item *it, struct eng_job *job,
                           double *guess) {
    const struct asked *q = it->asked;
    uint32_t n = 0;
    size_t len = 0;
    double box[4];
    const struct eng_answer *got = job ? eng_job_answers(job, &n) : NULL;
    if (it->task == SAMPLE_REFER) {
        *guess = score_box(q, battery_guess_box(a->battery));
        if (n) metric_box_pixels(got->value, q->w, q->h, box);
        return n ? score_box(q, box) : 0;
    }
    if (it->task == SAMPLE_DRIVE || it->task == SAMPLE_SHOOT)
        return n && memcmp(got->value, q->x.action, it->task == SAMPLE_DRIVE ? 3 : 1) == 0;
    if (it->part == GATE_BATTERY) {
        const char *word = battery_guess_word(a->battery, it->pick.line);
        *guess = score_text(it, word, strlen(word));
    }
    const char *said = job ? eng_job_text(job, &len) : NULL;
    return said ? score_text(it, said, len) : 0;
}

static void ask_score(struct asking *a, struct gate_item *it, int k, struct eng_job *job) {
    double *num = &it->scores.num[k], *den = &it->scores.den[k];
    uint32_t n = 0;
    const struct eng_answer *got = job ? eng_job_answers(job, &n) : NULL;
    *den = it->guess[1] = 1;
    if (it->task == SAMPLE_PIXELS)
        score_pixels(a, it, got, n, num, &it->guess[0]);
    else if (it->task == SAMPLE_MASK)
        score_mask(a, it, got, n, num, den, it->guess);
    else
        *num = score_answer(a, it, job, &it->guess[0]);
}

static int ask_done(void *ud, uint32_t i, int phase, struct eng_job *job, int *more,
                    struct err *e) {
    struct asking *a = ud;
    struct gate_item *it = &a->items[i];
    int k = phase / PHASES, is_second = phase % PHASES;
    uint32_t n = 0;
    (void)e;
    if (it->task == SAMPLE_MASK && !is_second) {
        const struct eng_answer *got = job ? eng_job_answers(job, &n) : NULL;
        it->asked->is_boxed = n > 0;
        if (n) memcpy(it->asked->box, got->value, sizeof(got->value));
    }
    if (is_second == (it->task == SAMPLE_MASK)) ask_score(a, it, k, job);
    *more = phase + 1 < 2 * PHASES;
    if (!*more) ask_let_go(it);
    return 0;
}

int ask_all(struct asking *a, struct err *e) {
    static const struct eval_flow flow = {ask_start, ask_done, NULL};
    size_t grid = (size_t)a->models.eval[0].grid;
    a->points = mem_must(grid * grid * sizeof(*a->points));
    int rc = eval_run(&a->models.eval[0], &flow, a, a->n, e);
    for (uint32_t i = 0; i < a->n; i++)
        ask_let_go(&a->items[i]);
    mem_free(a->points);
    return rc;
}
