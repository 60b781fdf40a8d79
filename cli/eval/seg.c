/* seg.c - `lammd eval seg`: masks for sentences, cIoU (docs/model.md section 7.3).
 *
 * First the box of the sentence is asked for, by [refer]; then every place of the grid inside it.
 * Outside the mask is 0. --given-boxes takes the true box instead, --whole-grid asks every place.
 * --refine asks every place of the part around the box instead, as `refine` of /v1/segment does.
 * cIoU is the sum of intersections over the sum of unions. It is measured twice: on the grid,
 * against the true mask shrunk by nearest; and in full size, with the answer enlarged by nearest.
 * Beside it stand the whole picture, the central box (20 to 80 % of the sides) and the true box as
 * masks, and in full size the score of a perfect mask on the grid.
 */
#include <stdio.h>
#include <string.h>

#include "cli/eval/eval.h"
#include "cli/eval/metric.h"
#include "data/refs.h"
#include "kernels/base/mem.h"
#include "media/coco.h"

enum ways {
    GRID,
    FULL,
    WHOLE_GRID,
    WHOLE_FULL,
    CENTRE_GRID,
    CENTRE_FULL,
    BOX_GRID,
    BOX_FULL,
    LIMIT_FULL,
    WAYS
};
enum { BOTH, EITHER, SUMS = 2 }; /* for each way: two sums of a group */

struct sentence {
    struct eng_picture *picture; /* a reference, until the last answer */
    uint8_t box[4];              /* in hundredths */
    uint8_t is_boxed;
    struct crop crop; /* of --refine, that is asked; w 0: the whole picture is */
};
struct seg {
    struct eval *eval;
    struct refs refs;
    struct sentence *sentences;
    struct eng_point *points;      /* (grid * grid) */
    const char *size;              /* group of the thing that is being judged */
    uint8_t *seen, *truth, *other; /* (grid, grid) */
    struct eval_groups splits[WAYS], kinds[WAYS], sizes[WAYS];
    struct eval_calib calib; /* of places that were asked: stated and found share of wrong ones */
};

/* ---- asking ---- */

static int seg_ask_box(struct seg *s, uint32_t i, struct eng_job **job, struct err *e) {
    const struct eng_ask ask = {.task = ENG_REFER,
                                .pictures = &s->sentences[i].picture,
                                .n_pictures = 1,
                                .text = s->refs.at[i].sentence,
                                .urgency = ENG_ANSWER};
    return eval_submit(s->eval, &ask, job, e);
}

/* The places that are asked, of the picture or of its part. */
static struct metric_cells asked_cells(const struct seg *s, const struct sentence *q) {
    int grid = s->eval->grid;
    if (s->eval->cfg->is_whole_grid || q->crop.w) return (struct metric_cells){0, 0, grid, grid};
    return q->is_boxed ? metric_box_cells(q->box, grid) : (struct metric_cells){0};
}

/* The picture becomes its part around the box, where that helps and something is in it. */
static int seg_refine(struct seg *s, uint32_t i, struct err *e) {
    struct sentence *q = &s->sentences[i];
    const struct ref *ref = &s->refs.at[i];
    struct metric_cells c = asked_cells(s, q);
    struct eng_picture *part;
    double box[4];
    if (!q->is_boxed || c.x1 >= c.x2 || c.y1 >= c.y2) return 0;
    metric_box_pixels(q->box, ref->w, ref->h, box);
    struct crop crop;
    if (!crop_around(box, ref->w, ref->h, &crop)) return 0;
    int rc = eval_crop(s->eval, ref->file, crop, &part, e);
    if (rc) return rc;
    eng_picture_put(q->picture);
    q->picture = part;
    q->crop = crop;
    return 0;
}

static int ask_places(struct seg *s, uint32_t i, struct eng_job **job, struct err *e) {
    struct sentence *q = &s->sentences[i];
    int rc = s->eval->cfg->is_refined ? seg_refine(s, i, e) : 0;
    if (rc) return rc;
    struct metric_cells c = asked_cells(s, q);
    uint32_t n = 0;
    for (int y = c.y1; y < c.y2; y++)
        for (int x = c.x1; x < c.x2; x++)
            s->points[n++] = (struct eng_point){(uint16_t)x, (uint16_t)y};
    if (n == 0) return 0; /* nothing lies inside, or there is no box: an empty mask */
    const struct eng_ask ask = {.task = ENG_SEGMENT,
                                .pictures = &s->sentences[i].picture,
                                .n_pictures = 1,
                                .text = s->refs.at[i].sentence,
                                .points = s->points,
                                .n_points = n,
                                .urgency = ENG_MASK};
    return eval_submit(s->eval, &ask, job, e);
}

static int seg_start(void *ud, uint32_t i, int phase, struct eng_job **job, struct err *e) {
    struct seg *s = ud;
    const struct config *cfg = s->eval->cfg;
    const struct ref *ref = &s->refs.at[i];
    struct sentence *q = &s->sentences[i];
    if (phase == 1) return ask_places(s, i, job, e);
    struct eng_picture *picture;
    int w, h, rc = eval_picture(s->eval, ref->file, &picture, &w, &h, e);
    if (rc == 0) rc = refs_check_size(ref, w, h, e);
    if (rc) return rc;
    q->picture = eng_picture_get(picture);
    if (cfg->is_whole_grid) return 0;
    if (!cfg->is_given_boxes) return seg_ask_box(s, i, job, e);
    metric_box_spoken(ref->box, w, h, q->box);
    q->is_boxed = 1;
    return 0;
}

/* ---- counting ---- */

static void seg_fill(uint8_t *bits, int grid, struct metric_cells c) {
    memset(bits, 0, (size_t)grid * (size_t)grid);
    for (int y = c.y1; y < c.y2; y++)
        for (int x = c.x1; x < c.x2; x++)
            bits[y * grid + x] = 1;
}

/* Points went row by row through the box: the grid's place of number `point`. */
static size_t seg_place(uint32_t point, struct metric_cells c, int grid) {
    uint32_t width = (uint32_t)(c.x2 - c.x1);
    return (size_t)((c.y1 + (int)(point / width)) * grid + c.x1 + (int)(point % width));
}

static void seg_count(struct seg *s, const struct ref *ref, enum ways way, struct coco_overlap o) {
    const double sums[SUMS] = {(double)o.both, (double)o.either};
    eval_count(&s->splits[way], ref->split, sums, SUMS);
    eval_count(&s->kinds[way], ref->kind, sums, SUMS);
    eval_count(&s->sizes[way], s->size, sums, SUMS);
}

/* By the share of the picture that the thing has. */
static const char *seg_size_of(const struct ref *ref, const uint8_t *bits) {
    size_t all = (size_t)ref->w * (size_t)ref->h;
    double share = (double)coco_area(bits, all) / (double)all;
    return share < 0.01   ? "below 1 %"
           : share < 0.04 ? "1 to 4 %"
           : share < 0.16 ? "4 to 16 %"
                          : "16 % and more";
}

/* `small` against the truth, on the grid and in full size. */
static void count_both(struct seg *s, const struct ref *ref, const uint8_t *bits,
                       const uint8_t *small, enum ways way, struct coco_overlap got[2]) {
    int grid = s->eval->grid;
    got[0] = coco_overlap(small, s->truth, (size_t)grid * (size_t)grid);
    got[1] = coco_overlap_full(bits, ref->w, ref->h, small, grid);
    seg_count(s, ref, way, got[0]);
    seg_count(s, ref, way + 1, got[1]);
}

static int seg_save(struct seg *s, uint32_t i, const char *what, const uint8_t *bits,
                    struct err *e) {
    if (!s->eval->cfg->out) return 0;
    char name[64];
    int grid = s->eval->grid;
    uint8_t *rgb = mem_must((size_t)grid * (size_t)grid * 3);
    for (int k = 0; k < 3 * grid * grid; k++)
        rgb[k] = bits[k / 3] ? 255 : 0;
    snprintf(name, sizeof(name), "%06u.%s", i, what);
    int rc = eval_save(s->eval, name, rgb, grid, e);
    mem_free(rgb);
    return rc;
}

/* The answer of a part -> s->seen as if it were of the picture, and its overlap in full size. */
static int count_part(struct seg *s, const struct ref *ref, const uint8_t *bits, struct crop crop,
                      struct coco_overlap got[2], struct err *e) {
    int grid = s->eval->grid;
    size_t all = (size_t)ref->w * (size_t)ref->h;
    uint8_t *full = mem_try(all);
    if (!full) return err_set(e, E_NOMEM, "no memory for a mask");
    for (int y = 0; y < crop.h; y++)
        for (int x = 0; x < crop.w; x++)
            full[(size_t)(crop.y + y) * (size_t)ref->w + (size_t)(crop.x + x)] =
                s->seen[coco_nearest(y, crop.h, grid) * grid + coco_nearest(x, crop.w, grid)];
    coco_resize(full, ref->w, ref->h, s->seen, grid, grid);
    got[0] = coco_overlap(s->seen, s->truth, (size_t)grid * (size_t)grid);
    got[1] = coco_overlap(full, bits, all);
    seg_count(s, ref, GRID, got[0]);
    seg_count(s, ref, FULL, got[1]);
    mem_free(full);
    return 0;
}

/* s->seen is the answer to sentence i, and `a` the n answers that it came from: row by row of c. */
static int seg_judge(struct seg *s, uint32_t i, struct metric_cells c, const struct eng_answer *a,
                     uint32_t n, struct err *e) {
    const struct ref *ref = &s->refs.at[i];
    int grid = s->eval->grid;
    uint8_t *bits;
    int rc = refs_mask(ref, &bits, e);
    if (rc) return rc;
    struct coco_overlap got[2] = {0}, other[2];
    s->size = seg_size_of(ref, bits);
    coco_resize(bits, ref->w, ref->h, s->truth, grid, grid);
    const struct crop *part = &s->sentences[i].crop;
    for (uint32_t k = 0; k < n && !part->w; k++) { /* of a part the truth isn't on the grid */
        size_t at = seg_place(a[k].point, c, grid);
        eval_calib_add(&s->calib, 1 - (double)a[k].prob[0], s->seen[at] != s->truth[at]);
    }
    if (part->w)
        rc = count_part(s, ref, bits, *part, got, e);
    else
        count_both(s, ref, bits, s->seen, GRID, got);
    if (rc) {
        mem_free(bits);
        return rc;
    }
    seg_fill(s->other, grid, (struct metric_cells){0, 0, grid, grid});
    count_both(s, ref, bits, s->other, WHOLE_GRID, other);
    seg_fill(s->other, grid, metric_box_cells(metric_central_box, grid));
    count_both(s, ref, bits, s->other, CENTRE_GRID, other);
    seg_fill(s->other, grid, metric_pixel_cells(ref->box, ref->w, ref->h, grid));
    count_both(s, ref, bits, s->other, BOX_GRID, other);
    seg_count(s, ref, LIMIT_FULL, coco_overlap_full(bits, ref->w, ref->h, s->truth, grid));
    const uint8_t *b = s->sentences[i].box;
    json_t *item =
        json_pack("{s:s, s:s, s:[II], s:[II]}", "file", ref->file, "sentence", ref->sentence,
                  "grid", (json_int_t)got[0].both, (json_int_t)got[0].either, "full",
                  (json_int_t)got[1].both, (json_int_t)got[1].either);
    json_object_set_new(item, "size", json_string(s->size));
    if (s->sentences[i].is_boxed)
        json_object_set_new(item, "box", json_pack("[iiii]", b[0], b[1], b[2], b[3]));
    eval_item(s->eval, i, item);
    mem_free(bits);
    rc = seg_save(s, i, "seen", s->seen, e);
    return rc ? rc : seg_save(s, i, "truth", s->truth, e);
}

static int seg_done(void *ud, uint32_t i, int phase, struct eng_job *job, int *more,
                    struct err *e) {
    struct seg *s = ud;
    struct sentence *q = &s->sentences[i];
    uint32_t n = 0;
    const struct eng_answer *a = job ? eng_job_answers(job, &n) : NULL;
    if (phase == 0) {
        if (n) {
            memcpy(q->box, a->value, sizeof(q->box));
            q->is_boxed = 1;
        }
        *more = 1;
        return 0;
    }
    int grid = s->eval->grid;
    struct metric_cells c = asked_cells(s, q);
    memset(s->seen, 0, (size_t)grid * (size_t)grid);
    for (uint32_t k = 0; k < n; k++)
        s->seen[seg_place(a[k].point, c, grid)] = a[k].value[0];
    eng_picture_put(q->picture);
    q->picture = NULL;
    return seg_judge(s, i, c, a, n, e);
}

/* ---- the figures ---- */

static double ciou(const struct eval_group *g) {
    return g->sum[EITHER] > 0 ? 100 * g->sum[BOTH] / g->sum[EITHER] : 0;
}

static void seg_say(void *ud, char *to, size_t cap) {
    const struct eval_groups *g = ((struct seg *)ud)->splits;
    snprintf(to, cap, "cIoU %.2f, in full size %.2f", ciou(&g[GRID].all), ciou(&g[FULL].all));
}

/* One row: group k of every way; -1: all. */
static void seg_row(struct eval *v, const struct eval_groups *g, int k, json_t *o) {
    static const char *const words[WAYS] = {"ciou_grid",  "ciou_full",   "whole_grid",
                                            "whole_full", "centre_grid", "centre_full",
                                            "box_grid",   "box_full",    "perfect_grid_full"};
    const struct eval_group *at[WAYS];
    json_t *figures = json_object();
    for (int w = 0; w < WAYS; w++) {
        at[w] = k < 0 ? &g[w].all : &g[w].at[k];
        eval_set(figures, words[w], ciou(at[w]));
    }
    const char *name = k < 0 ? "all" : at[0]->name;
    json_object_set_new(figures, "sentences", json_integer(at[0]->n));
    json_object_set_new(o, name, figures);
    if (!eval_prints(v)) return;
    printf("  %-22.22s %7u", k < 0 ? "together" : name, at[0]->n);
    for (int w = 0; w < WAYS; w += 2)
        w < LIMIT_FULL ? printf("  %6.2f %6.2f", ciou(at[w]), ciou(at[w + 1]))
                       : printf("         %6.2f", ciou(at[w]));
    puts("");
}

static void seg_report_groups(struct eval *v, const char *what, const struct eval_groups *g) {
    if (g->n == 0) return;
    json_t *o = json_object();
    double mean[2] = {0};
    for (int i = 0; i < g->n; i++) {
        seg_row(v, g, i, o);
        for (int w = 0; w < 2; w++)
            mean[w] += ciou(&g[w].at[i]) / g->n;
    }
    json_object_set_new(v->report, what, o);
    if (strcmp(what, "splits") != 0) return;
    eval_set(v->report, "average_of_splits_grid", mean[0]);
    eval_set(v->report, "average_of_splits_full", mean[1]);
    if (eval_prints(v))
        printf("  %-22s %7s  %6.2f %6.2f\n", "average of the splits", "", mean[0], mean[1]);
}

static void seg_report(struct seg *s) {
    struct eval *v = s->eval;
    eval_head(v, s->refs.n, "sentences");
    if (eval_prints(v)) {
        printf("  %-22s %7s  %-13s  %-13s  %-13s  %-13s  %s\n", "cIoU", "",
               v->cfg->is_whole_grid    ? "whole grid"
               : v->cfg->is_refined     ? v->cfg->is_given_boxes ? "true, refined" : "own, refined"
               : v->cfg->is_given_boxes ? "in true boxes"
                                        : "in own boxes",
               "whole picture", "central box", "true box", "perfect grid");
        printf("  %-22s %7s  %6s %6s  %6s %6s  %6s %6s  %6s %6s  %13s\n", "", "n", "grid", "full",
               "grid", "full", "grid", "full", "grid", "full", "full");
    }
    seg_report_groups(v, "splits", s->splits);
    seg_report_groups(v, "kinds", s->kinds);
    seg_report_groups(v, "sizes", s->sizes);
    seg_row(v, s->splits, -1, v->report);
    eval_calib_set(v->report, "calibration", &s->calib);
    if (eval_prints(v))
        puts("\n  PAE-LaMM (7B): RefCOCO 83.93 81.63 74.37, RefCOCO+ 72.18 72.14 65.00, RefCOCOg "
             "68.05 63.55, average 72.61");
}

int eval_seg(struct eval *v, const char *path, struct err *e) {
    static const struct eval_flow flow = {seg_start, seg_done, seg_say};
    struct seg *s = mem_must(sizeof(*s));
    size_t places = (size_t)v->grid * (size_t)v->grid;
    s->eval = v;
    s->points = mem_must(places * sizeof(*s->points));
    s->seen = mem_must(3 * places);
    s->truth = s->seen + places;
    s->other = s->truth + places;
    int rc = refs_open(path, v->cfg->limit, &s->refs, e);
    s->sentences = mem_must((s->refs.n + 1) * sizeof(*s->sentences));
    if (rc == 0) rc = eval_run(v, &flow, s, s->refs.n, e);
    if (rc == 0) seg_report(s);
    for (uint32_t i = 0; i < s->refs.n; i++)
        eng_picture_put(s->sentences[i].picture);
    refs_close(&s->refs);
    mem_free(s->sentences);
    mem_free(s->points);
    mem_free(s->seen);
    mem_free(s);
    return rc;
}
