/* eval.h - what the modes of `lammd eval` share: pictures, questions in flight, groups, the report.
 *
 * A mode reads its questions (data/), has them answered by eval_run, prints a table and fills
 * `report`. What a score means is in metric.h and media/coco.h, which know neither files nor
 * engine. Thread: main's.
 */
#ifndef CLI_EVAL_EVAL_H
#define CLI_EVAL_EVAL_H

#include <jansson.h>
#include <stdint.h>

#include "cli/config.h"
#include "engine/engine.h"
#include "media/crop.h"

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
    unsigned next;    /* the place of the shelf that the next picture takes */
    uint32_t refused; /* questions that the engine refused: they count as wrong */
    json_t *report;   /* figures, for --json */
    json_t *items;    /* of the report: what was answered, one for each question */
    uint64_t ns;      /* that all questions took */
};

/* The modes. `path` is the argument behind the mode's name. */
int eval_pvp(struct eval *v, const char *path, struct err *e);
int eval_rec(struct eval *v, const char *path, struct err *e);
int eval_seg(struct eval *v, const char *path, struct err *e);
int eval_vqa(struct eval *v, const char *path, struct err *e);
int eval_game(struct eval *v, const char *path, struct err *e);
/* This one asks many models, one after the other. `run`: the folder of a run of
 * recipes/ablation.ini; NULL: runs/ablation. */
int eval_ablation(const struct config *cfg, const char *run, struct err *e);

/* ---- a model and its modes (eval.c) ---- */

/* Opens that model for v->cfg; everything else of `v` is zero. */
int eval_open(struct eval *v, const char *model, struct err *e);
void eval_close(struct eval *v);
/* A mode by name, from an empty report on. `items` are left beside the report. E_INVALID: there is
 * no such mode; and the mode's errors. */
int eval_mode(struct eval *v, const char *name, const char *path, struct err *e);
/* A report goes where --json says; NULL: nowhere. */
int eval_write(const struct config *cfg, const json_t *report, struct err *e);

/* ---- pictures (shelf.c) ---- */

/* Where the pictures of annotations at `path` lie: --images; else images/ beside them, if that is
 * there; else beside them. */
int eval_find_pictures(struct eval *v, const char *path, struct err *e);
/* The picture of that name, decoded unless it is one of the last few. A name without an ending is
 * tried with .jpg, .jpeg and .png. It is borrowed until the next call: take a reference to keep it.
 */
int eval_picture(struct eval *v, const char *name, struct eng_picture **out, int *w, int *h,
                 struct err *e);
/* A part of it as a picture of its own, decoded anew: a reference for the caller. */
int eval_crop(struct eval *v, const char *name, struct crop crop, struct eng_picture **out,
              struct err *e);
void eval_clear_pictures(struct eval *v);
/* Write rgb (side, side, 3) to the folder of -o, as NAME.png. */
int eval_save(const struct eval *v, const char *name, const uint8_t *rgb, int side, struct err *e);

/* ---- questions in flight (flow.c) ---- */

/* How to handle item i. `start` submits its question by eval_submit; *job stays NULL when there is
 * nothing to ask, or when the engine refused it. `done` reads the answer (job NULL: there is none)
 * and sets *more if the item has another question, number `phase` + 1. */
struct eval_flow {
    int (*start)(void *ud, uint32_t i, int phase, struct eng_job **job, struct err *e);
    int (*done)(void *ud, uint32_t i, int phase, struct eng_job *job, int *more, struct err *e);
    void (*say)(void *ud, char *to, size_t cap); /* the score so far, as a short text */
};
/* Items 0 .. n-1, many at once, so that the engine can pack them. An item's questions come in
 * order. */
int eval_run(struct eval *v, const struct eval_flow *flow, void *ud, uint32_t n, struct err *e);
/* eng_submit, but it waits while the queue is full. When the engine refuses the question: 0, *job
 * NULL, and v->refused counts it. */
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
/* Add one question's figures to its group (NULL: none) and to all. Groups beyond EVAL_GROUPS are
 * counted together, as "other". */
void eval_count(struct eval_groups *g, const char *group, const double *figures, int n);

/* ---- stated errors (calib.c) ---- */

/* What a model states of its error, against what is found. Errors are in any unit, not negative.
 * They are kept in cells of about 4 % width, so that any number of them takes the same room. */
enum { CALIB_CELLS = 512, CALIB_BINS = 5 };
struct eval_calib {
    uint64_t n[CALIB_CELLS];
    double stated[CALIB_CELLS], found[CALIB_CELLS]; /* sums */
};
void eval_calib_add(struct eval_calib *c, double stated, double found);
/* Set `key` of the report: from the surest to the least sure, CALIB_BINS bins of as equal numbers
 * as the cells allow (fewer where most are in one cell), each with n, mean stated and mean found
 * error; and "off", which is |stated - found|, the mean over the bins by their n. */
void eval_calib_set(json_t *o, const char *key, const struct eval_calib *c);

/* ---- the report (report.c) ---- */

/* The lines above every table: the model, how many questions, how fast. */
void eval_head(const struct eval *v, uint32_t n, const char *what);
/* What was answered to item i; takes `item`. */
void eval_item(struct eval *v, uint32_t i, json_t *item);
/* Set a number of the report, rounded to 4 decimals. */
void eval_set(json_t *o, const char *key, double value);
/* May a table be printed? Not when the report goes to standard output. */
int eval_prints(const struct eval *v);

#endif
