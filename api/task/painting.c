/* painting.c - see painting.h. */
#include "api/task/painting.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/ask.h"
#include "kernels/base/mem.h"

enum { FLIGHT_MAX = 4, COARSE_STEP = 8 }; /* jobs of tiles at once; the finest of the first round */
_Static_assert((int)PAINTING_ASKS_MAX <= (int)CALL_JOBS_MAX, "an ask is a job");

void painting_clear(struct painting *p) {
    for (int i = 0; i < CROPS_MAX; i++)
        eng_picture_put(p->ahead[i]);
    if (p->quotas) (void)quotas_tiles(p->quotas, p->account, -p->tiles * p->tiles);
    mem_free(p->places);
    mem_free(p->own_truth);
}

/* ---- may it be painted? ---- */

/* Seconds that a tile takes, 0: not known yet. By the engine's pace, which counts what jobs may
 * cost at most, or as the last painting took, which may have waited for others: the less is
 * nearer. */
static double tile_seconds(const struct api_call *c) {
    double pace = eng_pace(c->api->eng), last = (double)atomic_load(&c->api->tile_ns) * 1e-9;
    double by_pace = pace > 0 ? (double)eng_picture_cost(c->api->eng) / pace : 0;
    return last > 0 && last < by_pace ? last : by_pace;
}

void painting_note(struct api_call *c, const struct painting *p) {
    struct eng_job_stats s;
    int side = eng_info(c->api->eng)->grid * p->tiles;
    if (p->width != side || p->height != side) return;
    call_stats(c, &s);
    atomic_store(&c->api->tile_ns, (s.end_ns - s.queued_ns) / (uint64_t)(p->tiles * p->tiles));
}

static int check_time(struct api_call *c, const struct painting *p) {
    double one = tile_seconds(c), limit = (double)c->api->opt.request_ns * 1e-9;
    double all = one * p->tiles * p->tiles;
    if (limit <= 0 || all <= limit || c->in.batch) return 0;
    int most = (int)sqrt(limit / one);
    return problem_set(&c->problem, PROBLEM_TOO_MUCH_WORK, "tiles",
                       "tiles=%d would take about %.0f s here, and a request has %.0f s; the "
                       "largest that fits is tiles=%d",
                       p->tiles, all, limit, most < 1 ? 1 : most);
}

static int check_memory(struct api_call *c, struct painting *p) {
    struct account *account = c->in.visit ? c->in.visit->account : NULL;
    enum quota over = quotas_tiles(c->api->quotas, account, p->tiles * p->tiles);
    if (over == QUOTA_TILES) return call_over_quota(c, over);
    if (over != QUOTA_NONE)
        return problem_set(&c->problem, PROBLEM_QUEUE_FULL, NULL,
                           "the tiles of other requests take the room for them; come back later");
    p->quotas = c->api->quotas;
    p->account = account;
    return 0;
}

int painting_check(struct api_call *c, struct painting *p) {
    if (p->tiles == 1) return 0;
    return check_time(c, p) || check_memory(c, p) ? -1 : 0;
}

/* ---- what is asked ---- */

/* The places of a tile from coarse to fine. */
static void order_places(struct painting *p) {
    int w = p->width / p->tiles, h = p->height / p->tiles;
    uint32_t n = 0;
    for (int s = PAINTING_COARSEST; s >= 1; s /= 2) {
        for (int y = 0; y < h; y += s) {
            for (int x = 0; x < w; x += s) {
                int is_done = s < PAINTING_COARSEST && x % (2 * s) == 0 && y % (2 * s) == 0;
                if (!is_done) p->places[n++] = (struct painting_place){(uint16_t)x, (uint16_t)y};
            }
        }
        if (s == COARSE_STEP) p->n_coarse = n;
    }
    must(n == p->n_places);
}

/* (2i + 1) * span / 2n in whole numbers. */
static int spread(int from, int span, int i, int n) { return from + (2 * i + 1) * span / (2 * n); }

static struct eng_point point_of(const struct painting *p, uint32_t i) {
    const int *r = p->region;
    return (struct eng_point){(uint16_t)spread(r[0], r[2], p->places[i].x, p->width / p->tiles),
                              (uint16_t)spread(r[1], r[3], p->places[i].y, p->height / p->tiles)};
}

/* Which of a tile's places ask k is about. */
static void places_of_ask(const struct painting *p, int k, uint32_t *from, uint32_t *to) {
    int n_tiles = p->tiles * p->tiles, is_first = k < n_tiles, is_only = p->n_asks == n_tiles;
    *from = is_first ? 0 : p->n_coarse;
    *to = is_first && !is_only ? p->n_coarse : p->n_places;
}

/* The original at the places asked. */
static int take_truth(struct api_call *c, struct painting *p) {
    const uint8_t *truth = eng_picture_truth(c->pictures[0]);
    int grid = eng_info(c->api->eng)->grid;
    p->truth = truth; /* of tiles it was made as large as the painting */
    if (p->tiles > 1) return 0;
    p->truth = p->own_truth = mem_try((size_t)p->n * 3);
    if (!p->own_truth) return -1;
    for (uint32_t i = 0; i < p->n; i++) {
        struct eng_point at = point_of(p, i);
        memcpy(p->own_truth + 3 * (p->places[i].y * p->width + p->places[i].x),
               truth + 3 * (at.y * grid + at.x), 3);
    }
    return 0;
}

int painting_begin(struct api_call *c, struct painting *p) {
    int w, h, n_tiles = p->tiles * p->tiles;
    eng_picture_size(c->pictures[0], &w, &h);
    int least = w < h ? w : h;
    if (least < p->tiles)
        return problem_set(&c->problem, PROBLEM_INVALID_PARAMETER, "tiles",
                           "a picture of %d x %d can be cut into tiles=%d at most", w, h, least);
    p->n = (uint32_t)p->width * (uint32_t)p->height;
    p->n_places = p->n / (uint32_t)n_tiles;
    p->places = mem_try(p->n_places * sizeof(*p->places));
    if (!p->places) return problem_set(&c->problem, PROBLEM_NO_MEMORY, NULL, NULL);
    order_places(p);
    p->n_asks =
        p->is_coarse_first && p->tiles > 1 && p->n_coarse < p->n_places ? 2 * n_tiles : n_tiles;
    if (take_truth(c, p)) return problem_set(&c->problem, PROBLEM_NO_MEMORY, NULL, NULL);
    return painting_go_on(c, p);
}

/* ---- asking ---- */

/* Crops for the next asks. 0, or -1 with the problem. */
static int make_crops(struct api_call *c, struct painting *p) {
    struct crop crops[CROPS_MAX];
    int w, h, n = 0;
    eng_picture_size(c->pictures[0], &w, &h);
    for (; n < CROPS_MAX && p->n_asked + n < p->n_asks; n++)
        crops[n] = crop_tile(p->tiles, (p->n_asked + n) % (p->tiles * p->tiles), w, h);
    return crops_take(c, crops, n, p->ahead);
}

static struct eng_job *painting_ask(struct api_call *c, const struct painting *p, int k) {
    uint32_t from, to;
    places_of_ask(p, k, &from, &to);
    struct eng_point *points = mem_try((to - from) * sizeof(*points));
    if (!points) {
        problem_set(&c->problem, PROBLEM_NO_MEMORY, NULL, NULL);
        return NULL;
    }
    for (uint32_t i = from; i < to; i++)
        points[i - from] = point_of(p, i);
    struct eng_ask ask = {.task = ENG_PIXELS,
                          .points = points,
                          .n_points = to - from,
                          .estimate = (enum eng_estimate)p->estimate,
                          .distribution = p->uncertainty,
                          .urgency = ENG_PICTURE};
    if (p->tiles > 1) {
        ask.pictures = p->ahead;
        ask.n_pictures = 1;
        ask.rest = (uint64_t)(p->tiles * p->tiles - 1) * eng_picture_cost(c->api->eng);
    }
    struct eng_job *job = call_ask(c, &ask, NULL);
    mem_free(points);
    return job;
}

static void shift_crops(struct painting *p) {
    eng_picture_put(p->ahead[0]); /* its job has a reference of its own */
    memmove(p->ahead, p->ahead + 1, (CROPS_MAX - 1) * sizeof(p->ahead[0]));
    p->ahead[CROPS_MAX - 1] = NULL;
}

int painting_is_due(const struct painting *p) {
    return p->n_asked < p->n_asks && p->n_asked - p->n_over < FLIGHT_MAX &&
           p->blocked_at != 1 + p->n_over;
}

int painting_go_on(struct api_call *c, struct painting *p) {
    for (int k = 0; k < p->n_asked && p->tiles > 1; k++)
        if (p->asks[k].is_over && call_job(c, k)) call_drop(c, k);
    while (painting_is_due(p)) {
        if (p->tiles > 1 && !p->ahead[0] && make_crops(c, p)) return -1;
        struct eng_job *job = painting_ask(c, p, p->n_asked);
        int is_full =
            c->problem.code == PROBLEM_QUEUE_FULL || c->problem.code == PROBLEM_QUOTA_EXCEEDED;
        if (!job && is_full && p->n_asked > p->n_over) {
            c->problem = (struct problem){0}; /* those of ours in the queue make room */
            p->blocked_at = 1 + p->n_over;
            return 0;
        }
        if (!job) return -1;
        shift_crops(p);
        p->n_asked++;
    }
    return 0;
}

/* ---- telling ---- */

uint32_t painting_ready(struct api_call *c, const struct painting *p) {
    uint32_t sum = 0, n;
    for (int k = 0; k < p->n_asked; k++) {
        if (p->asks[k].is_over) continue;
        (void)eng_job_answers(call_job(c, k), &n);
        sum += n - p->asks[k].told;
    }
    return sum;
}

/* One answer of ask k, whose places begin at `from`. */
static void tell_one(struct painting *p, int k, uint32_t from, const struct eng_answer *a,
                     painting_fn *fn, void *ud) {
    int tile = k % (p->tiles * p->tiles);
    const struct painting_place *at = &p->places[from + a->point];
    int x = tile % p->tiles * (p->width / p->tiles) + at->x;
    int y = tile / p->tiles * (p->height / p->tiles) + at->y;
    const uint8_t *truth = p->truth + 3 * ((size_t)y * (size_t)p->width + (size_t)x);
    for (int ch = 0; ch < 3; ch++)
        p->error += (uint64_t)abs(a->rgb[ch] - truth[ch]);
    p->told++;
    fn(ud, x, y, a);
}

int painting_tell(struct api_call *c, struct painting *p, uint32_t most, painting_fn *fn,
                  void *ud) {
    for (int k = 0; k < p->n_asked; k++) {
        struct painting_ask *ask = &p->asks[k];
        if (ask->is_over) continue;
        uint32_t ready, from, to;
        places_of_ask(p, k, &from, &to);
        /* The state first: what was answered before the end is then surely counted below. */
        int is_over = eng_job_state(call_job(c, k)) >= ENG_DONE;
        const struct eng_answer *answers = eng_job_answers(call_job(c, k), &ready);
        for (; ask->told < ready && most > 0; most--)
            tell_one(p, k, from, &answers[ask->told++], fn, ud);
        if (!is_over || ask->told < ready) continue;
        if (call_job_outcome(c, call_job(c, k)) < 0) return -1;
        ask->is_over = 1;
        p->n_over++;
    }
    return 0;
}
