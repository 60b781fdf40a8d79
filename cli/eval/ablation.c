/* ablation.c - `lammd eval ablation [RUN]`: what recipes/ablation.ini made, as the paper's tables.
 *
 * RUN/recipe.ini says everything: the models are its stages, by name, and the exams are its data
 * that are judged by and never learnt. Each model that a table has a row for is asked by the other
 * modes. Each row is compared with another one of its table, as the paper's row is with the
 * paper's: the arrow says whether the figure rises or falls. A figure that is a share of n
 * questions differs from another when they are two standard errors apart, as if each question were
 * a coin; "~" says that they are not.
 *
 * What the paper's figures were measured on is not here, so only arrows can be held against it.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/eval/eval.h"
#include "cli/train/recipe.h"
#include "kernels/base/mem.h"

enum figure { RE, REC, VQA, CIOU, IN_BOXES, CAR, STEERING, SPACE, FIGURES };

static const struct exam {
    const char *key, *mode;
    enum sample_task task;               /* the exam is the data that is judged by it */
    const char *file;                    /* in that folder; "": the folder */
    const char *group, *value, *counted; /* of the mode's report */
    const char *trivial_group, *trivial_value, *trivial; /* an answer without looking */
    int is_share, is_given_boxes;
} exams[FIGURES] = {
    [RE] = {"re", "pvp", SAMPLE_PIXELS, "", "mode", "mae_levels", "pictures", "thumbnail_1",
            "mae_levels", "the mean colour", 0, 0},
    [REC] = {"rec", "rec", SAMPLE_REFER, "", "all", "p_at_05", "sentences", "all", "mean_box",
             "the mean box", 1, 0},
    [VQA] = {"vqa", "vqa", SAMPLE_REFER, "/gqa.json", "all", "accuracy", "questions", "all",
             "best_constant", "the best constant", 1, 0},
    [CIOU] = {"ciou", "seg", SAMPLE_MASK, "", "all", "ciou_grid", "sentences", "all", "whole_grid",
              "the whole picture", 1, 0},
    [IN_BOXES] = {"ciou_given_boxes", "seg", SAMPLE_MASK, "", "all", "ciou_grid", "sentences",
                  "all", "box_grid", "the true box", 1, 1},
    [CAR] = {"car", "game", SAMPLE_DRIVE, "", "agreement", "same_action", "steps", "best_constant",
             "same_action", "the best constant", 1, 0},
    [STEERING] = {"car_steering", "game", SAMPLE_DRIVE, "", "agreement", "steering", "steps",
                  "best_constant", "steering", "the median", 0, 0},
    [SPACE] = {"space", "game", SAMPLE_SHOOT, "", "agreement", "same_action", "steps",
               "best_constant", "same_action", "the best constant", 1, 0},
};

/* ---- the tables ---- */

enum { COLUMNS = 3, ROWS = 4, NONE = -1 };

static const struct table {
    int number;
    const char *title;
    int columns;
    struct {
        enum figure figure;
        const char *name, *paper; /* paper: what its figure is; NULL: it has none */
    } column[COLUMNS];
    int rows;
    struct {
        const char *label, *stage;
        double paper[COLUMNS]; /* NAN: it has none */
        int against;           /* the row that it is compared with; NONE: with none */
    } row[ROWS];
} tables[] = {
    {2,
     "adapting the tower, behind stage 2",
     3,
     {{RE, "RE, levels", "RE"}, {REC, "REC, P@0.5", "REC"}, {VQA, "VQA", "GQA"}},
     2,
     {{"frozen", "frozen-see", {20.38, 77.2, 55.5}, NONE},
      {"adapted", "see", {6.65, 82.3, 56.2}, 0}}},
    {8,
     "the three stages, each against the one before",
     3,
     {{RE, "RE, levels", "RE"}, {REC, "REC, P@0.5", "REC"}, {VQA, "VQA", "GQA"}},
     3,
     {{"1, tower frozen", "connect", {20.27, 76.8, 55.5}, NONE},
      {"2, adapted", "see", {6.65, 82.3, 56.2}, 0},
      {"3, frozen again", "balance", {6.59, 83.2, 57.7}, 1}}},
    {7,
     "masks after the same fit, each against neither",
     2,
     {{CIOU, "cIoU, own boxes", "cIoU"}, {IN_BOXES, "in true boxes", NULL}},
     4,
     {{"neither", "plain-frozen-masks", {62.42, NAN}, NONE},
      {"pixels, frozen", "frozen-masks", {67.28, NAN}, 0},
      {"adapted, no pixels", "plain-masks", {67.31, NAN}, 0},
      {"pixels, adapted", "masks", {72.61, NAN}, 0}}},
    {4,
     "games after the same fit, each against neither",
     3,
     {{CAR, "CarRacing, same", "reward"},
      {STEERING, "steering, off by", NULL},
      {SPACE, "Invaders, same", "reward"}},
     4,
     {{"neither", "plain-frozen-games", {465.36, NAN, 152.33}, NONE},
      {"pixels, frozen", "frozen-games", {NAN, NAN, NAN}, 0},
      {"adapted, no pixels", "plain-games", {NAN, NAN, NAN}, 0},
      {"pixels, adapted", "games", {535.90, NAN, 232.67}, 0}}},
};

/* ---- asking ---- */

struct ablation {
    const struct config *cfg;
    const char *run;
    struct recipe recipe;
    double value[RECIPE_STAGES_MAX][FIGURES]; /* NAN: not asked, or there is no exam */
    double trivial[FIGURES];
    double mosaic;      /* RE of 8 x 8 blocks: a colour for each of the tower's tokens */
    int64_t n[FIGURES]; /* questions of the exam */
};

static int stage_index(const struct ablation *a, const char *name) {
    for (int i = 0; i < a->recipe.n_stages; i++)
        if (strcmp(a->recipe.stages[i].name, name) == 0) return i;
    return -1;
}

/* The figures that tables want of a stage, a bit each. */
static unsigned wanted(const char *stage) {
    unsigned bits = 0;
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (int r = 0; r < tables[t].rows; r++)
            for (int c = 0; c < tables[t].columns; c++)
                if (strcmp(tables[t].row[r].stage, stage) == 0)
                    bits |= 1u << tables[t].column[c].figure;
    return bits;
}

/* Where the exam of a figure lies; 0: the run has none. */
static int exam_path(const struct ablation *a, const struct exam *x, char path[4096]) {
    for (int i = 0; i < a->recipe.n_data; i++) {
        const struct recipe_data *d = &a->recipe.data[i];
        if (!d->validation || !(d->tasks >> x->task & 1)) continue;
        snprintf(path, 4096, "%s%s", d->path, x->file);
        return !*x->file || access(path, R_OK) == 0;
    }
    return 0;
}

static double report_number(const json_t *report, const char *group, const char *key) {
    return json_number_value(json_object_get(json_object_get(report, group), key));
}

/* One figure of the model at hand. `*last` is the exam whose report stands there. */
static int ask_figure(struct ablation *a, struct eval *v, int stage, int f,
                      const struct exam **last, struct err *e) {
    const struct exam *x = &exams[f];
    char path[4096];
    if (!exam_path(a, x, path)) return 0;
    int is_same = *last && strcmp((*last)->mode, x->mode) == 0 && (*last)->task == x->task &&
                  (*last)->is_given_boxes == x->is_given_boxes;
    struct config cfg = *v->cfg;
    cfg.is_given_boxes = x->is_given_boxes;
    const struct config *kept = v->cfg;
    v->cfg = &cfg;
    int rc = is_same ? 0 : eval_mode(v, x->mode, path, e);
    v->cfg = kept;
    if (rc) return rc;
    *last = x;
    a->value[stage][f] = report_number(v->report, x->group, x->value);
    a->trivial[f] = report_number(v->report, x->trivial_group, x->trivial_value);
    if (f == RE) a->mosaic = report_number(v->report, "thumbnail_8", x->trivial_value);
    a->n[f] = json_integer_value(json_object_get(v->report, x->counted));
    return 0;
}

/* The last stage's model is the result of the run. */
static int ask_stage(struct ablation *a, int stage, unsigned figures, struct err *e) {
    char model[4096];
    struct config cfg = *a->cfg;
    struct eval v = {.cfg = &cfg};
    const struct exam *last = NULL;
    cfg.json = "-"; /* no table is printed */
    cfg.out = cfg.images = NULL;
    cfg.is_whole_grid = 0;
    if (stage + 1 == a->recipe.n_stages)
        snprintf(model, sizeof(model), "%s/model", a->run);
    else
        snprintf(model, sizeof(model), "%s/stage-%d", a->run, stage + 1);
    if (access(model, R_OK))
        return err_set(e, E_NOT_FOUND, "%s isn't there: lammd train has not ended there yet",
                       model);
    fprintf(stderr, "asking %s\n", a->recipe.stages[stage].name);
    int rc = eval_open(&v, model, e);
    if (rc) return rc;
    for (int f = 0; rc == 0 && f < FIGURES; f++)
        if (figures >> f & 1) rc = ask_figure(a, &v, stage, f, &last, e);
    eval_close(&v);
    return rc;
}

static int ask_all(struct ablation *a, struct err *e) {
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (int r = 0; r < tables[t].rows; r++)
            if (stage_index(a, tables[t].row[r].stage) < 0)
                return err_set(e, E_FORMAT,
                               "%s/recipe.ini has no [stage %s], so it is no run of "
                               "recipes/ablation.ini",
                               a->run, tables[t].row[r].stage);
    for (int i = 0; i < a->recipe.n_stages; i++) {
        unsigned figures = wanted(a->recipe.stages[i].name);
        int rc = figures ? ask_stage(a, i, figures, e) : 0;
        if (rc) return rc;
    }
    return 0;
}

/* ---- arrows ---- */

static const char *arrow(double from, double to, double noise) {
    if (isnan(from) || isnan(to)) return " ";
    if (fabs(to - from) <= noise) return "~";
    return to > from ? "↑" : "↓";
}

/* How far apart two shares, in per cent, lie by chance. */
static double noise_of(const struct ablation *a, int f, double p, double q) {
    if (!exams[f].is_share || !a->n[f]) return 0;
    return 2 * sqrt((p * (100 - p) + q * (100 - q)) / (double)a->n[f]);
}

struct cell {
    double here, paper;
    const char *here_arrow, *paper_arrow;
};

static struct cell cell_of(const struct ablation *a, const struct table *t, int r, int c) {
    int f = t->column[c].figure, against = t->row[r].against;
    struct cell x = {a->value[stage_index(a, t->row[r].stage)][f], t->row[r].paper[c], " ", " "};
    if (against == NONE) return x;
    double from = a->value[stage_index(a, t->row[against].stage)][f];
    x.here_arrow = arrow(from, x.here, noise_of(a, f, from, x.here));
    x.paper_arrow = arrow(t->row[against].paper[c], x.paper, 0);
    return x;
}

/* ---- the report ---- */

static void print_number(double v, const char *mark) {
    if (isnan(v))
        printf(" %8s  ", "-");
    else
        printf(" %8.2f %s", v, mark);
}

static void print_table(const struct ablation *a, const struct table *t) {
    printf("\nTable %d: %s\n\n  %-20s", t->number, t->title, "");
    for (int c = 0; c < t->columns; c++)
        printf("  %-20s", t->column[c].name);
    printf("\n  %-20s", "");
    for (int c = 0; c < t->columns; c++)
        printf("  %8s   %8s  ", "here", t->column[c].paper ? "paper" : "");
    puts("");
    for (int r = 0; r < t->rows; r++) {
        printf("  %-20s", t->row[r].label);
        for (int c = 0; c < t->columns; c++) {
            struct cell x = cell_of(a, t, r, c);
            print_number(x.here, x.here_arrow);
            if (t->column[c].paper)
                print_number(x.paper, x.paper_arrow);
            else
                printf("%11s", "");
        }
        puts("");
    }
    printf("  %-20s", "without looking");
    for (int c = 0; c < t->columns; c++) {
        print_number(a->trivial[t->column[c].figure], " ");
        printf("%11s", "");
    }
    puts("");
}

static void print_all(const struct ablation *a) {
    printf("%s\n", a->run);
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        print_table(a, &tables[t]);
    puts("\n  without looking:");
    for (int f = 0; f < FIGURES; f++)
        if (a->n[f])
            printf("    %-18s %s, %lld %s\n", exams[f].key, exams[f].trivial, (long long)a->n[f],
                   exams[f].counted);
    if (a->n[RE]) printf("    one colour for each of 8 x 8 blocks: RE %.2f\n", a->mosaic);
    puts("\n  An arrow: more or less than the row that it is compared with; ~: within two\n"
         "  standard errors, where it is a share. The paper's figures are of other exams, of the\n"
         "  games' rewards and of a large model: its arrows can be compared, its numbers cannot.");
}

static json_t *row_report(const struct ablation *a, const struct table *t, int r) {
    json_t *o = json_pack("{s:s, s:s}", "row", t->row[r].label, "stage", t->row[r].stage);
    for (int c = 0; c < t->columns; c++) {
        struct cell x = cell_of(a, t, r, c);
        json_t *cell = json_object();
        if (!isnan(x.here)) eval_set(cell, "here", x.here);
        if (!isnan(x.paper)) eval_set(cell, "paper", x.paper);
        if (*x.here_arrow != ' ') json_object_set_new(cell, "arrow", json_string(x.here_arrow));
        if (*x.paper_arrow != ' ')
            json_object_set_new(cell, "paper_arrow", json_string(x.paper_arrow));
        json_object_set_new(o, exams[t->column[c].figure].key, cell);
    }
    return o;
}

static json_t *whole_report(const struct ablation *a) {
    json_t *o = json_pack("{s:s, s:s}", "eval", "ablation", "run", a->run);
    json_t *trivial = json_object(), *n = json_object(), *list = json_object();
    for (int f = 0; f < FIGURES; f++) {
        if (!a->n[f]) continue;
        eval_set(trivial, exams[f].key, a->trivial[f]);
        json_object_set_new(n, exams[f].key, json_integer(a->n[f]));
    }
    if (a->n[RE]) eval_set(trivial, "re_mosaic", a->mosaic);
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        char number[16];
        json_t *rows = json_array();
        for (int r = 0; r < tables[t].rows; r++)
            json_array_append_new(rows, row_report(a, &tables[t], r));
        snprintf(number, sizeof(number), "%d", tables[t].number);
        json_object_set_new(list, number, rows);
    }
    json_object_set_new(o, "without_looking", trivial);
    json_object_set_new(o, "n", n);
    json_object_set_new(o, "tables", list);
    return o;
}

int eval_ablation(const struct config *cfg, const char *run, struct err *e) {
    char path[4096];
    const struct recipe_sets none = {0};
    if (cfg->model)
        return err_set(e, E_INVALID,
                       "eval ablation takes its models from the run: leave --model "
                       "out");
    struct ablation *a = mem_must(sizeof(*a));
    a->cfg = cfg;
    a->run = run ? run : "runs/ablation";
    for (int f = 0; f < FIGURES; f++) {
        a->trivial[f] = NAN;
        for (int i = 0; i < RECIPE_STAGES_MAX; i++)
            a->value[i][f] = NAN;
    }
    snprintf(path, sizeof(path), "%s/recipe.ini", a->run);
    int rc = recipe_open(path, &none, &a->recipe, e);
    if (rc == 0) rc = ask_all(a, e);
    if (rc == 0 && (!cfg->json || strcmp(cfg->json, "-") != 0)) print_all(a);
    if (rc == 0 && cfg->json) {
        json_t *report = whole_report(a);
        rc = eval_write(cfg, report, e);
        json_decref(report);
    }
    recipe_close(&a->recipe);
    mem_free(a);
    return rc;
}
