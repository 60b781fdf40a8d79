/* rec.c - `lammd eval rec`: boxes for sentences, P@0.5 (docs/model.md section 7.2).
 *
 * The prompt is the engine's own, `[refer] give me the location of {sentence}`. The answer is a box
 * in hundredths of the sides. It hits when its IoU with the true box is over a half. The score is
 * hits over sentences, by split as in the paper's table, whose average is the mean of the splits.
 * Baselines: the whole picture, the mean box (the mean of the true boxes, in hundredths), and the
 * central box, from 20 to 80 % of both sides.
 */
#include <stdio.h>
#include <string.h>

#include "cli/eval/eval.h"
#include "cli/eval/metric.h"
#include "data/refs.h"
#include "kernels/base/mem.h"

enum { HIT, WHOLE, MEAN, CENTRE, IOU, SUMS };

struct rec {
    struct eval *eval;
    struct refs refs;
    uint8_t mean[4]; /* the mean box, in hundredths */
    struct eval_groups splits, kinds;
};

static int rec_start(void *ud, uint32_t i, int phase, struct eng_job **job, struct err *e) {
    struct rec *r = ud;
    const struct ref *ref = &r->refs.at[i];
    struct eng_picture *picture;
    int w, h, rc = eval_picture(r->eval, ref->file, &picture, &w, &h, e);
    (void)phase;
    if (rc == 0) rc = refs_check_size(ref, w, h, e);
    if (rc) return rc;
    const struct eng_ask ask = {.task = ENG_REFER,
                                .pictures = &picture,
                                .n_pictures = 1,
                                .text = ref->sentence,
                                .urgency = ENG_ANSWER};
    return eval_submit(r->eval, &ask, job, e);
}

static int rec_done(void *ud, uint32_t i, int phase, struct eng_job *job, int *more,
                    struct err *e) {
    struct rec *r = ud;
    const struct ref *ref = &r->refs.at[i];
    double figures[SUMS] = {0}, box[4] = {0};
    uint32_t n = 0;
    (void)phase, (void)more, (void)e;
    const struct eng_answer *a = job ? eng_job_answers(job, &n) : NULL;
    json_t *item = json_pack("{s:s, s:s}", "file", ref->file, "sentence", ref->sentence);
    if (n) {
        metric_box_pixels(a->value, ref->w, ref->h, box);
        figures[HIT] = metric_hit(box, ref->box);
        figures[IOU] = metric_iou(box, ref->box);
        json_object_set_new(
            item, "box", json_pack("[iiii]", a->value[0], a->value[1], a->value[2], a->value[3]));
    }
    json_object_set_new(item, "hit", json_integer((int)figures[HIT]));
    eval_set(item, "iou", figures[IOU]);
    eval_item(r->eval, i, item);
    figures[WHOLE] = metric_hit((double[4]){0, 0, ref->w, ref->h}, ref->box);
    metric_box_pixels(r->mean, ref->w, ref->h, box);
    figures[MEAN] = metric_hit(box, ref->box);
    metric_box_pixels(metric_central_box, ref->w, ref->h, box);
    figures[CENTRE] = metric_hit(box, ref->box);
    eval_count(&r->splits, ref->split, figures, SUMS);
    eval_count(&r->kinds, ref->kind, figures, SUMS);
    return 0;
}

static void rec_say(void *ud, char *to, size_t cap) {
    const struct eval_group *g = &((struct rec *)ud)->splits.all;
    snprintf(to, cap, "P@0.5 %.2f", 100 * g->sum[HIT] / g->n);
}

static void find_mean(struct rec *r) {
    double sum[4] = {0};
    for (uint32_t i = 0; i < r->refs.n; i++)
        for (int k = 0; k < 4; k++)
            sum[k] += 100 * r->refs.at[i].box[k] / (k % 2 ? r->refs.at[i].h : r->refs.at[i].w);
    for (int k = 0; k < 4; k++)
        sum[k] = sum[k] / r->refs.n + 0.5;
    metric_box_spoken(sum, 100, 100, r->mean);
}

static void rec_line(const char *name, const struct eval_group *g, json_t *o) {
    json_t *figures = json_object();
    static const char *const words[SUMS] = {"p_at_05", "whole_picture", "mean_box", "central_box",
                                            "mean_iou"};
    for (int k = 0; k < SUMS; k++)
        eval_set(figures, words[k], (k == IOU ? 1 : 100) * g->sum[k] / g->n);
    json_object_set_new(figures, "sentences", json_integer(g->n));
    json_object_set_new(o, name, figures);
}

static void rec_print(const char *name, const struct eval_group *g) {
    printf("  %-22.22s %8u %8.2f %14.2f %10.2f %12.2f %9.3f\n", name, g->n,
           100 * g->sum[HIT] / g->n, 100 * g->sum[WHOLE] / g->n, 100 * g->sum[MEAN] / g->n,
           100 * g->sum[CENTRE] / g->n, g->sum[IOU] / g->n);
}

static void rec_report_groups(struct eval *v, const char *what, const struct eval_groups *g) {
    if (g->n == 0) return;
    json_t *o = json_object();
    double mean = 0;
    for (int i = 0; i < g->n; i++) {
        rec_line(g->at[i].name, &g->at[i], o);
        mean += 100 * g->at[i].sum[HIT] / g->at[i].n / g->n;
        if (eval_prints(v)) rec_print(g->at[i].name, &g->at[i]);
    }
    json_object_set_new(v->report, what, o);
    if (strcmp(what, "splits") != 0) return;
    eval_set(v->report, "average_of_splits", mean);
    if (eval_prints(v)) printf("  %-22s %8s %8.2f\n", "average of the splits", "", mean);
}

static void rec_report(struct rec *r) {
    struct eval *v = r->eval;
    eval_head(v, r->refs.n, "sentences");
    if (eval_prints(v))
        printf("  %-22s %8s %8s %14s %10s %12s %9s\n", "", "n", "P@0.5", "whole picture",
               "mean box", "central box", "mean IoU");
    rec_report_groups(v, "splits", &r->splits);
    rec_report_groups(v, "kinds", &r->kinds);
    rec_line("all", &r->splits.all, v->report);
    if (!eval_prints(v)) return;
    rec_print("together", &r->splits.all);
    puts(
        "\n  PAE-LaMM (7B): RefCOCO 88.55 91.1 86.2, RefCOCO+ 83.3 87.30 78.7, RefCOCOg 85.2 86.6, "
        "average 85.87");
}

int eval_rec(struct eval *v, const char *path, struct err *e) {
    static const struct eval_flow flow = {rec_start, rec_done, rec_say};
    struct rec *r = mem_must(sizeof(*r));
    r->eval = v;
    int rc = refs_open(path, v->cfg->limit, &r->refs, e);
    if (rc == 0) find_mean(r);
    if (rc == 0) rc = eval_run(v, &flow, r, r->refs.n, e);
    if (rc == 0) rec_report(r);
    refs_close(&r->refs);
    mem_free(r);
    return rc;
}
