/* grammar.c - compiling the legal texts of an answer into tries of tokens.
 *
 * The texts of a field end with what stands behind the number ("31," or "31]"). So no text is the
 * beginning of another, and every leaf is a value. The texts are tokenized one by one, without the
 * dummy space unless the answer begins with its number. Whole answers are tokenized, too, to check
 * that they are spelled field by field. The lead is what a whole answer has in front of its fields.
 *
 * Built in this order: tries (children as linked lists), edges sorted by token, the tokens of the
 * head, column sets (equal ones shared).
 */
#include "engine/answer/grammar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"
#include "kernels/base/num.h"

enum {
    TEXT_TOKENS = 16, /* of a number and what stands behind it */
    FIELD_NODES = GRAMMAR_VALUES_MAX * TEXT_TOKENS + 1,
    NODES_MAX = GRAMMAR_FIELDS_MAX * FIELD_NODES,
    ANSWER_TOKENS = (GRAMMAR_FIELDS_MAX + 1) * TEXT_TOKENS
};

/* docs/model.md section 4.3. */
const struct grammar_spec grammar_colour = {"[", 3, {{256, ","}, {256, ","}, {256, "]"}}};
const struct grammar_spec grammar_bit = {"", 1, {{2, ""}}};
const struct grammar_spec grammar_box = {
    "{<", 4, {{101, "><"}, {101, "><"}, {101, "><"}, {101, ">}"}}};
const struct grammar_spec grammar_drive = {"[", 3, {{21, ","}, {21, ","}, {21, "]"}}};
const struct grammar_spec grammar_shoot = {"", 1, {{6, ""}}};

struct draft_node {
    int32_t token, child, sibling; /* -1: none; siblings sorted by token */
    int32_t lo, hi;                /* values below */
};
struct draft {
    struct draft_node *nodes;
    int32_t n;
    int depth;
};

static int32_t draft_new(struct draft *d, int32_t token) {
    must(d->n < NODES_MAX);
    d->nodes[d->n] = (struct draft_node){token, -1, -1, GRAMMAR_VALUES_MAX, -1};
    return d->n++;
}

/* The child of `at` that `token` leads to, kept sorted by token. */
static int32_t draft_child(struct draft *d, int32_t at, int32_t token) {
    int32_t before = -1, c = d->nodes[at].child;
    while (c >= 0 && d->nodes[c].token < token) {
        before = c;
        c = d->nodes[c].sibling;
    }
    if (c >= 0 && d->nodes[c].token == token) return c;
    int32_t fresh = draft_new(d, token);
    d->nodes[fresh].sibling = c;
    if (before < 0)
        d->nodes[at].child = fresh;
    else
        d->nodes[before].sibling = fresh;
    return fresh;
}

static void draft_value(struct draft_node *n, int32_t v) {
    if (v < n->lo) n->lo = v;
    if (v > n->hi) n->hi = v;
}

static int field_text(const struct sptok *t, const struct grammar_spec *s, int field, int v,
                      int32_t *ids, size_t *n, struct err *e) {
    char text[32];
    int len = snprintf(text, sizeof text, "%d%s", v, s->fields[field].behind);
    must(len > 0 && len < (int)sizeof text);
    /* An answer that begins with its number has the dummy space in that number's text. */
    int flags = field == 0 && s->lead[0] == 0 ? SPTOK_PREFIX : 0;
    int rc = sptok_encode(t, text, (size_t)len, flags, ids, TEXT_TOKENS, n, e);
    if (rc) return err_in(e, "answer text \"%s\"", text), rc;
    for (size_t i = 0; i < *n; i++)
        if (ids[i] == sptok_unk(t))
            return err_set(e, E_UNSUPPORTED, "the tokenizer can't spell \"%s\"", text);
    return 0;
}

static int draft_field(const struct sptok *t, const struct grammar_spec *s, int field,
                       struct draft *d, int32_t *root, struct err *e) {
    *root = draft_new(d, -1);
    for (int v = 0; v < s->fields[field].values; v++) {
        int32_t ids[TEXT_TOKENS], at = *root;
        size_t n;
        int rc = field_text(t, s, field, v, ids, &n, e);
        if (rc) return rc;
        draft_value(&d->nodes[at], v);
        for (size_t i = 0; i < n; i++) {
            at = draft_child(d, at, ids[i]);
            if (d->nodes[at].child < 0 && d->nodes[at].hi >= 0)
                return err_set(e, E_UNSUPPORTED, "the tokenizer's %d is the beginning of its %d",
                               (int)d->nodes[at].hi, v);
            draft_value(&d->nodes[at], v);
        }
        if (d->nodes[at].child >= 0)
            return err_set(e, E_UNSUPPORTED, "the tokenizer's %d begins another number", v);
        if ((int)n > d->depth) d->depth = (int)n;
    }
    return 0;
}

/* ---- is a whole answer spelled field by field? ---- */

/* An answer, tokenized as a whole and field by field. */
struct spelling {
    char text[160];
    int32_t whole[ANSWER_TOKENS], fields[ANSWER_TOKENS];
    size_t n_whole, n_fields;
};

/* The answer with the values v. */
static int grammar_spell(const struct sptok *t, const struct grammar_spec *s, const int *v,
                         struct spelling *o, struct err *e) {
    int len = snprintf(o->text, sizeof o->text, "%s", s->lead);
    o->n_fields = 0;
    for (int f = 0; f < s->n_fields; f++) {
        size_t n;
        int rc = field_text(t, s, f, v[f], o->fields + o->n_fields, &n, e);
        if (rc) return rc;
        o->n_fields += n;
        len += snprintf(o->text + len, sizeof o->text - (size_t)len, "%d%s", v[f],
                        s->fields[f].behind);
        must(len > 0 && len < (int)sizeof o->text);
    }
    return sptok_encode(t, o->text, (size_t)len, SPTOK_PREFIX, o->whole, ANSWER_TOKENS, &o->n_whole,
                        e);
}

/* Is the whole the lead of n tokens, then the fields? */
static int check_spelling(const struct spelling *o, const int32_t *lead, size_t n, struct err *e) {
    if (o->n_whole == n + o->n_fields && !memcmp(o->whole, lead, n * sizeof *lead) &&
        !memcmp(o->whole + n, o->fields, o->n_fields * sizeof *o->fields))
        return 0;
    return err_set(e, E_UNSUPPORTED,
                   "the tokenizer does not spell \"%s\" by its numbers one after the other",
                   o->text);
}

static int find_lead(const struct sptok *t, const struct grammar_spec *s, struct grammar *g,
                     struct err *e) {
    static const int zeros[GRAMMAR_FIELDS_MAX];
    struct spelling o;
    int rc = grammar_spell(t, s, zeros, &o, e);
    if (rc) return rc;
    size_t n = o.n_whole > o.n_fields ? o.n_whole - o.n_fields : 0;
    g->lead = mem_try((n + 1) * sizeof *g->lead);
    if (!g->lead) return E_NOMEM;
    memcpy(g->lead, o.whole, n * sizeof *g->lead);
    g->n_lead = (int)n;
    return check_spelling(&o, g->lead, n, e);
}

static int check_answer(const struct sptok *t, const struct grammar_spec *s,
                        const struct grammar *g, const int *v, struct err *e) {
    struct spelling o;
    int rc = grammar_spell(t, s, v, &o, e);
    return rc ? rc : check_spelling(&o, g->lead, (size_t)g->n_lead, e);
}

/* Pairs of the numbers where spellings change, in neighbouring fields; then every number once. */
static int check_answers(const struct sptok *t, const struct grammar_spec *s,
                         const struct grammar *g, struct err *e) {
    static const int edge[] = {0, 1, 9, 10, 19, 25, 26, 99, 100, 199, 200, 249, 250, 255};
    int rc = 0, n = (int)ARRAY_LEN(edge), v[GRAMMAR_FIELDS_MAX];
    for (int i = 0; !rc && i < n * n; i++) {
        const int pick[GRAMMAR_FIELDS_MAX] = {i / n, i % n, (i * 5 + i / n) % n, (i * 3 + 7) % n};
        for (int f = 0; f < s->n_fields; f++)
            v[f] = edge[pick[f]] % s->fields[f].values;
        rc = check_answer(t, s, g, v, e);
    }
    for (int i = 0; !rc && i < GRAMMAR_VALUES_MAX; i++) {
        for (int f = 0; f < s->n_fields; f++)
            v[f] = (i * (6 * f + 1) + 50 * f) % s->fields[f].values;
        rc = check_answer(t, s, g, v, e);
    }
    return rc;
}

/* ---- laying out ---- */

static int has_choice(const struct grammar_node *n) { return n->edges > 1; }

static void lay_out_nodes(struct grammar *g, const struct draft *d) {
    for (int32_t i = 0; i < d->n; i++) {
        struct grammar_node *n = &g->nodes[i];
        *n = (struct grammar_node){g->n_edges, 0, d->nodes[i].lo, d->nodes[i].hi, -1};
        for (int32_t c = d->nodes[i].child; c >= 0; c = d->nodes[c].sibling) {
            g->edges[g->n_edges++] = (struct grammar_edge){d->nodes[c].token, c};
            n->edges++;
        }
    }
    g->n_nodes = d->n;
}

static void collect_head(struct grammar *g) {
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; has_choice(&g->nodes[i]) && k < g->nodes[i].edges; k++)
            g->head_ids[n++] = g->edges[g->nodes[i].edge0 + k].token;
    if (n) qsort(g->head_ids, (size_t)n, sizeof *g->head_ids, by_int32);
    for (int i = 0; i < n; i++)
        if (g->n_head == 0 || g->head_ids[g->n_head - 1] != g->head_ids[i])
            g->head_ids[g->n_head++] = g->head_ids[i];
}

/* Columns of a node's children; appended as a new set unless an equal one is there. */
static int column_set(struct grammar *g, const struct grammar_node *n) {
    int32_t at = g->col_off[g->n_sets], *fresh = g->cols + at;
    for (int k = 0; k < n->edges; k++) {
        const int32_t *hit = bsearch(&g->edges[n->edge0 + k].token, g->head_ids, (size_t)g->n_head,
                                     sizeof *g->head_ids, by_int32);
        must(hit);
        fresh[k] = (int32_t)(hit - g->head_ids);
    }
    for (int s = 0; s < g->n_sets; s++) {
        int32_t len = g->col_off[s + 1] - g->col_off[s];
        if (len == n->edges && !memcmp(g->cols + g->col_off[s], fresh, (size_t)len * sizeof *fresh))
            return s;
    }
    g->col_off[++g->n_sets] = at + n->edges;
    if (n->edges > g->max_set) g->max_set = n->edges;
    return g->n_sets - 1;
}

static int grammar_make(struct grammar *g, const struct draft *d) {
    size_t n = (size_t)d->n;
    g->nodes = mem_try(n * sizeof *g->nodes);
    g->edges = mem_try(n * sizeof *g->edges);
    g->head_ids = mem_try(n * sizeof *g->head_ids);
    g->col_off = mem_try((n + 1) * sizeof *g->col_off);
    g->cols = mem_try(2 * n * sizeof *g->cols); /* all sets, and one being compared */
    if (!g->nodes || !g->edges || !g->head_ids || !g->col_off || !g->cols) return E_NOMEM;
    lay_out_nodes(g, d);
    collect_head(g);
    for (int i = 0; i < g->n_nodes; i++)
        if (has_choice(&g->nodes[i])) g->nodes[i].set = column_set(g, &g->nodes[i]);
    g->depth_max = d->depth;
    g->feed_max = g->n_lead + g->n_fields * d->depth;
    return 0;
}

int grammar_new(const struct sptok *t, const struct grammar_spec *s, struct grammar **out,
                struct err *e) {
    *out = NULL;
    struct grammar *g = mem_try(sizeof *g);
    struct draft d = {.nodes = mem_try(NODES_MAX * sizeof *d.nodes)};
    int rc = E_NOMEM;
    if (!g || !d.nodes) goto out;
    g->fields = mem_try((size_t)s->n_fields * sizeof *g->fields);
    if (!g->fields) goto out;
    g->n_fields = s->n_fields;
    rc = 0;
    for (int f = 0; !rc && f < s->n_fields; f++) {
        rc = draft_field(t, s, f, &d, &g->fields[f].root, e);
    }
    if (!rc) rc = find_lead(t, s, g, e);
    if (!rc) rc = check_answers(t, s, g, e);
    if (!rc) rc = grammar_make(g, &d);
out:
    mem_free(d.nodes);
    if (rc)
        grammar_free(g);
    else
        *out = g;
    return rc == E_NOMEM ? err_set(e, rc, "grammar: out of memory") : rc;
}

void grammar_free(struct grammar *g) {
    if (!g) return;
    mem_free(g->lead);
    mem_free(g->fields);
    mem_free(g->nodes);
    mem_free(g->edges);
    mem_free(g->head_ids);
    mem_free(g->col_off);
    mem_free(g->cols);
    mem_free(g);
}

/* ---- reading ---- */

static const struct grammar_edge *edge_of(const struct grammar *g, const struct grammar_node *n,
                                          int32_t token) {
    for (int k = 0; k < n->edges; k++)
        if (g->edges[n->edge0 + k].token == token) return &g->edges[n->edge0 + k];
    return NULL;
}

int grammar_read(const struct grammar *g, const int32_t *ids, int n, int32_t *sets) {
    int at = 0;
    for (; at < g->n_lead; at++) {
        if (at == n || ids[at] != g->lead[at]) return 0;
        sets[at] = -1;
    }
    for (int f = 0; f < g->n_fields; f++) {
        const struct grammar_node *node = &g->nodes[g->fields[f].root];
        while (node->edges > 0) {
            const struct grammar_edge *edge = at < n ? edge_of(g, node, ids[at]) : NULL;
            if (!edge) return 0;
            sets[at++] = node->set;
            node = &g->nodes[edge->node];
        }
    }
    return at == n;
}
