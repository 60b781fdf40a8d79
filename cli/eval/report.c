/* report.c - sums by group, and the lines that all reports have. See eval.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "cli/eval/eval.h"

static void report_add(struct eval_group *g, const double *figures, int n) {
    g->n++;
    for (int i = 0; i < n; i++)
        g->sum[i] += figures[i];
}

void eval_count(struct eval_groups *g, const char *group, const double *figures, int n) {
    report_add(&g->all, figures, n);
    if (!group) return;
    int i = 0;
    while (i < g->n && i < EVAL_GROUPS - 1 && strcmp(g->at[i].name, group) != 0)
        i++;
    if (i == g->n) {
        g->at[i].name = i < EVAL_GROUPS - 1 ? group : "other";
        g->n++;
    }
    report_add(&g->at[i], figures, n);
}

int eval_prints(const struct eval *v) { return !v->cfg->json || strcmp(v->cfg->json, "-") != 0; }

void eval_head(const struct eval *v, uint32_t n, const char *what) {
    const struct eng_info *info = eng_info(v->eng);
    json_object_set_new(v->report, "model", json_string(info->name));
    json_object_set_new(v->report, "sha256", json_string(info->digest));
    json_object_set_new(v->report, what, json_integer(n));
    json_object_set_new(v->report, "refused", json_integer(v->refused));
    if (!eval_prints(v)) return;
    printf("%s (%.1f M parameters, sha256 %.12s), %s\n", info->name, (double)info->parameters / 1e6,
           info->digest, info->backend);
    printf("%u %s, %u of them refused; %.1f a second\n\n", n, what, v->refused,
           n / ((double)v->ns / 1e9));
}

void eval_item(struct eval *v, uint32_t i, json_t *item) {
    while (json_array_size(v->items) <= i) /* items end in any order */
        json_array_append_new(v->items, json_null());
    json_array_set_new(v->items, i, item);
}

void eval_set(json_t *o, const char *key, double value) {
    json_object_set_new(o, key, json_real(round(value * 1e4) / 1e4));
}
