/* eng_rig.c - see eng_rig.h. */
#include "tests/unit/engine/eng_rig.h"

#include <stdio.h>
#include <unistd.h>

#include "engine/answer/grammar.h"
#include "engine/ask/prompt.h"
#include "engine/picture/resize.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/check.h"

const char *eng_rig_backend(void) {
    const struct kern_ops *ops;
    return kern_find("cpu", &ops, NULL) == 0 ? "cpu" : "ref";
}

struct eng *eng_rig_open(const struct eng_options *opt) {
    struct err e = {0};
    struct eng *eng;
    struct eng_options o = *opt;
    if (!o.device) o.device = eng_rig_backend();
    if (!o.threads) o.threads = 1;
    int rc = eng_open(&o, &eng, &e);
    if (rc) printf("eng_open: %s\n", e.text);
    CHECK_EQ(rc, 0);
    CHECK_EQ(eng_info(eng)->grid, ENG_RIG_GRID);
    return eng;
}

uint8_t *eng_rig_pixels(int n, int *w, int *h) {
    *w = n ? 17 + 23 * n % 61 : 32;
    *h = n ? 15 + 31 * n % 47 : 32;
    uint8_t *rgb = mem_must((size_t)(*w * *h * 3));
    if (n == 0) {
        FILE *f = fopen("tests/golden/pictures/32.rgb", "rb");
        CHECK(f);
        CHECK_EQ(fread(rgb, 1, 32 * 32 * 3, f), 32 * 32 * 3);
        fclose(f);
        return rgb;
    }
    for (int i = 0; i < *w * *h * 3; i++) {
        int x = i / 3 % *w, y = i / 3 / *w, c = i % 3;
        uint64_t noise = rng_u64((uint64_t)n, (uint64_t)i) % 30;
        rgb[i] = (uint8_t)((uint64_t)(x * (3 + c * n) + y * (5 + n)) % 226 + noise);
    }
    return rgb;
}

struct eng_picture *eng_rig_picture(struct eng *e, int n) {
    int w, h;
    uint8_t *rgb = eng_rig_pixels(n, &w, &h);
    struct eng_picture *i;
    CHECK_EQ(eng_picture_new(e, rgb, w, h, &i, NULL), 0);
    mem_free(rgb);
    return i;
}

const struct eng_point *eng_rig_points(void) {
    static struct eng_point points[ENG_RIG_ALL];
    for (int i = points[1].x ? ENG_RIG_ALL : 0; i < ENG_RIG_ALL; i++) { /* once */
        int k = i * 37 % ENG_RIG_ALL;
        points[i] = (struct eng_point){(uint16_t)(k % ENG_RIG_GRID), (uint16_t)(k / ENG_RIG_GRID)};
    }
    return points;
}

void eng_rig_collect(struct eng_job *j, const struct eng_point *points, uint32_t n,
                     struct eng_answer *by_place) {
    uint32_t seen = 0;
    while (eng_job_state(j) < ENG_DONE) {
        CHECK_EQ(eng_job_wait(j, seen, UINT64_MAX), 0);
        (void)eng_job_answers(j, &seen);
    }
    if (eng_job_state(j) != ENG_DONE) printf("job: %s\n", eng_job_error(j)->text);
    CHECK_EQ(eng_job_state(j), ENG_DONE);
    const struct eng_answer *a = eng_job_answers(j, &seen);
    CHECK_EQ(seen, n);
    for (uint32_t i = 0; i < n; i++) {
        const struct eng_point *at = &points[a[i].point];
        struct eng_answer *to = &by_place[at->y * ENG_RIG_GRID + at->x];
        *to = a[i];
        to->point = 1; /* was answered */
    }
}

void eng_rig_ask_all(struct eng *e, struct eng_picture *picture, enum eng_estimate estimate,
                     int distribution, struct eng_answer *by_place) {
    struct eng_job *j;
    struct eng_ask ask = {.pictures = &picture,
                          .n_pictures = 1,
                          .points = eng_rig_points(),
                          .n_points = ENG_RIG_ALL,
                          .estimate = estimate,
                          .distribution = distribution,
                          .urgency = ENG_PICTURE};
    CHECK_EQ(eng_submit(e, &ask, &j, NULL), 0);
    memset(by_place, 0, ENG_RIG_ALL * sizeof by_place[0]);
    eng_rig_collect(j, ask.points, ask.n_points, by_place);
    for (int i = 0; i < ENG_RIG_ALL; i++)
        CHECK_EQ(by_place[i].point, 1);
    eng_job_put(j);
}

int eng_rig_same(const struct eng_answer *a, const struct eng_answer *b, int n) {
    for (int i = 0; i < n; i++)
        for (int c = 0; c < 3; c++)
            if (a[i].rgb[c] != b[i].rgb[c] || memcmp(&a[i].prob[c], &b[i].prob[c], 4) != 0 ||
                memcmp(&a[i].entropy[c], &b[i].entropy[c], 4) != 0 ||
                memcmp(&a[i].mean_abs[c], &b[i].mean_abs[c], 4) != 0)
                return 0;
    return 1;
}

void eng_rig_idle(struct eng *e, struct eng_stats *s) {
    for (int i = 0; i < 60000; i++) {
        eng_stats(e, s);
        if (s->jobs_running == 0 && s->jobs_waiting == 0) return;
        usleep(1000);
    }
    CHECK(!"the engine comes to rest");
}

void eng_rig_memory_back(uint64_t live_bytes) {
    struct mem_stats s;
    for (int i = 0; i < 60000; i++) {
        mem_stats(&s);
        if (s.live_bytes == live_bytes) return;
        usleep(1000);
    }
    CHECK_EQ(s.live_bytes, live_bytes);
}

/* ---- the plain loop ---- */

enum { PROMPT_ROWS = 320 }; /* lamm-mini has 265 */

struct plain {
    const struct kern_ops *ops;
    struct kern *k;
    struct model *m;
    struct sptok *tok;
    struct grammar *g;
    struct model_head *head;
    int n;        /* tokens fed: slots [0, n) */
    int32_t best; /* of the latest pick */
    float *probs;
};

struct plain *plain_open(const char *dir, int picture) {
    struct plain *p = mem_must(sizeof *p);
    struct err e = {0};
    char path[256];
    (void)snprintf(path, sizeof path, "%s/tokenizer.model", dir);
    CHECK_EQ(kern_find(eng_rig_backend(), &p->ops, &e), 0);
    CHECK_EQ(p->ops->open(&(struct kern_config){.threads = 2}, &p->k, &e), 0);
    CHECK_EQ(model_open(dir, NULL, p->ops, p->k, &p->m, &e), 0);
    CHECK_EQ(sptok_open(path, &p->tok, &e), 0);
    CHECK_EQ(grammar_new(p->tok, &grammar_colour, &p->g, &e), 0);
    CHECK_EQ(model_head_new(p->m, p->g->head_ids, p->g->n_head, &p->head, &e), 0);
    struct model_plan plan = {
        .rows_max = PROMPT_ROWS, .picks_max = 1, .kv_slots = PROMPT_ROWS, .feats_max = 1};
    CHECK_EQ(model_plan(p->m, &plan, &e), 0);
    p->probs = mem_must((size_t)p->g->max_set * sizeof p->probs[0]);
    int w, h, side = model_config(p->m)->vision.image_size;
    uint8_t *rgb = eng_rig_pixels(picture, &w, &h);
    uint8_t *seen = mem_must((size_t)(side * side * 3));
    CHECK_EQ(resize_picture(rgb, w, h, seen, side, side, NULL), 0);
    model_encode(p->m, MODEL_BASE, seen, 0);
    mem_free(seen);
    mem_free(rgb);
    return p;
}

void plain_close(struct plain *p) {
    mem_free(p->probs);
    model_head_free(p->m, p->head);
    grammar_free(p->g);
    sptok_close(p->tok);
    model_close(p->m);
    p->ops->close(p->k);
    mem_free(p);
}

/* Feed rows behind what is there, as one chunk; pick at the last one when set >= 0. */
static void feed(struct plain *p, const int32_t *src, int n, int32_t set) {
    int32_t pos[PROMPT_ROWS], off[PROMPT_ROWS + 1] = {0}, tail = 0, last = n - 1;
    for (int i = 0; i < n; i++)
        pos[i] = p->n + i;
    struct kern_attn_span span = {0, p->n};
    struct kern_attn_group group = {0, n, 0, p->n > 0, p->n};
    struct model_pick_group pick = {p->head, 0, 1, p->probs, p->g->max_set};
    struct model_pass pass = {.rows = n,
                              .src = src,
                              .pos = pos,
                              .slot = pos,
                              .groups = &group,
                              .n_groups = 1,
                              .spans = &span,
                              .n_spans = p->n > 0,
                              .tail_off = off,
                              .tail = &tail,
                              .picks = set >= 0,
                              .pick_row = &last,
                              .pick_groups = &pick,
                              .n_pick_groups = set >= 0,
                              .pick_set = &set,
                              .col_off = p->g->col_off,
                              .cols = p->g->cols,
                              .n_sets = p->g->n_sets,
                              .best = &p->best};
    struct err e = {0};
    CHECK_EQ(model_run(p->m, &pass, &e), 0);
    p->n += n;
}

/* The whole prompt and the answer's lead, from an empty pool; a pick for the first field. */
static void ask(struct plain *p, int x, int y) {
    const struct model_config *c = model_config(p->m);
    struct prompt prompt;
    int32_t src[PROMPT_ROWS];
    int n = 0;
    CHECK_EQ(prompt_pixel(c, p->tok, x, y, &prompt, NULL), 0);
    for (int i = 0; i < prompt.n; i++)
        for (int j = 0; j < (prompt.ids[i] < 0 ? c->n_image_tokens : 1); j++)
            src[n++] = prompt.ids[i] < 0 ? ~j : prompt.ids[i];
    for (int i = 0; i < p->g->n_lead; i++)
        src[n++] = p->g->lead[i];
    p->n = 0;
    feed(p, src, n, p->g->nodes[p->g->fields[0].root].set);
}

void plain_mode(struct plain *p, int x, int y, uint8_t *rgb) {
    const struct grammar *g = p->g;
    ask(p, x, y);
    for (int f = 0; f < g->n_fields; f++) {
        const struct grammar_node *n = &g->nodes[g->fields[f].root];
        while (n->edges > 0) {
            const struct grammar_edge *e = &g->edges[n->edge0 + (n->edges > 1 ? p->best : 0)];
            n = &g->nodes[e->node];
            int32_t set = n->set;
            if (n->edges == 0 && f + 1 < g->n_fields) set = g->nodes[g->fields[f + 1].root].set;
            feed(p, &e->token, 1, set);
        }
        rgb[f] = (uint8_t)n->value_lo;
    }
}

/* Walk value v's text from the root of a field, feeding all of it; the product of its picks. The
 * least product on the way where there still was a choice goes to *open. */
static double walk(struct plain *p, int field, int v, double *open) {
    const struct grammar *g = p->g;
    char text[8];
    int32_t ids[16];
    size_t n;
    int len = snprintf(text, sizeof text, "%d%c", v, field < 2 ? ',' : ']');
    CHECK_EQ(sptok_encode(p->tok, text, (size_t)len, 0, ids, 16, &n, NULL), 0);
    double prob = 1;
    *open = 1;
    const struct grammar_node *at = &g->nodes[g->fields[field].root];
    for (size_t i = 0; i < n; i++) {
        int k = 0;
        while (g->edges[at->edge0 + k].token != ids[i])
            k++;
        if (at->edges > 1) prob *= (double)p->probs[k];
        at = &g->nodes[g->edges[at->edge0 + k].node];
        if (at->value_lo != at->value_hi) *open = prob;
        int32_t set = at->set;
        if (at->edges == 0 && field < 2) set = g->nodes[g->fields[field + 1].root].set;
        feed(p, &ids[i], 1, set);
    }
    CHECK_EQ(at->value_lo, v);
    return prob;
}

void plain_channel(struct plain *p, int x, int y, const uint8_t *before, int channel, int is_cut,
                   double *out) {
    const struct grammar *g = p->g;
    float *first = mem_must((size_t)g->max_set * sizeof first[0]);
    double open, sum = 0;
    ask(p, x, y);
    for (int f = 0; f < channel; f++)
        (void)walk(p, f, before[f], &open);
    int start = p->n;
    memcpy(first, p->probs, (size_t)g->max_set * sizeof first[0]);
    for (int v = 0; v < 256; v++) {
        p->n = start;
        memcpy(p->probs, first, (size_t)g->max_set * sizeof first[0]);
        out[v] = walk(p, channel, v, &open);
        if (is_cut && open < 1.0 / 512) out[v] = 0;
        sum += out[v];
    }
    for (int v = 0; v < 256; v++)
        out[v] /= sum;
    mem_free(first);
}

uint64_t eng_rig_seen(struct eng *e, int device) {
    struct eng_stats s;
    eng_device_stats(e, device, &s);
    return s.pictures;
}

void eng_rig_wait(struct eng_job *j) {
    while (eng_job_state(j) < ENG_DONE)
        (void)eng_job_wait(j, UINT32_MAX, UINT64_MAX);
}
