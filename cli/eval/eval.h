/* eval.h - what the modes of `lammd eval` share: pictures, questions in flight, groups, the report.
 *
 * A mode reads its questions, answers them with flow_run, prints a table and fills `report`; what a
 * figure means is in metric.h and coco.h, which know neither files nor engine. Thread: main's.
 */
#ifndef CLI_EVAL_EVAL_H
#define CLI_EVAL_EVAL_H

#include <jansson.h>
#include <stdint.h>

#include "cli/config.h"
#include "engine/engine.h"

enum { EVAL_SHELF = 16, EVAL_DIR_MAX = 2048 };

struct eval_picture {
    char *name;
    struct eng_picture *picture;
    int w, h;
};
struct eval {
    const struct config *cfg;
    struct eng *eng;
    int grid;
    char pictures[EVAL_DIR_MAX]; /* the folder they lie in */
    struct eval_picture shelf[EVAL_SHELF];
    unsigned next;    /* place of the shelf that is given away next */
    uint32_t refused; /* questions that the model can't take: counted as wrong */
    json_t *report;   /* figures, for --json */
    json_t *items;    /* its "items": what was answered, one for each question */
    uint64_t ns;      /* that the questions took */
};

/* The modes: `path` is what stands behind the mode's name. */
int eval_pvp(struct eval *v, const char *path, struct err *e);
int eval_rec(struct eval *v, const char *path, struct err *e);
int eval_seg(struct eval *v, const char *path, struct err *e);
int eval_vqa(struct eval *v, const char *path, struct err *e);
int eval_game(struct eval *v, const char *path, struct err *e);

/* ---- pictures (shelf.c) ---- */

/* Where the pictures of annotations at `path` lie: --images; else images/ beside them, if that is
 * there; else beside them. */
int eval_find_pictures(struct eval *v, const char *path, struct err *e);
/* The picture of that name, decoded unless it is among the last few. A name without an ending is
 * tried with .jpg, .jpeg and .png. Borrowed until the next call; take a reference. */
int eval_picture(struct eval *v, const char *name, struct eng_picture **out, int *w, int *h,
                 struct err *e);
void eval_clear_pictures(struct eval *v);
/* RGB of one picture (side, side, 3) into the folder -o, as NAME.png. */
int eval_save(const struct eval *v, const char *name, const uint8_t *rgb, int side, struct err *e);

/* ---- questions in flight (flow.c) ---- */

/* Of item i: start submits its question, by eval_submit; *job stays NULL when there is nothing to
 * ask, or when the model refuses it. done reads the answer (job NULL: there is none) and says in
 * *more whether the item has another question, which is `phase` + 1. */
struct eval_flow {
    int (*start)(void *ud, uint32_t i, int phase, struct eng_job **job, struct err *e);
    int (*done)(void *ud, uint32_t i, int phase, struct eng_job *job, int *more, struct err *e);
    void (*say)(void *ud, char *to, size_t cap); /* the score so far, for progress */
};
/* Items 0 .. n-1, many at once: the engine packs them. Each item's done calls come in order. */
int eval_run(struct eval *v, const struct eval_flow *flow, void *ud, uint32_t n, struct err *e);
/* eng_submit that waits while the queue is full. A question the model can't take: 0, *job NULL, and
 * counted in v->refused. */
int eval_submit(struct eval *v, const struct eng_ask *ask, struct eng_job **job, struct err *e);

/* ---- sums by group (report.c) ---- */

enum { EVAL_GROUPS = 256, EVAL_SUMS = 8 };
struct eval_group {
    const char *name; /* borrowed */
    uint32_t n;
    double sum[EVAL_SUMS];
};
struct eval_groups {
    struct eval_group all, at[EVAL_GROUPS];
    int n;
};
/* One question's figures, for its group (NULL: none) and for all. Groups beyond EVAL_GROUPS count as
 * "other". */
void eval_count(struct eval_groups *g, const char *group, const double *figures, int n);

/* ---- the report (report.c) ---- */

/* The lines above every table: model and how many questions at what rate. */
void eval_head(const struct eval *v, uint32_t n, const char *what);
/* What was answered to item i; takes `item`. */
void eval_item(struct eval *v, uint32_t i, json_t *item);
/* Set a number of the report; 4 decimals. */
void eval_set(json_t *o, const char *key, double value);
/* A table may be printed: not when the report goes to standard output. */
int eval_prints(const struct eval *v);

#endif
