/* lane.c - walking one answer through its grammar, or generating it.
 *
 * Invariants
 *   1. Between passes a lane has either tokens to feed or a level to explore, never both, never
 *      neither. Tokens to feed: n_feed > 0, and the last one leads to `node`, which has several
 *      children. A level to explore: n_fed < n_nodes.
 *   2. path[0 .. n_path) and the slots of nodes [0, n_fed) are the lane's. Together they never
 *      exceed job.lane_slots: the tail, answer_max and, while exploring, explore_max.
 *   3. The keys of a row are: stem, branches, path, then its own chain of nodes, root to leaf. So a
 *      node that turns out to be the chosen one can join the path without being fed again.
 *   4. Sums have a fixed order: values by number, nodes by level and edge.
 *
 * The probability of a value is the product of the picks along its only spelling. A child that is
 * settled has the whole probability of its value. It costs nothing and is never left out. So with
 * whole numbers as tokens one pick gives the distribution, and nothing is explored. With LLaMA-2's
 * digits at most 9 + 16 tokens are held: "1".."9" and "10".."25" have several children.
 */
#include "engine/run/lane.h"

#include "engine/answer/estimate.h"
#include "engine/run/branch.h"
#include "engine/run/generate.h"
#include "kernels/base/err.h"
#include "kernels/base/mem.h"
#include "kernels/base/num.h"

/* ---- start ---- */

static int is_settled(const struct grammar_node *n) { return n->value_lo == n->value_hi; }

/* Nodes below `node` that a distribution may have to feed. */
static int32_t count_open(const struct grammar *g, int32_t node) {
    const struct grammar_node *n = &g->nodes[node];
    int32_t sum = 0;
    for (int32_t i = 0; i < n->edges; i++) {
        int32_t child = g->edges[n->edge0 + i].node;
        if (!is_settled(&g->nodes[child])) sum += 1 + count_open(g, child);
    }
    return sum;
}

int32_t lane_explore_max(const struct grammar *g) {
    int32_t most = 0;
    for (int f = 0; f < g->n_fields; f++) {
        int32_t n = count_open(g, g->fields[f].root);
        if (n > most) most = n;
    }
    return most < LANE_EXPLORE_MAX ? most : LANE_EXPLORE_MAX;
}

int lane_can_walk(const struct grammar *g) {
    return g->depth_max <= LANE_DEPTH_MAX && g->n_fields > 0 && g->n_fields <= LANE_FIELDS;
}

/* Write down the edges that spell each value below `node`; stack[0 .. n) led there. */
static void lane_spell(struct lane_kind *k, int field, int32_t node, int32_t *stack, int32_t n) {
    const struct grammar_node *at = &k->g->nodes[node];
    if (at->edges == 0) {
        must(at->value_lo >= 0 && at->value_lo < LANE_VALUES);
        int32_t *off = &k->spell_off[field * LANE_VALUES + at->value_lo];
        for (int32_t i = 0; i < n; i++)
            k->spell[*off + i] = stack[i];
        return;
    }
    must(n < k->g->depth_max);
    for (int32_t i = 0; i < at->edges; i++) {
        stack[n] = at->edge0 + i;
        lane_spell(k, field, k->g->edges[stack[n]].node, stack, n + 1);
    }
}

static void kind_init(struct lane_kind *k, const struct kinds *kinds, int kind) {
    const struct grammar *g = kinds->g[kind];
    must(lane_can_walk(g)); /* so that there is always room for greedy nodes */
    *k = (struct lane_kind){.g = g,
                            .set0 = kinds->set0[kind],
                            .explore_max = lane_explore_max(g),
                            .error_scale = kinds->error_scale[kind]};
    size_t texts = (size_t)g->n_fields * LANE_VALUES, depth = (size_t)g->depth_max;
    k->spell_off = mem_must(texts * sizeof k->spell_off[0]);
    k->spell = mem_must(texts * depth * sizeof k->spell[0]);
    int32_t *stack = mem_must((depth + 1) * sizeof stack[0]);
    for (size_t i = 0; i < texts; i++)
        k->spell_off[i] = (int32_t)(i * depth);
    for (int field = 0; field < g->n_fields; field++)
        lane_spell(k, field, g->fields[field].root, stack, 0);
    mem_free(stack);
}

void lane_init(struct lanes *ls, const struct kinds *kinds, struct kv *kv, int32_t n,
               int32_t tail_max) {
    must(n > 0 && tail_max > LANE_CHOICE_MAX);
    *ls = (struct lanes){.kinds = kinds, .kv = kv, .n = n, .tail_max = tail_max};
    int32_t answer = 0;
    for (int k = 0; k < KIND_NUMBERS; k++) {
        const struct grammar *g = kinds->g[k];
        kind_init(&ls->of[k], kinds, k);
        ls->explore_max = at_least(ls->explore_max, ls->of[k].explore_max);
        answer = at_least(answer, g->feed_max + g->depth_max);
    }
    size_t most = (size_t)(tail_max + answer), lanes = (size_t)n;
    size_t nodes = (size_t)ls->explore_max;
    ls->all = mem_must(lanes * sizeof ls->all[0]);
    ls->slot_block = mem_must(lanes * most * sizeof ls->slot_block[0]);
    ls->feed_block = mem_must(lanes * most * sizeof ls->feed_block[0]);
    ls->node_block = mem_must((lanes * nodes + 1) * sizeof ls->node_block[0]);
    ls->p_block = mem_must(lanes * LANE_VALUES * sizeof ls->p_block[0]);
    ls->by_prob = mem_must((size_t)kinds->n_text * sizeof ls->by_prob[0]);
    for (size_t i = lanes; i-- > 0;) {
        struct lane *l = &ls->all[i];
        l->own_path = ls->slot_block + i * most;
        l->own_feed = ls->feed_block + i * most;
        l->nodes = ls->node_block + i * nodes;
        l->p = ls->p_block + i * LANE_VALUES;
        l->next = ls->free;
        ls->free = l;
    }
}

void lane_clear(struct lanes *ls) {
    for (int k = 0; k < KIND_NUMBERS; k++) {
        mem_free(ls->of[k].spell_off);
        mem_free(ls->of[k].spell);
    }
    mem_free(ls->all);
    mem_free(ls->slot_block);
    mem_free(ls->feed_block);
    mem_free(ls->node_block);
    mem_free(ls->p_block);
    mem_free(ls->by_prob);
    *ls = (struct lanes){0};
}

/* ---- the walk ---- */

/* From `node` on: feed what is forced, and step into the next field where a value is settled. Stops
 * at the next node with several children. 1: the last field is settled. */
static int descend(const struct grammar *g, struct lane *l) {
    for (;;) {
        const struct grammar_node *n = &g->nodes[l->node];
        if (is_settled(n)) {
            l->answer.value[l->field] = (uint8_t)n->value_lo;
            if (l->field + 1 == g->n_fields) return 1;
            for (; n->edges > 0; n = &g->nodes[g->edges[n->edge0].node])
                l->feed[l->n_feed++] = g->edges[n->edge0].token;
            l->node = g->fields[++l->field].root;
            l->depth = 0;
        } else if (n->edges == 1) {
            const struct grammar_edge *only = &g->edges[n->edge0];
            l->feed[l->n_feed++] = only->token;
            l->node = only->node;
            l->depth++;
        } else {
            return 0;
        }
    }
}

struct lane *lane_new(struct lanes *ls, struct eng_job *job, int32_t leaf) {
    struct lane *l = ls->free;
    if (!l) return NULL;
    ls->free = l->next;
    ls->n_busy++;
    struct lane kept = *l;
    struct job_text *t = job->text;
    *l = (struct lane){.job = job,
                       .leaf = leaf,
                       .own_path = kept.own_path,
                       .own_feed = kept.own_feed,
                       .path = t ? t->path : kept.own_path,
                       .feed = t ? t->feed : kept.own_feed,
                       .nodes = kept.nodes,
                       .p = kept.p};
    const struct tree_leaf *tail = &job->tree.leaves[leaf];
    must(tail->n <= ls->tail_max);
    for (int32_t i = 0; i < tail->n; i++)
        l->feed[l->n_feed++] = tail->ids[i];
    if (kind_is_text(job->questions->kind)) return l;
    l->kind = &ls->of[job->questions->kind];
    const struct grammar *g = l->kind->g;
    l->node = g->fields[0].root;
    for (int i = 0; i < g->n_lead; i++)
        l->feed[l->n_feed++] = g->lead[i];
    must(!descend(g, l)); /* every answer has a choice somewhere */
    return l;
}

static void give_nodes(struct lanes *ls, struct lane *l) {
    for (int32_t i = 0; i < l->n_fed; i++)
        if (l->nodes[i].slot >= 0) kv_give(ls->kv, l->nodes[i].slot);
    l->n_nodes = l->n_fed = 0;
}

void lane_free(struct lanes *ls, struct lane *l) {
    give_nodes(ls, l);
    while (l->n_path > 0)
        kv_give(ls->kv, l->path[--l->n_path]);
    l->job = NULL;
    l->next = ls->free;
    ls->free = l;
    ls->n_busy--;
}

/* ---- rows ---- */

int32_t lane_rows(const struct lane *l) {
    return l->n_feed > 0 ? l->n_feed : l->n_nodes - l->n_fed;
}

int32_t lane_first_rows(const struct lanes *ls, const struct eng_job *job, int32_t leaf) {
    int32_t rows = job->tree.leaves[leaf].n;
    if (kind_is_text(job->questions->kind)) return rows;
    const struct grammar *g = ls->of[job->questions->kind].g;
    const struct grammar_node *n = &g->nodes[g->fields[0].root];
    for (; n->edges == 1; n = &g->nodes[g->edges[n->edge0].node])
        rows++;
    return rows + g->n_lead;
}

int32_t lane_text_picks(const struct lane *l) {
    return l->job->questions->kind == KIND_CHOICE ? l->n_feed
                                                  : kind_is_text(l->job->questions->kind);
}

int32_t lane_first_text_picks(const struct eng_job *job, int32_t leaf) {
    if (job->questions->kind == KIND_CHOICE) return job->tree.leaves[leaf].n;
    return kind_is_text(job->questions->kind);
}

/* A pick of the lane at the latest row. */
static int32_t put_pick(const struct lane *l, struct rows *r) {
    if (!l->kind) return rows_pick_text(r);
    return rows_pick(r, l->kind->set0 + l->kind->g->nodes[l->node].set);
}

static void put_feed(struct lanes *ls, struct lane *l, struct rows *r, int32_t pos, int32_t above) {
    int is_choice = l->job->questions->kind == KIND_CHOICE;
    for (int32_t i = 0; i < l->n_feed; i++) {
        int32_t slot = kv_take(ls->kv);
        l->path[l->n_path++] = slot;
        rows_add(r, l->feed[i], pos + l->n_path - 1, slot);
        rows_keys(r, r->path, above);
        rows_keys(r, l->path, l->n_path);
        if (!is_choice && i + 1 < l->n_feed) continue;
        int32_t pick = put_pick(l, r);
        if (i == 0 || !is_choice) l->pick0 = pick;
    }
    l->n_feed = 0;
}

static void put_level(struct lanes *ls, struct lane *l, struct rows *r, int32_t pos,
                      int32_t above) {
    const struct grammar *g = l->kind->g;
    int32_t chain[LANE_EXPLORE_MAX];
    l->pick0 = r->numbers.n;
    for (; l->n_fed < l->n_nodes; l->n_fed++) {
        struct lane_node *n = &l->nodes[l->n_fed];
        n->slot = kv_take(ls->kv);
        for (int32_t i = l->n_fed; i >= 0; i = l->nodes[i].up)
            chain[l->nodes[i].depth] = l->nodes[i].slot;
        rows_add(r, n->token, pos + l->n_path + n->depth, n->slot);
        rows_keys(r, r->path, above);
        rows_keys(r, l->path, l->n_path);
        rows_keys(r, chain, n->depth + 1);
        if (g->nodes[n->node].edges > 1) rows_pick(r, l->kind->set0 + g->nodes[n->node].set);
    }
}

void lane_put(struct lanes *ls, struct lane *l, struct rows *r) {
    const struct eng_job *j = l->job;
    const struct tree_leaf *leaf = &j->tree.leaves[l->leaf];
    int32_t above = branch_slots(j, leaf->up, r->path);
    int32_t pos = j->questions->stem_tokens + leaf->depth;
    if (l->n_feed > 0)
        put_feed(ls, l, r, pos, above);
    else
        put_level(ls, l, r, pos, above);
}

/* ---- exploring a number ---- */

/* The index for one more node of the level that begins at level0, or -1. There is always room for a
 * greedy node: where not all can be held, the others leave depth_max free. */
static int32_t node_index(const struct lane *l, int32_t level0, double p, int is_greedy) {
    int32_t most = l->kind->explore_max;
    if (most == LANE_EXPLORE_MAX && !is_greedy) most -= l->kind->g->depth_max;
    if (l->n_nodes < most) return l->n_nodes;
    int32_t least = -1;
    for (int32_t i = level0; i < l->n_nodes; i++)
        if (i != l->greedy && (least < 0 || l->nodes[i].p < l->nodes[least].p)) least = i;
    must(least >= 0 || !is_greedy);
    return least >= 0 && (is_greedy || l->nodes[least].p < p) ? least : -1;
}

/* The child at the end of an edge. p: its probability, given the path. */
static void reach(struct lane *l, int32_t up, const struct grammar_edge *edge, double p,
                  int is_greedy, int32_t level0) {
    const struct grammar_node *child = &l->kind->g->nodes[edge->node];
    if (is_settled(child)) {
        l->p[child->value_lo] = p;
        if (is_greedy) l->greedy_value = child->value_lo;
        return;
    }
    if (p < LANE_BOUND && !is_greedy) return;
    int32_t i = node_index(l, level0, p, is_greedy);
    if (i < 0) return;
    l->nodes[i] = (struct lane_node){.node = edge->node,
                                     .up = up,
                                     .depth = up < 0 ? 0 : l->nodes[up].depth + 1,
                                     .token = edge->token,
                                     .slot = -1,
                                     .p = p};
    if (i == l->n_nodes) l->n_nodes++;
    if (is_greedy) l->greedy = i;
}

/* A row of probabilities; one that is no number spoils all of its row. */
static int is_sound(const float *probs) { return probs[0] >= 0; }

/* All children of a held node; up -1: of the node at the end of the path. */
static void expand(struct lane *l, int32_t up, int is_greedy, int32_t level0, const int32_t *best,
                   const float *probs) {
    const struct grammar *g = l->kind->g;
    const struct grammar_node *n = &g->nodes[up < 0 ? l->node : l->nodes[up].node];
    double p = up < 0 ? 1.0 : l->nodes[up].p;
    if (n->edges > 1 && !is_sound(probs)) {
        l->is_broken = 1;
        return;
    }
    for (int32_t i = 0; i < n->edges; i++) {
        double q = n->edges > 1 ? p * (double)probs[i] : p;
        reach(l, up, &g->edges[n->edge0 + i], q, is_greedy && (n->edges == 1 || i == *best),
              level0);
    }
}

/* One level further. */
static void explore(struct lane *l, struct rows_result r) {
    const int32_t *best = r.best;
    const float *probs = r.probs;
    int32_t level0 = l->n_fed, above = level0 - 1;
    if (l->n_nodes == 0) {
        for (int v = 0; v < LANE_VALUES; v++)
            l->p[v] = 0;
        l->greedy = -1;
        expand(l, -1, 1, 0, best, probs);
        return;
    }
    while (above > 0 && l->nodes[above - 1].depth == l->nodes[above].depth)
        above--;
    int32_t greedy = l->greedy;
    l->greedy = -1;
    for (int32_t i = above; i < level0; i++) {
        expand(l, i, i == greedy, level0, best, probs);
        if (l->kind->g->nodes[l->nodes[i].node].edges == 1) continue;
        best++;
        probs += r.ldp;
    }
}

/* ---- choosing a number from its distribution ---- */

/* -1: no value has a probability. */
static int lane_choose(struct lane *l) {
    double sum = 0;
    for (int v = 0; v < LANE_VALUES; v++)
        sum += l->p[v];
    if (!(sum > 0)) return -1;
    for (int v = 0; v < LANE_VALUES; v++)
        l->p[v] /= sum;
    int v = l->greedy_value;
    if (l->job->estimate == ENG_MEDIAN) v = estimate_median(l->p);
    if (l->job->estimate == ENG_MEAN) v = estimate_mean(l->p);
    l->answer.value[l->field] = (uint8_t)v;
    l->answer.prob[l->field] = (float)l->p[v];
    l->answer.entropy[l->field] = (float)estimate_entropy(l->p);
    l->answer.mean_abs[l->field] = (float)(l->kind->error_scale * estimate_mean_abs(l->p, v));
    return v;
}

static int32_t find_node(const struct lane *l, int32_t up, int32_t token) {
    for (int32_t i = 0; i < l->n_fed; i++)
        if (l->nodes[i].up == up && l->nodes[i].token == token) return i;
    return -1;
}

/* The tokens of the value join the path. Those that were explored keep their slots, the others are
 * fed. */
static void commit(struct lanes *ls, struct lane *l, int v) {
    const struct lane_kind *k = l->kind;
    int32_t text = l->field * LANE_VALUES + v, up = -1, node = l->node;
    for (int32_t i = k->spell_off[text] + l->depth; k->g->nodes[node].edges > 0; i++) {
        const struct grammar_edge *edge = &k->g->edges[k->spell[i]];
        int32_t held = l->n_feed == 0 ? find_node(l, up, edge->token) : -1;
        if (held >= 0) {
            l->path[l->n_path++] = l->nodes[held].slot;
            l->nodes[held].slot = -1;
            up = held;
        } else {
            l->feed[l->n_feed++] = edge->token;
        }
        node = edge->node;
    }
    give_nodes(ls, l);
}

/* One step along the grammar. 1: the last number is settled. -1: see lane_advance. */
static int lane_walk(struct lanes *ls, struct lane *l, struct rows_result r) {
    const struct grammar *g = l->kind->g;
    if (!l->job->distribution) {
        if (*r.best < 0 || *r.best >= g->nodes[l->node].edges) return -1;
        const struct grammar_edge *edge = &g->edges[g->nodes[l->node].edge0 + *r.best];
        l->feed[l->n_feed++] = edge->token;
        l->node = edge->node;
        l->depth++;
        return descend(g, l);
    }
    explore(l, r);
    if (l->is_broken) return -1;
    if (l->n_fed < l->n_nodes) return 0;
    int v = lane_choose(l);
    if (v < 0) return -1;
    if (l->field + 1 == g->n_fields) return 1;
    commit(ls, l, v);
    l->node = g->fields[++l->field].root;
    l->depth = 0;
    return descend(g, l);
}

int lane_advance(struct lanes *ls, struct lane *l, const struct rows *rows) {
    struct rows_result r = rows_result(rows, l->kind == NULL, l->pick0);
    if (l->kind) return lane_walk(ls, l, r);
    if (l->job->questions->kind == KIND_CHOICE) {
        const struct tree_leaf *tail = &l->job->tree.leaves[l->leaf];
        for (int32_t i = 0; i < tail->n; i++)
            if (!is_sound(r.probs + (size_t)i * (size_t)r.ldp)) return -1;
        l->answer.logprob = generate_score(ls->kinds, tail->ids + 1, tail->n - 1, r);
        return 1;
    }
    if (!is_sound(r.probs)) return -1;
    int32_t token = generate_next(ls->kinds, l->job, r, ls->by_prob);
    if (token < 0) return 1;
    l->feed[l->n_feed++] = token;
    return 0;
}
