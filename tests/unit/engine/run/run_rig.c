/* run_rig.c - see run_rig.h. */
#include "tests/unit/engine/run/run_rig.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/answer/estimate.h"
#include "engine/picture/picture.h"
#include "engine/run/branch.h"
#include "kernels/base/err.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

/* Token numbers of the fake tokenizer. */
enum {
    T_BOS = 1,
    T_TEXT = 40,
    T_DIGIT = 10,
    T_COMMA = 30,
    T_CLOSE = 31,
    T_OPEN = 32,
    T_MIDDLE = 33,
    T_VALUE = 100
};

/* ---- grammars: a node for each distinct beginning of the texts ---- */

enum { NODES = 4096, SPELL = 10 };

/* The tokens of value v in a field; returns how many. */
static int spell(enum rig_grammar kind, int v, int32_t end, int32_t *ids) {
    int n = 0;
    if (kind == RIG_WHOLE) {
        ids[n++] = T_VALUE + v;
    } else if (kind == RIG_PAIRS) {
        ids[n++] = T_VALUE + (v / 16 * 7) % 16;
        ids[n++] = T_MIDDLE;
        ids[n++] = T_VALUE + 16 + (v % 16 * 5) % 16;
    } else if (kind == RIG_DEEP) {
        for (int bit = 7; bit >= 0; bit--)
            ids[n++] = T_DIGIT + (v >> bit) % 2;
    } else {
        if (v >= 100) ids[n++] = T_DIGIT + v / 100;
        if (v >= 10) ids[n++] = T_DIGIT + v / 10 % 10;
        ids[n++] = T_DIGIT + v % 10;
    }
    ids[n++] = end;
    return n;
}

struct draft {
    int32_t token[NODES], up[NODES], lo[NODES], hi[NODES];
    int n;
};

static int child(struct draft *d, int up, int32_t token) {
    for (int i = 0; i < d->n; i++)
        if (d->up[i] == up && d->token[i] == token) return i;
    d->up[d->n] = up;
    d->token[d->n] = token;
    d->lo[d->n] = 1000;
    d->hi[d->n] = -1;
    return d->n++;
}

static void draft_field(struct draft *d, enum rig_grammar kind, int32_t end) {
    int root = child(d, -1 - d->n, -1);
    for (int v = 0; v < 256; v++) {
        int32_t ids[SPELL];
        int n = spell(kind, v, end, ids), at = root;
        for (int k = 0; k <= n; k++) {
            if (v < d->lo[at]) d->lo[at] = v;
            if (v > d->hi[at]) d->hi[at] = v;
            if (k < n) at = child(d, at, ids[k]);
        }
    }
}

static int by_token(const void *a, const void *b) {
    const struct grammar_edge *x = a, *y = b;
    return (x->token > y->token) - (x->token < y->token);
}

static int add_set(struct grammar *g, const struct grammar_node *n) {
    int s = g->n_sets++, at = g->col_off[s];
    for (int i = 0; i < n->edges; i++) {
        int32_t token = g->edges[n->edge0 + i].token;
        int c = 0;
        while (c < g->n_head && g->head_ids[c] != token)
            c++;
        if (c == g->n_head) g->head_ids[g->n_head++] = token;
        g->cols[at + i] = c;
    }
    g->col_off[s + 1] = at + n->edges;
    if (n->edges > g->max_set) g->max_set = n->edges;
    return s;
}

static int depth_below(const struct grammar *g, int32_t node) {
    int most = 0;
    for (int i = 0; i < g->nodes[node].edges; i++) {
        int d = 1 + depth_below(g, g->edges[g->nodes[node].edge0 + i].node);
        if (d > most) most = d;
    }
    return most;
}

static void make_grammar(struct grammar *g, enum rig_grammar kind) {
    struct draft *d = mem_must(sizeof *d);
    int roots[3];
    for (int f = 0; f < 3; f++) {
        roots[f] = d->n;
        draft_field(d, kind, f < 2 ? T_COMMA : T_CLOSE);
    }
    *g = (struct grammar){.n_lead = 1, .n_fields = 3, .n_nodes = d->n};
    g->lead = mem_must(sizeof(int32_t));
    g->lead[0] = T_OPEN;
    g->fields = mem_must(3 * sizeof g->fields[0]);
    g->nodes = mem_must((size_t)d->n * sizeof g->nodes[0]);
    g->edges = mem_must((size_t)d->n * sizeof g->edges[0]);
    g->head_ids = mem_must((size_t)d->n * sizeof g->head_ids[0]);
    g->col_off = mem_must(((size_t)d->n + 1) * sizeof g->col_off[0]);
    g->cols = mem_must((size_t)d->n * sizeof g->cols[0]);
    for (int f = 0; f < 3; f++)
        g->fields[f] = (struct grammar_field){roots[f]};
    for (int i = 0; i < d->n; i++) {
        struct grammar_node *n = &g->nodes[i];
        *n = (struct grammar_node){g->n_edges, 0, d->lo[i], d->hi[i], -1};
        for (int k = 0; k < d->n; k++)
            if (d->up[k] == i)
                g->edges[n->edge0 + n->edges++] = (struct grammar_edge){d->token[k], k};
        qsort(&g->edges[n->edge0], (size_t)n->edges, sizeof g->edges[0], by_token);
        g->n_edges += n->edges;
        if (n->edges > 1) n->set = add_set(g, n);
    }
    g->depth_max = depth_below(g, roots[0]);
    g->feed_max = 1 + 3 * g->depth_max;
    mem_free(d);
}

/* ---- prompts ---- */

static int number(int v, int32_t *ids) {
    int n = 0;
    if (v >= 10) ids[n++] = T_DIGIT + v / 10;
    ids[n++] = T_DIGIT + v % 10;
    return n;
}

static int by_text(const void *a, const void *b, void *texts) {
    const struct tree_text *t = texts;
    return tree_compare(&t[*(const int32_t *)a], &t[*(const int32_t *)b]);
}

static const int32_t STEM[] = {T_BOS, T_TEXT, -1, T_TEXT + 1, T_TEXT + 2};

static void make_questions(struct rig *r) {
    enum { PLACES = RIG_GRID * RIG_GRID, TEXT = 8 };
    r->texts = mem_must(PLACES * sizeof r->texts[0]);
    r->order = mem_must(PLACES * sizeof r->order[0]);
    r->text_ids = mem_must(PLACES * TEXT * sizeof r->text_ids[0]);
    for (int i = 0; i < PLACES; i++) {
        int32_t *ids = r->text_ids + i * TEXT;
        int n = number(i / RIG_GRID, ids);
        ids[n++] = T_COMMA;
        n += number(i % RIG_GRID, ids + n);
        ids[n++] = T_CLOSE;
        ids[n++] = T_TEXT + 3;
        r->texts[i] = (struct tree_text){ids, n};
        r->order[i] = i;
    }
    qsort_r(r->order, PLACES, sizeof r->order[0], by_text, r->texts);
    r->questions =
        (struct questions){.kind = KIND_COLOUR,
                           .grid = RIG_GRID,
                           .n_texts = PLACES,
                           .n_order = PLACES,
                           .texts = r->texts,
                           .order = r->order,
                           .stem_ids = STEM,
                           .n_stem_ids = (int32_t)ARRAY_LEN(STEM),
                           .image_tokens = RIG_IMAGE_TOKENS,
                           .stem_tokens = (int32_t)ARRAY_LEN(STEM) - 1 + RIG_IMAGE_TOKENS,
                           .answer_max = r->g.feed_max,
                           .explore_max = lane_explore_max(&r->g),
                           .fields = r->g.n_fields};
}

/* No tokenizer, no text: the sets are the grammar's own. */
static void make_kinds(struct rig *r) {
    r->kinds = (struct kinds){.head_ids = r->g.head_ids,
                              .n_head = r->g.n_head,
                              .n_text = 1,
                              .col_off = r->g.col_off,
                              .cols = r->g.cols,
                              .n_number_sets = r->g.n_sets,
                              .text_set = r->g.n_sets,
                              .max_number_set = r->g.max_set};
    for (int k = 0; k < KIND_NUMBERS; k++)
        r->kinds.g[k] = &r->g, r->kinds.error_scale[k] = 1;
}

void rig_open(struct rig *r, enum rig_grammar kind, const struct rig_sizes *z) {
    *r = (struct rig){.kind = kind};
    make_grammar(&r->g, kind);
    make_questions(r);
    make_kinds(r);
    kv_init(&r->kv, z->range_slots, z->single_slots, stem_parts_max(SCHED_RUNNING, z->cached));
    stem_init(&r->stems, &r->kv, SCHED_RUNNING, z->cached);
    feats_init(&r->entries, 4);
    lane_init(&r->lanes, &r->kinds, &r->kv, z->lanes, LANE_CHOICE_MAX + 1);
    batch_init(&r->batch, z->rows, 8 + r->g.feed_max, SCHED_RUNNING, &r->kinds, NULL, NULL);
    sched_init(&r->sched, &r->kv, &r->stems, &r->lanes, 1);
    r->slots = mem_must((size_t)(z->range_slots + z->single_slots) * sizeof r->slots[0]);
}

void rig_close(struct rig *r) {
    batch_clear(&r->batch);
    lane_clear(&r->lanes);
    feats_clear(&r->entries);
    stem_clear(&r->stems);
    kv_clear(&r->kv);
    void *all[] = {r->slots,   r->texts,   r->order,      r->text_ids,  r->g.lead, r->g.fields,
                   r->g.nodes, r->g.edges, r->g.head_ids, r->g.col_off, r->g.cols};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        mem_free(all[i]);
}

/* ---- the fake network ---- */

static uint64_t fold(uint64_t context, int32_t token, int32_t pos) {
    uint64_t x = context * 0x9e3779b97f4a7c15u + (uint64_t)(uint32_t)token * 0xbf58476d1ce4e5b9u +
                 (uint64_t)(uint32_t)pos + 1;
    x ^= x >> 31;
    return x * 0x94d049bb133111ebu ^ x >> 29;
}

/* Logits between 0 and 10: most children fall below the bound, some do not. RIG_DEEP's differ by
 * less, so that none does. */
static void pick(const struct rig *r, uint64_t context, int32_t set, int32_t *best, float *probs) {
    const struct grammar *g = &r->g;
    double scale = r->kind == RIG_DEEP ? 655360.0 : 6553.6;
    int n = g->col_off[set + 1] - g->col_off[set];
    double logit[256], sum = 0;
    *best = 0;
    for (int i = 0; i < n; i++) {
        int32_t token = g->head_ids[g->cols[g->col_off[set] + i]];
        logit[i] = (double)(fold(context, token, -7) >> 20 & 0xffff) / scale;
        if (logit[i] > logit[*best]) *best = i;
        sum += exp(logit[i]);
    }
    for (int i = 0; i < n && probs; i++)
        probs[i] = (float)(exp(logit[i]) / sum);
}

/* Token j of a picture has no id. Its picture and j stand for it. */
static int32_t identity(const struct rig *r, int32_t src) {
    if (src >= 0) return src;
    int32_t feat = ~src / RIG_IMAGE_TOKENS, j = ~src % RIG_IMAGE_TOKENS;
    return -1 - (r->feats[feat] * RIG_IMAGE_TOKENS + j);
}

struct context {
    uint64_t value;
    int32_t keys;
};

static void see_key(const struct rig *r, struct context *c, int32_t slot) {
    CHECK_EQ(r->slots[slot].pos, c->keys); /* in order, none left out, none stale */
    c->value = fold(c->value, r->slots[slot].token, c->keys++);
}

static uint64_t context_of(const struct rig *r, const struct kern_attn_group *g, int32_t row) {
    const struct model_pass *p = &r->batch.rows.pass;
    struct context c = {0, 0};
    for (int32_t s = g->span0; s < g->span0 + g->spans; s++)
        for (int32_t i = 0; i < p->spans[s].len; i++)
            see_key(r, &c, p->spans[s].slot + i);
    if (g->own_slot >= 0)
        for (int32_t i = 0; i <= row - g->row0; i++)
            see_key(r, &c, g->own_slot + i);
    else
        for (int32_t i = p->tail_off[row]; i < p->tail_off[row + 1]; i++)
            see_key(r, &c, p->tail[i]);
    CHECK_EQ(c.keys, p->pos[row] + 1);
    return c.value;
}

static void rig_run(struct rig *r) {
    const struct model_pass *p = &r->batch.rows.pass;
    static uint64_t context[4096];
    CHECK(p->rows > 0 && p->rows <= r->batch.rows.max && p->rows <= 4096);
    for (int32_t i = 0; i < p->rows; i++) {
        r->slots[p->slot[i]].token = identity(r, p->src[i]);
        r->slots[p->slot[i]].pos = p->pos[i];
    }
    int32_t row = 0;
    for (int32_t k = 0; k < p->n_groups; k++) {
        const struct kern_attn_group *g = &p->groups[k];
        CHECK_EQ(g->row0, row);
        CHECK(g->rows > 0);
        for (; row < g->row0 + g->rows; row++) {
            if (g->own_slot >= 0) CHECK_EQ(p->tail_off[row], p->tail_off[row + 1]);
            context[row] = context_of(r, g, row);
        }
    }
    CHECK_EQ(row, p->rows);
    CHECK_EQ(p->n_pick_groups, p->picks > 0);
    for (int32_t i = 0; i < p->picks; i++) {
        const struct model_pick_group *g = &p->pick_groups[0];
        float *probs = g->probs ? g->probs + (size_t)i * (size_t)g->ldp : NULL;
        pick(r, context[p->pick_row[i]], p->pick_set[i], &p->best[i], probs);
    }
    r->passes++;
    r->rows += (uint64_t)p->rows;
    if (p->rows > r->most_rows) r->most_rows = p->rows;
}

/* ---- turns ---- */

struct eng_picture *rig_picture(int n) {
    uint8_t rgb[3] = {(uint8_t)n, (uint8_t)n, (uint8_t)n};
    const struct picture_sizes sizes = {1, 1};
    struct eng_picture *i;
    CHECK_EQ(picture_new(&sizes, rgb, 1, 1, &i, NULL), 0);
    return i;
}

void rig_all_points(struct eng_point *points) {
    for (int i = 0; i < RIG_GRID * RIG_GRID; i++) {
        int k = i * 37 % (RIG_GRID * RIG_GRID);
        points[i] = (struct eng_point){(uint16_t)(k % RIG_GRID), (uint16_t)(k / RIG_GRID)};
    }
}

struct eng_job *rig_job(struct rig *r, const struct eng_ask *ask) {
    struct eng_job *j;
    CHECK_EQ(job_new(ask, &r->questions, 0, job_arena(), &j, NULL), 0);
    return j;
}

struct eng_job *rig_submit(struct rig *r, const struct eng_ask *ask) {
    struct eng_job *j = rig_job(r, ask);
    sched_add(&r->sched, j);
    return j;
}

/* One picture a turn. */
static void rig_see(struct rig *r) {
    for (int is_act = 1; is_act >= 0; is_act--) {
        struct eng_job *job = sched_next_picture(&r->sched, is_act);
        if (!job) continue;
        struct stem_part *part = stem_next_picture(job->stem);
        int is_filled;
        int32_t feat =
            feats_take(&r->entries, &r->stems, part->owner, NULL, part->digest, &is_filled);
        if (feat < 0) return;
        part->feat = feat;
        r->feats[feat] = picture_rgb(job->pictures[0])[0];
        r->seen += (uint64_t)!is_filled;
        sched_saw(&r->sched, job, !is_filled);
        return;
    }
}

int rig_turn(struct rig *r, uint64_t now_ns) {
    sched_reap(&r->sched, now_ns);
    sched_admit(&r->sched);
    rig_see(r);
    batch_begin(&r->batch);
    sched_fill(&r->sched, &r->batch);
    int has_rows = r->batch.rows_left < r->batch.rows.max;
    CHECK(has_rows || r->sched.n_running == 0);
    if (has_rows) {
        batch_build(&r->batch, &r->lanes);
        rig_run(r);
        batch_end(&r->batch);
        sched_advance(&r->sched, &r->batch);
    }
    sched_announce(&r->sched);
    return has_rows;
}

void rig_finish(struct rig *r) {
    for (int turns = 0; !sched_is_idle(&r->sched); turns++) {
        CHECK(turns < 100000);
        rig_turn(r, 1);
    }
}

void rig_check_empty(struct rig *r) {
    CHECK_EQ(kv_used(&r->kv), stem_cached_slots(&r->stems));
    CHECK_EQ(r->kv.promised, 0);
    CHECK_EQ(r->lanes.n_busy, 0);
    CHECK_EQ(r->sched.n_running, 0);
    CHECK_EQ(r->sched.left, r->sched.done + r->sched.failed + r->sched.cancelled);
}

/* ---- the same from the prompt alone ---- */

struct alone {
    uint64_t context;
    int32_t keys;
};

static void alone_feed(struct alone *a, int32_t token) {
    a->context = fold(a->context, token, a->keys++);
}

/* A channel worked out alone: what was left out of it, and which nodes had to be fed for it. */
struct channel {
    const struct rig *r;
    double p[256];
    int greedy;
    uint8_t fed[NODES];
    int n_fed;
};

/* Probabilities of all values below a node, an open child below the bound left out; the likeliest
 * child of a greedy node stays in. No limit on how many are held: see RIG_DEEP's test for that. */
static void alone_tree(struct channel *ch, struct alone a, int32_t node, double p, int is_greedy) {
    const struct grammar *g = &ch->r->g;
    const struct grammar_node *n = &g->nodes[node];
    float probs[256] = {1};
    int32_t best = 0;
    if (n->edges > 1) pick(ch->r, a.context, n->set, &best, probs);
    for (int i = 0; i < n->edges; i++) {
        const struct grammar_edge *e = &g->edges[n->edge0 + i];
        const struct grammar_node *c = &g->nodes[e->node];
        int child_greedy = is_greedy && i == best;
        double q = n->edges > 1 ? p * (double)probs[i] : p;
        if (c->value_lo == c->value_hi) {
            ch->p[c->value_lo] = q;
            if (child_greedy) ch->greedy = c->value_lo;
        } else if (q >= 1.0 / 512 || child_greedy) {
            struct alone next = a;
            alone_feed(&next, e->token);
            ch->fed[e->node] = 1;
            ch->n_fed++;
            alone_tree(ch, next, e->node, q, child_greedy);
        }
    }
}

/* The value's text joins the context; returns its tokens that were not fed while exploring. */
static int alone_say(struct channel *ch, struct alone *a, int field, int v, int is_exploring) {
    const struct grammar *g = &ch->r->g;
    int32_t ids[SPELL], node = g->fields[field].root;
    int n = spell(ch->r->kind, v, field < 2 ? T_COMMA : T_CLOSE, ids), rows = 0;
    for (int i = 0; i < n; i++) {
        const struct grammar_edge *e = &g->edges[g->nodes[node].edge0];
        while (e->token != ids[i])
            e++;
        node = e->node;
        int is_open = g->nodes[node].value_lo != g->nodes[node].value_hi;
        if (is_exploring)
            rows += field < 2 && !ch->fed[node];
        else
            rows += field < 2 || is_open;
        alone_feed(a, ids[i]);
    }
    return rows;
}

int rig_answer(const struct rig *r, int picture, int x, int y, enum eng_estimate estimate,
               int distribution, struct eng_answer *out) {
    struct alone a = {0, 0};
    const struct questions *f = &r->questions;
    int is_exploring = distribution || estimate != ENG_MODE, rows = 1;
    for (int i = 0; i < f->n_stem_ids; i++)
        for (int j = 0; j < (f->stem_ids[i] < 0 ? RIG_IMAGE_TOKENS : 1); j++)
            alone_feed(&a,
                       f->stem_ids[i] < 0 ? -1 - (picture * RIG_IMAGE_TOKENS + j) : f->stem_ids[i]);
    const struct tree_text *t = &f->texts[y * RIG_GRID + x];
    for (int i = 0; i < t->n; i++)
        alone_feed(&a, t->ids[i]);
    alone_feed(&a, T_OPEN);
    *out = (struct eng_answer){0};
    for (int field = 0; field < 3; field++) {
        struct channel ch = {.r = r};
        double sum = 0;
        alone_tree(&ch, a, r->g.fields[field].root, 1.0, 1);
        for (int i = 0; i < 256; i++)
            sum += ch.p[i];
        for (int i = 0; i < 256; i++)
            ch.p[i] /= sum;
        int v = ch.greedy;
        if (estimate == ENG_MEDIAN) v = estimate_median(ch.p);
        if (estimate == ENG_MEAN) v = estimate_mean(ch.p);
        out->rgb[field] = (uint8_t)v;
        if (is_exploring) {
            out->prob[field] = (float)ch.p[v];
            out->entropy[field] = (float)estimate_entropy(ch.p);
            out->mean_abs[field] = (float)estimate_mean_abs(ch.p, v);
            rows += ch.n_fed;
        }
        rows += alone_say(&ch, &a, field, v, is_exploring);
    }
    return rows;
}

void rig_check_job(const struct rig *r, const struct eng_job *j, int picture,
                   const struct eng_ask *ask) {
    uint32_t n;
    const struct eng_answer *a = eng_job_answers(j, &n);
    CHECK_EQ(eng_job_state(j), ENG_DONE);
    CHECK_EQ(n, ask->n_points);
    uint8_t *seen = mem_must(n);
    for (uint32_t i = 0; i < n; i++) {
        struct eng_answer want;
        CHECK(a[i].point < n && !seen[a[i].point]++);
        const struct eng_point *at = &ask->points[a[i].point];
        rig_answer(r, picture, at->x, at->y, ask->estimate, ask->distribution, &want);
        want.point = a[i].point;
        for (int c = 0; c < 3; c++) {
            CHECK_EQ(a[i].rgb[c], want.rgb[c]);
            CHECK(a[i].prob[c] == want.prob[c]);
            CHECK(a[i].entropy[c] == want.entropy[c]);
            CHECK(a[i].mean_abs[c] == want.mean_abs[c]);
        }
    }
    mem_free(seen);
}
