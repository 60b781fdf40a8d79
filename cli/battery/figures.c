/* figures.c - the figures of a part, out of the report of its mode. See battery.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/battery/battery.h"
#include "cli/eval/metric.h"
#include "cli/gate/boot.h"
#include "kernels/base/mem.h"

enum {
    STEPS_A_CLUSTER = 64, /* of games: as many steps in a row are drawn together */
    CLUSTERS_MIN = 8      /* of fewer pictures drawing them anew says nothing */
};

static double figure_of(const json_t *o, const char *group, const char *key) {
    return json_number_value(json_object_get(json_object_get(o, group), key));
}

static struct figure *figure_add(struct figures *to, const char *part, const char *name,
                                 uint32_t n) {
    if (to->n == BATTERY_FIGURES_MAX) return NULL;
    struct figure *f = &to->at[to->n++];
    *f = (struct figure){.n = n, .before = NAN};
    snprintf(f->part, sizeof(f->part), "%s", part);
    snprintf(f->name, sizeof(f->name), "%s", name);
    return f;
}

static void add_trivial(struct figure *f, const char *name, double value) {
    int i = 0;
    while (i < BATTERY_TRIVIALS && f->trivial[i].name)
        i++;
    if (i == BATTERY_TRIVIALS) return;
    f->trivial[i].name = name;
    f->trivial[i].value = value;
}

/* ---- intervals ---- */

/* A share of `right` of n, in per cent. */
static void set_share(struct figure *f, double right, double n) {
    f->value = n > 0 ? 100 * right / n : 0;
    f->high = 100;
    if (n <= 0) return;
    metric_wilson(right, n, &f->low, &f->high);
    f->low *= 100;
    f->high *= 100;
}

/* Items of one file are one cluster; those without a file go by their place. */
static uint64_t cluster_of(const json_t *items, size_t i) {
    const char *file = json_string_value(json_object_get(json_array_get(items, i), "file"));
    if (!file) return i / STEPS_A_CLUSTER;
    for (size_t k = 0; k < i; k++) {
        const char *other = json_string_value(json_object_get(json_array_get(items, k), "file"));
        if (other && strcmp(file, other) == 0) return k;
    }
    return i;
}

/* The number `key` of an item, or of its array `key` numbers 0 and 1: over `den`. */
static void item_sums(const json_t *item, const char *key, double *num, double *den) {
    const json_t *v = json_object_get(item, key);
    *num = json_is_array(v) ? json_number_value(json_array_get(v, 0)) : json_number_value(v);
    *den = json_is_array(v) ? json_number_value(json_array_get(v, 1)) : 1;
}

/* Sum over sum of what the items say, with pictures drawn again. The comparison of two models is
 * asked with a first one that has 0 everywhere, so the difference is the figure itself. */
static void set_drawn(struct figure *f, const json_t *items, const char *key, double scale) {
    size_t n = json_array_size(items);
    struct boot_item *at = mem_must((n + 1) * sizeof(*at));
    for (size_t i = 0; i < n; i++) {
        at[i] = (struct boot_item){.cluster = cluster_of(items, i), .den = {1, 0}};
        item_sums(json_array_get(items, i), key, &at[i].num[1], &at[i].den[1]);
    }
    struct boot_result r;
    const struct boot_how how = {.scale = scale, .higher_is_better = 1};
    boot_compare(at, (uint32_t)n, &how, &r);
    f->value = r.after;
    f->low = r.clusters < CLUSTERS_MIN ? NAN : r.low;
    f->high = r.clusters < CLUSTERS_MIN ? NAN : r.high;
    mem_free(at);
}

static double sum_of(const json_t *items, const char *key) {
    double sum = 0;
    for (size_t i = 0; i < json_array_size(items); i++)
        sum += json_number_value(json_object_get(json_array_get(items, i), key));
    return sum;
}

/* ---- the modes ---- */

/* How far stated errors are from found ones: no interval, for it is of all answers. */
static void take_calib(struct figures *to, const char *part, const char *name, const json_t *calib,
                       double scale) {
    struct figure *f = figure_add(to, part, name, 0);
    if (!f) return;
    const json_t *bins = json_object_get(calib, "bins");
    for (size_t i = 0; i < json_array_size(bins) && i < BATTERY_BINS; i++) {
        const json_t *bin = json_array_get(bins, i);
        f->n += (uint32_t)json_integer_value(json_object_get(bin, "n"));
        f->stated[i] = scale * json_number_value(json_object_get(bin, "stated"));
        f->found[i] = scale * json_number_value(json_object_get(bin, "found"));
        f->bins++;
    }
    f->value = scale * json_number_value(json_object_get(calib, "off"));
    f->low = f->high = NAN;
}

static void take_pvp(struct figures *to, const char *part, const json_t *report,
                     const json_t *items) {
    static const char *const ways[] = {"mode", "median"};
    uint32_t n = (uint32_t)json_array_size(items);
    for (size_t k = 0; k < ARRAY_LEN(ways); k++) {
        char name[32];
        snprintf(name, sizeof(name), "%s, levels", ways[k]);
        struct figure *f = figure_add(to, part, name, n);
        if (!f) return;
        set_drawn(f, items, ways[k], 1);
        add_trivial(f, "8x8 thumbnail", figure_of(report, "thumbnail_8", "mae_levels"));
        add_trivial(f, "mean colour", figure_of(report, "thumbnail_1", "mae_levels"));
    }
    take_calib(to, part, "mode, stated error off",
               json_object_get(json_object_get(report, "mode"), "calibration"), 1);
}

static void take_rec(struct figures *to, const char *part, const json_t *report,
                     const json_t *items) {
    uint32_t n = (uint32_t)json_array_size(items);
    struct figure *f = figure_add(to, part, "P@0.5", n);
    if (!f) return;
    set_share(f, sum_of(items, "hit"), n);
    add_trivial(f, "central box", figure_of(report, "all", "central_box"));
    add_trivial(f, "mean box", figure_of(report, "all", "mean_box"));
    add_trivial(f, "everything", figure_of(report, "all", "whole_picture"));
    f = figure_add(to, part, "mean IoU", n);
    if (f) set_drawn(f, items, "iou", 100);
}

static void take_seg(struct figures *to, const char *part, const json_t *report,
                     const json_t *items) {
    struct figure *f = figure_add(to, part, "cIoU", (uint32_t)json_array_size(items));
    if (!f) return;
    set_drawn(f, items, "grid", 100);
    add_trivial(f, "central box", figure_of(report, "all", "centre_grid"));
    add_trivial(f, "everything", figure_of(report, "all", "whole_grid"));
    take_calib(to, part, "mask, stated error off", json_object_get(report, "calibration"), 100);
}

static void take_vqa(struct figures *to, const char *part, const json_t *report,
                     const json_t *items) {
    uint32_t n = (uint32_t)json_array_size(items);
    struct figure *f = figure_add(to, part, "right answers", n);
    if (!f) return;
    set_share(f, sum_of(items, "score"), n);
    add_trivial(f, "commonest", figure_of(report, "all", "best_constant"));
    if (json_object_get(json_object_get(report, "all"), "chance"))
        add_trivial(f, "chance", figure_of(report, "all", "chance"));
}

static void take_game(struct figures *to, const char *part, const json_t *report,
                      const json_t *items) {
    uint32_t n = (uint32_t)json_array_size(items);
    json_t *recall = json_object_get(report, "recall");
    struct figure *f = figure_add(to, part, "same action", n);
    if (!f) return;
    set_share(f, sum_of(items, "same"), n);
    add_trivial(f, "habit", figure_of(report, "best_constant", "same_action"));
    const json_t *steering = json_object_get(json_object_get(report, "agreement"), "steering");
    if (steering && (f = figure_add(to, part, "steering off by", n)) != NULL) {
        f->value = json_number_value(steering);
        f->low = f->high = NAN;
        add_trivial(f, "habit", figure_of(report, "best_constant", "steering"));
    }
    const char *action;
    json_t *at;
    json_object_foreach(recall, action, at) {
        char name[32];
        double steps = json_number_value(json_object_get(at, "steps"));
        snprintf(name, sizeof(name), "recall of action %s", action);
        f = figure_add(to, part, name, (uint32_t)steps);
        if (f) set_share(f, json_number_value(json_object_get(at, "same")), steps);
    }
}

void figures_take(struct figures *to, const char *part, const char *mode, const json_t *report,
                  const json_t *items) {
    static const struct {
        const char *mode;
        void (*take)(struct figures *, const char *, const json_t *, const json_t *);
    } ways[] = {{"pvp", take_pvp},
                {"rec", take_rec},
                {"seg", take_seg},
                {"vqa", take_vqa},
                {"game", take_game}};
    for (size_t i = 0; i < ARRAY_LEN(ways); i++)
        if (strcmp(ways[i].mode, mode) == 0) ways[i].take(to, part, report, items);
}
