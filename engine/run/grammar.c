/* grammar.c - compiling "[r,g,b]" into tries of tokens.
 *
 * A field's texts end with their separator ("31," or "31]"), so no text is the beginning of another
 * and every leaf is a value. The texts are encoded one by one, without the dummy space; that this is
 * how they come out inside a whole answer is checked on whole answers, not assumed.
 *
 * Built in order: tries (children as linked lists), then edges laid out sorted by token, then the
 * head's tokens, then the column sets, equal ones shared.
 */
#include "engine/run/grammar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"

enum { LEVELS = 256, FIELDS = 3, TEXT_TOKENS = 16, NODES_MAX = 3 * LEVELS * TEXT_TOKENS + FIELDS };

struct draft_node {
    int32_t token, child, sibling; /* -1: none; siblings in falling or rising order of arrival */
    int32_t lo, hi;
};
struct draft {
    struct draft_node *nodes;
    int32_t n;
    int depth;
};

static int32_t draft_new(struct draft *d, int32_t token) {
    must(d->n < NODES_MAX);
    d->nodes[d->n] = (struct draft_node){token, -1, -1, LEVELS, -1};
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

static int field_text(const struct sptok *t, int field, int v, int32_t *ids, size_t *n,
                      struct err *e) {
    char text[8];
    int len = snprintf(text, sizeof text, "%d%c", v, field + 1 < FIELDS ? ',' : ']');
    int rc = sptok_encode(t, text, (size_t)len, 0, ids, TEXT_TOKENS, n, e);
    if (rc) return err_in(e, "answer text \"%s\"", text);
    for (size_t i = 0; i < *n; i++)
        if (ids[i] == sptok_unk(t))
            return err_set(e, E_UNSUPPORTED, "the tokenizer can't spell \"%s\"", text);
    return 0;
}

static int draft_field(const struct sptok *t, int field, struct draft *d, int32_t *root,
                       struct err *e) {
    *root = draft_new(d, -1);
    for (int v = 0; v < LEVELS; v++) {
        int32_t ids[TEXT_TOKENS], at = *root;
        size_t n;
        int rc = field_text(t, field, v, ids, &n, e);
        if (rc) return rc;
        draft_value(&d->nodes[at], v);
        for (size_t i = 0; i < n; i++) {
            at = draft_child(d, at, ids[i]);
            if (d->nodes[at].child < 0 && d->nodes[at].hi >= 0)
                return err_set(e, E_UNSUPPORTED, "the tokenizer spells %d and %d alike", v,
                               (int)d->nodes[at].hi);
            draft_value(&d->nodes[at], v);
        }
        if (d->nodes[at].child >= 0)
            return err_set(e, E_UNSUPPORTED, "the tokenizer's %d begins another number", v);
        if ((int)n > d->depth) d->depth = (int)n;
    }
    return 0;
}

/* ---- is it compositional? ---- */

static int check_answer(const struct sptok *t, const struct grammar *g, const int *rgb,
                        struct err *e) {
    char text[32];
    int32_t whole[4 * TEXT_TOKENS], parts[4 * TEXT_TOKENS];
    size_t n_whole, n_parts = (size_t)g->n_lead;
    int len = snprintf(text, sizeof text, "[%d,%d,%d]", rgb[0], rgb[1], rgb[2]);
    int rc = sptok_encode(t, text, (size_t)len, SPTOK_PREFIX, whole, ARRAY_LEN(whole), &n_whole, e);
    memcpy(parts, g->lead, n_parts * sizeof *parts);
    for (int f = 0; !rc && f < FIELDS; f++) {
        size_t n;
        rc = field_text(t, f, rgb[f], parts + n_parts, &n, e);
        n_parts += n;
    }
    if (rc) return rc;
    if (n_whole != n_parts || memcmp(whole, parts, n_parts * sizeof *parts))
        return err_set(e, E_UNSUPPORTED,
                       "the tokenizer does not spell \"%s\" by its numbers one after the other",
                       text);
    return 0;
}

static int check_answers(const struct sptok *t, const struct grammar *g, struct err *e) {
    static const int edge[] = {0, 1, 9, 10, 19, 25, 26, 99, 100, 199, 200, 249, 250, 255};
    int rc = 0, n = (int)ARRAY_LEN(edge);
    for (int i = 0; !rc && i < n * n; i++) {
        const int rgb[FIELDS] = {edge[i / n], edge[i % n], edge[(i * 5 + i / n) % n]};
        rc = check_answer(t, g, rgb, e);
    }
    for (int v = 0; !rc && v < LEVELS; v++) {
        const int rgb[FIELDS] = {v, (v * 7 + 3) % LEVELS, (v * 13 + 100) % LEVELS};
        rc = check_answer(t, g, rgb, e);
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

static int by_id(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static void collect_head(struct grammar *g) {
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; has_choice(&g->nodes[i]) && k < g->nodes[i].edges; k++)
            g->head_ids[n++] = g->edges[g->nodes[i].edge0 + k].token;
    if (n) qsort(g->head_ids, (size_t)n, sizeof *g->head_ids, by_id);
    for (int i = 0; i < n; i++)
        if (g->n_head == 0 || g->head_ids[g->n_head - 1] != g->head_ids[i])
            g->head_ids[g->n_head++] = g->head_ids[i];
}

/* Columns of a node's children; appended as a new set unless an equal one is there. */
static int column_set(struct grammar *g, const struct grammar_node *n) {
    int32_t at = g->col_off[g->n_sets], *fresh = g->cols + at;
    for (int k = 0; k < n->edges; k++) {
        const int32_t *hit = bsearch(&g->edges[n->edge0 + k].token, g->head_ids, (size_t)g->n_head,
                                     sizeof *g->head_ids, by_id);
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
    g->feed_max = g->n_lead + FIELDS * d->depth;
    return 0;
}

int grammar_colour(const struct sptok *t, struct grammar **out, struct err *e) {
    *out = NULL;
    struct grammar *g = mem_try(sizeof *g);
    struct draft d = {.nodes = mem_try(NODES_MAX * sizeof *d.nodes)};
    size_t n_lead = 0;
    int rc = E_NOMEM;
    if (!g || !d.nodes) goto out;
    g->lead = mem_try(TEXT_TOKENS * sizeof *g->lead);
    g->fields = mem_try(FIELDS * sizeof *g->fields);
    g->n_fields = FIELDS;
    if (!g->lead || !g->fields) goto out;
    rc = sptok_encode(t, "[", 1, SPTOK_PREFIX, g->lead, TEXT_TOKENS, &n_lead, e);
    g->n_lead = (int)n_lead;
    for (int f = 0; !rc && f < FIELDS; f++) {
        g->fields[f].values = LEVELS;
        rc = draft_field(t, f, &d, &g->fields[f].root, e);
    }
    if (!rc) rc = check_answers(t, g, e);
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
