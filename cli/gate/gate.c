/* gate.c - see gate.h. Which questions are asked, and what comes of their scores. */
#include "cli/gate/gate.h"

#include <stdlib.h>
#include <string.h>

#include "cli/gate/ask.h"
#include "data/files.h"
#include "kernels/base/rng.h"

const char *const gate_decision_words[] = {"not_decided", "worse", "not_worse", "better", NULL};

/* Levels of 255; shares in points of 100. Half a level is what seeds alone make (docs/training.md).
 */
const struct gate_metric gate_metrics[SAMPLE_TASKS] = {
    [SAMPLE_PIXELS] = {"mae_levels", 0, 1, 0.5}, [SAMPLE_MASK] = {"ciou", 1, 100, 1},
    [SAMPLE_REFER] = {"p_at_05", 1, 100, 1},     [SAMPLE_IDENTIFY] = {"word_f1", 1, 100, 1},
    [SAMPLE_CAPTION] = {"word_f1", 1, 100, 1},   [SAMPLE_GROUNDING] = {"box_f1", 1, 100, 1},
    [SAMPLE_DETECTION] = {"box_f1", 1, 100, 1},  [SAMPLE_VQA] = {"word_f1", 1, 100, 1},
    [SAMPLE_CHAT] = {"word_f1", 1, 100, 1},      [SAMPLE_DRIVE] = {"same_action", 1, 100, 1},
    [SAMPLE_SHOOT] = {"same_action", 1, 100, 1}};

enum { LINES_MAX = 64 << 20 };
#define ALPHA 0.025 /* one-sided: 95 % on both sides */

struct gate {
    const struct gate_options *o;
    struct gate_item *items; /* by part and task */
    uint32_t n, cap;
    uint32_t first[GATE_PARTS][SAMPLE_TASKS + 1]; /* of items */
    uint32_t available[GATE_PARTS][SAMPLE_TASKS];
};

/* ---- which questions ---- */

static struct gate_item *gate_add(struct gate *g) {
    if (g->n == g->cap) {
        uint32_t cap = g->cap ? 2 * g->cap : 1024;
        struct gate_item *items = mem_must(cap * sizeof(*items));
        if (g->n) memcpy(items, g->items, g->n * sizeof(*items));
        mem_free(g->items);
        g->items = items;
        g->cap = cap;
    }
    return &g->items[g->n++];
}

static int gate_by_order(const void *a, const void *b) {
    const struct gate_item *x = a, *y = b;
    if (x->pick.order != y->pick.order) return x->pick.order < y->pick.order ? -1 : 1;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    if (x->pick.line != y->pick.line) return x->pick.line < y->pick.line ? -1 : 1;
    return (x->pick.part > y->pick.part) - (x->pick.part < y->pick.part);
}

/* Questions about one picture one after the other, so that it is looked at once. */
static int gate_by_place(const void *a, const void *b) {
    const struct gate_item *x = a, *y = b;
    if (x->scores.cluster != y->scores.cluster)
        return x->scores.cluster < y->scores.cluster ? -1 : 1;
    return gate_by_order(a, b);
}

/* The questions of one task in all data: those with the lowest digests. */
static int collect_task(struct gate *g, enum sample_task task, struct err *e) {
    uint32_t first = g->first[GATE_DATA][task] = g->n;
    uint32_t most = g->o->most ? g->o->most : GATE_MOST;
    for (int i = 0; i < g->o->n_data; i++) {
        const struct gate_data *d = &g->o->data[i];
        struct exam_pick *picks = NULL;
        uint32_t n = 0;
        if (!(d->tasks >> task & 1)) continue;
        int rc = exam_list(d->source, task, d->held, &picks, &n, e);
        if (rc) return rc;
        for (uint32_t k = 0; k < n; k++)
            *gate_add(g) =
                (struct gate_item){.part = GATE_DATA,
                                   .task = task,
                                   .data = i,
                                   .pick = picks[k],
                                   .scores.cluster = rng_u64(picks[k].unit, (uint64_t)i)};
        mem_free(picks);
    }
    uint32_t n = g->n - first;
    g->available[GATE_DATA][task] = n;
    if (n) qsort(g->items + first, n, sizeof(*g->items), gate_by_order);
    if (n > most) g->n = first + (n = most);
    if (n) qsort(g->items + first, n, sizeof(*g->items), gate_by_place);
    return 0;
}

static int collect_battery(struct gate *g, const struct battery *b, enum sample_task task,
                           struct err *e) {
    uint32_t n = battery_count(task);
    g->first[GATE_BATTERY][task] = g->n;
    g->available[GATE_BATTERY][task] = n;
    for (uint32_t i = 0; i < n; i++) {
        struct exam_item x;
        struct gate_item *it = gate_add(g);
        *it = (struct gate_item){.part = GATE_BATTERY,
                                 .task = task,
                                 .pick = {.order = rng_u64(BATTERY_SEED, i), .line = i}};
        int rc = battery_read(b, task, i, &it->scores.cluster, &x, e);
        exam_clear(&x);
        if (rc) return rc;
    }
    return 0;
}

static int collect(struct gate *g, const struct battery *b, struct err *e) {
    int rc = 0;
    for (int t = 0; rc == 0 && t < SAMPLE_TASKS; t++)
        rc = collect_task(g, (enum sample_task)t, e);
    g->first[GATE_DATA][SAMPLE_TASKS] = g->n;
    for (int t = 0; rc == 0 && t < SAMPLE_TASKS; t++)
        rc = collect_battery(g, b, (enum sample_task)t, e);
    g->first[GATE_BATTERY][SAMPLE_TASKS] = g->n;
    return rc;
}

/* ---- rows ---- */

/* Is the base better than an answer without looking, surely? */
static void compare_chance(const struct gate_item *items, uint32_t n, struct boot_item *scores,
                           const struct boot_how *how, struct gate_row *row) {
    struct boot_result r;
    for (uint32_t i = 0; i < n; i++)
        scores[i] = (struct boot_item){items[i].scores.cluster,
                                       {items[i].guess[0], items[i].scores.num[0]},
                                       {items[i].guess[1], items[i].scores.den[0]}};
    boot_compare(scores, n, how, &r);
    row->chance = r.before;
    row->at_chance = how->higher_is_better ? r.low <= 0 : r.high >= 0;
}

static void compare_task(const struct gate *g, enum gate_part part, enum sample_task task,
                         struct gate_report *out) {
    const struct gate_metric *m = &gate_metrics[task];
    const struct boot_how how = {m->scale, m->higher_is_better, m->tolerance};
    uint32_t first = g->first[part][task], n = g->first[part][task + 1] - first;
    if (!n) return;
    struct gate_row *row = &out->rows[part][out->n[part]++];
    struct boot_item *scores = mem_must(n * sizeof(*scores));
    *row = (struct gate_row){.task = task, .available = g->available[part][task]};
    for (uint32_t i = 0; i < n; i++)
        scores[i] = g->items[first + i].scores;
    boot_compare(scores, n, &how, &row->result);
    if (part == GATE_BATTERY) compare_chance(g->items + first, n, scores, &how, row);
    mem_free(scores);
    if (part == GATE_DATA) out->items += n;
}

static int may_decide(const struct gate_row *r) {
    return r->result.clusters >= GATE_PICTURES_MIN && !r->at_chance;
}

/* By Holm over the rows of a part. */
static void decide_rows(struct gate_row *rows, int n) {
    double worse[SAMPLE_TASKS] = {0}, better[SAMPLE_TASKS] = {0};
    int at[SAMPLE_TASKS], is_worse[SAMPLE_TASKS], is_better[SAMPLE_TASKS], some = 0;
    for (int i = 0; i < n; i++) {
        rows[i].decision = GATE_NOT_DECIDED;
        if (!may_decide(&rows[i])) continue;
        worse[some] = rows[i].result.p_worse;
        better[some] = rows[i].result.p_better;
        at[some++] = i;
    }
    boot_holm(worse, some, ALPHA, is_worse);
    boot_holm(better, some, ALPHA, is_better);
    for (int k = 0; k < some; k++)
        rows[at[k]].decision = is_worse[k]    ? GATE_WORSE
                               : is_better[k] ? GATE_BETTER
                                              : GATE_NOT_WORSE;
}

/* The first row of that decision, the data's before the battery's; NULL: none. */
static const struct gate_row *gate_find_row(const struct gate_report *r, enum gate_decision d,
                                            int parts, int *part) {
    for (*part = 0; *part < parts; ++*part)
        for (int i = 0; i < r->n[*part]; i++)
            if (r->rows[*part][i].decision == d) return &r->rows[*part][i];
    return NULL;
}

static void say_row(const struct gate_row *row, int part, const char *what, struct gate_report *r) {
    snprintf(r->why, sizeof(r->why), "%s%s is %s: %s was %.2f and is %.2f (95 %%: %+.2f to %+.2f)",
             part == GATE_BATTERY ? "the battery's " : "", sample_task_words[row->task], what,
             gate_metrics[row->task].name, row->result.before, row->result.after, row->result.low,
             row->result.high);
}

void gate_decide(struct gate_report *r) {
    int part;
    for (part = 0; part < GATE_PARTS; part++)
        decide_rows(r->rows[part], r->n[part]);
    const struct gate_row *worse = gate_find_row(r, GATE_WORSE, GATE_PARTS, &part);
    int worse_part = part;
    const struct gate_row *better = gate_find_row(r, GATE_BETTER, 1, &part);
    const struct gate_row *fine = gate_find_row(r, GATE_NOT_WORSE, 1, &part);
    r->decision = GATE_NOT_DECIDED;
    if (r->items < GATE_ITEMS_MIN) {
        snprintf(r->why, sizeof(r->why),
                 "%u questions were kept apart to judge by; %d are needed%s", r->items,
                 GATE_ITEMS_MIN, worse ? ". Some of what it could before is worse" : "");
    } else if (worse) {
        r->decision = GATE_WORSE;
        say_row(worse, worse_part, "worse", r);
    } else if (better) {
        r->decision = GATE_BETTER;
        say_row(better, GATE_DATA, "better", r);
    } else if (fine) {
        r->decision = GATE_NOT_WORSE;
        snprintf(r->why, sizeof(r->why), "no difference is sure at 95 %%");
    } else {
        snprintf(r->why, sizeof(r->why),
                 "no task has questions about %d pictures that were kept apart", GATE_PICTURES_MIN);
    }
}

/* ---- all of it ---- */

static int write_items(const struct gate *g, struct err *e) {
    struct buf b;
    if (!g->o->items) return 0;
    buf_init(&b, LINES_MAX);
    for (uint32_t i = 0; i < g->n; i++) {
        const struct gate_item *it = &g->items[i];
        const struct boot_item *s = &it->scores;
        buf_printf(&b,
                   "{\"part\":\"%s\",\"task\":\"%s\",\"line\":%u,\"cluster\":\"%016llx\","
                   "\"num\":[%.9g,%.9g],\"den\":[%.9g,%.9g],\"guess\":[%.9g,%.9g]}\n",
                   it->part == GATE_DATA ? "data" : "battery", sample_task_words[it->task],
                   it->pick.line, (unsigned long long)s->cluster, s->num[0], s->num[1], s->den[0],
                   s->den[1], it->guess[0], it->guess[1]);
    }
    int rc = b.bad ? err_set(e, b.bad, "no memory for %s", g->o->items)
                   : file_write(g->o->items, b.p, b.len, e);
    buf_clear(&b);
    return rc;
}

static void note_basis(const struct gate_options *o, const struct models *m,
                       struct gate_basis *by) {
    const char *base = eng_info(m->eval[0].eng)->digest;
    const char *result =
        m->adapter ? eng_adapter_info(m->adapter)->digest : eng_info(m->eval[1].eng)->digest;
    by->is_adapter = m->adapter != NULL;
    snprintf(by->base, sizeof(by->base), "%s", base);
    snprintf(by->result, sizeof(by->result), "%s", result);
    for (by->n_data = 0; by->n_data < o->n_data; by->n_data++) {
        const struct gate_data *d = &o->data[by->n_data];
        snprintf(by->data[by->n_data].digest, sizeof(by->data[0].digest), "%s",
                 source_report(d->source)->digest);
        by->data[by->n_data].held = (double)d->held;
    }
}

static int gate_ask(struct gate *g, const struct battery *b, struct gate_report *out,
                    struct err *e) {
    struct asking a = {.o = g->o, .battery = b, .items = g->items, .n = g->n};
    int rc = models_open(g->o->cfg, g->o->base, g->o->adapter, g->o->against, &a.models, e);
    if (rc) return rc;
    note_basis(g->o, &a.models, &out->by);
    rc = ask_all(&a, e);
    out->refused = a.models.eval[0].refused + a.models.eval[1].refused;
    models_close(&a.models);
    return rc;
}

int gate_run(const struct gate_options *o, struct gate_report *out, struct err *e) {
    struct gate g = {.o = o};
    struct battery *b = battery_open();
    *out = (struct gate_report){0};
    int rc = collect(&g, b, e);
    if (rc == 0) rc = gate_ask(&g, b, out, e);
    if (rc == 0) rc = write_items(&g, e);
    for (int part = 0; rc == 0 && part < GATE_PARTS; part++)
        for (int t = 0; t < SAMPLE_TASKS; t++)
            compare_task(&g, (enum gate_part)part, (enum sample_task)t, out);
    if (rc == 0) gate_decide(out);
    mem_free(g.items);
    battery_close(b);
    return rc;
}
