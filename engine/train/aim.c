/* aim.c - what talks want of the rows: tokens, boxes, and where to look.
 *
 * A token of an answer is wanted at the row before it. Several talks may share that row: then the
 * weights are added up, and each token has its share. A number may be wanted softly: its share is
 * spread over its neighbours, as a normal density at whole numbers, in whole.
 *
 * All sums are taken by ascending row, token and talk. So nothing depends on how the talks were
 * given, but the order of talks that are equal.
 */
#include <math.h>
#include <stdlib.h>

#include "engine/train/internal.h"
#include "engine/train/legal.h"
#include "engine/train/losses/teach.h"

static int aim_no_room(struct err *e) { return err_set(e, E_NOMEM, "no memory for a sample"); }

int aim_init(struct aims *a, struct arena *mem, const struct talk *talks, uint32_t n,
             struct err *e) {
    size_t tokens = 0;
    for (uint32_t i = 0; i < n; i++)
        for (int32_t k = 0; k < talks[i].n_answers; k++)
            tokens += (size_t)talks[i].answers[k].n;
    *a = (struct aims){.wants = arena_take(mem, tokens * sizeof *a->wants),
                       .holds = arena_take(mem, n * sizeof *a->holds),
                       .boxes = arena_take(mem, n * sizeof *a->boxes)};
    return a->wants && a->holds && a->boxes ? 0 : aim_no_room(e);
}

/* ---- while the trie grows ---- */

/* The answer is a box when it has four numbers of 0..100, spelled as boxes are. */
static void add_box(struct aims *a, const struct train *t, const struct trie *trie,
                    const struct talk *talk, uint32_t i) {
    enum { EDGES = 4 };
    const struct talk_answer *at = &talk->answers[0];
    const struct train_numbers *numbers = &t->numbers;
    struct aim_box box = {.talk = (int32_t)i};
    int n = 0;
    for (int32_t k = at->at; k < at->at + at->n; k++) {
        int value = numbers->value[talk->ids[k]];
        if (value < 0) continue;
        if (n == EDGES || value > TRAIN_BOX_MOST) return;
        if (numbers->family[talk->ids[k]] != (n < EDGES - 1 ? numbers->box : numbers->box_end))
            return;
        box.node[n] = trie->path[k - 1];
        box.value[n++] = value;
    }
    int is_box = n == EDGES && box.value[0] <= box.value[2] && box.value[1] <= box.value[3];
    if (is_box && talk->n_answers == 1) a->boxes[a->n_boxes++] = box;
}

static int add_hold(struct aims *a, struct arena *mem, const struct trie *trie,
                    const struct talk *talk, const uint8_t *hold, uint32_t i, struct err *e) {
    int32_t n = 0, at = 0, first = talk->answers[0].at;
    int32_t *nodes = arena_take(mem, ((size_t)first + 1) * sizeof *nodes);
    if (!nodes) return aim_no_room(e);
    for (int32_t k = 0; k < first; k++)
        if (talk->ids[k] < 0 && hold[at++]) nodes[n++] = trie->path[k];
    if (at && !n) nodes[n++] = trie->path[0]; /* it isn't there: the prompt's first token */
    if (n) a->holds[a->n_holds++] = (struct aim_hold){trie->path[first - 1], (int32_t)i, nodes, n};
    return 0;
}

/* Its tokens, but those that are forced. `want`: whose they are. */
static int add_answer(struct aims *a, struct arena *mem, const struct train *t,
                      const struct trie *trie, const struct talk *talk,
                      const struct talk_answer *at, struct mix_want want, struct err *e) {
    int32_t *sets = arena_take(mem, (size_t)at->n * sizeof *sets);
    if (!sets) return aim_no_room(e);
    legal_read(t, (enum sample_task)want.task, talk->ids + at->at, at->n, sets);
    for (int32_t k = 0; k < at->n; k++) {
        if (sets[k] == LEGAL_FORCED) continue;
        want.pick = trie->path[at->at + k - 1];
        want.token = talk->ids[at->at + k];
        want.set = sets[k];
        a->wants[a->n_wants++] = want;
    }
    return 0;
}

int aim_add(struct aims *a, struct arena *mem, const struct train *t, const struct trie *trie,
            const struct sample *s, const struct talk *talk, uint32_t i, struct err *e) {
    const struct sample_talk *from = &s->talks[i];
    struct mix_want want = {.talk = (int32_t)i,
                            .task = (int32_t)from->task,
                            .weight = from->weight,
                            .teach = from->is_taught ? 1 : t->o.teach[from->task]};
    for (int32_t k = 0; k < talk->n_answers; k++) {
        int rc = add_answer(a, mem, t, trie, talk, &talk->answers[k], want, e);
        if (rc) return rc;
    }
    int has_box_loss = t->o.box_l1 > 0 || t->o.box_giou > 0;
    if (has_box_loss && from->task == SAMPLE_REFER && !from->is_taught)
        add_box(a, t, trie, talk, i);
    if (!from->hold || !(t->o.hold > 0) || !t->o.hold_heads) return 0;
    if (t->o.hold_tasks && !(t->o.hold_tasks >> from->task & 1)) return 0;
    return add_hold(a, mem, trie, talk, from->hold, i, e);
}

/* ---- picks ---- */

static int by_place(const void *a, const void *b) {
    const struct mix_want *x = a, *y = b;
    if (x->pick != y->pick) return x->pick < y->pick ? -1 : 1;
    if (x->token != y->token) return x->token < y->token ? -1 : 1;
    return (x->talk > y->talk) - (x->talk < y->talk);
}

/* Rows in place of nodes, in order, then picks in place of rows. Where two wants are of different
 * sets any token may stand. */
static int lay_picks(struct aims *a, struct mix *x, struct arena *mem, const struct train *t,
                     const struct trie *trie, struct err *e) {
    size_t n = (size_t)a->n_wants;
    for (size_t i = 0; i < n; i++)
        a->wants[i].pick = trie->row[a->wants[i].pick];
    qsort(a->wants, n, sizeof *a->wants, by_place);
    x->wants = a->wants;
    x->n_wants = a->n_wants;
    x->pick_row = arena_take(mem, n * sizeof *x->pick_row);
    x->pick_sum = arena_take(mem, n * sizeof *x->pick_sum);
    x->weight = arena_take(mem, n * sizeof *x->weight);
    x->legal = arena_take(mem, n * sizeof *x->legal);
    if (!x->pick_row || !x->pick_sum || !x->weight || !x->legal) return aim_no_room(e);
    for (size_t i = 0; i < n; i++) {
        int32_t row = a->wants[i].pick, set = a->wants[i].set;
        if (!x->picks || x->pick_row[x->picks - 1] != row) {
            x->legal[x->picks] = set;
            x->pick_row[x->picks++] = row;
        }
        if (x->legal[x->picks - 1] != set) x->legal[x->picks - 1] = t->legal->any;
        a->wants[i].pick = x->picks - 1;
        x->pick_sum[x->picks - 1] += (double)a->wants[i].weight;
    }
    for (int i = 0; i < x->picks; i++)
        x->weight[i] = (float)x->pick_sum[i];
    return 0;
}

static int pick_of(const struct mix *x, int32_t row) {
    int lo = 0, hi = x->picks - 1;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (x->pick_row[mid] < row)
            lo = mid + 1;
        else
            hi = mid;
    }
    must(x->picks && x->pick_row[lo] == row);
    return lo;
}

/* ---- targets ---- */

/* How many numbers answers of a task are about; 0: they have no soft ones. */
static int aim_numbers(int task) {
    switch (task) {
    case SAMPLE_PIXELS: return 256;
    case SAMPLE_REFER:
    case SAMPLE_GROUNDING:
    case SAMPLE_DETECTION: return 101;
    case SAMPLE_DRIVE: return 21;
    default: return 0;
    }
}

/* Tokens of the numbers around `value`, and their shares, which sum to 1. */
enum { BELL_MOST = TRAIN_NUMBERS };
static int bell(const struct train_family *f, int value, int numbers, double soft, int32_t *token,
                double *share) {
    const double ends = 4; /* deviations: less than a hundredth of a percent lies behind */
    int n = 0;
    double sum = 0;
    for (int c = 0; c < numbers; c++) {
        double d = (c - value) / soft;
        if (fabs(d) > ends) continue;
        token[n] = f->token[c];
        share[n] = exp(-d * d / 2);
        sum += share[n++];
    }
    for (int i = 0; i < n; i++)
        share[i] /= sum;
    return n;
}

static int are_legal(const struct train *t, int32_t set, const int32_t *token, int n) {
    int all = 1;
    for (int i = 0; i < n; i++)
        all &= legal_has(t, set, token[i]);
    return all;
}

/* Tokens that a want falls on. */
static int spread_want(const struct train *t, const struct mix_want *w, int32_t *token,
                       double *share) {
    double soft = (double)t->o.soft[w->task];
    int numbers = aim_numbers(w->task), value = t->numbers.value[w->token];
    if (soft > 0 && value >= 0 && value < numbers) {
        const struct train_family *f = &t->numbers.families[t->numbers.family[w->token]];
        int n = f->n >= numbers ? bell(f, value, numbers, soft, token, share) : 0;
        if (n && are_legal(t, w->set, token, n)) return n;
    }
    token[0] = w->token;
    share[0] = 1;
    return 1;
}

struct aim_part {
    int32_t token;
    double part;
};

static int by_token(const void *a, const void *b) {
    const struct aim_part *x = a, *y = b;
    return (x->token > y->token) - (x->token < y->token);
}

/* The targets of one pick: `n` parts, which come in a fixed order, added up by token. Few come
 * twice, so they are looked for. */
static void lay_pick(struct mix *x, int pick, struct aim_part *parts, int n) {
    int at = x->target_off[pick];
    for (int i = 0; i < n; i++) {
        x->target[at] = parts[i].token;
        x->share[at++] = (float)(parts[i].part / x->pick_sum[pick]);
    }
    x->target_off[pick + 1] = at;
}

/* What of the weight stays with the right answer; the rest is the teacher's. */
static double keep_want(struct mix *x, const struct mix_want *w) {
    double weight = (double)w->weight;
    if (!x->teach) return weight;
    double taught = weight * (double)w->teach;
    x->teach[w->pick] += taught;
    return weight - taught;
}

static int lay_targets(struct mix *x, struct arena *mem, const struct train *t, struct err *e) {
    int vocab = model_config(t->m)->text.vocab_size;
    int32_t *where = arena_take(mem, (size_t)vocab * sizeof *where); /* of a token, and one more */
    struct aim_part *parts = arena_take(mem, (size_t)vocab * sizeof *parts);
    size_t most = (size_t)x->n_wants;
    for (int i = 0; i < x->n_wants; i++)
        if (t->o.soft[x->wants[i].task] > 0 && t->numbers.value[x->wants[i].token] >= 0)
            most += BELL_MOST;
    x->target_off = arena_take(mem, ((size_t)x->picks + 1) * sizeof *x->target_off);
    x->target = arena_take(mem, most * sizeof *x->target);
    x->share = arena_take(mem, most * sizeof *x->share);
    x->teach =
        t->teach && !t->is_judging ? arena_take(mem, (size_t)x->picks * sizeof *x->teach) : NULL;
    if (!where || !parts || !x->target_off || !x->target || !x->share) return aim_no_room(e);
    if (t->teach && !t->is_judging && !x->teach) return aim_no_room(e);
    for (int i = 0; i < x->n_wants;) {
        int pick = x->wants[i].pick, n = 0;
        for (; i < x->n_wants && x->wants[i].pick == pick; i++) {
            int32_t token[BELL_MOST];
            double share[BELL_MOST];
            int tokens = spread_want(t, &x->wants[i], token, share);
            double weight = keep_want(x, &x->wants[i]);
            for (int k = 0; k < tokens; k++) {
                if (!where[token[k]]) {
                    parts[n++] = (struct aim_part){.token = token[k]};
                    where[token[k]] = n;
                }
                parts[where[token[k]] - 1].part += share[k] * weight;
            }
        }
        for (int k = 0; k < n; k++)
            where[parts[k].token] = 0;
        qsort(parts, (size_t)n, sizeof *parts, by_token);
        lay_pick(x, pick, parts, n);
    }
    return 0;
}

/* ---- boxes and holds ---- */

static int lay_boxes(const struct aims *a, struct mix *x, struct arena *mem,
                     const struct trie *trie, const struct sample *s, struct err *e) {
    size_t n = (size_t)a->n_boxes;
    if (!n) return 0;
    x->box_pick = arena_take(mem, 4 * n * sizeof *x->box_pick);
    x->box_target = arena_take(mem, 4 * n * sizeof *x->box_target);
    x->box_weight = arena_take(mem, n * sizeof *x->box_weight);
    if (!x->box_pick || !x->box_target || !x->box_weight) return aim_no_room(e);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < 4; k++) {
            x->box_pick[4 * i + k] = pick_of(x, trie->row[a->boxes[i].node[k]]);
            x->box_target[4 * i + k] = (float)a->boxes[i].value[k] / 100.0f;
        }
        x->box_weight[i] = s->talks[a->boxes[i].talk].weight;
    }
    x->boxes = (int)n;
    return 0;
}

static int by_row(const void *a, const void *b, void *row) {
    const struct aim_hold *x = a, *y = b;
    const int32_t *r = row;
    if (r[x->node] != r[y->node]) return r[x->node] < r[y->node] ? -1 : 1;
    return (x->talk > y->talk) - (x->talk < y->talk);
}

/* Slots of pictures are ascending along a path: what is above has the smaller row. */
static int is_same_hold(const struct mix *x, const struct kern_attn_hold *h,
                        const struct aim_hold *a, const int32_t *row) {
    if (h->n != a->n) return 0;
    for (int32_t i = 0; i < a->n; i++)
        if (x->hold_slots[h->at + i] != row[a->nodes[i]]) return 0;
    return 1;
}

static int lay_holds(struct aims *a, struct mix *x, struct arena *mem, const struct train *t,
                     const struct trie *trie, const struct sample *s, struct err *e) {
    size_t slots = 0, n = (size_t)a->n_holds;
    if (!n) return 0;
    qsort_r(a->holds, n, sizeof *a->holds, by_row, trie->row);
    for (size_t i = 0; i < n; i++)
        slots += (size_t)a->holds[i].n;
    x->holds = arena_take(mem, n * sizeof *x->holds);
    x->hold_slots = arena_take(mem, slots * sizeof *x->hold_slots);
    if (!x->holds || !x->hold_slots) return aim_no_room(e);
    for (size_t i = 0; i < n; i++) {
        const struct aim_hold *from = &a->holds[i];
        struct kern_attn_hold *last = x->n_holds ? &x->holds[x->n_holds - 1] : NULL;
        float weight = t->o.hold * s->talks[from->talk].weight;
        if (last && last->row == trie->row[from->node]) {
            if (!is_same_hold(x, last, from, trie->row))
                return err_set(e, E_INVALID,
                               "talk %d: another talk asks the same and holds the "
                               "attention elsewhere",
                               from->talk);
            last->weight += weight;
            continue;
        }
        x->holds[x->n_holds++] = (struct kern_attn_hold){.row = trie->row[from->node],
                                                         .heads = t->o.hold_heads,
                                                         .at = x->n_hold_slots,
                                                         .n = from->n,
                                                         .weight = weight};
        for (int32_t k = 0; k < from->n; k++)
            x->hold_slots[x->n_hold_slots++] = trie->row[from->nodes[k]];
    }
    return 0;
}

int aim_lay(struct aims *a, struct mix *x, struct arena *mem, const struct train *t,
            const struct trie *trie, const struct sample *s, struct err *e) {
    int rc = lay_picks(a, x, mem, t, trie, e);
    if (!rc) rc = lay_targets(x, mem, t, e);
    if (!rc) rc = lay_boxes(a, x, mem, trie, s, e);
    if (!rc) rc = lay_holds(a, x, mem, t, trie, s, e);
    return rc;
}
